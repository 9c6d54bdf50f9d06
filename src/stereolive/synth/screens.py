"""Faces on phones, tablets and monitors."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.kit import (
    Built,
    Kit,
    held,
    person_behind,
)
from stereolive.synth.raster import posed
from stereolive.synth.shapes import (
    Display,
    Plain,
    box,
    grid,
    noise_image,
    pyramid,
    turned,
)
from stereolive.synth.spectra import WAVELENGTH_NM, gaussian_band
from stereolive.synth.surface import Part

Spectrum = NDArray[np.float64]


SCREENS = {
    # shorter and longer side of the lit area in mm, body thickness, bezel
    "replay_phone": ((60, 76), (128, 165), (7, 10), (1.5, 7)),
    "replay_tablet": ((120, 180), (160, 265), (6, 10), (6, 22)),
    "replay_monitor": ((190, 300), (300, 530), (12, 45), (6, 28)),
}


def build_screen(kit: Kit) -> Built:
    """replay_phone, replay_tablet and replay_monitor."""
    rng = kit.fixed
    short, long, thick, rim = (float(rng.uniform(*bounds)) for bounds in SCREENS[kit.species])
    photo = kit.population.photo(kit.shown.index, int(kit.rng.integers(3)))
    landscape = kit.species == "replay_monitor" or (kit.species == "replay_tablet" and rng.random() < 0.3)
    width, height = (long, short) if landscape else (short, long)
    # The picture fills the screen's height or width, or as much of the face as life size would.
    fit = min(width / photo.size_mm[0], height / photo.size_mm[1])
    fill_screen = max(width / photo.size_mm[0], height / photo.size_mm[1])
    scale = float(np.clip(kit.rng.uniform(fit, fill_screen), 0.25, 1.15))
    canvas_h = 420 if height > width else int(420 * height / width)
    canvas_w = int(canvas_h * width / height)
    px = canvas_h / height  # canvas pixels per mm
    size = (max(2, int(photo.size_mm[0] * scale * px)), max(2, int(photo.size_mm[1] * scale * px)))
    picture = cv2.resize(photo.image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    background = kit.rng.choice([0.0, kit.rng.uniform(0, 0.2), 0.9], p=[0.6, 0.25, 0.15])
    canvas = np.full((canvas_h, canvas_w, 3), background, np.float32)
    left = (canvas_w - size[0]) // 2
    top = (canvas_h - size[1]) // 2
    source_x, source_y = max(0, -left), max(0, -top)
    left, top = max(0, left), max(0, top)
    piece = picture[source_y : source_y + canvas_h, source_x : source_x + canvas_w]
    canvas[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    gamma = kit.rng.uniform(0.85, 1.2)
    oled = kit.species != "replay_monitor" and rng.random() < 0.5
    black = 0.0 if oled else rng.uniform(0.0005, 0.004)
    canvas = np.clip(canvas**gamma + black, 0, 1)
    primaries = np.stack(
        [
            gaussian_band(rng.uniform(612, 632), rng.uniform(25, 60)),
            gaussian_band(rng.uniform(525, 542), rng.uniform(30, 65)),
            gaussian_band(rng.uniform(448, 462), rng.uniform(18, 30)) * 1.1,
        ]
    )
    # Radiance of full white against a white sheet in a good room; wider bands carry more light.
    brightness = np.exp(kit.rng.uniform(np.log(0.25), np.log(5.0)))
    primaries = primaries * (260.0 / (primaries.sum(axis=1, keepdims=True) * 10)) * brightness
    dark = rng.uniform(0.008, 0.03)
    far = rng.uniform(0.02, 0.10)
    off = dark + (far - dark) / (1 + np.exp(-(WAVELENGTH_NM - rng.uniform(690, 780)) / 15))
    sheen = float(rng.choice([rng.uniform(0.02, 0.05), rng.uniform(0.2, 0.45)], p=[0.75, 0.25]))
    bezel = spectra.draw_plastic_spectrum(rng)
    if rng.random() < 0.6:
        bezel = np.full(61, rng.uniform(0.02, 0.06))
    outer = (width + 2 * rim, height + 2 * rim * rng.uniform(1, 2))
    active = (rim / outer[0], 0.5 - height / outer[1] / 2, 1 - rim / outer[0], 0.5 + height / outer[1] / 2)
    material = Display(
        pyramid(canvas), primaries, off, bezel, active, rng.uniform(0.035, 0.05), sheen, sheet_mm=outer[0]
    )
    front = grid(*outer, 12.0)
    plastic = Plain(
        bezel if rng.random() < 0.5 else spectra.draw_metal_spectrum(rng), noise_image(rng, 64, 1.0), 0.05, 0.2
    )
    body = turned(box((outer[0], outer[1], thick), 12.0, front=False), np.eye(3), np.array([0, 0, thick / 2 + 0.01]))
    parts = [Part(front, material, "screen"), Part(body, plastic, "body")]
    origin = (np.array(photo.origin_uv) - 0.5) * np.array(photo.size_mm) * scale
    at = (front.vertices_mm[:, :2] - origin) / scale
    face = front.vertices_mm[(np.abs(at[:, 0]) < 72) & (at[:, 1] > -48) & (at[:, 1] < 118)]
    if kit.species == "replay_monitor":
        if kit.rng.random() < 0.7:
            foot = box((60, 220, 25), 20.0)
            parts.append(Part(turned(foot, np.eye(3), np.array([0, outer[1] / 2 + 60, thick + 25])), plastic, "foot"))
    else:
        parts += held(kit, outer, thick)
    shift = np.array([-origin[0], -origin[1], 0.0])
    parts = [replace(part, mesh=posed(part.mesh, np.eye(3), shift)) for part in parts]
    # Beside a phone the living face would be the larger one, and be judged in its place.
    if kit.species == "replay_tablet" and kit.rng.random() < 0.3:
        parts += person_behind(
            kit, kit.rng.uniform(120, 400), np.array([kit.rng.normal(0, 120), kit.rng.normal(0, 60), 0])
        )
    return Built(
        parts,
        face + shift.astype(np.float32),
        "oled_glass" if oled else "lcd_glass" if sheen < 0.1 else "lcd_matte",
        25.0,
    )
