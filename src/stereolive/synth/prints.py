"""Printed photographs: flat, bent, cut out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.kit import (
    Built,
    Kit,
    held,
    oval,
    person_behind,
    wearer,
)
from stereolive.synth.people import Photo
from stereolive.synth.raster import clipped, posed
from stereolive.synth.shapes import (
    Printed,
    grid,
    noise_image,
    pyramid,
)
from stereolive.synth.surface import FloatArray, Mesh, Part

Spectrum = NDArray[np.float64]


def printed(kit: Kit, photo: Photo, place: tuple[float, float, float, float], sheet_mm: float) -> tuple[Printed, str]:
    """A print of the photo in one of the ways that printers have."""
    rng = kit.fixed
    kind = str(
        rng.choice(
            ["dye_ink", "pigment_ink", "laser_toner", "carbon_toner", "photo_lab"], p=[0.28, 0.2, 0.24, 0.14, 0.14]
        )
    )
    gloss = str(rng.choice(["glossy", "satin", "matte"]))
    dye = spectra.dye_ink_transmittances(rng)
    pigment = spectra.pigment_ink_transmittances(rng)
    carbon = spectra.carbon_black_transmittance(rng)
    image = np.clip(photo.image.astype(np.float32), 0.004, 1)
    if kind == "carbon_toner":  # black and white
        image = np.repeat(image @ np.array([0.25, 0.65, 0.1], np.float32)[:, None], 3, axis=2)
    grey_component = {"dye_ink": rng.uniform(0, 0.5), "photo_lab": 0.0, "carbon_toner": 1.0}.get(
        kind, rng.uniform(0.3, 0.95)
    )
    ink = 1 - image ** rng.uniform(0.75, 1.1)
    black = grey_component * ink.min(axis=2, keepdims=True) ** (
        1.0 if kind == "carbon_toner" else rng.uniform(1.0, 2.2)
    )
    colour = np.clip((ink - black) / np.maximum(1 - black, 0.05), 0, 1)
    coverage = np.concatenate([colour, black], axis=2).astype(np.float32)
    if rng.random() < 0.3:  # ink runs, heads lie a little apart
        coverage = np.asarray(cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    if rng.random() < 0.2:
        bands = 1 + rng.uniform(0.02, 0.1) * np.sin(np.arange(coverage.shape[0]) * rng.uniform(0.2, 2.0))
        coverage = np.clip(coverage * bands[:, None, None].astype(np.float32), 0, 1)
    inks = {
        "dye_ink": [*dye, carbon if rng.random() < 0.4 else spectra.dye_black_transmittance(rng)],
        "photo_lab": [*dye, spectra.dye_black_transmittance(rng)],
        "pigment_ink": [*pigment, carbon],
        "laser_toner": [*pigment, carbon],
        "carbon_toner": [*pigment, carbon],
    }[kind]
    specular = {"glossy": 0.045, "satin": 0.035, "matte": 0.02}[gloss] * rng.uniform(0.8, 1.2)
    roughness = {"glossy": rng.uniform(0.05, 0.16), "satin": rng.uniform(0.18, 0.35), "matte": rng.uniform(0.4, 0.9)}[
        gloss
    ]
    material = Printed(
        spectra.draw_paper_spectrum(rng),
        np.stack(inks),
        pyramid(coverage),
        noise_image(rng, 128, 0.9),
        specular,
        roughness,
        bump=rng.uniform(0, 0.03) if gloss != "glossy" else rng.uniform(0, 0.008),
        place=place,
        sheet_mm=sheet_mm,
    )
    return material, f"{kind}_{gloss}"


def bent(mesh: Mesh, radius_mm: float, angle: float) -> Mesh:
    """Rolled round a cylinder whose axis lies in the sheet at ``angle``; a positive radius bends the edges away."""
    v = mesh.vertices_mm.astype(np.float64)
    across = np.cos(angle) * v[:, 0] + np.sin(angle) * v[:, 1]
    along = -np.sin(angle) * v[:, 0] + np.cos(angle) * v[:, 1]
    turn = across / radius_mm
    new = radius_mm * np.sin(turn)
    z = radius_mm * (1 - np.cos(turn)) + v[:, 2]
    x = np.cos(angle) * new - np.sin(angle) * along
    y = np.sin(angle) * new + np.cos(angle) * along
    return replace(mesh, vertices_mm=np.stack([x, y, z], axis=1).astype(np.float32))


def _creased(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Folded once or twice along straight lines, and wavy as paper is after damp."""
    v = mesh.vertices_mm.astype(np.float64).copy()
    for _ in range(rng.integers(1, 4)):
        angle, place = rng.uniform(0, np.pi), rng.uniform(-50, 50)
        side = np.cos(angle) * v[:, 0] + np.sin(angle) * v[:, 1] - place
        v[:, 2] += np.maximum(side, 0) * np.tan(np.radians(rng.uniform(-18, 18)))
    for _ in range(2):
        angle, period = rng.uniform(0, np.pi), rng.uniform(60, 200)
        wave = np.sin((np.cos(angle) * v[:, 0] + np.sin(angle) * v[:, 1]) / period * 6.28 + rng.uniform(0, 6.28))
        v[:, 2] += rng.uniform(0, 2.0) * wave
    return replace(mesh, vertices_mm=v.astype(np.float32))


