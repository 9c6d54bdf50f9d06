"""What lights a scene: spectra of lamps, the surroundings, and the illuminations that presentations are taken under.

Radiometry: 1 is the spectral irradiance, at 550 nm, of a well-lit room (about 300 lux of daylight). Sun is some 100 of
it, a dim room 0.02. A lamp's near-infrared follows from its spectrum: none from LEDs, much from filament and sun.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth.spectra import WAVELENGTH_NM, Channels, gaussian_band
from stereolive.synth.surface import FloatArray

Spectrum = NDArray[np.float64]

ILLUMINATIONS = ("indoor_diffuse", "strong_side", "backlight", "dim", "night_nir_only", "sun")
ENVIRONMENT_SHAPE = (32, 64)
ENVIRONMENT_SAMPLES = 24


def blackbody(kelvin: float) -> Spectrum:
    """Planck's law over the wavelength grid, 1 at 550 nm."""
    metres = WAVELENGTH_NM * 1e-9
    radiance = metres**-5 / np.expm1(0.014388 / (metres * kelvin))
    return np.asarray(radiance / radiance[15])


def daylight(rng: np.random.Generator) -> Spectrum:
    """Sun or sky: a black body with the water band at 940 nm."""
    return blackbody(rng.uniform(5000, 7500)) * (1 - rng.uniform(0.2, 0.55) * gaussian_band(940, 40))


def led_lamp(rng: np.random.Generator) -> Spectrum:
    """A white LED or fluorescent tube: blue peak and phosphor, next to nothing beyond 750 nm."""
    warmth = rng.uniform(0, 1)
    phosphor = gaussian_band(555 + 45 * warmth, 120 + 20 * warmth)
    spectrum = (0.9 - 0.55 * warmth) * gaussian_band(450, 25) + phosphor + 0.002
    if rng.random() < 0.3:
        spectrum = spectrum * 0.5 + 1.2 * gaussian_band(545, 15) + 0.9 * gaussian_band(611, 15) * (0.6 + warmth)
    return np.asarray(spectrum / spectrum[12:19].mean())


def room_lamp(rng: np.random.Generator) -> Spectrum:
    """LED, filament or daylight from a window, as rooms have them."""
    kind = rng.choice(3, p=[0.5, 0.2, 0.3])
    if kind == 0:
        return led_lamp(rng)
    return blackbody(rng.uniform(2500, 3100)) if kind == 1 else daylight(rng)


@dataclass(frozen=True)
class SensorChannels(Channels):
    """Channels that also know the sensor without the light: what things that shine of their own are seen with."""

    response: Spectrum  # (C, 61)


def emitted(channels: Channels, radiance: Spectrum) -> FloatArray:
    """Channel values (..., C) of things that shine with spectra (..., 61)."""
    if not isinstance(channels, SensorChannels):
        raise TypeError("Things that shine need SensorChannels.")
    return np.asarray(radiance @ channels.response.T, np.float32)


@dataclass(frozen=True)
class Light:
    """A small source. ``spectrum`` is the irradiance it gives at ``reference_mm`` on its axis (the sun: anywhere)."""

    position_mm: FloatArray  # (3,); for the sun the unit vector towards it
    spectrum: Spectrum
    radius_mm: float  # the sun: tangent of its half angle
    is_sun: bool = False
    reference_mm: float = 1000.0
    axis: FloatArray = field(default_factory=lambda: np.array([0, 0, 1], np.float32))
    beam_exponent: float = 0.0  # radiance falls with cos(angle to axis) ** exponent


@dataclass(frozen=True)
class Lighting:
    """All light of one presentation."""

    lights: list[Light]
    lobes: list[tuple[FloatArray, Spectrum]]  # the surroundings: latitude-longitude radiance (32, 64), its spectrum
    window: tuple[Spectrum, float] | None  # spectrum and radiance of a window seen behind the subject
    flicker: float  # depth of a rolling band in near-infrared, 0 = none
    ambient: float  # share of light bounced between near surfaces


