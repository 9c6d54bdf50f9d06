"""What a skin looks like at each point: the compiled inner loop of ``skin``."""

from __future__ import annotations

import numpy as np
from numba import njit

from stereolive.synth.surface import FloatArray


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


FOLD_SHADE = 0.5
"""What a fold of a millimetre takes of the light, and any at the most: light hardly gets out of it."""


@njit(cache=True, nogil=True)
def _fold_shares(seed: int) -> tuple[float, float]:
    """An identity's own shares of the folds around the mouth, and of those of brow, chin and cheek."""
    around_mouth = 0.5 + noise(0.37, 0.61, 0.13, seed + 34)
    elsewhere = 0.5 + noise(0.71, 0.23, 0.53, seed + 35)
    return max(around_mouth, 0.0), max(elsewhere, 0.0)


@njit(cache=True, nogil=True, fastmath=True)
def _fold_mm(x: float, y: float, z: float, coarse: float, fine: float, shares: tuple[float, float], seed: int) -> float:
    """Depth of an old face's folds at a place of the head's frame, 0 where there is none; below 0 beside the mouth,
    where the cheek hangs over its fold. ``coarse`` and ``fine``: the skin's slowest two noises there."""
    ax = abs(x)
    wave = y + 3.0 * coarse + 1.5 * noise(x * 0.06, y * 0.1, z * 0.05, seed + 31)
    forehead = max(-np.sin(wave * 0.85), 0.0) ** 3 * _bell(ax, y, 0.0, -40.0, 32.0, 12.0) * 0.35
    corner = np.arctan2(y - 2.0, ax - 44.0)
    feet = max(np.sin(corner * 13.0 + fine), 0.0) ** 3 * _bell(ax, y, 55.0, 2.0, 6.0, 9.0) * 0.3
    bag = np.exp(-0.5 * ((y - 14.0 + 0.012 * (ax - 30.0) ** 2) / 1.3) ** 2) * _bell(ax, y, 30.0, 13.0, 11.0, 8.0) * 0.3
    # From the nose's wing to beside the mouth, on to the chin, between the brows, below the lip, over the cheek.
    along = (y - 36.0) / 28.0
    aside = 0.9 * (ax - 18.0 - 14.0 * along - 1.5 * fine)
    shown = np.exp(-0.5 * ((along - 0.5) / 0.38) ** 2)
    cheek = np.exp(-0.5 * (aside / 1.5) ** 2) - 0.45 * np.exp(-0.5 * ((aside - 6.0) / 4.0) ** 2)
    corner_line = np.exp(-0.5 * ((ax - 27.5 + 0.12 * (y - 68.0) - fine) / 1.2) ** 2) * np.exp(
        -0.5 * ((y - 77.0) / 7.0) ** 2
    )
    frown = np.exp(-0.5 * ((ax - 6.0 - 2.0 * coarse) / 0.9) ** 2) * np.exp(-0.5 * ((y + 15.0) / 7.0) ** 2)
    chin = np.exp(-0.5 * ((y - 81.0 + 0.012 * ax * ax) / 1.8) ** 2) * np.exp(-0.5 * (ax / 14.0) ** 2)
    lines = max(noise(0.45 * ax - 0.3 * y, 0.06 * (y + ax), 0.05 * z, seed + 33) - 0.1, 0.0)
    lines *= _bell(ax, y, 46.0, 50.0, 14.0, 22.0)
    rest = shares[0] * (0.8 * cheek * shown + 0.5 * corner_line)
    rest += shares[1] * (0.4 * frown + 0.4 * chin + 0.5 * lines)
    depth: float = (forehead + feet + bag + 2.4 * rest) * (0.7 + 0.5 * fine)
    return depth


@njit(cache=True, nogil=True)
def _fold_rows(points: FloatArray, seed: int, out: FloatArray) -> None:
    shares = _fold_shares(seed)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        coarse = noise(x * 0.04, y * 0.04, z * 0.04, seed)
        fine = noise(x * 0.11, y * 0.11, z * 0.11, seed + 1)
        out[i] = _fold_mm(x, y, z, coarse, fine, shares, seed) * _step(60.0 - z, 0.0, 50.0)


def folds_at(points: FloatArray, seed: int) -> FloatArray:
    """Depth (N,) in mm of an old face's folds at points (N, 3) of the head's frame, less towards the ears; as ``paint``
    lays them."""
    out = np.empty(len(points), np.float32)
    _fold_rows(np.ascontiguousarray(points, np.float32), seed, out)
    return out


