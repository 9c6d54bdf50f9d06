"""The depth network: what its parts compute, what it starts as, and that it learns."""

from __future__ import annotations

import pytest
import torch

from stereolive.nets.depth import (
    DepthNetwork,
    between_shifts,
    bin_disparity_px,
    correlate,
    grouped_unit,
    normalised,
    softmax,
    warp,
)
from stereolive.nets.losses import bin_cross_entropy, depth_losses, laplace_nll, pooled


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("side", [64, 96])
def test_shapes_for_any_multiple_of_16(side: int) -> None:
    network = DepthNetwork().eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, side, side), torch.rand(2, 3, side, side))
    assert output.disparity.shape == output.log_scale.shape == (2, 1, side // 2, side // 2)
    assert output.coarse.shape == (2, 1, side // 4, side // 4)
    assert output.logits.shape[1] == network.bins == 25
    assert output.matching.shape[1] == network.shifts == 13


def test_both_stems_start_equal_but_are_not_tied() -> None:
    network = DepthNetwork()
    first, second = network.stem_first.state_dict(), network.stem_second.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert network.stem_first.enter[0].weight is not network.stem_second.enter[0].weight


def test_an_untrained_network_already_matches_a_shifted_picture() -> None:
    """With equal stems and an aggregation that adds nothing, the raw similarity alone finds a shift of 8 px."""
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 60, 60), scale_factor=4.0, mode="bicubic")
    first, second = picture[..., 40:200, 40:200], picture[..., 40:200, 48:208]
    network = DepthNetwork().train()
    output = network(first, second)
    inner = output.matching[..., 8:-8, 12:-12]
    found = inner.argmax(1) - network.max_shift
    assert (found == 2).float().mean() > 0.9


def test_correlation_compares_x_with_x_minus_shift() -> None:
    features = torch.randn(1, 32, 4, 20)
    moved = torch.roll(features, -3, dims=3)  # what stood at x stands at x - 3
    volume = correlate(grouped_unit(features, 8), grouped_unit(moved, 8), 5)
    assert volume.shape == (1, 11, 8, 4, 20)
    inner = volume[..., 6:14].mean(2)
    assert (inner.argmax(1) == 5 + 3).all()
    assert torch.allclose(inner[:, 8], torch.tensor(1.0), atol=1e-4)


def test_warp_undoes_a_disparity() -> None:
    features = torch.randn(1, 3, 10, 30)
    moved = torch.roll(features, -4, dims=3)
    laid = warp(moved, torch.full((1, 1, 10, 30), 4.0))
    assert torch.allclose(laid[..., 5:-5], features[..., 5:-5], atol=1e-4)
    assert (laid[..., :3] == 0).all()  # from outside


def test_bins_lie_at_shifts_and_between_them() -> None:
    bins = bin_disparity_px(6)
    assert bins.shape == (25,) and bins[0] == -24 and bins[-1] == 24 and bins[12] == 0
    matching = torch.arange(3.0).view(1, 3, 1, 1) * 2
    assert between_shifts(matching).flatten().tolist() == [0, 1, 2, 3, 4]


def test_softmax_is_softmax() -> None:
    values = torch.randn(2, 7, 3, 3) * 10
    assert torch.allclose(softmax(values, 1), values.softmax(1), atol=1e-6)


def test_normalisation_is_blind_to_exposure() -> None:
    view = torch.rand(1, 3, 64, 64) * 0.4 + 0.2
    assert torch.allclose(normalised(view)[:, :3], normalised(view * 1.4)[:, :3], atol=0.05)


def test_pooling_ignores_holes_and_edges() -> None:
    target = torch.full((1, 1, 8, 8), 3.0)
    target[..., 0, 0] = float("nan")
    target[..., 4:, 1] = 20.0  # an edge through the lower left cells
    target[..., :2, 6:] = float("nan")
    mean, weight = pooled(target, torch.ones_like(target), 2)
    assert mean[0, 0, 0, 0] == 3.0 and weight[0, 0, 0, 0] == 1.0
    assert weight[0, 0, 2, 0] == 0.0 and weight[0, 0, 0, 3] == 0.0


@pytest.mark.parametrize(("target", "best"), [(-30.0, 0), (-24.0, 0), (0.0, 12), (24.0, 24), (99.0, 24)])
def test_cross_entropy_is_least_at_the_targets_bin(target: float, best: int) -> None:
    bins = bin_disparity_px(6).view(1, -1, 1, 1)
    losses = []
    for chosen in range(25):
        logits = torch.zeros(1, 25, 1, 1)
        logits[:, chosen] = 8.0
        losses.append(float(bin_cross_entropy(logits, torch.full((1, 1, 1, 1), target), bins)))
    assert min(range(25), key=losses.__getitem__) == best


def test_likelihood_is_best_where_scale_is_the_mean_error() -> None:
    error = torch.tensor([0.5, 1.5, 1.0])
    scales = torch.linspace(0.2, 4, 100)
    losses = [float(laplace_nll(error, s.log(), torch.zeros(3)).mean()) for s in scales]
    assert abs(float(scales[min(range(100), key=losses.__getitem__)]) - 1.0) < 0.05


def test_losses_are_finite_without_any_measurement() -> None:
    network = DepthNetwork()
    output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    nothing = torch.full((1, 1, 64, 64), float("nan"))
    losses = depth_losses(output, nothing, torch.ones_like(nothing), network.bin_disparity)
    losses.total.backward()
    assert float(losses.total.detach()) == 0.0
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_what_was_not_measured_teaches_no_uncertainty() -> None:
    network = DepthNetwork()
    output = network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    output.log_scale.retain_grad()
    target = torch.randn(2, 1, 64, 64)
    measured = torch.tensor([1.0, 0.0])
    depth_losses(output, target, torch.ones_like(target), network.bin_disparity, measured).total.backward()
    assert output.log_scale.grad is not None
    taught = output.log_scale.grad.abs().sum((1, 2, 3)) > 0
    assert taught.tolist() == [True, False]


def test_every_parameter_learns() -> None:
    network = DepthNetwork()
    for layer in (network.aggregate.logits, network.refine.out):
        torch.nn.init.normal_(
            layer.weight, std=0.1
        )  # zero at the start, which stops gradients behind them for one step
    output = network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    target = torch.randn(2, 1, 64, 64)
    depth_losses(output, target, torch.ones_like(target), network.bin_disparity).total.backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle
