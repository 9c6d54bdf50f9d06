"""Skin: reflectances as measured, features that fade in near-infrared, repeatable drawing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stereolive.synth import spectra
from stereolive.synth.heads import load_sources
from stereolive.synth.shapes import Folds, MaskSurface, Speckle, noise_image
from stereolive.synth.skin import Skin, draw_skin
from stereolive.synth.skin_paint import NUMBERS, folds_at
from stereolive.synth.spectra import WAVELENGTH_NM, Channels, gaussian_band
from stereolive.synth.surface import SurfacePoints
from stereolive.synth.wear import draw_wear

ASSETS = Path(__file__).parents[3] / "shared" / "assets"
WEIGHTS = np.stack([gaussian_band(c, w) for c, w in ((600, 70), (540, 80), (460, 60), (850, 40))])
CHANNELS = Channels(("red", "green", "blue", "nir"), WEIGHTS / WEIGHTS.sum(axis=1, keepdims=True))
AT = {nm: int(np.searchsorted(WAVELENGTH_NM, nm)) for nm in (450, 550, 650, 850, 940)}


def face_points(region: str | None = None, count: int = 3000) -> SurfacePoints:
    """Points on the front of a face; all of one region where it is named."""
    rng = np.random.default_rng(0)
    rest = np.stack([rng.uniform(-50, 50, count), rng.uniform(-60, 90, count), np.full(count, -20.0)], axis=1)
    names = ("skin", "lips", "brow", "scalp", "beard", "eye", "mouth_interior", "nostril", "lash", "teeth", "texture")
    regions = {name: np.zeros(count, np.float32) for name in names}
    regions["eye_x"] = regions["eye_y"] = np.full(count, 1000.0, np.float32)
    if region is not None:
        regions[region] = np.ones(count, np.float32)
    return SurfacePoints(rest.astype(np.float32), np.full((count, 2), 0.5, np.float32), regions, 1.0)


def with_number(skin: Skin, name: str, value: float) -> Skin:
    """The same skin but for one of its drawn numbers."""
    numbers = skin.numbers.copy()
    numbers[NUMBERS.index(name)] = value
    return replace(skin, numbers=numbers)


@pytest.mark.parametrize("group", range(1, 7))
def test_spectra_of_a_group_follow_the_table(group: int) -> None:
    rng = np.random.default_rng(group)
    drawn = np.stack([spectra.draw_skin_spectrum(rng, group) for _ in range(300)])
    assert drawn.shape == (300, 61)
    for column, nm in enumerate(spectra.SKIN_KNOTS_NM):
        expected, spread = spectra.SKIN_MEAN[group - 1, column], spectra.SKIN_SD[group - 1, column]
        assert abs(drawn[:, AT[int(nm)]].mean() - expected) < 0.6 * spread + 0.01


def test_red_and_near_infrared_of_people_belong_together() -> None:
    rng = np.random.default_rng(0)
    skins = [draw_skin(rng, "ict_facekit", None, None) for _ in range(300)]
    assert {s.group for s in skins} == set(range(1, 7))
    drawn = np.stack([s.spectrum for s in skins])
    assert np.corrcoef(drawn[:, AT[650]], drawn[:, AT[850]])[0, 1] > 0.85
    ratio = drawn[:, AT[850]] / drawn[:, AT[550]]
    assert ratio.min() > 1.6
    assert ratio.max() < 8
    assert abs(np.mean(drawn[:, AT[940]] / drawn[:, AT[850]]) - 0.88) < 0.06
    dark = np.array([s.group == 6 for s in skins])
    assert drawn[dark, AT[850]].mean() < 0.7 * drawn[~dark, AT[850]].mean()


def test_lips_and_blotches_fade_in_near_infrared() -> None:
    rng = np.random.default_rng(3)
    fades = []
    for _ in range(10):
        skin = draw_skin(rng, "ict_facekit", 2, None)
        bare, lips = (skin.reflectance(face_points(r), CHANNELS).albedo for r in ("skin", "lips"))
        contrast = np.abs(np.log(lips.mean(axis=0) / bare.mean(axis=0)))
        fades.append(contrast[3] < contrast[1])
        variation = bare.std(axis=0) / bare.mean(axis=0)
        assert variation[3] < variation[1]
    assert np.mean(fades) > 0.8


def test_the_pupil_is_black_and_the_sclera_light() -> None:
    skin = draw_skin(np.random.default_rng(4), "anny", 3, None)
    points = face_points("eye", 400)
    points.regions["eye_x"] = np.linspace(0, 9.5, 400, dtype=np.float32)
    points.regions["eye_y"] = np.zeros(400, np.float32)
    albedo = skin.reflectance(points, CHANNELS).albedo
    assert albedo[:20].max() < 0.05
    assert albedo[-40:, 1].mean() > 3 * albedo[150:200, 1].mean() or albedo[-40:, 1].mean() > 0.25


@pytest.mark.parametrize(
    "region", [None, "lips", "brow", "scalp", "beard", "eye", "teeth", "mouth_interior", "nostril"]
)
def test_reflectance_is_physical(region: str | None) -> None:
    rng = np.random.default_rng(8)
    for _ in range(5):
        skin = draw_skin(rng, "makehuman", None, None)
        look = skin.reflectance(face_points(region, 500), CHANNELS)
        assert look.albedo.shape == (500, 4)
        assert look.albedo.dtype == np.float32
        assert np.isfinite(look.albedo).all()
        assert look.albedo.min() > 0
        assert look.albedo.max() < 1
        assert look.bump_mm is not None
        assert np.isfinite(look.bump_mm).all()
        assert np.abs(look.bump_mm).max() < 3
        assert look.roughness.min() >= 0.02
        assert look.specular.min() >= 0
        assert look.scattering_mm is not None
        assert look.scattering_mm[3] > look.scattering_mm[2]


def test_the_same_seed_gives_the_same_skin() -> None:
    looks = [
        draw_skin(np.random.default_rng(5), "anny", 4, None).reflectance(face_points("beard"), CHANNELS)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(looks[0].albedo, looks[1].albedo)
    np.testing.assert_array_equal(looks[0].bump_mm, looks[1].bump_mm)


def test_old_skin_and_masks_of_old_people_have_the_same_folds() -> None:
    points = face_points()
    skin = draw_skin(np.random.default_rng(4), "anny", 3, None)
    young, old = (with_number(skin, "age", age) for age in (0.0, 2.0))
    folds = folds_at(points.rest_mm, skin.seed)
    deep, none = folds > 0.2, np.abs(folds) < 0.01
    assert 0.005 < deep.mean() < 0.2 < none.mean()
    before, after = (person.reflectance(points, CHANNELS) for person in (young, old))
    assert before.bump_mm is not None and after.bump_mm is not None
    np.testing.assert_allclose(before.bump_mm - after.bump_mm, 2 * folds, atol=0.01)
    assert (after.albedo[deep] < 0.8 * before.albedo[deep]).all()
    assert np.median(after.albedo[none] / before.albedo[none]) > 0.99  # but for spots of age
    flat = MaskSurface(np.full(61, 0.5), {}, np.zeros((8, 8, 1), np.float32), 0.04, 0.4)
    wrinkled = replace(flat, folds=Folds(2.0, skin.seed))
    cast, sculpted = (mask.reflectance(points, CHANNELS) for mask in (flat, wrinkled))
    assert cast.bump_mm is None and sculpted.bump_mm is not None
    np.testing.assert_allclose(sculpted.bump_mm, -2 * folds, atol=0.01)
    assert (sculpted.albedo[deep] < 0.8 * cast.albedo[deep]).all()


def test_no_points_are_no_error() -> None:
    skin = draw_skin(np.random.default_rng(5), "anny", 4, None)
    assert skin.reflectance(face_points(count=0), CHANNELS).albedo.shape == (0, 4)


def test_maps_and_measured_spectra_of_a_folder_are_used() -> None:
    if not ASSETS.is_dir():
        pytest.skip(f"the skin maps are not at {ASSETS}")
    skins: list[Skin] = [draw_skin(np.random.default_rng(k), "makehuman", 3, ASSETS) for k in range(6)]
    assert all(s.skin_map is not None for s in skins)
    assert all(draw_skin(np.random.default_rng(k), "ict_facekit", 3, ASSETS).skin_map is None for k in range(3))
    assert all(s.spectrum.min() > 0 and s.spectrum.max() < 0.9 for s in skins)


def test_wear_is_drawn_whole() -> None:
    pytest.importorskip("anny")
    source = load_sources(None)[0]
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mesh = source.head(rng).mesh(None)
        skin = draw_skin(rng, source.name, None, None)
        for part in draw_wear(rng, mesh, skin):
            seen.add(part.name)
            vertices, triangles = part.mesh.vertices_mm, part.mesh.triangles
            assert np.isfinite(vertices).all()
            assert np.abs(vertices).max() < 700
            assert triangles.max() < len(vertices)
            points = SurfacePoints(part.mesh.rest_mm, part.mesh.uv, part.mesh.regions, 1.0)
            look = part.material.reflectance(points, CHANNELS)
            assert look.albedo.shape == (len(vertices), 4)
            assert look.albedo.min() >= 0
            assert look.albedo.max() <= 1
    assert {"clothing", "hair", "long_hair", "glasses", "hat", "scarf"} <= seen


def test_some_skins_are_far_more_uneven_than_others_to_the_visible_sensor_alone() -> None:
    rng = np.random.default_rng(6)
    looks = [draw_skin(rng, "ict_facekit", 3, None).reflectance(face_points(), CHANNELS).albedo for _ in range(80)]
    uneven = np.array([look.std(axis=0) / look.mean(axis=0) for look in looks])
    assert np.quantile(uneven[:, 1], 0.9) > 2 * np.quantile(uneven[:, 1], 0.1)
    assert np.median(uneven[:, 3] / uneven[:, 1]) < 0.6


def test_mottles_of_skin_and_pigment_of_masks_fade_in_near_infrared_alike() -> None:
    points = face_points()
    skin = draw_skin(np.random.default_rng(4), "anny", 3, None)
    even, mottled = (with_number(skin, "mottle", m).reflectance(points, CHANNELS).albedo for m in (0.0, 0.5))
    of_skin = np.log(mottled / even).std(axis=0)
    plain = MaskSurface(skin.spectrum, {}, np.zeros((8, 8, 1), np.float32), 0.04, 0.4)
    noise = noise_image(np.random.default_rng(0), 64, 0.5)
    pigmented, grey = (
        replace(plain, speckle=Speckle(0.1 * absorption, noise, 60.0))
        for absorption in (spectra.melanin_absorption(), np.ones(61))
    )
    base, in_colour, in_all = (mask.reflectance(points, CHANNELS).albedo for mask in (plain, pigmented, grey))
    of_mask, of_grey = (np.log(albedo / base).std(axis=0) for albedo in (in_colour, in_all))
    for contrast in (of_skin, of_mask):
        assert contrast[1] > 0.05 and contrast[3] < 0.4 * contrast[1]
    np.testing.assert_allclose(of_grey, of_grey[0], rtol=0.01)
