"""Heads: sizes in millimetres, frame, winding, regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stereolive.synth.head_shape import REGION_NAMES
from stereolive.synth.heads import HeadSource, load_sources

ASSETS = Path(__file__).parents[3] / "shared" / "assets"
SOURCES = ("anny", "ict_facekit", "makehuman")


def source_named(name: str) -> HeadSource:
    if name == "anny":
        pytest.importorskip("anny")
    elif not ASSETS.is_dir():
        pytest.skip(f"the head files are not at {ASSETS}")
    sources = load_sources(ASSETS if name != "anny" else None)
    return next(s for s in sources if s.name == name)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_head_has_human_size_and_its_origin_between_the_eyes(name: str, seed: int) -> None:
    head = source_named(name).head(np.random.default_rng(seed))
    mesh = head.mesh(None)
    assert np.isfinite(mesh.vertices_mm).all()
    distance = np.linalg.norm(head.eyes_mm[0] - head.eyes_mm[1])
    assert 54 <= distance <= 72
    np.testing.assert_allclose(head.eyes_mm.mean(axis=0), 0, atol=1e-3)
    at_the_brain = head.neutral_mm[np.abs(head.neutral_mm[:, 1] + 30) < 8]
    assert 120 <= np.ptp(at_the_brain[:, 0]) <= 185
    assert -150 < head.neutral_mm[:, 1].min() < -80  # the crown is above: y grows downwards
    face = head.neutral_mm[(np.abs(head.neutral_mm[:, 0]) < 15) & (np.abs(head.neutral_mm[:, 1] - 35) < 12)]
    assert face[:, 2].min() < -15  # the nose points to -z
    assert 8_000 <= len(mesh.triangles) <= 40_000


@pytest.mark.parametrize("name", SOURCES)
def test_triangles_wind_outward(name: str) -> None:
    mesh = source_named(name).head(np.random.default_rng(5)).mesh(None)
    a, b, c = (mesh.vertices_mm[mesh.triangles[:, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    middle = (a + b + c) / 3
    crown = (middle[:, 1] < -60) & (np.linalg.norm(normal, axis=1) > 1e-6)
    away = middle - np.array([0, -20, 80.0])
    assert np.mean(np.einsum("ij,ij->i", normal, away)[crown] > 0) > 0.99
    is_eye = mesh.regions["eye"][mesh.triangles[:, 0]] > 0.5
    for side in (-1, 1):
        own = is_eye & (np.sign(middle[:, 0]) == side)
        outward = np.einsum("ij,ij->i", normal[own], middle[own] - middle[own].mean(axis=0))
        assert (outward > 0).all()


@pytest.mark.parametrize("name", SOURCES)
def test_every_region_is_present(name: str) -> None:
    mesh = source_named(name).head(np.random.default_rng(6)).mesh(None)
    assert set(mesh.regions) == set(REGION_NAMES)
    count = len(mesh.vertices_mm)
    assert mesh.uv.shape == (count, 2)
    assert mesh.triangles.min() >= 0
    assert mesh.triangles.max() < count
    for region, weight in mesh.regions.items():
        assert weight.shape == (count,)
        if region not in ("eye_x", "eye_y"):
            assert weight.min() >= 0
            assert weight.max() <= 1
            assert (weight > 0.4).sum() >= 6, region
    lips = mesh.rest_mm[mesh.regions["lips"] > 0.5]
    assert 50 < np.median(lips[:, 1]) < 90


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_seed_gives_the_same_head(name: str) -> None:
    source = source_named(name)
    one, two = (source.head(np.random.default_rng(9)).mesh(np.random.default_rng(10)) for _ in range(2))
    np.testing.assert_array_equal(one.vertices_mm, two.vertices_mm)
    other = source.head(np.random.default_rng(11)).mesh(np.random.default_rng(10))
    assert np.abs(one.rest_mm - other.rest_mm).max() > 2


@pytest.mark.parametrize("name", SOURCES)
def test_an_expression_moves_the_face_but_not_the_rest_position(name: str) -> None:
    head = source_named(name).head(np.random.default_rng(12))
    neutral, moved = head.mesh(None), head.mesh(np.random.default_rng(13))
    np.testing.assert_array_equal(neutral.rest_mm, moved.rest_mm)
    shift = np.linalg.norm(moved.vertices_mm - neutral.vertices_mm, axis=1)
    assert 0.5 < shift.max() < 60
    assert shift[moved.regions["scalp"] > 0.95].max() < 6


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_sources(tmp_path / "nowhere")


def test_an_unknown_head_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    np.savez(tmp_path / "heads" / "other.npz", points=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"other\.npz"):
        load_sources(tmp_path)
