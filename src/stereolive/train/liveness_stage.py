"""The liveness stage: depth information as the depth network produces it in, a calibrated liveness model out."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stereolive.data.crops import CropRow
from stereolive.data.manifest import BONA_FIDE
from stereolive.depth import LIVENESS_CHANNELS, LIVENESS_MAPS, RELATIVE_DEPTH_UNIT_MM, face_ellipse
from stereolive.errors import InputError
from stereolive.nets.liveness import Answers, LivenessNetwork, LivenessTraining
from stereolive.train.cache import VIEW_UNIT, Items, LivenessInputs
from stereolive.train.config import LivenessStage, TrainConfig
from stereolive.train.loop import Log, Machine, Recipe, fit, generator
from stereolive.train.threshold import area_under_curve
from stereolive.train.weights import Weights

DEPTH_ERROR_MM = 2.0
"""Of the smooth error that training adds to the depth network's own."""
STRANGERS_SHARE = 0.08
"""How many of the living faces get another person's second view."""
PATCHED_SHARE = 0.08
"""How many of the living faces get a patch of an attack."""
PATCH_BEFORE_FACE_MM = 8.0
"""How far before the skin such a patch may stand."""
SPECTRA = [LIVENESS_MAPS.index(name) for name in ("lead_is_visible", "other_is_visible")]
UNKNOWN_KIND = -100
"""What ``cross_entropy`` leaves out."""
GRAINED_SHARE, GRAIN = 0.15, 0.05
"""How many presentations get a coarser surface, and the standard deviation of its contrast's."""


@dataclass(frozen=True)
class LivenessBatch:
    """``maps``, ``views`` and ``shares`` as ``cache.Items``, ``bona_fide`` (B,) 0 or 1, ``kind`` (B,) species and
    material as a class."""

    maps: Tensor
    views: Tensor
    shares: Tensor
    bona_fide: Tensor
    kind: Tensor


class BalancedSampler:
    """Both labels equally often; within one, each species by the root of its number, so that the scarce are seen often
    and those of which there is more to learn more often; within that, each illumination equally often."""

    def __init__(self, rows: Sequence[CropRow], indices: Sequence[int]) -> None:
        self._cells: dict[str, dict[str, dict[str, list[int]]]] = {}
        for index in indices:
            row = rows[index]
            species = self._cells.setdefault(row.label, {}).setdefault(row.species, {})
            species.setdefault(row.illumination, []).append(index)
        self._weights = {
            label: [math.sqrt(sum(map(len, lights.values()))) for lights in species.values()]
            for label, species in self._cells.items()
        }

    def draw(self, count: int, seed: int) -> list[int]:
        """``count`` indices."""
        chosen = random.Random(seed)
        result = []
        for number in range(count):
            label = (BONA_FIDE, "attack")[number % 2]
            (name,) = chosen.choices(list(self._cells[label]), self._weights[label])
            species = self._cells[label][name]
            result.append(chosen.choice(species[chosen.choice(list(species))]))
        return result


