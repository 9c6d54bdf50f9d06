"""Wavelengths, spectra and the channels of a sensor.

Every colour in a rendered presentation starts as one reflectance spectrum over ``WAVELENGTH_NM`` and becomes channel
values only by integration with a sensor's response, so visible colour and near-infrared brightness of a thing belong
to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

WAVELENGTH_NM: NDArray[np.float64] = np.arange(400.0, 1001.0, 10.0)
"""The grid of all spectra, shape (61,)."""


def gaussian_band(center_nm: float, fwhm_nm: float) -> NDArray[np.float64]:
    """A Gaussian band over ``WAVELENGTH_NM``, shape (61,), peak 1."""
    sigma = fwhm_nm / 2.354820045
    return np.exp(-0.5 * ((WAVELENGTH_NM - center_nm) / sigma) ** 2)


@dataclass(frozen=True)
class Channels:
    """The channels that one presentation is rendered in: those of the first sensor, then those of the second.

    ``weights`` is (C, 61): sensor response x reference illuminant, each row summing to 1, so that ``integrate`` of a
    reflectance spectrum gives the reflectance that the channel sees.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]

    def integrate(self, spectrum: NDArray[np.float64]) -> FloatArray:
        """Channel values (..., C) of spectra (..., 61)."""
        return np.asarray(spectrum @ self.weights.T, np.float32)


SKIN_KNOTS_NM = (450.0, 550.0, 650.0, 850.0, 940.0)
SKIN_MEAN = np.array(
    [
        [0.295, 0.335, 0.563, 0.640, 0.545],
        [0.242, 0.296, 0.531, 0.610, 0.519],
        [0.194, 0.255, 0.487, 0.553, 0.472],
        [0.150, 0.211, 0.427, 0.533, 0.459],
        [0.102, 0.153, 0.320, 0.468, 0.424],
        [0.060, 0.083, 0.169, 0.358, 0.370],
    ]
)
SKIN_SD = np.array(
    [
        [0.019, 0.029, 0.029, 0.032, 0.027],
        [0.018, 0.029, 0.035, 0.032, 0.027],
        [0.013, 0.024, 0.037, 0.039, 0.035],
        [0.015, 0.020, 0.039, 0.043, 0.038],
        [0.018, 0.023, 0.052, 0.040, 0.028],
        [0.010, 0.015, 0.039, 0.036, 0.030],
    ]
)
"""Skin reflectance of groups I-VI (about Fitzpatrick) at ``SKIN_KNOTS_NM``: ISSA face sites below 700 nm, HySpex cheeks
above; group I above 700 nm and the spread of VI at 940 nm are continued from the neighbouring groups."""

# Molar absorption of oxygenated and deoxygenated haemoglobin, 1/(cm M), after S. Prahl's compilation, coarsened.
_HB_NM = (
    *(400.0, 410.0, 420.0, 430.0, 440.0, 450.0, 460.0, 470.0, 480.0, 490.0, 500.0, 510.0, 520.0, 530.0, 540.0, 550.0),
    *(560.0, 570.0, 580.0, 590.0, 600.0, 610.0, 620.0, 640.0, 660.0, 700.0, 750.0, 800.0, 850.0, 900.0, 950.0, 1000.0),
)
_HB_OXY = (
    *(266e3, 467e3, 480e3, 246e3, 103e3, 62.8e3, 44.5e3, 33.2e3, 26.6e3, 23.7e3, 20.9e3, 20.0e3, 24.2e3, 40.0e3),
    *(
        53.2e3,
        43.0e3,
        32.6e3,
        44.5e3,
        50.1e3,
        14.4e3,
        3.2e3,
        1.5e3,
        942.0,
        442.0,
        319.0,
        290.0,
        518.0,
        816.0,
        1058.0,
        1198.0,
    ),
    *(1204.0, 1024.0),
)
_HB_DEOXY = (
    *(223e3, 304e3, 408e3, 529e3, 413e3, 103e3, 23.4e3, 16.2e3, 14.6e3, 16.7e3, 20.9e3, 25.8e3, 31.6e3, 39.0e3),
    *(
        46.6e3,
        53.4e3,
        53.8e3,
        45.1e3,
        37.0e3,
        28.3e3,
        14.7e3,
        9.4e3,
        6.5e3,
        4.3e3,
        3.2e3,
        1.8e3,
        1.4e3,
        761.0,
        691.0,
        761.0,
    ),
    *(602.0, 206.0),
)


