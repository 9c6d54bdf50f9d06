"""HQ-WMCA: the calibration's directions, depth moved between grids, files of the set's layout, and the real capture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.data.adapters import hq_wmca
from stereolive.data.manifest import Manifest
from stereolive.errors import ManifestError, RigError
from stereolive.images import as_8bit, as_grey, read_depth, read_image
from stereolive.rig import Camera, Rig

h5py = pytest.importorskip("h5py")

REAL = Path(__file__).parents[4] / "shared" / "real" / "idiap_mask"
real_capture = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real capture is not in {REAL}")

BONA_FIDE = "1_01_0064_0000_00_00_000-48a8d5a0.h5"
SILICONE = "1_02_0065_0003_06_01_004-0a1b2c3d.h5"


def _rotation(x_deg: float, y_deg: float) -> np.ndarray:
    rotation, _ = cv2.Rodrigues(np.radians([x_deg, y_deg, 0.0]))
    return rotation


def _camera(
    focal: float, center: tuple[float, float], rotation: np.ndarray, translation_cm: list[float]
) -> dict[str, Any]:
    return {
        "camera_matrix": [[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]],
        "distortion_coefs": [[0.0, 0.0, 0.0, 0.0, 0.0]],
        "markers": [[0, 0]] * 4,
        "reference": "nir_left",
        "relative_rotation": rotation.tolist(),
        "relative_translation": [[value] for value in translation_cm],
    }


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    cameras = {
        "nir_left": _camera(2700, (600, 960), np.eye(3), [0, 0, 0]),
        "nir_right": _camera(2710, (620, 950), _rotation(0.2, -1.5), [-7.6, 0.02, -0.6]),
        "color": _camera(2705, (610, 970), _rotation(0.6, -0.5), [-3.5, 3.3, -3.3]),
        "intel_depth": _camera(940, (640, 360), _rotation(1.9, -0.9), [-1.0, -4.1, -5.5]),
    }
    path.write_text(json.dumps(cameras), "utf-8")
    return path


def _write_capture(path: Path, lights: tuple[str, ...] = ("LEFT_NIR_850nm",), without: str = "") -> None:
    """A file of exactly the set's layout: one frame a stream."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams: dict[str, np.ndarray] = {
        "BASLER_BGR": np.stack([np.full((1, 1920, 1200), value, np.uint8) for value in (10, 20, 30)], axis=1)
    }
    for light in lights:
        streams[f"BASLER_{light}"] = np.full((1, 1, 1920, 1200), 700, np.uint16)
    depth = np.zeros((1, 1, 720, 1280), np.uint16)
    depth[0, 0, 260:460, 540:740] = 600
    depth[0, 0, 340:380, 620:660] = 0  # a hole in the middle of the face
    streams["REALSENSE_D415_DEPTH"] = depth
    with h5py.File(path, "w") as file:
        for name, data in streams.items():
            if name != without:
                file.create_dataset(name, data=data)


# --- calibration


def test_translations_are_brought_from_centimetres(calibration: Path) -> None:
    cameras = hq_wmca.read_calibration(calibration)
    assert cameras["nir_right"].translation_camera_from_reference_mm == pytest.approx([-76, 0.2, -6])


