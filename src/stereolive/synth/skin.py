"""Skin: one reflectance spectrum an identity, varied over the face by melanin and blood.

Freckles, redness, lips and an uneven tan change absorption, and absorption has a spectrum: what stands out in blue and
green fades towards near-infrared by itself. Hair, eyes, teeth and make-up are painted with spectra of their own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.skin_paint import BALD, NUMBERS, REGIONS, SCALP_COVER, paint
from stereolive.synth.spectra import WAVELENGTH_NM, Channels
from stereolive.synth.surface import FloatArray, Reflectance, SurfacePoints

Spectrum = NDArray[np.float64]


@dataclass(frozen=True)
class Skin:
    """One identity's surface: skin, lips, brows, beard, short hair, eyes and teeth, as a material for a head's mesh."""

    group: int
    spectrum: Spectrum  # (61,) of bare skin
    numbers: FloatArray  # in the order of NUMBERS
    parts: NDArray[np.float64]  # (12, 61) in the order of SPECTRA
    melanin: Spectrum  # (61,) absorption of the maps
    blood: Spectrum
    scattering_mm: Spectrum  # (61,) diffusion length
    seed: int
    skin_map: FloatArray | None = None  # (H, W, 2) melanin and blood over the texture square
    hair_spectrum: Spectrum | None = None  # (61,) of head hair, for hair that is a mesh of its own

    @property
    def has_hair(self) -> bool:
        """Whether the head is neither bald nor shaved."""
        return bool(self.numbers[SCALP_COVER] > 0.7 and self.numbers[BALD] == 0)

    def channel_values(self, channels: Channels) -> tuple[FloatArray, FloatArray]:
        """Channel values (12, C) of the spectra and the effect (2, C) of melanin and blood on bare skin's.

        Absorption is averaged within a channel by what bare skin returns there, which is exact for small amounts.
        """
        base = channels.weights * self.spectrum
        shares = base / np.maximum(base.sum(axis=1, keepdims=True), 1e-12)
        absorb = np.stack([shares @ self.melanin, shares @ self.blood])
        return channels.integrate(self.parts), absorb.astype(np.float32)

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        count, width = len(points.rest_mm), len(channels.names)
        colors, absorb = self.channel_values(channels)
        regions = np.stack([points.regions[name] for name in REGIONS]).astype(np.float32, copy=False)
        mapped = np.zeros((count, 2), np.float32)
        if self.skin_map is not None and count:
            mapped = self._from_map(points)
        albedo = np.empty((count, width), np.float32)
        specular, roughness, bump = (np.empty(count, np.float32) for _ in range(3))
        rest = np.ascontiguousarray(points.rest_mm, np.float32)
        uv = np.ascontiguousarray(points.uv, np.float32)
        paint(
            rest, uv, regions, mapped, float(max(points.mm_per_pixel, 0.05)), self.numbers,
            np.ascontiguousarray(colors), np.ascontiguousarray(absorb), self.seed, albedo, specular, roughness, bump,
        )  # fmt: skip
        np.clip(albedo, 0.002, 0.95, out=albedo)
        scattering = channels.integrate(self.scattering_mm)
        return Reflectance(albedo, specular, roughness, None, bump, scattering)

    def _from_map(self, points: SurfacePoints) -> FloatArray:
        assert self.skin_map is not None
        size = np.array(self.skin_map.shape[1::-1], np.float32)
        place = points.uv * size - 0.5
        sampled = np.empty((len(place), 2), np.float32)
        # OpenCV's remap takes at most 32767 rows of output.
        for start in range(0, len(place), 30000):
            piece = place[start : start + 30000]
            x, y = np.ascontiguousarray(piece[:, :1], np.float32), np.ascontiguousarray(piece[:, 1:], np.float32)
            sampled[start : start + 30000] = cv2.remap(
                self.skin_map, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ).reshape(-1, 2)
        valid = np.clip(2 * points.regions["texture"] - 1, 0, 1) if "texture" in points.regions else 1.0
        return np.asarray(sampled * np.reshape(valid, (-1, 1)), np.float32)


_MAP_SIZE, _MAP_FULL = 1024, 2048
_MAP_CROP = (24, 53, 2035, 2024)
"""Box of the cropped MakeHuman skin maps within the full 2048 x 2048 texture square (left, top, right, bottom)."""


@functools.lru_cache(maxsize=16)
def _skin_map(path: Path) -> FloatArray:
    """Melanin and blood variation (H, W, 2) over the texture square from a skin colour map.

    Log colour against its own median over the head, split by least squares onto the absorptions of both at the peaks
    of common R, G, B sensors, after the slow changes that are painted-in shading were damped.
    """
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
    if image is None:
        raise ValueError(f"The skin map could not be read: {path}")
    left, top, right, bottom = _MAP_CROP
    log = np.log(np.maximum((image.astype(np.float32) / 255.0) ** 2.2, 0.004))
    log = cv2.resize(log, ((right - left) // 2, (bottom - top) // 2))
    full = np.zeros((_MAP_SIZE, _MAP_SIZE, 3), np.float32)
    full[:] = np.median(log[150:850, 670:], axis=(0, 1))
    full[top // 2 : top // 2 + log.shape[0], left // 2 : left // 2 + log.shape[1]] = log
    face = full[430:650, 760:1000]
    change = full - np.median(face, axis=(0, 1))
    slow = cv2.resize(change, (128, 128), interpolation=cv2.INTER_AREA)
    change -= 0.5 * cv2.resize(cv2.GaussianBlur(slow, (0, 0), 5.0), (_MAP_SIZE, _MAP_SIZE))
    at = np.searchsorted(WAVELENGTH_NM, (460.0, 540.0, 620.0))  # OpenCV's order: blue, green, red
    absorb = np.stack([spectra.melanin_absorption()[at], spectra.haemoglobin_absorption()[at]], axis=1)
    both = -change @ np.linalg.pinv(absorb).T.astype(np.float32)
    return np.ascontiguousarray(np.clip(both, -0.5, 0.7), np.float32)


@functools.lru_cache(maxsize=4)
def _measured(path: Path) -> NDArray[np.float64] | None:
    """Measured skin reflectance (P, 61) of a folder's HySpex file, constant below 415 and above 950 nm."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        wavelength, reflectance = archive["wavelength_nm"], archive["reflectance"]
    return np.stack([np.interp(WAVELENGTH_NM, wavelength, r) for r in reflectance]).astype(np.float64)


