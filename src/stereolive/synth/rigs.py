"""Pairs of sensors: families of rigs that differ in size, direction, lens and kind of sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.rig import Camera, Rig, Spectrum
from stereolive.synth.raster import Pinhole

RIGS_PER_FAMILY = 60
VGA = (640, 480)


@dataclass(frozen=True)
class Family:
    """Ranges that a family's rigs are drawn from."""

    sizes_first: tuple[tuple[int, int], ...]
    sizes_second: tuple[tuple[int, int], ...] | None  # None: as the first
    focal: tuple[float, float]  # in pixels for a 640 pixel wide image
    focal_ratio: float  # the second's focal length lies within 1 +- this of the first's
    baseline_mm: tuple[float, float]
    direction_deg: tuple[float, float]  # of the second sensor as seen from the first, 0 = right, 90 = down; either sign
    toe_in_deg: float
    distortion: float
    spectra: tuple[Spectrum, Spectrum] = ("visible", "near_infrared")


FAMILIES: dict[str, Family] = {
    "A": Family((VGA,), None, (560, 700), 0.06, (30, 60), (-6, 6), 1.0, 0.05),
    "B": Family((VGA, (640, 360)), (VGA,), (620, 900), 0.2, (20, 35), (-12, 12), 2.0, 0.03),
    "C": Family((VGA,), (VGA, (640, 400)), (520, 760), 0.15, (20, 60), (78, 102), 1.5, 0.06),
    "D": Family((VGA, (800, 600)), (VGA, (640, 400)), (540, 820), 0.25, (25, 75), (25, 65), 2.0, 0.06),
    "E": Family(
        (VGA,), None, (560, 800), 0.03, (40, 80), (-8, 8), 2.0, 0.05, ("near_infrared", "near_infrared")
    ),
    "F": Family(((640, 360), VGA), (VGA, (640, 360)), (450, 560), 0.1, (25, 65), (-20, 20), 1.0, 0.12),
    "G": Family(((480, 640),), ((480, 640), (400, 640)), (450, 640), 0.12, (20, 55), (-100, 20), 1.5, 0.06),
    "H": Family(
        ((800, 600), VGA), (VGA, (800, 600)), (700, 1000), 0.3, (30, 70), (-15, 15), 3.0, 0.05,
        ("near_infrared", "visible"),
    ),
    "I": Family((VGA, (640, 400)), None, (480, 720), 0.03, (20, 65), (-35, 35), 2.0, 0.08, ("near_infrared",) * 2),
    "J": Family((VGA, (1280, 720)), (VGA,), (540, 760), 0.1, (20, 60), (-10, 10), 1.0, 0.05),
    "K": Family((VGA,), None, (540, 760), 0.05, (30, 70), (-10, 10), 1.5, 0.05, ("visible", "visible")),
    "L": Family(
        (VGA, (480, 640), (640, 400), (800, 600)), (VGA, (480, 640)), (440, 900), 0.15, (20, 75), (-100, 30), 2.0, 0.08,
        ("near_infrared", "near_infrared"),
    ),
}  # fmt: skip
"""Named for splitting: a test rig comes from a family that training never saw."""

SPLIT_FAMILIES: dict[str, tuple[str, ...]] = {
    "train": ("A", "B", "C", "E", "F", "G", "J", "K", "L"),
    "validation": ("A", "B", "C", "E", "F", "G", "J", "L"),
    "test": ("D", "H", "I"),
}
FAMILY_SHARES = {"A": 4, "B": 3, "C": 3, "D": 4, "E": 3, "F": 3, "G": 2, "H": 4, "I": 2, "J": 0.6, "K": 0.6, "L": 2}


