"""Changes made to a batch of stored crops before the depth network sees them, on whatever device the batch lies.

Geometry keeps the relation of both views exact: a disparity map always fits the pair that comes with it. Appearance is
changed for each view by itself, since two sensors see two different pictures; how far, grows over the training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stereolive.nets.depth import doubled

FACE_RADIUS = 0.4
"""Of the network's crop side: within this distance of the stored crop's centre a pixel counts in full."""
BACKGROUND_WEIGHT = 0.3
SPOTS_PX = (2, 4, 8)
"""Sizes of the spots that one sensor alone sees on skin."""
BURNT_SHARE, MOST_GAIN = 0.15, 6.0
"""How many views are exposed so long that much of them is white, and by which gain at most."""
RELIEF_CELL_PX = 4
"""Lamps shade cells of so many pixels: what the disparity's rounding does to its slope averages out there."""


@dataclass(frozen=True)
class StoredBatch:
    """Crops as ``data.crops`` stores them, T pixels wide, larger than what the network sees."""

    first: Tensor  # (B, T, T, 3) uint8
    second: Tensor  # (B, T, T, 3) uint8
    disparity: Tensor  # (B, T, T) float16, crop px, NaN where not known
    measured: Tensor  # (B,) whether the disparity was measured; else the depth network said it itself
    relief: Tensor  # (B,) pixels of depth that a pixel of disparity is: distance over baseline


@dataclass(frozen=True)
class DepthBatch:
    """What the depth stage trains on."""

    first: Tensor  # (B, 3, S, S) in 0..1
    second: Tensor  # (B, 3, S, S) in 0..1
    disparity: Tensor  # (B, 1, S, S) crop px, NaN where not measured
    weight: Tensor  # (B, 1, S, S)


def centred(batch: StoredBatch, side_px: int, crop_px: int) -> DepthBatch:
    """The middle ``side_px`` of the stored crops, unchanged: what validation looks at."""
    stored = batch.first.shape[1]
    start = (stored - side_px) // 2
    window = slice(start, start + side_px)
    first, second = (
        view[:, window, window].permute(0, 3, 1, 2).float() / 255.0 for view in (batch.first, batch.second)
    )
    disparity = batch.disparity[:, None, window, window].float()
    steps = torch.arange(side_px, device=disparity.device) + start - (stored - 1) / 2
    weight = _face_weight(steps[None, None, None, :], steps[None, None, :, None], crop_px)
    return DepthBatch(first, second, disparity, weight.expand_as(disparity))


def augmented(
    batch: StoredBatch, side_px: int, crop_px: int, strength: float, generator: torch.Generator
) -> DepthBatch:
    """A random ``side_px`` window of each stored crop with changed geometry and appearance.

    ``crop_px`` is the side that the network sees in use; ``strength`` from 0 to 1 scales the change of appearance.
    """
    moved = _moved(batch, side_px, crop_px, generator)
    lit_first, lit_second = _relit(moved, batch.relief, strength, generator)
    draw = _Draw(len(batch.relief), batch.first.device, generator)
    # A view is changed now hardly and now in full: what matches without a guess teaches the tenths of a pixel.
    first = _appearance(lit_first, draw.uniform(0.2, 1.0) * strength, generator)
    second = _appearance(lit_second, draw.uniform(0.2, 1.0) * strength, generator)
    second = _partly_hidden(second, strength, generator)
    disparity = _as_measured(moved.disparity, generator)
    return DepthBatch(first, second, disparity, moved.weight)


class _Draw:
    """Random numbers of shape (B, 1, 1, 1), one a sample, drawn on the CPU so that every device sees the same."""

    def __init__(self, batch: int, device: torch.device, generator: torch.Generator) -> None:
        self.shape = (batch, 1, 1, 1)
        self.device = device
        self.generator = generator

    def uniform(self, low: float, high: float) -> Tensor:
        return (torch.rand(self.shape, generator=self.generator) * (high - low) + low).to(self.device)

    def normal(self, deviation: float | Tensor) -> Tensor:
        return torch.randn(self.shape, generator=self.generator).to(self.device) * deviation

    def chance(self, probability: float | Tensor) -> Tensor:
        """1 with this probability, else 0."""
        return (torch.rand(self.shape, generator=self.generator).to(self.device) < probability).float()

    def field(self, cells: int, side_px: int, channels: int = 1) -> Tensor:
        """(B, channels, side, side) smooth normal noise with about ``cells`` bumps along a side."""
        coarse = torch.randn((self.shape[0], channels, cells, cells), generator=self.generator).to(self.device)
        return functional.interpolate(coarse, (side_px, side_px), mode="bicubic", align_corners=True)

    def noise(self, like: Tensor, channels: int) -> Tensor:
        values = torch.randn((like.shape[0], channels, *like.shape[2:]), generator=self.generator)
        return values.to(self.device)


