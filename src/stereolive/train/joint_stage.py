"""The joint stage: both networks together at a small learning rate, the liveness loss reaching the depth network.

What ``depth.depth_information`` and ``depth.liveness_input`` do with arrays is done here with tensors, so that it can
be differentiated; a test holds both against each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stereolive.data.crops import CropRow, Crops
from stereolive.data.manifest import BONA_FIDE
from stereolive.depth import (
    DISPARITY_SD_UNIT_PX,
    FARTHEST_MM,
    NEAREST_MM,
    RELATIVE_DEPTH_UNIT_MM,
    face_ellipse,
)
from stereolive.nets.depth import DepthNetwork, DepthOutput, bin_disparity_px, warp
from stereolive.nets.liveness import Answers, LivenessNetwork
from stereolive.nets.losses import depth_losses
from stereolive.train.config import TrainConfig
from stereolive.train.depth_augment import StoredBatch, centred
from stereolive.train.depth_stage import on_device, read_batch
from stereolive.train.liveness_augment import augmented
from stereolive.train.liveness_stage import BalancedSampler
from stereolive.train.loop import Log, Machine, Recipe, fit, generator


@dataclass(frozen=True)
class Geometry:
    """What turns crop disparity into depth, (B, 1, 1, 1) each; as in ``FaceCrop``."""

    scale: Tensor
    shift_px: Tensor
    focal_px: Tensor
    focal_times_baseline: Tensor
    roll: Tensor  # radians
    first_is_visible: Tensor
    second_is_visible: Tensor

    @classmethod
    def of(cls, rows: Sequence[CropRow], device: torch.device) -> Geometry:
        columns = np.array(
            [
                (
                    row.scale,
                    row.shift_px,
                    row.focal_px,
                    row.focal_times_baseline,
                    math.radians(row.roll_deg),
                    row.first_spectrum == "visible",
                    row.second_spectrum == "visible",
                )
                for row in rows
            ],
            np.float32,
        )
        return cls(*(torch.from_numpy(column).view(-1, 1, 1, 1).to(device) for column in columns.T.copy()))


class BothNetworks(nn.Module):
    """Pair in; depth output and the liveness model's answers out."""

    def __init__(self, depth: DepthNetwork, liveness: LivenessNetwork) -> None:
        super().__init__()
        self.depth = depth
        self.liveness = liveness

    def forward(self, first: Tensor, second: Tensor, geometry: Geometry, seed: int) -> tuple[DepthOutput, Answers]:
        """``first``, ``second``: (B, 3, S, S) in 0..1. ``seed``: of the change made to the liveness model's input."""
        output: DepthOutput = self.depth(first, second)
        maps, views = liveness_maps(output.disparity, output.log_scale, first, second, geometry)
        changed = augmented(maps, views, maps[:, :0], torch.Generator().manual_seed(seed))
        return output, self.liveness.answers(*changed[:2])


