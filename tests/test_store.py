from __future__ import annotations

import json
from pathlib import Path

import pytest

from stereolive.errors import ModelError
from stereolive.store import Model


@pytest.fixture
def model(tmp_path: Path) -> Model:
    work = tmp_path / "work"
    work.mkdir()
    (work / "depth.onnx").write_bytes(b"depth network")
    (work / "liveness.onnx").write_bytes(b"liveness model")
    preprocessing = {"crop_size_px": 192, "liveness_channels": ["relative_depth", "side"]}
    points = ({"name": "bpcer_2", "threshold": 0.7},)
    made = Model(
        work, "test-model", "1.2", preprocessing, 0.7, points, {"dark": 20}, {"auc": 0.9}, {"seed": 3}, "CC0-1.0"
    )
    return made.save(tmp_path / "model")


def _edit(model: Model, **changes: object) -> None:
    path = model.folder / "manifest.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "gone"}))


def test_saved_and_loaded_is_the_same(model: Model) -> None:
    assert Model.load(model.folder) == model
    assert (model.crop_size, model.threshold, model.quality["dark"]) == (192, 0.7, 20)
    assert model.liveness_channels == ("relative_depth", "side")
    assert model.depth_path.read_bytes() == b"depth network"
    assert sorted(path.name for path in model.folder.parent.iterdir()) == ["model", "work"]  # nothing is left behind


def test_saving_replaces_a_model_but_nothing_else(model: Model, tmp_path: Path) -> None:
    assert Model.load(model.save(model.folder).folder) == model
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(ModelError, match="holds something else"):
        model.save(tmp_path / "mine")
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "stereolive-model/9"}, "expected format stereolive-model/1"),
        ({"threshold": "high"}, "threshold: expected a number from 0 to 1, got 'high'"),
        ({"threshold": 1.5}, "threshold: expected"),
        ({"threshold": True}, "threshold: expected"),
        ({"sha256": "gone"}, "sha256: is missing"),
        ({"sha256": {}}, "depth.onnx was altered"),
        ({"preprocessing": {"liveness_channels": []}}, "crop_size_px: expected"),
        ({"preprocessing": {"crop_size_px": 192}}, "liveness_channels: expected"),
        ({"preprocessing": {"crop_size_px": 192, "finer_reach_px": 0}}, "finer_reach_px: expected a number of pixels"),
        ({"name": 7}, "name: is missing or of the wrong kind"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_sentence(model: Model, changes: dict[str, object], says: str) -> None:
    _edit(model, **changes)
    with pytest.raises(ModelError) as caught:
        Model.load(model.folder)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["depth.onnx", "liveness.onnx"])
def test_altered_and_missing_networks_are_noticed(model: Model, name: str) -> None:
    path = model.folder / name
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ModelError, match=f"{name} was altered"):
        Model.load(model.folder)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Model.load(model.folder)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[]", b"[" * 100_000])
def test_a_broken_manifest(model: Model, text: bytes) -> None:
    (model.folder / "manifest.json").write_bytes(text)
    with pytest.raises(ModelError, match="is not"):
        Model.load(model.folder)


def test_no_folder_and_no_manifest(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        Model.load(tmp_path / "none")
    (model.folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        Model.load(model.folder)


def test_an_unusable_name_or_threshold_is_not_saved(model: Model, tmp_path: Path) -> None:
    from dataclasses import replace

    for wrong in ({"name": "../evil"}, {"threshold": float("nan")}):
        with pytest.raises(ModelError):
            replace(model, **wrong).save(tmp_path / "other")  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()
