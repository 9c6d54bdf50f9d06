"""What the depth network is trained for: disparity at three scales, the bins, the raw matching, and an honest
uncertainty.

Targets are disparity maps (B, 1, S, S) in crop px with NaN where nothing was measured; ``weight`` of the same shape
says how much a pixel counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stereolive.nets.depth import STRIDE, DepthOutput

EDGE_PX = 6.0
"""A pooled cell whose disparities differ by more than this straddles an edge: it has no one disparity."""
ROUND_PX = 0.2
"""Errors of less count by their square, those of more by their size: most are of a few tenths of a pixel, and by their
squares they would hardly count beside the few of whole pixels."""


@dataclass(frozen=True)
class DepthLosses:
    """Scalars; ``total`` is what is minimised, the rest is for the log. Errors are in crop px."""

    total: Tensor
    error_px: Tensor  # mean absolute, weighted
    face_error_px: Tensor  # the same over full-weight pixels
    negative_log_likelihood: Tensor
    calibration: Tensor  # mean |error| / b, 1 where the uncertainty is honest


def depth_losses(
    output: DepthOutput, target_px: Tensor, weight: Tensor, bin_disparity: Tensor, measured: Tensor | None = None
) -> DepthLosses:
    """All losses of the depth stage.

    ``target_px``, ``weight`` (B, 1, S, S). Targets beyond the search range are held at its end and count a tenth: a far
    background should be said to be far, no more. ``measured`` (B,), 1 or 0: whose targets were measured, by default
    all; the others teach no uncertainty.
    """
    reach = float(bin_disparity.flatten()[-1])
    beyond = target_px.abs() > reach
    weight = weight * torch.where(beyond, 0.1, 1.0)
    target_px = target_px.clamp(-reach - 2.0, reach + 2.0)
    half, half_weight = pooled(target_px, weight, 2)
    quarter, quarter_weight = pooled(target_px, weight, STRIDE)

    fine = _mean(functional.smooth_l1_loss(output.disparity, half, beta=ROUND_PX, reduction="none"), half_weight)
    middle = _mean(functional.smooth_l1_loss(output.upsampled, half, beta=ROUND_PX, reduction="none"), half_weight)
    coarse = _mean(functional.smooth_l1_loss(output.coarse, quarter, beta=2.0, reduction="none"), quarter_weight)
    bins = _mean(bin_cross_entropy(output.logits, quarter, bin_disparity), quarter_weight)
    shifts = bin_disparity[:, ::2]
    matching = _mean(bin_cross_entropy(output.matching, quarter, shifts), quarter_weight)
    honest_weight = half_weight if measured is None else half_weight * measured.view(-1, 1, 1, 1)
    likelihood = _mean(laplace_nll(output.disparity, output.log_scale, half), honest_weight)

    total = fine + 0.5 * middle + 0.3 * coarse + 0.3 * bins + 0.1 * matching + 0.3 * likelihood
    error = (output.disparity - half).abs().detach()
    sure = half_weight * (half_weight > 0.9)
    return DepthLosses(
        total,
        _mean(error, half_weight),
        _mean(error, sure),
        likelihood.detach(),
        _mean(error / output.log_scale.detach().exp(), half_weight),
    )


def pooled(target_px: Tensor, weight: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Mean target and weight over ``factor`` x ``factor`` cells; no weight where a cell straddles an edge or is mostly
    unmeasured."""
    known = torch.isfinite(target_px)
    filled = torch.where(known, target_px, 0.0)
    share = functional.avg_pool2d(known.to(filled.dtype), factor)
    mean = functional.avg_pool2d(filled, factor) / share.clamp_min(1e-6)
    highest = functional.max_pool2d(torch.where(known, target_px, -1e4), factor)
    lowest = -functional.max_pool2d(torch.where(known, -target_px, -1e4), factor)
    usable = (share > 0.49) & (highest - lowest < EDGE_PX)
    weighed = functional.avg_pool2d(torch.where(known, weight, 0.0), factor) / share.clamp_min(1e-6)
    return torch.where(usable, mean, 0.0), torch.where(usable, weighed, 0.0)


def bin_cross_entropy(logits: Tensor, target_px: Tensor, bin_disparity: Tensor) -> Tensor:
    """Cross-entropy (B, 1, H, W) against the two bins around the target, weighed by nearness.

    Over the integer shifts' raw similarities this is InfoNCE along the row: the matching place against the others.
    """
    step = bin_disparity[:, 1:2] - bin_disparity[:, 0:1]
    soft = (1.0 - (target_px - bin_disparity).abs() / step).clamp_min(0.0)
    # Beyond the outermost bins nothing is near: the outermost one is then the answer.
    soft[:, :1] = torch.where(target_px <= bin_disparity[:, :1], 1.0, soft[:, :1])
    soft[:, -1:] = torch.where(target_px >= bin_disparity[:, -1:], 1.0, soft[:, -1:])
    return -(soft * logits.float().log_softmax(1)).sum(1, keepdim=True)


def laplace_nll(disparity: Tensor, log_scale: Tensor, target_px: Tensor) -> Tensor:
    """Negative log likelihood (B, 1, H, W) of the target under a Laplace distribution, up to log 2.

    The disparity is not pulled by it: the smooth-L1 losses do that, and this one only teaches the uncertainty.
    """
    return (disparity.detach() - target_px).abs() * (-log_scale).exp() + log_scale


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