def _with_measured_shape(rng: np.random.Generator, spectrum: Spectrum, folder: Path) -> Spectrum:
    """The drawn spectrum with the near-infrared shape of a measured person of about the same red reflectance."""
    people = _measured(folder / "spectra" / "hyspex_skin.npz")
    if people is None:
        return spectrum
    red = int(np.searchsorted(WAVELENGTH_NM, 650.0))
    order = np.argsort(np.abs(np.log(people[:, red] / spectrum[red])))
    person = people[order[int(rng.integers(0, 6))]]
    shape = person / person[red]
    # A shape from much lighter skin would leave dark skin too dark beyond 700 nm: it is used where the two agree.
    if abs(np.log(person[red] / spectrum[red])) > 0.35:
        return spectrum
    share = np.clip((WAVELENGTH_NM - 640.0) / 60.0, 0, 1) * rng.uniform(0.5, 1.0)
    mixed = spectrum ** (1 - share) * np.maximum(shape * spectrum[red], 0.02) ** share
    return np.asarray(np.clip(mixed, 0.01, 0.85), np.float64)


def _flat(value: float) -> Spectrum:
    return np.full(len(WAVELENGTH_NM), value)


def _curve(knots_nm: tuple[float, ...], values: tuple[float, ...]) -> Spectrum:
    return np.asarray(np.interp(WAVELENGTH_NM, knots_nm, values), np.float64)


def _draw_iris(rng: np.random.Generator, group: int) -> Spectrum:
    """Iris reflectance: brown (dark in the visible), hazel, green, blue, grey; brighter in near-infrared in all."""
    light = {1: 0.75, 2: 0.6, 3: 0.4, 4: 0.15, 5: 0.03, 6: 0.0}[group]
    near = rng.uniform(0.07, 0.38)
    if rng.random() > light:
        v = rng.uniform(0.015, 0.07)
        values = (0.35 * v, 0.5 * v, v, 1.9 * v, 0.75 * near, near)
    else:
        v = rng.uniform(0.08, 0.2)
        blue = rng.uniform(0.7, 1.5)
        values = (blue * v, blue * v, v, v * rng.uniform(0.6, 1.1), 0.9 * near, near)
    return _curve((400.0, 460.0, 550.0, 640.0, 760.0, 900.0), values)


def _draw_lipstick(rng: np.random.Generator, skin_spectrum: Spectrum) -> Spectrum:
    """Lipstick: an organic red that clears before 700 nm, in tones from nude to plum."""
    edge = rng.uniform(575.0, 625.0)
    low, high = rng.uniform(0.02, 0.2), rng.uniform(0.25, 0.6)
    rise = 1 / (1 + np.exp(-(WAVELENGTH_NM - edge) / 12.0))
    tint = low + (high - low) * rise + rng.uniform(0, 0.04) * spectra.gaussian_band(440.0, 80.0)
    near = np.clip((WAVELENGTH_NM - 680.0) / 80.0, 0, 1)
    return np.asarray(tint * (1 - near) + skin_spectrum * rng.uniform(0.85, 1.1) * near, np.float64)


