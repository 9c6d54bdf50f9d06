"""A rig without a board: both sensors' relation estimated from faces, for relative depth only.

Focal lengths are taken from a typical field of view and lenses as free of distortion. Matched face landmarks (and,
where both sensors see alike, matched features of the surroundings) of all pairs give the essential matrix; the
length of the baseline comes from an adult's mean eye distance. Every verdict on such a rig carries the reason
``uncalibrated``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.solve import row_errors_px, triangulate_mm
from stereolive.errors import InputError
from stereolive.faces import FaceFinder
from stereolive.images import as_8bit, as_grey
from stereolive.rig import Camera, Rig, Spectrum
from stereolive.sources.frames import is_infrared_as_colour
from stereolive.types import Face, ImageArray, Verdict

FloatArray = NDArray[np.float64]
FIELD_OF_VIEW_DEG = 60.0
EYE_DISTANCE_MM = 62.5
"""Mean of adults' interpupillary distance (Dodgson 2004: 63 mm)."""
LARGEST_TURN_DEG = 12.0
FEATURE_RATIO, WIDE_FEATURE_RATIO = 0.75, 0.88
"""A match's distance over the second best's, of several pairs and of a single one: five landmarks alone say little of
the rig, so more matches of its surroundings are let in and the wrong ones left to the robust weights."""
PRIOR_TURN_DEG = 2.0
"""Brackets are made straight: how far the sensors' axes are expected to differ, one standard deviation."""
LANDMARK_SD_PX = 2.0


@dataclass(frozen=True, eq=False)
class AutoRig:
    """An estimated rig, and what it rests on."""

    rig: Rig
    faces: int
    features: int
    row_error_px: float  # root mean square over all landmarks, rectified

    def describe(self) -> str:
        return (
            f"a rig was estimated from {self.faces} face{'s' if self.faces > 1 else ''} and {self.features} features, "
            f"rows agree to {self.row_error_px:.1f} px; depth is relative, calibrate for millimetres"
        )


def estimate_rig(pairs: Sequence[tuple[ImageArray, ImageArray]], finder: FaceFinder | None = None) -> AutoRig:
    """A rig from pairs of images that show one face to both sensors. Raises InputError where none does."""
    if not pairs:
        raise InputError("rig auto: no pairs were given")
    finder = finder or FaceFinder()
    sizes = [(image.shape[1], image.shape[0]) for image in pairs[0]]
    faces: list[tuple[Face, Face]] = []
    features: list[tuple[FloatArray, FloatArray]] = []
    for first, second in pairs:
        found_first, found_second = finder.find(first), finder.find(second)
        if found_first and found_second:
            faces.append((found_first[0], found_second[0]))
        features.append(matched_features(first, second, FEATURE_RATIO if len(pairs) > 1 else WIDE_FEATURE_RATIO))
    if not faces:
        raise InputError("rig auto: no pair shows a face to both sensors; calibrate with a board instead")
    spectra = [_spectrum([pair[view] for pair in pairs]) for view in (0, 1)]
    cameras = [_camera(spectrum, size) for spectrum, size in zip(spectra, sizes, strict=True)]
    return _solved(cameras[0], cameras[1], faces, features)


def uncalibrated(verdict: Verdict) -> Verdict:
    """A verdict that rests on an estimated rig: it says so, and has no millimetres, whose scale is only assumed."""
    reasons = tuple(code for code in verdict.reasons if code not in ("size_of_a_face", "wrong_size"))
    return replace(
        verdict,
        reasons=(*reasons, "uncalibrated"),
        distance_mm=None,
        eye_distance_mm=None,
        relief_mm=None,
        plane_residual_mm=None,
        depth_sd_mm=None,
    )


def matched_features(first: ImageArray, second: ImageArray, ratio: float) -> tuple[FloatArray, FloatArray]:
    """Matched pixels (N, 2) of both views by SIFT, mutual and nearer than the second best by ``ratio``."""
    greys = [as_grey(as_8bit(image)) for image in (first, second)]
    sift = cv2.SIFT.create(nfeatures=800)
    (keys_first, marks_first), (keys_second, marks_second) = (sift.detectAndCompute(grey, None) for grey in greys)
    nothing = np.zeros((0, 2))
    if marks_first is None or marks_second is None or len(keys_first) < 8 or len(keys_second) < 8:
        return nothing, nothing
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {
        m[0].queryIdx: m[0].trainIdx
        for m in matcher.knnMatch(marks_first, marks_second, k=2)
        if len(m) == 2 and m[0].distance < ratio * m[1].distance
    }
    backward = {m.queryIdx: m.trainIdx for m in matcher.match(marks_second, marks_first)}
    mutual = [(i, j) for i, j in forward.items() if backward.get(j) == i]
    if not mutual:
        return nothing, nothing
    return (
        np.array([keys_first[i].pt for i, _ in mutual], np.float64),
        np.array([keys_second[j].pt for _, j in mutual], np.float64),
    )