def test_rig_maps_a_point_as_the_calibration_does(calibration: Path) -> None:
    cameras = hq_wmca.read_calibration(calibration)
    rig = hq_wmca.rig_between(cameras, "color", "nir_right", ((1200, 1920), (1200, 1920)), ("visible", "near_infrared"))
    point_reference = np.array([20.0, -30.0, 550.0])

    def seen_by(name: str) -> np.ndarray:
        camera = cameras[name]
        return camera.rotation_camera_from_reference @ point_reference + camera.translation_camera_from_reference_mm

    second = rig.rotation_second_from_first @ seen_by("color") + rig.translation_second_from_first_mm
    assert second == pytest.approx(seen_by("nir_right"), abs=1e-6)
    assert (rig.first.spectrum, rig.second.spectrum) == ("visible", "near_infrared")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("nir_left"), "there is no camera 'nir_left'"),  # the reference itself is gone
        (lambda data: data["color"].pop("camera_matrix"), "color.camera_matrix: is missing"),
        (lambda data: data["color"].pop("reference"), "color.reference: is missing"),
        (
            lambda data: data["color"].update(relative_rotation=[[1, 0], [0, 1]]),
            "color.relative_rotation: expected shape",
        ),
        (lambda data: data["color"].update(relative_translation="far"), "color.relative_translation: expected numbers"),
        (lambda data: data.update(color=3), "color: expected an object"),
    ],
)
def test_broken_calibration_is_said_in_one_sentence(calibration: Path, change: Any, message: str) -> None:
    data = json.loads(calibration.read_text("utf-8"))
    change(data)
    calibration.write_text(json.dumps(data), "utf-8")
    with pytest.raises(RigError, match=message):
        hq_wmca.read_calibration(calibration)


def test_calibration_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{", "utf-8")
    with pytest.raises(RigError, match="is not JSON"):
        hq_wmca.read_calibration(tmp_path / "c.json")
    with pytest.raises(RigError, match="cannot be read"):
        hq_wmca.read_calibration(tmp_path / "none.json")


# --- depth from one grid to another


def _cameras() -> tuple[Camera, Camera]:
    source = Camera("near_infrared", 160, 120, [[120, 0, 80], [0, 120, 60], [0, 0, 1]], [0.0] * 5)
    target = Camera("visible", 300, 400, [[350, 0, 150], [0, 350, 200], [0, 0, 1]], [0.0] * 5)
    return source, target


def _plane(camera: Camera, normal: np.ndarray, distance_mm: float) -> np.ndarray:
    """Depth of the plane ``normal X = distance`` on the camera's grid."""
    ys, xs = np.mgrid[: camera.height, : camera.width]
    rays = camera.rays(np.stack([xs.ravel(), ys.ravel()], axis=1))
    return (distance_mm / (rays @ normal)).reshape(camera.height, camera.width).astype(np.float32)


def test_moved_plane_is_the_plane_seen_from_there() -> None:
    source, target = _cameras()
    rotation, translation_mm = _rotation(3, -2), np.array([-20.0, 10.0, -30.0])
    normal = np.array([0.3, -0.2, 1.0]) / np.linalg.norm([0.3, -0.2, 1.0])
    moved = hq_wmca.move_depth(_plane(source, normal, 600), source, target, rotation, translation_mm)
    normal_target = rotation @ normal
    expected = _plane(target, normal_target, float(600 + normal_target @ translation_mm))
    seen = moved > 0
    assert seen[80:320, 50:250].all()  # finer grid, no pixel missed
    assert np.abs(moved - expected)[seen].max() < 0.01


def test_holes_stay_and_edges_are_not_bridged() -> None:
    source, target = _cameras()
    depth_mm = np.full((120, 160), 500, np.float32)
    depth_mm[50:70, 70:90] = 0
    depth_mm[:, 110:] = 700
    moved = hq_wmca.move_depth(depth_mm, source, target, np.eye(3), np.array([0.0, 0.0, 0.0]))
    assert (moved[180:220, 130:170] == 0).all()
    values = moved[moved > 0]
    assert np.isclose(values, 500, atol=0.01).sum() + np.isclose(values, 700, atol=0.01).sum() == values.size


def test_the_nearest_surface_hides_the_farther() -> None:
    source, target = _cameras()
    depth_mm = np.full((120, 160), 700, np.float32)
    depth_mm[30:90, 60:100] = 400
    # From 60 mm beside, the near square covers a part of the wall that the source sees.
    moved = hq_wmca.move_depth(depth_mm, source, target, np.eye(3), np.array([60.0, 0.0, 0.0]))
    rows, columns = np.nonzero(np.isclose(moved, 400, atol=0.01))
    inner = moved[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]
    assert np.allclose(inner, 400, atol=0.01)


def test_depth_where_the_distortion_folds_over_is_left_out() -> None:
    _, target = _cameras()
    # The largest ray of 1 - 0.99 r^2 + 23.6 r^4 - 141 r^6 is at 0.5: a pixel at the image's border has none.
    folded = Camera("near_infrared", 1280, 720, [[940, 0, 640], [0, 940, 360], [0, 0, 1]], [-0.33, 4.71, 0, 0, -20.2])
    depth_mm = np.zeros((720, 1280), np.float32)
    depth_mm[300:420, 1100:1280] = 600
    depth_mm[300:420, 600:680] = 600
    wide = Camera("visible", 2000, 1000, [[500, 0, 1000], [0, 500, 500], [0, 0, 1]], [0.0] * 5)
    moved = hq_wmca.move_depth(depth_mm, folded, wide, np.eye(3), np.zeros(3))
    assert moved[:, 950:1050].any() and not moved[:, 1100:].any()
    with pytest.raises(RigError, match="expected 120 x 160"):
        hq_wmca.move_depth(depth_mm, _cameras()[0], target, np.eye(3), np.zeros(3))


# --- files of the set's layout


def test_files_become_a_manifest(tmp_path: Path, calibration: Path) -> None:
    _write_capture(tmp_path / "set" / "26.02.19" / BONA_FIDE)
    _write_capture(tmp_path / "set" / "27.02.19" / SILICONE)
    result = hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration)
    assert result.counts == {"bona_fide": 1, "mask_silicone": 1}
    assert not result.skipped
    live, attack = Manifest.read(result.manifest)
    # Polarity: TYPE 00 is bona fide.
    assert (live.label, live.species, live.subject_id) == ("bona_fide", "bona_fide", "0064")
    assert (attack.label, attack.species, attack.subject_id) == ("attack", "mask_silicone", "0065")
    assert (live.illumination, attack.illumination) == ("session_01", "session_02")
    assert attack.further["instrument_id"] == "06_01_004"
    first, second = read_image(live.first), read_image(live.second)
    assert first.shape == (1920, 1200, 3) and first.dtype == np.uint8 and tuple(first[0, 0]) == (10, 20, 30)
    assert second.shape == (1920, 1200) and second.dtype == np.uint16
    assert Rig.load(live.rig).baseline_mm == pytest.approx(57.9, abs=3)
    assert live.depth is not None
    depth_mm = read_depth(live.depth)
    assert depth_mm.shape == (1920, 1200)
    # The sensor's wall at 600 mm, seen by the colour camera, which stands 22 mm before it.
    assert 600 < np.median(depth_mm[depth_mm > 0]) < 640


