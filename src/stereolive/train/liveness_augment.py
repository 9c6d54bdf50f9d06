"""Changes made to a batch of the liveness model's inputs before it is trained on.

Other poses, depths, skins and cameras leave a presentation what it is; another person's view, another moment's, a piece
of an attack, or something before half of it makes a living face none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from stereolive.depth import DISPARITY_SD_UNIT_PX, LIVENESS_MAPS, RELATIVE_DEPTH_UNIT_MM, face_ellipse

DEPTH_ERROR_MM = 2.0
"""Of the smooth error that training adds to the depth network's own."""
STRANGERS_SHARE = 0.08
"""How many of the living faces get another person's second view."""
MOMENTS_SHARE = 0.04
"""How many of the living faces get a second view of another moment."""
MOMENTS_APART = (0.22, 0.7)
"""Logarithm of the factor by which the distance is then wrong: beyond what small and large heads differ by."""
MATCHED_SD_PX = 2.0
"""Up to this deviation of the disparity, in crop px over the face, two views say at what distance it is."""
PATCHED_SHARE = 0.12
"""How many of the living faces get a patch of an attack."""
HALVED_SHARE = 0.05
"""How many of the living faces get something flat before half of them."""
HALVED_DEPTH_ERROR_MM = 20.0
"""Of the smooth error there, where no view shows anything to match."""
PATCH_BEFORE_FACE_MM = 8.0
"""How far before the skin such a patch may stand."""
SURROUNDINGS_SHARE = 0.2
"""How many presentations get the surroundings of another."""
SPECTRA = [LIVENESS_MAPS.index(name) for name in ("lead_is_visible", "other_is_visible")]
LOCAL_MAPS = ("relative_depth", "depth_sd", "disparity_sd")
"""The maps that say something of each place."""
UNKNOWN_KIND = -100
"""What ``cross_entropy`` leaves out."""
GRAINED_SHARE, GRAIN = 0.25, 0.06
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
    tone, detail, saturation = normal(0.3).exp(), normal(0.4).exp(), normal(0.2).exp()
    white = torch.rand((count, 1, 1, 1), generator=draw) * 1.1 + 0.4
    noise_level = torch.rand((count, 1, 1, 1), generator=draw) * 0.03
    light = normal(0.3, 1, 3, 3)
    chosen = some(0.4)
    views[chosen] = 0.5 * (2 * views[chosen]).pow(tone[chosen])
    chosen = some(0.25)
    smooth = functional.interpolate(functional.avg_pool2d(views[chosen], 4), views.shape[2:], mode="bilinear")
    views[chosen] = smooth + detail[chosen] * (views[chosen] - smooth)
    chosen = some(0.25)
    grey = views[chosen].mean(1, keepdim=True)
    views[chosen] = grey + saturation[chosen] * (views[chosen] - grey)
    chosen = some(0.35)
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