def train_jointly(
    crops: Crops,
    train: Sequence[int],
    depth: DepthNetwork,
    liveness: LivenessNetwork,
    config: TrainConfig,
    where: Machine,
    log: Log,
) -> tuple[DepthNetwork, LivenessNetwork]:
    """Both networks, trained on from where their own stages left them."""
    stage = config.joint
    sampler = BalancedSampler(crops.rows, train)
    bins = bin_disparity_px(depth.max_shift).view(1, -1, 1, 1).to(where.device)
    model = BothNetworks(depth, liveness).requires_grad_(True)

    def load(step: int) -> tuple[StoredBatch, list[int]]:
        drawn = where.part(sampler.draw(stage.batch, config.seed * 1_000_003 + step))
        return read_batch(crops, drawn), drawn

    def loss(network: nn.Module, item: tuple[StoredBatch, list[int]], step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        stored, drawn = item
        rows = [crops.rows[index] for index in drawn]
        batch = centred(on_device(stored, where), config.crop_px, config.crop_px)
        seed = generator(config.seed, step, where.rank).initial_seed()
        # Statistics of two stages' own batches are kept: a few small steps would only blur them.
        network.apply(_freeze_normalisation)
        output, answers = network(batch.first, batch.second, Geometry.of(rows, where.device), seed)
        target = torch.from_numpy(np.array([row.label == BONA_FIDE for row in rows], np.float32)).to(where.device)
        main = functional.binary_cross_entropy_with_logits(answers.logit, target * 0.98 + 0.01)
        losses = depth_losses(output, batch.disparity, batch.weight, bins)
        # The other heads take no part here, yet every parameter must have a gradient where several processes train.
        total = main + stage.depth_weight * losses.total + 0.0 * (answers.kind.sum() + answers.cells.sum())
        return total, {"loss": main, "face_px": losses.face_error_px}

    recipe = Recipe("joint", stage.steps, stage.learning_rate, 1e-4, 1.0, 0.99, config.seed, config.checkpoint_minutes)
    signature = {"stage": asdict(stage), "seed": config.seed, "rows": len(train), "depth": asdict(config.depth)}
    trained = fit(model, recipe, load, loss, lambda network: {}, config.work, where, log, signature)
    assert isinstance(trained, BothNetworks)
    return trained.depth, trained.liveness


def liveness_maps(
    disparity: Tensor, log_scale: Tensor, first: Tensor, second: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """The liveness model's input, maps (B, M, G, G) and views (B, V, 2G, 2G), from the depth network's output (B, 1, G,
    G) and the crops (B, 3, 2G, 2G)."""
    grid = disparity.shape[-1]
    size = first.shape[-1]
    smallest, largest = geometry.focal_times_baseline / FARTHEST_MM, geometry.focal_times_baseline / NEAREST_MM
    full = torch.minimum(torch.maximum(geometry.shift_px + disparity / geometry.scale, smallest), largest)
    depth_mm = geometry.focal_times_baseline / full
    disparity_sd = log_scale.exp() * math.sqrt(2)
    depth_sd_mm = depth_mm * (disparity_sd / geometry.scale) / full

    face, shown = (torch.from_numpy(face_ellipse(side)).to(disparity.device) for side in (grid, size))
    distance_mm = depth_mm[:, 0][:, face].median(1).values.view(-1, 1, 1, 1)
    side_mm = size / geometry.scale * distance_mm / geometry.focal_px
    fine = functional.interpolate(disparity, size=(size, size), mode="bilinear", align_corners=False)
    laid = warp(second, fine)
    maps = [
        ((depth_mm - distance_mm) / RELATIVE_DEPTH_UNIT_MM).clamp(-3.0, 3.0),
        (depth_sd_mm / 20).clamp(0.0, 3.0),
        (disparity_sd / DISPARITY_SD_UNIT_PX).clamp(0.0, 3.0),
        torch.ones_like(disparity),
    ]
    pictures = []
    swapped = geometry.second_is_visible > geometry.first_is_visible  # as depth.second_leads
    for view in (torch.where(swapped, laid, first), torch.where(swapped, first, laid)):
        level = view[:, :, shown].mean((1, 2)).clamp_min(0.01).view(-1, 1, 1, 1)
        pictures.append((view * (0.5 / level)).clamp(0.0, 2.0))
    turned = _upright(torch.cat(maps, 1), geometry.roll)
    constants = [
        (side_mm / 250).clamp_max(4.0),
        (distance_mm / 1000).clamp_max(4.0),
        torch.maximum(geometry.first_is_visible, geometry.second_is_visible),
        torch.minimum(geometry.first_is_visible, geometry.second_is_visible),
    ]
    planes = torch.cat(constants, 1).expand(-1, -1, grid, grid)
    return torch.cat([turned, planes], 1), _upright(torch.cat(pictures, 1), geometry.roll)


def _upright(maps: Tensor, roll: Tensor) -> Tensor:
    """Turned counter-clockwise by ``roll``; zero where nothing was. Crops that lean less than half a degree stay as
    they are."""
    turn = torch.where(roll.abs() > math.radians(0.5), roll, 0.0).view(-1)
    cosine, sine, none = turn.cos(), turn.sin(), torch.zeros_like(turn)
    matrix = torch.stack([torch.stack([cosine, -sine, none], 1), torch.stack([sine, cosine, none], 1)], 1)
    places = functional.affine_grid(matrix, list(maps.shape), align_corners=False)
    return functional.grid_sample(maps, places, align_corners=False)


def _freeze_normalisation(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
