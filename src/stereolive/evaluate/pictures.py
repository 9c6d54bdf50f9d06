"""The worst cases: which presentations they are, and their pictures and depth small enough to lie inside a report."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.evaluate.scores import ScoreTable, read_rows
from stereolive.evaluate.thresholds import Grading

THUMBNAIL_PX = 150
MAX_FILE_BYTES = 64_000_000
DEPTH_UNIT_MM = 0.1
CASES = 9


@dataclass(frozen=True)
class Case:
    """One presentation: its row of the score file, and data URIs of what pictures of it exist."""

    row: dict[str, str]
    score: float
    error: bool
    pictures: tuple[tuple[str, str], ...]


def worst_cases(table: ScoreTable, grading: Grading, folder: Path, depth_dir: Path | None) -> dict[str, list[Case]]:
    """Accepted attacks with the highest scores and rejected bona fide presentations with the lowest;

    where there are none, the nearest to that.
    """
    chosen = {}
    wrong = _wrong(table, grading)
    for kind, mask, sign in (("attacks", ~table.bona_fide, -1.0), ("bona fide", table.bona_fide, 1.0)):
        rows = np.flatnonzero(mask & table.responded & wrong)
        if not len(rows):
            rows = np.flatnonzero(mask & table.responded)
        keys = sign * table.score[rows]
        nearest = np.argpartition(keys, CASES)[:CASES] if len(rows) > CASES else np.arange(len(rows))
        chosen[kind] = rows[nearest[np.lexsort((nearest, keys[nearest]))]]
    texts = read_rows(table.path, [int(table.row[i]) for rows in chosen.values() for i in rows])
    return {
        kind: [
            Case(text, float(table.score[i]), bool(wrong[i]), tuple(_pictures(text, folder, depth_dir)))
            for i in rows
            if (text := texts.get(int(table.row[i]))) is not None
        ]
        for kind, rows in chosen.items()
    }


def _wrong(table: ScoreTable, grading: Grading) -> NDArray[np.bool_]:
    if grading.decisions is None:
        return np.zeros(len(table), np.bool_)
    errors: NDArray[np.bool_] = np.where(table.bona_fide, grading.decisions == 0, grading.decisions == 1)
    return errors


def _pictures(row: dict[str, str], folder: Path, depth_dir: Path | None) -> list[tuple[str, str]]:
    found = []
    for name in ("first", "second"):
        if row.get(name):
            image = _read(folder / row[name])
            if image is not None:
                found.append((name, _jpeg(_eight_bits(image))))
    if depth_dir is not None and row.get("sample_id"):
        depth = _depth(depth_dir / f"{row['sample_id']}.png", "depth of the system")
        found += [depth] if depth else []
    if row.get("depth"):
        depth = _depth(folder / row["depth"], "depth measured")
        found += [depth] if depth else []
    return found


def _read(path: Path) -> NDArray[np.generic] | None:
    """An image as it is stored; None where there is none. A report must not fail for a picture."""
    try:
        if not 0 < path.stat().st_size <= MAX_FILE_BYTES:
            return None
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, cv2.error):
        return None
    return image if image is not None and image.ndim in (2, 3) else None


def _eight_bits(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    if image.ndim == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    values = image.astype(np.float32)
    # Ten or twelve bits in sixteen would look black.
    scale = 255 / max(float(np.percentile(values, 99.5)), 1.0)
    return np.asarray(np.clip(values * scale, 0, 255), np.uint8)


def _depth(path: Path, name: str) -> tuple[str, str] | None:
    """Depth in colours from near (dark) to far (bright), its range in the caption."""
    image = _read(path)
    if image is None or image.ndim != 2:
        return None
    depth_mm = image.astype(np.float32) * DEPTH_UNIT_MM
    known = depth_mm > 0
    if not known.any():
        return None
    near, far = (float(v) for v in np.percentile(depth_mm[known], [2, 98]))
    scaled = np.clip((depth_mm - near) / max(far - near, 1.0) * 255, 0, 255).astype(np.uint8)
    coloured = cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS)
    coloured[~known] = 235
    return f"{name}, {near:.0f} to {far:.0f} mm", _jpeg(np.asarray(coloured, np.uint8))


def _jpeg(image: NDArray[np.uint8]) -> str:
    scale = THUMBNAIL_PX / max(image.shape[:2])
    if scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 78])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
