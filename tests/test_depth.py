"""Disparity to millimetres, and what is read off the depth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from stereolive.depth import (
    LIVENESS_CHANNELS,
    LIVENESS_MAPS,
    LIVENESS_VIEWS,
    depth_information,
    depth_on_first_image_mm,
    liveness_input,
    shape_of_face,
    with_finer,
)
from stereolive.faces import cut
from stereolive.rig import Camera, Rig
from stereolive.types import DepthInformation, Face, FaceCrop, Location

SIZE, GRID = 128, 64
MATRIX = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


def rig_along(direction_deg: float) -> Rig:
    angle = math.radians(direction_deg)
    camera = Camera("visible", 640, 480, MATRIX, np.zeros(5))
    other = Camera("near_infrared", 640, 480, MATRIX, np.zeros(5))
    return Rig(camera, other, np.eye(3), -45 * np.array([math.cos(angle), math.sin(angle), 0]))


def located(rig: Rig, z_mm: float) -> tuple[FaceCrop, Location]:
    """A crop of life size around the optical axis, with eyes 62 mm apart."""
    eyes_mm = np.array([[-31.0, 0, z_mm], [31, 0, z_mm], [0, 35, z_mm], [-22, 70, z_mm], [22, 70, z_mm]])
    marks = rig.first.project(eyes_mm)
    face = Face((200.0, 120.0, 240.0, 240.0), marks, 0.99)
    rectified = rig.rectification.rectify_points(marks, "first")
    x, y = rig.rectification.rectify_points([(319.5, 239.5)], "first")[0]
    shift = float(rig.rectification.disparity_px(z_mm))
    location = Location(face, None, (float(x), float(y)), 230 * 600 / z_mm, shift, "landmarks", rectified)
    grey = np.full((480, 640), 100, np.uint8)
    return cut(grey, grey, rig, location, SIZE), location


def of_surface(rig: Rig, crop: FaceCrop, relief_mm: np.ndarray, z_mm: float, sd_px: float = 0.2) -> DepthInformation:
    """Depth information of the surface ``z_mm + relief_mm`` (G, G) along the rectified axis."""
    disparity = (crop.focal_times_baseline / (z_mm + relief_mm) - crop.shift_px) * crop.scale
    return depth_information(crop, disparity.astype(np.float32), np.full((GRID, GRID), sd_px, np.float32))


def flat() -> np.ndarray:
    return np.zeros((GRID, GRID))


def ball(depth_mm: float = 60.0) -> np.ndarray:
    """A half ball towards the rig."""
    ys, xs = (np.mgrid[:GRID, :GRID] - (GRID - 1) / 2) / (GRID / 2)
    return -depth_mm * np.sqrt(np.clip(1 - (xs**2 + ys**2) / 0.8, 0, None))


@pytest.mark.parametrize("direction_deg", [0, 90, 180, 225])
@pytest.mark.parametrize("z_mm", [250.0, 500.0, 1000.0])
def test_disparity_becomes_millimetres_with_its_deviation(direction_deg: float, z_mm: float) -> None:
    rig = rig_along(direction_deg)
    crop, _ = located(rig, z_mm)
    info = of_surface(rig, crop, ball(), z_mm)
    assert np.allclose(info.depth_mm, z_mm + ball(), rtol=1e-4)
    # sd(Z) = Z^2 / (f b) sd(D)
    expected = info.depth_mm**2 / (600 * 45) * 0.2 / crop.scale
    assert np.allclose(info.depth_sd_mm, expected, rtol=1e-3)


def test_depth_stays_within_reason_where_the_network_is_wild() -> None:
    rig = rig_along(0)
    crop, _ = located(rig, 500)
    wild = np.full((GRID, GRID), -1e4, np.float32)
    assert np.isfinite(depth_information(crop, wild, wild * 0).depth_mm).all()
    assert depth_information(crop, wild, wild * 0).depth_mm.max() <= 5000.1


def test_a_finer_look_counts_by_its_certainty_where_it_searched_far_enough() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    coarse = ramp + 1, np.full((8, 8), 0.4, np.float32)
    # Twice as many cells of twice as many pixels, 3 px of the disparity taken out before; three times as certain.
    fine = np.repeat(np.repeat(2 * (ramp - 3), 2, 0), 2, 1), np.full((16, 16), 2 * 0.4 / 3, np.float32)
    disparity, sd = with_finer(coarse, fine, 3.0, 8.0)
    # Within three quarters of the 8 px that the finer look searched: 3 px of the crop about the 3 taken out.
    near = np.abs(coarse[0] - 3) < 3
    assert near.any() and not near.all()
    assert np.allclose(disparity[near], 0.1 * coarse[0][near] + 0.9 * ramp[near], atol=1e-5)
    assert np.allclose(sd[near], 0.4 * math.sqrt(2 / 10), atol=1e-5)
    assert np.array_equal(disparity[~near], coarse[0][~near]) and (sd[~near] == np.float32(0.4)).all()
    same, same_sd = with_finer(coarse, (np.repeat(np.repeat(2 * (ramp - 2), 2, 0), 2, 1), fine[1] * 3), 3.0, 1e3)
    assert np.allclose(same, coarse[0], atol=1e-5) and np.allclose(same_sd, 0.4)  # two like looks are no more than one


@pytest.mark.parametrize("direction_deg", [0, 90, 180, 225])
def test_depth_returns_to_the_first_image(direction_deg: float) -> None:
    rig = rig_along(direction_deg)
    crop, _ = located(rig, 500)
    moved = depth_on_first_image_mm(of_surface(rig, crop, flat(), 500), rig)
    assert moved.shape == (480, 640) and moved[239, 319] == pytest.approx(500, abs=0.01)
    assert np.abs(moved[moved > 0] - 500).max() < 0.01  # parallel sensors: one axis
    assert (moved > 0).sum() == pytest.approx((crop.size / crop.scale) ** 2, rel=0.05)


def test_no_depth_is_a_depth_of_zeros() -> None:
    assert not depth_on_first_image_mm(None, rig_along(0)).any()


def test_a_sheet_is_flat_however_it_is_turned_and_a_ball_is_not() -> None:
    rig = rig_along(0)
    crop, location = located(rig, 500)
    ys, xs = np.mgrid[:GRID, :GRID] - GRID / 2
    sheet = shape_of_face(of_surface(rig, crop, 1.5 * xs - 0.7 * ys, 500), location)
    assert sheet.plane_residual_mm < 0.2 and sheet.relief_mm < 0.5
    head = shape_of_face(of_surface(rig, crop, ball(), 500), location)
    assert head.plane_residual_mm > 3 and head.relief_mm > 10
    assert head.distance_mm == pytest.approx(500 - 60 * 0.85, abs=10)


@pytest.mark.parametrize("direction_deg", [0, 90, 135, 180])
@pytest.mark.parametrize("z_mm", [300.0, 700.0])
def test_eye_distance_in_millimetres(direction_deg: float, z_mm: float) -> None:
    rig = rig_along(direction_deg)
    crop, location = located(rig, z_mm)
    assert shape_of_face(of_surface(rig, crop, flat(), z_mm), location).eye_distance_mm == pytest.approx(62, abs=0.1)


def test_a_half_size_photo_held_near_shows_its_size() -> None:
    """The eyes look 62 mm apart if one trusts the face's size; the depth says that they are 31 mm apart."""
    rig = rig_along(0)
    crop, location = located(rig, 500)
    assert shape_of_face(of_surface(rig, crop, flat(), 250), location).eye_distance_mm == pytest.approx(31, abs=0.1)


