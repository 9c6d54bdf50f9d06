from __future__ import annotations

import pytest
import torch

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.errors import InputError
from stereolive.nets.liveness import HIGHEST_LOGIT, Comparison, LivenessNetwork, LivenessTraining
from stereolive.train.weights import Weights


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
    last = torch.zeros(1, network.decide.in_features // 2 - 1, 6, 6)
    cells = torch.full((1, 12, 12), 5.0)
    with torch.no_grad():
        features = network._features(last, cells)
        for row, column in ((5, 5), (4, 7), (7, 5)):
            patched = cells.clone()
            patched[0, row : row + 2, column : column + 2] = -5.0
            assert network._features(last, patched)[0, -1] == -5.0 < features[0, -1]
        cells[0, 0, 0] = -9.0  # beside the face
        assert network._features(last, cells)[0, -1] == 5.0


@pytest.mark.parametrize("missing", [(), ("texture", "compare")], ids=["all", "without_later_layers"])
def test_a_wider_network_starts_as_the_narrower_one(missing: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    narrow = LivenessNetwork(3, width=16)
    if missing:  # they start as "change nothing"
        for layers in (narrow.texture, narrow.compare.look):
            assert layers is not None
            layers.start_as_identity()
    narrow.train()(*_inputs(4))  # statistics of the normalisation that are not the ones it starts with
    state = {name: entry for name, entry in narrow.state_dict().items() if name.split(".")[0] not in missing}
    wide = LivenessTraining(LivenessNetwork(2, width=32))
    weights = Weights({}, state, ("print", "mask", "bona_fide"))
    weights.start_liveness(wide, ["bona_fide", "print"])
    inputs = _inputs(3)
    with torch.no_grad():
        before, after = narrow.eval().answers(*inputs), wide.eval()(*inputs)
    assert torch.allclose(after.logit, before.logit, atol=1e-5) and torch.allclose(after.cells, before.cells, atol=1e-5)
    assert torch.allclose(after.kind, before.kind[:, [2, 0]], atol=1e-5)
    # What is new is looked at by nothing yet, but would learn.
    after = wide.train()(*inputs)
    (after.logit.square().mean() + after.cells.square().mean()).backward()
    new = (wide.network.decide.weight == 0)[0]
    assert wide.network.decide.weight.grad is not None and new.any()
    assert wide.network.decide.weight.grad[0, new].abs().sum() > 0


def test_a_narrower_network_is_refused() -> None:
    weights = Weights({}, LivenessNetwork(2, width=32).state_dict(), ("print", "bona_fide"))
    with pytest.raises(InputError, match="liveness network is of another size"):
        weights.start_liveness(LivenessTraining(LivenessNetwork(2, width=16)), ["print", "bona_fide"])


def test_cells_are_compared_with_the_whole_face() -> None:
    torch.manual_seed(0)
    comparison = Comparison(16, 8).eval()
    cells, summary = torch.rand(2, 16, 6, 6), torch.rand(2, 8)
    with torch.no_grad():
        assert torch.equal(comparison(cells, summary), cells)
        comparison.look.body[-1].weight.fill_(1.0)
        assert not torch.allclose(comparison(cells, summary), comparison(cells, summary + 1.0))


def test_is_small() -> None:
    assert sum(p.numel() for p in LivenessNetwork(20).parameters()) < 1_100_000