def _draw_numbers(rng: np.random.Generator, group: int) -> dict[str, float]:
    """All that varies over the face, except the spectra."""
    old = float(rng.beta(0.9, 1.3))
    pale = {1: 1.0, 2: 0.85, 3: 0.6, 4: 0.45, 5: 0.3, 6: 0.25}[group]
    feminine = rng.random() < 0.5
    made_up = feminine and rng.random() < 0.45
    beard = 0.0
    if not feminine:
        kind = rng.choice(4, p=[0.3, 0.3, 0.18, 0.22])
        beard = float((0.0, rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.6), rng.uniform(0.7, 0.96))[kind])
    # Heads without hair, faces without brows or lashes: else a bald head would be a sign of a mask.
    shaved = rng.random() < 0.3
    sparse = rng.random() < 0.15
    # What the visible sensor alone sees of skin: from even to as uneven as weather, scars and poor skin make it.
    uneven_melanin, uneven_blood = rng.lognormal(0.8, 0.8, 2)
    bald = float(rng.uniform(0.6, 1.0)) if shaved or (not feminine and rng.random() < 0.15 + 0.35 * old) else 0.0
    return {
        "blotch": float(rng.gamma(2.0, 0.035) * uneven_melanin),
        # Grains of one to three millimetres, as scanned faces show them.
        "mottle": float(min(rng.lognormal(np.log(0.2), 1.0), 1.0)),
        "freckle": float(rng.uniform(0.08, 0.4)) if rng.random() < 0.22 * pale + 0.03 else 0.0,
        "mole": float(rng.uniform(0.0, 0.12)),
        "tan": float(rng.normal(0.0, 0.06)),
        "flush": float(rng.gamma(2.0, 0.035) * uneven_blood) * (0.4 + 0.6 * pale),
        "cheeks": float(rng.gamma(1.5, 0.12)) * (0.35 + 0.65 * pale),
        "nose": float(rng.gamma(1.5, 0.11)) * (0.35 + 0.65 * pale),
        "circles": float(rng.gamma(1.2, 0.14)) + 0.1 * old,
        "redness": float(rng.uniform(0.2, 0.8)) if rng.random() < 0.25 else 0.0,
        "pore": float(np.clip(np.exp(rng.normal(np.log(0.03), 0.6)), 0.008, 0.13)),
        "relief": float(rng.uniform(0.0, 0.3) if rng.random() < 0.15 else rng.uniform(0.2, 2.4)),
        "age": old**1.5 * float(np.clip(rng.lognormal(0.2, 0.5), 0.3, 2.8)),
        "oil": _oil(rng),
        "oil_zone": float(rng.uniform(0.0, 0.9)),
        "roughness": float(rng.uniform(0.24, 0.65)),
        "f0": 0.028,
        "brow_edge": float(rng.uniform(0.46, 0.72)),
        "brow_cover": float(rng.uniform(0.35, 0.9)) * (float(rng.uniform(0.0, 0.6)) if sparse else 1.0),
        "beard_cover": beard,
        "beard_edge": float(rng.uniform(0.35, 0.75)),
        "moustache": 1.0 if rng.random() < 0.75 else float(rng.uniform(0.0, 0.5)),
        "scalp_cover": 0.0
        if bald and rng.random() < 0.65
        else float(rng.choice([rng.uniform(0.25, 0.6), rng.uniform(0.85, 0.98)], p=[0.2, 0.8])),
        "scalp_edge": float(np.clip(rng.normal(0.5 + 0.12 * old * (not feminine), 0.08), 0.25, 0.85)),
        "bald": bald,
        "strand": float(rng.uniform(0.2, 0.6)),
        "lash": (float(rng.uniform(0.5, 0.8)) + (0.25 if made_up else 0.0)) * (0.3 if sparse else 1.0),
        "iris_mm": float(rng.uniform(5.5, 6.3)),
        "pupil_mm": float(rng.uniform(1.2, 3.3)),
        "vein": float(rng.uniform(0.05, 0.45)),
        "lip_melanin": float(rng.uniform(0.0, 0.2)),
        "map": float(rng.uniform(0.2, 0.8)),
        "foundation": float(rng.uniform(0.3, 0.85)) if made_up else 0.0,
        "lipstick": float(rng.uniform(0.3, 0.95)) if made_up and rng.random() < 0.75 else 0.0,
        "shadow": float(rng.uniform(0.2, 0.75)) if made_up and rng.random() < 0.6 else 0.0,
        "blush": float(rng.uniform(0.1, 0.45)) if made_up and rng.random() < 0.6 else 0.0,
        "grey": old,
    }


