"""Recording of pairs, with the person's consent, into a manifest that training and scoring read as it is."""

from __future__ import annotations

import csv
import re
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
    "consent", "recorded_at", "skew_ms", "decision", "score", "reasons",
)  # fmt: skip


class Recorder:
    """Appends pairs to ``FOLDER/manifest.csv``; a row is written after its pictures, so that every row is whole.

    ``consent`` says how the person agreed ("form 12 of 3 May"); without it nothing may be recorded. ``label`` may
    stay empty, to be filled in by a person. Raises InputError.
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
        illumination: str = "",
    ) -> None:
        if not consent.strip():
            raise InputError("recording: needs the person's consent; say with --consent how it was given")
        if not re.fullmatch(r"[\w.-]{1,80}", subject_id):
            raise InputError("recording: needs a subject: letters, digits, dots and dashes, and no real name")
        if label not in ("", "bona_fide", "attack"):
            raise InputError(f"recording: label: expected bona_fide or attack, got {label!r}")
        if (label == "attack") != bool(pai_species):
            raise InputError("recording: an attack needs its species (--species), and only an attack has one")
        self.folder = Path(folder)
        self._row = {
            "label": label,
            "pai_species": pai_species,
            "illumination": illumination,
            "subject_id": subject_id,
            "consent": consent.strip(),
        }
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            self._rig = self._saved_rig(rig)
            self._start_manifest()
        except OSError as error:
            raise InputError(f"recording {folder}: cannot be written ({error.strerror or error})") from None

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
            "material": "",
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
            with self.manifest.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
        except OSError as error:
            raise InputError(f"recording {self.manifest}: cannot be written ({error.strerror or error})") from None
        return sample_id

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

    def _start_manifest(self) -> None:
        if not self.manifest.exists():
            with self.manifest.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(COLUMNS)
            return
        with self.manifest.open(newline="", encoding="utf-8") as file:
            if tuple(next(csv.reader(file), ())) != COLUMNS:
                raise InputError(f"recording {self.manifest}: has other columns; choose another folder")


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
