"""Whole runs on procedural crops: learning, stopping, going on, killing, and the folder that comes out."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stereolive.data.crops import Crops
from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.errors import InputError, ModelError
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork, LivenessTraining
from stereolive.runtime import Network
from stereolive.store import Model
from stereolive.train import run as run_module
from stereolive.train.config import DepthStage, JointStage, LivenessStage, TrainConfig
from stereolive.train.depth_stage import depth_errors, train_depth
from stereolive.train.export import export_model
from stereolive.train.loop import Log, Machine, Recipe, batch_indices, fit, machine, rate_share
from stereolive.train.run import train, train_on_crops
from stereolive.train.weights import Weights


def _config(out: Path, steps: int, **further: object) -> TrainConfig:
    values: dict[str, object] = {
        "manifest": Path("none.csv"),
        "out": out,
        "crop_px": 96,
        "stored_px": 128,
        "threads": 1,
        "workers": 1,
        "depth": DepthStage(steps=steps, batch=4, window_px=64, whole_batch=2),
        **further,
    }
    return TrainConfig(**values)  # type: ignore[arg-type]


def _prepared(config: TrainConfig) -> tuple[Machine, Log]:
    config.work.mkdir(parents=True, exist_ok=True)
    where = machine("cpu", 1)
    return where, Log(config.work / "metrics.jsonl", where)


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(entry, theirs[name]) for name, entry in one.state_dict().items())


def test_the_depth_network_learns_a_handful_of_pairs(crops: Crops, tmp_path: Path) -> None:
    stage = DepthStage(steps=70, batch=6, window_px=64, whole_share=0.1, whole_batch=4, average_decay=0.95)
    config = _config(tmp_path / "m", 0, depth=stage)
    where, log = _prepared(config)
    rows = list(range(6))
    before = depth_errors(
        train_depth(crops, rows, rows, _config(tmp_path / "n", 0), where, log), crops, rows, 96, where
    )
    after = depth_errors(train_depth(crops, rows, rows, config, where, log), crops, rows, 96, where)
    assert after["face_median_px"] < 1.2 < before["face_median_px"]
    logged = [json.loads(line) for line in (config.work / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 70 and any("validation" in entry for entry in logged)


def test_half_precision_learns_too_and_keeps_whole_weights(crops: Crops, tmp_path: Path) -> None:
    stage = DepthStage(steps=40, batch=4, window_px=64, whole_share=0.1, whole_batch=2, average_decay=0.95)
    config = _config(tmp_path / "m", 0, depth=stage)
    _, log = _prepared(config)
    where = machine("cpu", 1, "bfloat16")
    with where.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    rows = list(range(6))
    before = depth_errors(
        train_depth(crops, rows, rows, _config(tmp_path / "n", 0), where, log), crops, rows, 96, where
    )
    network = train_depth(crops, rows, rows, config, where, log)
    assert {entry.dtype for entry in network.parameters()} == {torch.float32}
    assert depth_errors(network, crops, rows, 96, where)["face_median_px"] < 0.7 * before["face_median_px"]


def test_stopped_and_taken_up_again_ends_at_the_same_weights(
    crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(range(8))
    straight = _config(tmp_path / "straight", 8)
    where, log = _prepared(straight)
    expected = train_depth(crops, rows, rows, straight, where, log)

    broken = _config(tmp_path / "broken", 8, checkpoint_minutes=0.0)
    where, log = _prepared(broken)
    from stereolive.train import depth_stage

    true_losses, calls = depth_stage.depth_losses, []

    def failing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return true_losses(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(depth_stage, "depth_losses", failing)
    with pytest.raises(KeyboardInterrupt):
        train_depth(crops, rows, rows, broken, where, log)
    monkeypatch.setattr(depth_stage, "depth_losses", true_losses)
    state = torch.load(broken.work / "depth.checkpoint", weights_only=True)
    assert state["step"] == 4
    assert _same(expected, train_depth(crops, rows, rows, broken, where, log))


def test_a_checkpoint_of_another_run_is_refused(crops: Crops, tmp_path: Path) -> None:
    config = _config(tmp_path / "m", 2)
    where, log = _prepared(config)
    train_depth(crops, [0, 1], [2], config, where, log)
    with pytest.raises(InputError, match="another configuration"):
        train_depth(crops, [0, 1], [2], dataclasses.replace(config, seed=5), where, log)


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from stereolive.data.crops import Crops
import test_run
config = test_run._config(Path({out!r}), 400, checkpoint_minutes=0.0)
where, log = test_run._prepared(config)
from stereolive.train.depth_stage import train_depth
train_depth(Crops({crops!r}), list(range(8)), [8], config, where, log)
"""


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(5000)])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(crops: Crops, tmp_path: Path, content: bytes) -> None:
    config = _config(tmp_path / "m", 2)
    where, log = _prepared(config)
    (config.work / "depth.checkpoint").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read; delete it"):
        train_depth(crops, [0, 1], [2], config, where, log)


