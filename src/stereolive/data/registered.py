"""Sets whose views already lie on each other, as most public ones are delivered: no calibration, hence no disparity
that a network could learn.

They teach the liveness model alone, by the depth that came with them. To go the common way, their depth is told as the
disparity that a second sensor beside the first would see.
"""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.manifest import Presentation
from stereolive.depth import depth_information, face_ellipse
from stereolive.errors import ManifestError
from stereolive.faces import CROP_SIDE_PER_FACE, Sighting
from stereolive.rig import Camera, Rig, Spectrum
from stereolive.types import DepthInformation, FaceCrop, FloatArray, ImageArray, Location

REGISTERED: Literal["registered"] = "registered"
"""``Location.matched_by`` of such a pair."""
BASELINE_MM = 50.0
FOCAL_PER_WIDTH = 0.87
"""Sixty degrees across, as most depth cameras see; such sets seldom tell."""
CROP_MM = 230.0
"""The side of an adult's crop, from which the distance is guessed where there is no depth."""
KNOWN_SD_PX, UNKNOWN_SD_PX = 0.5, 12.0
"""Standard deviation told to the liveness model: what the depth network says of faces, and its highest."""


def rig_of(entry: Presentation, first: ImageArray, second: ImageArray) -> Rig:
    """A rig of two equal sensors side by side, for the geometry of the crop alone. Raises ManifestError."""
    if first.shape[:2] != second.shape[:2]:
        raise ManifestError(f"sample {entry.sample_id}: its views have different sizes, so they are not registered")
    height, width = first.shape[:2]
    focal = FOCAL_PER_WIDTH * width
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    cameras = []
    for name in ("first_spectrum", "second_spectrum"):
        spectrum = entry.further.get(name, "")
        if spectrum not in get_args(Spectrum):
            raise ManifestError(f"sample {entry.sample_id}: {name}: expected {' or '.join(get_args(Spectrum))}")
        cameras.append(Camera(cast(Spectrum, spectrum), width, height, matrix, np.zeros(5)))
    return Rig(cameras[0], cameras[1], np.eye(3), np.array([-BASELINE_MM, 0.0, 0.0]))


def location_of(sighting: Sighting) -> Location | None:
    """The largest face of the first view, else of the second: at the same place in both."""
    found = sighting.faces_first or sighting.faces_second
    if not found:
        return None
    x, y, width, height = found[0].box
    side = math.sqrt(width * height) * CROP_SIDE_PER_FACE
    face_first = sighting.faces_first[0] if sighting.faces_first else None
    face_second = sighting.faces_second[0] if sighting.faces_second else None
    return Location(face_first, face_second, (x + width / 2, y + height / 2), side, 0.0, REGISTERED)


def measured_information(crop: FaceCrop, disparity_px: NDArray[np.floating]) -> DepthInformation:
    """What the liveness model is given of a crop whose depth was measured: ``disparity_px`` (S, S), NaN where it was
    not. There, the face's median stands with the highest uncertainty; without any, the distance of a life-size face."""
    grid = crop.size // 2
    known = np.isfinite(disparity_px)
    shares, sums = (
        cv2.resize(values.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
        for values in (known, np.where(known, disparity_px, 0))
    )
    told = shares > 0.5
    disparity = (sums / np.maximum(shares, 1e-6)).astype(np.float32)
    inside = told & face_ellipse(grid)
    if inside.any():
        elsewhere = float(np.median(disparity[inside]))
    else:
        distance_mm = CROP_MM * crop.scale * crop.focal_px / crop.size
        elsewhere = crop.focal_times_baseline / distance_mm * crop.scale
    sd = np.where(told, np.float32(KNOWN_SD_PX), np.float32(UNKNOWN_SD_PX))
    filled: FloatArray = np.where(told, disparity, np.float32(elsewhere)).astype(np.float32)
    return depth_information(crop, filled, sd.astype(np.float32), second_is_laid=True)
