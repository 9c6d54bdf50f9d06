"""The depth network: two crops with epipolar lines as rows in, a Laplace distribution over disparity for every pixel
out.

Read from top to bottom: normalise, describe both views, compare them over integer shifts, aggregate, take the
expectation, raise it to half resolution, refine it there. Disparity is ``x_first - x_second`` in pixels of the full
crop throughout, whatever the resolution of a map: nearer is larger.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4  # of the matching features; crop sides must be a multiple of SIDE_MULTIPLE
SIDE_MULTIPLE = 16


class DepthOutput(NamedTuple):
    """What the network says, coarse to fine, with what the losses need of its inside."""

    disparity: Tensor  # (B, 1, S/2, S/2) crop px
    log_scale: Tensor  # (B, 1, S/2, S/2) log of the Laplace scale b in crop px; the standard deviation is sqrt(2) b
    upsampled: Tensor  # (B, 1, S/2, S/2) before the refinement
    coarse: Tensor  # (B, 1, S/4, S/4) expectation over the bins
    logits: Tensor  # (B, N, S/4, S/4) over the bins
    matching: Tensor  # (B, D, S/4, S/4) raw similarity times a learned inverse temperature, over the integer shifts


class DepthNetwork(nn.Module):
    """Hybrid of a 3-D and a 2-D aggregation over a group-wise correlation volume.

    ``max_shift``: the search is ``-max_shift .. max_shift`` quarter-resolution pixels, four crop pixels each.
    ``width``: channels at quarter resolution, a multiple of 16.
    """

    groups = 8
    descriptor_channels = 32

    def __init__(self, width: int = 48, max_shift: int = 6) -> None:
        super().__init__()
        self.width = width
        self.max_shift = max_shift
        self.shifts = 2 * max_shift + 1
        self.bins = 2 * self.shifts - 1
        half_width = 32
        self.stem_first = Stem(half_width)
        self.stem_second = Stem(half_width)
        # Untied, since the two sensors see different things, but equal at the start, so that matching works from the
        # first step.
        self.stem_second.load_state_dict(self.stem_first.state_dict())
        self.trunk = Trunk(half_width, width)
        self.log_temperature = nn.Parameter(torch.full((), 2.3))
        self.volume = VolumeLayers(self.groups, self.shifts)
        self.aggregate = Aggregation(self.volume.channels * self.shifts, width, self.bins)
        self.upsample = ConvexUpsampling(width)
        self.refine = Refinement(half_width, width)
        self.register_buffer("bin_disparity", bin_disparity_px(max_shift).view(1, -1, 1, 1), persistent=False)
        self.bin_disparity: Tensor

    def forward(self, first: Tensor, second: Tensor) -> DepthOutput:
        """``first``, ``second``: (B, 3, S, S) in 0..1, grey repeated."""
        batch = first.shape[0]
        halves = torch.cat([self.stem_first(normalised(first)), self.stem_second(normalised(second))])
        quarters = self.trunk(halves)  # (2B, width, S/4, S/4)
        half_first, half_second = halves[:batch], halves[batch:]
        context, descriptor = quarters[:batch], grouped_unit(quarters[:, : self.descriptor_channels], self.groups)

        correlation = correlate(descriptor[:batch], descriptor[batch:], self.max_shift)  # (B, D, G, S/4, S/4)
        matching = correlation.mean(2) * self.log_temperature.exp()
        aggregated = self.aggregate(self.volume(correlation), context)
        logits = aggregated.logits + between_shifts(matching)
        probability = softmax(logits.float(), 1)
        coarse = (probability * self.bin_disparity).sum(1, keepdim=True)
        spread = ((probability * self.bin_disparity.square()).sum(1, keepdim=True) - coarse.square()).clamp_min(0.0)

        raised = self.upsample(torch.cat([coarse, (spread + 0.01).sqrt()], 1), aggregated.features)
        upsampled, upsampled_spread = raised[:, :1], raised[:, 1:]
        change, log_scale = self.refine(half_first, half_second, upsampled, upsampled_spread, aggregated.features)
        return DepthOutput(upsampled + change, log_scale, upsampled, coarse, logits, matching)


def bin_disparity_px(max_shift: int) -> Tensor:
    """Disparity (bins,) in crop px of the bins: the integer shifts at quarter resolution and their middles."""
    return torch.linspace(-STRIDE * max_shift, STRIDE * max_shift, 4 * max_shift + 1)


def normalised(view: Tensor) -> Tensor:
    """(B, 3, S, S) in 0..1 -> (B, 4, S, S): zero mean and unit deviation a crop, and grey with its local contrast
    evened out.

    The fourth channel lets the dark side of a face under hard light be matched as well as its bright side.
    """
    mean = view.mean((1, 2, 3), keepdim=True)
    deviation = ((view - mean).square().mean((1, 2, 3), keepdim=True) + 1e-4).sqrt()
    grey = view.mean(1, keepdim=True)
    local = functional.avg_pool2d(torch.cat([grey, grey.square()], 1), 8)
    local = functional.avg_pool2d(local, 3, 1, 1, count_include_pad=False)
    local = functional.interpolate(local, scale_factor=8.0, mode="bilinear", align_corners=False)
    local_mean, local_square = local[:, :1], local[:, 1:]
    local_deviation = ((local_square - local_mean.square()).clamp_min(0.0) + 1e-4).sqrt()
    return torch.cat([(view - mean) / deviation, (grey - local_mean) / local_deviation], 1)


def grouped_unit(features: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) -> (B, G, C/G, H, W), unit length within each group."""
    _, channels, height, width = features.shape
    grouped = features.view(-1, groups, channels // groups, height, width).float()
    return grouped * (grouped.square().sum(2, keepdim=True) + 1e-6).rsqrt()


def correlate(first: Tensor, second: Tensor, max_shift: int) -> Tensor:
    """Group-wise correlation of (B, G, C, H, W) over integer shifts -> (B, 2 max_shift + 1, G, H, W).

    Shift ``s`` compares ``first[x]`` with ``second[x - s]``; zero where that lies outside.
    """
    width = first.shape[-1]
    padded = functional.pad(second, (max_shift, max_shift))
    slices = [(first * padded[..., start : start + width]).sum(2) for start in range(2 * max_shift, -1, -1)]
    return torch.stack(slices, 1)


def between_shifts(matching: Tensor) -> Tensor:
    """(B, D, H, W) over integer shifts -> (B, 2D - 1, H, W) with the middles put in."""
    middles = (matching[:, 1:] + matching[:, :-1]) * 0.5
    paired = torch.stack([matching[:, :-1], middles], 2).flatten(1, 2)
    return torch.cat([paired, matching[:, -1:]], 1)


def warp(features: Tensor, disparity_px: Tensor) -> Tensor:
    """The second view's features (B, C, H, W) laid onto the first view by disparity (B, 1, H, W) in pixels of these
    maps; zero outside."""
    height, width = features.shape[2], features.shape[3]
    # cumsum instead of arange keeps the exported graph free of the traced size.
    ones = torch.ones_like(disparity_px)
    x = ones.cumsum(3) - 0.5 - disparity_px
    y = ones.cumsum(2) - 0.5
    grid = torch.cat([x * (2.0 / width) - 1.0, y * (2.0 / height) - 1.0], 1).permute(0, 2, 3, 1)
    return functional.grid_sample(features.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def softmax(values: Tensor, axis: int) -> Tensor:
    """Softmax written out: runtimes transpose for theirs wherever ``axis`` is not the last."""
    raised = (values - values.detach().amax(axis, keepdim=True)).exp()
    return raised / raised.sum(axis, keepdim=True)


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation (folded into it on export), ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def start_as_identity(self) -> None:
        """What comes in (nothing below zero) goes out, until training changes that (Goyal et al., "Accurate, large
        minibatch SGD", 2017)."""
        for entry in self.body[-1].parameters():
            nn.init.zeros_(entry)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return functional.relu(x + self.body(x))


class Stem(nn.Module):
    """(B, 4, S, S) -> (B, C, S/2, S/2); nothing runs at full resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # An even kernel keeps the half-resolution pixel in the middle of its 2 x 2 crop pixels, which sub-pixel
        # accuracy needs.
        self.enter = nn.Sequential(nn.Conv2d(4, 16, 6, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.body = convolution(16, channels)

    def forward(self, view: Tensor) -> Tensor:
        features: Tensor = self.body(self.enter(view))
        return features


class Trunk(nn.Module):
    """(B, half_width, S/2, S/2) -> (B, width, S/4, S/4), shared by both views; sees some 60 crop pixels around."""

    def __init__(self, half_width: int, width: int) -> None:
        super().__init__()
        self.down = convolution(half_width, width, stride=2)
        self.local = Residual(width)
        self.wide = nn.Sequential(convolution(width, width, stride=2), Residual(width))
        self.join = nn.Conv2d(2 * width, width, 1)

    def forward(self, half: Tensor) -> Tensor:
        local = self.local(self.down(half))
        wide = functional.interpolate(self.wide(local), scale_factor=2.0, mode="bilinear", align_corners=False)
        features: Tensor = self.join(torch.cat([local, wide], 1))
        return features


class VolumeLayers(nn.Module):
    """A 2 x 3 x 3 and a 2 x 1 x 1 layer over (B, D, G, H, W) -> (B, D * channels, H, W).

    Each is written as a 2-D convolution over two neighbouring shifts put side by side: the same sum, but with the fast
    2-D kernels of every runtime. Two in the direction of the shifts: the first layer's planes lie between the integer
    shifts.
    """

    channels = 8

    def __init__(self, groups: int, shifts: int) -> None:
        super().__init__()
        self.shifts = shifts
        self.layer_1 = convolution(2 * groups, 16)
        self.layer_2 = convolution(2 * 16, self.channels, kernel=1)

    def forward(self, volume: Tensor) -> Tensor:
        padded = functional.pad(volume, (0, 0, 0, 0, 0, 0, 1, 1))
        between = self.layer_1(torch.cat([padded[:, :-1], padded[:, 1:]], 2).flatten(0, 1))
        between = between.view(-1, self.shifts + 1, between.shape[1], between.shape[2], between.shape[3])
        layered: Tensor = self.layer_2(torch.cat([between[:, :-1], between[:, 1:]], 2).flatten(0, 1))
        return layered.view(-1, self.shifts * self.channels, layered.shape[2], layered.shape[3])


class AggregationOutput(NamedTuple):
    logits: Tensor  # (B, bins, S/4, S/4)
    features: Tensor  # (B, width, S/4, S/4)


class Aggregation(nn.Module):
    """A small 2-D U over the volume's layers and the first view; starts as "add nothing to the matching logits"."""

    def __init__(self, volume_channels: int, width: int, bins: int) -> None:
        super().__init__()
        self.enter = convolution(volume_channels + width, width, kernel=1)
        self.level_4 = Residual(width)
        self.level_8 = nn.Sequential(convolution(width, 64, stride=2), Residual(64))
        self.level_16 = nn.Sequential(convolution(64, 96, stride=2), Residual(96))
        self.join_8 = convolution(64 + 96, 64)
        self.reduce_8 = nn.Conv2d(64, width, 1)
        self.join_4 = convolution(width, width)
        self.logits = nn.Conv2d(width, bins, 1)
        nn.init.zeros_(self.logits.weight)
        assert self.logits.bias is not None
        nn.init.zeros_(self.logits.bias)

    def forward(self, volume: Tensor, context: Tensor) -> AggregationOutput:
        level_4 = self.level_4(self.enter(torch.cat([volume, context.to(volume.dtype)], 1)))
        level_8 = self.level_8(level_4)
        level_16 = self.level_16(level_8)
        joined_8 = self.join_8(torch.cat([level_8, doubled(level_16)], 1))
        features = self.join_4(level_4 + doubled(self.reduce_8(joined_8)))
        return AggregationOutput(self.logits(features), features)


def doubled(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), bilinear."""
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


class ConvexUpsampling(nn.Module):
    """Doubles maps as learned convex combinations of 3 x 3 neighbours (Teed and Deng, "RAFT", 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(width, 4 * 9, 1)

    def forward(self, maps: Tensor, features: Tensor) -> Tensor:
        """``maps`` (B, M, H, W), ``features`` (B, width, H, W) -> (B, M, 2H, 2W)."""
        height, width = maps.shape[2], maps.shape[3]
        weights = softmax(self.weights(features).float().unflatten(1, (4, 9)), 2)  # (B, 4, 9, H, W)
        padded = functional.pad(maps, (1, 1, 1, 1), mode="replicate")
        neighbours = torch.stack(
            [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)], 2
        )  # (B, M, 9, H, W)
        raised = [(weights * neighbours[:, m : m + 1]).sum(2) for m in range(maps.shape[1])]
        return functional.pixel_shuffle(torch.cat(raised, 1), 2)


class Refinement(nn.Module):
    """Corrects the disparity at half resolution by what still differs once the second view is laid onto the first."""

    reach = 2  # half-resolution pixels looked to either side
    groups = 2
    channels = 16

    def __init__(self, half_width: int, width: int) -> None:
        super().__init__()
        self.describe = nn.Conv2d(half_width, self.channels, 1)
        self.context = nn.Conv2d(width, 5, 1)
        # 32 channels in: a multiple of 16 is what vector units like.
        entering = self.channels + 5 + self.groups * (2 * self.reach + 1) + 1
        self.body = nn.Sequential(
            convolution(entering, 32), convolution(32, 32, dilation=2), convolution(32, 32, dilation=4)
        )
        self.out = nn.Conv2d(32, 2, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(
        self, half_first: Tensor, half_second: Tensor, disparity: Tensor, spread: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps at (S/2, S/2), ``features`` at (S/4, S/4) -> change of the disparity and log of the Laplace scale, crop
        px."""
        # What the warp does to the disparity must not steer the coarse stages: only its own loss does.
        disparity, log_spread = disparity.detach(), spread.detach().log()
        first = self.describe(half_first)
        second = warp(self.describe(half_second), disparity * 0.5)
        similarity = correlate(grouped_unit(first, self.groups), grouped_unit(second, self.groups), self.reach).flatten(
            1, 2
        )
        context = doubled(self.context(features))
        out = self.out(self.body(torch.cat([first, context, similarity, log_spread], 1))).float()
        # The spread of the bins never falls far below a bin's width, so half of its logarithm is the better starting
        # point.
        return out[:, :1], (0.5 * log_spread + out[:, 1:]).clamp(-5.0, 4.0)
