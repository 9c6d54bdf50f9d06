"""Rigs: files, rectification for any direction of the baseline, disparity and depth, depth moved between the views."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stereolive.errors import RigError
from stereolive.rig import RIG_FORMAT, Camera, Rig

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def camera(width: int = 640, height: int = 480, focal: float = 600.0, distortion: Any = (0, 0, 0, 0, 0)) -> Camera:
    matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return Camera("visible", width, height, np.array(matrix), np.array(distortion, float))


def rig_along(direction_deg: float, baseline_mm: float = 40.0, **second: Any) -> Rig:
    """Parallel sensors; 0 degrees: the second stands to the right, 90: below."""
    angle = math.radians(direction_deg)
    center = baseline_mm * np.array([math.cos(angle), math.sin(angle), 0])
    return Rig(camera(), camera(**second), np.eye(3), -center)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    width, height = draw(st.sampled_from([(640, 480), (480, 640), (640, 400), (1280, 720), (800, 600), (320, 240)]))
    focal = draw(st.floats(0.75, 1.6)) * max(width, height)
    aspect = draw(st.floats(0.97, 1.03))
    shift = [draw(st.floats(-0.03, 0.03)) * side for side in (width, height)]
    k1, k2 = draw(st.floats(-0.15, 0.15)), draw(st.floats(-0.05, 0.05))
    p1, p2 = draw(st.floats(-0.002, 0.002)), draw(st.floats(-0.002, 0.002))
    matrix = [[focal, 0, width / 2 + shift[0]], [0, focal * aspect, height / 2 + shift[1]], [0, 0, 1]]
    spectrum = draw(st.sampled_from(["visible", "near_infrared"]))
    return Camera(spectrum, width, height, np.array(matrix), np.array([k1, k2, p1, p2, 0.0]))


@st.composite
def rigs(draw: st.DrawFn) -> Rig:
    direction = math.radians(draw(st.floats(0, 360)))
    baseline = draw(st.floats(15, 120))
    along_axis = draw(st.floats(-0.5, 0.5))
    center = np.array([math.cos(direction), math.sin(direction), along_axis])
    center *= baseline / np.linalg.norm(center)
    turn = np.array([draw(st.floats(-6, 6)), draw(st.floats(-6, 6)), draw(st.floats(-4, 4))])
    rotation = np.asarray(cv2.Rodrigues(np.radians(turn))[0])
    return Rig(draw(cameras()), draw(cameras()), rotation, -rotation @ center)


@st.composite
def seen_points(draw: st.DrawFn) -> tuple[Rig, np.ndarray]:
    """A rig, and points (N, 3) in mm in the first sensor's frame that both sensors see."""
    rig = draw(rigs())
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((0, 0), np.array(rig.first.size) - 1, (200, 2))
    points = rig.first.rays(pixels) * rng.uniform(250, 1200, (200, 1))
    in_second = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    seen = rig.second.project(in_second)
    inside = ((seen >= 0) & (seen <= np.array(rig.second.size) - 1)).all(axis=1) & (in_second[:, 2] > 50)
    assume(inside.sum() >= 5)
    return rig, points[inside]


@FEW
@given(seen_points())
def test_rectified_rows_agree_and_disparity_gives_the_depth(case: tuple[Rig, np.ndarray]) -> None:
    rig, points = case
    rectification = rig.rectification
    in_second = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    first = rectification.rectify_points(rig.first.project(points), "first")
    second = rectification.rectify_points(rig.second.project(in_second), "second")
    assert np.abs(first[:, 1] - second[:, 1]).max() < 0.01
    disparity = rectification.direction * (first[:, 0] - second[:, 0])
    true_z = points @ rectification.rotation_first[2]
    assert (disparity > 0).all()
    assert np.abs(rectification.depth_mm(disparity) - true_z).max() < 0.1


@FEW
@given(seen_points())
def test_rectifying_and_back_gives_the_same_pixels(case: tuple[Rig, np.ndarray]) -> None:
    rig, points = case
    pixels = rig.first.project(points)
    there = rig.rectification.rectify_points(pixels, "first")
    assert np.abs(rig.rectification.unrectify_points(there, "first") - pixels).max() < 0.01