def train_liveness(
    rows: Sequence[CropRow],
    inputs: LivenessInputs,
    train: Sequence[int],
    validation: Sequence[int],
    config: TrainConfig,
    where: Machine,
    log: Log,
    start: Weights | None = None,
) -> LivenessNetwork:
    """Train on the cached inputs of the rows ``train``, from ``start`` or from nothing; calibrated on those of
    ``validation``."""
    stage = config.liveness
    kinds = kind_numbers(rows, train)
    torch.manual_seed(config.seed)
    model = LivenessTraining(LivenessNetwork(len(kinds), used_channels(stage), stage.width, stage.dropout))
    if start is not None:
        start.start_liveness(model, list(kinds))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster on processors
    sampler = BalancedSampler(rows, train)

    def load(step: int) -> LivenessBatch:
        drawn = sampler.draw(stage.batch, config.seed * 1_000_003 + step)[where.rank :: where.world]
        variants = torch.randint(inputs.variants, (len(drawn),), generator=generator(config.seed, step, 5)).tolist()
        items = inputs.read(drawn, variants)
        bona_fide = torch.tensor([float(rows[index].label == BONA_FIDE) for index in drawn])
        kind = torch.tensor([kinds[_kind(rows[index])] for index in drawn])
        maps, views, shares = augmented(*as_tensors(items), generator(config.seed, step, 6, where.rank))
        batch = LivenessBatch(maps, views, shares, bona_fide, kind)
        batch = with_strangers(batch, generator(config.seed, step, 7, where.rank))
        return with_patches(batch, generator(config.seed, step, 8, where.rank))

    def loss(network: nn.Module, batch: LivenessBatch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        del step
        inputs = (planes.to(where.device, memory_format=torch.channels_last) for planes in (batch.maps, batch.views))
        answers: Answers = network(*inputs)
        target = batch.bona_fide.to(where.device)
        # Smoothed a little: synthetic labels are never wrong, but certainty without end is.
        main = functional.binary_cross_entropy_with_logits(answers.logit, target * 0.98 + 0.01)
        auxiliary = functional.cross_entropy(answers.kind, batch.kind.to(where.device))
        cells = cell_loss(answers.cells, target, batch.shares.to(where.device))
        right = ((answers.logit > 0) == (target > 0.5)).float().mean()
        total = main + stage.species_weight * auxiliary + stage.cell_weight * cells
        return total, {"loss": main, "kind": auxiliary, "cells": cells, "right": right}

    def validate(network: nn.Module) -> Mapping[str, float]:
        assert isinstance(network, LivenessTraining)
        logits = logits_of(network.network, inputs, validation, where)
        labels = np.array([rows[index].label == BONA_FIDE for index in validation])
        wrong = (logits > 0) != labels
        return {
            "auc": area_under_curve(logits[labels], logits[~labels]),
            "bpcer_at_0": float(wrong[labels].mean()),
            "apcer_at_0": float(wrong[~labels].mean()),
        }

    recipe = Recipe(
        "liveness",
        stage.steps,
        stage.learning_rate,
        stage.weight_decay,
        5.0,
        stage.average_decay,
        config.seed,
        config.checkpoint_minutes,
    )
    signature = {"stage": asdict(stage), "seed": config.seed, "rows": len(train), "depth": asdict(config.depth)}
    if start is not None:
        signature["init"] = start.sha256
    trained = fit(model, recipe, load, loss, validate, config.work, where, log, signature)
    assert isinstance(trained, LivenessTraining)
    network = trained.network
    logits = logits_of(network, inputs, validation, where)
    labels = np.array([rows[index].label == BONA_FIDE for index in validation])
    network.temperature.fill_(temperature(logits, labels))
    return network


def with_strangers(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with another person's second view, of a sensor of the same kind, which is no presentation of
    one living face: what both views show must be one thing."""
    spectra = batch.maps[:, SPECTRA, 0, 0]
    living = [index for index in range(len(batch.maps)) if batch.bona_fide[index] > 0.5]
    views, bona_fide = batch.views.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    for index in living:
        others = [other for other in living if other != index and torch.equal(spectra[other], spectra[index])]
        if torch.rand((), generator=draw) < STRANGERS_SHARE and others:
            other = others[int(torch.randint(len(others), (), generator=draw))]
            views[index, 3:] = batch.views[other, 3:]
            bona_fide[index], shares[index], kind[index] = 0.0, 0.0, UNKNOWN_KIND
    return LivenessBatch(batch.maps, views, shares, bona_fide, kind)


def with_patches(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with a piece of an attack before them, as both sensors of the same kinds show it there, in its
    own shape: more patches, of more materials, than anybody can render."""
    spectra = batch.maps[:, SPECTRA, 0, 0]
    maps, views, bona_fide = batch.maps.clone(), batch.views.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    depth, inside = LIVENESS_MAPS.index("relative_depth"), LIVENESS_MAPS.index("inside")
    local = [LIVENESS_MAPS.index(name) for name in ("relative_depth", "depth_sd", "disparity_sd")]
    for index in range(len(maps)):
        if batch.bona_fide[index] < 0.5 or torch.rand((), generator=draw) >= PATCHED_SHARE:
            continue
        fine = _patch(views.shape[-1], draw)
        coarse = functional.avg_pool2d(fine[None], 2)[0]
        # Of an attack's own surface all through: what a partial attack leaves free is living skin.
        pure = (batch.shares[:, 0] * coarse).sum((1, 2)) > 0.9 * coarse.sum()
        donors = (pure & (spectra == spectra[index]).all(1)).nonzero()[:, 0]
        if not len(donors):
            continue
        donor = int(donors[int(torch.randint(len(donors), (), generator=draw))])
        before = float(torch.rand((), generator=draw)) * PATCH_BEFORE_FACE_MM / RELATIVE_DEPTH_UNIT_MM
        laid = batch.maps[donor].clone()
        there = coarse * batch.maps[donor, inside]
        laid[depth] += ((maps[index, depth] - laid[depth]) * there).sum() / there.sum().clamp_min(1.0) - before
        maps[index, local] += coarse * (laid[local] - maps[index, local])
        views[index] += fine * (batch.views[donor] - views[index])
        shares[index, 0] += coarse * (1 - shares[index, 0])
        shares[index, 1] *= 1 - coarse
        bona_fide[index], kind[index] = 0.0, UNKNOWN_KIND
    return LivenessBatch(maps, views, shares, bona_fide, kind)


def _patch(side: int, draw: torch.Generator) -> Tensor:
    """Where a patch is (S, S), 0 to 1: round to square, over eyes, nose, mouth or cheek."""
    middle_x, middle_y, across, down, corners, edge = torch.rand(6, generator=draw).tolist()
    steps = (torch.arange(side) + 0.5) / side - 0.5
    x = (steps[None, :] - 0.3 * (middle_x - 0.5)) / (0.09 + 0.18 * across)
    y = (steps[:, None] - 0.4 * (middle_y - 0.5)) / (0.07 + 0.14 * down)
    power = 2 + 6 * corners
    distance = (x.abs() ** power + y.abs() ** power) ** (1 / power)
    return torch.sigmoid((1 - distance) / (0.02 + 0.08 * edge))


def cell_loss(cells: Tensor, bona_fide: Tensor, shares: Tensor) -> Tensor:
    """Of the cells' own answers (B, S, S), by what each cell shows: ``shares`` (B, 2, G, G) of instrument and of living
    skin; both kinds weigh the same within a presentation that shows both.

    Where the shares are not known (0 everywhere), the label has to do: a living face lives everywhere; of an attack,
    the quarter of the face's cells that look least alive shall say so, since a patch may cover only a part.
    """
    weights = functional.adaptive_avg_pool2d(shares, cells.shape[-1])
    amounts = weights.sum((2, 3))
    losses = torch.stack([functional.softplus(cells), functional.softplus(-cells)], 1)
    means = (weights * losses).sum((2, 3)) / amounts.clamp_min(1e-6)
    shown = (amounts > 1.0).float()  # a whole cell, together
    by_surface = (means * shown).sum(1) / shown.sum(1).clamp_min(1.0)

    inside = torch.from_numpy(face_ellipse(cells.shape[-1])).to(cells.device)
    answers = cells[:, inside]
    living = functional.softplus(-answers).mean(1)
    least = answers.topk(max(1, answers.shape[1] // 4), dim=1, largest=False).values
    attack = functional.softplus(least).mean(1)
    by_label = torch.where(bona_fide > 0.5, living, attack)
    return torch.where(shown.sum(1) > 0, by_surface, by_label).mean()


@torch.no_grad()
def logits_of(
    network: LivenessNetwork, inputs: LivenessInputs, indices: Sequence[int], where: Machine
) -> NDArray[np.float64]:
    """Logits (N,) of the detector's own crop of each row."""
    network.eval()
    parts = []
    for start in range(0, len(indices), 64):
        chunk = indices[start : start + 64]
        maps, views, _ = as_tensors(inputs.read(chunk, [0] * len(chunk)))
        parts.append(network(maps.to(where.device), views.to(where.device)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def temperature(logits: NDArray[np.float64], bona_fide: NDArray[np.bool_]) -> float:
    """The divisor of the logits with the lowest log loss, both labels weighing the same; from 1 to 8 (Guo et al.
    2017)."""
    candidates = np.exp(np.linspace(0.0, np.log(8.0), 200))

    def log_loss(divisor: float) -> float:
        margins = np.where(bona_fide, logits, -logits) / divisor
        losses = np.logaddexp(0.0, -margins)
        return float(losses[bona_fide].mean() + losses[~bona_fide].mean())

    return float(min(candidates, key=log_loss))


def used_channels(stage: LivenessStage) -> tuple[str, ...]:
    """The channels that the configuration names; none for all of them."""
    for name in stage.channels:
        if name not in LIVENESS_CHANNELS:
            raise InputError(f"liveness.channels: there is no {name}; known are {', '.join(LIVENESS_CHANNELS)}")
    return stage.channels


def as_tensors(items: Items) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, views and shares, as the network takes them."""
    maps, views, shares = (torch.from_numpy(planes).float() for planes in items)
    return maps, views * VIEW_UNIT, shares


def augmented(maps: Tensor, views: Tensor, shares: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What ``as_tensors`` returns, changed: mirrored, turned, zoomed and moved together; the depth a little off, as
    other rigs and faces make it; the views as other cameras show them."""
    count = len(maps)

    normal = partial(_normal, count, draw)
    angle = normal(0.1)[:, 0, 0, 0]
    zoom = normal(0.05)[:, 0, 0, 0].exp()
    mirror = (torch.rand(count, generator=draw) < 0.5).float() * -2 + 1
    moved = normal(0.03, 2)
    turn = torch.stack(
        [
            torch.stack([angle.cos() * mirror / zoom, -angle.sin() / zoom, moved[:, 0]], 1),
            torch.stack([angle.sin() * mirror / zoom, angle.cos() / zoom, moved[:, 1]], 1),
        ],
        1,
    )

    def laid_anew(planes: Tensor) -> Tensor:
        places = functional.affine_grid(turn, list(planes.shape), align_corners=False)
        return functional.grid_sample(planes, places, padding_mode="border", align_corners=False)

    both = laid_anew(torch.cat([maps, shares], 1))
    maps, shares = both[:, : maps.shape[1]], both[:, maps.shape[1] :]
    coarse = normal(DEPTH_ERROR_MM / RELATIVE_DEPTH_UNIT_MM, 1, 6, 6)
    error = functional.interpolate(coarse, maps.shape[2:], mode="bicubic", align_corners=True)
    depth = LIVENESS_MAPS.index("relative_depth")
    maps[:, depth : depth + 1] = maps[:, depth : depth + 1] * normal(0.05).exp() + error
    deviations = [LIVENESS_MAPS.index(name) for name in ("depth_sd", "disparity_sd")]
    maps[:, deviations] = maps[:, deviations] * normal(0.12).exp()

    height, width = views.shape[2:]
    by_sensor = grained(laid_anew(views), draw).reshape(2 * count, 3, height, width)
    return maps, other_cameras(by_sensor, draw).reshape(count, 6, height, width), shares


def grained(views: Tensor, draw: torch.Generator) -> Tensor:
    """Views (B, 6, S, S), some of them of a coarser surface, as other people's skin and other renderers' has it: spots
    of a few pixels that both sensors see in one place, each as strongly as it does."""
    count, _, height, width = views.shape
    chosen = (torch.rand(count, generator=draw) < GRAINED_SHARE).nonzero()[:, 0]
    spot_px = int(torch.randint(2, 6, (1,), generator=draw))
    grain = _normal(count, draw, 1.0, 1, height // spot_px, width // spot_px)[chosen]
    grain = functional.interpolate(grain, (height, width), mode="bilinear", align_corners=True)
    by_sensor = _normal(count, draw, GRAIN, 2, 1, 1)[chosen].abs().repeat_interleave(3, 1)
    views[chosen] = views[chosen] * (by_sensor * grain).exp()
    return views


def other_cameras(views: Tensor, draw: torch.Generator) -> Tensor:
    """Views (N, 3, S, S) of mean 0.5 as other cameras, and other renderers, would show them: gains for all; for some of
    them another tone curve, sharpness, saturation, exposure so long that much of the face is white, noise.

    Colours change little: what tells skin from silicone is a matter of a few percent.
    """
    count = len(views)

    normal = partial(_normal, count, draw)

    def some(share: float) -> Tensor:
        return (torch.rand(count, generator=draw) < share).nonzero()[:, 0]

    coloured = ((views[:, 0] - views[:, 2]).abs().mean((1, 2)) > 0.01).float().view(-1, 1, 1, 1)
    views = views * (normal(0.05) + coloured * normal(0.03, 3, 1, 1)).exp()
    tone, detail, saturation = normal(0.2).exp(), normal(0.4).exp(), normal(0.2).exp()
    white = torch.rand((count, 1, 1, 1), generator=draw) * 1.1 + 0.4
    noise_level = torch.rand((count, 1, 1, 1), generator=draw) * 0.03
    light = normal(0.2, 1, 3, 3)
    chosen = some(0.25)
    views[chosen] = 0.5 * (2 * views[chosen]).pow(tone[chosen])
    chosen = some(0.25)
    smooth = functional.interpolate(functional.avg_pool2d(views[chosen], 4), views.shape[2:], mode="bilinear")
    views[chosen] = smooth + detail[chosen] * (views[chosen] - smooth)
    chosen = some(0.25)
    grey = views[chosen].mean(1, keepdim=True)
    views[chosen] = grey + saturation[chosen] * (views[chosen] - grey)
    chosen = some(0.25)
    views[chosen] = views[chosen] * functional.interpolate(light[chosen].exp(), views.shape[2:], mode="bicubic")
    chosen = some(0.2)
    overexposed = views[chosen].minimum(white[chosen])
    face = torch.from_numpy(face_ellipse(views.shape[3])).to(views)
    level = (overexposed * face).mean((1, 2, 3), keepdim=True) / face.mean()
    views[chosen] = overexposed * (0.5 / level.clamp_min(0.1))
    chosen = some(0.15)
    noise = torch.randn(views[chosen].shape, generator=draw)
    # A near-infrared picture has one noise for its three equal channels.
    noise = torch.where(coloured[chosen] > 0, noise, noise[:, :1])
    views[chosen] = views[chosen] + noise_level[chosen] * noise
    return views.clamp_(0, 2)


def _normal(count: int, draw: torch.Generator, deviation: float, *shape: int) -> Tensor:
    """One a sample: (count, *shape), by default (count, 1, 1, 1)."""
    return torch.randn((count, *(shape or (1, 1, 1))), generator=draw) * deviation


def _kind(row: CropRow) -> str:
    return f"{row.species}/{row.material.split('+')[0]}" if row.label != BONA_FIDE else BONA_FIDE


def kind_numbers(rows: Sequence[CropRow], indices: Sequence[int]) -> dict[str, int]:
    """Species and material to class; validation rows of unknown ones never meet the auxiliary task."""
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    for index in indices:
        numbers[_kind(rows[index])]
    return dict(numbers)
