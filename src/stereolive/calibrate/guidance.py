"""Which views of the board are still missing, for the person who moves it before the sensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.boards import Board, Points

ENOUGH_SHOTS = 15
TILT_DEG = 15.0
NEAR_SHARE, FAR_SHARE = 0.6, 0.4
"""Of the picture's width that the board fills: at least the one in a near view, at most the other in a far one."""
PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def missing_views(board: Board, shots: Sequence[tuple[Points, Points]], size: tuple[int, int]) -> list[str]:
    """What to do next, most useful first; empty when enough has been seen. ``size`` is the first sensor's width,
    height."""
    first = [points for points, _ in shots]
    missing = [f"hold the board so that it reaches the {place}" for place in _empty_places(first, size)]
    tilts = [_tilt_deg(board, points, size) for points in first]
    for axis, sign, how in ((1, 1, "left"), (1, -1, "right"), (0, 1, "top"), (0, -1, "bottom")):
        if not any(sign * tilt[axis] >= TILT_DEG for tilt in tilts):
            missing.append(f"tilt the board so that its {how} edge is farther away")
    shares = [float(np.ptp(points.pixels[:, 0])) / size[0] for points in first]
    if not any(share >= NEAR_SHARE for share in shares):
        missing.append("bring the board nearer")
    if not any(share <= FAR_SHARE for share in shares):
        missing.append("take the board farther away")
    if not missing and len(shots) < ENOUGH_SHOTS:
        missing.append(f"{ENOUGH_SHOTS - len(shots)} more views, each one different")
    return missing


def is_new_view(shots: Sequence[tuple[Points, Points]], points: Points, size: tuple[int, int]) -> bool:
    """Whether the board has moved by a twentieth of the picture against every shot so far."""
    least = 0.05 * math.hypot(*size)
    return all(_moved_px(before, points) > least for before, _ in shots)


def is_steady(before: Points | None, now: Points, limit_px: float = 1.0) -> bool:
    """Whether the board stood still between two frames, so that exposures at different times do not matter."""
    return before is not None and _moved_px(before, now) < limit_px


def _moved_px(a: Points, b: Points) -> float:
    ids = np.intersect1d(a.ids, b.ids)
    return math.inf if len(ids) < 4 else float(np.linalg.norm(a.only(ids) - b.only(ids), axis=1).mean())


def _empty_places(shots: Sequence[Points], size: tuple[int, int]) -> list[str]:
    seen = np.zeros((3, 3), bool)
    for points in shots:
        cells = np.clip((points.pixels / size * 3).astype(int), 0, 2)
        seen[cells[:, 1], cells[:, 0]] = True
    return [PLACES[i][j] for i in range(3) for j in range(3) if not seen[i, j]]


def _tilt_deg(board: Board, points: Points, size: tuple[int, int]) -> NDArray[np.float64]:
    """Turn of the board about x and y (2,) in degrees, with a guessed focal length of the picture's width.

    Positive about x: the top edge is farther away; positive about y: the left edge is.
    """
    matrix = np.array([[size[0], 0, size[0] / 2], [0, size[0], size[1] / 2], [0, 0, 1.0]])
    found, vector, _ = cv2.solvePnP(board.points_mm[points.ids], points.pixels, matrix, np.zeros(5))
    if not found:
        return np.zeros(2)
    normal = np.asarray(cv2.Rodrigues(vector)[0], np.float64)[:, 2]
    return np.array([math.degrees(math.atan2(across, normal[2])) for across in (normal[1], normal[0])])
