"""Geometry may be changed at will as long as the disparity map goes with the pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from stereolive.data.crops import Crops
from stereolive.nets.depth import warp
from stereolive.train.depth_augment import DepthBatch, _appearance, _as_second_sees, _moved, _relit, augmented, centred
from stereolive.train.depth_stage import read_batch


def _mismatch(batch) -> float:  # type: ignore[no-untyped-def]
    """Median difference of both views' structure once the second is laid onto the first by the disparity."""
    known = torch.isfinite(batch.disparity)
    laid = warp(batch.second, torch.where(known, batch.disparity, 0.0))
    first, laid = batch.first.mean(1, keepdim=True), laid.mean(1, keepdim=True)
    inner = known & (batch.disparity > -9) & (laid > 0)  # the wall behind is partly hidden from the second sensor
    values = []
    for one, other, where in zip(first, laid, inner, strict=True):
        a, b = one[where].numpy(), other[where].numpy()
        values.append(1 - np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])
    return float(np.median(values))


def test_stored_disparity_lays_the_second_view_onto_the_first(crops: Crops) -> None:
    assert _mismatch(centred(read_batch(crops, range(12)), 96, 96)) < 0.03


def test_moved_pairs_still_fit_their_disparity(crops: Crops) -> None:
    batch = _moved(read_batch(crops, range(12)), 96, 96, torch.Generator().manual_seed(0))
    assert _mismatch(batch) < 0.05
    wrong = batch.disparity + 3.0
    assert _mismatch(type(batch)(batch.first, batch.second, wrong, batch.weight)) > 0.15


def test_what_the_first_view_shows_is_seen_by_the_second_where_the_disparity_says() -> None:
    steps = torch.arange(48.0)
    maps = (steps[None, :] / 7).sin() + (steps[:, None] / 5).cos()
    disparity = 3.0 + 2.0 * (steps / 12).sin()[None, :].expand(48, 48)
    maps, disparity = maps[None, None], disparity[None, None].contiguous()
    back = warp(_as_second_sees(maps, disparity), disparity)
    assert float((back - maps)[..., 8:-8].abs().max()) < 0.05
    assert float((warp(maps, disparity) - maps)[..., 8:-8].abs().max()) > 0.3


def test_lamps_shade_a_ball_from_one_side_and_a_wall_evenly() -> None:
    count, side = 32, 64
    steps = torch.arange(side) - (side - 1) / 2
    ball = (900.0 - steps[None, :].square() - steps[:, None].square()).clamp_min(0.0).sqrt() / 8.0
    ball_and_wall = torch.stack([ball, torch.full_like(ball, 3.0)])[:, None]
    white = torch.full((count, 3, side, side), 0.5)
    disparity = ball_and_wall.repeat(count // 2, 1, 1, 1)
    pair = DepthBatch(white, white, disparity, torch.ones_like(disparity))
    lit = _relit(pair, torch.full((count,), 8.0), 1.0, torch.Generator().manual_seed(0))
    for view in lit:
        inner = view[:, 0, 8:-8, 8:-8]
        spread = inner.flatten(1).std(1)
        assert float(spread[1::2].max()) < 1e-3, "a wall's shading is even"
        assert 2 < int((spread[::2] > 0.02).sum()) < count // 2, "some are lit by one more lamp"
    one_sided = [(view[::2, 0, :, :32].mean((1, 2)) - view[::2, 0, :, 32:].mean((1, 2))).abs() for view in lit]
    assert float((one_sided[0] - one_sided[1]).abs().max()) > 0.05, "each view by its own"


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_augmented_views_are_images(crops: Crops, strength: float) -> None:
    batch = augmented(read_batch(crops, range(8)), 64, 96, strength, torch.Generator().manual_seed(1))
    for view in (batch.first, batch.second):
        assert view.shape == (8, 3, 64, 64)
        assert float(view.min()) >= 0 and float(view.max()) <= 1 and float(view.std()) > 0.01
    assert float(torch.isfinite(batch.disparity).float().mean()) > 0.5


def test_the_same_generator_gives_the_same_batch(crops: Crops) -> None:
    stored = read_batch(crops, range(4))
    one, other = (augmented(stored, 64, 96, 1.0, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one.first, other.first) and torch.equal(one.second, other.second)
    assert torch.equal(one.disparity.nan_to_num(), other.disparity.nan_to_num())


def test_skin_has_spots_in_one_view_that_the_other_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.depth_augment.BURNT_SHARE", 0.0)
    grey = torch.full((160, 3, 64, 64), 0.5)

    def fine(spots_px: tuple[int, ...]) -> torch.Tensor:
        """How much the middles of four by four pixels differ from those around, which noise and bands hardly make."""
        monkeypatch.setattr("stereolive.train.depth_augment.SPOTS_PX", spots_px)
        view = _appearance(grey, torch.ones(160, 1, 1, 1), torch.Generator().manual_seed(2)).mean(1)
        cells = functional.avg_pool2d(view[:, None], 4)
        return (cells - functional.avg_pool2d(cells, 3, 1, 1))[:, 0, 1:-1, 1:-1].flatten(1).std(1)

    without, spotted = fine(()), fine((8, 8, 8))
    assert float(spotted.mean()) > 1.5 * float(without.mean())
    as_before = float((spotted < without.quantile(0.9)).float().mean())
    assert 0.1 < as_before < 0.8, "many views have none"


def test_some_views_are_white_over_much_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    views = 0.5 * functional.interpolate(torch.rand(60, 3, 8, 8, generator=draw), size=(64, 64), mode="bilinear")

    def white(burnt_share: float) -> float:
        monkeypatch.setattr("stereolive.train.depth_augment.BURNT_SHARE", burnt_share)
        changed = _appearance(views, torch.ones(60, 1, 1, 1), torch.Generator().manual_seed(4))
        return float(((changed.mean(1) > 0.95).float().mean((1, 2)) > 0.1).float().mean())

    assert white(0.0) < 0.1 and white(1.0) > 0.6
