"""Prints that are worn: folded masks, patches, glasses with printed eyes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.kit import (
    Built,
    Kit,
    behind,
    depth_at,
    face_points,
    front_depth,
    glasses_over,
    held,
    oval,
    wearer,
)
from stereolive.synth.prints import bent, printed
from stereolive.synth.raster import clipped, posed
from stereolive.synth.shapes import (
    Plain,
    capsule,
    grid,
    joined,
    noise_image,
)
from stereolive.synth.surface import Mesh, Part

Spectrum = NDArray[np.float64]


def build_paper_mask(kit: Kit) -> Built:
    """mask_paper: facets folded from a print, or a print pressed into shape, over a living head."""
    rng = kit.fixed
    photo = kit.population.photo(kit.shown.index, int(rng.integers(3)))
    shape = kit.shown.mesh(None)
    depth = front_depth(shape)
    known = np.where(np.isfinite(depth), depth, 90.0).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(np.minimum(known, 90), (0, 0), rng.uniform(1, 6)), np.float32)
    step = float(rng.uniform(14, 30)) if rng.random() < 0.65 else 5.0
    facets = step > 10
    mesh = grid(170, 230, step)
    xy = mesh.vertices_mm[:, :2] + np.array([0, 25], np.float32)
    if facets:
        xy = xy + rng.normal(0, 0.18 * step, xy.shape).astype(np.float32)
    z = depth_at(soft, xy) - rng.uniform(2, 7)
    vertices = np.concatenate([xy, z[:, None]], axis=1).astype(np.float32)
    mesh = replace(mesh, vertices_mm=vertices, rest_mm=vertices.copy(), uv=photo.uv(xy))
    outline = oval(xy, (0, 24), (rng.uniform(68, 80), rng.uniform(98, 116)))
    mesh = clipped(mesh, outline) if not facets or rng.random() < 0.5 else clipped(mesh, np.sign(outline) + 0.5)
    if rng.random() < 0.65:
        for side in (-1, 1):
            mesh = clipped(
                mesh, -oval(mesh.vertices_mm[:, :2], (side * 31.5, 0), (rng.uniform(11, 18), rng.uniform(6, 10)))
            )
    if facets:  # corners of their own give every facet one flat shade
        corners = mesh.triangles.ravel()
        mesh = Mesh(
            mesh.vertices_mm[corners],
            np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
            mesh.uv[corners],
            mesh.rest_mm[corners],
        )
    material, name = printed(kit, photo, (0.0, 0.0, 1.0, 1.0), photo.size_mm[0])
    if rng.random() < 0.12:
        material = replace(material, coverage=[np.zeros((4, 4, 4), np.float32)])
        name = "blank_paper"
    parts = [Part(mesh, material, "mask"), *glasses_over(kit, shape, 6.0)]
    if kit.rng.random() < 0.85:
        living = wearer(kit)
        parts += behind(living, front_depth(mesh), 3.0)
    else:
        parts += held(kit, (150, 200), 1.0)
    at = mesh.vertices_mm
    face = at[(np.abs(at[:, 0]) < 72) & (at[:, 1] > -48) & (at[:, 1] < 118)]
    return Built(parts, face, f"{name}_{'folded' if facets else 'shaped'}")


def build_partial_paper(kit: Kit) -> Built:
    """partial_paper: a printed patch over eyes and nose, stuck on a living face."""
    rng = kit.fixed
    photo = kit.population.photo(kit.shown.index, int(rng.integers(3)))
    living = wearer(kit)
    head = living[0].mesh
    living += glasses_over(kit, head, 4.0)
    depth = front_depth(head)
    known = np.minimum(np.where(np.isfinite(depth), depth, 80.0), 80.0).astype(np.float32)
    known = np.asarray(cv2.erode(known, np.ones((7, 7), np.uint8)), np.float32)  # no skin shows through the patch
    stiff = np.minimum(np.asarray(cv2.GaussianBlur(known, (0, 0), rng.uniform(2, 7)), np.float32), known)
    mesh = grid(160, 150, 4.0)
    xy = mesh.vertices_mm[:, :2] + np.array([0, 20], np.float32)
    z = depth_at(stiff, xy) - rng.uniform(0.8, 2.5)
    vertices = np.concatenate([xy, z[:, None]], axis=1).astype(np.float32)
    mesh = replace(mesh, vertices_mm=vertices, rest_mm=vertices.copy(), uv=photo.uv(xy))
    kind = str(rng.choice(["eyes_nose", "eyes", "nose_mouth", "half"]))
    center, radius = {
        "eyes_nose": ((0, 18), (62, 42)),
        "eyes": ((0, 0), (64, 22)),
        "nose_mouth": ((0, 52), (40, 40)),
        "half": ((34, 25), (34, 60)),
    }[kind]
    mesh = clipped(mesh, oval(xy, center, (radius[0] * rng.uniform(0.85, 1.15), radius[1] * rng.uniform(0.85, 1.15))))
    if rng.random() < 0.4:
        for side in (-1, 1):
            mesh = clipped(
                mesh, -oval(mesh.vertices_mm[:, :2], (side * 31.5, 0), (rng.uniform(10, 16), rng.uniform(5, 8)))
            )
    material, name = printed(kit, photo, (0.0, 0.0, 1.0, 1.0), photo.size_mm[0])
    return Built([Part(mesh, material, "patch"), *living], face_points(head), f"{name}_{kind}")


def build_funny_glasses(kit: Kit) -> Built:
    """funny_glasses: a living face behind glasses with printed eyes, at times with a nose."""
    rng = kit.fixed
    photo = kit.population.photo(kit.shown.index, int(rng.integers(3)))
    living = wearer(kit)
    head = living[0].mesh
    near = head.vertices_mm[(np.abs(head.rest_mm[:, 1]) < 18) & (np.abs(head.rest_mm[:, 0]) < 60)]
    front = float(near[:, 2].min()) - rng.uniform(1, 6)
    mesh = grid(150, 64, 4.0)
    mesh = replace(mesh, uv=photo.uv(mesh.vertices_mm[:, :2]))
    if rng.random() < 0.55:
        lens = np.maximum(
            oval(mesh.vertices_mm[:, :2], (-32, 0), (28, 22)), oval(mesh.vertices_mm[:, :2], (32, 0), (28, 22))
        )
        mesh = clipped(
            mesh, np.maximum(lens, 1 - np.abs(mesh.vertices_mm[:, 1]) / 4 - (np.abs(mesh.vertices_mm[:, 0]) > 32))
        )
    mesh = posed(bent(mesh, rng.uniform(90, 400), 0.0), np.eye(3), np.array([0, 0, front]))
    material, name = printed(kit, photo, (0.0, 0.0, 1.0, 1.0), photo.size_mm[0])
    plastic = Plain(spectra.draw_plastic_spectrum(rng), noise_image(rng, 64, 1.0), 0.05, 0.15)
    arms = [
        capsule(np.array([side * 74, -6, front + 22]), np.array([side * 78, -2, front + 120]), 2.5) for side in (-1, 1)
    ]
    parts = [Part(mesh, material, "printed_glasses"), Part(joined(arms), plastic, "arms"), *living]
    if rng.random() < 0.35:
        nose = capsule(np.array([0, 8, front + 6]), np.array([0, 40, front - 14]), rng.uniform(11, 16))
        rubber = Plain(spectra.draw_latex_spectrum(rng, kit.shown.skin.spectrum), noise_image(rng, 64, 1.0), 0.04, 0.35)
        parts.append(Part(nose, rubber, "nose"))
    return Built(parts, face_points(head), name)