def _solved(
    first: Camera, second: Camera, faces: list[tuple[Face, Face]], features: list[tuple[FloatArray, FloatArray]]
) -> AutoRig:
    marks_first = np.concatenate([face.landmarks for face, _ in faces])
    marks_second = np.concatenate([face.landmarks for _, face in faces])
    direction = _direction(first, second, marks_first, marks_second)
    rays = (
        np.concatenate([first.rays(marks_first), first.rays(np.concatenate([f for f, _ in features]))]),
        np.concatenate([second.rays(marks_second), second.rays(np.concatenate([s for _, s in features]))]),
    )
    turn, direction = _refined(rays, direction, first.focal_px)
    rotation = np.asarray(cv2.Rodrigues(turn)[0], np.float64)
    unit = Rig(first, second, rotation, -rotation @ (direction * 40.0))
    scale = _scale(unit, faces)
    baseline = float(np.clip(40.0 * scale, 5.0, 500.0))
    rig = Rig(first, second, rotation, -rotation @ (direction * baseline))
    rows = row_errors_px(rig, marks_first, marks_second)
    return AutoRig(rig, len(faces), sum(len(f) for f, _ in features), float(np.sqrt((rows**2).mean())))


def _direction(first: Camera, second: Camera, marks_first: FloatArray, marks_second: FloatArray) -> FloatArray:
    """Unit vector (3,) to the second sensor: against the way the face moves between the views, seen with parallel
    axes."""
    moved = (first.rays(marks_first) - second.rays(marks_second))[:, :2]
    step = np.median(moved, axis=0)
    length = float(np.linalg.norm(step))
    if length < 1e-3:
        raise InputError("rig auto: both views show the face at the same place; are they two sensors?")
    return np.array([step[0] / length, step[1] / length, 0.0])


def _refined(
    rays: tuple[FloatArray, FloatArray], direction: FloatArray, focal_px: float
) -> tuple[FloatArray, FloatArray]:
    """Turn (3,) and direction (3,) that minimise the distances from the epipolar lines, by damped Gauss-Newton with
    Cauchy weights.

    A turn about the axis across the baseline shifts all disparities alike and cannot be told from distance: the
    prior keeps it small.
    """
    angle = math.atan2(direction[1], direction[0])
    state = np.array([0.0, 0.0, 0.0, angle])
    prior = np.array([math.radians(PRIOR_TURN_DEG)] * 3 + [math.radians(20.0)])
    sd = LANDMARK_SD_PX / focal_px

    def errors(values: FloatArray) -> FloatArray:
        rotation = np.asarray(cv2.Rodrigues(values[:3])[0], np.float64)
        center = np.array([math.cos(values[3]), math.sin(values[3]), 0.0])
        # x2^T E x1 = 0 with E = R [c]x up to sign; its size over the line's gradient is the distance (Sampson 1982).
        cross = np.array([[0, 0, center[1]], [0, 0, -center[0]], [-center[1], center[0], 0]])
        essential = rotation @ cross
        lines_second = rays[0] @ essential.T
        lines_first = rays[1] @ essential
        value = (rays[1] * lines_second).sum(axis=1)
        slope = (lines_second[:, :2] ** 2).sum(axis=1) + (lines_first[:, :2] ** 2).sum(axis=1)
        return np.asarray(value / np.sqrt(np.maximum(slope, 1e-12)) / sd)

    start = state.copy()
    for _ in range(25):
        residuals = errors(state)
        jacobian = np.stack([(errors(state + step) - residuals) / 1e-5 for step in np.eye(4) * 1e-5], axis=1)
        weights = 1 / (1 + (residuals / 2) ** 2)
        normal = (jacobian * weights[:, None]).T @ jacobian + np.diag(1 / prior**2)
        change = np.linalg.solve(normal, -(jacobian * weights[:, None]).T @ residuals - (state - start) / prior**2)
        state = state + np.clip(change, -0.05, 0.05)
        if np.abs(change).max() < 1e-7:
            break
    limit = math.radians(LARGEST_TURN_DEG)
    if np.abs(state[:3]).max() > limit:
        raise InputError("rig auto: the views do not fit two sensors side by side; calibrate with a board instead")
    return state[:3], np.array([math.cos(state[3]), math.sin(state[3]), 0.0])


def _scale(rig: Rig, faces: list[tuple[Face, Face]]) -> float:
    """What the baseline must be multiplied with so that the eyes are an adult's distance apart, as a median over the
    faces."""
    distances = []
    for first, second in faces:
        # All five landmarks share one depth: single ones are too noisy to be triangulated.
        points = triangulate_mm(rig, first.landmarks, second.landmarks)
        depth = float(np.median(points[:, 2]))
        eyes = rig.first.rays(first.landmarks[:2]) * depth
        if depth > 0:
            distances.append(float(np.linalg.norm(eyes[1] - eyes[0])))
    if not distances:
        raise InputError("rig auto: the faces lie behind the sensors; are the cables swapped?")
    return EYE_DISTANCE_MM / float(np.median(distances))


def _camera(spectrum: Spectrum, size: tuple[int, int]) -> Camera:
    focal = max(size) / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    matrix = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])
    return Camera(spectrum, size[0], size[1], matrix, np.zeros(5))


def _spectrum(images: Sequence[ImageArray]) -> Spectrum:
    grey = [image.ndim == 2 or is_infrared_as_colour(image) for image in images]
    return "near_infrared" if sum(grey) * 2 >= len(grey) else "visible"
