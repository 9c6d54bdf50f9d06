"""The depth stage: crops with measured disparity in, a depth network out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stereolive.data.crops import Crops
from stereolive.errors import InputError
from stereolive.nets.depth import DepthNetwork, bin_disparity_px
from stereolive.nets.losses import depth_losses, pooled
from stereolive.train.config import DepthStage, TrainConfig
from stereolive.train.depth_augment import StoredBatch, augmented, centred
from stereolive.train.loop import Log, Machine, Recipe, batch_indices, fit, generator, main_first
from stereolive.train.own_depth import own_depths
from stereolive.train.weights import Weights

MIN_KNOWN_SHARE = 0.05
MAX_VALIDATION = 256


def train_depth(
    crops: Crops,
    train: Sequence[int],
    validation: Sequence[int],
    config: TrainConfig,
    where: Machine,
    log: Log,
    start: Weights | None = None,
) -> DepthNetwork:
    """Train the depth network on the rows ``train`` of ``crops`` that have depth, and with ``own_depth`` on the others
    by what it says of them itself; the running mean of its weights is returned.

    From ``start``, or from nothing. Where no row teaches it, a network that starts from a model's stays as it is.
    Raises InputError where there is neither depth nor a start.
    """
    stage = config.depth
    taught, validation = with_depth(crops, train), with_depth(crops, validation)
    torch.manual_seed(config.seed)
    model = DepthNetwork(stage.width, stage.max_shift)
    if start is not None:
        start.start_depth(model)
    if not stage.steps:
        return model.eval()
    own: Mapping[int, NDArray[np.float16]] = {}
    if start is not None and stage.own_depth:
        bare = [index for index in sorted(set(train) - set(taught)) if not crops.rows[index].is_registered]
        model.to(where.device)
        own = main_first(where, lambda: own_depths(crops, bare, model, config.work, start.sha256))
        log.say(f"{len(own)} of {len(bare)} presentations without depth teach by what the depth network says of them")
        taught += own
    if not taught:
        if start is None:
            raise InputError("no training presentation has depth; give a column depth, or start from a model (init)")
        log.say("no training presentation has depth: the depth network stays as it is")
        return model.eval()
    bins = bin_disparity_px(stage.max_shift).view(1, -1, 1, 1).to(where.device)
    whole_from = round(stage.steps * (1.0 - stage.whole_share))

    def load(step: int) -> StoredBatch:
        batch = stage.batch if step < whole_from else stage.whole_batch
        chosen = where.part(batch_indices(len(taught), batch, step, config.seed))
        return read_batch(crops, [taught[index] for index in chosen], own)

    def loss(network: nn.Module, stored: StoredBatch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        side = stage.window_px if step < whole_from else config.crop_px
        strength = appearance_strength(step, stage)
        stored = on_device(stored, where)
        batch = augmented(stored, side, config.crop_px, strength, generator(config.seed, step, where.rank))
        output = network(batch.first, batch.second)
        losses = depth_losses(output, batch.disparity, batch.weight, bins, stored.measured.float())
        logged = {"loss": losses.total, "error_px": losses.error_px, "face_px": losses.face_error_px}
        return losses.total, logged

    def validate(network: nn.Module) -> Mapping[str, float]:
        return depth_errors(network, crops, evenly(validation, MAX_VALIDATION), config.crop_px, where)

    recipe = Recipe(
        "depth",
        stage.steps,
        stage.learning_rate,
        stage.weight_decay,
        stage.gradient_norm,
        stage.average_decay,
        config.seed,
        config.checkpoint_minutes,
    )
    signature = {"stage": asdict(stage), "seed": config.seed, "crop_px": config.crop_px, "crops": len(taught)}
    if start is not None:
        signature["init"] = start.sha256
    trained = fit(model, recipe, load, loss, validate, config.work, where, log, signature)
    assert isinstance(trained, DepthNetwork)
    return trained


def with_depth(crops: Crops, rows: Sequence[int]) -> list[int]:
    """Those whose disparity is known and lies between two views, which registered ones' does not."""
    return [
        index
        for index in rows
        if crops.rows[index].known_share > MIN_KNOWN_SHARE and not crops.rows[index].is_registered
    ]


