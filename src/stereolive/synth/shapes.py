"""Simple meshes and the materials that textures make: sheets, boxes, sticks, fingers; walls, prints, screens, masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stereolive.synth.lights import emitted
from stereolive.synth.skin_paint import FOLD_SHADE, folds_at
from stereolive.synth.spectra import WAVELENGTH_NM, Channels
from stereolive.synth.surface import FloatArray, Mesh, Reflectance, SurfacePoints

Spectrum = NDArray[np.float64]


# --- meshes -----------------------------------------------------------------------------------------------------------


def grid(width_mm: float, height_mm: float, step_mm: float) -> Mesh:
    """A sheet centred on the origin in the plane z = 0 that faces -z, fine enough for bending and lens distortion."""
    columns = max(1, int(np.ceil(width_mm / step_mm)))
    rows = max(1, int(np.ceil(height_mm / step_mm)))
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32)
    vertices = np.zeros((len(uv), 3), np.float32)
    vertices[:, 0] = (uv[:, 0] - 0.5) * width_mm
    vertices[:, 1] = (uv[:, 1] - 0.5) * height_mm
    index = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)
    return Mesh(vertices, triangles, uv, vertices.copy())


def joined(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one; only regions that all have are kept."""
    starts = np.cumsum([0] + [len(mesh.vertices_mm) for mesh in meshes])
    names = set.intersection(*(set(mesh.regions) for mesh in meshes))
    return Mesh(
        np.concatenate([mesh.vertices_mm for mesh in meshes]),
        np.concatenate([mesh.triangles + s for mesh, s in zip(meshes, starts, strict=False)]).astype(np.int32),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.rest_mm for mesh in meshes]),
        {name: np.concatenate([mesh.regions[name] for mesh in meshes]) for name in names},
    )


def turned(mesh: Mesh, rotation: NDArray[np.floating], shift_mm: NDArray[np.floating]) -> Mesh:
    """The mesh built elsewhere: its rest place moves along."""
    vertices = (mesh.vertices_mm @ np.asarray(rotation, np.float32).T + np.asarray(shift_mm, np.float32)).astype(
        np.float32
    )
    return Mesh(vertices, mesh.triangles, mesh.uv, vertices.copy(), mesh.regions)


def box(size_mm: tuple[float, float, float], step_mm: float, front: bool = True) -> Mesh:
    """A box around the origin; without its -z side where ``front`` is false."""
    x, y, z = size_mm
    sides = []
    quarter = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float64)  # about y
    tilt = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)  # about x
    if front:
        sides.append(turned(grid(x, y, step_mm), np.eye(3), np.array([0, 0, -z / 2])))
    sides.append(turned(grid(x, y, step_mm), np.diag([-1.0, 1, -1]), np.array([0, 0, z / 2])))
    sides += [turned(grid(z, y, step_mm), turn, turn @ np.array([0, 0, -x / 2])) for turn in (quarter, quarter.T)]
    sides += [turned(grid(x, z, step_mm), turn, turn @ np.array([0, 0, -y / 2])) for turn in (tilt, tilt.T)]
    return joined(sides)


def capsule(start_mm: NDArray[np.floating], end_mm: NDArray[np.floating], radius_mm: float, sides: int = 14) -> Mesh:
    """A finger or stick from one point to another, round at both ends, a little thinner at the end."""
    start, end = np.asarray(start_mm, np.float64), np.asarray(end_mm, np.float64)
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis /= length
    helper = np.array([0, 0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0, 0])
    x = np.cross(helper, axis)
    x /= np.linalg.norm(x)
    y = np.cross(axis, x)
    cap = np.linspace(0, np.pi / 2, 5)
    along = np.concatenate(
        [-radius_mm * np.cos(cap), np.linspace(0, length, 10)[1:-1], length + radius_mm * np.sin(cap)]
    )
    radius = np.concatenate([radius_mm * np.sin(cap), np.full(8, radius_mm), radius_mm * np.cos(cap)])
    radius = np.maximum(radius, 0.01) * (1 - 0.18 * np.clip(along / length, 0, 1))
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[:, None] * x + np.sin(turn)[:, None] * y
    vertices = start + along[:, None, None] * axis + radius[:, None, None] * ring
    rows = len(along)
    index = np.arange(rows * sides).reshape(rows, sides)
    a, b = index[:-1], np.roll(index[:-1], -1, axis=1)
    c, d = index[1:], np.roll(index[1:], -1, axis=1)
    triangles = np.concatenate(
        [np.stack([a.ravel(), b.ravel(), c.ravel()], 1), np.stack([b.ravel(), d.ravel(), c.ravel()], 1)]
    ).astype(np.int32)
    vertices = vertices.reshape(-1, 3).astype(np.float32)
    uv = np.stack(np.meshgrid(turn / 6.2832, along / length), axis=-1).reshape(-1, 2).astype(np.float32)
    return Mesh(vertices, triangles, uv, vertices.copy())