@dataclass(frozen=True)
class _Sheet:
    """A photo laid on a sheet: how big everything is, and where the eyes' midpoint lies."""

    photo: Photo
    scale: float  # printed size / life size
    size_mm: tuple[float, float]
    place: tuple[float, float, float, float]

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """The eyes' midpoint (2,) from the sheet's centre."""
        left, top, right, bottom = self.place
        u = left + (right - left) * self.photo.origin_uv[0]
        v = top + (bottom - top) * self.photo.origin_uv[1]
        return np.array([(u - 0.5) * self.size_mm[0], (v - 0.5) * self.size_mm[1]])


def _lay(kit: Kit, scale: float, margin: tuple[float, float] = (0.0, 25.0)) -> _Sheet:
    photo = kit.population.photo(kit.shown.index, int(kit.fixed.integers(3)), bool(kit.fixed.random() < 0.08))
    width, height = photo.size_mm[0] * scale, photo.size_mm[1] * scale
    left, top, right, bottom = kit.fixed.uniform(*margin, 4) if kit.fixed.random() < 0.7 else np.zeros(4)
    full = (width + left + right, height + top + bottom)
    place = (left / full[0], top / full[1], (left + width) / full[0], (top + height) / full[1])
    return _Sheet(photo, scale, full, place)


def _print_scale(rng: np.random.Generator) -> float:
    """Mostly life size, at times half size or a poster."""
    return float(
        rng.choice([rng.uniform(0.85, 1.15), rng.uniform(0.45, 0.85), rng.uniform(1.15, 1.4)], p=[0.55, 0.32, 0.13])
    )


def _face_on_sheet(mesh: Mesh, sheet: _Sheet) -> FloatArray:
    """The sheet's vertices under the printed face."""
    at = (mesh.rest_mm[:, :2] - sheet.origin_mm) / sheet.scale
    inside = (np.abs(at[:, 0]) < 72) & (at[:, 1] > -48) & (at[:, 1] < 118)
    return mesh.vertices_mm[inside] if inside.any() else mesh.vertices_mm