@torch.no_grad()
def depth_errors(
    network: nn.Module, crops: Crops, rows: Sequence[int], crop_px: int, where: Machine
) -> dict[str, float]:
    """Errors over the face of unchanged crops: median and mean in crop px and mm, and how honest the uncertainty is.

    ``calibration`` is the mean of error over scale, 1 where honest; ``sd_rank`` the share of pairs of presentations
    whose order by mean uncertainty is that by mean error.
    """
    errors, errors_mm, ratios, by_row = [], [], [], []
    network.eval()
    for start in range(0, len(rows), 8):
        chunk = rows[start : start + 8]
        batch = centred(on_device(read_batch(crops, chunk), where), crop_px, crop_px)
        output = network(batch.first, batch.second)
        target, weight = pooled(batch.disparity, batch.weight, 2)
        error = (output.disparity - target).abs().cpu().numpy()
        scale = output.log_scale.exp().cpu().numpy()
        face = (weight > 0.9).cpu().numpy()
        for index, row in enumerate(chunk):
            here = face[index, 0]
            if here.sum() < 50:
                continue
            geometry = crops.rows[row]
            full = geometry.shift_px + target[index, 0].cpu().numpy()[here] / geometry.scale
            ok = full > 1e-3
            mm_per_px = geometry.focal_times_baseline / np.maximum(full, 1e-3) ** 2 / geometry.scale
            values = error[index, 0][here][ok]
            errors.append(values)
            errors_mm.append(values * mm_per_px[ok])
            ratios.append(values / scale[index, 0][here][ok])
            by_row.append((float(values.mean()), float(scale[index, 0][here].mean())))
    if not errors:
        return {}
    all_px, all_mm = np.concatenate(errors), np.concatenate(errors_mm)
    pairs = np.array(by_row)
    first, second = np.triu_indices(len(pairs), 1)
    agree = (pairs[first] > pairs[second])[:, 0] == (pairs[first] > pairs[second])[:, 1]
    return {
        "face_median_px": float(np.median(all_px)),
        "face_mean_px": float(all_px.mean()),
        "face_median_mm": float(np.median(all_mm)),
        "face_mean_mm": float(all_mm.mean()),
        "calibration": float(np.concatenate(ratios).mean()),
        "sd_rank": float(agree.mean()) if len(agree) else 0.0,
    }


def appearance_strength(step: int, stage: DepthStage) -> float:
    """From a tenth to one: matching is learned on like pictures first."""
    return min(1.0, 0.1 + 0.9 * step / max(1.0, stage.ramp_share * stage.steps))


def read_batch(
    crops: Crops, rows: Sequence[int], own: Mapping[int, NDArray[np.float16]] = MappingProxyType({})
) -> StoredBatch:
    """Stored crops as tensors; ``own``: disparity of rows that came without."""
    first, second, disparity = crops.read(rows)
    for place, row in enumerate(rows):
        if row in own:
            disparity[place] = own[row]
    measured = np.array([row not in own for row in rows])
    relief = np.array([crops.rows[row].focal_px / max(abs(crops.rows[row].shift_px), 1.0) for row in rows], np.float32)
    return StoredBatch(*(torch.from_numpy(array) for array in (first, second, disparity, measured, relief)))


def on_device(batch: StoredBatch, where: Machine) -> StoredBatch:
    """The batch where it is computed on."""
    parts = (batch.first, batch.second, batch.disparity, batch.measured, batch.relief)
    return StoredBatch(*(array.to(where.device) for array in parts))


def evenly(rows: Sequence[int], most: int) -> list[int]:
    """At most ``most`` rows, spread over all."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(position)] for position in np.linspace(0, len(rows) - 1, most)]
