"""Masks of silicone, latex and resin over living heads, and busts that nobody wears."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.kit import (
    Built,
    Kit,
    behind,
    face_points,
    front_depth,
    glasses_over,
    held,
    oval,
    smoothed,
    wearer,
    without_glasses,
)
from stereolive.synth.raster import clipped
from stereolive.synth.shapes import (
    Folds,
    MaskSurface,
    Plain,
    Speckle,
    box,
    noise_image,
    turned,
)
from stereolive.synth.spectra import gaussian_band
from stereolive.synth.surface import Material, Mesh, Part

Spectrum = NDArray[np.float64]


def _shell(kit: Kit, mesh: Mesh, cover: str) -> Mesh:
    """The part of a head that a mask covers, with its holes: a face, or the head with its neck."""
    r = mesh.rest_mm
    if cover == "face":
        edge = 1 - (r[:, 0] / kit.fixed.uniform(72, 84)) ** 2 - ((r[:, 1] - 28) / kit.fixed.uniform(98, 120)) ** 2
        mesh = clipped(mesh, np.minimum(edge, (kit.fixed.uniform(35, 75) - r[:, 2]) / 40))
    else:
        mesh = clipped(mesh, kit.fixed.uniform(125, 175) - r[:, 1])
    holes = kit.fixed.choice(["open", "painted"], p=[0.7, 0.3])
    if holes == "open":
        size = (kit.fixed.uniform(12, 17), kit.fixed.uniform(5, 9))
        for side in (-1, 1):
            hole = -oval(mesh.rest_mm[:, :2], (side * 31.5, 0), size)
            mesh = clipped(mesh, np.maximum(hole, (mesh.rest_mm[:, 2] - 40) / 40))
        if kit.fixed.random() < 0.3:
            hole = -oval(mesh.rest_mm[:, :2], (0, 68), (kit.fixed.uniform(10, 22), kit.fixed.uniform(1.5, 5)))
            mesh = clipped(mesh, np.maximum(hole, (mesh.rest_mm[:, 2] - 40) / 40))
    # The eyeballs and the mouth's inside do not belong to a mask whose eyes are open.
    for region in ("mouth_interior", "teeth", *(("eye",) if holes == "open" else ())):
        if region in mesh.regions:
            mesh = clipped(mesh, 0.5 - mesh.regions[region])
    return mesh


def _cast(kit: Kit) -> Mesh:
    """The head that a rigid instrument is made after: at rest, or with an expression."""
    return kit.shown.mesh(*((kit.fixed, kit.fixed.uniform(0.2, 1.0)) if kit.fixed.random() < 0.6 else (None,)))


def _behind_holes(head: Part) -> Part:
    """What a mask over the whole head leaves to be seen of its wearer: eyes, mouth, the neck below. The rest of a head
    that is larger than the mask would stick out of it."""
    r = head.mesh.rest_mm
    front = np.minimum(oval(r[:, :2], (0, 26), (52, 72)), (45 - r[:, 2]) / 40)
    return replace(head, mesh=clipped(head.mesh, np.maximum(front, (r[:, 1] - 115) / 40)))


def _paints(kit: Kit, base: Spectrum, strength: float) -> dict[str, Spectrum]:
    rng = kit.fixed
    eye = np.full(61, rng.uniform(0.3, 0.7))
    lip = base * (1 - strength * rng.uniform(0.2, 0.6) * gaussian_band(530, 130))
    hair = spectra.draw_hair_spectrum(rng)
    brow = (1 - strength) * base + strength * hair
    paints = {"lips": lip, "brow": brow, "eye": eye, "nostril": base * 0.25, "mouth_interior": base * 0.2}
    if rng.random() < 0.85:
        paints["iris"] = np.full(61, rng.uniform(0.03, 0.3)) * (1 + rng.uniform(-0.3, 0.3) * gaussian_band(460, 120))
    if rng.random() < 0.4:
        paints["scalp"] = paints["brow"]
    if rng.random() < 0.25:
        paints["beard"] = 0.6 * base + 0.4 * hair
    return paints


def _folds(rng: np.random.Generator) -> Folds | None:
    """Masks are often of old people, more wrinkled than any."""
    depth = float(rng.uniform(0.3, 2.0)) if rng.random() < 0.45 else 0.0
    seed = int(rng.integers(1 << 20))
    return Folds(depth, seed) if depth else None


def _spread_mm(rng: np.random.Generator, low: float, high: float) -> float:
    """How far light spreads in a material, at 850 nm: mostly from ``low`` to ``high``; but there are milky resins, wax
    and dull paints, so that it tells no material from skin."""
    return float(rng.uniform(low, high) if rng.random() < 0.65 else rng.uniform(0.0, 3.0))


def _sheen(rng: np.random.Generator, low: float, high: float) -> float:
    """Mirrored share of light from straight ahead: mostly from ``low`` to ``high``; but masks are powdered as actors'
    faces are, so that a dull face is no sign of skin, nor of paper."""
    powder = float(rng.uniform(0.03, 0.5)) if rng.random() < 0.2 else 1.0
    return float(rng.uniform(low, high)) * powder


def _speckle(rng: np.random.Generator) -> Speckle | None:
    """What makers put in or on to imitate skin: fibres as red as blood, pigments as brown as melanin, which fade
    towards near-infrared as those do, or something that does not. Without it, what the visible sensor alone sees
    would be a sign of living skin."""
    amount = min(float(rng.lognormal(np.log(0.07), 0.8)), 0.35)
    red = float(rng.choice([0.0, 1.0, rng.uniform(0.0, 1.0)]))
    absorption = red * spectra.haemoglobin_absorption() + (1 - red) * spectra.melanin_absorption()
    if rng.random() < 0.25:
        absorption = np.ones_like(absorption)
    speckle = Speckle(amount * absorption, noise_image(rng, 128, rng.uniform(0.2, 1.2)), float(rng.uniform(40, 160)))
    return speckle if rng.random() < 0.6 else None


def build_soft_mask(kit: Kit) -> Built:
    """mask_silicone and mask_latex over a living head."""
    rng = kit.fixed
    skin = kit.shown.skin.spectrum
    silicone = kit.species == "mask_silicone"
    base = spectra.draw_silicone_spectrum(rng, skin) if silicone else spectra.draw_latex_spectrum(rng, skin)
    whole = smoothed(kit.shown.mesh(rng, rng.uniform(0.0, 1.0)), int(rng.integers(0, 4)))
    offset = rng.uniform(1.5, 4)
    whole_head = rng.random() >= 0.25
    mesh = _shell(kit, whole, "head" if whole_head else "face")
    material = MaskSurface(
        base,
        _paints(kit, base, rng.uniform(0.3, 1.0)),
        noise_image(rng, 128, rng.uniform(0.8, 1.6)),
        _sheen(rng, 0.028, 0.05),
        rng.uniform(0.22, 0.6),
        rng.uniform(0.01, 0.08) if rng.random() < 0.6 else rng.uniform(0.08, 0.2),
        rng.uniform(40, 140),
        bump=rng.uniform(0.0, 0.08),
        scattering=_spread_mm(rng, 0.8, 3.5) if silicone else _spread_mm(rng, 0.2, 1.2),
        folds=_folds(rng),
        speckle=_speckle(rng),
    )
    living = wearer(kit)
    hair = [part for part in living[1:] if "hair" in part.name]
    body = [part for part in living[1:] if "hair" not in part.name]
    head = behind([_behind_holes(living[0]) if whole_head else living[0]], front_depth(mesh), offset)
    parts = [Part(mesh, material, "mask"), *head, *body, *glasses_over(kit, whole, 0.0)]
    if kit.rng.random() < 0.7:
        parts += hair
    return Built(parts, face_points(mesh), kit.species.removeprefix("mask_"))


def build_rigid(kit: Kit) -> Built:
    """mask_resin: a printed shell, worn or held."""
    rng = kit.fixed
    base = spectra.draw_resin_spectrum(rng)
    painted = rng.random() < 0.45
    if painted:
        base = base * spectra.draw_mask_paint_transmittance(rng, kit.shown.skin.spectrum)
    whole = smoothed(_cast(kit), int(rng.integers(0, 3)))
    mesh = _shell(kit, whole, "face")
    material = MaskSurface(
        base,
        _paints(kit, base, 1.0) if painted else {},
        noise_image(rng, 128, 1.0),
        _sheen(rng, 0.035, 0.05),
        rng.uniform(0.12, 0.6),
        rng.uniform(0.0, 0.04),
        rng.uniform(40, 120),
        bump=rng.uniform(0, 0.03),
        layer_mm=rng.choice([0.0, rng.uniform(0.4, 2.0)], p=[0.4, 0.6]),
        layer_tilt=rng.normal(0, 0.3),
        scattering=_spread_mm(rng, 0.0, 0.8),
        folds=_folds(rng),
        speckle=_speckle(rng) if painted else None,
    )
    parts = [Part(mesh, material, "mask"), *glasses_over(kit, whole, 0.0)]
    if kit.rng.random() < 0.75:
        living = wearer(kit)
        parts += behind(living, front_depth(mesh), rng.uniform(3, 8))
    else:
        parts += held(kit, (150, 190), 8.0)
    return Built(parts, face_points(mesh), "resin_painted" if painted else "resin")


def build_bust(kit: Kit) -> Built:
    """mask_plaster and mannequin_head: whole heads that nobody wears."""
    rng = kit.fixed
    plaster = kit.species == "mask_plaster"
    whole = smoothed(_cast(kit), int(rng.integers(0, 4) if plaster else rng.integers(1, 6)))
    mesh = clipped(whole, rng.uniform(130, 190) - whole.rest_mm[:, 1])
    base = spectra.draw_plaster_spectrum(rng) if plaster else spectra.draw_plastic_spectrum(rng)
    coloured = not plaster and rng.random() < 0.6
    if coloured:
        base = spectra.draw_latex_spectrum(rng, kit.shown.skin.spectrum)
    material = MaskSurface(
        base,
        _paints(kit, base, 1.0) if coloured else {},
        noise_image(rng, 128, 1.0),
        _sheen(rng, 0.02, 0.04) if plaster else _sheen(rng, 0.04, 0.05),
        rng.uniform(0.5, 1.0) if plaster else rng.uniform(0.08, 0.4),
        rng.uniform(0.0, 0.05),
        rng.uniform(50, 150),
        bump=rng.uniform(0, 0.12) if plaster else 0.0,
        scattering=_spread_mm(rng, 0.0, 0.6),
        folds=_folds(rng),
        speckle=_speckle(rng) if coloured else None,
    )
    bottom = float(mesh.vertices_mm[:, 1].max())
    parts = [Part(mesh, material, "bust"), *glasses_over(kit, whole, 0.0)]
    if rng.random() < (0.3 if plaster else 0.5):
        parts += without_glasses(kit.shown.parts(None, outfit=0)[1:])
    else:
        width = rng.uniform(80, 200)
        stand = turned(box((width, 400, width), 20.0), np.eye(3), np.array([0, bottom + 195, 75]))
        stuff: Material = (
            material if rng.random() < 0.4 else Plain(spectra.draw_plastic_spectrum(rng), noise_image(rng, 64, 1.0))
        )
        parts.append(Part(stand, stuff, "stand"))
        if not plaster and rng.random() < 0.5:
            parts += [part for part in kit.shown.parts(None, outfit=0)[1:] if "hair" in part.name]
    return Built(parts, face_points(mesh), "plaster" if plaster else "plastic_painted" if coloured else "plastic")