def _face_weight(x: Tensor, y: Tensor, crop_px: int) -> Tensor:
    inside = (x.square() + y.square()) < (FACE_RADIUS * crop_px) ** 2
    return torch.where(inside, 1.0, BACKGROUND_WEIGHT)


def _moved(batch: StoredBatch, side_px: int, crop_px: int, generator: torch.Generator) -> DepthBatch:
    """Window, scale, upside down, another coarse shift, and a rig that is no longer quite calibrated."""
    count, stored = batch.first.shape[:2]
    device = batch.first.device
    draw = _Draw(count, device, generator)
    scale = draw.normal(0.08).exp().clamp(0.8, 1.25)
    # Windows may leave the stored crop by a tenth of their side: what lies there is unknown, as it is beyond an image's
    # border.
    free = ((stored - side_px / scale) / 2 + 0.1 * side_px).clamp_min(0.0)
    free = free.clamp_max(0.25 * crop_px)
    center_x, center_y = draw.uniform(-1, 1) * free, draw.uniform(-1, 1) * free
    upside_down = 1.0 - 2.0 * draw.chance(0.3)
    offset = draw.normal(4.0).clamp(-12.0, 12.0)

    steps = torch.arange(side_px, device=device) - (side_px - 1) / 2
    u, v = steps[None, None, None, :], steps[None, None, :, None]
    middle = (stored - 1) / 2
    x = middle + center_x + u / scale
    y = middle + center_y + upside_down * v / scale
    # Calibration drifts: the second view's rows are shifted, scaled and sheared by about half a pixel over the crop.
    y_second = y + draw.normal(0.35) + draw.normal(0.003) * v + draw.normal(0.003) * u
    x_second = (x + offset).expand_as(y_second)
    x, y = x.expand_as(y_second), y.expand_as(y_second)

    first = _sampled(batch.first.permute(0, 3, 1, 2).float() / 255.0, x, y)
    second = _sampled(batch.second.permute(0, 3, 1, 2).float() / 255.0, x_second, y_second)
    stored_disparity = batch.disparity[:, None].float()
    known = torch.isfinite(stored_disparity)
    both = torch.cat([torch.where(known, stored_disparity, 0.0), known.float()], 1)
    both = _sampled(both, x, y)
    disparity = torch.where(both[:, 1:] > 0.999, (both[:, :1] + offset) * scale, float("nan"))
    weight = _face_weight(x - middle, y - middle, crop_px)
    return DepthBatch(first, second, disparity, weight)


