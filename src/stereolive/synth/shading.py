"""Light at visible points: shadow maps, diffuse and microfacet reflection, relief and light under the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stereolive.synth.lights import ENVIRONMENT_SAMPLES, Light, environment_samples
from stereolive.synth.raster import fill
from stereolive.synth.surface import FloatArray, IntArray

SHADOW_SIZE = 640
VISIBILITY_SIZE = 144
_NO_OWNER = np.zeros((0, 0), np.int32)


@dataclass(frozen=True)
class Shadows:
    """One depth map per light, and the packed numbers that the kernels read."""

    maps: FloatArray  # (L, S, S) distance along the light's axis
    frames: FloatArray  # (L, 3, 3) rows: map x, map y, axis away from the light
    numbers: FloatArray  # (L, 12): position 3, is_sun, radius, reference, axis 3, exponent, map scale, map offset


def _frame(forward: NDArray[np.floating]) -> NDArray[np.float64]:
    forward = np.asarray(forward, np.float64) / np.linalg.norm(forward)
    helper = np.array([1.0, 0, 0]) if abs(forward[0]) < 0.8 else np.array([0, 1.0, 0])
    x = np.cross(helper, forward)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(forward, x), forward])


def shadow_maps(
    lights: list[Light], vertices_mm: FloatArray, triangles: IntArray, center_mm: FloatArray, radius_mm: float
) -> Shadows:
    """Depth maps of the casters (V, 3), (T, 3) that lie within a sphere, seen from every light."""
    size = SHADOW_SIZE
    maps = np.full((len(lights), size, size), np.inf, np.float32)
    frames = np.zeros((len(lights), 3, 3), np.float32)
    numbers = np.zeros((len(lights), 12), np.float32)
    for i, light in enumerate(lights):
        if light.is_sun:
            frame = _frame(-light.position_mm)
            position = center_mm + light.position_mm * radius_mm * 4
            local = (vertices_mm - position) @ frame.T
            scale = size / (2.05 * radius_mm)
            xy = local[:, :2] * scale + size / 2
            key = -local[:, 2]
            valid = np.ones(len(local), bool)
            buffer = np.full((size, size), -np.inf, np.float32)
        else:
            position = light.position_mm.astype(np.float64)
            frame = _frame(center_mm - position)
            distance = float(np.linalg.norm(center_mm - position))
            tangent = min(1.8, radius_mm / math.sqrt(max(distance**2 - radius_mm**2, 1.0)))
            local = (vertices_mm - position) @ frame.T
            valid = local[:, 2] > 20
            z = np.where(valid, local[:, 2], 1.0)
            scale = size / (2.05 * tangent)
            xy = local[:, :2] / z[:, None] * scale + size / 2
            key = 1 / z
            buffer = np.zeros((size, size), np.float32)
        fill(xy.astype(np.float32), key.astype(np.float32), valid, triangles, buffer, _NO_OWNER)
        with np.errstate(divide="ignore"):
            maps[i] = -buffer if light.is_sun else 1 / buffer
        frames[i] = frame
        towards = light.position_mm if light.is_sun else position
        numbers[i] = [
            *towards,
            light.is_sun,
            light.radius_mm,
            light.reference_mm,
            *light.axis,
            light.beam_exponent,
            scale,
            0,
        ]
        if light.is_sun:
            numbers[i, 6:9] = position
    return Shadows(maps, frames, numbers)


@njit(cache=True, nogil=True, fastmath=True)
def _look_up_visibility(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    frame: NDArray[np.float32],
    center: NDArray[np.float32],
    scale: float,
    buffer: NDArray[np.float32],
    weights: NDArray[np.float32],
    open_weights: NDArray[np.float32],
) -> None:
    size = buffer.shape[0]
    for v in range(vertices.shape[0]):
        cosine = -(normals[v, 0] * frame[2, 0] + normals[v, 1] * frame[2, 1] + normals[v, 2] * frame[2, 2])
        if cosine <= 0:
            weights[v] = 0
            continue
        open_weights[v] += cosine
        # Step off the surface so that it does not shadow itself.
        x = vertices[v, 0] + 4 * normals[v, 0] - center[0]
        y = vertices[v, 1] + 4 * normals[v, 1] - center[1]
        z = vertices[v, 2] + 4 * normals[v, 2] - center[2]
        mx = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) * scale + size / 2
        my = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) * scale + size / 2
        depth = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
        column, row = int(np.floor(mx)), int(np.floor(my))
        lit = 4
        if 0 <= column < size - 1 and 0 <= row < size - 1:
            lit = 0
            for dy in range(2):
                for dx in range(2):
                    if -buffer[row + dy, column + dx] > depth - 3.0:
                        lit += 1
        weights[v] = cosine * lit * 0.25


def environment_weights(
    vertices_mm: FloatArray,
    normals: FloatArray,
    casters: IntArray,
    center_mm: FloatArray,
    radius_mm: float,
) -> tuple[FloatArray, FloatArray]:
    """How much of each sample of the surroundings reaches each vertex.

    Returns (V, 24), to be multiplied with radiances: a vertex that sees everything of a uniform surrounding gets 1;
    and the unblocked share (V,).
    """
    directions, _ = environment_samples()
    weights = np.zeros((len(directions), len(vertices_mm)), np.float32)
    open_weights = np.zeros(len(vertices_mm), np.float32)
    scale = VISIBILITY_SIZE / (2.05 * radius_mm)
    valid = np.ones(len(vertices_mm), bool)
    center = center_mm.astype(np.float32)
    for d, direction in enumerate(directions):
        frame = _frame(-direction).astype(np.float32)
        local = np.asarray((vertices_mm - center) @ frame.T, np.float32)
        buffer = np.full((VISIBILITY_SIZE, VISIBILITY_SIZE), -np.inf, np.float32)
        xy = np.asarray(local[:, :2] * scale + VISIBILITY_SIZE / 2, np.float32)
        fill(xy, -local[:, 2], valid, casters, buffer, _NO_OWNER)
        _look_up_visibility(vertices_mm, normals, frame, center, scale, buffer, weights[d], open_weights)
    share = weights.sum(axis=0) / np.maximum(open_weights, 1e-6)
    return np.ascontiguousarray(weights.T * np.float32(4.0 / ENVIRONMENT_SAMPLES)), share.astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def _lit_share(
    x: float,
    y: float,
    depth: float,
    texel_mm: float,
    spread_texels: float,
    shadow: NDArray[np.float32],
) -> float:
    """Share of the light that is seen from a point at map place (x, y): a search for blockers, then filtering."""
    size = shadow.shape[0]
    if x < 1 or y < 1 or x > size - 2 or y > size - 2:
        return 1.0
    bias = 1.5 + 1.5 * texel_mm
    # The kernel is as wide as the penumbra, which grows with the blocker's distance.
    reach = max(1.0, min(14.0, spread_texels * 0.25))
    blockers, count, depth_sum = 0, 0, 0.0
    for j in range(-1, 2):
        for i in range(-1, 2):
            column = min(size - 1, max(0, int(x + i * reach)))
            row = min(size - 1, max(0, int(y + j * reach)))
            count += 1
            if shadow[row, column] < depth - bias:
                blockers += 1
                depth_sum += shadow[row, column]
    if blockers == 0:
        return 1.0
    mean = depth_sum / blockers
    width = max(1.0, min(14.0, spread_texels * (depth - mean) / max(mean, 1.0)))
    if blockers == count and width < reach:
        return 0.0
    lit = 0.0
    for j in range(-2, 3):
        for i in range(-2, 3):
            u, v = x + i * 0.5 * width - 0.5, y + j * 0.5 * width - 0.5
            column, row = int(np.floor(u)), int(np.floor(v))
            if column < 0 or row < 0 or column > size - 2 or row > size - 2:
                lit += 1.0
                continue
            fx, fy = u - column, v - row
            limit = depth - bias - 0.5 * texel_mm * width
            a = 0.0 if shadow[row, column] < limit else 1.0
            b = 0.0 if shadow[row, column + 1] < limit else 1.0
            c = 0.0 if shadow[row + 1, column] < limit else 1.0
            d = 0.0 if shadow[row + 1, column + 1] < limit else 1.0
            lit += (a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + d * fx) * fy
    return lit / 25.0


@njit(cache=True, nogil=True, fastmath=True)
def shade(
    position: NDArray[np.float32],
    normal: NDArray[np.float32],
    eye: NDArray[np.float32],
    specular: NDArray[np.float32],
    roughness: NDArray[np.float32],
    openness: NDArray[np.float32],
    maps: NDArray[np.float32],
    frames: NDArray[np.float32],
    numbers: NDArray[np.float32],
    gains: NDArray[np.float32],
    surroundings: NDArray[np.float32],
    pixel: NDArray[np.int32],
    index: NDArray[np.int32],
    width: int,
    coarse: bool,
    diffuse: NDArray[np.float32],
    glossy: NDArray[np.float32],
) -> None:
    """Add to ``diffuse`` (N, C) the irradiance / pi of all lights, and write mirrored radiance to ``glossy`` (N, C).

    Microfacets: GGX with Schlick's Fresnel and the Smith-Schlick visibility (Karis 2013); a light's own size widens the
    lobe. The surroundings are mirrored from maps (levels, 32, 64, C) blurred according to roughness. Where ``coarse``,
    the light on a block of 2 x 2 pixels is that of its first pixel (``index`` maps pixels to points of this part).
    """
    channels = gains.shape[1]
    rows, columns = surroundings.shape[1], surroundings.shape[2]
    for n in range(position.shape[0]):
        if coarse:
            first = index[(pixel[n] // width // 2 * 2) * width + pixel[n] % width // 2 * 2]
            if first >= 0 and first != n:
                # Points lie in the order of their pixels: the block's first one is done.
                for c in range(channels):
                    diffuse[n, c] = diffuse[first, c]
                    glossy[n, c] = glossy[first, c]
                continue
        px, py, pz = position[n, 0], position[n, 1], position[n, 2]
        vx, vy, vz = eye[0] - px, eye[1] - py, eye[2] - pz
        inverse = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-12)
        vx *= inverse
        vy *= inverse
        vz *= inverse
        nx, ny, nz = normal[n, 0], normal[n, 1], normal[n, 2]
        inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
        nv = (nx * vx + ny * vy + nz * vz) * inverse
        # Thin sheets are seen from both sides.
        if nv < -0.15:
            inverse = -inverse
            nv = -nv
        nv = max(nv, 0.02)
        nx *= inverse
        ny *= inverse
        nz *= inverse
        f0 = specular[n]
        alpha0 = max(0.02, roughness[n])
        for k in range(gains.shape[0]):
            if numbers[k, 3] > 0:
                lx, ly, lz = numbers[k, 0], numbers[k, 1], numbers[k, 2]
                energy = 1.0
                size = numbers[k, 4]
                ox, oy, oz = numbers[k, 6], numbers[k, 7], numbers[k, 8]
            else:
                ox, oy, oz = numbers[k, 0], numbers[k, 1], numbers[k, 2]
                lx, ly, lz = ox - px, oy - py, oz - pz
                distance = math.sqrt(lx * lx + ly * ly + lz * lz + 1e-9)
                lx /= distance
                ly /= distance
                lz /= distance
                energy = (numbers[k, 5] / distance) ** 2
                size = numbers[k, 4] / distance
                if numbers[k, 9] > 0:
                    on_axis = -(lx * numbers[k, 6] + ly * numbers[k, 7] + lz * numbers[k, 8])
                    energy *= max(0.0, on_axis) ** numbers[k, 9]
            nl = nx * lx + ny * ly + nz * lz
            # A big source still lights a surface turned a little away from its centre.
            wrap = min(0.35, size)
            cosine = (nl + wrap * 0.5) / (1.0 + wrap * 0.5)
            if cosine <= 0 or energy < 1e-6:
                continue
            qx, qy, qz = px + 1.5 * nx - ox, py + 1.5 * ny - oy, pz + 1.5 * nz - oz
            mz = frames[k, 2, 0] * qx + frames[k, 2, 1] * qy + frames[k, 2, 2] * qz
            if mz <= 1.0:
                continue
            mx = frames[k, 0, 0] * qx + frames[k, 0, 1] * qy + frames[k, 0, 2] * qz
            my = frames[k, 1, 0] * qx + frames[k, 1, 1] * qy + frames[k, 1, 2] * qz
            scale = numbers[k, 10] if numbers[k, 3] > 0 else numbers[k, 10] / mz
            spread = 2.0 * size * mz * scale
            half = maps.shape[1] / 2
            lit = _lit_share(mx * scale + half, my * scale + half, mz, 1.0 / scale, spread, maps[k])
            if lit <= 0:
                continue
            energy *= lit
            for c in range(channels):
                diffuse[n, c] += energy * cosine * gains[k, c]
            if f0 > 0 and nl > 0:
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                inverse = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                nh = min(1.0, max(0.0, (nx * hx + ny * hy + nz * hz) * inverse))
                vh = min(1.0, max(0.0, (vx * hx + vy * hy + vz * hz) * inverse))
                alpha = min(1.0, alpha0 + 0.5 * size)
                a2 = alpha * alpha
                d = nh * nh * (a2 - 1.0) + 1.0
                # Widening keeps the lobe's energy: (alpha0 / alpha)^2 would dim it twice, GGX is normalised itself.
                lobe = a2 / (d * d)
                schlick = f0 + (1.0 - f0) * (1.0 - vh) ** 5
                g = 0.5 * alpha
                visibility = 1.0 / ((nl * (1.0 - g) + g) * (nv * (1.0 - g) + g))
                value = energy * nl * lobe * schlick * visibility * 0.25
                for c in range(channels):
                    glossy[n, c] += value * gains[k, c]
        if f0 > 0:
            rx, ry, rz = 2 * nv * nx - vx, 2 * nv * ny - vy, 2 * nv * nz - vz
            row = math.acos(min(1.0, max(-1.0, -ry))) / math.pi * rows - 0.5
            column = (math.atan2(rx, rz) / (2 * math.pi) + 0.5) * columns - 0.5
            r0, c0 = int(np.floor(row)), int(np.floor(column))
            fr, fc = row - r0, column - c0
            r1 = min(rows - 1, r0 + 1)
            r0 = max(0, r0)
            c1 = (c0 + 1) % columns
            c0 = c0 % columns
            level = min(2.999, alpha0 * 6.0)
            l0 = int(level)
            fl = level - l0
            schlick = f0 + (max(1.0 - alpha0, f0) - f0) * (1.0 - nv) ** 5
            amount = schlick * openness[n] * openness[n]
            for c in range(channels):
                near = (surroundings[l0, r0, c0, c] * (1 - fc) + surroundings[l0, r0, c1, c] * fc) * (1 - fr) + (
                    surroundings[l0, r1, c0, c] * (1 - fc) + surroundings[l0, r1, c1, c] * fc
                ) * fr
                far = (surroundings[l0 + 1, r0, c0, c] * (1 - fc) + surroundings[l0 + 1, r0, c1, c] * fc) * (1 - fr) + (
                    surroundings[l0 + 1, r1, c0, c] * (1 - fc) + surroundings[l0 + 1, r1, c1, c] * fc
                ) * fr
                glossy[n, c] += amount * (near * (1 - fl) + far * fl)


@njit(cache=True, nogil=True, fastmath=True)
def perturb_normals(
    index: NDArray[np.int32],
    pixel: NDArray[np.int32],
    width: int,
    position: NDArray[np.float32],
    height_mm: NDArray[np.float32],
    normal: NDArray[np.float32],
) -> None:
    """Tilt normals (N, 3) by relief ``height_mm`` (N,), differentiated on the screen (Mikkelsen 2010).

    ``index`` (pixels,) maps a pixel to its point of this part, -1 for none.
    """
    out = normal.copy()
    for n in range(position.shape[0]):
        p = pixel[n]
        right = index[p + 1] if p + 1 < index.shape[0] else -1
        left = index[p - 1] if p > 0 else -1
        down = index[p + width] if p + width < index.shape[0] else -1
        up = index[p - width] if p >= width else -1
        if right < 0 or left < 0 or down < 0 or up < 0:
            continue
        sx0, sx1, sx2 = (
            position[right, 0] - position[left, 0],
            position[right, 1] - position[left, 1],
            position[right, 2] - position[left, 2],
        )
        sy0, sy1, sy2 = (
            position[down, 0] - position[up, 0],
            position[down, 1] - position[up, 1],
            position[down, 2] - position[up, 2],
        )
        # Across an edge the neighbours lie on another piece of surface.
        span = abs(sx0) + abs(sy1)
        if abs(sx2) > 3 * span or abs(sy2) > 3 * span:
            continue
        hx, hy = height_mm[right] - height_mm[left], height_mm[down] - height_mm[up]
        n0, n1, n2 = normal[n, 0], normal[n, 1], normal[n, 2]
        a0, a1, a2 = sy1 * n2 - sy2 * n1, sy2 * n0 - sy0 * n2, sy0 * n1 - sy1 * n0
        b0, b1, b2 = n1 * sx2 - n2 * sx1, n2 * sx0 - n0 * sx2, n0 * sx1 - n1 * sx0
        det = sx0 * a0 + sx1 * a1 + sx2 * a2
        sign = 1.0 if det > 0 else -1.0
        m0 = abs(det) * n0 - sign * (hx * a0 + hy * b0)
        m1 = abs(det) * n1 - sign * (hx * a1 + hy * b1)
        m2 = abs(det) * n2 - sign * (hx * a2 + hy * b2)
        length = math.sqrt(m0 * m0 + m1 * m1 + m2 * m2)
        if length > 1e-9:
            out[n, 0] = m0 / length
            out[n, 1] = m1 / length
            out[n, 2] = m2 / length
    normal[:] = out


def scatter(
    pixel: IntArray, shape: tuple[int, int], irradiance: FloatArray, radius_px: NDArray[np.floating]
) -> FloatArray:
    """Irradiance (N, C) after light has spread under the surface by ``radius_px`` (C,): blurred within the part."""
    rows, columns = pixel // shape[1], pixel % shape[1]
    top, left = int(rows.min()), int(columns.min())
    box = int(rows.max()) - top + 1, int(columns.max()) - left + 1
    image = np.zeros((*box, irradiance.shape[1]), np.float32)
    mask = np.zeros(box, np.float32)
    image[rows - top, columns - left] = irradiance
    mask[rows - top, columns - left] = 1.0
    out = irradiance.copy()
    for c, sigma in enumerate(radius_px):
        if sigma < 0.3:
            continue
        soft = cv2.GaussianBlur(image[..., c], (0, 0), float(sigma), borderType=cv2.BORDER_CONSTANT)
        share = cv2.GaussianBlur(mask, (0, 0), float(sigma), borderType=cv2.BORDER_CONSTANT)
        out[:, c] = soft[rows - top, columns - left] / np.maximum(share[rows - top, columns - left], 1e-6)
    return out