def environment_directions() -> NDArray[np.float64]:
    """Unit vectors (32, 64, 3) of the surroundings' pixels; row 0 is up (-y), the middle column looks to +z."""
    rows, columns = ENVIRONMENT_SHAPE
    polar = (np.arange(rows) + 0.5) / rows * np.pi
    azimuth = ((np.arange(columns) + 0.5) / columns * 2 - 1) * np.pi
    sin = np.sin(polar)[:, None]
    return np.stack([sin * np.sin(azimuth), -np.cos(polar)[:, None] + 0 * azimuth, sin * np.cos(azimuth)], axis=-1)


def _blob(direction: FloatArray, spread_deg: float) -> FloatArray:
    cosine = environment_directions() @ (direction / np.linalg.norm(direction))
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    # A box with soft edges looks like a window or a panel in a mirror.
    return np.clip((spread_deg - angle) / max(3.0, 0.25 * spread_deg) + 0.5, 0, 1).astype(np.float32)


def _normalised(lobe: FloatArray) -> FloatArray:
    """The lobe scaled so that a surface facing its best direction receives irradiance 1 (radiance / pi integrated)."""
    directions = environment_directions()
    solid = np.sin(np.arccos(-directions[..., 1])) * (np.pi / lobe.shape[0]) * (2 * np.pi / lobe.shape[1])
    mean = (directions * (lobe * solid)[..., None]).sum((0, 1))
    return np.asarray(lobe / max(float(np.linalg.norm(mean)) / np.pi, 1e-6), np.float32)


def _room(rng: np.random.Generator) -> FloatArray:
    """Diffuse light of a room: ceiling brighter than floor, walls uneven."""
    directions = environment_directions()
    base = 0.5 - rng.uniform(0.1, 0.45) * directions[..., 1]
    noise = cv2.resize(rng.uniform(0.5, 1.5, (4, 8)).astype(np.float32), (64, 32), interpolation=cv2.INTER_CUBIC)
    # Column 0 and 63 touch: make the pattern periodic.
    noise = 0.5 * (noise + noise[:, ::-1])
    return np.asarray(base * noise / base.mean(), np.float32)