def with_strangers(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with another person's second view, of a sensor of the same kind, which is no presentation of
    one living face: what both views show must be one thing."""
    views, bona_fide = batch.views.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    for index in _drawn_living(batch, STRANGERS_SHARE, draw):
        others = _seen_alike(batch, index) & (batch.bona_fide > 0.5)
        others[index] = False
        other = _one_of(others, draw)
        if other is not None:
            views[index, 3:] = batch.views[other, 3:]
            bona_fide[index], shares[index], kind[index] = 0.0, 0.0, UNKNOWN_KIND
    return LivenessBatch(batch.maps, views, shares, bona_fide, kind)


def with_moments(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with a second view of another moment, between which and the first the face moved along the
    rows: all matches as before, but at a distance that the face is too small or too large for.

    A move adds the same to each disparity, ``1 / Z' = 1 / Z + c``; the deviation of Z goes with its square.
    """
    maps, bona_fide = batch.maps.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    relative, sd, side, distance = (
        LIVENESS_MAPS.index(name) for name in ("relative_depth", "depth_sd", "side", "distance")
    )
    face = torch.from_numpy(face_ellipse(maps.shape[-1]))
    doubts = maps[:, LIVENESS_MAPS.index("disparity_sd")][:, face].median(1).values * DISPARITY_SD_UNIT_PX
    least, most = MOMENTS_APART
    for index in _drawn_living(batch, MOMENTS_SHARE, draw):
        if doubts[index] > MATCHED_SD_PX:
            continue
        size, way = torch.rand(2, generator=draw).tolist()
        factor = math.exp((least + (most - least) * size) * (1 if way < 0.5 else -1))
        middle = maps[index, distance, 0, 0] * 1000 / RELATIVE_DEPTH_UNIT_MM
        before = (middle + maps[index, relative]).clamp_min(1.0)
        after = 1 / (1 / before + (1 / factor - 1) / middle).clamp_min(1e-4)
        maps[index, relative] = (after - factor * middle).clamp(-3, 3)
        maps[index, sd] = (maps[index, sd] * (after / before).square()).clamp(0, 3)
        maps[index, [side, distance]] = (maps[index, [side, distance]] * factor).clamp_max(4.0)
        bona_fide[index], shares[index], kind[index] = 0.0, 0.0, UNKNOWN_KIND
    return LivenessBatch(maps, batch.views, shares, bona_fide, kind)


def with_halves(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with something flat and bare before about half of them, in both views: a hand, a sheet, or
    what a sensor put there. What is to be judged must be seen."""
    maps, views, bona_fide = batch.maps.clone(), batch.views.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    depth = LIVENESS_MAPS.index("relative_depth")
    deviations = [LIVENESS_MAPS.index(name) for name in ("depth_sd", "disparity_sd")]
    for index in _drawn_living(batch, HALVED_SHARE, draw):
        fine = _half(views.shape[-1], draw)
        coarse = functional.avg_pool2d(fine[None], 2)[0]
        for sensor in (slice(0, 3), slice(3, 6)):
            level, noise, tinted = torch.rand(3, generator=draw).tolist()
            colour = (views[index, sensor] * fine).sum((1, 2)) / fine.sum().clamp_min(1.0)
            colour = colour if tinted < 0.5 else colour.mean().expand(3)
            grain = torch.randn(fine.shape, generator=draw) * 0.05 * noise
            flat = (colour.view(3, 1, 1) * (0.5 + 0.7 * level) + grain).clamp(0, 2)
            views[index, sensor] += fine * (flat - views[index, sensor])
        error = _normal(1, draw, HALVED_DEPTH_ERROR_MM / RELATIVE_DEPTH_UNIT_MM, 1, 5, 5)
        error = functional.interpolate(error, coarse.shape, mode="bicubic", align_corners=True)[0, 0]
        less_certain = math.exp(1.4 * float(torch.rand((), generator=draw)))
        maps[index, depth] += coarse * error
        maps[index, deviations] *= 1 + coarse * (less_certain - 1)
        shares[index] *= 1 - coarse
        bona_fide[index], kind[index] = 0.0, UNKNOWN_KIND
    return LivenessBatch(maps, views, shares, bona_fide, kind)


def with_patches(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some living faces with a piece of an attack before them, as both sensors of the same kinds show it there, in its
    own shape: more patches, of more materials, than anybody can render."""
    maps, views, bona_fide = batch.maps.clone(), batch.views.clone(), batch.bona_fide.clone()
    shares, kind = batch.shares.clone(), batch.kind.clone()
    depth, inside = LIVENESS_MAPS.index("relative_depth"), LIVENESS_MAPS.index("inside")
    local = [LIVENESS_MAPS.index(name) for name in LOCAL_MAPS]
    for index in _drawn_living(batch, PATCHED_SHARE, draw):
        fine = _patch(views.shape[-1], draw)
        coarse = functional.avg_pool2d(fine[None], 2)[0]
        # Of an attack's own surface all through: what a partial attack leaves free is living skin.
        pure = (batch.shares[:, 0] * coarse).sum((1, 2)) > 0.9 * coarse.sum()
        donor = _one_of(pure & _seen_alike(batch, index), draw)
        if donor is None:
            continue
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


def with_surroundings(batch: LivenessBatch, draw: torch.Generator) -> LivenessBatch:
    """Some faces with the hair, clothes and room of another presentation, of either label: what lives is told by the
    face, since others' hair, clothes and rooms are none that training shows."""
    maps, views, shares = batch.maps.clone(), batch.views.clone(), batch.shares.clone()
    local = [LIVENESS_MAPS.index(name) for name in LOCAL_MAPS]
    for index in range(len(maps)):
        if torch.rand((), generator=draw) >= SURROUNDINGS_SHARE:
            continue
        others = _seen_alike(batch, index)
        others[index] = False
        other = _one_of(others, draw)
        if other is None:
            continue
        across, down, corners, edge = torch.rand(4, generator=draw).tolist()
        fine = 1 - _blob(views.shape[-1], (0.0, 0.0), (0.25 + 0.08 * across, 0.31 + 0.1 * down), corners / 4, edge)
        coarse = functional.avg_pool2d(fine[None], 2)[0]
        maps[index, local] += coarse * (batch.maps[other, local] - batch.maps[index, local])
        views[index] += fine * (batch.views[other] - batch.views[index])
        shares[index] += coarse * (batch.shares[other] - batch.shares[index])
    return LivenessBatch(maps, views, shares, batch.bona_fide, batch.kind)


def _drawn_living(batch: LivenessBatch, share: float, draw: torch.Generator) -> Iterator[int]:
    """Which living faces a change falls on; each is drawn when it is asked for."""
    for index in range(len(batch.bona_fide)):
        if batch.bona_fide[index] > 0.5 and torch.rand((), generator=draw) < share:
            yield index


def _seen_alike(batch: LivenessBatch, index: int) -> Tensor:
    """Which presentations (B,) sensors of the same kinds saw."""
    spectra = batch.maps[:, SPECTRA, 0, 0]
    return (spectra == spectra[index]).all(1)


def _one_of(candidates: Tensor, draw: torch.Generator) -> int | None:
    """One of those that are true of ``candidates`` (B,), if any is."""
    places = candidates.nonzero()[:, 0]
    return int(places[int(torch.randint(len(places), (), generator=draw))]) if len(places) else None


def _patch(side: int, draw: torch.Generator) -> Tensor:
    """Where a patch is (S, S), 0 to 1: over eyes, nose, mouth or cheek."""
    middle_x, middle_y, across, down, corners, edge = torch.rand(6, generator=draw).tolist()
    middle = 0.3 * (middle_x - 0.5), 0.4 * (middle_y - 0.5)
    return _blob(side, middle, (0.09 + 0.18 * across, 0.07 + 0.14 * down), corners, edge)


def _half(side: int, draw: torch.Generator) -> Tensor:
    """Where something before the left, right, upper or lower half of the face is (S, S), 0 to 1."""
    way, reach, across, edge = torch.rand(4, generator=draw).tolist()
    # Its inner edge lies up to a twelfth of the side before or behind the middle.
    half = 0.16 + 0.1 * reach
    middle = half + (across - 0.5) / 6
    middles = ((middle, 0.0), (-middle, 0.0), (0.0, middle), (0.0, -middle))
    return _blob(side, middles[int(4 * way) % 4], (half, 0.36) if way < 0.5 else (0.36, half), 4.0, edge / 4)


def _blob(
    side: int, middle: tuple[float, float], half_axes: tuple[float, float], corners: float, edge: float
) -> Tensor:
    """(S, S), 1 inside and 0 outside: an ellipse about ``middle`` or, the nearer ``corners`` is to 1, a rectangle; the
    nearer ``edge`` is to 1, the softer. Places and sizes are shares of the side, from its middle."""
    steps = (torch.arange(side) + 0.5) / side - 0.5
    x = (steps[None, :] - middle[0]) / half_axes[0]
    y = (steps[:, None] - middle[1]) / half_axes[1]
    power = 2 + 6 * corners
    distance = (x.abs() ** power + y.abs() ** power) ** (1 / power)
    return torch.sigmoid((1 - distance) / (0.02 + 0.08 * edge))


def _normal(count: int, draw: torch.Generator, deviation: float, *shape: int) -> Tensor:
    """One a sample: (count, *shape), by default (count, 1, 1, 1)."""
    return torch.randn((count, *(shape or (1, 1, 1))), generator=draw) * deviation
