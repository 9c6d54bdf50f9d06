"""The worst cases: which presentations they are, and their pictures and depth small enough to lie inside a report."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ImageError
from stereolive.evaluate.scores import ScoreTable, read_rows
from stereolive.evaluate.thresholds import Grading
from stereolive.images import as_8bit, read_depth, read_image

THUMBNAIL_PX = 200
CASES = 8
DEPTH_RANGE_MM = 120.0  # a face, its hair and some neck


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


def _pictures(row: dict[str, str], folder: Path, depth_dir: Path | None) -> Iterator[tuple[str, str]]:
    """What there is of both views and of the depth. A report must not fail for a picture."""
    for name in ("first", "second"):
        if row.get(name):
            with suppress(ImageError):
                yield name, _jpeg(as_8bit(read_image(folder / row[name])))
    depths = []
    if depth_dir is not None and row.get("sample_id"):
        depths.append((depth_dir / f"{row['sample_id']}.png", "depth by the system"))
    if row.get("depth"):
        depths.append((folder / row["depth"], "true depth"))
    for path, name in depths:
        with suppress(ImageError):
            depth_mm = read_depth(path)
            if depth_mm.any():
                yield _coloured(depth_mm, name)


def _coloured(depth_mm: NDArray[np.float32], name: str) -> tuple[str, str]:
    """Depth (H, W) from near (dark) to far (bright), its range in the caption.

    The range is that around the nearest surface of some size, which is the face: a wall behind it would leave it flat.
    """
    known = depth_mm > 0
    near = float(np.percentile(depth_mm[known], 2))
    far = min(float(np.percentile(depth_mm[known], 98)), near + DEPTH_RANGE_MM)
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