@FEW
@given(rigs())
def test_both_images_fit_into_the_rectified_one_and_stay_upright(rig: Rig) -> None:
    rectification = rig.rectification
    width, height = rectification.size
    for view, sensor in (("first", rig.first), ("second", rig.second)):
        corners = [(0, 0), (sensor.width - 1, 0), (0, sensor.height - 1), (sensor.width - 1, sensor.height - 1)]
        placed = rectification.rectify_points(corners, "first" if view == "first" else "second")
        assert (placed > -2).all() and (placed < np.array([width, height]) + 1).all()
    assert abs(rectification.roll_deg) <= 95  # a vertical baseline lays the images on their side, none upside down


@FEW
@given(rigs(), st.floats(100, 5000))
def test_disparity_and_depth_are_each_other_s_inverse(rig: Rig, depth_mm: float) -> None:
    there = rig.rectification.disparity_px(depth_mm)
    assert float(rig.rectification.depth_mm(there)) == pytest.approx(depth_mm, rel=1e-12)


@FEW
@given(rigs())
def test_the_swapped_rig_is_the_same_rig_from_the_other_side(rig: Rig) -> None:
    again = rig.swapped().swapped()
    assert np.allclose(again.translation_second_from_first_mm, rig.translation_second_from_first_mm)
    assert np.allclose(again.rotation_second_from_first, rig.rotation_second_from_first)
    # Which way a nearly vertical baseline leans, each sensor may see otherwise: by as much as they are turned.
    turn = float(np.linalg.norm(cv2.Rodrigues(rig.rotation_second_from_first)[0]))
    assert rig.swapped().rectification.direction == -rig.rectification.direction or (
        abs(rig.rectification.rotation_first[0, 0]) < 0.03 + math.sin(turn)
    )


def test_depth_without_disparity_is_infinite() -> None:
    depth = rig_along(0).rectification.depth_mm([0.0, -1.0, 24.0])
    assert np.isinf(depth[:2]).all() and depth[2] == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("direction_deg", "expected_direction", "expected_roll"),
    [
        (0, 1, 0),  # second to the right
        (180, -1, 0),  # second to the left: the images stay upright, the disparity changes its side
        (90, 1, 90),  # second below
        (270, -1, 90),  # second above
        (45, 1, 45),
        (-45, 1, -45),
        (135, -1, -45),
    ],
)
def test_direction_and_roll(direction_deg: float, expected_direction: int, expected_roll: float) -> None:
    rectification = rig_along(direction_deg).rectification
    assert rectification.direction == expected_direction
    assert abs(rectification.roll_deg) == pytest.approx(abs(expected_roll), abs=1e-6)
    # Down in the sensor's image, drawn in the rectified one.
    low, high = rectification.rectify_points([(320, 200), (320, 280)], "first")
    down = high - low
    turn = math.degrees(math.atan2(-down[0], down[1]))
    assert turn == pytest.approx(rectification.roll_deg, abs=0.5)


def test_remapped_images_show_a_point_on_the_same_row() -> None:
    """The maps for images and the formulas for points are one and the same rectification."""
    rig = rig_along(35, 50, width=800, height=600, focal=700.0, distortion=(-0.1, 0.02, 0.001, -0.001, 0))
    rectification = rig.rectification
    point = np.array([[30.0, -20.0, 500.0]])
    whole = np.array([[1.0, 0, 0], [0, 1, 0]])
    found = []
    for view, sensor, offset in (
        ("first", rig.first, np.zeros(3)),
        ("second", rig.second, rig.translation_second_from_first_mm),
    ):
        name = "first" if view == "first" else "second"
        pixel = sensor.project(point + offset)[0]
        ys, xs = np.mgrid[: sensor.height, : sensor.width]
        spot = np.exp(-((xs - pixel[0]) ** 2 + (ys - pixel[1]) ** 2) / (2 * 3.0**2)).astype(np.float32)
        laid = cv2.remap(spot, *rectification.maps(name, whole, rectification.size), cv2.INTER_LINEAR)
        weights = laid / laid.sum()
        rows, columns = np.mgrid[: laid.shape[0], : laid.shape[1]]
        found.append((float((weights * columns).sum()), float((weights * rows).sum())))
        assert found[-1] == pytest.approx(tuple(rectification.rectify_points([pixel], name)[0]), abs=0.05)
    assert found[0][1] == pytest.approx(found[1][1], abs=0.05)