def _through(knots_nm: tuple[float, ...], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth curve (61,) through values at given wavelengths, constant beyond the ends."""
    from scipy.interpolate import PchipInterpolator

    inside = np.clip(WAVELENGTH_NM, knots_nm[0], knots_nm[-1])
    return np.asarray(PchipInterpolator(knots_nm, values)(inside), np.float64)


def _wiggle(rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """A smooth random factor around 1, (61,): no two samples of a material have exactly the same spectrum."""
    knots = (400.0, 500.0, 600.0, 700.0, 850.0, 1000.0)
    return np.exp(_through(knots, rng.normal(0.0, amount, 6)))


def melanin_absorption() -> NDArray[np.float64]:
    """Melanin's absorption relative to 550 nm, (61,): the power law lambda^-3.33 (Jacques 1998)."""
    return (WAVELENGTH_NM / 550.0) ** -3.33


def haemoglobin_absorption(oxygenation: float = 0.7) -> NDArray[np.float64]:
    """Blood's effect on diffuse reflectance relative to 550 nm, (61,).

    The exponent below 1 is the compression that blood lying under a scattering layer undergoes: diffuse reflectance
    falls with about the root of absorption where absorption is strong. Blue light hardly reaches the vessels, so its
    part is reduced further.
    """
    oxy = np.interp(WAVELENGTH_NM, _HB_NM, np.log(_HB_OXY))
    deoxy = np.interp(WAVELENGTH_NM, _HB_NM, np.log(_HB_DEOXY))
    mixed = oxygenation * np.exp(oxy) + (1.0 - oxygenation) * np.exp(deoxy)
    shallow = 0.55 + 0.45 / (1.0 + np.exp(-(WAVELENGTH_NM - 490.0) / 15.0))
    return np.asarray((mixed / mixed[15]) ** 0.65 * shallow, np.float64)


def draw_skin_spectrum(rng: np.random.Generator, group: int) -> NDArray[np.float64]:
    """Skin reflectance (61,) of one identity of group 1..6.

    Fractional groups are drawn around the whole one, so that the groups meet without gaps. One common score moves all
    wavelengths (R650 and R850 correlate by .9 over people), smaller ones move each knot and the far end.
    """
    if not 1 <= group <= 6:
        raise ValueError(f"A skin group is 1..6, got {group}.")
    place = float(np.clip(group - 1 + rng.uniform(-0.5, 0.5), 0.0, 5.0))
    mean = np.array([np.interp(place, range(6), SKIN_MEAN[:, k]) for k in range(5)])
    sd = np.array([np.interp(place, range(6), SKIN_SD[:, k]) for k in range(5)])
    common = rng.normal(0.0, 0.8)
    value = mean + sd * (common + 0.6 * rng.normal(0.0, 1.0, 5))
    value = np.clip(value, 0.6 * mean, 1.5 * mean)
    r450, r550, r650, r850, r940 = value
    # Between the tabulated wavelengths: the blood bands at 542 and 577 nm, the steep rise after 590 nm, the water
    # band at 970 nm. Their places are anatomy, their depths follow the tabulated values.
    knots = np.array([400, 430, 450, 510, 530, 550, 575, 600, 620, 650, 700, 760, 800, 850, 900, 940, 970, 1000.0])
    r700 = r650 + (0.30 + 0.06 * rng.normal()) * max(r850 - r650, 0.02)
    r570 = 0.965 * r550
    curve = np.array(
        [
            0.72 * r450,
            0.83 * r450,
            r450,
            r450 + 0.85 * (r550 - r450) + 0.01 * r550,
            r450 + 0.95 * (r550 - r450),
            r550,
            r570,
            r570 + 0.52 * (r650 - r570),
            r570 + 0.80 * (r650 - r570),
            r650,
            r700,
            r700 + 0.40 * (r850 - r700),
            r700 + 0.85 * (r850 - r700),
            r850,
            r850 + 0.22 * (r940 - r850),
            r940,
            r940 * 0.965,
            r940 * 1.0,
        ]
    )
    from scipy.interpolate import PchipInterpolator

    spectrum = np.asarray(PchipInterpolator(knots, curve)(WAVELENGTH_NM), np.float64)
    return np.clip(spectrum * _wiggle(rng, 0.01), 0.01, 0.9)


def draw_lip_spectrum(rng: np.random.Generator, skin_spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lips (61,): the identity's skin with more blood, in dark skin also more melanin than its redness suggests."""
    blood = rng.uniform(0.25, 0.85)
    pigment = rng.uniform(-0.05, 0.35)
    absorbance = blood * haemoglobin_absorption(rng.uniform(0.6, 0.85)) + pigment * melanin_absorption()
    # Lips are pink, not orange: their thin skin has little of the yellow pigments that darken blue elsewhere.
    blue = np.exp(rng.uniform(0.05, 0.25) * gaussian_band(450.0, 120.0))
    return np.clip(skin_spectrum * np.exp(-absorbance) * blue * rng.uniform(0.95, 1.08), 0.01, 0.9)


def draw_paper_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Paper (61,): office, photo and recycled paper; white ones .70-.92 everywhere, a few yellowish or brown."""
    level = rng.uniform(0.70, 0.92)
    yellow = rng.uniform(0.0, 0.12) if rng.random() < 0.8 else rng.uniform(0.12, 0.5)
    knots = (400.0, 430.0, 480.0, 560.0, 700.0, 850.0, 940.0, 1000.0)
    shape = np.array([0.75, 0.97 - 0.6 * yellow, 1 - yellow, 1 - 0.4 * yellow, 1.0, 1.0, 0.99, 0.98])
    return np.clip(level * _through(knots, shape) * _wiggle(rng, 0.015), 0.05, 0.95)


def _ink(
    rng: np.random.Generator, center_nm: float, fwhm_nm: float, density: float, rest: float
) -> NDArray[np.float64]:
    """Transmittance (61,) of a full ink layer passed twice: one absorption band over a weak grey background."""
    band = gaussian_band(center_nm + rng.normal(0.0, 6.0), fwhm_nm * rng.uniform(0.9, 1.15))
    return np.asarray(10.0 ** -(density * band + rest), np.float64)


def dye_ink_transmittances(rng: np.random.Generator) -> NDArray[np.float64]:
    """Full-coverage transmittances (3, 61) of dye cyan, magenta and yellow; beyond 760 nm nearly clear."""
    density = rng.uniform(1.0, 1.9, 3)
    rest = rng.uniform(0.0, 0.03, 3)
    cyan = _ink(rng, 635.0, rng.uniform(125.0, 160.0), density[0], rest[0])
    magenta = _ink(rng, 545.0, rng.uniform(85.0, 115.0), density[1], rest[1])
    yellow = _ink(rng, 435.0, rng.uniform(85.0, 115.0), density[2], rest[2])
    return np.stack([cyan, magenta, yellow])


def pigment_ink_transmittances(rng: np.random.Generator) -> NDArray[np.float64]:
    """Full-coverage transmittances (3, 61) of pigment cyan, magenta and yellow: broader bands, some NIR residue."""
    density = rng.uniform(0.9, 1.7, 3)
    rest = rng.uniform(0.01, 0.09, 3)
    cyan = _ink(rng, 645.0, rng.uniform(150.0, 210.0), density[0], rest[0])
    magenta = _ink(rng, 540.0, rng.uniform(95.0, 130.0), density[1], rest[1])
    yellow = _ink(rng, 430.0, rng.uniform(95.0, 125.0), density[2], rest[2])
    return np.stack([cyan, magenta, yellow])


def carbon_black_transmittance(rng: np.random.Generator) -> NDArray[np.float64]:
    """Transmittance (61,) of a full layer of carbon toner or pigment black: flat, .03-.11 at all wavelengths."""
    tilt = rng.uniform(0.0, 0.3) * (WAVELENGTH_NM - 400.0) / 600.0
    return np.clip(rng.uniform(0.03, 0.085) * np.exp(tilt) * _wiggle(rng, 0.03), 0.02, 0.15)


def dye_black_transmittance(rng: np.random.Generator) -> NDArray[np.float64]:
    """Transmittance (61,) of a full layer of dye black: dark in the visible, clear in near-infrared."""
    edge = 1.0 / (1.0 + np.exp(-(WAVELENGTH_NM - rng.uniform(710.0, 790.0)) / rng.uniform(12.0, 25.0)))
    dark = rng.uniform(0.03, 0.09)
    return np.clip(dark + (rng.uniform(0.8, 0.95) - dark) * edge, 0.02, 1.0)


def draw_silicone_spectrum(rng: np.random.Generator, skin_spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Skin-tinted silicone (61,): skin's colour in the visible, its own level in near-infrared (.38-.75).

    ``skin_spectrum`` is what the tint imitates. The pigments are iron oxides and dyes, so the blood bands are missing
    and the near-infrared level is that of the pigmented base; a third of the castings happen to meet skin there.
    """
    visible = np.interp(WAVELENGTH_NM, (400.0, 450.0, 550.0, 650.0, 1000.0), skin_spectrum[[0, 5, 15, 25, 25]])
    visible = visible * np.exp(rng.normal(0.0, 0.10)) * _wiggle(rng, 0.04)
    near = rng.uniform(0.38, 0.75) if rng.random() < 0.67 else skin_spectrum[45] * rng.uniform(0.85, 1.2)
    near = max(near, visible[25] * 0.9)
    edge = 1.0 / (1.0 + np.exp(-(WAVELENGTH_NM - rng.uniform(660.0, 760.0)) / rng.uniform(18.0, 50.0)))
    # Silicone's own C-H overtone lies near 905 nm.
    overtone = 1.0 - rng.uniform(0.0, 0.08) * gaussian_band(908.0, 30.0)
    return np.asarray(np.clip((visible + (near - visible) * edge) * overtone, 0.02, 0.85), np.float64)


def draw_latex_spectrum(rng: np.random.Generator, skin_spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Latex (61,): creamy to painted skin colour, .3-.7 in the visible, .40-.80 in near-infrared."""
    cream = _through((400.0, 450.0, 550.0, 650.0, 850.0, 1000.0), np.array([0.25, 0.38, 0.52, 0.6, 0.62, 0.6]))
    tint = rng.uniform(0.1, 1.0)
    visible = cream ** (1.0 - tint) * skin_spectrum**tint * np.exp(rng.normal(0.0, 0.12)) * _wiggle(rng, 0.04)
    near = max(rng.uniform(0.40, 0.80), visible[25] * 0.85)
    edge = 1.0 / (1.0 + np.exp(-(WAVELENGTH_NM - rng.uniform(660.0, 780.0)) / rng.uniform(20.0, 60.0)))
    return np.asarray(np.clip(visible + (near - visible) * edge, 0.02, 0.85), np.float64)


def draw_mask_paint_transmittance(rng: np.random.Generator, skin_spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transmittance (61,) of skin-coloured paint on a white base; acrylic pigments clear up to .7-1 beyond 750 nm."""
    visible = np.clip(skin_spectrum / 0.8 * np.exp(rng.normal(0.0, 0.1)) * _wiggle(rng, 0.05), 0.02, 1.0)
    near = rng.uniform(0.5, 1.0)
    edge = 1.0 / (1.0 + np.exp(-(WAVELENGTH_NM - rng.uniform(680.0, 780.0)) / rng.uniform(20.0, 60.0)))
    return np.asarray(np.clip(visible + (near - visible) * edge, 0.02, 1.0), np.float64)


def draw_resin_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Resin, PLA or ABS of a printed mask (61,): white, grey, beige, translucent yellow, sometimes carbon black."""
    kind = rng.choice(5, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    knots = (400.0, 450.0, 550.0, 650.0, 850.0, 1000.0)
    if kind == 0:  # white
        shape = rng.uniform(0.60, 0.88) * np.array([0.75, 0.97, 1.0, 1.0, 1.0, 0.97])
    elif kind == 1:  # grey
        shape = rng.uniform(0.12, 0.5) * np.array([0.9, 0.98, 1.0, 1.0, rng.uniform(0.95, 1.5), rng.uniform(0.95, 1.5)])
    elif kind == 2:  # beige, "skin" filament
        near = rng.uniform(0.5, 0.8)
        shape = np.array([0.2, 0.33, 0.48, 0.62, near, near]) * rng.uniform(0.6, 1.1)
    elif kind == 3:  # amber
        shape = np.array([0.1, 0.2, 0.45, 0.55, 0.6, 0.58]) * rng.uniform(0.6, 1.2)
    else:
        shape = rng.uniform(0.03, 0.08) * np.ones(6)
    return np.clip(_through(knots, shape) * _wiggle(rng, 0.03), 0.02, 0.92)


def draw_plaster_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Plaster (61,): .75-.92, hardly changing with wavelength, a little yellow."""
    yellow = rng.uniform(0.0, 0.1)
    knots = (400.0, 480.0, 600.0, 850.0, 1000.0)
    shape = rng.uniform(0.75, 0.92) * np.array([0.93 - yellow, 1 - yellow, 1.0, 1.0, 0.96])
    return np.clip(_through(knots, shape) * _wiggle(rng, 0.015), 0.3, 0.95)


def draw_fabric_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Cloth (61,): white, or dyed in any colour; most dyes clear beyond 720 nm (.3-.8), some blacks are carbon."""
    if rng.random() < 0.2:
        return np.clip(rng.uniform(0.6, 0.85) * _wiggle(rng, 0.03), 0.05, 0.92)
    base = rng.uniform(0.5, 0.85)
    depth = rng.uniform(0.0, 1.0, 3) ** 1.5 * rng.uniform(0.2, 2.0)
    if rng.random() < 0.35:  # black, navy, dark grey: what most people wear
        depth = rng.uniform(0.6, 1.2) + rng.uniform(-0.1, 0.25, 3)
    absorbance = sum(
        d * gaussian_band(c, w) for d, c, w in zip(depth, (440.0, 540.0, 640.0), (130.0, 120.0, 130.0), strict=True)
    )
    carbon = rng.uniform(0.3, 1.1) if rng.random() < 0.15 else rng.uniform(0.0, 0.25)
    return np.asarray(np.clip(base * 10.0 ** -(absorbance + carbon) * _wiggle(rng, 0.04), 0.02, 0.92), np.float64)


def draw_hair_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Head hair (61,): black, brown, red, blond, grey to white; near-infrared brighter than visible in all."""
    kind = rng.choice(5, p=[0.38, 0.27, 0.06, 0.14, 0.15])
    knots = (400.0, 450.0, 550.0, 650.0, 750.0, 850.0, 1000.0)
    if kind == 0:
        v, near = rng.uniform(0.015, 0.045), rng.uniform(0.05, 0.32)
        shape = np.array([v, v, v, v * rng.uniform(1.0, 1.4), v * 1.7, near, near * rng.uniform(1.1, 1.6)])
    elif kind == 1:
        v = rng.uniform(0.03, 0.09)
        n = rng.uniform(0.14, 0.4)
        shape = np.array([0.6 * v, 0.7 * v, v, 1.8 * v, 0.5 * (1.8 * v + n), n, 1.15 * n])
    elif kind == 2:
        v = rng.uniform(0.05, 0.12)
        n = rng.uniform(0.3, 0.55)
        shape = np.array([0.4 * v, 0.5 * v, v, 2.8 * v, 0.5 * (2.8 * v + n), n, 1.05 * n])
    elif kind == 3:
        v = rng.uniform(0.11, 0.28)
        n = rng.uniform(0.32, 0.6)
        shape = np.array([0.45 * v, 0.6 * v, v, 1.45 * v, 0.5 * (1.5 * v + n), n, n])
    else:
        v = rng.uniform(0.12, 0.55)
        n = v * rng.uniform(1.05, 1.3)
        shape = np.array([0.8 * v, 0.9 * v, v, 1.03 * v, 1.05 * v, n, n])
    shape = np.maximum.accumulate(shape)
    return np.clip(_through(knots, shape) * _wiggle(rng, 0.04), 0.01, 0.75)


def draw_plastic_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Coloured plastic (61,): frames of glasses, device bodies; half are black, of these half absorb only visible."""
    if rng.random() < 0.5:
        dark = rng.uniform(0.03, 0.08)
        near = dark if rng.random() < 0.5 else rng.uniform(0.1, 0.6)
        edge = 1.0 / (1.0 + np.exp(-(WAVELENGTH_NM - rng.uniform(700.0, 780.0)) / 25.0))
        return np.clip(dark + (near - dark) * edge, 0.02, 0.8)
    return draw_fabric_spectrum(rng)


def draw_metal_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Metal (61,), as F0: steel and aluminium flat, gold and copper rising through the visible."""
    if rng.random() < 0.7:
        return np.clip(rng.uniform(0.45, 0.85) * _wiggle(rng, 0.02), 0.2, 0.95)
    shape = np.array([0.38, 0.42, 0.72, 0.88, 0.93, 0.95])
    return _through((400.0, 460.0, 540.0, 620.0, 850.0, 1000.0), shape) * rng.uniform(0.8, 1.0)


def draw_wall_spectrum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Background (61,): white and tinted paint, wood, leaves, brick, dark cloth."""
    kind = rng.choice(5, p=[0.4, 0.2, 0.1, 0.12, 0.18])
    if kind == 0:
        tint = _through((400.0, 450.0, 550.0, 650.0, 850.0, 1000.0), rng.uniform(0.75, 1.0, 6))
        return np.clip(rng.uniform(0.4, 0.9) * tint, 0.03, 0.95)
    if kind == 1:  # wood
        n = rng.uniform(0.35, 0.75)
        shape = n * np.array([0.15, 0.22, 0.42, 0.62, 0.9, 1.0])
    elif kind == 2:  # leaves: the red edge
        n = rng.uniform(0.35, 0.6)
        green = rng.uniform(0.06, 0.16)
        shape = np.array([0.04, 0.05, green, 0.05, n, n])
    elif kind == 3:  # brick, clay
        n = rng.uniform(0.25, 0.55)
        shape = n * np.array([0.2, 0.25, 0.4, 0.8, 1.0, 1.05])
    else:
        return draw_fabric_spectrum(rng)
    return np.clip(_through((400.0, 450.0, 550.0, 650.0, 850.0, 1000.0), shape) * _wiggle(rng, 0.04), 0.02, 0.95)