@pytest.mark.parametrize(
    ("pair", "spectra", "streams"),
    [
        ("nir_left_850nm+nir_right_850nm", ("near_infrared", "near_infrared"), ("nir_left_850nm", "nir_right_850nm")),
        ("nir_left_850nm+nir_right_940nm", ("near_infrared", "near_infrared"), ("nir_left_850nm", "nir_right_940nm")),
        ("color+nir_right_735nm", ("visible", "near_infrared"), ("color", "nir_right_735nm")),
        ("color+nir_left_dark", ("visible", "near_infrared"), ("color", "nir_left_dark")),
    ],
)
def test_pairs(
    tmp_path: Path, calibration: Path, pair: str, spectra: tuple[str, str], streams: tuple[str, str]
) -> None:
    lights = ("LEFT_NIR_850nm", "RIGHT_NIR_850nm", "RIGHT_NIR_940nm", "RIGHT_NIR_735nm", "LEFT_NIR_Dark")
    _write_capture(tmp_path / "set" / BONA_FIDE, lights)
    (row,) = Manifest.read(hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration, pair).manifest)
    rig = Rig.load(row.rig)
    assert (rig.first.spectrum, rig.second.spectrum) == spectra
    assert (row.first.parent.name, row.second.parent.name) == streams


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("nir_left_850nm+nir_left_940nm", "come from one camera"),  # no baseline
        ("color", "expected two streams joined by"),
        ("color+thermal", "expected color or nir_left_850nm"),
    ],
)
def test_pairs_that_cannot_be(tmp_path: Path, calibration: Path, pair: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        hq_wmca.adapt(tmp_path, tmp_path / "out", calibration, pair)


def test_a_bad_file_is_left_out_and_listed(tmp_path: Path, calibration: Path) -> None:
    folder = tmp_path / "set"
    _write_capture(folder / BONA_FIDE)
    _write_capture(folder / SILICONE, without="REALSENSE_D415_DEPTH")
    (folder / "1_01_0066_0000_00_00_000.h5").write_bytes(b"not HDF5")
    _write_capture(folder / "capture.h5")
    _write_capture(folder / "1_01_0067_0000_77_00_000.h5")
    result = hq_wmca.adapt(folder, tmp_path / "out", calibration)
    assert result.counts == {"bona_fide": 1}
    reasons = "\n".join(result.skipped)
    for expected in ("has no stream REALSENSE_D415_DEPTH", "cannot be read as HDF5", "tells no label", "type 77"):
        assert expected in reasons
    assert "Left out: 4" in result.text()


def test_a_second_run_keeps_what_is_there_and_refuses_another_calibration(tmp_path: Path, calibration: Path) -> None:
    _write_capture(tmp_path / "set" / BONA_FIDE)
    hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration)
    (image,) = (tmp_path / "out" / "images" / "color").iterdir()
    before = image.stat().st_mtime_ns
    hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration)
    assert image.stat().st_mtime_ns == before
    data = json.loads(calibration.read_text("utf-8"))
    data["color"]["relative_translation"][0] = [-3.9]
    calibration.write_text(json.dumps(data), "utf-8")
    with pytest.raises(RigError, match="of another calibration"):
        hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration)