def plane_depth(sensor: Camera, normal: np.ndarray, offset_mm: float) -> np.ndarray:
    """Depth (H, W) of the plane ``normal . X = offset_mm`` in the sensor's frame."""
    ys, xs = np.mgrid[: sensor.height, : sensor.width]
    rays = sensor.rays(np.stack([xs.ravel(), ys.ravel()], axis=1))
    return (offset_mm / (rays @ normal)).reshape(sensor.height, sensor.width)


@pytest.mark.parametrize("direction_deg", [0, 90, 180, 225])
def test_depth_moved_to_the_second_view_lies_on_the_same_plane(direction_deg: float) -> None:
    turn = np.asarray(cv2.Rodrigues(np.radians([1.0, -2.0, 1.5]))[0])
    flat = rig_along(direction_deg, 45, width=800, height=600, focal=720.0, distortion=(-0.05, 0.01, 0, 0, 0))
    rig = Rig(flat.first, flat.second, turn, turn @ flat.translation_second_from_first_mm)
    normal = np.array([0.2, -0.1, 1.0])
    moved = rig.depth_second_mm(plane_depth(rig.first, normal, 500.0).astype(np.float32))
    # The same plane in the second frame: n . R^T (X2 - t) = d.
    normal_second = rig.rotation_second_from_first @ normal
    offset_second = 500.0 + normal_second @ rig.translation_second_from_first_mm
    expected = plane_depth(rig.second, normal_second, float(offset_second))
    seen = moved > 0
    inner = seen[60:-60, 60:-60]
    assert inner.mean() > 0.9, "gaps of a larger second image are closed"
    # Each pixel shows the depth of a point up to half a pixel away, and a closed gap that of its neighbour.
    slope_mm = max(float(np.abs(np.diff(expected, axis=axis)).max()) for axis in (0, 1))
    assert np.abs(moved - expected)[seen].max() < 3 * slope_mm
    assert np.median(np.abs(moved - expected)[seen]) < 0.6 * slope_mm


def test_of_two_surfaces_the_nearer_is_seen() -> None:
    rig = rig_along(0, 60)
    depth = np.full((480, 640), 900.0, np.float32)
    depth[200:280, 280:360] = 300.0
    moved = rig.depth_second_mm(depth)
    # The near square moves by f b / Z = 120 px to the left, onto what lay behind.
    assert moved[240, 200] == pytest.approx(300.0)
    assert moved[240, 500] == pytest.approx(900.0)


@pytest.mark.parametrize("direction_deg", [0, 30, 90, 180])
def test_depth_of_a_crop_returns_to_the_first_image(direction_deg: float) -> None:
    rig = rig_along(direction_deg, 45)
    rectification = rig.rectification
    normal = np.array([0.1, 0.2, 1.0])
    center = rectification.rectify_points([(320, 240)], "first")[0]
    scale, size = 0.5 * rectification.direction, 100  # mirrored as the crops are
    affine = np.array([[scale, 0, size / 2 - scale * center[0]], [0, 0.5, size / 2 - 0.5 * center[1]]])
    ys, xs = np.mgrid[:size, :size]
    back = cv2.invertAffineTransform(affine)
    rays = rectification.rays(np.stack([xs.ravel(), ys.ravel()], axis=1) @ back[:, :2].T + back[:, 2])
    in_rectified = (500.0 / (rays @ (rectification.rotation_first @ normal))).reshape(size, size)
    moved = rectification.first_depth_mm(in_rectified.astype(np.float32), affine)
    expected = plane_depth(rig.first, normal, 500.0)
    assert moved[240, 320] > 0 and moved[10, 10] == 0
    assert np.abs(moved - expected)[moved > 0].max() < 0.1


