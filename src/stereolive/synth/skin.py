"""Skin: one reflectance spectrum an identity, varied over the face by melanin and blood.

Freckles, redness, lips and an uneven tan change absorption, and absorption has a spectrum: what stands out in blue and
green fades towards near-infrared by itself. Hair, eyes, teeth and make-up are painted with spectra of their own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stereolive.synth import spectra
from stereolive.synth.spectra import WAVELENGTH_NM, Channels
from stereolive.synth.surface import FloatArray, Reflectance, SurfacePoints

Spectrum = NDArray[np.float64]


@njit(cache=True, nogil=True, inline="always")
def _hash(x: int, y: int, z: int, seed: int) -> float:
    """A number in -1..1 that belongs to a lattice point."""
    h = np.uint32(x * 374761393 + y * 668265263 + z * 2147483647 + seed * 1274126177)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(2246822519))
    h = h ^ (h >> np.uint32(16))
    return float(h) * 4.656612873e-10 - 1.0


@njit(cache=True, nogil=True)
def noise(x: float, y: float, z: float, seed: int) -> float:
    """Value noise in -1..1: hashed lattice values, smoothly interpolated."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    ix, iy, iz = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u = u * u * (3 - 2 * u)
    v = v * v * (3 - 2 * v)
    w = w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        wa = u if a else 1 - u
        for b in range(2):
            wb = wa * (v if b else 1 - v)
            total += wb * ((1 - w) * _hash(ix + a, iy + b, iz, seed) + w * _hash(ix + a, iy + b, iz + 1, seed))
    return total


@njit(cache=True, nogil=True)
def _noise_rows(points: FloatArray, frequency: float, seed: int, out: FloatArray) -> None:
    for i in range(len(points)):
        out[i] = noise(points[i, 0] * frequency, points[i, 1] * frequency, points[i, 2] * frequency, seed)


def noise_at(points: FloatArray, frequency: float, seed: int) -> FloatArray:
    """Value noise (N,) in -1..1 at points (N, 3); ``frequency`` in cells per unit of length."""
    out = np.empty(len(points), np.float32)
    _noise_rows(np.ascontiguousarray(points, np.float32), float(frequency), seed, out)
    return out


@njit(cache=True, nogil=True)
def _spots(x: float, y: float, z: float, seed: int, share: float, radius: float) -> float:
    """Round spots, one to a lattice cell with the given share; ``radius`` in cells, at most 0.35."""
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    if _hash(ix, iy, iz, seed) > 2 * share - 1:
        return 0.0
    r = radius * (0.65 + 0.35 * _hash(ix, iy, iz, seed + 1))
    dx = x - ix - 0.5 - 0.15 * _hash(ix, iy, iz, seed + 2)
    dy = y - iy - 0.5 - 0.15 * _hash(ix, iy, iz, seed + 3)
    dz = z - iz - 0.5 - 0.15 * _hash(ix, iy, iz, seed + 4)
    d = np.sqrt(dx * dx + dy * dy + dz * dz) / r
    value: float = min(max(1.6 - 1.6 * d, 0.0), 1.0)
    return value


@njit(cache=True, nogil=True, inline="always")
def _bell(x: float, y: float, x0: float, y0: float, sx: float, sy: float) -> float:
    value: float = np.exp(-0.5 * (((x - x0) / sx) ** 2 + ((y - y0) / sy) ** 2))
    return value


@njit(cache=True, nogil=True, inline="always")
def _step(value: float, edge: float, width: float) -> float:
    t = min(max((value - edge) / width + 0.5, 0.0), 1.0)
    return t * t * (3 - 2 * t)