def _sampled(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Maps (B, C, T, T) at pixel coordinates (B, 1, S, S); zero outside."""
    side = maps.shape[-1]
    grid = torch.cat([(x + 0.5) * (2.0 / side) - 1.0, (y + 0.5) * (2.0 / side) - 1.0], 1).permute(0, 2, 3, 1)
    return functional.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _relit(moved: DepthBatch, relief: Tensor, strength: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both views, each now and then under one more lamp, which shades the surface that the disparity tells of.

    A lamp of one spectrum is seen by one of two sensors alone, and what it shades must not be taken for what matches.
    """
    draw = _Draw(len(relief), moved.disparity.device, generator)
    disparity = _on_cells(moved.disparity)
    normals = _normals(disparity, relief)

    def lamp() -> Tensor:
        turned, off_axis = draw.uniform(0.0, 2 * math.pi), draw.uniform(0.2, 1.5)
        direction = torch.cat([turned.cos() * off_axis.sin(), turned.sin() * off_axis.sin(), off_axis.cos()], 1)
        power = draw.chance(0.4) * draw.uniform(0.0, 3.0) * strength
        return (1.0 + power * (normals * direction).sum(1, keepdim=True).clamp_min(0.0)) / (1.0 + 0.5 * power)

    on_first, on_second = lamp(), _as_second_sees(lamp(), disparity / RELIEF_CELL_PX)
    size = moved.disparity.shape[-2:]
    first = moved.first * functional.interpolate(on_first, size, mode="bilinear", align_corners=False)
    second = moved.second * functional.interpolate(on_second, size, mode="bilinear", align_corners=False)
    return first, second


def _on_cells(disparity: Tensor) -> Tensor:
    """Smoothed disparity (B, 1, S / RELIEF_CELL_PX, S / RELIEF_CELL_PX); the mean where none is known."""
    known = torch.isfinite(disparity)
    both = torch.cat([torch.where(known, disparity, 0.0), known.to(disparity.dtype)], 1)
    sums = functional.avg_pool2d(functional.avg_pool2d(both, RELIEF_CELL_PX), 3, 1, 1)
    value, share = sums[:, :1], sums[:, 1:]
    mean = value.sum((2, 3), keepdim=True) / share.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return torch.where(share > 0.05, value / share.clamp_min(1e-6), mean)


def _normals(disparity: Tensor, relief: Tensor) -> Tensor:
    """Unit normals (B, 3, H, W), x right, y down, z towards the sensor, of what has this disparity in px on cells."""
    padded = functional.pad(disparity, (1, 1, 1, 1), mode="replicate")
    # What is nearer has the larger disparity.
    height = padded * (relief.view(-1, 1, 1, 1) / (2 * RELIEF_CELL_PX))
    x = height[:, :, 1:-1, :-2] - height[:, :, 1:-1, 2:]
    y = height[:, :, :-2, 1:-1] - height[:, :, 2:, 1:-1]
    return functional.normalize(torch.cat([x, y, torch.ones_like(x)], 1))


def _as_second_sees(maps: Tensor, disparity: Tensor) -> Tensor:
    """Maps (B, C, S, S) on the first view's grid laid onto the second's, by the first's disparity (B, 1, S, S) in their
    pixels."""
    side = maps.shape[-1]
    steps = torch.arange(side, device=maps.device, dtype=maps.dtype)
    x, y = steps[None, None, None, :].expand_as(disparity), steps[None, None, :, None].expand_as(disparity)
    # What the second shows at x lies in the first at x + disparity, which is known there: three steps find it.
    found = disparity
    for _ in range(3):
        found = _sampled(disparity, (x + found).clamp(0, side - 1), y)
    return _sampled(maps, (x + found).clamp(0, side - 1), y)


def _appearance(view: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Another sensor, light and exposure for a view (B, 3, S, S) in 0..1, each changed by its ``strength``
    (B, 1, 1, 1)."""
    side = view.shape[-1]
    draw = _Draw(view.shape[0], view.device, generator)
    # Colours: mixed, weighed anew, or lost.
    grey = view.mean(1, keepdim=True)
    lost = torch.maximum(draw.chance(0.15), draw.uniform(-1.0, 0.6) * strength).clamp(0.0, 1.0)
    view = view + (grey - view) * lost
    gains = (torch.randn((view.shape[0], 3, 1, 1), generator=generator).to(view.device) * 0.2 * strength).exp()
    view = view * gains
    # Light that falls on the scene differently, seen from another place or at another wavelength.
    view = view * (draw.field(4, side) * draw.uniform(0.0, 0.5) * strength).exp()
    view = view * (draw.field(12, side) * draw.chance(0.3) * draw.uniform(0.0, 0.25) * strength).exp()
    # Blood and pigment that the other sensor's light passes through.
    for spot_px in SPOTS_PX:
        spots = draw.field(side // spot_px, side) * draw.chance(0.3)
        view = view * (spots * draw.uniform(0.0, 0.35) * strength).exp()
    steps = torch.linspace(-1, 1, side, device=view.device)
    radius_square = steps[None, None, None, :].square() + steps[None, None, :, None].square()
    view = view * (1.0 - draw.chance(0.2) * draw.uniform(0.0, 0.35) * strength * radius_square)
    bands = (steps[None, None, :, None] * draw.uniform(3.0, 30.0) + draw.uniform(0.0, 2 * math.pi)).sin()
    view = view * (1.0 + draw.chance(0.1) * draw.uniform(0.0, 0.25) * strength * bands)
    # Exposure and tone.
    view = view * draw.normal(0.35 * strength).exp() + draw.normal(0.03 * strength)
    view = view.clamp(1e-4, 1.0).pow(draw.normal(0.3 * strength).exp())
    wave = (view * draw.uniform(1.0, 9.0) + draw.uniform(0.0, 2 * math.pi)).sin()
    view = view + draw.chance(0.35) * draw.uniform(0.0, 0.15) * strength * wave
    inverted = draw.chance(0.04 * strength)
    view = view + inverted * (1.0 - 2.0 * view)
    white = draw.chance(BURNT_SHARE) * draw.uniform(0.05, 0.6) * strength
    view = torch.where(white > 0, view / _level(view, 1.0 - white).clamp(1.0 / MOST_GAIN, 1.0), view)
    # Optics, then the sensor's noise.
    view = _blurred(view, draw.chance(0.4) * draw.uniform(0.0, 1.4) * (0.3 + 0.7 * strength))
    level = draw.uniform(0.0, 0.02) + draw.chance(0.25) * draw.uniform(0.0, 0.07) * strength
    coloured = draw.chance(0.5)
    noise = coloured * draw.noise(view, 3) + (1.0 - coloured) * draw.noise(view, 1)
    view = view + noise * level * (view.clamp(0.0, 1.0) + 0.1).sqrt()
    # In the dark the noise is as strong as all that the view shows.
    contrast = view.mean(1, keepdim=True).std((1, 2, 3), keepdim=True)
    grain = draw.noise(view, 1)
    coarse = doubled(functional.avg_pool2d(grain, 2) * 2.0)
    grain = torch.where(draw.chance(0.5) > 0, coarse, grain)
    view = view + grain * contrast * draw.chance(0.2) * draw.uniform(0.0, 1.2) * strength
    return ((view.clamp(0.0, 1.0) * 255.0).round() / 255.0).contiguous()


def _level(view: Tensor, share: Tensor) -> Tensor:
    """The brightness (B, 1, 1, 1) below which ``share`` (B, 1, 1, 1) of each view's pixels lie."""
    ordered = view.mean(1).flatten(1).sort(1).values
    place = (share.flatten(1) * (ordered.shape[1] - 1)).long()
    return ordered.gather(1, place).view(-1, 1, 1, 1)


def _blurred(view: Tensor, sigma_px: Tensor) -> Tensor:
    """Each sample of (B, 3, S, S) with its own Gaussian of ``sigma_px`` (B, 1, 1, 1), five pixels wide."""
    count, channels, height, width = view.shape
    steps = torch.arange(-2, 3, device=view.device, dtype=view.dtype)
    kernel = (-0.5 * (steps / sigma_px.view(-1, 1).clamp_min(0.1)).square()).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = functional.pad(view.reshape(1, count * channels, height, width), (2, 2, 2, 2), mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    return flat.view(count, channels, height, width)


def _partly_hidden(second: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Now and then something covers a part of the second view, or it shows nothing at all: what the uncertainty is
    for."""
    count, _, side, _ = second.shape
    draw = _Draw(count, second.device, generator)
    steps = torch.arange(side, device=second.device)
    extent = draw.uniform(0.1, 0.45) * side
    x, y = draw.uniform(0.0, 1.0) * side, draw.uniform(0.0, 1.0) * side
    inside = ((steps[None, None, None, :] - x).abs() < extent / 2) & (
        (steps[None, None, :, None] - y).abs() < extent / 2
    )
    cover = inside.float() * draw.chance(0.08 * strength)
    cover = torch.maximum(cover, draw.chance(0.02 * strength).expand_as(cover))
    plain = (draw.uniform(0.0, 0.8) + 0.02 * draw.noise(second, 1)).clamp(0.0, 1.0)
    return second + cover * (plain - second)


def _as_measured(disparity: Tensor, generator: torch.Generator) -> Tensor:
    """Holes and noise such as depth cameras have."""
    side = disparity.shape[-1]
    draw = _Draw(disparity.shape[0], disparity.device, generator)
    holes = (draw.field(8, side) > draw.uniform(1.5, 3.0)) & (draw.chance(0.3) > 0)
    noisy = disparity + 0.03 * draw.noise(disparity, 1)
    return torch.where(holes, float("nan"), noisy)
