"""Crops against the geometry of real rigs, and a folder that survives being stopped."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stereolive.data import crops as module
from stereolive.data.crops import Crops, Cutting, cut_crops, true_disparity_px
from stereolive.data.manifest import COLUMNS, INSTRUMENT_SURFACE, LIVING_SURFACE, Manifest
from stereolive.errors import InputError
from stereolive.faces import cut
from stereolive.images import read_depth
from stereolive.rig import Camera, Rig
from stereolive.types import Face, FaceCrop, Location

CUTTING = Cutting(crop_px=96, stored_px=128)


def _rig(translation: tuple[float, float, float], turn_deg: float = 2.0) -> Rig:
    first = Camera(
        "visible", 320, 240, np.array([[300.0, 0, 161], [0, 302, 118], [0, 0, 1]]), np.array([0.05, -0.02, 0, 0, 0])
    )
    second = Camera("near_infrared", 352, 264, np.array([[340.0, 0, 170], [0, 339, 135], [0, 0, 1]]), np.zeros(5))
    rotation, _ = cv2.Rodrigues(np.radians([turn_deg, -1.5, 1.0]))
    return Rig(first, second, np.asarray(rotation, np.float64), np.array(translation))


RIGS = {
    "right": (-40.0, 1.0, 2.0),
    "left": (55.0, 2.0, 0.0),
    "above": (1.0, 60.0, -2.0),
    "diagonal": (-30.0, 30.0, 0.0),
}


def _bumpy_depth_mm(rig: Rig) -> NDArray[np.float32]:
    y, x = np.mgrid[: rig.first.height, : rig.first.width].astype(np.float32)
    return np.asarray(480 + 0.3 * (x - 160) - 40 * np.exp(-((x - 165) ** 2 + (y - 120) ** 2) / 3000), np.float32)


def _location(rig: Rig, depth_mm: float = 460.0) -> Location:
    face = Face(
        (120.0, 70.0, 85.0, 105.0), np.array([[140.0, 110], [180, 110], [160, 130], [145, 150], [175, 150]]), 0.9
    )
    center = rig.rectification.rectify_points([(162.0, 122.0)], "first")[0]
    shift = float(rig.rectification.disparity_px(depth_mm))
    return Location(face, None, (float(center[0]), float(center[1])), 130.0, shift, "search")


@pytest.mark.parametrize("name", RIGS)
def test_true_disparity_is_where_both_sensors_see_the_same_point(name: str) -> None:
    """Every first pixel's point is projected by the cameras themselves, and looked up in both crops."""
    rig = _rig(RIGS[name])
    depth = _bumpy_depth_mm(rig)
    blank = (
        np.zeros((rig.first.height, rig.first.width), np.uint8),
        np.zeros((rig.second.height, rig.second.width), np.uint8),
    )
    crop = cut(*blank, rig, _location(rig), 128)
    disparity = true_disparity_px(depth, rig, crop)

    ys, xs = np.mgrid[80:160:7, 120:205:7]
    pixels = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64)
    points = rig.first.rays(pixels) * depth[ys.ravel(), xs.ravel(), None]
    seen = rig.second.project(points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm)
    in_first = _carried(crop.first_crop_from_rectified, rig.rectification.rectify_points(pixels, "first"))
    in_second = _carried(crop.second_crop_from_rectified, rig.rectification.rectify_points(seen, "second"))
    inside = ((in_first > 2) & (in_first < 125)).all(axis=1)
    assert inside.sum() > 50
    assert np.abs(in_first[inside, 1] - in_second[inside, 1]).max() < 0.02
    x, y = in_first[inside].T.astype(np.float32)
    looked_up = cv2.remap(disparity, x[None], y[None], cv2.INTER_LINEAR)[0]
    assert np.abs(looked_up - (in_first - in_second)[inside, 0]).max() < 0.03


