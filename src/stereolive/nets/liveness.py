"""The liveness model: depth information in, one number out, higher for bona fide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stereolive.nets.depth import Residual, convolution

HIGHEST_LOGIT = 12.0
"""Logits are held within this, so that scores stay distinguishable from 0 and 1 in print."""


class LivenessNetwork(nn.Module):
    """A small residual network over the channels of ``depth.liveness_input``.

    ``inputs``: how many channels come in; ``used``: indices of those that are looked at, for ablations. ``kinds``:
    classes of the auxiliary task, which only training sees.
    """

    def __init__(self, inputs: int, used: Sequence[int], kinds: int, width: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.inputs = inputs
        self.register_buffer("used", torch.tensor(list(used), dtype=torch.int64))
        self.used: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor
        widths = (width, 3 * width // 2, 2 * width, 3 * width)
        layers: list[nn.Module] = [convolution(len(used), width, stride=2), Residual(width)]
        for before, after in pairwise(widths):
            layers += [convolution(before, after, stride=2), Residual(after)]
        self.body = nn.Sequential(*layers)
        features = 2 * widths[-1]
        self.dropout = nn.Dropout(dropout)
        self.decide = nn.Linear(features, 1)
        self.tell_kind = nn.Linear(features, kinds)

    def features(self, maps: Tensor) -> Tensor:
        """``maps`` (B, C, G, G) -> (B, F): mean and highest activation of every last channel."""
        last = self.body(maps.index_select(1, self.used))
        return torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)

    def both(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """``maps`` (B, C, G, G) -> logit (B,) before calibration, and logits (B, kinds) of the auxiliary task."""
        features = self.dropout(self.features(maps))
        return self.decide(features)[:, 0], self.tell_kind(features)

    def forward(self, maps: Tensor) -> Tensor:
        """``maps`` (B, C, G, G) -> calibrated logit (B,)."""
        logit: Tensor = self.decide(self.dropout(self.features(maps)))[:, 0] / self.temperature
        return logit.clamp(-HIGHEST_LOGIT, HIGHEST_LOGIT)


class LivenessTraining(nn.Module):
    """What training wraps around the network, so that its forward pass returns both heads."""

    def __init__(self, network: LivenessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """As ``LivenessNetwork.both``."""
        return self.network.both(maps)