# --- textures ---------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, fastmath=True)
def _bilinear(
    image: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32], wrap: bool
) -> NDArray[np.float32]:
    height, width, channels = image.shape
    out = np.empty((u.shape[0], channels), np.float32)
    for n in range(u.shape[0]):
        x, y = u[n] * width - 0.5, v[n] * height - 0.5
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - x0, y - y0
        if wrap:
            xa, xb, ya, yb = x0 % width, (x0 + 1) % width, y0 % height, (y0 + 1) % height
        else:
            xa, xb = min(width - 1, max(0, x0)), min(width - 1, max(0, x0 + 1))
            ya, yb = min(height - 1, max(0, y0)), min(height - 1, max(0, y0 + 1))
        for c in range(channels):
            top = image[ya, xa, c] * (1 - fx) + image[ya, xb, c] * fx
            bottom = image[yb, xa, c] * (1 - fx) + image[yb, xb, c] * fx
            out[n, c] = top * (1 - fy) + bottom * fy
    return out


def sample(image: FloatArray, uv: NDArray[np.floating], wrap: bool = False) -> FloatArray:
    """Values (N, K) of an image (H, W, K) at uv (N, 2) in 0..1."""
    u, v = np.ascontiguousarray(uv.T, np.float32)
    return np.asarray(_bilinear(image, u, v, wrap), np.float32)