# Places in the vector of an identity's drawn numbers, read by the kernel below.
_NUMBERS = (
    *("blotch", "freckle", "mole", "tan", "flush", "cheeks", "nose", "circles", "redness"),
    *("pore", "relief", "age", "oil", "oil_zone", "roughness", "f0"),
    *("brow_edge", "brow_cover", "beard_cover", "beard_edge", "moustache", "scalp_cover", "scalp_edge", "bald"),
    *("strand", "lash", "iris_mm", "pupil_mm", "vein", "lip_melanin", "map"),
    *("foundation", "lipstick", "shadow", "blush", "grey"),
)
(
    _BLOTCH, _FRECKLE, _MOLE, _TAN, _FLUSH, _CHEEKS, _NOSE, _CIRCLES, _REDNESS, _PORE, _RELIEF, _AGE, _OIL, _OIL_ZONE,
    _ROUGHNESS, _F0, _BROW_EDGE, _BROW_COVER, _BEARD_COVER, _BEARD_EDGE, _MOUSTACHE, _SCALP_COVER, _SCALP_EDGE, _BALD,
    _STRAND, _LASH, _IRIS_MM, _PUPIL_MM, _VEIN, _LIP_MELANIN, _MAP, _FOUNDATION, _LIPSTICK, _SHADOW, _BLUSH, _GREY,
) = range(len(_NUMBERS))  # fmt: skip
_SPECTRA = (
    "skin",
    "lips",
    "hair",
    "beard",
    "iris",
    "sclera",
    "teeth",
    "mouth",
    "foundation",
    "lipstick",
    "shadow",
    "vein",
)
_SKIN, _LIPS, _HAIR, _BEARD, _IRIS, _SCLERA, _TEETH, _MOUTH, _FOUNDATION_S, _LIPSTICK_S, _SHADOW_S, _VEIN_S = range(12)
_REGIONS = (
    *("lips", "brow", "scalp", "beard", "eye", "eye_x", "eye_y"),
    *("mouth_interior", "nostril", "lash", "teeth"),
)


