"""From board points in both views to a rig, with the pairs that do not fit named and the depth error to be expected.

Each sensor is calibrated on all its views (Zhang 2000), then both together on the pairs that both see
(``cv2.stereoCalibrate``, all intrinsics free). Pairs whose residuals stand out are rejected one at a time. A
jackknife over groups of pairs then gives two things that residuals of the fit itself cannot: the error on pairs that
were left out, and how far the rig's numbers may be off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stereolive.calibrate.boards import Board, Points
from stereolive.errors import InputError
from stereolive.rig import Camera, Rig, Spectrum

FloatArray = NDArray[np.float64]
LEAST_PAIRS = 6
"""Fewer pairs leave focal length and distortion undetermined."""
GROUPS = 8
OUTLIER_FACTOR = 3.0
"""A pair is rejected whose residual is this many times the median of all pairs' ..."""
OUTLIER_FLOOR_PX = 0.5
"""... and at least this."""
DISTANCES_MM = (300.0, 500.0, 1000.0)
MATCHING_ERROR_PX = 0.25
"""An assumed matching error of the depth network, in pixels of the rectified views, for the expected depth error."""
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-8)


@dataclass(frozen=True)
class BoardPair:
    """What both views of one pair show of the board; None where it was not found."""

    name: str
    first: Points | None
    second: Points | None


@dataclass(frozen=True)
class PairResult:
    """How one pair fits. Errors are root mean squares in px of its own sensor; ``epipolar_px`` in rectified px."""

    name: str
    used: bool
    reason: str  # why it was not used, else empty
    first_px: float | None = None
    second_px: float | None = None
    epipolar_px: float | None = None


