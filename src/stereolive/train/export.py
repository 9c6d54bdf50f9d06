"""Networks to ONNX, and the proof that both say the same; model folders for use."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.errors import InputError, ModelError
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.runtime import Network
from stereolive.store import Model
from stereolive.train.weights import Weights

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
    pair, larger = _pair(crop_px), _pair(2 * crop_px)
    _export(_DepthForUse(network), pair, path, ["first", "second"], ["disparity_px", "disparity_sd_px"], larger)


def export_liveness(network: LivenessNetwork, path: Path, grid: int) -> None:
    """``maps`` (B, M, G, G), ``views`` (B, V, 2G, 2G) -> ``logit`` (B,). Raises ModelError if torch disagrees."""
    _export(_LivenessForUse(network), _maps_and_views(grid), path, ["maps", "views"], ["logit"])


def export_model(folder: str | Path, out: str | Path) -> Model:
    """Write a model folder for use: the networks of the model in ``folder`` exported anew from the weights that it
    keeps. These stay behind, since only training needs them; all else is taken over.

    Raises InputError where it keeps no weights, and ModelError where its own networks say something else than they.
    """
    model = Model.load(folder)
    if Path(out).resolve() == model.folder.resolve():
        raise InputError(f"out: {out} is the model that is exported; choose another folder")
    depth, liveness = Weights.of_model(folder).networks(model)
    with tempfile.TemporaryDirectory() as aside:
        fresh = replace(model, folder=Path(aside))
        export_depth(depth, fresh.depth_path, model.crop_size)
        export_liveness(liveness, fresh.liveness_path, model.crop_size // 2)
        examples = _pair(model.crop_size), _maps_and_views(model.crop_size // 2)
        for inputs, was, now in zip(examples, _networks(model), _networks(fresh), strict=True):
            arrays = [example.numpy() for example in inputs]
            if _difference(was.run(*arrays), now.run(*arrays)) >= TOLERANCE:
                raise ModelError(f"model {folder}: its networks are not those of its weights")
        return fresh.save(out)


def _networks(model: Model) -> tuple[Network, Network]:
    return Network(model.depth_path), Network(model.liveness_path)


def _pair(side_px: int) -> list[Tensor]:
    return [torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def _maps_and_views(grid: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(2, len(LIVENESS_MAPS), grid, grid, generator=draw)
    return [maps, torch.rand(2, len(LIVENESS_VIEWS), 2 * grid, 2 * grid, generator=draw)]


def _difference(one: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]) -> float:
    """The largest between two networks' outputs; infinite where one is not finite."""
    largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in zip(one, other, strict=True))
    return largest if math.isfinite(largest) else math.inf


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
        difference = _difference(
            [entry.numpy() for entry in expected], exported.run(*(example[:1].numpy() for example in shown))
        )
        if difference >= TOLERANCE:
            part.unlink()
            raise ModelError(f"export of {path.name}: the exported network differs by {difference:g}")
    part.replace(path)
