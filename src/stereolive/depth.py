"""From the network's disparity to depth information, and what can be read off it: distance, relief, planarity.

The grid of all maps is the depth network's output grid: G = S / 2 cells over the crop of the first view, cell centres
at crop pixels ``2 g + 0.5``. Both views are on the crop's own pixels, S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.rig import Rig
from stereolive.types import DepthInformation, FaceCrop, Location

FloatArray = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.uint8)
"""Of pictures and of maps."""

LIVENESS_MAPS = (
    "relative_depth",
    "depth_sd",
    "disparity_sd",
    "inside",
    "side",
    "distance",
    "lead_is_visible",
    "other_is_visible",
)
LIVENESS_VIEWS = ("lead_blue", "lead_green", "lead_red", "other_blue", "other_green", "other_red")
LIVENESS_CHANNELS = (*LIVENESS_MAPS, *LIVENESS_VIEWS)
"""What the liveness model is given, in order; ``liveness_input`` says what each channel holds."""

RELATIVE_DEPTH_UNIT_MM = 50.0
DISPARITY_SD_UNIT_PX = 4.0
NEAREST_MM, FARTHEST_MM = 50.0, 5000.0
FACE_RADIUS = 0.28
"""Of the circle that a face fills, per side of its crop."""


def depth_information(
    crop: FaceCrop, disparity_px: FloatArray, disparity_sd_px: FloatArray, *, second_is_laid: bool = False
) -> DepthInformation:
    """Depth in mm with its standard deviation, and the second view laid onto the first, if it does not lie there yet.

    ``disparity_px`` and ``disparity_sd_px`` are (G, G) in crop pixels, relative to ``crop.shift_px``.
    Z = f b / D, and to first order sd(Z) = Z sd(D) / D.
    """
    smallest = crop.focal_times_baseline / FARTHEST_MM
    largest = crop.focal_times_baseline / NEAREST_MM
    full = np.clip(crop.shift_px + disparity_px / crop.scale, smallest, largest)
    depth_mm = (crop.focal_times_baseline / full).astype(np.float32)
    depth_sd_mm = (depth_mm * (disparity_sd_px / crop.scale) / full).astype(np.float32)
    laid = crop.second if second_is_laid else _laid_on_first(crop, disparity_px)
    return DepthInformation(disparity_px, disparity_sd_px, depth_mm, depth_sd_mm, crop.first, laid, crop)


def _laid_on_first(crop: FaceCrop, disparity_px: FloatArray) -> NDArray[np.uint8]:
    ys, xs = np.mgrid[: crop.size, : crop.size].astype(np.float32)
    fine = cv2.resize(disparity_px.astype(np.float32), (crop.size, crop.size), interpolation=cv2.INTER_LINEAR)
    laid = cv2.remap(crop.second, xs - fine, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(laid, np.uint8)


FINER_REACH = 0.75
"""Share of the depth network's search, on the finer crop, within which its answer there is used."""


def with_finer(
    coarse: tuple[FloatArray, FloatArray], finer: tuple[FloatArray, FloatArray], offset_px: float, reach_px: float
) -> tuple[FloatArray, FloatArray]:
    """Disparity and its standard deviation (G, G) in crop px, of two looks at one face: at the crop, and at one of
    twice its size in whose shift ``offset_px`` (crop px) of the disparity is taken out already.

    Each counts by its certainty. Both look at the same pictures, so they err together: the deviation is the one that
    corresponds to the mean of both certainties, not to their sum. Where the coarse look says that the finer one had to
    search beyond ``reach_px`` (px of the finer crop), the coarse one alone counts.
    """
    disparity, sd = coarse
    grid = disparity.shape[::-1]
    fine, fine_sd = (np.asarray(cv2.resize(map_, grid, interpolation=cv2.INTER_AREA), np.float32) / 2 for map_ in finer)
    certainty, fine_certainty = sd**-2, fine_sd**-2
    both = (disparity * certainty + (fine + offset_px) * fine_certainty) / (certainty + fine_certainty)
    both_sd = np.sqrt(2 / (certainty + fine_certainty))
    within = 2 * np.abs(disparity - offset_px) < FINER_REACH * reach_px
    return np.where(within, both, disparity).astype(np.float32), np.where(within, both_sd, sd).astype(np.float32)


