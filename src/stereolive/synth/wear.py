"""What people wear around a face: clothes, hair as a body of its own, glasses, hats and scarves.

All parts share the head's frame. Hair and headwear are shells over the head: its outline seen from inside as a radius
over directions, widened, and cut out where the face looks through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.skin import Skin, Spectrum
from stereolive.synth.skin_paint import noise_at
from stereolive.synth.spectra import Channels
from stereolive.synth.surface import FloatArray, IntArray, Mesh, Part, Reflectance, SurfacePoints


@dataclass(frozen=True)
class Cloth:
    """Woven or knitted fabric of one or two colours: plain, striped or checked."""

    first: Spectrum  # (61,)
    second: Spectrum
    stripe_mm: tuple[float, float]  # period along x and y, 0 for none
    grain_mm: float
    relief_mm: float
    seed: int
    roughness: float = 0.75
    f0: float = 0.03

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        rest = points.rest_mm
        one, two = channels.integrate(self.first), channels.integrate(self.second)
        mix = np.zeros(len(rest), np.float32)
        for axis, period in enumerate(self.stripe_mm):
            if period > 0:
                soft = np.sin(rest[:, axis] * np.float32(2 * np.pi / period)) * np.float32(
                    min(6.0, period / points.mm_per_pixel)
                )
                mix += 0.5 * np.clip(0.5 + soft, 0, 1)
        grain = noise_at(rest, 1.0 / self.grain_mm, self.seed) * min(1.0, self.grain_mm / points.mm_per_pixel)
        fold = noise_at(rest, 1.0 / 45.0, self.seed + 1)
        albedo = (one + mix[:, None] * (two - one)) * (1 + 0.12 * grain + 0.05 * fold)[:, None]
        bump = self.relief_mm * (4.0 * fold + grain)
        shape = np.ones(len(rest), np.float32)
        return Reflectance(
            np.clip(albedo, 0.005, 0.95).astype(np.float32),
            shape * self.f0,
            shape * self.roughness,
            None,
            bump.astype(np.float32),
        )


@dataclass(frozen=True)
class Hair:
    """Hair as a surface: strands along the direction ``along`` in rest coordinates."""

    spectrum: Spectrum  # (61,)
    along: tuple[float, float, float]  # noise frequency per axis in 1/mm: low along the strands
    contrast: float
    seed: int

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        scaled = points.rest_mm * np.array(self.along, np.float32)
        fine = min(1.0, 1.0 / points.mm_per_pixel)
        strand = fine * noise_at(scaled, 1.0, self.seed) + 0.7 * noise_at(scaled, 0.3, self.seed + 1)
        tress = noise_at(scaled, 0.09, self.seed + 2)
        light = np.maximum(1 + self.contrast * (strand + 0.6 * tress), 0.15)
        albedo = channels.integrate(self.spectrum)[None] * light[:, None]
        one = np.ones(len(scaled), np.float32)
        bump = 0.5 * strand + 1.2 * tress
        return Reflectance(
            np.clip(albedo, 0.004, 0.9).astype(np.float32), 0.035 * one, 0.42 * one, None, bump.astype(np.float32)
        )


@dataclass(frozen=True)
class Plain:
    """One colour and gloss all over: plastic, metal, leather."""

    spectrum: Spectrum
    f0: float
    roughness: float

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        one = np.ones(len(points.rest_mm), np.float32)
        albedo = np.repeat(channels.integrate(self.spectrum)[None], len(one), axis=0)
        return Reflectance(albedo, self.f0 * one, self.roughness * one)


def _mesh(points: NDArray[np.floating], triangles: NDArray[np.integer], uv: NDArray[np.floating] | None = None) -> Mesh:
    vertices = np.asarray(points, np.float32)
    coordinates = np.zeros((len(vertices), 2), np.float32) if uv is None else np.asarray(uv, np.float32)
    return Mesh(vertices, np.ascontiguousarray(triangles, np.int32), coordinates, vertices)


def _grid_triangles(rows: int, columns: int, closed: bool) -> IntArray:
    """Triangles (T, 3) of a grid of vertices, its columns joined end to end where ``closed``."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a = (r * columns + c).reshape(-1)
    b = (r * columns + (c + 1) % columns).reshape(-1)
    return np.concatenate([np.stack([a, b, b + columns], 1), np.stack([a, b + columns, a + columns], 1)]).astype(
        np.int32
    )


