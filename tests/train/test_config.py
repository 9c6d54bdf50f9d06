from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from stereolive.errors import InputError
from stereolive.train import config as module
from stereolive.train.config import DepthStage, JointStage, LivenessStage, TrainConfig, load_config

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_reads_nested_values(tmp_path: Path) -> None:
    path = _written(tmp_path, "seed: 3\nbpcer: 0.05\ndepth:\n  steps: 7\nliveness:\n  channels: [relative_depth]\n")
    config = load_config(path, manifest="m.csv", out="o")
    assert config.seed == 3 and config.depth.steps == 7 and config.liveness.channels == ("relative_depth",)
    assert config.manifest == Path("m.csv") and config.work == Path("o.work")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sead: 3", "there is no sead"),
        ("depth:\n  stepz: 3", "there is no depth.stepz"),
        ("seed: three", "seed: expected a whole number, got 'three'"),
        ("seed: 1.5", "seed: expected a whole number, got 1.5"),
        ("bpcer: yes", "bpcer: expected a number, got True"),
        ("bpcer: 2", "bpcer: expected a share"),
        ("liveness: {init_share: 1}", "liveness.init_share: expected 0 to less than 1, got 1.0"),
        ("init_depth_only: 1", "init_depth_only: expected true or false, got 1"),
        ("crop_px: 100", "crop_px: expected a multiple of 16"),
        ("stored_px: 64", "stored_px: expected at least crop_px"),
        ("depth: 3", "depth should hold keys and values"),
        ("device: tpu", "device: expected auto, cpu or cuda"),
        ("precision: float16", "precision: expected float32 or bfloat16, got 'float16'"),
        ("steps: 1", "there is no steps"),
        ("depth: {steps: -1}", "depth.steps: expected 0 to 1e+08, got -1"),
        ("depth: {batch: 0}", "depth.batch: expected 1"),
        ("depth: {width: 10}", "depth.width: expected a multiple of 16 from 16 on, got 10"),
        ("depth: {window_px: 100}", "depth.window_px: expected a multiple of 16"),
        ("liveness: {learning_rate: .nan}", "liveness.learning_rate: expected 0 to 1, got nan"),
        ("liveness: {average_decay: 5.0}", "liveness.average_decay: expected 0 to 1"),
        ("liveness: {variants: 0}", "liveness.variants: expected 1"),
        ("liveness: {channels: [nope]}", "liveness.channels: there is no nope"),
        ("joint: {depth_weight: -1}", "joint.depth_weight: expected"),
        ("workers: 0", "workers: expected 1"),
        ("threads: -1", "threads: expected 0"),
        ("seed: -1", "seed: expected 0"),
        ("checkpoint_minutes: .nan", "checkpoint_minutes: expected 0 to 1440, got nan"),
        ("seed: 2026-13-45", "cannot be read"),
        ("- 1", "it should hold keys and values"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(_written(tmp_path, text), **({} if text.startswith("- ") else {"manifest": "m", "out": "o"}))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("out", [".", "/", "a/.."])
def test_a_model_needs_a_name(out: str) -> None:
    with pytest.raises(InputError, match="out: expected the name of a folder"):
        load_config(None, manifest="m.csv", out=out)


def test_what_is_needed_is_named() -> None:
    with pytest.raises(InputError, match="manifest is missing"):
        load_config(None, out="o")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path) -> None:
    load_config(path, manifest="m.csv", out="o")


def test_there_are_shipped_configurations() -> None:
    assert SHIPPED


@pytest.mark.parametrize("kind", [TrainConfig, DepthStage, LivenessStage, JointStage])
def test_every_field_is_documented(kind: type) -> None:
    source = inspect.getsource(module)
    for entry in dataclasses.fields(kind):
        line = source.index(f"    {entry.name}: ", source.index(f"class {kind.__name__}"))
        after = source[source.index("\n", line) + 1 :]
        assert after.lstrip().startswith('"""'), f"{kind.__name__}.{entry.name} has no docstring"