def _carried(affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def test_no_disparity_is_invented_in_holes_or_between_surfaces() -> None:
    rig = _rig(RIGS["right"])
    depth = np.full((240, 320), 900.0, np.float32)
    depth[60:180, 120:200] = 450.0
    depth[100:110, 150:160] = 0.0
    crop = cut(np.zeros((240, 320), np.uint8), np.zeros((264, 352), np.uint8), rig, _location(rig), 128)
    disparity = true_disparity_px(depth, rig, crop)
    near_far = crop.scale * (rig.rectification.focal_times_baseline / np.array([450.0, 900.0]) - crop.shift_px)
    known = disparity[np.isfinite(disparity)]
    assert 40 < np.isnan(disparity).sum() < 900
    # The rectified axis differs a little from the camera's, so a fronto-parallel plane is not quite one disparity.
    assert (np.abs(known[:, None] - near_far).min(axis=1) < 2.5).all()


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Five presentations; the third shows no face and the fourth's image is missing."""
    folder = tmp_path / "data"
    folder.mkdir()
    rig = _rig(RIGS["right"])
    rig.save(folder / "rig.json")
    random = np.random.default_rng(0)
    lines = [",".join([*COLUMNS, "split", "first_spectrum"])]
    for index in range(5):
        cv2.imwrite(str(folder / f"{index}a.png"), random.integers(0, 255, (240, 320, 3), np.uint8))
        cv2.imwrite(str(folder / f"{index}b.png"), random.integers(0, 255, (264, 352), np.uint8))
        cv2.imwrite(str(folder / f"{index}d.png"), np.round(_bumpy_depth_mm(rig) * 10).astype(np.uint16))
        depth = "" if index == 1 else f"{index}d.png"
        surface = np.full((240, 320), INSTRUMENT_SURFACE, np.uint8)
        surface[:, 160:] = LIVING_SURFACE
        cv2.imwrite(str(folder / f"{index}s.png"), surface)
        shown = "" if index == 1 else f"{index}s.png"
        lines.append(
            f"p{index},{index}a.png,{index}b.png,rig.json,{depth},{shown},bona_fide,,skin,dim,s{index},train,own"
        )
    (folder / "3a.png").unlink()
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    blank = cv2.imread(str(folder / "2a.png"))

    class NoFinder:
        def find(self, image: NDArray[np.uint8]) -> list[Face]:
            return []

    def located(first: NDArray[np.uint8], *_: object) -> Location | None:
        return None if first.shape == blank.shape and (first == blank).all() else _location(rig)

    monkeypatch.setattr(module, "_finder", NoFinder)
    monkeypatch.setattr("stereolive.faces.locate", located)
    return Manifest.read(folder / "m.csv")


def test_a_folder_of_crops(manifest: Manifest, tmp_path: Path) -> None:
    crops = cut_crops(manifest, tmp_path / "crops", 1, CUTTING)
    assert [row.sample_id for row in crops.rows] == ["p0", "p1", "p4"]
    first, second, disparity = crops.read([0, 2])
    assert first.shape == second.shape == (2, 128, 128, 3) and disparity.shape == (2, 128, 128)
    assert first.dtype == np.uint8 and disparity.dtype == np.float16
    assert crops.rows[0].known_share > 0.9 and crops.rows[1].known_share == 0
    row = crops.rows[0]
    assert row.sensors == "visible+near_infrared" and row.species == "bona_fide" and row.further == {"split": "train"}
    middle = float(row.focal_times_baseline / (row.shift_px + disparity[0, 64, 64] / row.scale))
    assert middle == pytest.approx(442, abs=8)
    surface = crops.surface(0)
    assert surface.shape == (128, 128) and surface.dtype == np.uint8 and not crops.surface(1).any()
    known = surface[surface > 0].reshape(-1)
    assert set(known) == {LIVING_SURFACE, INSTRUMENT_SURFACE}
    places = np.nonzero(surface == LIVING_SURFACE)[1].min(), np.nonzero(surface == INSTRUMENT_SURFACE)[1].max()
    assert abs(places[0] - places[1]) < 8  # a straight border, as in the image, but for the rectification
    crop = crops.face_crop(0)
    assert isinstance(crop, FaceCrop) and crop.size == 128 and crop.scale == row.scale
    with (tmp_path / "crops/shard-00000/skipped.csv").open() as file:
        skipped = {entry["sample_id"]: entry["reason"] for entry in csv.DictReader(file)}
    assert skipped["p2"] == "no_face" and "3a.png" in skipped["p3"]
    reasons = crops.skipped()
    assert reasons["no_face"] == 1 and reasons.total() == 2
    assert not any("3a.png" in reason for reason in reasons)


def test_cut_again_only_where_something_changed(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD", 2)
    out = tmp_path / "crops"
    whole = cut_crops(manifest, out, 1, CUTTING)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    assert len(stamps) == 3
    shutil.rmtree(out / "shard-00001")
    again = cut_crops(manifest, out, 1, CUTTING)
    assert again.rows == whole.rows
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    assert [name for name in stamps if stamps[name] != after[name]] == ["shard-00001"]
    cut_crops(manifest, out, 1, Cutting(crop_px=80, stored_px=128))
    assert all(path.stat().st_mtime_ns != after[path.name] for path in out.glob("shard-*"))
    assert not list(out.glob(".*"))

    # A rig that was calibrated again, under the same name.
    rig = manifest.presentations[0].rig
    assert rig is not None
    calibration = json.loads(rig.read_text("utf-8"))
    calibration["translation_second_from_first_mm"] = [1.5 * t for t in calibration["translation_second_from_first_mm"]]
    rig.write_text(json.dumps(calibration), "utf-8")
    module._rig.cache_clear()  # which a new run begins with
    wider = cut_crops(manifest, out, 1, CUTTING)
    assert wider.rows[0].focal_times_baseline == pytest.approx(1.5 * whole.rows[0].focal_times_baseline, rel=1e-6)

    (out / "shard-00000" / "index.csv").write_text("nonsense\n1\n")
    with pytest.raises(InputError, match="shard-00000: cannot be read; delete that folder"):
        Crops(out)


def test_several_processes_do_the_same(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In new processes nothing is patched, so random pictures show no face: all are skipped, none is lost."""
    monkeypatch.setattr(module, "SHARD", 3)
    crops = cut_crops(manifest, tmp_path / "crops", 2, CUTTING)
    listed = sum((path.read_text().count("\n") - 1) for path in tmp_path.glob("crops/shard-*/skipped.csv"))
    assert len(crops) + listed == 5


def test_what_is_no_crop_folder_or_depth(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of crops"):
        Crops(tmp_path)
    cv2.imwrite(str(tmp_path / "d.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(InputError, match="16-bit grey PNG"):
        read_depth(tmp_path / "d.png")
