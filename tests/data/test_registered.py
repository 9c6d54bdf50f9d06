"""Views that lie on each other: from an adapter's manifest to what the liveness model is given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stereolive.data.adapters import casia_surf
from stereolive.data.crops import Crops, Cutting, cut_crops
from stereolive.data.manifest import Manifest, write_rows
from stereolive.data.registered import UNKNOWN_SD_PX, measured_information
from stereolive.demo import bundled_pairs
from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS, face_ellipse
from stereolive.errors import ManifestError
from stereolive.images import read_image, write_depth, write_png
from stereolive.runtime import Network
from stereolive.train.cache import Variation, seen_through
from stereolive.types import ImageArray

COLUMNS = ("sample_id", "first", "second", "rig", "depth", "label", "registered", "first_spectrum", "second_spectrum")


def _face(number: int = 0) -> ImageArray:
    """A bundled pair's first image, with a face to be found."""
    return read_image(bundled_pairs().presentations[number].first)


@pytest.fixture
def crops(tmp_path: Path) -> Crops:
    """Two presentations: one with a depth that slopes from 400 mm on and has a hole, one without."""
    image = _face()
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "b.png", grey)
    _, xs = np.mgrid[: grey.shape[0], : grey.shape[1]]
    depth = (400 + 0.1 * xs).astype(np.float32)
    depth[: grey.shape[0] // 4] = 0
    write_depth(tmp_path / "d.png", depth)
    rows = [
        dict(
            zip(
                COLUMNS,
                (name, "a.png", "b.png", "", told, "bona_fide", "true", "visible", "near_infrared"),
                strict=True,
            )
        )
        for name, told in (("with", "d.png"), ("without", ""))
    ]
    write_rows(tmp_path / "manifest.csv", rows, COLUMNS)
    return cut_crops(Manifest.read(tmp_path / "manifest.csv"), tmp_path / "crops", 1, Cutting(96, 128))


def test_views_that_lie_on_each_other_are_cut_so(crops: Crops) -> None:
    assert [row.is_registered for row in crops.rows] == [True, True] and not any(row.fault for row in crops.rows)
    crop = crops.face_crop(0)
    assert crop.shift_px == 0 and (crop.first_spectrum, crop.second_spectrum) == ("visible", "near_infrared")
    one, other = (cv2.cvtColor(view, cv2.COLOR_BGR2GRAY).astype(float) for view in (crop.first, crop.second))
    assert np.abs(one - other).mean() < 1.5
    assert 0.5 < crops.rows[0].known_share < 1 and crops.rows[1].known_share == 0


def test_their_depth_is_what_the_liveness_model_is_given(crops: Crops) -> None:
    class NoNetwork(Network):
        def __init__(self) -> None:
            pass

    for variation in (Variation(), Variation(zoom=1.1, move_px=(3.0, -2.0), offset_px=5.0)):
        maps, views = seen_through(NoNetwork(), crops, 0, 96, variation)
        assert maps.shape == (len(LIVENESS_MAPS), 48, 48) and views.shape == (len(LIVENESS_VIEWS), 96, 96)
        known = maps[LIVENESS_MAPS.index("disparity_sd")] < 1
        slope = np.diff(maps[LIVENESS_MAPS.index("relative_depth")], axis=1)[known[:, 1:] & known[:, :-1]]
        assert 0.3 < known.mean() < 1 and (slope > 0).mean() > 0.95
        assert 0.4 < maps[LIVENESS_MAPS.index("distance"), 0, 0] < 0.5
        # The second view is not moved against the first, whatever the variation says.
        assert np.corrcoef(views[:3].mean(0).ravel(), views[3:].mean(0).ravel())[0, 1] > 0.99


def test_without_depth_nothing_is_told_of_the_shape(crops: Crops) -> None:
    information = measured_information(crops.face_crop(1), np.full((128, 128), np.nan))
    assert (information.disparity_sd_px == np.float32(UNKNOWN_SD_PX)).all()
    depth = information.depth_mm[face_ellipse(64)]
    assert np.ptp(depth) == 0
    side_mm = 128 / information.crop.scale * float(depth[0]) / information.crop.focal_px
    assert side_mm == pytest.approx(230, abs=0.5)


def test_an_adapted_set_can_be_cut(tmp_path: Path) -> None:
    lines = []
    for number, label in ((0, "1"), (1, "0")):
        image = _face(number)
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        for kind, content in (("color", image), ("depth", grey), ("ir", grey)):
            write_png(tmp_path / f"{number}-{kind}.png", content)
        lines.append(f"{number}-color.png {number}-depth.png {number}-ir.png {label}")
    (tmp_path / "train_list.txt").write_text("\n".join(lines) + "\n")
    adapted = casia_surf.adapt(tmp_path / "train_list.txt", tmp_path / "out")
    cut = cut_crops(Manifest.read(adapted.manifest), tmp_path / "crops", 1, Cutting(96, 128))
    assert [row.label for row in cut.rows] == ["bona_fide", "attack"] and all(row.is_registered for row in cut.rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"registered": ""}, "rig is empty"), ({"second": ""}, "second is empty")],
)
def test_what_lacks_a_rig_must_say_that_it_is_registered(tmp_path: Path, change: dict[str, str], says: str) -> None:
    row = dict(zip(COLUMNS, ("a", "a.png", "b.png", "", "", "", "true", "visible", "visible"), strict=True))
    write_rows(tmp_path / "m.csv", [{**row, **change}], COLUMNS)
    with pytest.raises(ManifestError, match=says):
        Manifest.read(tmp_path / "m.csv")


def test_views_that_cannot_lie_on_each_other_are_left_out(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    write_png(tmp_path / "b.png", np.zeros((32, 64), np.uint8))
    rows = [
        ("a", "a.png", "b.png", "", "", "", "true", "visible", "visible"),
        ("b", *["a.png"] * 2, *[""] * 3, "true", "", ""),
    ]
    write_rows(tmp_path / "m.csv", [dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)
    cut = cut_crops(Manifest.read(tmp_path / "m.csv"), tmp_path / "crops", 1, Cutting(96, 128))
    skipped = (tmp_path / "crops" / "shard-00000" / "skipped.csv").read_text()
    assert (
        not cut.rows and "different sizes" in skipped and "first_spectrum: expected visible or near_infrared" in skipped
    )