def noise_image(rng: np.random.Generator, size: int, slope: float) -> FloatArray:
    """Tileable noise (size, size, 1) of mean 0 and deviation 1 whose amplitude falls with frequency ** slope."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequency, 1.0) ** slope
    spectrum[0, 0] = 0
    image = np.fft.irfft2(spectrum, (size, size))
    return np.asarray(image / image.std(), np.float32)[..., None]


# --- materials --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """One spectrum, a little uneven."""

    spectrum: Spectrum
    noise: FloatArray  # tileable (S, S, 1)
    specular: float = 0.04
    roughness: float = 0.5
    uneven: float = 0.05
    grain_mm: float = 60.0  # size of one noise tile
    bump: float = 0.0  # mm
    scattering: float = 0.0  # mm at 850 nm; less at shorter wavelengths

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        count = len(points.uv)
        place = (points.rest_mm[:, :2] + points.rest_mm[:, 2:] * np.float32(0.7)) / np.float32(self.grain_mm)
        noise = sample(self.noise, place, wrap=True)
        albedo = channels.integrate(self.spectrum)[None] * np.exp(self.uneven * noise)
        return Reflectance(
            np.clip(albedo, 0, 0.97).astype(np.float32),
            np.full(count, self.specular, np.float32),
            np.full(count, self.roughness, np.float32),
            bump_mm=self.bump * noise[:, 0] if self.bump else None,
            scattering_mm=scattering_lengths(self.scattering, channels) if self.scattering else None,
        )


def scattering_lengths(at_850_nm_mm: float, channels: Channels) -> FloatArray:
    """Diffusion lengths (C,): about linear in wavelength (.30, .58, 1.22 mm at 450, 550, 850 nm in skin)."""
    return np.asarray(at_850_nm_mm * np.clip((channels.weights @ WAVELENGTH_NM - 320) / 530, 0.1, 1.3), np.float32)


@dataclass(frozen=True)
class Mixed:
    """Spectra mixed by a texture over uv: walls with stripes, bricks, colour blocks, shelves; windows emit."""

    spectra: Spectrum  # (M, 61)
    weights: FloatArray  # image (H, W, M) over uv
    noise: FloatArray
    uneven: float = 0.06
    specular: float = 0.03
    roughness: float = 0.6
    grain_mm: float = 500.0

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        weights = sample(self.weights, points.uv)
        noise = sample(self.noise, points.rest_mm[:, :2] / np.float32(self.grain_mm), wrap=True)
        albedo = weights @ channels.integrate(self.spectra) * np.exp(self.uneven * noise)
        count = len(points.uv)
        return Reflectance(
            np.clip(albedo, 0, 0.97).astype(np.float32),
            np.full(count, self.specular, np.float32),
            np.full(count, self.roughness, np.float32),
        )


@dataclass(frozen=True)
class Printed:
    """Paper under up to four inks: Neugebauer's 16 overprints, weighted after Demichel by the inks' coverages."""

    paper: Spectrum
    inks: Spectrum  # (4, 61) transmittances of full coverage: cyan, magenta, yellow, black
    coverage: list[FloatArray]  # (H, W, 4), halved from level to level
    noise: FloatArray
    specular: float
    roughness: float
    bump: float = 0.0
    place: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # where on the sheet's uv the picture lies
    sheet_mm: float = 200.0  # size of uv 0..1
    uneven: float = 0.01

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        left, top, right, bottom = self.place
        size = np.array([right - left, bottom - top], np.float32)
        uv: FloatArray = np.asarray((points.uv - np.array([left, top], np.float32)) / size, np.float32)
        texel_mm = self.sheet_mm * (right - left) / self.coverage[0].shape[1]
        level = int(np.clip(round(math.log2(max(points.mm_per_pixel / texel_mm, 1e-3))), 0, len(self.coverage) - 1))
        on = np.all((uv > 0) & (uv < 1), axis=1)
        coverage = sample(self.coverage[level], uv) * on[:, None]
        albedo = np.zeros((len(uv), len(channels.names)), np.float32)
        for overprint in range(16):
            chosen = [(overprint >> k) & 1 for k in range(4)]
            share = np.ones(len(uv), np.float32)
            spectrum = self.paper.copy()
            for k in range(4):
                share *= coverage[:, k] if chosen[k] else 1 - coverage[:, k]
                if chosen[k]:
                    spectrum = spectrum * self.inks[k]
            albedo += share[:, None] * channels.integrate(spectrum)[None]
        noise = sample(self.noise, points.rest_mm[:, :2] / np.float32(80), wrap=True)
        return Reflectance(
            np.clip(albedo * (1 + self.uneven * noise), 0, 0.97),
            np.full(len(uv), self.specular, np.float32),
            np.full(len(uv), self.roughness, np.float32),
            bump_mm=self.bump * noise[:, 0] if self.bump else None,
        )


def pyramid(image: FloatArray) -> list[FloatArray]:
    """The image and its halves, down to some 64 pixels."""
    levels = [np.ascontiguousarray(image, np.float32)]
    while min(levels[-1].shape[:2]) > 128:
        half = np.asarray(cv2.pyrDown(levels[-1]), np.float32)
        levels.append(half.reshape(*half.shape[:2], -1))
    return levels


@dataclass(frozen=True)
class Display:
    """A screen behind glass: its picture is light, its body is dark in every wavelength that it does not emit."""

    picture: list[FloatArray]  # (H, W, 3) linear red, green, blue, halved from level to level
    primaries: Spectrum  # (3, 61) radiance of full red, green, blue
    off: Spectrum  # reflectance of the dark panel
    bezel: Spectrum
    active: tuple[float, float, float, float]  # uv of the lit area
    specular: float
    roughness: float
    sheet_mm: float

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        left, top, right, bottom = self.active
        size = np.array([right - left, bottom - top], np.float32)
        uv: FloatArray = np.asarray((points.uv - np.array([left, top], np.float32)) / size, np.float32)
        on = np.all((uv > 0) & (uv < 1), axis=1)
        texel_mm = self.sheet_mm * (right - left) / self.picture[0].shape[1]
        level = int(np.clip(round(math.log2(max(points.mm_per_pixel / texel_mm, 1e-3))), 0, len(self.picture) - 1))
        colour = sample(self.picture[level], uv) * on[:, None]
        albedo = np.where(on[:, None], channels.integrate(self.off)[None], channels.integrate(self.bezel)[None])
        return Reflectance(
            albedo.astype(np.float32),
            np.full(len(uv), self.specular, np.float32),
            np.where(on, self.roughness, max(self.roughness, 0.08)).astype(np.float32),
            emission=(colour @ emitted(channels, self.primaries)).astype(np.float32),
        )


@dataclass(frozen=True)
class Glowing:
    """A window or lamp in the background."""

    radiance: Spectrum
    picture: FloatArray  # (H, W, 1)

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        count = len(points.uv)
        value = sample(self.picture, points.uv) * emitted(channels, self.radiance)[None]
        return Reflectance(
            np.full_like(value, 0.05), np.full(count, 0.04, np.float32), np.full(count, 0.1, np.float32), emission=value
        )


@dataclass(frozen=True)
class Folds:
    """An old face's folds cast in a mask: ``depth`` as skin's age."""

    depth: float
    seed: int


@dataclass(frozen=True)
class Speckle:
    """Pigment and fibres in a mask, denser here and sparser there."""

    absorption: Spectrum  # (61,) exponent of what one deviation of the noise takes of the light
    noise: FloatArray  # tileable (S, S, 1)
    tile_mm: float


@dataclass(frozen=True)
class MaskSurface:
    """A mask's or bust's surface: base material with painted lips, brows and eyes where it has them."""

    base: Spectrum
    paints: dict[str, Spectrum]  # region -> reflectance of the painted region
    noise: FloatArray
    specular: float
    roughness: float
    uneven: float = 0.04
    grain_mm: float = 90.0
    bump: float = 0.0
    layer_mm: float = 0.0  # printed layers, 0 = none
    layer_tilt: float = 0.0
    scattering: float = 0.0
    folds: Folds | None = None
    speckle: Speckle | None = None

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        count = len(points.uv)
        place_mm = points.rest_mm[:, :2] + points.rest_mm[:, 2:] * np.float32(0.6)
        noise = sample(self.noise, place_mm / np.float32(self.grain_mm), wrap=True)
        base = channels.integrate(self.base)
        albedo = np.repeat(base[None], count, axis=0) * np.exp(self.uneven * noise)
        if self.speckle:
            density = sample(self.speckle.noise, place_mm / np.float32(self.speckle.tile_mm), wrap=True)
            lost = np.log(channels.integrate(self.base * np.exp(-self.speckle.absorption)) / base)
            albedo *= np.exp(np.clip(density, -2, 3) * lost)
        for name, paint in self.paints.items():
            if name in points.regions:
                weight = np.clip(points.regions[name], 0, 1)[:, None]
                albedo = albedo * (1 - weight) + weight * channels.integrate(paint)[None]
        if "iris" in self.paints and "eye_x" in points.regions:
            radius = np.hypot(points.regions["eye_x"], points.regions["eye_y"])[:, None]
            iris = np.clip((6.0 - radius) / 0.8, 0, 1)
            albedo = albedo * (1 - iris) + iris * channels.integrate(self.paints["iris"])[None]
            albedo = albedo * (1 - 0.9 * np.clip((2.4 - radius) / 0.6, 0, 1))
        bump = self.bump * noise[:, 0]
        if self.folds:
            folds = self.folds.depth * folds_at(points.rest_mm, self.folds.seed)
            albedo = albedo * (1 - np.clip(FOLD_SHADE * folds, 0, FOLD_SHADE)[:, None])
            bump = bump - folds
        if self.layer_mm:
            height = points.rest_mm[:, 1] + self.layer_tilt * points.rest_mm[:, 2]
            # Layers finer than two pixels would alias; they only roughen.
            seen = float(np.clip(self.layer_mm / (2.2 * points.mm_per_pixel) - 0.6, 0, 1))
            bump = bump + seen * 0.12 * self.layer_mm * np.sin(height * np.float32(2 * np.pi / self.layer_mm))
        return Reflectance(
            np.clip(albedo, 0, 0.97).astype(np.float32),
            np.full(count, self.specular, np.float32),
            np.full(count, self.roughness, np.float32),
            bump_mm=bump.astype(np.float32) if self.bump or self.layer_mm or self.folds else None,
            scattering_mm=scattering_lengths(self.scattering, channels) if self.scattering else None,
        )