@njit(cache=True, nogil=True, fastmath=True)
def _paint(
    rest: FloatArray,  # (N, 3)
    uv: FloatArray,  # (N, 2)
    regions: FloatArray,  # (11, N), in the order of _REGIONS
    mapped: FloatArray,  # (N, 2) melanin and blood of a skin map
    mm_per_pixel: float,
    p: FloatArray,
    colors: FloatArray,  # (12, C) channel values of _SPECTRA
    absorb: FloatArray,  # (2, C) effect of melanin, of blood
    seed: int,
    albedo: FloatArray,
    specular: FloatArray,
    roughness: FloatArray,
    bump: FloatArray,
) -> None:
    channels = colors.shape[1]
    # What is finer than a pixel is averaged there: its contrast falls with the number of grains in a pixel.
    fine = min(1.0, 0.35 / mm_per_pixel)
    mid = min(1.0, 1.2 / mm_per_pixel)
    tone = np.empty(channels, np.float32)
    for i in range(len(rest)):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        ax = abs(x)
        lips, brow, scalp, beard = regions[0, i], regions[1, i], regions[2, i], regions[3, i]
        mouth, nostril, lash = regions[7, i], regions[8, i], regions[9, i]
        if regions[4, i] > 0.5:  # eyeball
            ex, ey = regions[5, i], regions[6, i]
            r = np.sqrt(ex * ex + ey * ey)
            angle = np.arctan2(ey, ex)
            iris = 1.0 - _step(r, p[_IRIS_MM], 0.5 + mm_per_pixel * 0.5)
            pupil = 1.0 - _step(r, p[_PUPIL_MM], 0.2 + mm_per_pixel * 0.5)
            streak = 1.0 + 0.35 * noise(angle * 9.0, r * 0.8, x * 0.02, seed + 40)
            streak *= 0.55 + 0.45 * _step(p[_IRIS_MM] - r, 0.5, 0.9)  # the dark limbal ring
            red = p[_VEIN] * _step(r, 10.5, 7.0) * (0.7 + 0.3 * noise(x * 0.9, y * 2.2, z * 0.9, seed + 41))
            shade = 1.0 - 0.3 * _step(r, 11.0, 6.0)
            for c in range(channels):
                value = colors[_SCLERA, c] * shade * (1 - red) + red * colors[_VEIN_S, c]
                value += iris * (colors[_IRIS, c] * streak - value)
                albedo[i, c] = value + pupil * (0.004 - value)
            specular[i] = 0.025
            roughness[i] = 0.08
            bump[i] = 0.0
            continue
        if regions[10, i] > 0.5:  # teeth
            gap = abs(np.sin(uv[i, 0] * np.pi * 12.0))
            dark = (0.25 + 0.75 * _step(gap, 0.2, 0.35 + 0.2 * mm_per_pixel)) * (
                1.0 - 0.9 * _step(abs(uv[i, 0] - 0.5), 0.38, 0.25)
            )
            for c in range(channels):
                albedo[i, c] = colors[_TEETH, c] * dark
            specular[i] = 0.04
            roughness[i] = 0.25
            bump[i] = 0.0
            continue

        # Melanin and blood.
        n1 = noise(x * 0.04, y * 0.04, z * 0.04, seed)
        n2 = noise(x * 0.11, y * 0.11, z * 0.11, seed + 1)
        n3 = noise(x * 0.33, y * 0.33, z * 0.33, seed + 2)
        n4 = noise(x * 0.95, y * 0.95, z * 0.95, seed + 3)
        front = _step(60.0 - z, 0.0, 50.0)
        melanin = p[_BLOTCH] * (0.5 * n1 + 0.3 * n2 + 0.2 * n3 + 0.12 * mid * n4)
        melanin += p[_TAN] * (0.5 * _step(-y, 15.0, 50.0) + _bell(ax, y, 0.0, 30.0, 14.0, 18.0) - _step(y, 110.0, 40.0))
        if p[_FRECKLE] > 0:
            where = _bell(ax, y, 30.0, 25.0, 26.0, 24.0) + 0.6 * _bell(ax, y, 0.0, 20.0, 18.0, 26.0) + 0.15
            grain = noise(x * 0.55, y * 0.55, z * 0.55, seed + 5) + 0.5 * noise(x * 1.1, y * 1.1, z * 1.1, seed + 6)
            melanin += p[_FRECKLE] * min(where, 1.0) * _step(grain + 0.25 * n2, 0.42, 0.3) * mid
        melanin += 1.5 * _spots(
            x * 0.045, y * 0.045, z * 0.045, seed + 7, p[_MOLE], 0.035 + 0.5 * 0.045 * mm_per_pixel * 0.3
        )
        melanin += p[_AGE] * 0.2 * _step(noise(x * 0.2, y * 0.2, z * 0.2, seed + 8) + 0.3 * n3, 0.62, 0.25)
        circles = _bell(ax, y, 30.0, 13.0, 11.0, 6.0)
        melanin += 0.5 * p[_CIRCLES] * circles
        blood = p[_FLUSH] * (0.45 * n2 + 0.35 * n3 + 0.25 * mid * n4 + 0.3 * n1)
        blood += front * p[_CHEEKS] * _bell(ax, y, 42.0, 34.0, 16.0, 15.0) * (1 + 0.5 * n2)
        blood += front * p[_NOSE] * _bell(ax, y, 0.0, 36.0, 13.0, 13.0)
        blood += 0.5 * p[_CIRCLES] * circles + p[_CHEEKS] * 0.6 * _step(ax, 68.0, 10.0) * _step(z, 70.0, 10.0)
        blood += p[_REDNESS] * _spots(x * 0.08, y * 0.08, z * 0.08, seed + 9, 0.1, 0.16) * front
        own = p[_MAP] * (1.0 - min(scalp * 2.0, 1.0)) * (1.0 - lips)
        melanin += own * mapped[i, 0]
        blood += own * mapped[i, 1]
        # Less melanin than the identity's own would turn skin bluish: lighter patches stay close to it.
        if melanin < 0:
            melanin *= 0.4
        if blood < 0:
            blood *= 0.5
        cover = p[_FOUNDATION] * front * (1 - _step(y, 95.0, 20.0)) * (1 - lips) * (1 - 0.5 * min(scalp * 2, 1.0))
        melanin *= 1 - cover
        blood *= 1 - cover
        blush = p[_BLUSH] * front * _bell(ax, y, 46.0, 30.0, 13.0, 11.0)
        for c in range(channels):
            base = colors[_SKIN, c] + cover * (colors[_FOUNDATION_S, c] - colors[_SKIN, c])
            tone[c] = base * np.exp(-(melanin * absorb[0, c] + (blood + blush) * absorb[1, c]))

        # Lips, painted or not.
        crease = 0.1 * noise(x * 1.3, y * 0.15, z * 0.15, seed + 10) * mid
        for c in range(channels):
            lip = colors[_LIPS, c] * np.exp(-(p[_LIP_MELANIN] * n3 * absorb[0, c])) * (1 + crease)
            lip += p[_LIPSTICK] * (colors[_LIPSTICK_S, c] - lip)
            tone[c] += lips * (lip - tone[c])
        if p[_SHADOW] > 0:
            lid = p[_SHADOW] * _bell(ax, y, 31.0, -8.0, 11.0, 4.5) * front
            for c in range(channels):
                tone[c] += lid * (colors[_SHADOW_S, c] - tone[c])

        # Hair. Strands lie along the brow, downwards in the beard, from front to back on the scalp.
        strand = p[_STRAND]
        hair_sum = 0.0
        if brow > 0.05:
            lie = noise(0.12 * x + 0.3 * y, 1.6 * y - 0.9 * ax, 0.1 * z, seed + 20)
            thick = _step(brow + 0.16 * fine * lie + 0.07 * mid * n3, p[_BROW_EDGE], 0.22)
            k = p[_BROW_COVER] * thick * (1 + 0.45 * fine * lie)
            k = min(max(k, 0.0), 0.97)
            hair_sum += k
            for c in range(channels):
                tone[c] += k * (colors[_HAIR, c] - tone[c])
        if beard > 0.05 and p[_BEARD_COVER] > 0:
            lie = noise(1.5 * x, 0.3 * y, 1.5 * z, seed + 22)
            near_lip = _bell(ax, y, 0.0, 54.0, 24.0, 9.0)
            k = _step(beard + 0.14 * n3 + 0.16 * n2, p[_BEARD_EDGE], 0.3) * p[_BEARD_COVER]
            k *= 1 - (1 - p[_MOUSTACHE]) * near_lip
            light = 1 + strand * lie * max(fine, 0.35)
            k = min(max(k * (1 + 0.35 * fine * noise(2.4 * x, 1.1 * y, 2.4 * z, seed + 23)), 0.0), 0.97)
            hair_sum += k
            for c in range(channels):
                tone[c] += k * (colors[_BEARD, c] * max(light, 0.25) - tone[c])
        bare = p[_BALD] * _step(-y - 0.35 * ax, 10.0, 40.0)
        if scalp > 0.02 and p[_SCALP_COVER] > 0:
            lie = noise(1.3 * x, 0.22 * y, 0.28 * z, seed + 24) + 0.6 * noise(0.4 * x, 0.06 * y, 0.08 * z, seed + 25)
            k = (
                _step(scalp + 0.09 * n2 + 0.05 * n3 + 0.05 * mid * lie, p[_SCALP_EDGE], 0.2)
                * p[_SCALP_COVER]
                * (1 - bare)
            )
            k = min(max(k, 0.0), 0.98)
            light = max(1 + strand * lie * max(fine, 0.4), 0.2)
            hair_sum += k
            for c in range(channels):
                tone[c] += k * (colors[_HAIR, c] * light - tone[c])
        k = min(lash * p[_LASH], 0.95)
        for c in range(channels):
            tone[c] += k * (0.4 * colors[_HAIR, c] - tone[c])
            value = tone[c] + mouth * (colors[_MOUTH, c] - tone[c])
            albedo[i, c] = value * (1 - 0.85 * nostril)

        # Gloss: the forehead and the nose are oilier.
        hairy = min(hair_sum, 1.0)
        zone = front * (
            _bell(ax, y, 0.0, 25.0, 14.0, 25.0)
            + _bell(ax, y, 0.0, -40.0, 30.0, 18.0)
            + 0.5 * _bell(ax, y, 40.0, 20.0, 14.0, 10.0)
        )
        oil = p[_OIL] * (1 + p[_OIL_ZONE] * zone) * (1 - 0.6 * cover)
        specular[i] = (p[_F0] * oil * (1 + 0.25 * n3) * (1 - hairy) + 0.03 * hairy) * (1 - 0.8 * nostril) + 0.015 * lips
        rough = p[_ROUGHNESS] - 0.1 * p[_OIL_ZONE] * zone - 0.08 * lips + 0.1 * cover
        roughness[i] = min(max(rough + (0.5 - rough) * hairy, 0.12), 0.8)

        # Relief in mm.
        height = p[_RELIEF] * (0.10 * n3 + 0.25 * n2) * (1 - hairy)
        if mm_per_pixel < 1.5:
            height += p[_RELIEF] * 0.06 * n4
        if mm_per_pixel < 0.6:
            height += p[_PORE] * noise(x * 1.9, y * 1.9, z * 1.9, seed + 30)
        if p[_AGE] > 0.05:
            wave = y + 3.0 * n1 + 1.5 * noise(x * 0.06, y * 0.1, z * 0.05, seed + 31)
            ridge = np.sin(wave * 0.85)
            fold = max(-ridge, 0.0) ** 3 * _bell(ax, y, 0.0, -40.0, 32.0, 12.0) * 0.35
            corner = np.arctan2(y - 2.0, ax - 44.0)
            feet = max(np.sin(corner * 13.0 + n2), 0.0) ** 3 * _bell(ax, y, 55.0, 2.0, 6.0, 9.0) * 0.3
            bag = (
                np.exp(-0.5 * ((y - 14.0 - 0.012 * (ax - 30.0) ** 2 * -1.0) / 1.3) ** 2)
                * _bell(ax, y, 30.0, 13.0, 11.0, 8.0)
                * 0.3
            )
            height -= p[_AGE] * front * (fold + feet + bag) * (0.7 + 0.5 * n2)
        if hairy > 0.1:
            height += hairy * 0.35 * noise(1.1 * x, 0.25 * y, 0.5 * z, seed + 32) * max(fine, 0.3)
        bump[i] = height * (1 - mouth)