def test_killed_at_any_moment_the_checkpoint_is_whole(crop_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    script = _CHILD.format(here=str(Path(__file__).parent), out=str(out), crops=str(crop_folder))
    source = str(Path(__file__).parents[2] / "src")
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": source})
    path = out.with_name("m.work") / "depth.checkpoint"
    waited = time.monotonic() + 50
    while not path.exists() and time.monotonic() < waited and child.poll() is None:
        time.sleep(0.02)
    time.sleep(0.7)
    child.send_signal(signal.SIGKILL)
    child.wait()
    state = torch.load(path, weights_only=True)
    assert state["step"] >= 1
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    # It is what the same run goes on from.
    config = _config(out, 400, checkpoint_minutes=0.0)
    assert state["signature"] == json.dumps(
        {"stage": dataclasses.asdict(config.depth), "seed": 0, "crop_px": 96, "crops": 8}, sort_keys=True
    )


def _small(out: Path) -> TrainConfig:
    return _config(
        out,
        12,
        validation_share=0.3,
        liveness=LivenessStage(steps=12, batch=8, variants=1),
        joint=JointStage(steps=2, batch=2),
        licence="CC0-1.0",
    )


@pytest.fixture(scope="module")
def finished(crop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Model]:
    torch.set_num_threads(1)
    config = _small(tmp_path_factory.mktemp("run") / "model")
    where, log = _prepared(config)
    return config, train_on_crops(Crops(crop_folder), config, where, log)


def test_a_run_writes_a_model_that_loads_and_runs(finished: tuple[TrainConfig, Model]) -> None:
    config, _ = finished
    model = Model.load(config.out)
    assert model.crop_size == 96 and 0 <= model.threshold <= 1 and model.licence == "CC0-1.0"
    assert model.operating_points[0]["name"] == "bpcer_2"
    assert model.quality["disparity_sd_px"] > 0
    assert model.training["seed"] == 0 and model.training["config"]["depth"]["steps"] == 12
    assert model.metrics["depth"]["face_median_mm"] > 0
    views = np.random.default_rng(0).random((2, 1, 3, 96, 96)).astype(np.float32)
    disparity, sd = Network(model.depth_path).run(views[0], views[1])
    assert disparity.shape == sd.shape == (1, 1, 48, 48) and (sd > 0).all()
    maps, pictures = np.zeros((1, len(LIVENESS_MAPS), 48, 48)), np.zeros((1, len(LIVENESS_VIEWS), 96, 96))
    (logit,) = Network(model.liveness_path).run(maps, pictures)
    assert logit.shape == (1,)


def test_a_model_for_use_is_exported_without_what_training_needs(
    finished: tuple[TrainConfig, Model], tmp_path: Path
) -> None:
    _, model = finished
    exported = export_model(model.folder, tmp_path / "device")
    assert sorted(path.name for path in exported.folder.iterdir()) == ["depth.onnx", "liveness.onnx", "manifest.json"]
    assert dataclasses.replace(exported, folder=model.folder) == model
    maps = np.random.default_rng(0).random((1, len(LIVENESS_MAPS), 48, 48), np.float32)
    views = np.random.default_rng(1).random((1, len(LIVENESS_VIEWS), 96, 96), np.float32)
    before, after = (Network(one.liveness_path).run(maps, views)[0] for one in (model, exported))
    assert np.allclose(before, after, atol=1e-3)

    with pytest.raises(InputError, match="for use only"):
        export_model(exported.folder, tmp_path / "again")
    with pytest.raises(InputError, match="choose another folder"):
        export_model(model.folder, model.folder)
    # Networks that are not those of the weights: of a model whose weights were put in another's folder.
    mixed = shutil.copytree(model.folder, tmp_path / "mixed")
    weights = Weights.of_model(mixed)
    dataclasses.replace(weights, liveness={name: entry * 1.5 for name, entry in weights.liveness.items()}).save(mixed)
    dataclasses.replace(model, folder=mixed).save(tmp_path / "other")
    with pytest.raises(ModelError, match="not those of its weights"):
        export_model(tmp_path / "other", tmp_path / "never")
    dataclasses.replace(model, folder=model.folder, training={}).save(tmp_path / "silent")
    with pytest.raises(InputError, match="how large"):
        export_model(tmp_path / "silent", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_training_goes_on_from_a_model_and_keeps_it(
    finished: tuple[TrainConfig, Model], crop_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, model = finished
    before = {path.name: path.read_bytes() for path in model.folder.iterdir()}
    nothing = dataclasses.replace(
        config,
        out=tmp_path / "same",
        init=model.folder,
        depth=DepthStage(steps=0),
        liveness=dataclasses.replace(config.liveness, steps=0),
        joint=JointStage(),
    )
    where, log = _prepared(nothing)
    same = train_on_crops(Crops(crop_folder), nothing, where, log)
    assert _outputs(same) == pytest.approx(_outputs(model), abs=1e-4)
    assert same.threshold == pytest.approx(model.threshold, abs=1e-3)
    printed = capsys.readouterr().out
    assert "before, at its own threshold" in printed and "after" in printed

    adapting = dataclasses.replace(config, out=tmp_path / "more", init=model.folder, joint=JointStage())
    where, log = _prepared(adapting)
    changed = train_on_crops(Crops(crop_folder), adapting, where, log)
    assert _outputs(changed) != pytest.approx(_outputs(model), abs=1e-4)
    assert before == {path.name: path.read_bytes() for path in model.folder.iterdir()}


def test_a_mean_of_the_weights_before_and_after_can_be_kept(
    finished: tuple[TrainConfig, Model], crop_folder: Path, tmp_path: Path
) -> None:
    config, model = finished
    learning = dataclasses.replace(config.liveness, learning_rate=1e-2)
    after = dataclasses.replace(config, out=tmp_path / "m", init=model.folder, joint=JointStage(), liveness=learning)
    ends = [Weights.of_model(model.folder).liveness]
    # The second run finds the first one's checkpoint: only the mean is made anew.
    for share in (0.0, 0.25):
        mixing = dataclasses.replace(after, liveness=dataclasses.replace(learning, init_share=share))
        where, log = _prepared(mixing)
        ends.append(Weights.of_model(train_on_crops(Crops(crop_folder), mixing, where, log).folder).liveness)
    begun, trained, kept = (state["decide.weight"] for state in ends)
    assert not torch.allclose(begun, trained)
    assert torch.allclose(kept, 0.75 * trained + 0.25 * begun, atol=1e-6)


def _outputs(model: Model) -> list[float]:
    views = np.random.default_rng(0).random((2, 1, 3, 96, 96)).astype(np.float32)
    disparity, _ = Network(model.depth_path).run(views[0], views[1])
    random = np.random.default_rng(1)
    maps, pictures = random.random((1, len(LIVENESS_MAPS), 48, 48)), random.random((1, len(LIVENESS_VIEWS), 96, 96))
    (logit,) = Network(model.liveness_path).run(maps, pictures)
    return [float(disparity.mean()), float(disparity.std()), float(logit[0])]


def test_kinds_keep_their_outputs_wherever_they_stand(finished: tuple[TrainConfig, Model]) -> None:
    weights = Weights.of_model(finished[1].folder)
    kinds = ["new", *reversed(weights.kinds)]
    model = LivenessTraining(LivenessNetwork(len(kinds)))
    weights.start_liveness(model, kinds)
    for place, kind in enumerate(kinds[1:], start=1):
        expected = weights.liveness["tell_kind.weight"][weights.kinds.index(kind)]
        assert torch.equal(model.network.tell_kind.weight[place], expected)


def test_what_cannot_be_started_from_is_refused(finished: tuple[TrainConfig, Model], tmp_path: Path) -> None:
    config, model = finished
    with pytest.raises(InputError, match="choose another folder"):
        dataclasses.replace(config, init=config.out)
    folder = tmp_path / "altered"
    shutil.copytree(model.folder, folder)
    (folder / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"weights\.pt was altered"):
        Weights.of_model(folder)
    other = DepthNetwork(width=32)
    with pytest.raises(InputError, match="depth network is of another size"):
        Weights.of_model(model.folder).start_depth(other)
    bare = tmp_path / "bare"
    shutil.copytree(model.folder, bare)
    manifest = json.loads((bare / "manifest.json").read_text())
    del manifest["sha256"]["weights.pt"]
    (bare / "manifest.json").write_text(json.dumps(manifest))
    (bare / "weights.pt").unlink()
    with pytest.raises(InputError, match=r"keeps no weights\.pt"):
        Weights.of_model(bare)


@pytest.mark.parametrize(
    ("stage", "name"),
    [({"liveness": LivenessStage(init_share=0.5)}, "init_share"), ({"depth": DepthStage(own_depth=True)}, "own_depth")],
)
def test_what_rests_on_an_earlier_model_needs_one(tmp_path: Path, stage: dict[str, object], name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: needs a model that training starts from"):
        train(_config(tmp_path / "m", 0, **stage))
    assert not list(tmp_path.iterdir())


def test_where_nothing_has_depth_the_depth_network_stays(
    finished: tuple[TrainConfig, Model], bare_crop_folder: Path, tmp_path: Path
) -> None:
    config = _config(tmp_path / "m", 5, init=finished[1].folder)
    where, log = _prepared(config)
    start = Weights.of_model(finished[1].folder)
    kept = train_depth(Crops(bare_crop_folder), [0, 1], [2], config, where, log, start)
    assert all(torch.equal(entry, start.depth[name]) for name, entry in kept.state_dict().items())
    with pytest.raises(InputError, match="or start from a model"):
        train_depth(Crops(bare_crop_folder), [0, 1], [2], config, where, log)


def test_views_that_lie_on_each_other_teach_the_liveness_model_alone(
    finished: tuple[TrainConfig, Model], crop_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "crops"
    shutil.copytree(crop_folder, folder)
    index = folder / "shard-00000" / "index.csv"
    lines = [line.split(",") for line in index.read_text().splitlines()]
    column = lines[0].index("matched_by")
    registered = [[*cells[:column], "registered", *cells[column + 1 :]] for cells in lines[1:]]
    index.write_text("\n".join(",".join(cells) for cells in [lines[0], *registered]) + "\n")
    config = dataclasses.replace(_small(tmp_path / "m"), init=finished[1].folder, joint=JointStage())
    where, log = _prepared(config)
    model = train_on_crops(Crops(folder), config, where, log)
    assert "have views that lie on each other" in capsys.readouterr().out
    start, end = Weights.of_model(finished[1].folder), Weights.of_model(model.folder)
    assert all(torch.equal(entry, start.depth[name]) for name, entry in end.depth.items())
    assert any(not torch.equal(entry, start.liveness[name]) for name, entry in end.liveness.items())
    assert model.quality["disparity_sd_px"] == finished[1].quality["disparity_sd_px"]
    assert model.metrics["depth"] == {}


_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from stereolive.data.crops import Crops
import test_run
config = test_run._small(Path({out!r}))
where, log = test_run._prepared(config)
assert where.world == 2
test_run.train_on_crops(Crops({crops!r}), config, where, log)
"""


def test_two_processes_train_one_model(crop_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    script = tmp_path / "process.py"
    script.write_text(_PROCESS.format(here=str(Path(__file__).parent), out=str(out), crops=str(crop_folder)))
    # As --standalone, which asks for the address of "localhost": a bare system may not know it.
    here = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *here, "--nproc-per-node", "2", str(script)]
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Model.load(out).training["seed"] == 0
    logged = [json.loads(line) for line in (out.with_name("model.work") / "metrics.jsonl").read_text().splitlines()]
    for stage in ("depth", "liveness", "joint"):
        steps = [line["step"] for line in logged if line["stage"] == stage and "loss" in line]
        assert steps == sorted(set(steps)) and steps  # one process writes


def test_the_threshold_rests_on_validation_subjects_alone(
    finished: tuple[TrainConfig, Model], crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = finished
    seen: list[list[str]] = []
    true_points = run_module.operating_points

    def watched(scores: np.ndarray, species: list[str], bpcer: float):  # type: ignore[no-untyped-def,type-arg]
        seen.append(list(species))
        return true_points(scores, species, bpcer)

    monkeypatch.setattr(run_module, "operating_points", watched)
    where, log = _prepared(config)
    again = train_on_crops(crops, config, where, log)  # everything is there, so this only calibrates and saves
    validating = run_module.split(crops.rows, config.validation_share, config.seed)["validation"]
    assert seen == [[crops.rows[index].species for index in validating]]
    assert again.threshold == model.threshold


def test_too_narrow_data_are_refused_before_anything_is_trained(crop_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    shutil.copytree(crop_folder, folder)
    index = folder / "shard-00000" / "index.csv"
    index.write_text(index.read_text().replace("dim", "indoor"))
    config = _config(tmp_path / "m", 5)
    where, log = _prepared(config)
    with pytest.raises(InputError, match="two illuminations"):
        train_on_crops(Crops(folder), config, where, log)
    assert not list(config.work.glob("*.checkpoint"))


def test_what_cannot_be_saved_is_refused_before_anything_is_cut(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for changes, says in (({"out": tmp_path / "file"}, "is a file"), ({"name": "a b"}, "name: expected letters")):
        config = dataclasses.replace(_config(tmp_path / "m", 0), **changes)
        with pytest.raises(ModelError, match=says):
            train(config)
        assert not config.work.exists()


def test_every_sample_comes_once_before_any_comes_again() -> None:
    drawn = [index for step in range(7) for index in batch_indices(10, 4, step, seed=3)]
    assert sorted(drawn[:10]) == list(range(10)) == sorted(drawn[10:20])
    assert drawn[:10] != drawn[10:20]


def test_learning_rate_rises_and_falls() -> None:
    rates = [rate_share(step, 1000) for step in range(1000)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3) and rates[0] < 0.05 and rates[-1] < 0.02


def test_the_weights_are_those_that_were_best_in_validation(tmp_path: Path) -> None:
    """Also where a run is taken up after it ended."""
    recipe = Recipe("toy", 40, 0.1, 0.0, 1.0, 0.5, 0, 60.0, kept_by="auc")
    seen: list[float] = []

    def validate(network: torch.nn.Module) -> dict[str, float]:
        assert isinstance(network, torch.nn.Linear)
        seen.append(float(network.weight.detach()))
        return {"auc": 0.9 if len(seen) == 3 else 0.8}

    def loss(network: torch.nn.Module, item: float, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        value = network(torch.full((1, 1), item)).square().mean()
        return value, {"loss": value}

    weights = []
    for _ in range(2):
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, 3.0)
        log = Log(tmp_path / "metrics.jsonl", machine("cpu", 0))
        trained = fit(model, recipe, lambda step: 1.0, loss, validate, tmp_path, machine("cpu", 0), log, {})
        assert isinstance(trained, torch.nn.Linear)
        weights.append(float(trained.weight.detach()))
    assert len(seen) == 10 and len(set(seen)) > 5
    assert weights == [seen[2], seen[2]]


def test_the_log_is_there_for_tensorboard_too(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl", machine("cpu", 1))
    log.write("depth", 3, loss=1.5, validation={"auc": 0.5})
    del log
    (path,) = (tmp_path / "events").iterdir()
    events = path.read_bytes()
    assert b"depth/loss" in events and b"depth/validation/auc" in events
    logged = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert logged == {"stage": "depth", "step": 3, "loss": 1.5, "validation": {"auc": 0.5}}
