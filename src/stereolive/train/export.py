"""Networks to ONNX, and the proof that both say the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.errors import ModelError
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.runtime import Network

OPSET = 18
TOLERANCE = 1e-3


class _DepthForUse(nn.Module):
    """Disparity and its standard deviation, which for a Laplace distribution of scale b is sqrt(2) b."""

    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(first, second)
        return output.disparity, output.log_scale.exp() * math.sqrt(2)


class _LivenessForUse(nn.Module):
    """Takes maps and views even where an ablation looks at one of them only: an unused input would not be exported."""

    def __init__(self, network: LivenessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor, views: Tensor) -> Tensor:
        logit: Tensor = self.network(maps, views)
        if self.network.used_maps and self.network.used_views:
            return logit
        return logit + 0.0 * (maps[:, 0, 0, 0] + views[:, 0, 0, 0])


def export_depth(network: DepthNetwork, path: Path, crop_px: int) -> None:
    """``first, second`` (B, 3, S, S) -> ``disparity_px, disparity_sd_px`` (B, 1, S/2, S/2), for crops of any side that
    the network takes. Raises ModelError if torch disagrees."""
    pair, larger = (
        [torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
        for side in (crop_px, 2 * crop_px)
    )
    _export(_DepthForUse(network), pair, path, ["first", "second"], ["disparity_px", "disparity_sd_px"], larger)


def export_liveness(network: LivenessNetwork, path: Path, grid: int) -> None:
    """``maps`` (B, M, G, G), ``views`` (B, V, 2G, 2G) -> ``logit`` (B,). Raises ModelError if torch disagrees."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(2, len(LIVENESS_MAPS), grid, grid, generator=draw)
    views = torch.rand(2, len(LIVENESS_VIEWS), 2 * grid, 2 * grid, generator=draw)
    _export(_LivenessForUse(network), [maps, views], path, ["maps", "views"], ["logit"])


def _export(
    network: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    larger: Sequence[Tensor] = (),
) -> None:
    """``larger``: examples of another side, where the network is to take those too."""
    network = network.cpu().eval()
    free = {0: "batch", 2: "height", 3: "width"} if larger else {0: "batch"}
    part = path.with_name(path.name + ".part")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(examples),
            str(part),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=dict.fromkeys(inputs, free)
            | {name: {axis: f"{name}_{axis}" for axis in free} for name in outputs},
            opset_version=OPSET,
            # The exporter built on torch.export needs one more package and writes the weights to a second file.
            dynamo=False,
        )
        network.eval()
    exported = Network(part, threads=1)
    for shown in filter(None, (examples, larger)):
        with torch.no_grad():
            expected = network(*(example[:1] for example in shown))
        expected = expected if isinstance(expected, tuple) else (expected,)
        got = exported.run(*(example[:1].numpy() for example in shown))
        for name, ours, theirs in zip(outputs, expected, got, strict=True):
            difference = float(np.abs(ours.numpy() - theirs).max())
            if not difference < TOLERANCE:
                part.unlink()
                raise ModelError(
                    f"export of {name}: the exported network differs by {difference:g}, more than {TOLERANCE:g}"
                )
    part.replace(path)
