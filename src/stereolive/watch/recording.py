"""Recording of pairs, with the person's consent, into a manifest that training and scoring read as it is."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from stereolive.errors import InputError
from stereolive.images import write_depth, write_png
from stereolive.rig import Rig
from stereolive.sources import FramePair
from stereolive.types import Verdict

COLUMNS = (
    "sample_id", "first", "second", "rig", "depth", "label", "pai_species", "material", "illumination", "subject_id",
    "instrument_id", "consent", "recorded_at", "skew_ms", "decision", "score", "reasons",
)  # fmt: skip
EARLIER_COLUMNS = tuple(name for name in COLUMNS if name != "instrument_id")
"""Of recordings that were begun before instruments were noted; they go on as they are."""


class Recorder:
    """Appends pairs to ``FOLDER/manifest.csv``; a row is written after its pictures, so that every row is whole.

    ``consent`` says how the person agreed ("form 12 of 3 May"); without it nothing may be recorded. ``label`` may
    stay empty, to be filled in by a person. ``material`` and ``instrument_id`` tell what an attack is made of and
    which print, device or mask it is. A last row that a kill cut off is dropped. Raises InputError.
    """

    def __init__(
        self,
        folder: str | Path,
        rig: Rig,
        *,
        consent: str,
        subject_id: str,
        label: str = "",
        pai_species: str = "",
        material: str = "",
        instrument_id: str = "",
        illumination: str = "",
    ) -> None:
        if not consent.strip():
            raise InputError("recording: needs the person's consent; say with --consent how it was given")
        if not re.fullmatch(r"[\w.-]{1,80}", subject_id):
            raise InputError("recording: needs a subject: letters, digits, dots and dashes, and no real name")
        if label not in ("", "bona_fide", "attack"):
            raise InputError(f"recording: label: expected bona_fide or attack, got {label!r}")
        pai_species, material, instrument_id = map(_one_line, (pai_species, material, instrument_id))
        if (label == "attack") != bool(pai_species):
            raise InputError("recording: an attack needs its species (--species), and only an attack has one")
        if (material or instrument_id) and label != "attack":
            raise InputError("recording: only an attack has a material (--material) and an instrument (--instrument)")
        self.folder = Path(folder)
        self._row = {
            "label": label,
            "pai_species": pai_species,
            "material": material,
            "illumination": _one_line(illumination),
            "subject_id": subject_id,
            "instrument_id": instrument_id,
            "consent": _one_line(consent),
        }
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            self._rig = self._saved_rig(rig)
            self._columns = self._started_manifest()
        except OSError as error:
            raise InputError(f"recording {folder}: cannot be written ({error.strerror or error})") from None
        if instrument_id and "instrument_id" not in self._columns:
            raise InputError(
                f"recording {self.manifest}: was begun without the column instrument_id; choose another folder"
            )

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    def add(self, pair: FramePair, verdict: Verdict) -> str:
        """Record one pair; returns its sample_id."""
        now = datetime.now(UTC)
        sample_id = f"{self._row['subject_id']}_{now:%Y%m%dT%H%M%S%f}"
        row = {
            **self._row,
            "sample_id": sample_id,
            "rig": self._rig,
            "depth": "",
            "recorded_at": now.isoformat(timespec="milliseconds"),
            "skew_ms": f"{pair.skew_ms:.2f}",
            "decision": verdict.decision,
            "score": "" if verdict.score is None else f"{verdict.score:.6f}",
            "reasons": " ".join(verdict.reasons),
        }
        for view, image in (("first", pair.first), ("second", pair.second)):
            row[view] = f"images/{sample_id}_{view}.png"
            write_png(self.folder / row[view], image)
        if pair.depth_mm is not None:
            row["depth"] = f"images/{sample_id}_depth.png"
            write_depth(self.folder / row["depth"], pair.depth_mm)
        try:
            self._append(_line([row[name] for name in self._columns]))
        except OSError as error:
            raise InputError(f"recording {self.manifest}: cannot be written ({error.strerror or error})") from None
        return sample_id

    def _append(self, line: bytes) -> None:
        size = self.manifest.stat().st_size
        try:
            with self.manifest.open("ab") as file:
                file.write(line)
        except OSError:
            # A disk that is full takes a part of the row; the next one must not be glued to it.
            with suppress(OSError):
                os.truncate(self.manifest, size)
            raise

    def _saved_rig(self, rig: Rig) -> str:
        """The rig's file in the folder; another rig than an earlier recording's gets another name."""
        for number in range(1000):
            name = "rig.json" if number == 0 else f"rig_{number}.json"
            path = self.folder / name
            if not path.exists():
                rig.save(path)
                return name
            if _same(Rig.load(path), rig):
                return name
        raise InputError(f"recording {self.folder}: holds too many rigs")

    def _started_manifest(self) -> tuple[str, ...]:
        """Begin the manifest or make it ready to go on; returns its columns."""
        data = self.manifest.read_bytes() if self.manifest.exists() else b""
        # A row is one line, so that what follows the last line's end was cut off.
        whole = data + b"\n" if data.endswith(b"\r") else data[: data.rfind(b"\n") + 1]
        if not whole and any(_line(columns).startswith(data) for columns in (COLUMNS, EARLIER_COLUMNS)):
            whole = _line(COLUMNS)
        columns = self._checked_columns(whole)
        if whole != data:
            part = self.manifest.with_name(self.manifest.name + ".part")
            try:
                part.write_bytes(whole)
                part.replace(self.manifest)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        return columns

    def _checked_columns(self, data: bytes) -> tuple[str, ...]:
        try:
            header, *rows = csv.reader(io.StringIO(data.decode("utf-8"), newline="")) if data else [[]]
        except UnicodeDecodeError:
            raise InputError(f"recording {self.manifest}: is not UTF-8 text") from None
        except csv.Error as error:
            raise InputError(f"recording {self.manifest}: is not CSV ({error})") from None
        columns = tuple(header)
        if columns not in (COLUMNS, EARLIER_COLUMNS):
            raise InputError(f"recording {self.manifest}: has other columns; choose another folder")
        for number, row in enumerate(rows, start=1):
            if row and len(row) != len(columns):
                raise InputError(
                    f"recording {self.manifest}, row {number}: has another number of cells than the header; mend it, "
                    "or choose another folder"
                )
        return columns


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _one_line(words: str) -> str:
    """Without line breaks: only then is a row one line."""
    return " ".join(words.split())


def _same(rig: Rig, other: Rig) -> bool:
    """Up to rounding: reading a rig makes its rotation exactly orthonormal again."""
    cameras = ((rig.first, other.first), (rig.second, other.second))
    return (
        all(
            a.spectrum == b.spectrum and a.size == b.size and a.distortion.size == b.distortion.size for a, b in cameras
        )
        and all(np.allclose(a.matrix, b.matrix) and np.allclose(a.distortion, b.distortion) for a, b in cameras)
        and np.allclose(rig.rotation_second_from_first, other.rotation_second_from_first)
        and np.allclose(rig.translation_second_from_first_mm, other.translation_second_from_first_mm)
    )
