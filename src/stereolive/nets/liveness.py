"""The liveness model: depth information in, one number out, higher for bona fide.

In training it also answers for every cell of a coarse grid over the face: pixel-wise supervision, after George and
Marcel, "Deep pixel-wise binary supervision for face presentation attack detection", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS, face_ellipse
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

    ``used``: names of the channels that are looked at, for ablations. ``kinds``: classes of the auxiliary task, which
    only training sees, as it does the cells' answers.
    """

    def __init__(self, kinds: int, used: Sequence[str] = (), width: int = 48, dropout: float = 0.2) -> None:
        super().__init__()
        self.used_maps, self.used_views = (
            [index for index, name in enumerate(names) if not used or name in used]
            for names in (LIVENESS_MAPS, LIVENESS_VIEWS)
        )
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor
        widths = (width, _at_least(4 * width / 3, 16), 2 * width, _at_least(8 * width / 3, 16))
        # Most of the time goes where most of the channels are; at half resolution few have to do.
        fine = _at_least(width / 3, 4) if self.used_views else 0
        self.stem = convolution(len(self.used_views), fine, stride=2) if self.used_views else None
        self.texture = Residual(fine) if self.used_views else None
        if self.texture is not None:
            # Starts as "change nothing", so that a model without it can be started from.
            self.texture.start_as_identity()
        layers: list[nn.Module] = [convolution(len(self.used_maps) + fine, width, stride=2)]
        for before, after in pairwise(widths):
            layers += [convolution(before, after, stride=2), Residual(after)]
        layers.insert(3, Residual(widths[1]))
        self.body = nn.Sequential(*layers[:6])
        self.head = nn.Sequential(*layers[6:])
        self.compare = Comparison(widths[2], widths[3])
        self.decide_cell = nn.Conv2d(widths[2], 1, 1)
        features = 2 * widths[-1] + 2
        self.dropout = nn.Dropout(dropout)
        self.decide = nn.Linear(features, 1)
        self.tell_kind = nn.Linear(features, kinds)

    def answers(self, maps: Tensor, views: Tensor) -> Answers:
        """``maps`` (B, M, G, G) and ``views`` (B, V, 2G, 2G) -> all that training looks at; the logit before
        calibration."""
        inputs = maps[:, self.used_maps]
        if self.stem is not None and self.texture is not None:
            inputs = torch.cat([inputs, self.texture(self.stem(views[:, self.used_views]))], 1)
        body = self.body(inputs)
        last = self.head(body)
        cells = self.decide_cell(self.compare(body, last.mean((2, 3))))[:, 0].float()
        features = self._features(last, cells)
        return Answers(self.decide(features)[:, 0].float(), self.tell_kind(features).float(), cells)

    def forward(self, maps: Tensor, views: Tensor) -> Tensor:
        """As ``answers`` -> calibrated logit (B,), the mean of those for the face and for its mirror image: both are as
        likely, and they err differently."""
        both = self.answers(torch.cat([maps, maps.flip(3)]), torch.cat([views, views.flip(3)])).logit
        logit: Tensor = both.view(2, -1).mean(0) / self.temperature
        return logit.clamp(-HIGHEST_LOGIT, HIGHEST_LOGIT)

    def _features(self, last: Tensor, cells: Tensor) -> Tensor:
        """Mean and highest activation of every last channel; mean and lowest of the answers of the face's cells, so
        that a patch which covers only some of them tells."""
        pooled = self.dropout(torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1))
        face = torch.from_numpy(face_ellipse(int(cells.shape[-1]))).to(cells.device)
        mean = (cells * face).sum((1, 2)) / face.sum()
        # Two by two cells together: one alone may err.
        held = torch.where(face, cells, HIGHEST_LOGIT)[:, None]
        lowest = functional.avg_pool2d(held, 2, stride=1).amin((1, 2, 3))
        return torch.cat([pooled, torch.stack([mean, lowest], 1)], 1)


class Comparison(nn.Module):
    """Lets every cell look at the whole face: what is skin here depends on how the rest of it is lit. Starts as "change
    nothing", as the network's other residual layers that it can be started without."""

    def __init__(self, channels: int, summary: int) -> None:
        super().__init__()
        self.tell = nn.Linear(summary, channels)
        self.look = Residual(channels)
        self.look.start_as_identity()

    def forward(self, cells: Tensor, summary: Tensor) -> Tensor:
        """Features (B, C, H, W) of the cells and those (B, D) of the face -> (B, C, H, W)."""
        told = cells + self.tell(summary)[:, :, None, None]
        return functional.relu(cells + self.look.body(told))


def _at_least(channels: float, multiple: int) -> int:
    """The next multiple of what vector units like."""
    return multiple * math.ceil(channels / multiple)


class LivenessTraining(nn.Module):
    """What training wraps around the network, so that its forward pass returns all heads."""

    def __init__(self, network: LivenessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor, views: Tensor) -> Answers:
        """As ``LivenessNetwork.answers``."""
        return self.network.answers(maps, views)
