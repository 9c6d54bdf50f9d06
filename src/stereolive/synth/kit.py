"""What every instrument needs: who holds or wears it, hands and sticks, and shells fitted over a living head.

What belongs to the instrument is drawn from ``Kit.fixed`` (the same whenever it is presented), what belongs to the
presentation (how it is held, who wears it) from ``Kit.rng``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.people import Population, Subject
from stereolive.synth.raster import fill, posed
from stereolive.synth.shapes import (
    Plain,
    capsule,
    joined,
    noise_image,
)
from stereolive.synth.surface import FloatArray, Material, Mesh, Part
from stereolive.synth.wear import draw_glasses

Spectrum = NDArray[np.float64]


INSTRUMENT_PARTS = ("mask", "bust", "patch", "sheet", "screen", "printed_glasses", "arms", "nose")
"""Names of the parts that are an attack instrument's own; what holds or carries it is none."""
LIVING_PARTS = ("head",)
GLASSES_SHARE = 0.33
"""Of masks and patches worn under glasses: as many as of living faces, or glasses would tell one from the other."""


@dataclass(frozen=True)
class Kit:
    """What an instrument is made from."""

    fixed: np.random.Generator
    rng: np.random.Generator
    shown: Subject  # whose face the instrument shows
    holder: Subject  # who holds or wears it
    population: Population
    species: str


@dataclass(frozen=True)
class Built:
    """Parts in the head's frame, points (N, 3) of the face that is shown, and what it is made of."""

    parts: list[Part]
    face_mm: FloatArray
    material: str
    yaw_limit_deg: float = 30.0


def rotation(x_deg: float, y_deg: float, z_deg: float) -> NDArray[np.float64]:
    """Roll about z, then pitch about x, then yaw about y."""
    x, y, z = (np.asarray(cv2.Rodrigues(np.radians(v))[0]) for v in np.diag([x_deg, y_deg, z_deg]).astype(float))
    return np.asarray(y @ x @ z)


def face_points(mesh: Mesh) -> FloatArray:
    """The vertices of a head's mesh that a face finder's box spans: brow to chin, cheek to cheek."""
    r = mesh.rest_mm
    front = (np.abs(r[:, 0]) < 72) & (r[:, 1] > -48) & (r[:, 1] < 118) & (r[:, 2] < 55)
    return mesh.vertices_mm[front] if front.sum() > 50 else mesh.vertices_mm


def oval(at: FloatArray, center: tuple[float, float], radius: tuple[float, float]) -> FloatArray:
    """Positive inside an ellipse, for points (N, 2)."""
    return np.asarray(
        1 - ((at[:, 0] - center[0]) / radius[0]) ** 2 - ((at[:, 1] - center[1]) / radius[1]) ** 2, np.float32
    )


def flesh(kit: Kit) -> Plain:
    """Skin of the holder's hands and arms, without detail."""
    return Plain(kit.holder.skin.spectrum, noise_image(kit.rng, 64, 1.0), 0.028, 0.4, 0.06, 40, scattering=1.2)


def held(kit: Kit, size_mm: tuple[float, float], thickness_mm: float, mesh: Mesh | None = None) -> list[Part]:
    """What carries a sheet or device: fingers and an arm, a stick, or nothing (a stand behind it)."""
    rng = kit.rng
    width, height = size_mm
    kind = rng.choice(["hand", "two_hands", "stick", "nothing"], p=[0.38, 0.2, 0.14, 0.28])
    if kind == "nothing":
        return []
    if kind == "stick":
        stick = capsule(
            np.array([rng.normal(0, 5), 0, thickness_mm + 6]),
            np.array([rng.normal(0, 30), height / 2 + 400, 40]),
            rng.uniform(3, 9),
        )
        wood = Plain(spectra.draw_plastic_spectrum(rng), noise_image(rng, 64, 1.0), 0.04, 0.4)
        return [Part(stick, wood, "stick")]
    sides = [-1.0, 1.0] if kind == "two_hands" else [float(rng.choice([-1.0, 1.0]))]
    meshes: list[Mesh] = []
    sleeves: list[Mesh] = []
    below = kind == "hand" and rng.random() < 0.6
    for side in sides:
        # The edge that is held: the lower one near the middle, or a side.
        if below:
            edge = np.array([rng.uniform(-0.3, 0.3) * width, height / 2])
            inward = np.array([rng.normal(0, 0.2), -1.0])
        else:
            edge = np.array([side * width / 2, rng.uniform(0.0, 0.4) * height])
            inward = np.array([-side, rng.normal(-0.25, 0.2)])
        lift = 0.0
        if mesh is not None:
            nearest = np.argmin(((mesh.rest_mm[:, :2] - edge) ** 2).sum(1))
            lift = float(mesh.vertices_mm[nearest, 2])
            edge = mesh.vertices_mm[nearest, :2].astype(np.float64)
        inward /= np.linalg.norm(inward)
        across = np.array([-inward[1], inward[0]])
        reach = rng.uniform(12, 34)
        thumb_tip = np.array([*(edge + inward * reach), lift - 8])
        thumb_root = np.array([*(edge - inward * 30 + across * rng.normal(0, 8)), lift + 2])
        meshes.append(capsule(thumb_root, thumb_tip, rng.uniform(8, 10.5)))
        for k in range(4):
            start = edge - inward * 28 + across * (k - 1.5) * 17
            tip = edge + inward * rng.uniform(20, 45) + across * (k - 1.5) * 19
            meshes.append(
                capsule(
                    np.array([*start, lift + thickness_mm + 16]),
                    np.array([*tip, lift + thickness_mm + 9]),
                    rng.uniform(7, 9),
                )
            )
        palm = np.array([*(edge - inward * 55), lift + thickness_mm + 12])
        meshes.append(capsule(palm, palm + np.array([*(inward * 30), 4]), 30))
        down = np.array([side * rng.uniform(0, 120) if not below else rng.normal(0, 90), 420, 130.0])
        sleeves.append(capsule(palm, palm + down, rng.uniform(30, 40)))
    arm: Material = flesh(kit)
    if rng.random() < 0.7:
        arm = Plain(spectra.draw_fabric_spectrum(rng), noise_image(rng, 128, 0.7), 0.02, 0.9, 0.12, 120)
    return [Part(joined(meshes), flesh(kit), "hand"), Part(joined(sleeves), arm, "sleeve")]