def grid_from_rectified(info: DepthInformation) -> NDArray[np.float64]:
    """Affine (2, 3) from the first rectified view to the grid of the maps."""
    ratio = info.depth_mm.shape[0] / info.crop.size
    affine: NDArray[np.float64] = info.crop.first_crop_from_rectified * ratio
    affine[:, 2] += (ratio - 1) / 2
    return affine


def depth_on_first_image_mm(info: DepthInformation | None, rig: Rig) -> FloatArray:
    """Depth (H, W) on the first image's pixels and along its axis; 0 outside the crop, and all 0 without ``info``."""
    if info is None:
        return np.zeros((rig.first.height, rig.first.width), np.float32)
    return rig.rectification.first_depth_mm(info.depth_mm, grid_from_rectified(info))


def liveness_input(info: DepthInformation) -> tuple[FloatArray, FloatArray]:
    """The liveness model's input, turned upright: maps (M, G, G) as in ``LIVENESS_MAPS``, and on twice the grid the
    views (V, S, S) as in ``LIVENESS_VIEWS``, since what tells skin from paper and rubber is often finer than depth.

    - ``relative_depth``: (Z - the face's median Z) / 50 mm, held within +-3;
    - ``depth_sd``: its standard deviation / 20 mm, and ``disparity_sd``: that of the disparity in crop pixels / 4, both
      within 0..3: the first says what is known of the shape, the second whether the views match;
    - ``lead_*``, ``other_*``: both views, divided by their mean brightness over the face, halved, within 0..2. A
      shared factor for the three colours keeps their proportion. The visible view leads where only the second sensor is
      a visible one, so that a pair means the same whichever sensor is called the first; else the first view leads;
    - ``inside``: 1 within the crop, 0 where turning upright brought in nothing;
    - ``side``: the crop's side / 250 mm, a life-size face being near 1; ``distance``: Z / 1 m; and the two spectra as 0
      or 1.
    """
    grid = info.depth_mm.shape[0]
    face = face_ellipse(grid)
    distance_mm = float(np.median(info.depth_mm[face]))
    side_mm = info.crop.size / info.crop.scale * distance_mm / info.crop.focal_px
    maps = np.empty((grid, grid, 4), np.float32)
    maps[:, :, 0] = np.clip((info.depth_mm - distance_mm) / RELATIVE_DEPTH_UNIT_MM, -3, 3)
    maps[:, :, 1] = np.clip(info.depth_sd_mm / 20, 0, 3)
    maps[:, :, 2] = np.clip(info.disparity_sd_px / DISPARITY_SD_UNIT_PX, 0, 3)
    views = [(info.first, info.crop.first_spectrum), (info.second, info.crop.second_spectrum)]
    if second_leads(info.crop.first_spectrum, info.crop.second_spectrum):
        views.reverse()
    maps[:, :, 3] = 1
    maps = upright(maps, info.crop.roll_deg)
    shown = face_ellipse(info.crop.size).astype(np.uint8)
    levels = [max(float(np.mean(cv2.mean(view, shown)[:3])) / 255, 0.01) for view, _ in views]
    # A view has 256 values: looking them up is faster than multiplying.
    values = [np.minimum(np.arange(256, dtype=np.float32) * np.float32(0.5 / (255 * level)), 2) for level in levels]
    pictures = [
        plane
        for (view, _), value in zip(views, values, strict=True)
        for plane in cv2.split(cv2.LUT(upright(view, info.crop.roll_deg), value))
    ]
    constants = (
        min(side_mm / 250, 4.0),
        min(distance_mm / 1000, 4.0),
        *(float(spectrum == "visible") for _, spectrum in views),
    )
    planes = np.broadcast_to(np.array(constants, np.float32)[:, None, None], (4, grid, grid))
    return np.concatenate([maps.transpose(2, 0, 1), planes]).astype(np.float32), np.stack(pictures)