@dataclass(frozen=True)
class Skin:
    """One identity's surface: skin, lips, brows, beard, short hair, eyes and teeth, as a material for a head's mesh."""

    group: int
    spectrum: Spectrum  # (61,) of bare skin
    numbers: FloatArray  # in the order of _NUMBERS
    parts: NDArray[np.float64]  # (12, 61) in the order of _SPECTRA
    melanin: Spectrum  # (61,) absorption of the maps
    blood: Spectrum
    scattering_mm: Spectrum  # (61,) diffusion length
    seed: int
    skin_map: FloatArray | None = None  # (H, W, 2) melanin and blood over the texture square
    hair_spectrum: Spectrum | None = None  # (61,) of head hair, for hair that is a mesh of its own

    @property
    def has_hair(self) -> bool:
        """Whether the head is neither bald nor shaved."""
        return bool(self.numbers[_SCALP_COVER] > 0.7 and self.numbers[_BALD] == 0)

    def channel_values(self, channels: Channels) -> tuple[FloatArray, FloatArray]:
        """Channel values (12, C) of the spectra and the effect (2, C) of melanin and blood on bare skin's.

        Absorption is averaged within a channel by what bare skin returns there, which is exact for small amounts.
        """
        base = channels.weights * self.spectrum
        shares = base / np.maximum(base.sum(axis=1, keepdims=True), 1e-12)
        absorb = np.stack([shares @ self.melanin, shares @ self.blood])
        return channels.integrate(self.parts), absorb.astype(np.float32)

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance:
        count, width = len(points.rest_mm), len(channels.names)
        colors, absorb = self.channel_values(channels)
        regions = np.stack([points.regions[name] for name in _REGIONS]).astype(np.float32, copy=False)
        mapped = np.zeros((count, 2), np.float32)
        if self.skin_map is not None and count:
            mapped = self._from_map(points)
        albedo = np.empty((count, width), np.float32)
        specular, roughness, bump = (np.empty(count, np.float32) for _ in range(3))
        rest = np.ascontiguousarray(points.rest_mm, np.float32)
        uv = np.ascontiguousarray(points.uv, np.float32)
        _paint(
            rest, uv, regions, mapped, float(max(points.mm_per_pixel, 0.05)), self.numbers,
            np.ascontiguousarray(colors), np.ascontiguousarray(absorb), self.seed, albedo, specular, roughness, bump,
        )  # fmt: skip
        np.clip(albedo, 0.002, 0.95, out=albedo)
        scattering = channels.integrate(self.scattering_mm)
        return Reflectance(albedo, specular, roughness, None, bump, scattering)

    def _from_map(self, points: SurfacePoints) -> FloatArray:
        assert self.skin_map is not None
        size = np.array(self.skin_map.shape[1::-1], np.float32)
        place = points.uv * size - 0.5
        sampled = np.empty((len(place), 2), np.float32)
        # OpenCV's remap takes at most 32767 rows of output.
        for start in range(0, len(place), 30000):
            piece = place[start : start + 30000]
            x, y = np.ascontiguousarray(piece[:, :1], np.float32), np.ascontiguousarray(piece[:, 1:], np.float32)
            sampled[start : start + 30000] = cv2.remap(
                self.skin_map, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ).reshape(-1, 2)
        valid = np.clip(2 * points.regions["texture"] - 1, 0, 1) if "texture" in points.regions else 1.0
        return np.asarray(sampled * np.reshape(valid, (-1, 1)), np.float32)