def glasses_over(kit: Kit, head: Mesh, forward_mm: float) -> list[Part]:
    """At times, glasses on a face that is no bare skin, whose relief a head's mesh gives."""
    if kit.rng.random() >= GLASSES_SHARE:
        return []
    forward = np.array([0, 0, -forward_mm])
    return [replace(part, mesh=posed(part.mesh, np.eye(3), forward)) for part in draw_glasses(kit.rng, head)]


def without_glasses(parts: list[Part]) -> list[Part]:
    """What one puts off before a mask is put on."""
    return [part for part in parts if "glass" not in part.name]


def wearer(kit: Kit) -> list[Part]:
    """Who wears the instrument, in some outfit: the head first."""
    return without_glasses(kit.holder.parts(kit.rng, 1.0, outfit=int(kit.rng.integers(3))))


def person_behind(kit: Kit, gap_mm: float, shift_mm: NDArray[np.float64]) -> list[Part]:
    """The one who holds it, some way behind."""
    parts = kit.holder.parts(kit.rng, 1.0, outfit=int(kit.rng.integers(3)))
    return [replace(part, mesh=posed(part.mesh, np.eye(3), shift_mm + np.array([0, 0, gap_mm]))) for part in parts]


def front_depth(mesh: Mesh, half_mm: float = 130.0, size: int = 260) -> FloatArray:
    """z of the frontmost surface over x, y in +-half_mm, (size, size), inf where there is none."""
    buffer = np.full((size, size), -np.inf, np.float32)
    xy = (mesh.vertices_mm[:, :2] + half_mm) * np.float32(size / (2 * half_mm)) - np.float32(0.5)
    valid = np.ones(len(xy), bool)
    fill(
        np.ascontiguousarray(xy),
        np.ascontiguousarray(-mesh.vertices_mm[:, 2]),
        valid,
        mesh.triangles,
        buffer,
        np.zeros((0, 0), np.int32),
    )
    return -buffer


def depth_at(depth: FloatArray, xy: FloatArray, half_mm: float = 130.0) -> FloatArray:
    """A square depth map (S, S), which reaches ``half_mm`` to each side of its middle, at places (N, 2) in mm."""
    size = depth.shape[0]
    place = np.clip(((xy + half_mm) * (size / (2 * half_mm))).astype(int), 0, size - 1)
    return np.asarray(depth[place[:, 1], place[:, 0]])


def behind(parts: list[Part], front: FloatArray, gap_mm: float) -> list[Part]:
    """Push what would stick through a shell (its depth map ``front``) behind it."""
    pushed = []
    for part in parts:
        v = part.mesh.vertices_mm.copy()
        limit = depth_at(front, v[:, :2]) + gap_mm
        close = np.isfinite(limit) & (v[:, 2] < limit) & (v[:, 2] > limit - 60)
        v[close, 2] = limit[close]
        pushed.append(replace(part, mesh=replace(part.mesh, vertices_mm=v)))
    return pushed


def smoothed(mesh: Mesh, rounds: int) -> Mesh:
    """Relief as a mould leaves it: vertices moved to the mean of their neighbours."""
    v = mesh.vertices_mm.astype(np.float64)
    edges = np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]], mesh.triangles[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = np.maximum(np.bincount(edges[:, 0], minlength=len(v)), 1)[:, None]
    for _ in range(rounds):
        total = np.stack([np.bincount(edges[:, 0], v[edges[:, 1], k], len(v)) for k in range(3)], axis=1)
        v = 0.5 * v + 0.5 * total / count
    return replace(mesh, vertices_mm=v.astype(np.float32))
