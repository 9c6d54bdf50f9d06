from __future__ import annotations

import torch

from stereolive.nets.liveness import HIGHEST_LOGIT, LivenessNetwork


def test_looks_only_at_the_channels_it_is_told_to() -> None:
    torch.manual_seed(0)
    network = LivenessNetwork(6, [0, 2], kinds=3).eval()
    maps = torch.rand(2, 6, 32, 32)
    changed = maps.clone()
    changed[:, [1, 3, 4, 5]] = 9.0
    with torch.no_grad():
        assert torch.equal(network(maps), network(changed))
        changed[:, 2] = 9.0
        assert not torch.equal(network(maps), network(changed))


def test_temperature_divides_the_logit_and_the_logit_is_held() -> None:
    torch.manual_seed(0)
    network = LivenessNetwork(4, range(4), kinds=2).eval()
    maps = torch.rand(3, 4, 32, 32)
    with torch.no_grad():
        before = network(maps)
        network.temperature.fill_(4.0)
        assert torch.allclose(network(maps), before / 4)
        network.decide.bias.fill_(1e4)
        assert (network(maps) == HIGHEST_LOGIT).all()


def test_is_small() -> None:
    assert sum(p.numel() for p in LivenessNetwork(14, range(14), kinds=20).parameters()) < 500_000
