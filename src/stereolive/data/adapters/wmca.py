"""WMCA: colour, infrared and depth of a RealSense SR300, registered, without calibration.

A protocol CSV ``,client_id,filepath,group,label`` names files without suffix, such as
``face-station/17.01.18/002_01_003_2_81`` = CLIENT_SESSION_PRESENTER_TYPE_PAI. Their HDF5 holds either the streams
``color`` (N, 3, H, W) in RGB, ``infrared`` and ``depth`` (N, 1, H, W), or the preprocessed ``Frame_N/array`` (4, H,
W): grey, depth, infrared, thermal, 8 bit.

**Label: a word in the CSV's column ``label``: ``bonafide`` (also ``bona_fide``, ``real``, ``genuine``, ``live``) or
the kind of attack. Where the column holds 0 and 1, copies of the protocol differ, and the bona fide one must be
named.**
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from stereolive.data.adapters.adaptation import (
    REGISTERED_NOTE,
    RELATIVE_DEPTH_NOTE,
    Adaptation,
    Row,
    finish,
    source_folder,
    spread,
    tracked,
)
from stereolive.data.adapters.hdf5 import SUFFIXES, as_image, frame, open_hdf5, stream, write_registered
from stereolive.errors import InputError, ManifestError
from stereolive.types import ImageArray

COLUMNS = ("client_id", "filepath", "group", "label")
BONA_FIDE_WORDS = ("bonafide", "bona_fide", "real", "genuine", "live")
# What the protocol calls its groups, as training knows them.
SPLITS = {"dev": "validation", "eval": "test"}
SPECIES = {
    "print": ("print_flat", "paper"),
    "prints": ("print_flat", "paper"),
    "replay": ("replay", "screen"),
    "fakehead": ("mannequin_head", ""),
    "rigidmask": ("mask_rigid", ""),
    "flexiblemask": ("mask_silicone", "silicone"),
    "papermask": ("mask_paper", "paper"),
    "glasses": ("funny_glasses", ""),
}


def adapt(
    source: str | Path,
    out: str | Path,
    protocol: str | Path,
    frames: int = 1,
    bona_fide_label: Literal["0", "1"] | None = None,
    depth_unit_mm: float | None = None,
) -> Adaptation:
    """Write images, depth and ``out/manifest.csv`` with at most ``frames`` frames a file, evenly spread.

    ``depth_unit_mm`` is what one count of 16-bit depth means; the files do not say. Raises ManifestError,
    MissingExtraError.
    """
    folder, out = source_folder(source), Path(out)
    entries = list(_protocol(Path(protocol)))
    numbers = any(entry["label"] in ("0", "1") for entry in entries)
    if numbers and bona_fide_label is None:
        raise ManifestError(
            f"protocol {protocol}: its labels are 0 and 1, and copies differ in their meaning; name the bona fide one: "
            "--bona-fide-label 0 or 1"
        )
    if not numbers and bona_fide_label is not None:
        raise ManifestError(f"protocol {protocol}: its labels are words; --bona-fide-label is for 0 and 1")
    rows: list[Row] = []
    skipped: list[str] = []
    relative_depth = False
    for entry in tracked(entries, "WMCA"):
        try:
            told = _told(entry, bona_fide_label)
            path = _file(folder, entry["filepath"])
            presentation = entry["filepath"].strip("/").replace("/", "_")
            with open_hdf5(path) as file:
                for index, colour, infrared, counts in _frames(file, frames):
                    sample_id = presentation if frames == 1 else f"{presentation}-f{index}"
                    files = write_registered(
                        out, sample_id, {"first": colour, "second": infrared}, counts, depth_unit_mm
                    )
                    relative_depth |= "depth_relative" in files
                    rows.append(
                        {
                            "sample_id": sample_id,
                            **files,
                            **told,
                            "presentation_id": presentation,
                            "registered": "true",
                            "first_spectrum": "visible",
                            "second_spectrum": "near_infrared",
                        }
                    )
        except InputError as error:
            skipped.append(str(error))
    notes = (REGISTERED_NOTE,) + ((RELATIVE_DEPTH_NOTE,) if relative_depth else ())
    return finish(out, rows, skipped, notes)


def _protocol(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ManifestError(f"protocol {path}: lacks the column {missing[0]}")
            for number, row in enumerate(reader, start=1):
                entry = {name: (row[name] or "").strip() for name in COLUMNS}
                if not entry["filepath"] or not entry["label"]:
                    raise ManifestError(f"protocol {path}, row {number}: filepath or label is empty")
                yield entry
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"protocol {path}: cannot be read ({error})") from None


def _told(entry: dict[str, str], bona_fide_label: str | None) -> dict[str, str]:
    """The manifest columns that a protocol row and the file's name tell."""
    word = entry["label"].lower().rsplit("/", 1)[-1]  # bob writes attack/print
    match = re.search(r"\d+_(\d+)_(\d+)_(\d+)_(\d+)$", entry["filepath"])
    session, presenter, kind, instrument = match.groups() if match else ("", "", "", "")
    live = word == bona_fide_label if word in ("0", "1") else word in BONA_FIDE_WORDS
    species, material = SPECIES.get(word, (f"type_{kind}" if word in ("0", "1") else word, ""))
    return {
        "label": "bona_fide" if live else "attack",
        "pai_species": "" if live else species,
        "material": "" if live else material,
        "illumination": f"session_{session}" if session else "",
        "subject_id": entry["client_id"],
        "presenter_id": presenter,
        "instrument_id": "" if live else instrument,
        "split": SPLITS.get(entry["group"], entry["group"]),
    }


def _file(folder: Path, name: str) -> Path:
    base = folder / name
    for path in (base, *(base.with_name(base.name + suffix) for suffix in SUFFIXES)):
        if path.is_file():
            return path
    raise ManifestError(f"{base}{SUFFIXES[1]}: there is no such file")


def _frames(file: Any, wanted: int) -> Iterator[tuple[int, ImageArray, ImageArray, ImageArray]]:
    """Index, colour, infrared and depth counts of evenly spread frames, in either layout."""
    preprocessed = sorted(
        (name for name in file if re.fullmatch(r"Frame_\d+", name)), key=lambda name: int(name.removeprefix("Frame_"))
    )
    if preprocessed:
        for position in spread(len(preprocessed), wanted):
            name = preprocessed[position]
            array = stream(file, f"{name}/array")
            if array.shape[0] != 4 or array.ndim != 3:
                raise ManifestError(
                    f"{file.filename}, {name}: expected grey, depth, infrared, thermal, got {array.shape}"
                )
            grey, counts, infrared = (as_image(array[channel], f"{file.filename}, {name}") for channel in range(3))
            yield int(name.removeprefix("Frame_")), grey, infrared, counts
        return
    colour, infrared_data, depth = (stream(file, name) for name in ("color", "infrared", "depth"))
    for index in spread(min(len(colour), len(infrared_data), len(depth)), wanted):
        yield index, frame(colour, index, "RGB"), frame(infrared_data, index), frame(depth, index)
