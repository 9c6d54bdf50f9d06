"""What stands behind the subject: walls with patterns, furniture, windows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth.lights import Lighting, daylight
from stereolive.synth.shapes import Glowing, Mixed, Plain, box, grid, noise_image, turned
from stereolive.synth.spectra import draw_fabric_spectrum, draw_plastic_spectrum, draw_wall_spectrum
from stereolive.synth.surface import FloatArray, Part

PATTERNS = ("plain", "noise", "stripes", "bricks", "blocks", "shelf", "curtain", "pictures")


def _colours(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    draws = (draw_wall_spectrum, draw_fabric_spectrum, draw_plastic_spectrum)
    return np.stack([draws[rng.integers(3)](rng) if k else draw_wall_spectrum(rng) for k in range(count)])


def _one_hot(index: NDArray[np.integer], count: int) -> FloatArray:
    return np.asarray(np.eye(count)[index], np.float32)


def wall_texture(
    rng: np.random.Generator, pattern: str, size_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], FloatArray]:
    """Spectra (M, 61) and their weights over the wall (H, W, M)."""
    width, height = 320, max(64, int(320 * size_mm[1] / size_mm[0]))
    mm = size_mm[0] / width
    x, y = np.meshgrid(np.arange(width) * mm, np.arange(height) * mm)
    if pattern == "plain":
        return _colours(rng, 1), np.ones((4, 4, 1), np.float32)
    if pattern == "noise":
        noise = noise_image(rng, 256, rng.uniform(0.8, 2.0))[..., 0]
        weight = cv2.resize(np.clip(0.5 + 0.4 * noise, 0, 1), (width, height))
        return _colours(rng, 2), np.stack([weight, 1 - weight], -1).astype(np.float32)
    if pattern == "stripes":
        period, angle = rng.uniform(40, 300), rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        wave = (np.cos(angle) * x + np.sin(angle) * y) / period % 1
        return _colours(rng, 2), _one_hot((wave < rng.uniform(0.2, 0.8)).astype(int), 2)
    if pattern == "bricks":
        w, h = rng.uniform(120, 400), rng.uniform(50, 200)
        row = np.floor(y / h).astype(int)
        along = x / w + 0.5 * (row % 2)
        mortar = ((along % 1) * w < 12) | ((y / h % 1) * h < 12)
        tone = rng.integers(1, 4, (200, 200))[row % 200, np.floor(along).astype(int) % 200]
        base = _colours(rng, 2)
        spectra = np.stack([base[0], base[1], base[1] * 0.75, base[1] * 0.55 + base[0] * 0.2])
        return spectra, _one_hot(np.where(mortar, 0, tone), 4)
    if pattern == "blocks":
        index = np.zeros((height, width), int)
        for _ in range(rng.integers(6, 30)):
            left, top = rng.integers(0, width), rng.integers(0, height)
            wide, tall = rng.integers(10, 120), rng.integers(10, 120)
            index[top : top + tall, left : left + wide] = rng.integers(0, 6)
        return _colours(rng, 6), _one_hot(index, 6)
    if pattern == "shelf":
        index = np.zeros((height, width), int)
        pitch = rng.uniform(220, 400)
        for level in range(int(size_mm[1] / pitch) + 1):
            place = 0.0
            bottom = int((level + 1) * pitch / mm)
            while place < size_mm[0]:
                thick, high = rng.uniform(12, 60), rng.uniform(0.5, 0.92) * pitch
                if rng.random() < 0.88:
                    index[max(0, bottom - int(high / mm)) : bottom, int(place / mm) : int((place + thick) / mm) + 1] = (
                        rng.integers(1, 8)
                    )
                place += thick
            index[max(0, bottom - int(25 / mm) - 1) : bottom] = 8
        spectra = _colours(rng, 9)
        spectra[0] *= 0.3
        return spectra, _one_hot(index, 9)
    if pattern == "curtain":
        wave = 0.5 + 0.5 * np.sin(x / rng.uniform(30, 80) + 1.5 * np.sin(x / rng.uniform(100, 300)) + 0.0005 * y)
        spectrum = _colours(rng, 1)
        return np.concatenate([spectrum, 0.45 * spectrum]), np.stack([wave, 1 - wave], -1).astype(np.float32)
    index = np.zeros((height, width), int)
    for _ in range(rng.integers(1, 6)):
        left, top = rng.integers(0, width), rng.integers(0, height)
        wide, tall = rng.integers(20, 70, 2)
        index[top : top + tall, left : left + wide] = 1
        patch = rng.integers(2, 6, (6, 6)).repeat(12, 0).repeat(12, 1)[: tall - 6, : wide - 6]
        target = index[top + 3 : top + 3 + patch.shape[0], left + 3 : left + 3 + patch.shape[1]]
        target[...] = patch[: target.shape[0], : target.shape[1]]
    return _colours(rng, 6), _one_hot(index, 6)


def draw_room(
    rng: np.random.Generator, illumination: str, lighting: Lighting, subject_mm: NDArray[np.float64], tangent: float
) -> list[Part]:
    """Background parts for cameras near the origin whose half field of view has the given tangent."""
    distance = float(subject_mm[2] + np.exp(rng.uniform(np.log(300), np.log(3200))))
    half = distance * tangent * 1.35 + 150
    step = distance * tangent / 20
    noise = noise_image(rng, 256, rng.uniform(0.4, 1.6))
    parts: list[Part] = []
    size = (2 * half, 2 * half)
    spectra, weights = wall_texture(rng, str(rng.choice(PATTERNS)), size)
    tilt = cv2.Rodrigues(np.radians([rng.normal(0, 2), rng.normal(0, 12), 0]))[0]
    wall = turned(grid(*size, step), np.asarray(tilt), np.array([0, 0, distance]))
    texture = Mixed(
        spectra,
        weights,
        noise,
        rng.uniform(0.0, 0.12),
        rng.uniform(0.02, 0.05),
        rng.uniform(0.25, 0.9),
        rng.uniform(150, 1500),
    )
    parts.append(Part(wall, texture, "wall"))
    if lighting.window is not None:
        spectrum, level = lighting.window
        width, height = half * rng.uniform(0.5, 1.6), half * rng.uniform(0.6, 1.8)
        picture = np.ones((64, 64, 1), np.float32)
        if rng.random() < 0.7:  # something outside: sky above, darker ground below
            horizon = int(rng.uniform(20, 60))
            picture[horizon:] *= rng.uniform(0.1, 0.7)
            picture *= np.clip(1 + 0.25 * cv2.resize(noise_image(rng, 64, 1.0), (64, 64))[..., None], 0.2, 2)
        frame = rng.uniform(0.03, 0.1)
        edges = np.linspace(0, 1, 64)
        bars = int(rng.integers(1, 4))
        grille = np.abs((edges * bars + 0.5) % 1 - 0.5) < frame * bars / 2
        picture[:, grille] *= 0.03
        picture[[0, 1, -1, -2]] *= 0.03
        place = np.array(
            [subject_mm[0] + rng.normal(0, 0.35) * half, subject_mm[1] + rng.normal(-0.1, 0.3) * half, distance - 25]
        )
        pane = turned(grid(width, height, step), np.asarray(tilt), place)
        parts.append(Part(pane, Glowing(spectrum * level, picture), "window"))
    for _ in range(rng.integers(0, 4)):
        near = subject_mm[2] + rng.uniform(0.25, 0.9) * (distance - subject_mm[2])
        extent = rng.uniform(60, 700, 3) * min(1.0, near / 1500 + 0.3)
        turn = cv2.Rodrigues(np.array([0, rng.uniform(-1, 1), 0]))[0]
        side = rng.choice([-1, 1]) * rng.uniform(0.25, 1.0)
        top = rng.uniform(-0.4, 0.8) * near * tangent
        if rng.random() < 0.75:  # furniture stands on a floor below the picture
            extent[1] = near * tangent * 1.3 - top
        center = np.array([side * near * tangent, top + extent[1] / 2, near + extent[2] / 2])
        mesh = turned(box(tuple(extent), max(40.0, near * tangent / 14)), np.asarray(turn), center)
        spectrum = _colours(rng, 1)[0]
        parts.append(
            Part(
                mesh,
                Plain(spectrum, noise, 0.04, rng.uniform(0.1, 0.9), rng.uniform(0, 0.2), rng.uniform(80, 600)),
                "box",
            )
        )
    if illumination != "night_nir_only" and rng.random() < 0.12:  # a lamp in the picture
        near = subject_mm[2] + rng.uniform(0.3, 0.9) * (distance - subject_mm[2])
        width = rng.uniform(40, 250)
        place = np.array([rng.uniform(-0.9, 0.9) * near * tangent, -rng.uniform(0.3, 0.9) * near * tangent, near])
        level = max(float(sum(lobe.mean() * s[15] for lobe, s in lighting.lobes)), 1e-4) * rng.uniform(3, 15)
        lamp = turned(grid(width, width * rng.uniform(0.2, 1), step), np.eye(3), place)
        parts.append(Part(lamp, Glowing(daylight(rng) * level, np.ones((4, 4, 1), np.float32)), "lamp"))
    return parts