def _rotation(degrees: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(cv2.Rodrigues(np.radians(np.asarray(degrees, np.float64)))[0])


def _camera(
    rng: np.random.Generator, spectrum: Spectrum, size: tuple[int, int], focal: float, strength: float
) -> Camera:
    width, height = size
    matrix = np.array(
        [
            [focal, 0, (width - 1) / 2 + rng.normal(0, 0.012) * width],
            [0, focal * rng.uniform(0.997, 1.003), (height - 1) / 2 + rng.normal(0, 0.012) * height],
            [0, 0, 1],
        ]
    )
    # What distortion does is felt at the image's corner, where it may move a pixel by some 6 to 12 % of its radius.
    corner = (np.hypot(width, height) / 2 / focal) ** 2
    k1 = float(np.clip(rng.normal(-0.3, 0.7) * strength, -strength, 0.7 * strength)) / corner
    distortion = np.array([k1, -0.2 * k1 / corner * rng.uniform(0, 1), *(rng.normal(0, 0.0006, 2)), 0.0])
    if rng.random() < 0.15:
        distortion = np.zeros(5)
    return Camera(spectrum, width, height, np.round(matrix, 3), np.round(distortion, 6))


def draw_rig(rng: np.random.Generator, family: str) -> Rig:
    """A rig of one family."""
    f = FAMILIES[family]
    size_first = f.sizes_first[rng.integers(len(f.sizes_first))]
    size_second = size_first if f.sizes_second is None else f.sizes_second[rng.integers(len(f.sizes_second))]
    base = rng.uniform(*f.focal)
    ratio = 1 + rng.uniform(-f.focal_ratio, f.focal_ratio)

    def focal(size: tuple[int, int]) -> float:
        return float(base * max(max(size) / 640, 0.9))

    first = _camera(rng, f.spectra[0], size_first, focal(size_first), f.distortion)
    second = _camera(rng, f.spectra[1], size_second, focal(size_second) * ratio, f.distortion)
    angle = np.radians(rng.uniform(*f.direction_deg) + rng.choice([0.0, 180.0]))
    baseline = rng.uniform(*f.baseline_mm)
    center = baseline * np.array([np.cos(angle), np.sin(angle), rng.normal(0, 0.03)])
    # Toe-in turns the second sensor towards what stands before the first one.
    toe = rng.uniform(0, f.toe_in_deg)
    degrees = toe * np.array([np.sin(angle), -np.cos(angle), 0]) + rng.normal(0, 0.3, 3)
    camera_to_world = _rotation(degrees)
    rotation = camera_to_world.T
    return Rig(first, second, rotation, np.round(-rotation @ center, 4))


def drifted(rng: np.random.Generator, rig: Rig) -> Rig:
    """The rig as it really is after its calibration was written: three times in five off by at most a third of a pixel
    in its turn, as much in both principal points together, and 0.3 % in each focal length."""
    if rng.random() < 0.4:
        return rig
    pixel_deg = np.degrees(1 / rig.second.focal_px)
    tilt = rng.uniform(-0.35, 0.35, 3) * pixel_deg * np.array([1, 1, 1.5])
    rotation = _rotation(tilt) @ rig.rotation_second_from_first

    def refocused(camera: Camera) -> Camera:
        matrix = camera.matrix.copy()
        scale = 1 + rng.uniform(-0.003, 0.003)
        matrix[0, 0] *= scale
        matrix[1, 1] *= scale
        matrix[:2, 2] += rng.uniform(-0.15, 0.15, 2)
        return Camera(camera.spectrum, camera.width, camera.height, matrix, camera.distortion)

    return Rig(refocused(rig.first), refocused(rig.second), rotation, rig.translation_second_from_first_mm)


def pinholes(rig: Rig) -> tuple[Pinhole, Pinhole]:
    """Both sensors posed in the world, which is the first sensor's frame."""

    def pinhole(camera: Camera, rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> Pinhole:
        return Pinhole(camera.width, camera.height, camera.matrix, camera.distortion[:5], rotation, translation)

    return (
        pinhole(rig.first, np.eye(3), np.zeros(3)),
        pinhole(rig.second, rig.rotation_second_from_first, rig.translation_second_from_first_mm),
    )
