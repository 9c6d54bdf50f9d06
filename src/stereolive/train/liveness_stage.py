"""The liveness stage: depth information as the depth network produces it in, a calibrated liveness model out."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stereolive.data.crops import CropRow
from stereolive.data.manifest import BONA_FIDE
from stereolive.depth import face_ellipse
from stereolive.nets.liveness import Answers, LivenessNetwork, LivenessTraining
from stereolive.train.cache import VIEW_UNIT, Items, LivenessInputs
from stereolive.train.config import TrainConfig
from stereolive.train.liveness_augment import (
    LivenessBatch,
    augmented,
    with_halves,
    with_moments,
    with_patches,
    with_strangers,
    with_surroundings,
)
from stereolive.train.loop import Log, Machine, Recipe, fit, generator, move_towards
from stereolive.train.threshold import area_under_curve
from stereolive.train.weights import Weights


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
    model = LivenessTraining(LivenessNetwork(len(kinds), stage.channels, stage.width, stage.dropout))
    if start is not None:
        start.start_liveness(model, list(kinds))
    begun = {name: entry.to(where.device, copy=True) for name, entry in model.network.state_dict().items()}
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster on processors
    sampler = BalancedSampler(rows, train)

    def load(step: int) -> LivenessBatch:
        drawn = where.part(sampler.draw(stage.batch, config.seed * 1_000_003 + step))
        variants = torch.randint(inputs.variants, (len(drawn),), generator=generator(config.seed, step, 5)).tolist()
        items = inputs.read(drawn, variants)
        bona_fide = torch.tensor([float(rows[index].label == BONA_FIDE) for index in drawn])
        kind = torch.tensor([kinds[_kind(rows[index])] for index in drawn])
        maps, views, shares = augmented(*as_tensors(items), generator(config.seed, step, 6, where.rank))
        batch = LivenessBatch(maps, views, shares, bona_fide, kind)
        batch = with_strangers(batch, generator(config.seed, step, 7, where.rank))
        batch = with_patches(batch, generator(config.seed, step, 8, where.rank))
        batch = with_surroundings(batch, generator(config.seed, step, 9, where.rank))
        batch = with_moments(batch, generator(config.seed, step, 10, where.rank))
        return with_halves(batch, generator(config.seed, step, 11, where.rank))

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
        # The last steps, with their low learning rate, fit what was rendered better than what was not.
        kept_by="auc",
    )
    settings = asdict(stage)
    del settings["init_share"]  # which counts only once training is done
    signature = {"stage": settings, "seed": config.seed, "rows": len(train), "depth": asdict(config.depth)}
    if start is not None:
        signature["init"] = start.sha256
    trained = fit(model, recipe, load, loss, validate, config.work, where, log, signature)
    assert isinstance(trained, LivenessTraining)
    network = trained.network
    if start is not None and stage.init_share:
        move_towards(network.state_dict(), begun, stage.init_share)
    logits = logits_of(network, inputs, validation, where)
    labels = np.array([rows[index].label == BONA_FIDE for index in validation])
    network.temperature.fill_(temperature(logits, labels))
    return network


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


def as_tensors(items: Items) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, views and shares, as the network takes them."""
    maps, views, shares = (torch.from_numpy(planes).float() for planes in items)
    return maps, views * VIEW_UNIT, shares


def _kind(row: CropRow) -> str:
    return f"{row.species}/{row.material.split('+')[0]}" if row.label != BONA_FIDE else BONA_FIDE


def kind_numbers(rows: Sequence[CropRow], indices: Sequence[int]) -> dict[str, int]:
    """Species and material to class; validation rows of unknown ones never meet the auxiliary task."""
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    for index in indices:
        numbers[_kind(rows[index])]
    return dict(numbers)
