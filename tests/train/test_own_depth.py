"""Depth that presentations without any teach: right where it is trusted, absent where the views have nothing in common,
and enough to train on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from stereolive.data.crops import Crops
from stereolive.nets.depth import DepthNetwork
from stereolive.store import released_model
from stereolive.train.config import load_config
from stereolive.train.depth_stage import train_depth
from stereolive.train.loop import Log, machine
from stereolive.train.own_depth import AGREED_PX, own_disparity
from stereolive.train.weights import Weights


@pytest.fixture(scope="module")
def network() -> DepthNetwork:
    model = DepthNetwork()
    Weights.of_model(released_model()).start_depth(model)
    return model.eval()


def _views(crops: Crops, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    first, second, disparity = (torch.from_numpy(array) for array in crops.read(rows))
    views = (view.permute(0, 3, 1, 2).float() / 255.0 for view in (first, second))
    return (*views, disparity.float())  # type: ignore[return-value]


def test_what_is_trusted_is_right(network: DepthNetwork, crops: Crops) -> None:
    first, second, truth = _views(crops, [0, 1, 2, 3])
    own = own_disparity(network, first, second)
    known = torch.isfinite(own)
    assert own.shape == (4, 1, 64, 64) and known.float().mean() > 0.1
    error = (own[:, 0] - truth[:, ::2, ::2]).abs()[known[:, 0]]
    assert float(error.median()) < AGREED_PX


def test_views_of_different_things_teach_nothing(network: DepthNetwork, crops: Crops) -> None:
    first, second, _ = _views(crops, [0, 1, 2, 3])
    together = torch.isfinite(own_disparity(network, first, second)).float().mean()
    apart = torch.isfinite(own_disparity(network, first, second.roll(2, 0).flip(2))).float().mean()
    assert apart < 0.1 * together


def test_rows_without_depth_train_the_network_that_training_starts_from(
    bare_crop_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = released_model()
    config = load_config(None, init=model, manifest="none.csv", out=str(tmp_path / "m"), crop_px=96, stored_px=128)
    few = dataclasses.replace(config.depth, steps=3, batch=2, window_px=64, whole_batch=2)
    start, where = Weights.of_model(model), machine("cpu", 1)
    for own_depth in (False, True):
        run = dataclasses.replace(config, depth=dataclasses.replace(few, own_depth=own_depth))
        run.work.mkdir(exist_ok=True)
        log = Log(run.work / "metrics.jsonl", where)
        trained = train_depth(Crops(bare_crop_folder), list(range(8)), [], run, where, log, start)
        kept = all(torch.equal(entry, start.depth[name]) for name, entry in trained.state_dict().items())
        assert kept is not own_depth
    assert "8 presentations without depth teach by what" in capsys.readouterr().out
    # Worked out once: what is kept is read again.
    (kept_file,) = run.work.glob("own_depth-*.npy")
    before = kept_file.stat().st_mtime_ns
    (run.work / "depth.checkpoint").unlink()
    train_depth(Crops(bare_crop_folder), list(range(8)), [], run, where, log, start)
    assert kept_file.stat().st_mtime_ns == before
