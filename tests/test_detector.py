"""How the detector looks: once at the crop, and once more where the sensors show far more than it keeps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.detector import FINER_BELOW_SCALE, LivenessDetector
from stereolive.errors import ModelError
from stereolive.rig import Camera, Rig
from stereolive.runtime import FloatArray, Network
from stereolive.store import DEPTH_FILE, LIVENESS_FILE, MANIFEST_FILE, Model, released_model, sha256


class Counting:
    """A network that keeps the sizes of what it was given."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.sides: list[int] = []

    def run(self, *inputs: FloatArray) -> list[FloatArray]:
        self.sides.append(inputs[0].shape[-1])
        return self._network.run(*inputs)


@pytest.fixture
def counted() -> tuple[LivenessDetector, Counting]:
    detector = LivenessDetector(threads=1)
    counting = Counting(detector._depth)
    detector._depth = counting  # type: ignore[assignment]
    return detector, counting


def enlarged(camera: Camera, times: int) -> Camera:
    """The same sensor with as many more pixels a side."""
    matrix = np.diag([times, times, 1]) @ camera.matrix
    matrix[:2, 2] += (times - 1) / 2
    return replace(camera, width=times * camera.width, height=times * camera.height, matrix=matrix)


def test_few_pixels_are_measured_once(living_pair: Any, counted: tuple[LivenessDetector, Counting]) -> None:
    detector, counting = counted
    analysis = detector.analyse(living_pair.first, living_pair.second, living_pair.rig)
    assert analysis.crop is not None and analysis.crop.scale > FINER_BELOW_SCALE
    assert counting.sides == [detector.model.crop_size]


def test_many_pixels_are_measured_twice_and_mean_the_same(
    living_pair: Any, counted: tuple[LivenessDetector, Counting]
) -> None:
    detector, counting = counted
    before = detector.analyse(living_pair.first, living_pair.second, living_pair.rig)
    rig: Rig = living_pair.rig
    large = replace(rig, first=enlarged(rig.first, 3), second=enlarged(rig.second, 3))
    pair = [cv2.resize(view, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for view in
            (living_pair.first, living_pair.second)]  # fmt: skip
    counting.sides.clear()
    after = detector.analyse(pair[0], pair[1], large)
    assert after.crop is not None and after.crop.scale < FINER_BELOW_SCALE
    assert counting.sides == [detector.model.crop_size, 2 * detector.model.crop_size]
    assert after.depth is not None and before.depth is not None
    assert after.depth.depth_mm.shape == before.depth.depth_mm.shape
    assert after.shape is not None and before.shape is not None
    assert after.shape.distance_mm == pytest.approx(before.shape.distance_mm, rel=0.02)
    assert after.shape.eye_distance_mm == pytest.approx(before.shape.eye_distance_mm, rel=0.1)


def test_a_network_that_takes_one_size_only_is_not_asked_for_another(
    living_pair: Any, counted: tuple[LivenessDetector, Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, counting = counted
    monkeypatch.setattr("stereolive.detector.FINER_BELOW_SCALE", 99.0)
    fixed = {name: value for name, value in detector.model.preprocessing.items() if name != "finer_reach_px"}
    detector.model = replace(detector.model, preprocessing=fixed)
    detector.analyse(living_pair.first, living_pair.second, living_pair.rig)
    assert counting.sides == [detector.model.crop_size]


def test_networks_in_each_other_s_place_are_refused(tmp_path: Path) -> None:
    model = Model.load(released_model())
    for path, name in ((model.liveness_path, DEPTH_FILE), (model.depth_path, LIVENESS_FILE)):
        shutil.copyfile(path, tmp_path / name)
    data = json.loads((model.folder / MANIFEST_FILE).read_text())
    data["sha256"] = {name: sha256(tmp_path / name) for name in (DEPTH_FILE, LIVENESS_FILE)}
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"depth\.onnx: expected the inputs first, second, got maps, views"):
        LivenessDetector(tmp_path, threads=1)