# Places in the vector of an identity's drawn numbers, read by the kernel below.
NUMBERS = (
    *("blotch", "mottle", "freckle", "mole", "tan", "flush", "cheeks", "nose", "circles", "redness"),
    *("pore", "relief", "age", "oil", "oil_zone", "roughness", "f0"),
    *("brow_edge", "brow_cover", "beard_cover", "beard_edge", "moustache", "scalp_cover", "scalp_edge", "bald"),
    *("strand", "lash", "iris_mm", "pupil_mm", "vein", "lip_melanin", "map"),
    *("foundation", "lipstick", "shadow", "blush", "grey"),
)
(
    _BLOTCH, _MOTTLE, _FRECKLE, _MOLE, _TAN, _FLUSH, _CHEEKS, _NOSE, _CIRCLES, _REDNESS, _PORE, _RELIEF, _AGE, _OIL,
    _OIL_ZONE, _ROUGHNESS, _F0, _BROW_EDGE, _BROW_COVER, _BEARD_COVER, _BEARD_EDGE, _MOUSTACHE, SCALP_COVER,
    _SCALP_EDGE, BALD, _STRAND, _LASH, _IRIS_MM, _PUPIL_MM, _VEIN, _LIP_MELANIN, _MAP, _FOUNDATION, _LIPSTICK, _SHADOW,
    _BLUSH, _GREY,
) = range(len(NUMBERS))  # fmt: skip
SPECTRA = (
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
REGIONS = (
    *("lips", "brow", "scalp", "beard", "eye", "eye_x", "eye_y"),
    *("mouth_interior", "nostril", "lash", "teeth"),
)


@njit(cache=True, nogil=True, fastmath=True)
def paint(
    rest: FloatArray,  # (N, 3)
    uv: FloatArray,  # (N, 2)
    regions: FloatArray,  # (11, N), in the order of REGIONS
    mapped: FloatArray,  # (N, 2) melanin and blood of a skin map
    mm_per_pixel: float,
    p: FloatArray,
    colors: FloatArray,  # (12, C) channel values of SPECTRA
    absorb: FloatArray,  # (2, C) effect of melanin, of blood
    seed: int,
    albedo: FloatArray,
    specular: FloatArray,
    roughness: FloatArray,
    bump: FloatArray,
) -> None:
    """Paints ``albedo`` (N, C), ``specular``, ``roughness`` and ``bump`` (N,) of skin at places of the head at rest, in
    mm; ``p`` are numbers in the order of ``NUMBERS``."""
    channels = colors.shape[1]
    # What is finer than a pixel is averaged there: its contrast falls with the number of grains in a pixel.
    fine = min(1.0, 0.35 / mm_per_pixel)
    mid = min(1.0, 1.2 / mm_per_pixel)
    tone = np.empty(channels, np.float32)
    fold_shares = _fold_shares(seed)
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
        n5 = noise(x * 0.55, y * 0.55, z * 0.55, seed + 11)
        front = _step(60.0 - z, 0.0, 50.0)
        melanin = p[_BLOTCH] * (0.5 * n1 + 0.3 * n2 + 0.2 * n3 + 0.12 * mid * n4)
        melanin += p[_MOTTLE] * (0.35 * n3 + 0.5 * n5 + 0.55 * mid * n4)
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
        blood += p[_MOTTLE] * (0.4 * n5 - 0.4 * mid * n4)
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

        fold = front * _fold_mm(x, y, z, n1, n2, fold_shares, seed) if p[_AGE] > 0.05 else 0.0
        for c in range(channels):
            tone[c] *= 1 - min(max(FOLD_SHADE * p[_AGE] * fold, 0.0), FOLD_SHADE)

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
        bare = p[BALD] * _step(-y - 0.35 * ax, 10.0, 40.0)
        if scalp > 0.02 and p[SCALP_COVER] > 0:
            lie = noise(1.3 * x, 0.22 * y, 0.28 * z, seed + 24) + 0.6 * noise(0.4 * x, 0.06 * y, 0.08 * z, seed + 25)
            k = (
                _step(scalp + 0.09 * n2 + 0.05 * n3 + 0.05 * mid * lie, p[_SCALP_EDGE], 0.2)
                * p[SCALP_COVER]
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
        height -= p[_AGE] * fold
        if hairy > 0.1:
            height += hairy * 0.35 * noise(1.1 * x, 0.25 * y, 0.5 * z, seed + 32) * max(fine, 0.3)
        bump[i] = height * (1 - mouth)