def _two_sided(mesh: Mesh, thickness_mm: float = 1.0) -> Mesh:
    """The mesh with a back of its own, a little behind it, for surfaces that may be seen from inside."""
    v, f = mesh.vertices_mm, mesh.triangles
    face = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    normal = np.stack([sum(np.bincount(f[:, k], face[:, c], len(v)) for k in range(3)) for c in range(3)], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    back = (v - thickness_mm * normal).astype(np.float32)
    return Mesh(
        np.concatenate([v, back]),
        np.concatenate([f, f[:, ::-1] + len(v)]).astype(np.int32),
        np.tile(mesh.uv, (2, 1)),
        np.tile(mesh.rest_mm, (2, 1)),
    )


def _tube(path: FloatArray, radius_mm: float, closed: bool, flat: float = 1.0) -> Mesh:
    """A tube along points (N, 3); ``flat`` stretches its section in depth."""
    sides = 8
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if closed else np.gradient(path, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    up = np.where(np.abs(ahead[:, 2:]) > 0.7, np.array([[0.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
    one = np.cross(up, ahead)
    one /= np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-6)
    two = np.cross(ahead, one)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[:, None, None] * one + flat * np.sin(angle)[:, None, None] * two  # (S, N, 3)
    points = (path + radius_mm * ring).transpose(1, 0, 2)
    if closed:
        points = np.concatenate([points, points[:1]])
    # Columns run around the section, rows along the path.
    triangles = _grid_triangles(len(points), sides, True)
    return _mesh(points.reshape(-1, 3), triangles)


@dataclass(frozen=True)
class _Outline:
    """A head's radius over directions from a point inside it; azimuth 0 is the face, elevation 90 degrees the crown."""

    center: FloatArray
    radius: NDArray[np.float64]  # (E, A)

    ELEVATIONS = 40
    AZIMUTHS = 72

    @classmethod
    def of(cls, mesh: Mesh) -> _Outline:
        head = mesh.rest_mm[(mesh.rest_mm[:, 1] < 175.0) & (mesh.regions["eye"] < 0.5)]
        center = np.array([0.0, -20.0, 85.0], np.float32)
        d = head - center
        # The ears would make bumps under hair: they are held flat against the head.
        r = np.linalg.norm(d, axis=1)
        elevation = np.degrees(np.arcsin(np.clip(-d[:, 1] / np.maximum(r, 1e-3), -1, 1)))
        azimuth = np.degrees(np.arctan2(d[:, 0], -d[:, 2])) % 360
        table = np.zeros((cls.ELEVATIONS, cls.AZIMUTHS))
        row = np.clip(((elevation + 90) / 180 * cls.ELEVATIONS).astype(int), 0, cls.ELEVATIONS - 1)
        column = np.clip((azimuth / 360 * cls.AZIMUTHS).astype(int), 0, cls.AZIMUTHS - 1)
        np.maximum.at(table, (row, column), r)
        for _ in range(4):
            around = np.stack([np.roll(np.roll(table, i, 0), j, 1) for i in (-1, 0, 1) for j in (-1, 0, 1)])
            count = np.maximum((around > 0).sum(0), 1)
            table = np.where(table > 0, table, around.sum(0) / count)
        for _ in range(2):
            table = np.maximum(table, (np.roll(table, 1, 1) + np.roll(table, -1, 1)) / 2)
            padded = np.pad(table, ((1, 1), (0, 0)), mode="edge")
            table = np.maximum(table, (padded[2:] + padded[:-2]) / 2)
        # Near the crown directions crowd: one radius there, or hair would end in a spike.
        for row, own in ((-1, 0.0), (-2, 0.0), (-3, 0.4), (-4, 0.7)):
            table[row] = own * table[row] + (1 - own) * table[row].mean()
        return cls(center, table)

    def at(self, elevation_deg: NDArray[np.float64], azimuth_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        e = np.clip((elevation_deg + 90) / 180 * self.ELEVATIONS - 0.5, 0, self.ELEVATIONS - 1.001)
        a = (azimuth_deg % 360) / 360 * self.AZIMUTHS - 0.5
        e0, a0 = np.floor(e).astype(int), np.floor(a).astype(int)
        fe, fa = e - e0, a - a0
        t, a1 = self.radius, (a0 + 1) % self.AZIMUTHS
        a0 = a0 % self.AZIMUTHS
        low = t[e0, a0] * (1 - fa) + t[e0, a1] * fa
        high = t[e0 + 1, a0] * (1 - fa) + t[e0 + 1, a1] * fa
        return np.asarray(low * (1 - fe) + high * fe)


def _shell(
    outline: _Outline,
    bottom_deg: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    thickness_mm: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    seed: int,
    rough_mm: float,
) -> Mesh:
    """A shell from the crown down to the elevation ``bottom_deg(azimuth)``; its rim turns in to the head.

    ``thickness_mm`` of (elevation, azimuth) is the height above the head.
    """
    rows, columns = 34, 150
    azimuth = np.arange(columns) * 360.0 / columns
    signed = (azimuth + 180) % 360 - 180
    rim = np.stack([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), np.zeros(columns)], axis=1)
    ragged = noise_at(rim, 7.0, seed + 3) + 0.7 * noise_at(rim, 20.0, seed + 4)
    bottom = bottom_deg(np.abs(signed)) + rough_mm * 2.0 * ragged
    t = np.linspace(0.0, 1.0, rows)[:, None]
    elevation = 89.5 + (bottom - 89.5) * t
    around = np.broadcast_to(azimuth, elevation.shape)
    thick = thickness_mm(elevation, np.abs(np.broadcast_to(signed, elevation.shape)))
    radius = outline.at(elevation, around) + thick
    radius[-1] -= thick[-1] + 6.0
    e, a = np.radians(elevation), np.radians(around)
    direction = np.stack([np.cos(e) * np.sin(a), -np.sin(e), -np.cos(e) * np.cos(a)], axis=-1)
    points = (outline.center + direction * radius[..., None]).reshape(-1, 3).astype(np.float32)
    wobble = noise_at(points, 1 / 9.0, seed) + noise_at(points, 1 / 28.0, seed + 1)
    points += (rough_mm * wobble)[:, None] * direction.reshape(-1, 3).astype(np.float32)
    triangles = _grid_triangles(rows, columns, True)
    mesh = _mesh(points, triangles)
    return mesh if _mean_outward(mesh, outline.center) else _mesh(points, triangles[:, ::-1])


def _mean_outward(mesh: Mesh, center: NDArray[np.floating]) -> bool:
    a, b, c = (mesh.vertices_mm[mesh.triangles[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", np.cross(b - a, c - a), a - np.asarray(center, np.float32))) > 0


def _hair_part(rng: np.random.Generator, outline: _Outline, skin: Skin) -> list[Part]:
    """Hair with a body: short and high, full, long over the shoulders, with or without a fringe."""
    spectrum = skin.hair_spectrum if skin.hair_spectrum is not None else spectra.draw_hair_spectrum(rng)
    seed = int(rng.integers(1, 1_000_000))
    kind = rng.choice(4, p=[0.40, 0.2, 0.28, 0.12])  # short, full, long, afro
    front = rng.uniform(24.0, 34.0)  # elevation of the hairline above the face's middle
    if rng.random() < 0.35:
        front = rng.uniform(10.0, 20.0)  # a fringe down to the brows
    side = {0: rng.uniform(5.0, 14.0), 1: rng.uniform(-20.0, 0.0), 2: -35.0, 3: rng.uniform(-12.0, 5.0)}[int(kind)]
    nape = {0: -22.0, 1: -40.0, 2: -60.0, 3: -35.0}[int(kind)]
    temple = rng.uniform(48.0, 66.0)
    height = {0: rng.uniform(4, 16), 1: rng.uniform(10, 25), 2: rng.uniform(8, 20), 3: rng.uniform(25, 60)}[int(kind)]
    parting = rng.uniform(-0.5, 0.5)
    rim = rng.uniform(0.04, 0.35)

    def bottom(azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        knots = [0.0, temple - 14, temple + 8, 95.0, 125.0, 180.0]
        values = [front, front - 2, side + 4, side, 0.5 * (side + nape), nape]
        return np.interp(azimuth, knots, values)

    def thickness(elevation: NDArray[np.float64], azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        rise = np.clip((elevation - bottom(azimuth)) / 34.0, rim, 1.0)
        quiff = 0.5 * parting * np.cos(np.radians(azimuth)) * np.cos(np.radians(elevation))
        return height * rise * (1 + quiff)

    curly = kind == 3 or rng.random() < 0.25
    mesh = _shell(outline, bottom, thickness, seed, 3.0 if curly else 1.4)
    along = (0.9, 0.9, 0.9) if curly else (1.0, 0.18, 0.25)
    material = Hair(spectrum, along, float(rng.uniform(0.2, 0.5)), seed)
    parts = [Part(mesh, material, "hair")]
    if kind == 2:
        parts.append(Part(_curtain(rng, outline, height, seed), material, "long_hair"))
    return parts


def _curtain(rng: np.random.Generator, outline: _Outline, height_mm: float, seed: int) -> Mesh:
    """Long hair: a surface that hangs from ear to ear around the back of the head, down to the chin or the chest."""
    rows, columns = 26, 90
    opening = rng.uniform(58.0, 82.0)
    azimuth = np.linspace(opening, 360.0 - opening, columns)
    end = rng.uniform(90.0, 260.0)
    y = np.linspace(-35.0, end, rows)[:, None]
    width = float(outline.at(np.array([0.0]), np.array([90.0]))[0]) + height_mm
    depth = float(outline.at(np.array([0.0]), np.array([180.0]))[0]) + height_mm
    fall = np.clip((y - 20.0) / 150.0, 0, 1)
    a = np.radians(azimuth)[None]
    taper = 1 + rng.uniform(-0.15, 0.12) * fall
    x = width * taper * np.sin(a)
    z = outline.center[2] - np.where(np.cos(a) > 0, 0.75 * width, depth) * (1 - 0.25 * fall) * np.cos(a)
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3).astype(np.float32)
    wave = noise_at(points * np.array([1, 0.25, 1], np.float32), 1 / 14.0, seed + 5)
    points[:, 0] += 3.0 * wave * np.sign(points[:, 0])
    points[:, 1] += np.where(np.repeat(np.arange(rows), columns) == rows - 1, 12.0 * wave, 0.0).astype(np.float32)
    return _two_sided(_mesh(points, _grid_triangles(rows, columns, False)))


def _hat(rng: np.random.Generator, outline: _Outline) -> list[Part]:
    """A knitted hat, a cap with a peak, or a brimmed hat."""
    cloth = _draw_cloth(rng)
    seed = int(rng.integers(1, 1_000_000))
    low = rng.uniform(14.0, 27.0)
    kind = rng.choice(3, p=[0.45, 0.4, 0.15])
    high = rng.uniform(6.0, 12.0) if kind == 0 else rng.uniform(9.0, 20.0)

    def bottom(azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(azimuth, [0.0, 60.0, 110.0, 180.0], [low, low - 6, low - 16, low - 24])

    def thickness(elevation: NDArray[np.float64], azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        return 6.0 + high * np.clip((elevation - 20) / 50, 0, 1)

    shell = _shell(outline, bottom, thickness, seed, 0.5)
    parts = [Part(shell, cloth, "hat")]
    if kind > 0:
        rows, columns = 6, 60
        reach = rng.uniform(45.0, 75.0)
        span = 62.0 if kind == 1 else 180.0
        azimuth = np.linspace(-span, span, columns)
        elevation = bottom(np.abs(azimuth))
        base = outline.at(elevation, azimuth) + 4.0
        e, a = np.radians(elevation), np.radians(azimuth)
        t = np.linspace(0, 1, rows)[:, None]
        shape = np.sqrt(np.clip(1 - (azimuth / (span + 3)) ** 2, 0, 1)) if kind == 1 else np.ones(columns)
        radius = base * np.cos(e) + t * reach * shape
        drop = t * rng.uniform(0.0, 0.4) * reach * shape - 3.0
        points = np.stack(
            np.broadcast_arrays(radius * np.sin(a), -base * np.sin(e) + drop, -radius * np.cos(a)), axis=-1
        )
        points = points.reshape(-1, 3) + outline.center
        parts.append(Part(_two_sided(_mesh(points, _grid_triangles(rows, columns, False))), cloth, "brim"))
    return parts


def _scarf(rng: np.random.Generator, outline: _Outline) -> list[Part]:
    """A headscarf or hood: a shell with an opening for the face, and cloth around the neck."""
    cloth = _draw_cloth(rng)
    seed = int(rng.integers(1, 1_000_000))
    top = rng.uniform(20.0, 32.0)
    opening = rng.uniform(52.0, 66.0)

    def bottom(azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(azimuth, [0.0, 0.75 * opening, opening, opening + 6, 180.0], [top, top - 6, 0.0, -56.0, -60.0])

    def thickness(elevation: NDArray[np.float64], azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(7.0 + 4.0 * (azimuth > 90) + 0.0 * elevation)

    rows, columns = 18, 90
    a = np.radians(np.arange(columns) * 360.0 / columns)[None]
    t = np.linspace(0.0, 1.0, rows)[:, None]
    # Under the chin it closes: rings from the jaw to the shoulders.
    front = np.clip(np.cos(a), 0, 1)
    y = 88.0 + 26.0 * front + 150.0 * t
    radius = 72.0 + 16.0 * np.sin(np.pi * t) + 75.0 * t**2
    z = 78.0 - radius * np.cos(a) * np.where(np.cos(a) > 0, 0.95, 1.1)
    points = np.stack(np.broadcast_arrays(radius * np.sin(a), y, z), axis=-1).reshape(-1, 3).astype(np.float32)
    points += 4.0 * noise_at(points, 1 / 30.0, seed)[:, None]
    collar = _two_sided(_mesh(points, _grid_triangles(rows, columns, True)))
    shell = _two_sided(_shell(outline, bottom, thickness, seed, 1.5))
    return [Part(shell, cloth, "scarf"), Part(collar, cloth, "scarf_collar")]


def _draw_cloth(rng: np.random.Generator) -> Cloth:
    stripes = rng.choice(4, p=[0.62, 0.14, 0.1, 0.14])
    period = float(rng.uniform(8.0, 60.0))
    along = ((0.0, 0.0), (period, 0.0), (0.0, period), (period, period * float(rng.uniform(0.7, 1.3))))[int(stripes)]
    return Cloth(
        first=spectra.draw_fabric_spectrum(rng),
        second=spectra.draw_fabric_spectrum(rng),
        stripe_mm=along,
        grain_mm=float(rng.uniform(1.0, 4.0)),
        relief_mm=float(rng.uniform(0.1, 0.6)),
        seed=int(rng.integers(1, 1_000_000)),
        roughness=float(rng.uniform(0.55, 0.95)),
    )


def _torso(rng: np.random.Generator, mesh: Mesh) -> list[Part]:
    """Neck opening, shoulders and chest, as rings of ellipses; sometimes a collar."""
    chin = _chin(mesh)
    neck = chin + rng.uniform(38.0, 70.0)
    wide = rng.uniform(0.88, 1.15)
    # (mm below the neck opening, half-width, half-depth)
    profile = np.array(
        [[-6.0, 66, 62], [4, 74, 70], [22, 110, 86], [45, 165, 104], [75, 198, 116], [150, 215, 125], [420, 205, 130]]
    )
    profile[2:, 1:] *= wide
    columns, rows = 72, 40
    t = np.linspace(0, len(profile) - 1.0, rows)
    down, half_x, half_z = (np.interp(t, np.arange(len(profile)), profile[:, k])[:, None] for k in range(3))
    a = (np.arange(columns) * 2 * np.pi / columns)[None]
    open_front = rng.uniform(0.0, 45.0) if rng.random() < 0.5 else 0.0
    scoop = (
        open_front * np.exp(-((np.degrees(np.angle(np.exp(1j * a))) / 38.0) ** 2)) * np.exp(-np.maximum(down, 0) / 30.0)
    )
    x = half_x * np.sin(a)
    z = 92.0 - half_z * np.cos(a) * np.where(np.cos(a) > 0, 1.0, 0.95)
    y = neck + down + scoop
    seed = int(rng.integers(1, 1_000_000))
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3).astype(np.float32)
    points += (3.5 * noise_at(points, 1 / 35.0, seed) + 1.2 * noise_at(points, 1 / 12.0, seed + 1))[:, None] * np.array(
        [0.5, 0.3, 1.0], np.float32
    )
    triangles = _grid_triangles(rows, columns, True)
    body = _mesh(points, triangles)
    if not _mean_outward(body, np.array([0.0, neck + 200.0, 92.0])):
        body = _mesh(points, triangles[:, ::-1])
    cloth = _draw_cloth(rng)
    parts = [Part(body, cloth, "clothing")]
    if rng.random() < 0.4:  # a turned-up or folded collar
        rows = 7
        t = np.linspace(0, 1, rows)[:, None]
        height = rng.uniform(18.0, 42.0)
        flare = rng.uniform(-4.0, 14.0)
        gap = np.exp(-((np.degrees(np.angle(np.exp(1j * a))) / 16.0) ** 2)) * rng.uniform(0, 1)
        x = (70.0 + flare * (1 - t)) * np.sin(a)
        z = 92.0 - (66.0 + flare * (1 - t)) * np.cos(a)
        y = neck + 8.0 - height * (1 - t) * (1 - gap) + scoop[1:2] + 6.0 * np.cos(a)
        points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3)
        parts.append(Part(_two_sided(_mesh(points, _grid_triangles(rows, columns, True))), cloth, "collar"))
    return parts


def _chin(mesh: Mesh) -> float:
    """The chin's y in mm: the lowest point of the neutral head's foremost lower face."""
    rest = mesh.rest_mm
    middle = rest[(np.abs(rest[:, 0]) < 8) & (rest[:, 1] > 60) & (rest[:, 1] < 140)]
    front = middle[middle[:, 2] < middle[:, 2].min() + 22.0]
    return float(front[:, 1].max())


def draw_glasses(rng: np.random.Generator, mesh: Mesh) -> list[Part]:
    """A frame that rests on the nose and the ears; dark lenses at times."""
    skin = mesh.vertices_mm[(mesh.regions["eye"] < 0.5) & (mesh.regions["teeth"] < 0.5)]
    half_width = rng.uniform(20.0, 26.0)
    half_height = half_width * rng.uniform(0.6, 0.98)
    power = rng.uniform(2.0, 4.5)
    drop = rng.uniform(1.0, 6.0)
    centre = half_width + rng.uniform(6.0, 9.0)
    wire = rng.random() < 0.35
    thick = rng.uniform(0.6, 1.0) if wire else rng.uniform(1.2, 2.6)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    rim = np.stack(
        [half_width * np.sign(c) * np.abs(c) ** (2 / power), half_height * np.sign(s) * np.abs(s) ** (2 / power)],
        axis=1,
    )
    near = skin[(np.abs(np.abs(skin[:, 0]) - centre) < half_width + 2) & (np.abs(skin[:, 1] - drop) < half_height + 2)]
    near = near[near[:, 2] < 30]
    # Far enough forward to clear the brows and cheeks: the nose is narrower than the gap.
    aside = near[np.abs(near[:, 0]) > centre - half_width]
    wrap = rng.uniform(0.001, 0.004)
    z_at = float((aside[:, 2] - wrap * aside[:, 0] ** 2).min()) - thick - 1.5

    def place(x: NDArray[np.float64], y: NDArray[np.float64]) -> FloatArray:
        return np.stack([x, y, z_at + wrap * x * x], axis=1).astype(np.float32)

    flat = 1.0 if wire else 1.3
    meshes = [_tube(place(side * centre + rim[:, 0], drop + rim[:, 1]), thick, True, flat) for side in (-1, 1)]
    bridge_x = np.linspace(-(centre - half_width), centre - half_width, 9)
    bridge = place(bridge_x, drop - 0.25 * half_height - 2.0 * (1 - (bridge_x / bridge_x[-1]) ** 2))
    meshes.append(_tube(bridge, thick, False))
    wide = (
        float(np.percentile(np.abs(skin[(np.abs(skin[:, 1]) < 12) & (skin[:, 2] > 40) & (skin[:, 2] < 70), 0]), 95))
        + 3.0
    )
    for side in (-1, 1):
        hinge = np.array(
            [side * (centre + half_width), drop - 0.45 * half_height, z_at + wrap * (centre + half_width) ** 2]
        )
        ear = np.array([side * wide, drop - 0.45 * half_height - 4.0, 92.0])
        middle = np.array([side * max(0.96 * wide, centre + half_width), drop - 0.45 * half_height, hinge[2] + 12.0])
        t = np.linspace(0, 1, 14)[:, None]
        path = np.where(t < 0.25, hinge + (middle - hinge) * t / 0.25, middle + (ear - middle) * (t - 0.25) / 0.75)
        meshes.append(_tube(path.astype(np.float32), max(thick * 0.9, 0.8), False))
    if wire:
        material = Plain(spectra.draw_metal_spectrum(rng) * 0.25, 0.6, float(rng.uniform(0.15, 0.4)))
    else:
        material = Plain(spectra.draw_plastic_spectrum(rng), 0.04, float(rng.uniform(0.08, 0.4)))
    vertices = np.concatenate([m.vertices_mm for m in meshes])
    starts = np.cumsum([0, *(len(m.vertices_mm) for m in meshes[:-1])])
    triangles = np.concatenate([m.triangles + k for m, k in zip(meshes, starts, strict=True)])
    parts = [Part(_mesh(vertices, triangles), material, "glasses")]
    if rng.random() < 0.08:
        # Sunglasses: opaque here; their near-infrared transparency is left out.
        lenses, faces = [], []
        for k, side in enumerate((-1, 1)):
            edge = place(side * centre + 0.98 * rim[:, 0], drop + 0.98 * rim[:, 1])
            middle_point = place(np.array([side * centre]), np.array([drop])) - np.array([[0, 0, 1.0]], np.float32)
            lenses.append(np.concatenate([edge, middle_point]))
            n = len(edge)
            i = np.arange(n)
            faces.append(np.stack([i, (i + 1) % n, np.full(n, n)], axis=1) + k * (n + 1))
        dark = spectra.draw_plastic_spectrum(rng) * 0.3
        lens = _two_sided(_mesh(np.concatenate(lenses), np.concatenate(faces)))
        parts.append(Part(lens, Plain(dark, 0.05, 0.03), "sunglasses"))
    return parts


def draw_wear(rng: np.random.Generator, mesh: Mesh, skin: Skin) -> list[Part]:
    """Parts around a head, in its frame and before its pose: clothes nearly always, the rest by chance."""
    outline = _Outline.of(mesh)
    parts: list[Part] = []
    covered = rng.random()
    scarf, hat = covered < 0.07, 0.07 <= covered < 0.19
    if scarf:
        parts += _scarf(rng, outline)
    elif hat:
        parts += _hat(rng, outline)
    elif skin.has_hair and rng.random() < 0.72:
        parts += _hair_part(rng, outline, skin)
    if rng.random() < 0.88:
        parts += _torso(rng, mesh)
    if rng.random() < 0.3:
        parts += draw_glasses(rng, mesh)
    return parts
