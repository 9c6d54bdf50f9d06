"""CASIA-SURF CeFA: colour, depth and infrared crops of three ethnic groups, and masks; registered, without calibration.

Presentations are folders ``AF/AF-223/1_223_1_1_1`` = RACE_ID_DEVICE_SESSION_PAI, each with ``color`` (``profile`` in
the challenge's release), ``depth`` and ``ir`` folders of equally named frames; masks are
``3D-Mask/073/1_073_1_0_2_1_2`` and ``Silicone-Mask/001/2_001_1_1_2_1_3`` =
MASK_ID_DRESSED_GLASSES_DEVICE_SESSION_LIGHTING.

**Label: the last field of a five-field folder, 1 = bona fide; 2 cloth, 3 picture, 4 screen; every mask folder is an
attack.** The 0 and 1 of the set's protocol lists are not read. Depth is 8 bit without a unit.
"""

from __future__ import annotations

import re
from pathlib import Path

from stereolive.data.adapters.adaptation import (
    REGISTERED_NOTE,
    RELATIVE_DEPTH_NOTE,
    Adaptation,
    Row,
    finish,
    relative,
    source_folder,
    spread,
    tracked,
)
from stereolive.errors import ManifestError

PRESENTATION = re.compile(r"(?P<race>[123])_(?P<id>\d{3})_(?P<device>\d)_(?P<session>\d)_(?P<pai>[1-4])")
MASK = re.compile(
    r"(?P<mask>[12])_(?P<id>\d{3})_(?P<dressed>\d)_(?P<glasses>\d)_(?P<device>\d)_(?P<session>\d)_(?P<light>[1-4])"
)
RACES = {"1": "AF", "2": "CA", "3": "EA"}
SPECIES = {"2": ("print_cloth", "cloth"), "3": ("print_flat", "paper"), "4": ("replay", "screen")}
MASKS = {"1": ("mask_resin", "3d_print"), "2": ("mask_silicone", "silicone")}
SESSIONS = {"1": "indoor", "2": "outdoor", "3": "random"}
LIGHTS = {"1": "no_lamp", "2": "backlight", "3": "frontlight", "4": "strong_side"}
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


def adapt(source: str | Path, out: str | Path, frames: int = 1) -> Adaptation:
    """Write ``out/manifest.csv`` with at most ``frames`` frames a presentation, evenly spread; images stay where they
    are.

    Raises ManifestError where the source holds no presentation of this form.
    """
    source, out = source_folder(source), Path(out)
    rows: list[Row] = []
    skipped: list[str] = []
    folders = sorted(path.parent for path in source.rglob("depth") if path.is_dir())
    if not folders:
        raise ManifestError(f"source {source}: there is no folder with color, depth and ir in it")
    for folder in tracked(folders, "CeFA"):
        told = _told_by_name(folder)
        colour = next((folder / name for name in ("color", "profile") if (folder / name).is_dir()), None)
        if told is None or colour is None:
            skipped.append(f"{folder}: " + ("tells no label" if told is None else "has neither color nor profile"))
            continue
        names = sorted(path.name for path in colour.iterdir() if path.suffix.lower() in FRAME_SUFFIXES)
        names = [name for name in names if (folder / "depth" / name).is_file() and (folder / "ir" / name).is_file()]
        if not names:
            skipped.append(f"{folder}: has no frame that is in {colour.name}, depth and ir")
            continue
        presentation = "_".join(folder.relative_to(source).parts)
        for index in spread(len(names), frames):
            name = names[index]
            rows.append(
                {
                    "sample_id": presentation if frames == 1 else f"{presentation}-f{Path(name).stem}",
                    "first": relative(colour / name, out),
                    "second": relative(folder / "ir" / name, out),
                    "depth_relative": relative(folder / "depth" / name, out),
                    **told,
                    "presentation_id": presentation,
                    "registered": "true",
                    "first_spectrum": "visible",
                    "second_spectrum": "near_infrared",
                }
            )
    return finish(out, rows, skipped, (REGISTERED_NOTE, RELATIVE_DEPTH_NOTE))


def _told_by_name(folder: Path) -> dict[str, str] | None:
    match = MASK.fullmatch(folder.name)
    if match:
        species, material = MASKS[match["mask"]]
        return {
            "label": "attack",
            "pai_species": species,
            "material": material,
            "illumination": "outdoor" if match["session"] == "2" else LIGHTS[match["light"]],
            "subject_id": f"{species}-{match['id']}",
        }
    match = PRESENTATION.fullmatch(folder.name)
    if not match:
        return None
    live = match["pai"] == "1"
    species, material = ("", "") if live else SPECIES[match["pai"]]
    return {
        "label": "bona_fide" if live else "attack",
        "pai_species": species,
        "material": material,
        "illumination": SESSIONS.get(match["session"], f"session_{match['session']}"),
        "subject_id": f"{RACES[match['race']]}-{match['id']}",
    }
