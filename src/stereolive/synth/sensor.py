"""From radiance to a file's pixels: optics, exposure, noise, the image processor, and compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth.spectra import WAVELENGTH_NM, gaussian_band
from stereolive.synth.surface import FloatArray

Spectrum = NDArray[np.float64]


def visible_response(rng: np.random.Generator) -> Spectrum:
    """Blue, green, red of a colour sensor, (3, 61), with its infrared cut filter; filters differ and leak a little."""
    shift = rng.normal(0, 6, 3)
    bands = np.stack(
        [
            gaussian_band(460 + shift[0], rng.uniform(70, 100)) + 0.06 * gaussian_band(560, 120),
            gaussian_band(538 + shift[1], rng.uniform(80, 115)) + 0.05 * gaussian_band(460, 80),
            gaussian_band(602 + shift[2], rng.uniform(70, 100)) + 0.05 * gaussian_band(530, 90),
        ]
    )
    cut = 1 / (1 + np.exp((WAVELENGTH_NM - rng.uniform(640, 680)) / 8))
    leak = rng.uniform(0.0, 0.004) if rng.random() < 0.8 else rng.uniform(0.004, 0.04)
    silicon = np.clip((1050 - WAVELENGTH_NM) / 400, 0, 1)
    bands = bands * cut + leak * silicon * (WAVELENGTH_NM > 750)
    return np.asarray(bands / bands.sum(axis=1, keepdims=True))


def near_infrared_response(rng: np.random.Generator, led_nm: float) -> Spectrum:
    """One channel (1, 61): a band filter around the LED, a long-pass filter, or bare silicon."""
    silicon = np.clip((1050 - WAVELENGTH_NM) / 450, 0, 1)
    kind = rng.choice(3, p=[0.72, 0.2, 0.08])
    if kind == 0:
        band = gaussian_band(led_nm + rng.normal(0, 5), rng.uniform(30, 80)) + rng.uniform(0, 0.003)
    elif kind == 1:
        band = 1 / (1 + np.exp(-(WAVELENGTH_NM - rng.uniform(700, 800)) / 10))
    else:
        band = np.clip((WAVELENGTH_NM - 350) / 150, 0, 1)
    band = band * silicon
    return np.asarray(band / band[35:56].sum())[None]


@dataclass(frozen=True)
class Sensor:
    """One sensor with its lens and image processor, drawn once per rig and then the same in all its pictures."""

    seed: int  # of what is fixed in silicon: pattern noise and hot pixels
    near_infrared: bool
    response: Spectrum  # (C, 61)
    blur_px: float
    vignetting: float  # loss at the corners
    full_well: float  # electrons at gain 1
    read_noise: float  # electrons at gain 1
    max_gain: float
    reference: float  # radiance that saturates at gain 1 and the longest exposure
    pattern: float
    hot_share: float
    gamma: float  # 0: sRGB
    black: float
    sharpening: float
    demosaic_px: float
    saturation: float
    bits: int  # stored depth: 8, or 10 / 12 in a 16-bit file
    jpeg_quality: int  # 0: PNG
    as_colour: bool  # a near-infrared picture stored with three equal channels
    mirrored: float  # share of mirrored light that it sees: less where it and its lamp have crossed polarisers


def draw_sensor(rng: np.random.Generator, near_infrared: bool, led_nm: float) -> Sensor:
    """A sensor with everything about it that may vary; ``led_nm``: of the lamp that its near-infrared filter fits."""
    deep = near_infrared and rng.random() < 0.12
    curve = [0.55, 0.25, 0.2] if near_infrared else [0.75, 0.2, 0.05]
    return Sensor(
        seed=int(rng.integers(2**31)),
        near_infrared=near_infrared,
        response=near_infrared_response(rng, led_nm) if near_infrared else visible_response(rng),
        blur_px=float(rng.uniform(0.3, 0.85)),
        vignetting=float(rng.uniform(0.0, 0.45)),
        full_well=float(rng.uniform(4000, 15000)),
        read_noise=float(rng.uniform(3, 14)),
        max_gain=float(np.exp(rng.uniform(np.log(8), np.log(40)))),
        reference=float(np.exp(rng.uniform(np.log(0.6), np.log(2.0)))) * (1.5 if near_infrared else 1.0),
        pattern=float(rng.uniform(0.0, 0.012)),
        hot_share=float(rng.choice([0.0, rng.uniform(0, 1e-4), rng.uniform(0, 6e-4)], p=[0.4, 0.4, 0.2])),
        gamma=float(rng.choice([0.0, rng.uniform(0.42, 0.7), 1.0], p=curve)),
        black=float(rng.choice([0.0, rng.uniform(0.0, 0.03)])),
        sharpening=float(rng.choice([0.0, rng.uniform(0.1, 1.0)], p=[0.4, 0.6])),
        demosaic_px=float(rng.uniform(0.4, 1.1)),
        saturation=float(rng.uniform(0.8, 1.35)),
        bits=int(rng.choice([10, 12])) if deep else 8,
        jpeg_quality=0 if deep or rng.random() < 0.45 else int(rng.integers(60, 99)),
        as_colour=bool(near_infrared and not deep and rng.random() < 0.3),
        mirrored=float(rng.uniform(0.02, 0.6)) if near_infrared and rng.random() < 0.2 else 1.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """What differs from one picture of a sensor to the next."""

    meter: NDArray[np.bool_]  # (H, W) where the automatic exposure looks
    face: tuple[slice, slice]  # rows and columns of the face
    care: float  # for the face, which the metered place lets burn out the more the less of it: 0 to 1
    error_ev: float
    white: FloatArray  # (C,) the light's colour as the white balance believes it
    motion_px: tuple[float, float]
    defocus_px: float
    flicker: float
    flicker_phase: float


def _soft(image: FloatArray, sigma: float) -> FloatArray:
    return (
        np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32).reshape(image.shape) if sigma > 0.15 else image
    )


def _motion(image: FloatArray, motion: tuple[float, float]) -> FloatArray:
    length = float(np.hypot(*motion))
    if length < 0.5:
        return image
    size = int(np.ceil(length)) * 2 + 1
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * size):
        x, y = size / 2 + t * motion[0], size / 2 + t * motion[1]
        kernel[min(size - 1, max(0, int(y))), min(size - 1, max(0, int(x)))] += 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32).reshape(image.shape)


def expose(
    rng: np.random.Generator, sensor: Sensor, radiance: FloatArray, exposure: Exposure
) -> NDArray[np.unsignedinteger]:
    """The picture (H, W, 3) or (H, W), 8 or 16 bits, of radiance (H, W, C)."""
    height, width, channels = radiance.shape
    metered = radiance[exposure.meter] if exposure.meter.any() else radiance.reshape(-1, channels)
    level = float(np.minimum(metered, 4 * np.median(metered) + 1e-6).mean())
    level = max(level, exposure.care * float(radiance[exposure.face].mean()), 1e-9)
    wanted = 0.22 * 2**exposure.error_ev / level  # factor from radiance to 0..1
    # A short exposure is always possible, a long one is not: beyond it only gain helps, and gain ends too.
    gain = float(np.clip(wanted * sensor.reference, 1.0, sensor.max_gain))
    factor = min(wanted, sensor.max_gain / sensor.reference)
    well = sensor.full_well / gain

    # Light beyond saturation still spreads in the lens, but only so far.
    image = np.minimum(radiance * factor, 20.0)
    image = _motion(_soft(image, float(np.hypot(sensor.blur_px, exposure.defocus_px))), exposure.motion_px)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    r2 = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width**2 + height**2) * 4
    image = image * (1 - sensor.vignetting * r2)[..., None]
    if exposure.flicker > 0:
        band = 1 - exposure.flicker * (0.5 + 0.5 * np.sin(2 * np.pi * (y / height * 1.7 + exposure.flicker_phase)))
        image = image * band[..., None]

    fixed = np.random.default_rng(sensor.seed)
    pattern = fixed.normal(1, sensor.pattern, (height, width, 1)).astype(np.float32)
    columns = fixed.normal(0, sensor.pattern * 0.08, (1, width, 1)).astype(np.float32)
    electrons = np.clip(image * pattern, 0, 4) * well
    noise = rng.standard_normal((height, width, channels), np.float32)
    read = sensor.read_noise / np.sqrt(gain) * (0.5 + 0.5 * np.sqrt(gain))
    electrons += noise * np.sqrt(electrons + read**2)
    image = electrons / well + columns * gain**0.5
    for _ in range(int(fixed.poisson(sensor.hot_share * height * width))):
        row, column, strength = fixed.integers(height), fixed.integers(width), fixed.uniform(0.05, 1.0)
        image[row, column, fixed.integers(channels)] += strength * min(1.0, 0.2 + gain / 16)
    image = np.clip(image, 0, 1)

    if channels == 3:
        image = np.clip(image * (exposure.white.max() / exposure.white), 0, 1)
        # Chroma passes a wider filter than luma when the mosaic is interpolated.
        luma = image @ np.array([0.114, 0.587, 0.299], np.float32)
        chroma = _soft(image - luma[..., None], sensor.demosaic_px)
        image = _soft(luma[..., None].repeat(3, 2), 0.35 * sensor.demosaic_px) + chroma * sensor.saturation
        image = np.clip(image, 0, 1)
    if sensor.gamma == 0:
        image = np.where(image <= 0.0031308, 12.92 * image, 1.055 * np.maximum(image, 1e-9) ** (1 / 2.4) - 0.055)
    else:
        image = image**sensor.gamma
    if sensor.sharpening > 0:
        image = image + sensor.sharpening * (image - _soft(image.astype(np.float32), 1.1))
    image = np.clip(sensor.black + (1 - sensor.black) * image, 0, 1)
    top = 2**sensor.bits - 1
    stored = np.round(image * top).astype(np.uint16 if sensor.bits > 8 else np.uint8)
    if sensor.bits > 8:
        stored = stored << (16 - sensor.bits)
    stored = stored[..., 0] if channels == 1 else stored
    return np.repeat(stored[..., None], 3, axis=2) if sensor.as_colour and channels == 1 else stored


def encode(sensor: Sensor, image: NDArray[np.unsignedinteger]) -> tuple[str, bytes]:
    """File suffix and bytes."""
    if sensor.jpeg_quality:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])
        suffix = ".jpg"
    else:
        done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        suffix = ".png"
    if not done:
        raise RuntimeError("OpenCV could not encode the picture")
    return suffix, data.tobytes()
