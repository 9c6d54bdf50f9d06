"""A depth sensor's measurements, moved to another camera's grid with its holes and edges kept."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import RigError
from stereolive.rig import Camera

FloatArray = NDArray[np.float64]
# Neighbours on the depth sensor's grid that differ by more than this share of their distance are two surfaces, not one.
EDGE_SHARE = 0.02


def move_depth(
    depth_mm: NDArray[np.float32], source: Camera, target: Camera, rotation: FloatArray, translation_mm: FloatArray
) -> NDArray[np.float32]:
    """Depth (H, W) in mm on the source's grid, moved to the target's grid and axis; 0 is no measurement and stays none.

    The target's pixels may be finer, so the surface between four neighbouring measurements is filled, linearly in the
    target's pixels and in inverse depth as a plane is; but not across an edge or a hole. Where surfaces cover each
    other, the nearest is seen.
    """
    height, width = depth_mm.shape
    if (width, height) != source.size:
        raise RigError(f"depth: expected {source.height} x {source.width}, got {height} x {width}")
    rows, columns = np.nonzero((depth_mm > 0) & np.isfinite(depth_mm))
    pixels = np.stack([columns, rows], axis=1)
    rays = source.rays(pixels)
    rays_ok = np.hypot(rays[:, 0], rays[:, 1]) < _invertible_radius(source)
    # Where the model folds over, the search for a ray ends somewhere, at one that does not lead back to its pixel.
    rays_ok &= np.abs(source.project(rays) - pixels).max(axis=1, initial=0.0) < 0.5
    points = rays * depth_mm[rows, columns, None].astype(np.float64)
    points = points @ rotation.T + translation_mm
    z = points[:, 2]
    ok = rays_ok & (z > 1.0)
    ok &= np.hypot(points[:, 0], points[:, 1]) < _invertible_radius(target) * z
    rows, columns, points = rows[ok], columns[ok], points[ok]
    moved = np.full((3, height, width), np.nan)  # x, y in target pixels, inverse depth
    if len(points):
        moved[:2, rows, columns] = target.project(points).T
        moved[2, rows, columns] = 1.0 / points[:, 2]
    corners = np.stack([moved[:, :-1, :-1], moved[:, :-1, 1:], moved[:, 1:, :-1], moved[:, 1:, 1:]])
    with np.errstate(invalid="ignore"):
        low, high = corners[:, 2].min(axis=0), corners[:, 2].max(axis=0)
        cells = high - low < EDGE_SHARE * low  # false where a corner has no measurement
    corners = corners[:, :, cells]  # (4, 3, cells)
    result = np.zeros((target.height, target.width), np.float32)
    if not corners.shape[2]:
        return result
    # Half a target pixel is the closest that samples need to lie, so that no pixel inside a cell is missed.
    spacing = np.hypot(*(corners[3, :2] - corners[0, :2]))
    steps = min(16, math.ceil(math.sqrt(2.0) * float(np.percentile(spacing, 99))))
    gradient = _gradient(corners)
    nearest = np.zeros(result.size)
    shares = np.arange(steps) / steps
    for down in shares:
        left = corners[0] * (1 - down) + corners[2] * down
        right = corners[1] * (1 - down) + corners[3] * down
        for along in shares:
            x, y, inverse = left * (1 - along) + right * along
            column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
            # Brought to the pixel's centre: of several samples in a pixel the nearest would win, a bias on any slope.
            inverse = inverse + gradient[0] * (column - x) + gradient[1] * (row - y)
            inside = (column >= 0) & (column < target.width) & (row >= 0) & (row < target.height)
            np.maximum.at(nearest, row[inside] * target.width + column[inside], inverse[inside])
    seen = nearest.reshape(result.shape)
    np.divide(1.0, seen, out=result, where=seen > 0, casting="same_kind")
    return result


def _gradient(corners: FloatArray) -> FloatArray:
    """Change of inverse depth (2, N) a pixel in x and y over cells (4, 3, N) of x, y, inverse depth; edge-on 0."""
    along, down = corners[1] - corners[0], corners[2] - corners[0]
    area = along[0] * down[1] - along[1] * down[0]
    by_x = along[2] * down[1] - along[1] * down[2]
    by_y = along[0] * down[2] - along[2] * down[0]
    wide = np.abs(area) > 0.1 * np.hypot(*along[:2]) * np.hypot(*down[:2])
    gradient: FloatArray = np.divide([by_x, by_y], area, out=np.zeros((2, area.size)), where=wide)
    return gradient


def _invertible_radius(camera: Camera) -> float:
    """The largest |ray| (at z = 1) up to which the radial distortion r (1 + k1 r^2 + k2 r^4 + k3 r^6) still grows.

    A strong k3, fitted on a board near the image's centre, folds the model over towards the corners: the depth
    sensor's is only good within some 420 pixels. Beyond, a pixel has no ray.
    """
    k = np.zeros(8)
    k[: min(camera.distortion.size, 8)] = camera.distortion[:8]
    if k[5:].any():  # the rational model is fitted with its own limits and is left alone
        return math.inf
    slope = np.polynomial.Polynomial([1.0, 3 * k[0], 5 * k[1], 7 * k[4]])  # in r^2
    roots = slope.trim().roots()
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return math.sqrt(float(real.min())) if len(real) else math.inf