def test_no_files(tmp_path: Path, calibration: Path) -> None:
    with pytest.raises(ManifestError, match="no HDF5 file"):
        hq_wmca.adapt(tmp_path, tmp_path / "out", calibration)
    with pytest.raises(ManifestError, match="is not a folder"):
        hq_wmca.adapt(tmp_path / "none", tmp_path / "out", calibration)


# --- the real capture


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real capture in an HDF5 file of the set's layout, adapted for three pairs."""
    folder = tmp_path_factory.mktemp("real")
    with h5py.File(folder / SILICONE, "w") as file:
        file["BASLER_BGR"] = np.moveaxis(read_image(REAL / "color.png"), 2, 0)[None]
        for side in ("left", "right"):
            for light in ("850nm", "940nm"):
                image = read_image(REAL / f"nir_{side}_{light}.png")
                file[f"BASLER_{side.upper()}_NIR_{light}"] = image[None, None]
        file["REALSENSE_D415_DEPTH"] = read_image(REAL / "d415_depth_mm.png")[None, None]
    for name, pair in (("visible", "color+nir_left_850nm"), ("stereo", "nir_left_850nm+nir_right_850nm")):
        hq_wmca.adapt(folder, folder / name, REAL / "idiap_face_calibration.json", pair)
    return folder


@real_capture
def test_real_near_infrared_views_lie_row_on_row(adapted: Path) -> None:
    (row,) = Manifest.read(adapted / "stereo" / "manifest.csv")
    rectification = Rig.load(row.rig).rectification
    sift = cv2.SIFT_create(4000)
    clahe = cv2.createCLAHE(3, (8, 8))
    features = [sift.detectAndCompute(clahe.apply(as_8bit(read_image(path))), None) for path in (row.first, row.second)]
    (points_first, first), (points_second, second) = features
    matches = [a for a, b in cv2.BFMatcher().knnMatch(first, second, k=2) if a.distance < 0.75 * b.distance]
    pixels_first = np.array([points_first[match.queryIdx].pt for match in matches])
    pixels_second = np.array([points_second[match.trainIdx].pt for match in matches])
    difference = rectification.rectify_points(pixels_first, "first") - rectification.rectify_points(
        pixels_second, "second"
    )
    assert len(matches) > 80
    assert np.median(np.abs(difference[:, 1])) < 1.5  # of 2700 pixels of focal length; the other direction: 17
    depth_mm = rectification.depth_mm(rectification.direction * difference[:, 0])
    assert 500 < np.median(depth_mm) < 660


