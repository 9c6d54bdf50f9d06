"""What a liveness batch becomes before it is trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS, face_ellipse
from stereolive.train.liveness_augment import (
    MOMENTS_APART,
    PATCH_BEFORE_FACE_MM,
    UNKNOWN_KIND,
    LivenessBatch,
    augmented,
    grained,
    other_cameras,
    with_halves,
    with_moments,
    with_patches,
    with_strangers,
    with_surroundings,
)


def test_changed_inputs_keep_their_constants_and_differ() -> None:
    torch.manual_seed(0)
    maps = torch.rand(6, len(LIVENESS_MAPS), 48, 48)
    views = functional.interpolate(torch.rand(6, len(LIVENESS_VIEWS), 8, 8), size=(96, 96), mode="bilinear")
    shares = functional.avg_pool2d(views[:, :2], 2)
    changed = augmented(maps, views, shares, torch.Generator().manual_seed(0))
    for before, after in zip((maps, views, shares), changed, strict=True):
        assert after.shape == before.shape and torch.isfinite(after).all()
    again = augmented(maps, views, shares, torch.Generator().manual_seed(0))
    assert all(torch.equal(one, other) for one, other in zip(changed, again, strict=True))
    # All of a presentation moves together: what the views show is where the shares say, up to exposure and sampling.
    small = functional.avg_pool2d(changed[1][:, :2], 2)[..., 8:-8, 8:-8].flatten(1)
    told = changed[2][..., 8:-8, 8:-8].flatten(1)
    assert all(np.corrcoef(one, other)[0, 1] > 0.8 for one, other in zip(small, told, strict=True))


def test_other_cameras_leave_infrared_grey_and_skin_its_colour() -> None:
    grey = functional.interpolate(torch.rand(80, 1, 8, 8), size=(48, 48), mode="bilinear").expand(-1, 3, -1, -1)
    coloured = grey * torch.tensor([0.7, 0.9, 1.2]).view(1, 3, 1, 1)
    changed, recoloured = (other_cameras(views, torch.Generator().manual_seed(1)) for views in (grey, coloured))
    assert changed.shape == grey.shape and float(changed.min()) >= 0 and float(changed.max()) <= 2
    spread = changed.std(1).amax((1, 2))
    assert float(spread.max()) < 1e-5
    ratio = recoloured[:, 2].mean((1, 2)) / recoloured[:, 0].mean((1, 2)) / (1.2 / 0.7)
    assert 0.02 < float(ratio.log().std()) < 0.25
    white = (grey >= grey.amax((1, 2, 3), keepdim=True) - 1e-6).float().mean((1, 2, 3))
    exposed_long = (changed >= changed.amax((1, 2, 3), keepdim=True) - 1e-6).float().mean((1, 2, 3))
    assert float((white > 0.3).float().mean()) == 0.0 < float((exposed_long > 0.3).float().mean()) < 0.3


def test_another_person_s_second_view_is_no_living_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.STRANGERS_SHARE", 1.0)
    maps = torch.zeros(5, len(LIVENESS_MAPS), 8, 8)
    maps[:, LIVENESS_MAPS.index("lead_is_visible")] = torch.tensor([1.0, 1, 1, 0, 1]).view(5, 1, 1)
    views = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 6, 16, 16).clone()
    living = torch.tensor([1.0, 1, 0, 1, 0])
    before = LivenessBatch(maps, views, torch.ones(5, 2, 8, 8), living, torch.arange(5))
    after = with_strangers(before, torch.Generator().manual_seed(0))
    # The two that are seen by sensors of the same kind change places; attacks, and the one that is alone, stay.
    assert after.bona_fide.tolist() == [0, 0, 0, 1, 0] and after.kind.tolist() == [UNKNOWN_KIND, UNKNOWN_KIND, 2, 3, 4]
    assert after.views[:, 3, 0, 0].tolist() == [1, 0, 2, 3, 4] and torch.equal(after.views[:, :3], views[:, :3])
    assert after.shares.flatten(1).amax(1).tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(before.views, views) and before.bona_fide.tolist() == [1, 1, 0, 1, 0]


def test_patches_come_from_attacks_that_the_same_kinds_of_sensors_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.PATCHED_SHARE", 1.0)
    maps, views = torch.zeros(4, len(LIVENESS_MAPS), 48, 48), torch.zeros(4, 6, 96, 96)
    maps[:, LIVENESS_MAPS.index("inside")] = 1.0
    maps[2:, LIVENESS_MAPS.index("relative_depth")] = 1.5
    views[2:] = 1.0
    shares = torch.zeros(4, 2, 48, 48)
    shares[:2, 1], shares[2:, 0] = 1.0, 1.0
    # Living, seen by two kinds of sensors; living, by a third; an attack as the former; one of another kind again.
    for index, spectra in enumerate(((1.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0))):
        for name, value in zip(("lead_is_visible", "other_is_visible"), spectra, strict=True):
            maps[index, LIVENESS_MAPS.index(name)] = value
    before = LivenessBatch(maps, views, shares, torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.arange(4))
    after = with_patches(before, torch.Generator().manual_seed(2))
    assert after.bona_fide.tolist() == [0, 1, 0, 0] and after.kind.tolist() == [UNKNOWN_KIND, 1, 2, 3]
    assert all(torch.equal(getattr(after, name)[1:], getattr(before, name)[1:]) for name in ("maps", "views", "shares"))
    patch = after.shares[0, 0]
    assert 0.01 < float(patch.mean()) < 0.3 and torch.allclose(after.shares[0, 1], 1 - patch)
    assert torch.allclose(functional.avg_pool2d(after.views[0], 2), patch.expand(6, 48, 48), atol=1e-5)
    # Before the face, by no more than it may be, however far the attack's own picture lay from its face.
    depth = after.maps[0, LIVENESS_MAPS.index("relative_depth")]
    assert -PATCH_BEFORE_FACE_MM / 50 <= float(depth[patch > 0.99].mean()) <= 0.0
    assert float(depth[patch < 1e-6].abs().max()) < 1e-5
    # A partial attack whose patch lies elsewhere leaves living skin there: that is no patch.
    shares[2, 0] = 0.0
    assert with_patches(before, torch.Generator().manual_seed(2)).bona_fide.tolist() == [1, 1, 0, 0]


def test_faces_get_the_surroundings_of_others_that_the_same_kinds_of_sensors_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.SURROUNDINGS_SHARE", 1.0)
    maps, views = torch.zeros(3, len(LIVENESS_MAPS), 48, 48), torch.zeros(3, 6, 96, 96)
    own = torch.arange(3.0).view(3, 1, 1, 1)
    views += own
    for name in ("relative_depth", "distance"):
        maps[:, LIVENESS_MAPS.index(name)] = own[:, 0]
    maps[:, LIVENESS_MAPS.index("lead_is_visible")] = torch.tensor([1.0, 1, 0]).view(3, 1, 1)
    shares = torch.zeros(3, 2, 48, 48) + own
    before = LivenessBatch(maps, views, shares, torch.tensor([1.0, 0, 1]), torch.arange(3))
    after = with_surroundings(before, torch.Generator().manual_seed(0))
    assert torch.equal(after.bona_fide, before.bona_fide) and torch.equal(after.kind, before.kind)
    depth, distance = (after.maps[:, LIVENESS_MAPS.index(name)] for name in ("relative_depth", "distance"))
    for planes in (after.views, after.shares, depth[:, None]):
        middle, corner = planes[:, 0, planes.shape[2] // 2, planes.shape[3] // 2], planes[:, 0, 0, 0]
        assert torch.allclose(middle, torch.arange(3.0), atol=0.01)
        # The two that are seen alike change places; who is alone stays.
        assert torch.allclose(corner, torch.tensor([1.0, 0, 2]), atol=0.01)
    assert torch.equal(distance, before.maps[:, LIVENESS_MAPS.index("distance")])


def test_coarser_surfaces_have_their_spots_in_both_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.GRAINED_SHARE", 1.0)
    grain = grained(torch.ones(4, 6, 48, 48), torch.Generator().manual_seed(1)).log()
    assert grain.std((2, 3)).min() > 0.0005
    assert torch.allclose(grain[:, 0], grain[:, 2])
    for first, second in zip(grain[:, 0].flatten(1), grain[:, 3].flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([first, second]))[0, 1] > 0.99


def test_a_second_view_of_another_moment_tells_another_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.MOMENTS_SHARE", 1.0)
    relative, sd, match, side, distance = (
        LIVENESS_MAPS.index(name) for name in ("relative_depth", "depth_sd", "disparity_sd", "side", "distance")
    )
    maps = torch.zeros(32, len(LIVENESS_MAPS), 24, 24)
    maps[:, relative] = torch.linspace(-0.5, 0.5, 24)[None, :, None]
    maps[:, sd], maps[:, match], maps[:, side], maps[:, distance] = 0.2, 0.1, 1.0, 0.6
    maps[30, match] = 3.0  # its views do not match anyway
    before = LivenessBatch(
        maps, torch.rand(32, 6, 48, 48), torch.ones(32, 2, 24, 24), torch.ones(32), torch.zeros(32, dtype=torch.long)
    )
    before.bona_fide[31] = 0.0
    after = with_moments(before, torch.Generator().manual_seed(0))
    assert after.bona_fide.tolist() == [0.0] * 30 + [1.0, 0.0]
    assert all(torch.equal(after.maps[index], maps[index]) for index in (30, 31))
    assert torch.equal(after.views, before.views) and float(after.shares[:30].abs().max()) == 0.0
    # By the rig's own formula: the same number of pixels more or less everywhere.
    focal_times_baseline = 30_000.0
    disparity, moved = (
        focal_times_baseline / (1000 * planes[:30, distance] + 50 * planes[:30, relative])
        for planes in (maps, after.maps)
    )
    steps = (moved - disparity).flatten(1)
    assert float((steps.amax(1) - steps.amin(1)).max()) < 0.01
    factor = after.maps[:30, distance, 0, 0] / 0.6
    assert torch.allclose(after.maps[:30, side, 0, 0], factor)
    sizes = factor.log().abs()
    assert MOMENTS_APART[0] <= float(sizes.min()) < float(sizes.max()) <= MOMENTS_APART[1]
    assert (factor > 1).any() and (factor < 1).any()
    at_middle = after.maps[:30, sd, 11:13, 0].mean(1) / 0.2
    assert torch.allclose(at_middle, factor.square(), rtol=0.01)


def test_half_of_a_face_is_no_living_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stereolive.train.liveness_augment.HALVED_SHARE", 1.0)
    draw = torch.Generator().manual_seed(0)
    views = functional.interpolate(torch.rand(24, 6, 12, 12, generator=draw), size=(96, 96), mode="bilinear")
    maps = torch.full((24, len(LIVENESS_MAPS), 48, 48), 0.5)
    bona_fide = torch.ones(24)
    bona_fide[-1] = 0.0
    before = LivenessBatch(maps, views, torch.ones(24, 2, 48, 48), bona_fide, torch.arange(24))
    after = with_halves(before, draw)
    assert after.bona_fide.tolist() == [0.0] * 24 and after.kind.tolist() == [UNKNOWN_KIND] * 23 + [23]
    assert all(torch.equal(getattr(after, name)[-1], getattr(before, name)[-1]) for name in ("maps", "views", "shares"))
    covered = 1 - after.shares[:23, 0]
    face = torch.from_numpy(face_ellipse(48)).float()
    hidden = (covered * face).sum((1, 2)) / face.sum()
    assert float(hidden.min()) > 0.2 and float(hidden.max()) < 0.8
    sides = [(covered[:, :, :24].mean((1, 2)) > covered[:, :, 24:].mean((1, 2))), covered[:, :24].mean((1, 2)) > 0.3]
    assert all(0 < int(which.sum()) < 23 for which in sides), "now one side, now the other"
    change = (after.views - views)[:23].abs().amax(1)
    away = functional.interpolate(covered[:, None], scale_factor=2.0)[:, 0] < 1e-4
    assert float(change[away].max()) < 1e-3 < 0.05 < float(change.flatten(1).amax(1).min())
    # What is seen there is bare: all that varied is gone, but for noise.
    for index in range(23):
        inside = functional.interpolate(covered[index][None, None], scale_factor=2.0)[0, 0] > 0.999
        assert float(after.views[index][:, inside].std(1).max()) < 0.06
    deviation = LIVENESS_MAPS.index("disparity_sd")
    deviations = after.maps[:23, deviation]
    assert float(deviations.min()) >= 0.5 and 1.0 < float(deviations.max()) <= 0.5 * np.exp(1.4)