def test_without_a_face_in_the_first_view_there_is_no_eye_distance() -> None:
    rig = rig_along(0)
    crop, location = located(rig, 500)
    only_second = Location(None, location.face_first, location.center_px, location.side_px, location.shift_px, "search")
    assert shape_of_face(of_surface(rig, crop, flat(), 500), only_second).eye_distance_mm is None


def test_liveness_channels() -> None:
    rig = rig_along(0)
    crop, _ = located(rig, 500)
    maps, views = liveness_input(of_surface(rig, crop, ball(), 500))
    assert maps.shape == (len(LIVENESS_MAPS), GRID, GRID) and maps.dtype == np.float32
    assert views.shape == (len(LIVENESS_VIEWS), 2 * GRID, 2 * GRID) and views.dtype == np.float32
    named = dict(zip(LIVENESS_CHANNELS, [*maps, *views], strict=True))
    assert abs(np.median(named["relative_depth"][28:36, 28:36])) < 0.5
    assert named["side"][0, 0] == pytest.approx(230 / 250, abs=0.12)  # a life-size face
    assert named["lead_is_visible"].min() == 1 and named["other_is_visible"].max() == 0
    assert named["lead_green"][64, 64] == pytest.approx(0.5, abs=0.01)  # evened out to the face's mean
    assert np.isfinite(maps).all() and np.isfinite(views).all()


def test_the_visible_view_leads_whichever_sensor_it_comes_from() -> None:
    crop, _ = located(rig_along(0), 500)
    info = of_surface(rig_along(0), crop, ball(), 500)
    second = (info.first // 2 + 50).astype(np.uint8)
    straight = replace(info, second=second)
    turned = replace(
        info,
        first=second,
        second=info.first,
        crop=replace(crop, first_spectrum="near_infrared", second_spectrum="visible"),
    )
    for one, other in zip(liveness_input(straight), liveness_input(turned), strict=True):
        assert np.array_equal(one, other)
    both = replace(straight, crop=replace(crop, first_spectrum="near_infrared"))
    named = dict(
        zip(LIVENESS_CHANNELS, np.concatenate([planes.mean((1, 2)) for planes in liveness_input(both)]), strict=True)
    )
    assert named["lead_is_visible"] == 0 and named["other_is_visible"] == 0


@pytest.mark.parametrize("direction_deg", [90, 45, -45, 270])
def test_liveness_input_is_upright(direction_deg: float) -> None:
    """A surface that is nearer towards the first sensor's upper border is so in the input, whatever the baseline."""
    rig = rig_along(direction_deg)
    crop, _ = located(rig, 500)
    back = np.linalg.inv(np.vstack([crop.first_crop_from_rectified, (0, 0, 1)]))[:2]
    cells = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), axis=-1).reshape(-1, 2) * 2 + 0.5
    pixels = rig.rectification.unrectify_points(cells @ back[:, :2].T + back[:, 2], "first")
    below = (pixels[:, 1].reshape(GRID, GRID) - 239.5) * 0.2
    relative = liveness_input(of_surface(rig, crop, below, 500))[0][0]
    inner = slice(20, 44)
    down = float((relative[40:44, inner] - relative[20:24, inner]).mean())
    across = float((relative[inner, 40:44] - relative[inner, 20:24]).mean())
    assert down > 0 and abs(across) < 0.05 * down