@real_capture
def test_real_depth_sensor_agrees_with_the_stereo_pair(adapted: Path) -> None:
    (row,) = Manifest.read(adapted / "stereo" / "manifest.csv")
    assert row.depth is not None
    sensor_mm = read_depth(row.depth)
    rectification = Rig.load(row.rig).rectification
    scale = 0.5
    crop = np.array([[scale, 0, 0], [0, scale, 0]])
    size = (int(rectification.size[0] * scale), int(rectification.size[1] * scale))
    views = [
        cv2.remap(as_8bit(read_image(path)), *rectification.maps(view, crop, size), cv2.INTER_LINEAR)
        for path, view in ((row.first, "first"), (row.second, "second"))
    ]
    views = [cv2.GaussianBlur(view, (0, 0), 0.8) for view in views]
    nearest, farthest = (int(rectification.disparity_px(z) * scale) for z in (420.0, 800.0))
    matcher = cv2.StereoSGBM_create(
        farthest, 16 * -(-(nearest - farthest) // 16), 7, P1=8 * 49, P2=32 * 49, disp12MaxDiff=2, uniquenessRatio=5,
        speckleWindowSize=200, speckleRange=2, mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )  # fmt: skip
    disparity = matcher.compute(*views).astype(np.float64) / 16
    valid = disparity > farthest
    stereo_mm = np.where(valid, rectification.depth_mm(np.where(valid, disparity, 1) / scale), 0).astype(np.float32)
    stereo_mm = rectification.first_depth_mm(stereo_mm, crop)
    face = np.zeros(sensor_mm.shape, bool)
    face[600:1280, 420:1020] = True
    both = face & (sensor_mm > 0) & (sensor_mm < 750) & (stereo_mm > 450) & (stereo_mm < 700)
    error_mm = (stereo_mm - sensor_mm)[both]
    assert both.sum() > 200_000
    assert np.median(np.abs(error_mm)) < 10  # measured 3.6; through the inverse transform 128
    assert np.percentile(np.abs(error_mm), 90) < 20


@real_capture
def test_real_colour_lies_on_near_infrared_where_the_depth_sensor_says(adapted: Path) -> None:
    (row,) = Manifest.read(adapted / "visible" / "manifest.csv")
    assert row.depth is not None
    depth_mm, rig = read_depth(row.depth), Rig.load(row.rig)
    ys, xs = np.nonzero(depth_mm > 0)
    points = rig.first.rays(np.stack([xs, ys], axis=1)) * depth_mm[ys, xs, None]
    pixels = rig.second.project(points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm)
    maps = np.full((2, *depth_mm.shape), -1, np.float32)
    maps[:, ys, xs] = pixels.T

    def edges(image: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 3)
        return np.hypot(cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1))

    colour = edges(as_grey(as_8bit(read_image(row.first))))
    near_infrared = edges(cv2.remap(as_8bit(read_image(row.second)), maps[0], maps[1], cv2.INTER_LINEAR))
    face = cv2.erode(((depth_mm > 0) & (depth_mm < 640)).astype(np.uint8), np.ones((41, 41))) > 0
    face[:400], face[1500:] = False, False

    def alike(dx: int, dy: int) -> float:
        return float(np.corrcoef(colour[face], np.roll(near_infrared, (dy, dx), (0, 1))[face])[0, 1])

    shifts = [(dx, dy) for dx in range(-16, 17, 4) for dy in range(-16, 17, 4)]
    best = max(shifts, key=lambda shift: alike(*shift))
    assert max(abs(best[0]), abs(best[1])) <= 4


def test_manifest_names_paths_relative_to_itself(tmp_path: Path, calibration: Path) -> None:
    _write_capture(tmp_path / "set" / BONA_FIDE)
    result = hq_wmca.adapt(tmp_path / "set", tmp_path / "out", calibration)
    with result.manifest.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["first"] == f"images/color/{Path(BONA_FIDE).stem}.png"
    assert row["rig"] == "rigs/color-nir_left_850nm.json"