@dataclass(frozen=True)
class DepthError:
    """Expected standard error of depth at one distance: from the calibration, and from a matching error of
    ``MATCHING_ERROR_PX``."""

    distance_mm: float
    calibration_mm: float
    matching_mm: float

    @property
    def total_mm(self) -> float:
        return math.hypot(self.calibration_mm, self.matching_mm)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rig with what it rests on. Root mean squares in px; ``held_out_*`` on pairs that the fit did not see."""

    board: Board
    rig: Rig
    pairs: tuple[PairResult, ...]
    first_px: float
    second_px: float
    epipolar_px: float
    held_out_px: float
    held_out_epipolar_px: float
    baseline_sd_mm: float
    rotation_sd_deg: float
    depth_errors: tuple[DepthError, ...]
    first_points: FloatArray  # (N, 2) pixels of all used points
    second_points: FloatArray
    tilts_deg: tuple[float, ...]  # between the board's normal and the first sensor's axis, used pairs

    @property
    def used(self) -> int:
        return sum(pair.used for pair in self.pairs)


@dataclass(frozen=True, eq=False)
class _Fit:
    matrices: tuple[FloatArray, FloatArray]
    distortions: tuple[FloatArray, FloatArray]
    rotation: FloatArray
    translation_mm: FloatArray
    rotations_board: list[FloatArray]  # (3, 1) rotation vectors, one a pair
    translations_board: list[FloatArray]
    residuals_px: FloatArray  # (pairs, 2) root mean square


@dataclass(frozen=True, eq=False)
class _Shared:
    """Points that both views of a pair show."""

    name: str
    board_mm: FloatArray  # (N, 3)
    first: FloatArray  # (N, 2)
    second: FloatArray


def solve(
    board: Board,
    pairs: Sequence[BoardPair],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    spectra: tuple[Spectrum, Spectrum],
) -> Calibration:
    """The rig from board points. ``sizes`` are both sensors' width, height. Raises InputError where too few pairs
    show the board."""
    kept, left_out, fit = _fit_without_outliers(board, pairs, sizes)
    if board.kind == "circles":
        measured = pairs
        for _ in range(2):
            pairs = [_without_circle_bias(board, pair, fit) for pair in measured]
            kept, left_out, fit = _fit_without_outliers(board, pairs, sizes)
    rig = _rig(fit, sizes, spectra)
    return _measured(board, pairs, kept, left_out, fit, rig, sizes, spectra)


def _fit_without_outliers(
    board: Board, pairs: Sequence[BoardPair], sizes: tuple[tuple[int, int], tuple[int, int]]
) -> tuple[list[_Shared], dict[str, str], _Fit]:
    """The pairs that fit, why each other one was left out, and the fit."""
    shared, left_out = _shared(board, pairs)
    if len(shared) < LEAST_PAIRS:
        raise InputError(
            f"calibration: {len(shared)} of {len(pairs)} pairs show the board to both sensors, "
            f"at least {LEAST_PAIRS} are needed"
            f"{_first_reasons(left_out)}"
        )
    matrices, distortions = [], []
    for view in (0, 1):
        every = [(p.first, p.second)[view] for p in pairs]
        matrix, distortion = _intrinsics(board, [p for p in every if p is not None], sizes[view])
        matrices.append(matrix)
        distortions.append(distortion)
    start = (matrices[0], matrices[1]), (distortions[0], distortions[1])
    kept = list(shared)
    fit = _fit(kept, *start, sizes[0])
    while len(kept) > LEAST_PAIRS:
        worst = _outlier(fit)
        if worst is None:
            break
        out = kept.pop(worst)
        left_out[out.name] = _why_outlier(fit, worst, out)
        fit = _fit(kept, *start, sizes[0])
    return kept, left_out, fit


def _without_circle_bias(board: Board, pair: BoardPair, fit: _Fit) -> BoardPair:
    """The pair with its points moved from the centres of the ellipses to the images of the circles' centres.

    A tilted circle's picture has its centroid elsewhere than its centre's picture: some tenths of a pixel, enough to
    put the focal length off by 2 %.
    """
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rim = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(24)])
    views: list[Points | None] = []
    for points, matrix, distortion in zip((pair.first, pair.second), fit.matrices, fit.distortions, strict=True):
        if points is None:
            views.append(None)
            continue
        centers = board.points_mm[points.ids]
        outlines = centers[:, None] + rim * board.circles_mm[points.ids, 2][:, None, None]
        _, rotation, translation = cv2.solvePnP(centers, points.pixels, matrix, distortion)
        everything = np.concatenate([centers, outlines.reshape(-1, 3)])
        projected = _doubles(cv2.projectPoints(everything, rotation, translation, matrix, distortion)[0]).reshape(-1, 2)
        count = len(centers)
        centroids = [_centroid(outline) for outline in projected[count:].reshape(count, 24, 2)]
        views.append(Points(points.ids, points.pixels - (np.array(centroids) - projected[:count])))
    return BoardPair(pair.name, views[0], views[1])


def _centroid(polygon: FloatArray) -> FloatArray:
    """Centroid (2,) of the area of a polygon (N, 2)."""
    origin = polygon.mean(axis=0)
    x, y = (polygon - origin).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    weight = cross.sum() * 3
    moments = np.array([((x + np.roll(x, -1)) * cross).sum(), ((y + np.roll(y, -1)) * cross).sum()])
    return cast(FloatArray, origin + moments / weight)


def _shared(board: Board, pairs: Sequence[BoardPair]) -> tuple[list[_Shared], dict[str, str]]:
    shared, left_out = [], {}
    for pair in pairs:
        missing = [view for view, points in (("first", pair.first), ("second", pair.second)) if points is None]
        if pair.first is None or pair.second is None:
            left_out[pair.name] = f"no board found in the {' and the '.join(missing)} view"
            continue
        second = board.agreed(pair.first, pair.second)
        ids = np.intersect1d(pair.first.ids, second.ids)
        if len(ids) < 8:
            left_out[pair.name] = f"both views share only {len(ids)} points"
            continue
        shared.append(_Shared(pair.name, board.points_mm[ids], pair.first.only(ids), second.only(ids)))
    return shared, left_out


def _first_reasons(left_out: dict[str, str]) -> str:
    some = [f"{name}: {reason}" for name, reason in list(left_out.items())[:3]]
    return f" ({'; '.join(some)})" if some else ""


def _intrinsics(board: Board, views: list[Points], size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Camera matrix and five distortion coefficients of one sensor. The third radial one is freed only where it
    clearly helps: else it bends the corners that no board reached."""
    objects = [board.points_mm[view.ids].astype(np.float32) for view in views]
    images = [view.pixels.astype(np.float32).reshape(-1, 1, 2) for view in views]
    results = []
    for flags in (cv2.CALIB_FIX_K3, 0):
        rms, matrix, distortion, _, _ = cv2.calibrateCamera(
            objects, images, size, np.eye(3), np.zeros(5), flags=flags, criteria=_CRITERIA
        )
        results.append((rms, np.asarray(matrix, np.float64), np.asarray(distortion, np.float64).ravel()[:5]))
    plain, free = results
    chosen = free if free[0] < 0.9 * plain[0] else plain
    return chosen[1], chosen[2]


