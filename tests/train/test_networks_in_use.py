"""What training sees and what the detector computes must be one and the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from stereolive.data.crops import Crops
from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS, depth_information, liveness_input
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.runtime import Network
from stereolive.train.cache import VIEW_UNIT, Variation, cache_inputs
from stereolive.train.export import export_depth, export_liveness
from stereolive.train.joint_stage import Geometry, liveness_maps
from stereolive.train.liveness_augment import (
    PATCH_BEFORE_FACE_MM,
    UNKNOWN_KIND,
    LivenessBatch,
    augmented,
    grained,
    other_cameras,
    with_patches,
    with_strangers,
    with_surroundings,
)
from stereolive.train.liveness_stage import BalancedSampler, cell_loss
from stereolive.train.loop import Machine
from stereolive.types import FaceCrop


@pytest.fixture(scope="module")
def depth() -> DepthNetwork:
    torch.manual_seed(0)
    network = DepthNetwork()
    network.train()
    with torch.no_grad():  # statistics of the normalisation that are not the ones it starts with
        network(torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96))
    return network.eval()


@pytest.fixture(scope="module")
def depth_onnx(depth: DepthNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "depth.onnx"
    export_depth(depth, path, 96)
    return path


@pytest.mark.parametrize(("batch", "side"), [(1, 96), (3, 96), (1, 160)])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_exported_depth_network_agrees_to_a_thousandth_of_a_pixel(
    depth: DepthNetwork, depth_onnx: Path, batch: int, side: int, runtime: str
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    first, second = torch.rand(batch, 3, side, side), torch.rand(batch, 3, side, side)
    with torch.no_grad():
        expected = depth(first, second)
    disparity, sd = Network(depth_onnx, threads=1, runtime=runtime).run(first.numpy(), second.numpy())
    assert np.abs(disparity - expected.disparity.numpy()).max() < 1e-3
    assert np.allclose(sd, np.sqrt(2) * expected.log_scale.exp().numpy(), atol=1e-3)


@pytest.mark.parametrize(
    "used", [(), ("relative_depth", "lead_red", "other_blue"), ("relative_depth", "depth_sd"), ("lead_red",)]
)
def test_exported_liveness_model_agrees(tmp_path: Path, used: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    network = LivenessNetwork(4, used).eval()
    network.temperature.fill_(2.0)
    export_liveness(network, tmp_path / "l.onnx", 48)
    maps, views = torch.rand(5, len(LIVENESS_MAPS), 48, 48), torch.rand(5, len(LIVENESS_VIEWS), 96, 96)
    with torch.no_grad():
        expected = network(maps, views).numpy()
    (got,) = Network(tmp_path / "l.onnx", threads=1).run(maps.numpy(), views.numpy())
    assert got.shape == (5,) and np.allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("roll_deg", [0.0, 30.0, 90.0])
@pytest.mark.parametrize(
    "spectra",
    [("visible", "near_infrared"), ("near_infrared", "visible"), ("near_infrared", "near_infrared")],
)
def test_joint_stage_builds_the_detectors_liveness_input(
    crops: Crops, roll_deg: float, spectra: tuple[str, str]
) -> None:
    stored = Variation().crop(crops.face_crop(0), 96)
    changed = {"roll_deg": roll_deg, "first_spectrum": spectra[0], "second_spectrum": spectra[1]}
    crop = FaceCrop(**{**stored.__dict__, **changed})
    random = np.random.default_rng(1)
    disparity = (random.normal(size=(48, 48)) * 0.5 + np.linspace(-5, 5, 48)).astype(np.float32)
    log_scale = random.normal(size=(48, 48)).astype(np.float32) * 0.2 - 1
    sd = (np.exp(log_scale) * np.sqrt(2)).astype(np.float32)
    expected = liveness_input(depth_information(crop, disparity, sd))

    first, second = (
        torch.from_numpy(view.transpose(2, 0, 1)[None] / np.float32(255)) for view in (crop.first, crop.second)
    )
    row = crops.rows[0]
    geometry = Geometry.of([type(row)(**{**row.__dict__, **changed})], torch.device("cpu"))
    got = liveness_maps(
        torch.from_numpy(disparity)[None, None], torch.from_numpy(log_scale)[None, None], first, second, geometry
    )
    for names, ours, theirs in zip((LIVENESS_MAPS, LIVENESS_VIEWS), got, expected, strict=True):
        for name, plane in zip(names, np.abs(ours[0].numpy() - theirs), strict=True):
            # The detector rounds images to 8 bits on the way and turns in fixed point.
            assert np.percentile(plane, 95) < 0.08, name
            assert plane.mean() < 0.03, name


def test_variants_move_the_crop_without_changing_what_the_disparity_means(crops: Crops) -> None:
    """Depth from the variant's own geometry is the depth of the stored crop: checked by matching both views' rows."""
    stored = crops.face_crop(1)  # a flat sheet
    random = np.random.default_rng(3)
    for _ in range(3):
        variant = Variation.drawn(96, random).crop(stored, 96)
        full_stored = stored.shift_px + _disparity(stored) / stored.scale
        full_variant = variant.shift_px + _disparity(variant) / variant.scale
        assert full_variant == pytest.approx(full_stored, abs=1.0)


def _disparity(crop: FaceCrop) -> float:
    """Of the middle of a crop, by comparing a patch with the other view's row, in whole pixels."""
    side, half = crop.size, 14
    middle = slice(side // 2 - half, side // 2 + half)
    patch = crop.first.mean(2)[middle, middle].ravel()

    def likeness(shift: int) -> float:
        columns = slice(side // 2 - half - shift, side // 2 + half - shift)
        return float(np.corrcoef(patch, crop.second.mean(2)[middle, columns].ravel())[0, 1])

    return float(max(range(-20, 21), key=likeness))


def test_cache_holds_the_detectors_inputs_and_is_kept_until_the_crops_change(
    crop_folder: Path, depth_onnx: Path, tmp_path: Path
) -> None:
    shutil.copytree(crop_folder, tmp_path / "crops")
    crops = Crops(tmp_path / "crops")
    inputs = cache_inputs(crops, range(len(crops.rows)), depth_onnx, tmp_path / "cache", variants=2, seed=0, workers=1)
    assert (inputs.variants, inputs.grid) == (2, 48)
    crop = Variation().crop(crops.face_crop(2), 96)
    planes = [view.transpose(2, 0, 1)[None] / np.float32(255) for view in (crop.first, crop.second)]
    disparity, sd = Network(depth_onnx, threads=1).run(*planes)
    expected = liveness_input(depth_information(crop, disparity[0, 0], sd[0, 0]))
    items = inputs.read([0, 2], [0, 0])
    assert items.maps.shape == (2, len(LIVENESS_MAPS), 48, 48) and items.views.shape == (2, len(LIVENESS_VIEWS), 96, 96)
    assert np.abs(items.maps[1] - expected[0]).max() < 0.01
    assert np.abs(items.views[1] * np.float32(VIEW_UNIT) - expected[1]).max() < 0.01
    # The first of the test's presentations tells that its middle shows living skin, the third tells nothing.
    assert items.shares[0, :, 24, 24].tolist() == [0, 1] and items.shares[0, :, 2, 2].tolist() == [0, 0]
    assert not items.shares[1].any()
    (path,) = (tmp_path / "cache").glob("*-maps.npy")
    stamp = path.stat().st_mtime_ns
    cache_inputs(crops, range(len(crops.rows)), depth_onnx, tmp_path / "cache", variants=2, seed=0, workers=1)
    assert path.stat().st_mtime_ns == stamp
    (crops.folder / "shard-00000" / "signature").write_text("cut anew")
    cache_inputs(crops, range(len(crops.rows)), depth_onnx, tmp_path / "cache", variants=2, seed=0, workers=1)
    assert len(list((tmp_path / "cache").glob("*-maps.npy"))) == 2


def test_only_shards_that_are_looked_at_are_cached(crop_folder: Path, depth_onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    shutil.copytree(crop_folder, folder)
    shutil.copytree(folder / "shard-00000", folder / "shard-00001")
    index = folder / "shard-00001" / "index.csv"
    index.write_text(index.read_text("utf-8").replace("shard-00000", "shard-00001"), "utf-8")
    described = folder / "crops.json"
    described.write_text(described.read_text("utf-8").replace('"shard-00000"', '"shard-00000", "shard-00001"'), "utf-8")
    crops = Crops(folder)
    second = crops.shards["shard-00001"]
    inputs = cache_inputs(crops, second[:1], depth_onnx, tmp_path / "cache", variants=1, seed=0, workers=1)
    assert [path.name[:11] for path in (tmp_path / "cache").glob("*-maps.npy")] == ["shard-00001"]
    assert len(inputs.read(second, [0] * len(second)).maps) == len(second)
    with pytest.raises(KeyError):
        inputs.read([0], [0])


def test_balanced_sampling(crops: Crops) -> None:
    rows = crops.rows
    prints = [i for i, row in enumerate(rows) if row.species == "print"]
    scarce = [i for i, row in enumerate(rows) if row.species == "bona_fide"] + prints[:9] + [3]  # a single screen
    drawn = [rows[i].species for i in BalancedSampler(rows, scarce).draw(1200, seed=0)]
    assert drawn.count("bona_fide") == 600
    assert 110 < drawn.count("screen") < 190  # one to three, not one to nine


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_process_sees_both_labels_in_every_step(crops: Crops, world: int) -> None:
    drawn = BalancedSampler(crops.rows, range(len(crops.rows))).draw(32, seed=0)
    machines = [Machine(torch.device("cpu"), rank, world) for rank in range(world)]
    parts = [where.part(drawn) for where in machines]
    assert [index for part in parts for index in part] == drawn
    for part in parts:
        living = sum(crops.rows[index].species == "bona_fide" for index in part)
        assert abs(2 * living - len(part)) <= 1


def test_changed_inputs_keep_their_constants_and_differ(crops: Crops) -> None:
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


def test_a_living_face_must_live_in_every_cell_and_an_attack_not_in_a_quarter() -> None:
    living = torch.full((1, 12, 12), 9.0)
    patched = living.clone()
    patched[:, 4:6] = -9.0  # two rows across the face
    bona_fide, attack, unknown = torch.ones(1), torch.zeros(1), torch.zeros(1, 2, 96, 96)
    assert float(cell_loss(living, bona_fide, unknown)) < 0.01 < 1 < float(cell_loss(patched, bona_fide, unknown))
    assert float(cell_loss(patched, attack, unknown)) < 0.01 < 1 < float(cell_loss(living, attack, unknown))
    outside = living.clone()
    outside[:, 0] = -9.0
    assert float(cell_loss(outside, bona_fide, unknown)) < 0.01


def test_cells_answer_for_what_they_show_where_that_is_known() -> None:
    shares = torch.zeros(1, 2, 96, 96)
    shares[:, 0, 32:48] = 1  # instrument in two rows of cells, living skin below
    shares[:, 1, 48:80] = 1
    right = torch.full((1, 12, 12), 9.0)
    right[:, 4:6] = -9.0
    attack = torch.zeros(1)
    assert float(cell_loss(right, attack, shares)) < 0.01
    assert float(cell_loss(-right, attack, shares)) == pytest.approx(9.0, abs=0.01)
    half = torch.full((1, 12, 12), 9.0)  # the fewer cells of the patch weigh as much as the skin's
    assert float(cell_loss(half, attack, shares)) == pytest.approx(4.5, abs=0.01)


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