def second_leads(first_spectrum: str, second_spectrum: str) -> bool:
    """Whether the second view comes first in ``liveness_input``: where it alone is a visible one."""
    return second_spectrum == "visible" and first_spectrum != "visible"


def upright(maps: NDArray[Number], roll_deg: float) -> NDArray[Number]:
    """Maps (G, G, C), C at most 4, of a face that leans clockwise by ``roll_deg``, turned so that it stands; zero where
    nothing was. A face that leans less than half a degree stays as it is."""
    if abs(roll_deg) <= 0.5:
        return maps
    grid = maps.shape[0]
    middle = (grid - 1) / 2
    # OpenCV's positive angle turns counter-clockwise as seen; the content leans clockwise by roll_deg.
    turn = cv2.getRotationMatrix2D((middle, middle), roll_deg, 1.0)
    return cast("NDArray[Number]", cv2.warpAffine(maps, turn, (grid, grid), flags=cv2.INTER_LINEAR))


@dataclass(frozen=True)
class Shape:
    """What a person can check of a face's depth."""

    distance_mm: float  # median over the face, along the rectified axis (the detector turns it into the first sensor's)
    relief_mm: float  # between the 5th and the 95th percentile over the face, after the best plane is taken out
    plane_residual_mm: float  # root of the mean square distance from that plane
    depth_sd_mm: float  # median standard deviation over the face
    disparity_sd_px: float  # the same in crop pixels
    eye_distance_mm: float | None  # between the two eye landmarks


def shape_of_face(info: DepthInformation, location: Location) -> Shape:
    """Distance, relief, planarity and eye distance from depth, each depth weighed by its certainty."""
    grid = info.depth_mm.shape[0]
    face = face_ellipse(grid)
    depth = info.depth_mm[face].astype(np.float64)
    sd = np.maximum(info.depth_sd_mm[face].astype(np.float64), 0.5)
    distance_mm = float(np.median(depth))
    ys, xs = np.nonzero(face)
    design = np.stack([xs - grid / 2, ys - grid / 2, np.ones(len(xs))], axis=1)
    root = (1 / sd)[:, None]
    plane, *_ = np.linalg.lstsq(design * root, depth * root[:, 0], rcond=None)
    residual = depth - design @ plane
    low, high = np.percentile(residual, (5, 95))
    return Shape(
        distance_mm,
        float(high - low),
        float(math.sqrt(np.average(residual**2, weights=1 / sd**2))),
        float(np.median(sd)),
        float(np.median(info.disparity_sd_px[face])),
        _eye_distance_mm(info, location),
    )


def _eye_distance_mm(info: DepthInformation, location: Location) -> float | None:
    """Distance between the eyes by their place and the depth there; None without a face in the first view."""
    if location.face_first is None or location.rectified_landmarks_first is None:
        return None
    crop = info.crop
    eyes = (
        location.rectified_landmarks_first[:2] @ crop.first_crop_from_rectified[:, :2].T
        + crop.first_crop_from_rectified[:, 2]
    )
    grid = info.depth_mm.shape[0]
    cells = np.clip(np.rint((eyes + 0.5) * grid / crop.size - 0.5).astype(int), 1, grid - 2)
    depths = np.array([np.median(info.depth_mm[y - 1 : y + 2, x - 1 : x + 2]) for x, y in cells])
    across = (eyes[1] - eyes[0]) / crop.scale / crop.focal_px * depths.mean()
    return float(math.sqrt(across @ across + (depths[1] - depths[0]) ** 2))


def face_ellipse(grid: int) -> NDArray[np.bool_]:
    """Which cells (G, G) of a crop's grid the face fills."""
    return disc(grid, FACE_RADIUS)


def disc(grid: int, radius: float) -> NDArray[np.bool_]:
    """Cells (G, G) within ``radius`` of the crop's middle, per its side."""
    ys, xs = (np.mgrid[:grid, :grid] - (grid - 1) / 2) / grid
    return np.asarray(xs**2 + ys**2 < radius**2, np.bool_)
