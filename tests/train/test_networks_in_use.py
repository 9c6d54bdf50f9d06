"""What training sees and what the detector computes must be one and the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stereolive.data.crops import Crops
from stereolive.depth import LIVENESS_MAPS, LIVENESS_VIEWS, depth_information, face_ellipse, liveness_input
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.runtime import Network
from stereolive.train.cache import VIEW_UNIT, Variation, cache_inputs
from stereolive.train.export import export_depth, export_liveness
from stereolive.train.joint_stage import Geometry, liveness_maps
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


def test_spots_are_of_one_sensor_alone(crops: Crops) -> None:
    stored = crops.face_crop(1)
    clean = Variation().crop(stored, 96)
    spotted = Variation(spots=(0.2, 0.0), spot_px=4.0, spots_seed=1).crop(stored, 96)
    assert np.array_equal(spotted.second, clean.second)
    shown = (clean.first > 20) & (clean.first < 120)
    ratio = np.log(spotted.first[shown] / clean.first[shown])
    assert 0.1 < ratio.std() < 0.3 and abs(ratio.mean()) < 0.1
    again, other = (Variation(spots=(0.2, 0.2), spots_seed=seed).crop(stored, 96) for seed in (1, 2))
    assert np.array_equal(again.first, spotted.first) and not np.array_equal(other.first, spotted.first)
    assert not np.array_equal(again.second, clean.second)


def test_exposure_may_leave_much_of_a_face_white(crops: Crops) -> None:
    stored = crops.face_crop(1)
    clean = Variation().crop(stored, 96)
    burnt = Variation(burnt=(0.0, 0.4)).crop(stored, 96)
    assert np.array_equal(burnt.first, clean.first)
    face = face_ellipse(96)
    white, white_before = ((crop.second[face].mean(axis=1) > 250).mean() for crop in (burnt, clean))
    assert white_before < 0.1 and white == pytest.approx(0.4, abs=0.06)
    assert (burnt.second >= clean.second).all()


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