def _fit(
    kept: Sequence[_Shared],
    matrices: tuple[FloatArray, FloatArray],
    distortions: tuple[FloatArray, FloatArray],
    size: tuple[int, int],
) -> _Fit:
    flags = cv2.CALIB_USE_INTRINSIC_GUESS
    if distortions[0][4] == 0 and distortions[1][4] == 0:
        flags |= cv2.CALIB_FIX_K3
    _, m1, d1, m2, d2, rotation, translation, _, _, rvecs, tvecs, errors = cv2.stereoCalibrateExtended(
        [p.board_mm.astype(np.float32) for p in kept],
        [p.first.astype(np.float32).reshape(-1, 1, 2) for p in kept],
        [p.second.astype(np.float32).reshape(-1, 1, 2) for p in kept],
        matrices[0].copy(),
        distortions[0].copy(),
        matrices[1].copy(),
        distortions[1].copy(),
        size,
        np.eye(3),
        np.zeros(3),
        flags=flags,
        criteria=_CRITERIA,
    )
    return _Fit(
        (_doubles(m1), _doubles(m2)),
        (_doubles(d1).ravel()[:5], _doubles(d2).ravel()[:5]),
        _doubles(rotation),
        _doubles(translation).ravel(),
        [_doubles(r) for r in rvecs],
        [_doubles(t) for t in tvecs],
        _doubles(errors).reshape(-1, 2),
    )


def _outlier(fit: _Fit) -> int | None:
    """The pair that fits worst, if it stands out."""
    worst = fit.residuals_px.max(axis=1)
    limit = max(OUTLIER_FLOOR_PX, OUTLIER_FACTOR * float(np.median(worst)))
    index = int(np.argmax(worst))
    return index if worst[index] > limit else None


def _why_outlier(fit: _Fit, index: int, pair: _Shared) -> str:
    """Whether the pair's views are each good by themselves, which tells movement between the exposures from badly
    found points."""
    residual = float(fit.residuals_px[index].max())
    alone = []
    for pixels, matrix, distortion in zip((pair.first, pair.second), fit.matrices, fit.distortions, strict=True):
        _, rotation, translation = cv2.solvePnP(pair.board_mm, pixels, matrix, distortion)
        projected, _ = cv2.projectPoints(pair.board_mm, rotation, translation, matrix, distortion)
        alone.append(_rms(np.asarray(projected).reshape(-1, 2) - pixels))
    if max(alone) < 0.5 * residual:
        return f"the views do not fit each other ({residual:.2f} px): the board or the rig moved between both exposures"
    bad = "first" if alone[0] >= alone[1] else "second"
    return (
        f"the points of the {bad} view do not lie on a flat board ({max(alone):.2f} px): blurred, bent or wrongly found"
    )


def _rig(fit: _Fit, sizes: tuple[tuple[int, int], tuple[int, int]], spectra: tuple[Spectrum, Spectrum]) -> Rig:
    cameras = [
        Camera(spectrum, size[0], size[1], matrix, distortion)
        for spectrum, size, matrix, distortion in zip(spectra, sizes, fit.matrices, fit.distortions, strict=True)
    ]
    return Rig(cameras[0], cameras[1], fit.rotation, fit.translation_mm)


def _measured(
    board: Board,
    pairs: Sequence[BoardPair],
    kept: list[_Shared],
    left_out: dict[str, str],
    fit: _Fit,
    rig: Rig,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    spectra: tuple[Spectrum, Spectrum],
) -> Calibration:
    rows = [row_errors_px(rig, pair.first, pair.second) for pair in kept]
    results = {
        pair.name: PairResult(pair.name, True, "", float(residual[0]), float(residual[1]), _rms(row))
        for pair, residual, row in zip(kept, fit.residuals_px, rows, strict=True)
    }
    folds = _jackknife(kept, fit, sizes, spectra)
    held_rows = np.concatenate([row_errors_px(r, p.first, p.second) for r, out in folds for p in out])
    held_pixels = np.concatenate([_triangulation_residuals_px(r, p) for r, out in folds for p in out])
    rigs = [r for r, _ in folds]
    return Calibration(
        board,
        rig,
        tuple(results.get(p.name) or PairResult(p.name, False, left_out[p.name]) for p in pairs),
        float(np.sqrt((fit.residuals_px[:, 0] ** 2).mean())),
        float(np.sqrt((fit.residuals_px[:, 1] ** 2).mean())),
        _rms(np.concatenate(rows)),
        _rms(held_pixels),
        _rms(held_rows),
        _jackknife_sd(np.array([r.baseline_mm for r in rigs])),
        math.degrees(float(np.linalg.norm(_jackknife_sd_each(np.array([_turn(rig, r) for r in rigs]))))),
        _depth_errors(rig, rigs),
        np.concatenate([p.first for p in kept]),
        np.concatenate([p.second for p in kept]),
        tuple(_tilt_deg(rotation) for rotation in fit.rotations_board),
    )


