"""The liveness model: depth information in, one number out, higher for bona fide.

In training it also answers for every cell of a coarse grid over the face: pixel-wise supervision, after George and
Marcel, "Deep pixel-wise binary supervision for face presentation attack detection", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stereolive.nets.depth import Residual, convolution

HIGHEST_LOGIT = 12.0
"""Logits are held within this, so that scores stay distinguishable from 0 and 1 in print."""


class Answers(NamedTuple):
    """What the network says in training."""

    logit: Tensor  # (B,)
    kind: Tensor  # (B, kinds) logits of the auxiliary task
    cells: Tensor  # (B, G/8, G/8) logits


class LivenessNetwork(nn.Module):
    """A small residual network over the channels of ``depth.liveness_input``.

    ``inputs``: how many channels come in; ``used``: indices of those that are looked at, for ablations. ``kinds``:
    classes of the auxiliary task, which only training sees, as it does the cells' answers.
    """

    def __init__(self, inputs: int, used: Sequence[int], kinds: int, width: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.inputs = inputs
        self.register_buffer("used", torch.tensor(list(used), dtype=torch.int64))
        self.used: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor
        widths = (width, 3 * width // 2, 2 * width, 3 * width)
        # Most of the time goes where most of the channels are; at half resolution one layer has to do.
        layers: list[nn.Module] = [convolution(len(used), width, stride=2)]
        for before, after in pairwise(widths):
            layers += [convolution(before, after, stride=2), Residual(after)]
        layers.insert(3, Residual(widths[1]))
        self.body = nn.Sequential(*layers[:6])
        self.head = nn.Sequential(*layers[6:])
        self.decide_cell = nn.Conv2d(widths[2], 1, 1)
        features = 2 * widths[-1]
        self.dropout = nn.Dropout(dropout)
        self.decide = nn.Linear(features, 1)
        self.tell_kind = nn.Linear(features, kinds)

    def answers(self, maps: Tensor) -> Answers:
        """``maps`` (B, C, G, G) -> all that training looks at; the logit before calibration."""
        cells = self.body(maps.index_select(1, self.used))
        features = self.dropout(self._pooled(cells))
        return Answers(self.decide(features)[:, 0], self.tell_kind(features), self.decide_cell(cells)[:, 0])

    def forward(self, maps: Tensor) -> Tensor:
        """``maps`` (B, C, G, G) -> calibrated logit (B,)."""
        features = self._pooled(self.body(maps.index_select(1, self.used)))
        logit: Tensor = self.decide(self.dropout(features))[:, 0] / self.temperature
        return logit.clamp(-HIGHEST_LOGIT, HIGHEST_LOGIT)

    def _pooled(self, cells: Tensor) -> Tensor:
        """Mean and highest activation of every last channel."""
        last = self.head(cells)
        return torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)


class LivenessTraining(nn.Module):
    """What training wraps around the network, so that its forward pass returns all heads."""

    def __init__(self, network: LivenessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor) -> Answers:
        """As ``LivenessNetwork.answers``."""
        return self.network.answers(maps)
