from __future__ import annotations

import torch

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.nets.liveness import HIGHEST_LOGIT, LivenessNetwork


def _inputs(count: int, grid: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, len(LIVENESS_MAPS), grid, grid), torch.rand(count, len(LIVENESS_VIEWS), 2 * grid, 2 * grid)


def test_looks_only_at_the_channels_it_is_told_to() -> None:
    torch.manual_seed(0)
    used = ("relative_depth", "lead_red")
    network = LivenessNetwork(3, used).eval()
    maps, views = _inputs(2)
    changed_maps, changed_views = maps.clone(), views.clone()
    changed_maps[:, [index for index, name in enumerate(LIVENESS_MAPS) if name not in used]] = 9.0
    changed_views[:, [index for index, name in enumerate(LIVENESS_VIEWS) if name not in used]] = 9.0
    with torch.no_grad():
        assert torch.equal(network(maps, views), network(changed_maps, changed_views))
        changed_views[:, LIVENESS_VIEWS.index("lead_red")] = 9.0
        assert not torch.equal(network(maps, views), network(changed_maps, changed_views))


def test_temperature_divides_the_logit_and_the_logit_is_held() -> None:
    torch.manual_seed(0)
    network = LivenessNetwork(2).eval()
    inputs = _inputs(3)
    with torch.no_grad():
        before = network(*inputs)
        network.temperature.fill_(4.0)
        assert torch.allclose(network(*inputs), before / 4)
        network.decide.bias.fill_(1e4)
        assert (network(*inputs) == HIGHEST_LOGIT).all()


def test_one_cell_that_does_not_live_reaches_the_decision_wherever_it_lies_in_the_face() -> None:
    torch.manual_seed(0)
    network = LivenessNetwork(2).eval()
    body = torch.zeros(1, 64, 12, 12)
    cells = torch.full((1, 12, 12), 5.0)
    with torch.no_grad():
        features = network._features(body, cells)
        for row, column in ((5, 5), (4, 7), (7, 5)):
            patched = cells.clone()
            patched[0, row : row + 2, column : column + 2] = -5.0
            assert network._features(body, patched)[0, -1] == -5.0 < features[0, -1]
        cells[0, 0, 0] = -9.0  # beside the face
        assert network._features(body, cells)[0, -1] == 5.0


def test_is_small() -> None:
    assert sum(p.numel() for p in LivenessNetwork(20).parameters()) < 500_000