def _oil(rng: np.random.Generator) -> float:
    """Gloss of skin, 1 as most have it: some shine, and some are powdered, or dry."""
    kind = rng.random()
    if kind < 0.12:
        return float(rng.uniform(1.2, 2.2))
    return float(rng.uniform(0.03, 0.5) if kind < 0.35 else rng.lognormal(-0.2, 0.3))


def draw_skin(rng: np.random.Generator, head_source: str, group: int | None, folder: Path | None) -> Skin:
    """One identity's skin.

    ``group`` 1..6 is about Fitzpatrick's type (by individual typology angle), drawn in equal parts where None.
    ``folder`` may hold measured spectra and skin colour maps; the maps fit anny and makehuman heads only.
    """
    if group is None:
        group = int(rng.integers(1, 7))
    spectrum = spectra.draw_skin_spectrum(rng, group)
    if folder is not None and rng.random() < 0.6:
        spectrum = _with_measured_shape(rng, spectrum, folder)
    numbers = _draw_numbers(rng, group)

    hair = spectra.draw_hair_spectrum(rng)
    if group >= 4 and rng.random() < 0.85:
        for _ in range(8):  # dark skin seldom goes with light hair, other than by age or dye
            if hair[15] < 0.06:
                break
            hair = spectra.draw_hair_spectrum(rng)
    grey = numbers["grey"] ** 2 * rng.uniform(0.0, 0.7)
    beard_hair = hair * (1 - grey) + grey * rng.uniform(0.2, 0.45)
    lips = spectra.draw_lip_spectrum(rng, spectrum)
    blood = spectra.haemoglobin_absorption(float(rng.uniform(0.55, 0.9)))
    sclera_near = rng.uniform(0.15, 0.62)
    sclera = _curve(
        (400.0, 500.0, 600.0, 700.0, 850.0, 1000.0), (0.42, 0.51, 0.56, 0.57, sclera_near, 0.8 * sclera_near)
    )
    tooth = rng.uniform(0.4, 0.75)
    yellow = rng.uniform(0.55, 0.95)
    teeth = tooth * _curve((400.0, 460.0, 560.0, 680.0, 850.0, 1000.0), (0.85 * yellow, yellow, 0.98, 1.0, 0.95, 0.85))
    mouth = np.clip(spectrum, 0.1, 0.5) * np.exp(-0.9 * blood) * 0.22
    foundation = spectrum * np.exp(rng.normal(0, 0.06)) * np.exp(0.15 * blood)
    # Foundation's white and iron oxides lie flat in near-infrared, where skin rises.
    flat = np.clip((WAVELENGTH_NM - 650.0) / 100.0, 0, 1) * rng.uniform(0.0, 0.25)
    foundation = foundation * (1 - flat) + flat * rng.uniform(0.4, 0.7)
    shadow = spectra.draw_fabric_spectrum(rng)
    vein = np.clip(sclera * np.exp(-0.7 * blood), 0.02, 1)
    parts = np.stack(
        [
            *(spectrum, lips, hair, beard_hair, _draw_iris(rng, group), sclera, teeth, mouth),
            *(foundation, _draw_lipstick(rng, spectrum), shadow, vein),
        ]
    )
    # Diffusion lengths of light in dermis: .3 mm in blue to 1.2 mm and more in near-infrared (Salomatina 2006).
    knots = np.array([0.25, 0.30, 0.55, rng.uniform(0.8, 1.2), rng.uniform(1.2, 3.0), rng.uniform(1.3, 3.0)])
    scattering = np.interp(WAVELENGTH_NM, (400.0, 450.0, 550.0, 640.0, 850.0, 1000.0), knots)
    scattering *= np.exp(rng.normal(-0.1, 0.4))
    # Under light that is hard in the picture as well: else hard shading would be a sign of a mask.
    if rng.random() < 0.3:
        scattering *= rng.uniform(0.0, 0.5)
    skin_map = None
    if folder is not None and head_source in ("anny", "makehuman"):
        paths = sorted((folder / "skins").glob("*.jpg"))
        if paths:
            skin_map = _skin_map(paths[int(rng.integers(0, len(paths)))])
    vector = np.array([numbers[name] for name in NUMBERS], np.float32)
    return Skin(
        group=group,
        spectrum=spectrum,
        numbers=vector,
        parts=parts,
        melanin=spectra.melanin_absorption(),
        blood=blood,
        scattering_mm=scattering,
        seed=int(rng.integers(1, 1_000_000)),
        skin_map=skin_map,
        hair_spectrum=hair,
    )