def _jackknife(
    kept: list[_Shared],
    fit: _Fit,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    spectra: tuple[Spectrum, Spectrum],
) -> list[tuple[Rig, list[_Shared]]]:
    """Rigs from all pairs but a group, each with that group."""
    groups = min(GROUPS, len(kept))
    folds = []
    for group in range(groups):
        inside = [pair for index, pair in enumerate(kept) if index % groups != group]
        outside = kept[group::groups]
        folds.append((_rig(_fit(inside, fit.matrices, fit.distortions, sizes[0]), sizes, spectra), outside))
    return folds


def _jackknife_sd_each(values: FloatArray) -> FloatArray:
    """Standard errors (M,) from delete-a-group estimates (groups, M); Efron & Stein 1981."""
    groups = len(values)
    spread = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    return cast(FloatArray, np.sqrt(spread * (groups - 1) / groups))


def _jackknife_sd(values: FloatArray) -> float:
    return float(_jackknife_sd_each(values[:, None])[0])


def _turn(reference: Rig, other: Rig) -> FloatArray:
    """Rotation vector (3,) in radians from one rig's relative rotation to another's."""
    vector, _ = cv2.Rodrigues(other.rotation_second_from_first @ reference.rotation_second_from_first.T)
    return _doubles(vector).ravel()


def _tilt_deg(rotation_vector: FloatArray) -> float:
    matrix, _ = cv2.Rodrigues(rotation_vector)
    return math.degrees(math.acos(min(1.0, abs(float(matrix[2, 2])))))


def row_errors_px(rig: Rig, first: FloatArray, second: FloatArray) -> FloatArray:
    """Differences of rectified rows (N,) of matched pixels (N, 2), first less second."""
    rectification = rig.rectification
    rows_first = rectification.rectify_points(first, "first")[:, 1]
    return rows_first - rectification.rectify_points(second, "second")[:, 1]


def triangulate_mm(rig: Rig, first: FloatArray, second: FloatArray) -> FloatArray:
    """Points (N, 3) in the first sensor's frame where the rays of matched pixels (N, 2) come nearest to each other
    (midpoints)."""
    ray_first = rig.first.rays(first)
    ray_second = rig.second.rays(second) @ rig.rotation_second_from_first
    center = -rig.rotation_second_from_first.T @ rig.translation_second_from_first_mm
    # Lengths a, b with a r1 - b r2 = center in the least squares sense.
    aa, bb = (ray_first**2).sum(axis=1), (ray_second**2).sum(axis=1)
    ab = (ray_first * ray_second).sum(axis=1)
    ac, bc = ray_first @ center, ray_second @ center
    determinant = aa * bb - ab * ab
    along_first = (ac * bb - ab * bc) / determinant
    along_second = (ab * ac - aa * bc) / determinant
    return cast(FloatArray, (ray_first * along_first[:, None] + ray_second * along_second[:, None] + center) / 2)


def _triangulation_residuals_px(rig: Rig, pair: _Shared) -> FloatArray:
    """What is left (2N, 2) in both images after triangulation."""
    points = triangulate_mm(rig, pair.first, pair.second)
    moved = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    return np.concatenate([rig.first.project(points) - pair.first, rig.second.project(moved) - pair.second])


def _depth_errors(rig: Rig, others: Sequence[Rig]) -> tuple[DepthError, ...]:
    result = []
    for distance in DISTANCES_MM:
        first, second = _facing_pixels(rig, distance)
        if len(first) == 0:
            continue
        depths = np.array([triangulate_mm(other, first, second)[:, 2] for other in others])
        calibration = _rms(_jackknife_sd_each(depths))
        matching = distance**2 / rig.rectification.focal_times_baseline * MATCHING_ERROR_PX
        result.append(DepthError(distance, calibration, matching))
    return tuple(result)


def _facing_pixels(rig: Rig, distance_mm: float) -> tuple[FloatArray, FloatArray]:
    """Pixels in both views of points at a distance that both sensors see, in the middle half of the first picture."""
    share = np.linspace(0.25, 0.75, 5)
    grid = np.stack(np.meshgrid(share * rig.first.width, share * rig.first.height), axis=-1).reshape(-1, 2)
    points = rig.first.rays(grid) * distance_mm
    second = rig.second.project(points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm)
    seen = ((second >= 0) & (second <= np.array(rig.second.size) - 1)).all(axis=1)
    return grid[seen], second[seen]


def _doubles(values: ArrayLike) -> FloatArray:
    return np.asarray(values, np.float64)


def _rms(values: FloatArray) -> float:
    """Root mean square; of vectors (N, 2) that of their lengths."""
    squares = values**2 if values.ndim == 1 else (values**2).sum(axis=1)
    return float(np.sqrt(squares.mean()))