_MAP_SIZE, _MAP_FULL = 1024, 2048
_MAP_CROP = (24, 53, 2035, 2024)
"""Box of the cropped MakeHuman skin maps within the full 2048 x 2048 texture square (left, top, right, bottom)."""


@functools.lru_cache(maxsize=16)
def _skin_map(path: Path) -> FloatArray:
    """Melanin and blood variation (H, W, 2) over the texture square from a skin colour map.

    Log colour against its own median over the head, split by least squares onto the absorptions of both at the peaks
    of common R, G, B sensors, after the slow changes that are painted-in shading were damped.
    """
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
    if image is None:
        raise ValueError(f"The skin map could not be read: {path}")
    left, top, right, bottom = _MAP_CROP
    log = np.log(np.maximum((image.astype(np.float32) / 255.0) ** 2.2, 0.004))
    log = cv2.resize(log, ((right - left) // 2, (bottom - top) // 2))
    full = np.zeros((_MAP_SIZE, _MAP_SIZE, 3), np.float32)
    full[:] = np.median(log[150:850, 670:], axis=(0, 1))
    full[top // 2 : top // 2 + log.shape[0], left // 2 : left // 2 + log.shape[1]] = log
    face = full[430:650, 760:1000]
    change = full - np.median(face, axis=(0, 1))
    slow = cv2.resize(change, (128, 128), interpolation=cv2.INTER_AREA)
    change -= 0.5 * cv2.resize(cv2.GaussianBlur(slow, (0, 0), 5.0), (_MAP_SIZE, _MAP_SIZE))
    at = np.searchsorted(WAVELENGTH_NM, (460.0, 540.0, 620.0))  # OpenCV's order: blue, green, red
    absorb = np.stack([spectra.melanin_absorption()[at], spectra.haemoglobin_absorption()[at]], axis=1)
    both = -change @ np.linalg.pinv(absorb).T.astype(np.float32)
    return np.ascontiguousarray(np.clip(both, -0.5, 0.7), np.float32)


@functools.lru_cache(maxsize=4)
def _measured(path: Path) -> NDArray[np.float64] | None:
    """Measured skin reflectance (P, 61) of a folder's HySpex file, constant below 415 and above 950 nm."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        wavelength, reflectance = archive["wavelength_nm"], archive["reflectance"]
    return np.stack([np.interp(WAVELENGTH_NM, wavelength, r) for r in reflectance]).astype(np.float64)


def _with_measured_shape(rng: np.random.Generator, spectrum: Spectrum, folder: Path) -> Spectrum:
    """The drawn spectrum with the near-infrared shape of a measured person of about the same red reflectance."""
    people = _measured(folder / "spectra" / "hyspex_skin.npz")
    if people is None:
        return spectrum
    red = int(np.searchsorted(WAVELENGTH_NM, 650.0))
    order = np.argsort(np.abs(np.log(people[:, red] / spectrum[red])))
    person = people[order[int(rng.integers(0, 6))]]
    shape = person / person[red]
    # A shape from much lighter skin would leave dark skin too dark beyond 700 nm: it is used where the two agree.
    if abs(np.log(person[red] / spectrum[red])) > 0.35:
        return spectrum
    share = np.clip((WAVELENGTH_NM - 640.0) / 60.0, 0, 1) * rng.uniform(0.5, 1.0)
    mixed = spectrum ** (1 - share) * np.maximum(shape * spectrum[red], 0.02) ** share
    return np.asarray(np.clip(mixed, 0.01, 0.85), np.float64)


def _flat(value: float) -> Spectrum:
    return np.full(len(WAVELENGTH_NM), value)


def _curve(knots_nm: tuple[float, ...], values: tuple[float, ...]) -> Spectrum:
    return np.asarray(np.interp(WAVELENGTH_NM, knots_nm, values), np.float64)


def _draw_iris(rng: np.random.Generator, group: int) -> Spectrum:
    """Iris reflectance: brown (dark in the visible), hazel, green, blue, grey; brighter in near-infrared in all."""
    light = {1: 0.75, 2: 0.6, 3: 0.4, 4: 0.15, 5: 0.03, 6: 0.0}[group]
    near = rng.uniform(0.07, 0.38)
    if rng.random() > light:
        v = rng.uniform(0.015, 0.07)
        values = (0.35 * v, 0.5 * v, v, 1.9 * v, 0.75 * near, near)
    else:
        v = rng.uniform(0.08, 0.2)
        blue = rng.uniform(0.7, 1.5)
        values = (blue * v, blue * v, v, v * rng.uniform(0.6, 1.1), 0.9 * near, near)
    return _curve((400.0, 460.0, 550.0, 640.0, 760.0, 900.0), values)


def _draw_lipstick(rng: np.random.Generator, skin_spectrum: Spectrum) -> Spectrum:
    """Lipstick: an organic red that clears before 700 nm, in tones from nude to plum."""
    edge = rng.uniform(575.0, 625.0)
    low, high = rng.uniform(0.02, 0.2), rng.uniform(0.25, 0.6)
    rise = 1 / (1 + np.exp(-(WAVELENGTH_NM - edge) / 12.0))
    tint = low + (high - low) * rise + rng.uniform(0, 0.04) * spectra.gaussian_band(440.0, 80.0)
    near = np.clip((WAVELENGTH_NM - 680.0) / 80.0, 0, 1)
    return np.asarray(tint * (1 - near) + skin_spectrum * rng.uniform(0.85, 1.1) * near, np.float64)


def _draw_numbers(rng: np.random.Generator, group: int) -> dict[str, float]:
    """All that varies over the face, except the spectra."""
    old = float(rng.beta(0.9, 1.3))
    pale = {1: 1.0, 2: 0.85, 3: 0.6, 4: 0.45, 5: 0.3, 6: 0.25}[group]
    feminine = rng.random() < 0.5
    made_up = feminine and rng.random() < 0.45
    beard = 0.0
    if not feminine:
        kind = rng.choice(4, p=[0.3, 0.3, 0.18, 0.22])
        beard = float((0.0, rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.6), rng.uniform(0.7, 0.96))[kind])
    shaved = rng.random() < 0.12
    bald = float(rng.uniform(0.6, 1.0)) if shaved or (not feminine and rng.random() < 0.15 + 0.35 * old) else 0.0
    return {
        "blotch": float(rng.gamma(2.0, 0.035)),
        "freckle": float(rng.uniform(0.08, 0.4)) if rng.random() < 0.22 * pale + 0.03 else 0.0,
        "mole": float(rng.uniform(0.0, 0.12)),
        "tan": float(rng.normal(0.0, 0.06)),
        "flush": float(rng.gamma(2.0, 0.035)) * (0.4 + 0.6 * pale),
        "cheeks": float(rng.gamma(1.5, 0.12)) * (0.35 + 0.65 * pale),
        "nose": float(rng.gamma(1.5, 0.11)) * (0.35 + 0.65 * pale),
        "circles": float(rng.gamma(1.2, 0.14)) + 0.1 * old,
        "redness": float(rng.uniform(0.2, 0.8)) if rng.random() < 0.25 else 0.0,
        "pore": float(np.clip(np.exp(rng.normal(np.log(0.03), 0.6)), 0.008, 0.13)),
        "relief": float(rng.uniform(0.2, 2.4)),
        "age": old**1.5 * float(np.clip(rng.lognormal(0.0, 0.5), 0.3, 2.5)),
        "oil": float(rng.lognormal(-0.2, 0.3)) if rng.random() < 0.88 else float(rng.uniform(1.2, 2.2)),
        "oil_zone": float(rng.uniform(0.0, 0.9)),
        "roughness": float(rng.uniform(0.24, 0.65)),
        "f0": 0.028,
        "brow_edge": float(rng.uniform(0.46, 0.72)),
        "brow_cover": float(rng.uniform(0.35, 0.9)),
        "beard_cover": beard,
        "beard_edge": float(rng.uniform(0.35, 0.75)),
        "moustache": 1.0 if rng.random() < 0.75 else float(rng.uniform(0.0, 0.5)),
        "scalp_cover": 0.0
        if bald and rng.random() < 0.5
        else float(rng.choice([rng.uniform(0.25, 0.6), rng.uniform(0.85, 0.98)], p=[0.2, 0.8])),
        "scalp_edge": float(np.clip(rng.normal(0.5 + 0.12 * old * (not feminine), 0.08), 0.25, 0.85)),
        "bald": bald,
        "strand": float(rng.uniform(0.2, 0.6)),
        "lash": float(rng.uniform(0.5, 0.8)) + (0.25 if made_up else 0.0),
        "iris_mm": float(rng.uniform(5.5, 6.3)),
        "pupil_mm": float(rng.uniform(1.2, 3.3)),
        "vein": float(rng.uniform(0.05, 0.45)),
        "lip_melanin": float(rng.uniform(0.0, 0.2)),
        "map": float(rng.uniform(0.2, 0.8)),
        "foundation": float(rng.uniform(0.3, 0.85)) if made_up else 0.0,
        "lipstick": float(rng.uniform(0.3, 0.95)) if made_up and rng.random() < 0.75 else 0.0,
        "shadow": float(rng.uniform(0.2, 0.75)) if made_up and rng.random() < 0.6 else 0.0,
        "blush": float(rng.uniform(0.1, 0.45)) if made_up and rng.random() < 0.6 else 0.0,
        "grey": old,
    }


def draw_skin(rng: np.random.Generator, head_source: str, group: int | None, folder: Path | None) -> Skin:
    """One identity's skin.

    ``group`` 1..6 is about Fitzpatrick's type (by individual typology angle), drawn in equal parts where None.
    ``folder`` may hold measured spectra and skin colour maps; the maps fit anny and makehuman heads only.
    """
    if group is None:
        group = int(rng.integers(1, 7))
    spectrum = spectra.draw_skin_spectrum(rng, group)
    if folder is not None and rng.random() < 0.6:
        spectrum = _with_measured_shape(rng, spectrum, folder)
    numbers = _draw_numbers(rng, group)

    hair = spectra.draw_hair_spectrum(rng)
    if group >= 4 and rng.random() < 0.85:
        for _ in range(8):  # dark skin seldom goes with light hair, other than by age or dye
            if hair[15] < 0.06:
                break
            hair = spectra.draw_hair_spectrum(rng)
    grey = numbers["grey"] ** 2 * rng.uniform(0.0, 0.7)
    beard_hair = hair * (1 - grey) + grey * rng.uniform(0.2, 0.45)
    lips = spectra.draw_lip_spectrum(rng, spectrum)
    blood = spectra.haemoglobin_absorption(float(rng.uniform(0.55, 0.9)))
    sclera_near = rng.uniform(0.3, 0.62)
    sclera = _curve(
        (400.0, 500.0, 600.0, 700.0, 850.0, 1000.0), (0.42, 0.51, 0.56, 0.57, sclera_near, 0.8 * sclera_near)
    )
    tooth = rng.uniform(0.4, 0.75)
    yellow = rng.uniform(0.55, 0.95)
    teeth = tooth * _curve((400.0, 460.0, 560.0, 680.0, 850.0, 1000.0), (0.85 * yellow, yellow, 0.98, 1.0, 0.95, 0.85))
    mouth = np.clip(spectrum, 0.1, 0.5) * np.exp(-0.9 * blood) * 0.22
    foundation = spectrum * np.exp(rng.normal(0, 0.06)) * np.exp(0.15 * blood)
    # Foundation's white and iron oxides lie flat in near-infrared, where skin rises.
    flat = np.clip((WAVELENGTH_NM - 650.0) / 100.0, 0, 1) * rng.uniform(0.0, 0.25)
    foundation = foundation * (1 - flat) + flat * rng.uniform(0.4, 0.7)
    shadow = spectra.draw_fabric_spectrum(rng)
    vein = np.clip(sclera * np.exp(-0.7 * blood), 0.02, 1)
    parts = np.stack(
        [
            *(spectrum, lips, hair, beard_hair, _draw_iris(rng, group), sclera, teeth, mouth),
            *(foundation, _draw_lipstick(rng, spectrum), shadow, vein),
        ]
    )
    # Diffusion lengths of light in dermis: .3 mm in blue to 1.2 mm and more in near-infrared (Salomatina 2006).
    knots = np.array([0.25, 0.30, 0.55, rng.uniform(0.8, 1.2), rng.uniform(1.2, 3.0), rng.uniform(1.3, 3.0)])
    scattering = np.interp(WAVELENGTH_NM, (400.0, 450.0, 550.0, 640.0, 850.0, 1000.0), knots)
    scattering *= np.exp(rng.normal(-0.1, 0.4))
    skin_map = None
    if folder is not None and head_source in ("anny", "makehuman"):
        paths = sorted((folder / "skins").glob("*.jpg"))
        if paths:
            skin_map = _skin_map(paths[int(rng.integers(0, len(paths)))])
    vector = np.array([numbers[name] for name in _NUMBERS], np.float32)
    return Skin(
        group=group,
        spectrum=spectrum,
        numbers=vector,
        parts=parts,
        melanin=spectra.melanin_absorption(),
        blood=blood,
        scattering_mm=scattering,
        seed=int(rng.integers(1, 1_000_000)),
        skin_map=skin_map,
        hair_spectrum=hair,
    )