def build_print(kit: Kit) -> Built:
    """print_flat and print_bent."""
    sheet = _lay(kit, _print_scale(kit.fixed))
    material, name = printed(kit, sheet.photo, sheet.place, sheet.size_mm[0])
    mesh = grid(*sheet.size_mm, 8.0)
    if kit.species == "print_bent":
        if kit.fixed.random() < 0.25:
            mesh = _creased(mesh, kit.fixed)
        radius = np.exp(kit.rng.uniform(np.log(60), np.log(400)))
        # A sheet cannot be rolled further than about half a tube and still show a face.
        radius = max(radius, max(sheet.size_mm) / 3.0) * (1 if kit.rng.random() < 0.75 else -1)
        angle = float(kit.rng.choice([0.0, np.pi / 2, kit.rng.uniform(0, np.pi)], p=[0.6, 0.25, 0.15]))
        mesh = bent(mesh, radius, angle)
    elif kit.rng.random() < 0.5:
        mesh = bent(mesh, kit.rng.choice([-1, 1]) * kit.rng.uniform(1200, 6000), kit.rng.uniform(0, np.pi))
    parts = [Part(mesh, material, "sheet"), *held(kit, sheet.size_mm, 1.0, mesh)]
    face = _face_on_sheet(mesh, sheet)
    shift = np.array([-sheet.origin_mm[0], -sheet.origin_mm[1], 0.0])
    parts = [replace(part, mesh=posed(part.mesh, np.eye(3), shift)) for part in parts]
    # Beside a smaller print, or close behind one, the living face would be the larger one, and be judged in its place.
    if kit.rng.random() < 0.3 and sheet.scale > 0.95:
        parts += person_behind(
            kit, kit.rng.uniform(200, 450), np.array([kit.rng.normal(0, 120), kit.rng.normal(0, 60), 0])
        )
    return Built(parts, face + shift.astype(np.float32), name, 25.0)


def _worn_by(kit: Kit, front_mm: float) -> list[Part]:
    """A living head whose face starts behind the plane z = front_mm."""
    parts = wearer(kit)
    nose = float(parts[0].mesh.vertices_mm[:, 2].min())
    back = np.array([0, 0, max(0.0, front_mm - nose)])
    return [replace(part, mesh=posed(part.mesh, np.eye(3), back)) for part in parts]


def build_cutout(kit: Kit) -> Built:
    """print_cutout: cut along the face's outline, eye holes, worn like a mask or held on a stick."""
    sheet = _lay(kit, float(kit.fixed.uniform(0.88, 1.12)), (0.0, 8.0))
    material, name = printed(kit, sheet.photo, sheet.place, sheet.size_mm[0])
    mesh = grid(*sheet.size_mm, 5.0)
    mesh = posed(mesh, np.eye(3), np.array([-sheet.origin_mm[0], -sheet.origin_mm[1], 0]))
    at = mesh.vertices_mm[:, :2].copy()
    kind = kit.fixed.choice(["outline", "eyes", "both"], p=[0.3, 0.25, 0.45])
    if kind != "eyes":
        size = (kit.fixed.uniform(66, 80), kit.fixed.uniform(95, 118))
        mesh = clipped(mesh, oval(at, (0, kit.fixed.uniform(12, 26)), size))
    if kind != "outline":
        for side in (-1, 1):
            hole = (kit.fixed.uniform(13, 19), kit.fixed.uniform(6, 11))
            mesh = clipped(mesh, -oval(mesh.vertices_mm[:, :2], (side * 31.5, 0), hole))
        if kit.fixed.random() < 0.2:
            mesh = clipped(mesh, -oval(mesh.vertices_mm[:, :2], (0, 42), (13, 14)))
    face = mesh.rest_mm.copy()
    at = mesh.vertices_mm[:, :2] / sheet.scale
    face_index = (np.abs(at[:, 0]) < 72) & (at[:, 1] > -48) & (at[:, 1] < 118)
    if kit.rng.random() < 0.7:
        radius = np.exp(kit.rng.uniform(np.log(90), np.log(500)))
        mesh = bent(mesh, radius, 0.0 if kit.rng.random() < 0.8 else kit.rng.uniform(0, np.pi))
    face = mesh.vertices_mm[face_index]
    parts = [Part(mesh, material, "sheet")]
    if kit.rng.random() < 0.7:
        parts += _worn_by(
            kit, float(mesh.vertices_mm[np.hypot(*mesh.vertices_mm[:, :2].T) < 60, 2].min()) + kit.rng.uniform(2, 10)
        )
    else:
        parts += held(kit, (140, 210), 1.0)
    return Built(parts, face, f"{name}_{kind}", 25.0)