def test_files_keep_the_rig(tmp_path: Path) -> None:
    rig = rig_along(30, 55, width=800, height=600, focal=650.0, distortion=(0.1, -0.2, 0.001, 0.002, 0.03))
    rig.save(tmp_path / "rig.json")
    assert Rig.load(tmp_path / "rig.json").as_json() == rig.as_json()


def test_the_contract_s_example_with_an_unknown_key_is_read() -> None:
    sensor = {
        "spectrum": "visible",
        "width": 640,
        "height": 480,
        "matrix": [[600, 0, 320], [0, 600, 240], [0, 0, 1]],
        "distortion": [0, 0, 0, 0, 0],
        "serial_number": "A17",
    }
    rig = Rig.from_json(
        {
            "format": "stereolive-rig/1",
            "first": sensor,
            "second": {**sensor, "spectrum": "near_infrared"},
            "rotation_second_from_first": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "translation_second_from_first_mm": [-40.0, 0.0, 0.0],
            "made_by": "hand",
        }
    )
    assert rig.baseline_mm == 40 and rig.second.spectrum == "near_infrared"


def good() -> dict[str, Any]:
    return copy.deepcopy(rig_along(0).as_json())


BAD: list[tuple[str, list[str | int], Any, str]] = [
    ("another format", ["format"], "stereolive-rig/2", "format"),
    ("no sensor", ["first"], None, "first"),
    ("an unknown spectrum", ["first", "spectrum"], "thermal", "first.spectrum"),
    ("half a pixel", ["first", "width"], 640.5, "first.width"),
    ("a width as text", ["second", "width"], "640", "second.width"),
    ("a true width", ["second", "width"], True, "second.width"),
    ("no pixels", ["second", "height"], 0, "second.height"),
    ("a huge sensor", ["second", "height"], 100_000, "second.height"),
    ("NaN in the matrix", ["first", "matrix", 0, 0], float("nan"), "first.matrix"),
    ("infinity in the matrix", ["first", "matrix", 0, 2], float("inf"), "first.matrix"),
    ("a principal point far away", ["first", "matrix", 0, 2], 1e22, "principal point"),
    ("a focal length of no sensor", ["first", "matrix", 0, 0], 5716384.9, "focal lengths of"),
    ("an endless focal length", ["first", "matrix", 0, 0], 1e22, "focal lengths of"),
    ("a distortion without end", ["first", "distortion", 0], 1e20, "cannot be inverted"),
    ("a distortion that turns", ["first", "distortion", 1], 1e20, "cannot be inverted"),
    ("a singular matrix", ["first", "matrix", 0, 0], 0, "singular"),
    ("a negative focal length", ["first", "matrix", 1, 1], -600, "singular"),
    ("a skewed matrix", ["first", "matrix", 0, 1], 5.0, "skew"),
    ("a projective last row", ["first", "matrix", 2], [0, 0, 2], "first.matrix"),
    ("a matrix of two rows", ["first", "matrix"], [[600, 0, 320], [0, 600, 240]], "first.matrix"),
    ("a ragged matrix", ["first", "matrix"], [[600, 0, 320], [0, 600], [0, 0, 1]], "first.matrix"),
    ("words for numbers", ["first", "matrix", 0, 0], "wide", "first.matrix"),
    ("no matrix", ["first", "matrix"], None, "first.matrix"),
    ("three coefficients", ["first", "distortion"], [0, 0, 0], "first.distortion"),
    ("distortion as a word", ["first", "distortion"], "none", "first.distortion"),
    ("NaN in the distortion", ["first", "distortion", 1], float("nan"), "first.distortion"),
    ("no rotation", ["rotation_second_from_first"], np.zeros((3, 3)).tolist(), "rotation"),
    ("a mirror", ["rotation_second_from_first"], np.diag([1, 1, -1]).tolist(), "rotation"),
    ("a scaled rotation", ["rotation_second_from_first"], (2 * np.eye(3)).tolist(), "rotation"),
    ("sensors back to back", ["rotation_second_from_first"], np.diag([-1, 1, -1]).tolist(), "45"),
    ("no baseline", ["translation_second_from_first_mm"], [0, 0, 0], "0 mm apart"),
    ("metres for millimetres", ["translation_second_from_first_mm"], [-0.04, 0, 0], "0.04 mm apart"),
    ("one sensor before the other", ["translation_second_from_first_mm"], [0, 0, -40], "before the other"),
    ("NaN in the baseline", ["translation_second_from_first_mm", 0], float("nan"), "translation"),
    ("a baseline of two numbers", ["translation_second_from_first_mm"], [-40, 0], "translation"),
    ("a baseline of words", ["translation_second_from_first_mm"], ["-40", "0", "0"], "expected numbers"),
    ("a word among numbers", ["translation_second_from_first_mm", 0], "-40", "translation"),
    ("a baseline of 400 digits", ["translation_second_from_first_mm", 0], -(10**400), "translation"),
    ("a baseline of thousands of digits", ["translation_second_from_first_mm", 0], -(10**4000), "translation"),
    ("a focal length of 400 digits", ["first", "matrix", 0, 0], 10**400, "first.matrix"),
    ("a coefficient of 400 digits", ["first", "distortion", 0], 10**400, "first.distortion"),
    ("a ragged distortion", ["first", "distortion"], [[0, 0], [0, 0, 0]], "first.distortion"),
    ("a true focal length", ["first", "matrix"], True, "first.matrix"),
    ("a rotation as text", ["rotation_second_from_first"], "none", "rotation"),
]


