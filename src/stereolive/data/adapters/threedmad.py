"""3DMAD: colour and depth of a Kinect, registered, without calibration and without near-infrared; attacks are hard
resin masks.

HDF5 files ``SUBJECT_SESSION_VIDEO.hdf5``, such as ``01_03_05.hdf5``, with ``Color_Data`` (N, 3, H, W) in RGB,
``Depth_Data`` (N, 1, H, W) and ``Eye_Pos``.

**Label: session 3 is an attack (mask_resin), sessions 1 and 2 are bona fide.** There is no second sensor: ``second``
stays empty.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

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
from stereolive.data.adapters.hdf5 import frame, hdf5_files, open_hdf5, stream, write_registered
from stereolive.errors import InputError, ManifestError

FILE_NAME = re.compile(r"(?P<subject>\d\d)_(?P<session>\d\d)_(?P<video>\d\d)")
RAW_KINECT_NONE = 2047
NO_SECOND_NOTE = (
    "This set has no near-infrared view: the column second is empty, so its manifest cannot be trained on as it is."
)


def adapt(source: str | Path, out: str | Path, frames: int = 1, depth_unit_mm: float | None = None) -> Adaptation:
    """Write images, depth and ``out/manifest.csv`` with at most ``frames`` frames a video, evenly spread.

    ``depth_unit_mm`` is what one count of 16-bit depth means; the files do not say. Raises ManifestError,
    MissingExtraError.
    """
    out = Path(out)
    rows: list[Row] = []
    skipped: list[str] = []
    relative_depth = False
    for path in tracked(hdf5_files(source_folder(source)), "3DMAD"):
        try:
            match = FILE_NAME.fullmatch(path.stem)
            if not match or match["session"] not in ("01", "02", "03"):
                raise ManifestError(
                    f"{path}: its name, not SUBJECT_SESSION_VIDEO with session 01 to 03, tells no label"
                )
            live = match["session"] != "03"
            with open_hdf5(path) as file:
                colour, depth = stream(file, "Color_Data"), stream(file, "Depth_Data")
                for index in spread(min(len(colour), len(depth)), frames):
                    sample_id = path.stem if frames == 1 else f"{path.stem}-f{index}"
                    counts = frame(depth, index)
                    if counts.dtype == np.uint16 and int(counts.max()) == RAW_KINECT_NONE:
                        raise ManifestError(
                            f"{path}: its depth looks like a Kinect's raw disparity (up to {RAW_KINECT_NONE})"
                        )
                    images = {"first": frame(colour, index, "RGB")}
                    files = write_registered(out, sample_id, images, counts, depth_unit_mm)
                    relative_depth |= "depth_relative" in files
                    rows.append(
                        {
                            "sample_id": sample_id,
                            **files,
                            "label": "bona_fide" if live else "attack",
                            "pai_species": "" if live else "mask_resin",
                            "material": "" if live else "resin",
                            "illumination": "indoor",
                            "subject_id": match["subject"],
                            "instrument_id": "" if live else "mask_" + match["subject"],
                            "session": match["session"],
                            "presentation_id": path.stem,
                            "registered": "true",
                            "first_spectrum": "visible",
                        }
                    )
        except InputError as error:
            skipped.append(str(error))
    notes = (REGISTERED_NOTE, NO_SECOND_NOTE) + ((RELATIVE_DEPTH_NOTE,) if relative_depth else ())
    return finish(out, rows, skipped, notes)
