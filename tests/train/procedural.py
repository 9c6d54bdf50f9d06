"""Crop folders made without any renderer: textured ellipsoids and planes before a wall, seen by two unlike sensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.crops import CROP_COLUMNS, CROPS_FORMAT
from stereolive.data.manifest import INSTRUMENT_SURFACE, LIVING_SURFACE, write_rows

FOCAL_TIMES_BASELINE = 36_000.0  # 600 px, 60 mm
SHIFT_PX = 72.0  # 500 mm


def smooth_noise(random: np.random.Generator, side: int, cells: int) -> NDArray[np.float32]:
    coarse = random.normal(size=(cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def presentation(random: np.random.Generator, side: int, curved: bool) -> tuple[NDArray[np.uint8], ...]:
    """First view (T, T, 3), second view and disparity (T, T): a head-like bump, or a flat sheet."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    across, down = (x - side / 2) / (0.24 * side), (y - side / 2) / (0.32 * side)
    inside = across**2 + down**2
    wall = np.full((side, side), -14.0, np.float32)
    if curved:
        shape = random.uniform(6, 12) * np.sqrt(np.maximum(0, 1 - inside)) - 4
    else:
        shape = random.uniform(-5, 5) + random.uniform(-4, 4) * across + random.uniform(-3, 3) * down
    disparity = np.where(inside < 1, shape, wall).astype(np.float32)
    texture = sum(smooth_noise(random, side, cells) / level for level, cells in enumerate((9, 20, 44, 90), 1))
    first = 0.45 + 0.14 * np.asarray(texture, np.float32)
    # Rendering the second view by looking up the first's texture where its surface point projects to; a few passes
    # settle it.
    at = x.copy()
    for _ in range(12):
        at = x + cv2.remap(disparity, at, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    second = cv2.remap(first, at, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    second = np.clip(second, 0.01, 1) ** random.uniform(0.7, 1.4)
    tint = random.uniform(0.7, 1.0, 3)
    first = np.clip(first[..., None] * tint, 0, 1)
    second = np.repeat(second[..., None], 3, axis=2)
    views = [np.asarray(np.round(view * 255), np.uint8) for view in (first, second)]
    return views[0], views[1], disparity.astype(np.float16)


def write_crops(folder: Path, count: int, seed: int = 0, crop_px: int = 96, stored_px: int = 128) -> Path:
    """A folder as ``data.crops`` writes it: living heads, flat prints and screens under two illuminations, eight
    subjects."""
    random = np.random.default_rng(seed)
    species: Sequence[tuple[str, str, str]] = (
        ("bona_fide", "", "skin"),
        ("attack", "print", "paper"),
        ("bona_fide", "", "skin"),
        ("attack", "screen", "lcd_glass"),
    )
    shard = folder / "shard-00000"
    shard.mkdir(parents=True)
    made = [presentation(random, stored_px, curved=index % 2 == 0) for index in range(count)]
    for name, arrays in zip(("first", "second", "disparity"), zip(*made, strict=True), strict=True):
        np.save(shard / f"{name}.npy", np.stack(arrays))
    # Half of them tell what is shown: the face, or the sheet, in the middle.
    surface = np.zeros((count, stored_px, stored_px), np.uint8)
    middle = slice(stored_px // 4, -stored_px // 4)
    surface[0::4, middle, middle] = LIVING_SURFACE
    surface[1::4, middle, middle] = INSTRUMENT_SURFACE
    np.save(shard / "surface.npy", surface)
    rows = []
    for index in range(count):
        label, kind, material = species[index % 4]
        rows.append(
            {
                "sample_id": f"p{index:04d}",
                "shard": shard.name,
                "row": index,
                "scale": 1.0,
                "shift_px": SHIFT_PX,
                "focal_px": 600.0,
                "focal_times_baseline": FOCAL_TIMES_BASELINE,
                "roll_deg": 0.0,
                "first_spectrum": "visible",
                "second_spectrum": "near_infrared",
                "matched_by": "landmarks",
                "known_share": 1.0,
                "label": label,
                "pai_species": kind,
                "material": material,
                "illumination": ("indoor", "dim")[index // 4 % 2],
                "subject_id": f"s{index // 4 % 8}",
                "instrument_id": "" if label == "bona_fide" else f"i{index}",
            }
        )
    write_rows(shard / "index.csv", rows, [*CROP_COLUMNS, "instrument_id"])
    write_rows(shard / "skipped.csv", [], ["sample_id", "reason"])
    described = {"format": CROPS_FORMAT, "crop_px": crop_px, "stored_px": stored_px, "shards": [shard.name]}
    (folder / "crops.json").write_text(json.dumps(described))
    return folder