@pytest.mark.parametrize(("path", "value", "word"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_rigs_are_refused_with_the_key_s_name(path: list[str | int], value: Any, word: str, tmp_path: Path) -> None:
    data = good()
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "rig.json"
    file.write_text(json.dumps(data))
    with pytest.raises(RigError, match=word) as caught:
        Rig.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(good()))
def test_each_missing_key_is_named(key: str) -> None:
    data = good()
    del data[key]
    with pytest.raises(RigError, match=key):
        Rig.from_json(data)


@pytest.mark.parametrize("key", sorted(good()["first"]))
def test_each_missing_key_of_a_sensor_is_named(key: str) -> None:
    data = good()
    del data["second"][key]
    with pytest.raises(RigError, match=f"second.{key}"):
        Rig.from_json(data)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not JSON"),  # empty
        (b'{"format": "stereolive-rig/1", ', "not JSON"),  # cut off
        (b"\xff\xfe\x00\x01", "not JSON"),  # no text
        (b"[" * 100_000, "not JSON"),  # nested beyond reason
        (b"[1, 2]", "JSON object"),  # JSON of another kind
        (b"{" + b" " * 1_100_000 + b"}", "larger"),  # huge
    ],
)
def test_files_that_are_no_rig(content: bytes, word: str, tmp_path: Path) -> None:
    file = tmp_path / "rig.json"
    file.write_bytes(content)
    with pytest.raises(RigError, match=word):
        Rig.load(file)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RigError, match="cannot be read"):
            Rig.load(path)


def test_format_is_the_contract_s() -> None:
    assert RIG_FORMAT == "stereolive-rig/1"


PLACES: list[tuple[Any, ...]] = [
    *((view, "matrix", row, column) for view in ("first", "second") for row in range(3) for column in range(3)),
    *((view, "distortion", place) for view in ("first", "second") for place in range(5)),
    *(("rotation_second_from_first", row, column) for row in range(3) for column in range(3)),
    *(("translation_second_from_first_mm", place) for place in range(3)),
]


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, 0.5, 3.0, 1e3, 1e9, -1e20, 1e300])
def test_a_number_of_any_size_is_refused_or_can_be_rectified(value: float) -> None:
    """Nobody's rig file may end in an error of OpenCV."""
    accepted = 0
    for path in PLACES:
        data: Any = good()
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        try:
            rig = Rig.from_json(data)
        except RigError:
            continue
        accepted += 1
        maps = rig.rectification.maps("first", np.array([[0.3, 0, 0], [0, 0.3, 0]]), (64, 64))
        assert maps[0].shape == (64, 64)
        for view in ("first", "second"):
            points = rig.rectification.rectify_points(np.array([[220.0, 140.0], [420.0, 340.0]]), view)
            assert np.isfinite(points).all() and np.linalg.norm(points[0] - points[1]) > 1, path
    assert accepted < len(PLACES) or value == 0.0