def unit(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    """The vector (3,) at length one."""
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def draw_lighting(
    rng: np.random.Generator,
    illumination: str,
    subject_mm: NDArray[np.float64],
    nir_center_mm: NDArray[np.float64],
    led_nm: float,
) -> Lighting:
    """The light of one presentation around a subject at ``subject_mm``; the LED sits near the near-infrared sensor."""
    lights: list[Light] = []
    lobes: list[tuple[FloatArray, Spectrum]] = []
    window: tuple[Spectrum, float] | None = None
    room = room_lamp(rng)

    def lamp(direction: NDArray[np.float64], level: float, spectrum: Spectrum, size_mm: float) -> None:
        distance = rng.uniform(700, 2500)
        position = (subject_mm + unit(direction) * distance).astype(np.float32)
        lights.append(Light(position, spectrum * level, size_mm, reference_mm=distance))

    if illumination == "indoor_diffuse":
        level = np.exp(rng.uniform(np.log(0.3), np.log(2.5)))
        lobes.append((_room(rng), room * level * rng.uniform(0.35, 0.9)))
        for _ in range(rng.integers(1, 4)):
            direction = np.array([rng.normal(0, 1), rng.uniform(-1.5, 0.1), rng.normal(-0.4, 0.7)])
            spectrum = room if rng.random() < 0.7 else room_lamp(rng)
            lobes.append((_normalised(_blob(direction, rng.uniform(10, 40))), spectrum * level * rng.uniform(0.1, 0.5)))
        if rng.random() < 0.5:
            direction = np.array([rng.normal(0, 0.8), rng.uniform(-1.5, -0.3), -rng.uniform(0.2, 1)])
            lamp(direction, level * rng.uniform(0.15, 0.7), room, rng.uniform(60, 250))
    elif illumination == "strong_side":
        level = np.exp(rng.uniform(np.log(0.5), np.log(4)))
        side = rng.choice([-1.0, 1.0])
        direction = np.array([side, rng.uniform(-0.8, 0.25), rng.uniform(-0.7, 0.35)])
        spectrum = room_lamp(rng)
        lamp(direction, level, spectrum, rng.uniform(10, 140))
        lobes.append((_room(rng), room * level * rng.uniform(0.04, 0.25)))
        lobes.append((_normalised(_blob(direction, rng.uniform(8, 25))), spectrum * level * 0.15))
    elif illumination == "backlight":
        level = np.exp(rng.uniform(np.log(0.3), np.log(2)))
        sky = daylight(rng)
        window = (sky if rng.random() < 0.75 else room, level * rng.uniform(3, 14))
        # From a room as bright as its window down to a face that is a mere outline.
        lobes.append((_room(rng), room * level * np.exp(rng.uniform(np.log(0.02), np.log(0.5)))))
        behind = np.array([rng.normal(0, 0.4), rng.normal(-0.2, 0.2), 1.0])
        lobes.append((_normalised(_blob(behind, rng.uniform(20, 45))), window[0] * level * rng.uniform(1, 3)))
        if rng.random() < 0.5:
            direction = np.array([rng.choice([-1, 1]) * rng.uniform(0.4, 1), rng.uniform(-0.9, 0), rng.uniform(0.5, 1)])
            lamp(direction, level * rng.uniform(1, 4), window[0], rng.uniform(80, 300))
    elif illumination == "dim":
        level = np.exp(rng.uniform(np.log(0.004), np.log(0.05)))
        lobes.append((_room(rng), room * level))
        direction = np.array([rng.normal(0, 1), rng.uniform(-1.2, 0.3), rng.normal(-0.3, 0.7)])
        lamp(direction, level * rng.uniform(0.2, 1.0), room_lamp(rng), rng.uniform(30, 200))
    elif illumination == "night_nir_only":
        lobes.append((_room(rng), led_lamp(rng) * 10 ** rng.uniform(-6, -4)))
    elif illumination == "sun":
        level = np.exp(rng.uniform(np.log(15), np.log(110)))
        sun = blackbody(rng.uniform(4800, 5800)) * (1 - rng.uniform(0.2, 0.6) * gaussian_band(940, 40))
        towards = unit(np.array([rng.normal(0, 0.8), -rng.uniform(0.35, 1.4), -rng.uniform(-0.4, 1.0)]))
        lights.append(Light(towards.astype(np.float32), sun * level, 0.0047 * rng.uniform(1, 4), is_sun=True))
        up = np.clip(0.6 - environment_directions()[..., 1], 0.15, None).astype(np.float32)
        sky = blackbody(rng.uniform(8000, 15000))
        lobes.append((up * _room(rng), sky * level * rng.uniform(0.08, 0.22)))
        down = np.clip(environment_directions()[..., 1], 0, None).astype(np.float32)
        lobes.append((_normalised(down), sun * level * rng.uniform(0.05, 0.2)))
        if rng.random() < 0.2:
            window = (sky, level * rng.uniform(0.5, 2))
    else:
        raise ValueError(f"Unknown illumination {illumination!r}; known: {', '.join(ILLUMINATIONS)}.")

    led_off = {"indoor_diffuse": 0.06, "sun": 0.3, "backlight": 0.05}.get(illumination, 0.0)
    nir_of_room = float(sum(lobe.mean() * s[40:56].mean() for lobe, s in lobes))
    if rng.random() >= led_off or nir_of_room < 0.3:
        lights.extend(_draw_leds(rng, subject_mm, nir_center_mm, led_nm))
    flicker = rng.uniform(0.05, 0.5) if rng.random() < 0.04 else 0.0
    return Lighting(lights, lobes, window, flicker, rng.uniform(0.05, 0.2))


def _draw_leds(
    rng: np.random.Generator, subject_mm: NDArray[np.float64], nir_center_mm: NDArray[np.float64], led_nm: float
) -> list[Light]:
    """One or two LEDs within some centimetres of the sensor, aimed about where it looks."""
    strength = np.exp(rng.uniform(np.log(1.0), np.log(25.0)))
    spectrum = gaussian_band(led_nm, rng.uniform(30, 45)) * strength
    axis = unit(np.array([rng.normal(0, 0.08), rng.normal(0, 0.08), 1.0])).astype(np.float32)
    exponent = float(rng.choice([rng.uniform(1.5, 5), rng.uniform(5, 18)]))
    offset = rng.normal(0, 1, 3) * np.array([18, 14, 2])
    radius = rng.uniform(1.5, 8)
    position = nir_center_mm + offset
    leds = [Light(position.astype(np.float32), spectrum, radius, False, 500.0, axis, exponent)]
    if rng.random() < 0.3:
        other = nir_center_mm - offset * rng.uniform(0.8, 1.2) + rng.normal(0, 3, 3) * np.array([1, 1, 0])
        leds.append(
            Light(other.astype(np.float32), spectrum * rng.uniform(0.7, 1.0), radius, False, 500.0, axis, exponent)
        )
    return leds


def environment_samples() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Directions (24, 3) spread evenly over the sphere (Fibonacci lattice), and their pixels in the surroundings."""
    index = np.arange(ENVIRONMENT_SAMPLES) + 0.5
    y = 1 - 2 * index / ENVIRONMENT_SAMPLES
    azimuth = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - y * y)
    directions = np.stack([radius * np.cos(azimuth), y, radius * np.sin(azimuth)], axis=1)
    rows, columns = ENVIRONMENT_SHAPE
    row = np.clip((np.arccos(-directions[:, 1]) / np.pi * rows).astype(int), 0, rows - 1)
    column = ((np.arctan2(directions[:, 0], directions[:, 2]) / (2 * np.pi) + 0.5) * columns).astype(int) % columns
    return directions, row * columns + column


def environment_maps(lighting: Lighting, response: Spectrum) -> tuple[FloatArray, FloatArray]:
    """The surroundings as a sensor with ``response`` (C, 61) sees them.

    Returns (levels, 32, 64, C) blurred for rougher and rougher mirrors, and the radiance of the samples (24, C).
    """
    image = np.zeros((*ENVIRONMENT_SHAPE, len(response)), np.float32)
    for lobe, spectrum in lighting.lobes:
        image += lobe[..., None] * (response @ spectrum).astype(np.float32)

    def blurred(sigma: float) -> FloatArray:
        pad = 16
        wide = np.concatenate([image[:, -pad:], image, image[:, :pad]], axis=1)
        soft = cv2.GaussianBlur(wide, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(soft, np.float32).reshape(wide.shape)[:, pad:-pad]

    levels = np.stack([image, blurred(1.0), blurred(2.5), blurred(6.0)])
    _, pixel = environment_samples()
    # The samples carry what lies around them: light is neither lost nor counted twice.
    samples = blurred(2.8).reshape(-1, len(response))[pixel]
    solid = np.sin((np.arange(ENVIRONMENT_SHAPE[0]) + 0.5) / ENVIRONMENT_SHAPE[0] * np.pi)[:, None, None]
    truth = (image * solid).sum((0, 1)) / (solid.sum() * ENVIRONMENT_SHAPE[1])
    return levels, np.asarray(samples * truth / np.maximum(samples.mean(0), 1e-9), np.float32)


def light_gains(lights: list[Light], response: Spectrum) -> FloatArray:
    """Channel values (L, C) of the lights' spectra."""
    if not lights:
        return np.zeros((0, len(response)), np.float32)
    return np.asarray(np.stack([light.spectrum for light in lights]) @ response.T, np.float32)


def typical_spectrum(lighting: Lighting, subject_mm: NDArray[np.float64]) -> Spectrum:
    """The light at the subject, (61,): what a sensor's response must be weighted with."""
    total = np.full(61, 1e-9)
    for lobe, spectrum in lighting.lobes:
        total = total + float(lobe.mean()) * spectrum
    for light in lighting.lights:
        near = 1.0 if light.is_sun else (light.reference_mm / np.linalg.norm(subject_mm - light.position_mm)) ** 2
        total = total + near * light.spectrum
    return total
