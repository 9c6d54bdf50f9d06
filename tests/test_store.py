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
    (model.folder / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"something else than a model \(notes.txt\)"):
        model.save(model.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        model.save(tmp_path / "file")


def test_what_a_link_names_is_replaced_not_the_link(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "there")
    (tmp_path / "link").symlink_to("there")
    saved = model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and saved.folder == (tmp_path / "there").resolve()


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
        ({"preprocessing": {"crop_size_px": 192, "finer_reach_px": 10**400}}, "finer_reach_px: expected a number of"),
        ({"preprocessing": {"crop_size_px": 100}}, "crop_size_px: expected a multiple of 16 pixels from 32 to 2048"),
        ({"threshold": 10**4000}, "threshold: expected"),
        ({"name": 7}, "name: is missing or of the wrong kind"),
        ({"operating_points": 5}, "operating_points: expected a list of objects, got 5"),
        ({"operating_points": None}, "operating_points: expected a list of objects, got None"),
        ({"operating_points": [5]}, "operating_points: expected a list of objects"),
        ({"quality": None}, "quality: expected an object, got None"),
        ({"quality": []}, "quality: expected an object"),
        ({"metrics": 1}, "metrics: expected an object"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_sentence(model: Model, changes: dict[str, object], says: str) -> None:
    _edit(model, **changes)
    with pytest.raises(ModelError) as caught:
        Model.load(model.folder)
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_other_content_is_another_identity(model: Model) -> None:
    before = Model.load(model.folder)
    assert before.identity.startswith("test-model 1.2 ") and len(before.identity) == len("test-model 1.2 ") + 12
    assert Model.load(model.folder).identity == before.identity
    _edit(model, threshold=0.6)
    after = Model.load(model.folder)
    assert after.title == before.title and after.identity != before.identity


@pytest.mark.parametrize("name", ["depth.onnx", "liveness.onnx"])
def test_altered_and_missing_networks_are_noticed(model: Model, name: str) -> None:
    path = model.folder / name
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ModelError, match=f"{name} was altered"):
        Model.load(model.folder)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Model.load(model.folder)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[]", b"[" * 100_000, b'{"threshold": ' + b"1" * 5000 + b"}"])
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
