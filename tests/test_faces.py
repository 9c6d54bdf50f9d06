"""Finding a face, carrying it to the other view, cutting the same square out of both."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from stereolive.faces import FARTHEST_MM, NEAREST_MM, FaceFinder, cut, locate, matched_shift_px
from stereolive.rig import Camera, Rig
from stereolive.types import Face, ImageArray

FACE_MM = np.array([[-31.0, 0, 0], [31, 0, 0], [0, 35, 0], [-22, 70, 0], [22, 70, 0]])
"""Eyes, nose, mouth corners of a flat face."""


def rig_along(direction_deg: float, baseline_mm: float = 45.0, deep: bool = False) -> Rig:
    angle = math.radians(direction_deg)
    matrix = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])
    first = Camera("visible", 640, 480, matrix, np.array([-0.05, 0.02, 0, 0, 0]))
    small = np.array([[500.0, 0, 255.5], [0, 500, 191.5], [0, 0, 1]])
    second = Camera("near_infrared", 512, 384, small, np.zeros(5))
    return Rig(first, second, np.eye(3), -baseline_mm * np.array([math.cos(angle), math.sin(angle), 0]))


def seen(camera: Camera, points_mm: np.ndarray) -> Face:
    """The face of these points, as a finder would give it."""
    marks = camera.project(points_mm)
    low, high = marks.min(axis=0), marks.max(axis=0)
    width, height = (high - low) * (2.0, 1.9)
    x, y = (low + high) / 2 - np.array([width, height]) / 2
    return Face((float(x), float(y), float(width), float(height)), marks, 0.99)


def seen_by_both(rig: Rig, center_mm: tuple[float, float, float]) -> tuple[Face, Face]:
    points = FACE_MM + center_mm
    moved = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    return seen(rig.first, points), seen(rig.second, moved)


def textured_plane(rig: Rig, z_mm: float) -> tuple[ImageArray, ImageArray]:
    """Both views of a wall with a pattern at ``z_mm`` before the first sensor."""
    pattern = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 255, (1200, 1200)).astype(np.float32), (0, 0), 2.5)
    pattern = np.clip((pattern - pattern.mean()) * 8 + 128, 0, 255).astype(np.float32)
    views = []
    for camera, offset in ((rig.first, np.zeros(3)), (rig.second, rig.translation_second_from_first_mm)):
        ys, xs = np.mgrid[: camera.height, : camera.width]
        rays = camera.rays(np.stack([xs.ravel(), ys.ravel()], axis=1))
        # Parallel sensors: a second-frame ray hits the wall at its own z = z_mm.
        wall = rays[:, :2] * z_mm - offset[:2] + 600
        maps = [wall[:, axis].reshape(xs.shape).astype(np.float32) for axis in (0, 1)]
        views.append(cv2.remap(pattern, maps[0], maps[1], cv2.INTER_LINEAR).astype(np.uint8))
    return views[0], views[1]


@pytest.mark.parametrize("direction_deg", [0, 45, 90, 135, 180, 270])
@pytest.mark.parametrize("z_mm", [250.0, 500.0, 1200.0])
def test_matched_faces_give_the_disparity_of_their_distance(direction_deg: float, z_mm: float) -> None:
    rig = rig_along(direction_deg)
    shift = matched_shift_px(rig.rectification, *seen_by_both(rig, (5.0, -30.0, z_mm)))
    assert shift == pytest.approx(float(rig.rectification.disparity_px(z_mm)), abs=0.01)


def test_faces_on_other_rows_or_at_impossible_distances_are_not_one() -> None:
    rig = rig_along(0)
    first, second = seen_by_both(rig, (0, -30, 500))
    lower = replace(second, landmarks=second.landmarks + np.array([0, 40]))
    assert matched_shift_px(rig.rectification, first, lower) is None
    for z_mm in (NEAREST_MM * 0.7, FARTHEST_MM * 2):
        assert matched_shift_px(rig.rectification, *seen_by_both(rig, (0, -30, z_mm))) is None
    # Swapped sensors: everything would lie behind the rig.
    assert matched_shift_px(rig.swapped().rectification, first, second) is None


def test_the_larger_of_two_faces_is_taken_and_paired_with_itself() -> None:
    rig = rig_along(0)
    near, far = seen_by_both(rig, (-40, -30, 450)), seen_by_both(rig, (120, -30, 900))
    location = locate(*textured_plane(rig, 450), rig, [far[0], near[0]], [far[1], near[1]])
    assert location is not None and location.matched_by == "landmarks"
    assert location.face_first is near[0] and location.face_second is near[1]


def test_no_face_in_either_view() -> None:
    rig = rig_along(0)
    assert locate(*textured_plane(rig, 450), rig, [], []) is None


@pytest.mark.parametrize("direction_deg", [0, 45, 90, 180])
@pytest.mark.parametrize("only", ["first", "second"])
def test_a_face_in_one_view_is_found_in_the_other_by_its_structure(direction_deg: float, only: str) -> None:
    rig = rig_along(direction_deg)
    faces = seen_by_both(rig, (0, -30, 420))
    given = ([faces[0]], []) if only == "first" else ([], [faces[1]])
    location = locate(*textured_plane(rig, 420), rig, *given)
    assert location is not None and location.matched_by == "search"
    assert (location.face_first is None) == (only == "second")
    expected = float(rig.rectification.disparity_px(420))
    assert location.shift_px == pytest.approx(expected, abs=0.03 * location.side_px)


@pytest.mark.parametrize("direction_deg", [0, 45, 90, 135, 180, 270])
def test_both_crops_show_the_same_and_nearer_is_larger(direction_deg: float) -> None:
    rig = rig_along(direction_deg)
    first, second = textured_plane(rig, 480)
    location = locate(first, second, rig, *([face] for face in seen_by_both(rig, (0, -30, 480))))
    assert location is not None
    crop = cut(first, second, rig, location, 128)
    inner = slice(16, -16)
    both = [view[inner, inner, 0].astype(np.float32).ravel() for view in (crop.first, crop.second)]
    assert np.corrcoef(*both)[0, 1] > 0.95
    # A second crop cut as if the face were farther shows the wall, which is nearer than that, at a positive disparity.
    farther = cut(first, second, rig, replace(location, shift_px=location.shift_px - 4 / crop.scale), 128)
    strip = farther.second[inner, :, 0].astype(np.float32)
    template = farther.first[inner, 32:-32, 0].astype(np.float32)
    place = int(np.argmax(cv2.matchTemplate(strip, template, cv2.TM_CCOEFF_NORMED)[0]))
    assert 32 - place == 4
    depth = farther.focal_times_baseline / (farther.shift_px + 4 / farther.scale)
    assert depth == pytest.approx(480, rel=0.01)


def test_a_wider_crop_has_the_same_middle() -> None:
    rig = rig_along(0)
    first, second = textured_plane(rig, 480)
    location = locate(first, second, rig, *([face] for face in seen_by_both(rig, (0, -30, 480))))
    assert location is not None
    narrow, wide = cut(first, second, rig, location, 96), cut(first, second, rig, location, 192, side_factor=2.0)
    assert narrow.scale == pytest.approx(wide.scale)
    middle = wide.first[48:144, 48:144].astype(int)
    assert np.abs(middle - narrow.first).mean() < 6


def test_the_finder_finds_in_both_spectra_at_any_depth_of_bits(living_pair) -> None:  # type: ignore[no-untyped-def]
    finder = FaceFinder(threads=1)
    faces = [finder.find(image) for image in (living_pair.first, living_pair.second)]
    assert all(faces), "both views of a living face show one"
    for face, image in zip((faces[0][0], faces[1][0]), (living_pair.first, living_pair.second), strict=True):
        x, y, width, height = face.box
        assert 0 < x + width / 2 < image.shape[1] and 0 < y + height / 2 < image.shape[0]
        eyes, mouth = face.landmarks[:2], face.landmarks[3:]
        assert eyes[0, 0] < eyes[1, 0] and eyes[:, 1].mean() < mouth[:, 1].mean()
    deep = living_pair.second.astype(np.uint16) * 4
    again = finder.find(deep)[0]
    assert np.abs(again.landmarks - faces[1][0].landmarks).max() < 4


def test_one_finder_serves_many_threads(living_pair) -> None:  # type: ignore[no-untyped-def]
    finder = FaceFinder(threads=1)
    alone = [finder.find(image)[0].box for image in (living_pair.first, living_pair.second)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: finder.find(image)[0].box, [living_pair.first, living_pair.second] * 6))
    assert together == alone * 6


def test_no_face_in_noise_and_blanks() -> None:
    finder = FaceFinder(threads=1)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for image in (noise, np.zeros((480, 640), np.uint8), np.full((480, 640, 3), 255, np.uint8)):
        assert finder.find(image) == []
