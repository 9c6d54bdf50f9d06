"""Which surface every pixel sees: projection with lens distortion, z-buffer, and interpolated surface points.

Pixels follow OpenCV: the centre of pixel (column, row) has the integer coordinates (column, row). Coverage is sampled
2 x 2 times a pixel; all samples of one part within a pixel become one shading point whose weight is their share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stereolive.synth.surface import FloatArray, IntArray, Mesh

SUPERSAMPLING = 2
NEAR_MM = 30.0


@dataclass(frozen=True)
class Pinhole:
    """A posed camera: X_camera = rotation X_world + translation_mm; matrix and distortion are OpenCV's."""

    width: int
    height: int
    matrix: NDArray[np.float64]  # (3, 3)
    distortion: NDArray[np.float64]  # (5,) k1 k2 p1 p2 k3
    rotation: NDArray[np.float64]  # (3, 3)
    translation_mm: NDArray[np.float64]  # (3,)

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """The camera's centre in the world, (3,)."""
        return np.asarray(-self.rotation.T @ self.translation_mm)

    @property
    def focal_px(self) -> float:
        return float(self.matrix[0, 0])

    def project(self, points_mm: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (N, 2) and Z (N,) of world points (N, 3). Z is 0 where a point cannot be imaged."""
        camera = points_mm.astype(np.float64) @ self.rotation.T + self.translation_mm
        z = camera[:, 2]
        safe = np.where(z > NEAR_MM, z, 1.0)
        x, y = camera[:, 0] / safe, camera[:, 1] / safe
        k1, k2, p1, p2, k3 = self.distortion
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        # Beyond the radius where the distorted one stops growing the polynomial folds back into the image.
        slope = 1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        pixels = np.stack(
            [self.matrix[0, 0] * u + self.matrix[0, 2], self.matrix[1, 1] * v + self.matrix[1, 2]], axis=1
        )
        return pixels, np.where((z > NEAR_MM) & (slope > 0.05) & (r2 < 9.0), z, 0.0)


@dataclass(frozen=True)
class Points:
    """The N shading points of one view, sorted by part: part p owns ``starts[p]:starts[p + 1]``."""

    starts: IntArray  # (parts + 1,)
    pixel: IntArray  # (N,) row * width + column
    weight: FloatArray  # (N,) share of the pixel
    attributes: FloatArray  # (N, K) interpolated vertex attributes


@njit(cache=True, nogil=True, fastmath=True)
def fill(
    xy: NDArray[np.float32],
    key: NDArray[np.float32],
    valid: NDArray[np.bool_],
    triangles: NDArray[np.int32],
    buffer: NDArray[np.float32],
    owner: NDArray[np.int32],
) -> None:
    """Draw triangles into ``buffer`` (H, W), keeping the largest ``key`` (which must be linear on the screen: 1 / Z,
    or -Z where rays are parallel) and, where ``owner`` has its size, the index of the triangle that owns it."""
    height, width = buffer.shape
    owned = owner.shape[0] == height
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if not (valid[a] and valid[b] and valid[c]):
            continue
        ax, ay = xy[a, 0], xy[a, 1]
        bx, by = xy[b, 0], xy[b, 1]
        cx, cy = xy[c, 0], xy[c, 1]
        left = max(0, int(np.ceil(min(ax, min(bx, cx)))))
        right = min(width - 1, int(np.floor(max(ax, max(bx, cx)))))
        if left > right:
            continue
        top = max(0, int(np.ceil(min(ay, min(by, cy)))))
        bottom = min(height - 1, int(np.floor(max(ay, max(by, cy)))))
        if top > bottom:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        inverse = np.float32(1.0) / area
        wa_x, wb_x = (by - cy) * inverse, (cy - ay) * inverse
        ka, kb, kc = key[a], key[b], key[c]
        for row in range(top, bottom + 1):
            wa = ((bx - left) * (cy - row) - (by - row) * (cx - left)) * inverse
            wb = ((cx - left) * (ay - row) - (cy - row) * (ax - left)) * inverse
            entered = False
            for column in range(left, right + 1):
                wc = np.float32(1.0) - wa - wb
                if wa >= -1e-6 and wb >= -1e-6 and wc >= -1e-6:
                    entered = True
                    k = wa * ka + wb * kb + wc * kc
                    if k > buffer[row, column]:
                        buffer[row, column] = k
                        if owned:
                            owner[row, column] = t
                elif entered:
                    break
                wa += wa_x
                wb += wb_x


@njit(cache=True, nogil=True, fastmath=True)
def _count(owner: NDArray[np.int32], part_of_triangle: NDArray[np.int32], parts: int) -> NDArray[np.int32]:
    """How many shading points each part gets: one per pixel that any of its samples is in, (parts + 1,) offsets."""
    height, width = owner.shape[0] // 2, owner.shape[1] // 2
    starts = np.zeros(parts + 1, np.int32)
    for row in range(height):
        for column in range(width):
            seen0, seen1, seen2 = -1, -1, -1
            for s in range(4):
                t = owner[2 * row + (s >> 1), 2 * column + (s & 1)]
                if t < 0:
                    continue
                p = part_of_triangle[t]
                if p in (seen0, seen1, seen2):
                    continue
                seen2, seen1, seen0 = seen1, seen0, p
                starts[p + 1] += 1
    for p in range(parts):
        starts[p + 1] += starts[p]
    return starts


@njit(cache=True, nogil=True, fastmath=True)
def _accumulate(
    x: float,
    y: float,
    t: int,
    share: float,
    xy: NDArray[np.float32],
    key: NDArray[np.float32],
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    count: int,
    out: NDArray[np.float32],
) -> None:
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = xy[a, 0], xy[a, 1]
    bx, by = xy[b, 0], xy[b, 1]
    cx, cy = xy[c, 0], xy[c, 1]
    wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * key[a]
    wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * key[b]
    wc = ((ax - x) * (by - y) - (ay - y) * (bx - x)) * key[c]
    scale = share / (wa + wb + wc)
    wa *= scale
    wb *= scale
    wc *= scale
    for k in range(count):
        out[k] += wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]


@njit(cache=True, nogil=True, fastmath=True)
def _key_at(
    x: float,
    y: float,
    t: int,
    xy: NDArray[np.float32],
    key: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> tuple[bool, float]:
    """Whether triangle t covers (x, y), and its key there."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = xy[a, 0], xy[a, 1]
    bx, by = xy[b, 0], xy[b, 1]
    cx, cy = xy[c, 0], xy[c, 1]
    wa = (bx - x) * (cy - y) - (by - y) * (cx - x)
    wb = (cx - x) * (ay - y) - (cy - y) * (ax - x)
    wc = (ax - x) * (by - y) - (ay - y) * (bx - x)
    scale = 1.0 / (wa + wb + wc)
    wa *= scale
    wb *= scale
    wc *= scale
    return wa >= -1e-5 and wb >= -1e-5 and wc >= -1e-5, wa * key[a] + wb * key[b] + wc * key[c]


@njit(cache=True, nogil=True, fastmath=True)
def _resolve(
    owner: NDArray[np.int32],
    part_of_triangle: NDArray[np.int32],
    starts: NDArray[np.int32],
    xy: NDArray[np.float32],
    key: NDArray[np.float32],
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    counts: NDArray[np.int32],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    height, width = owner.shape[0] // 2, owner.shape[1] // 2
    cursor = starts.copy()
    for row in range(height):
        for column in range(width):
            t0 = owner[2 * row, 2 * column]
            t1 = owner[2 * row, 2 * column + 1]
            t2 = owner[2 * row + 1, 2 * column]
            t3 = owner[2 * row + 1, 2 * column + 1]
            nearest, fallback = 0.0, 0.0
            for s in range(4):
                t = t0 if s == 0 else (t1 if s == 1 else (t2 if s == 2 else t3))
                if t < 0 or (s > 0 and t == t0):
                    continue
                inside, k = _key_at(2 * column + 0.5, 2 * row + 0.5, t, xy, key, triangles)
                if inside:
                    nearest = max(nearest, k)
                else:
                    # A triangle thinner than the samples' distance lies between: go on in a neighbour's plane.
                    _, own = _key_at(2 * column + (s & 1), 2 * row + (s >> 1), t, xy, key, triangles)
                    fallback = max(fallback, min(1.02 * own, max(0.98 * own, k)))
            if nearest == 0.0:
                nearest = fallback
            depth[row, column] = 1.0 / nearest if nearest > 0 else 0.0
            if t0 >= 0 and t0 == t1 and t0 == t2 and t0 == t3:
                p = part_of_triangle[t0]
                n = cursor[p]
                cursor[p] += 1
                pixel[n] = row * width + column
                weight[n] = 1.0
                _accumulate(2 * column + 0.5, 2 * row + 0.5, t0, 1.0, xy, key, triangles, attributes, counts[p], out[n])
                continue
            for s in range(4):
                t = t0 if s == 0 else (t1 if s == 1 else (t2 if s == 2 else t3))
                if t < 0:
                    continue
                p = part_of_triangle[t]
                n = cursor[p] - 1
                if n < starts[p] or pixel[n] != row * width + column:
                    n = cursor[p]
                    cursor[p] += 1
                    pixel[n] = row * width + column
                    weight[n] = 0.0
                weight[n] += 0.25
                _accumulate(
                    2 * column + (s & 1), 2 * row + (s >> 1), t, 0.25, xy, key, triangles, attributes, counts[p], out[n]
                )
    # Where a part owns some of the samples only, their sum becomes their mean.
    for n in range(pixel.shape[0]):
        if weight[n] < 1.0:
            scale = np.float32(1.0) / weight[n]
            for k in range(out.shape[1]):
                out[n, k] *= scale


def rasterise(
    camera: Pinhole,
    vertices_mm: FloatArray,
    triangles: IntArray,
    part_of_triangle: IntArray,
    parts: int,
    attributes: FloatArray,
    counts: IntArray,
) -> tuple[Points, FloatArray]:
    """Shading points of the view, and Z in mm at every pixel's centre (H, W), 0 where nothing is seen.

    Of the ``attributes`` (V, K) part p uses the first ``counts[p]`` only; the others stay 0.
    """
    pixels, z = camera.project(vertices_mm)
    valid = z > 0
    key = np.where(valid, 1.0 / np.where(valid, z, 1.0), 0.0).astype(np.float32)
    triangles = np.ascontiguousarray(triangles, np.int32)
    fine = ((pixels + 0.5) * SUPERSAMPLING - 0.5).astype(np.float32)
    buffer = np.zeros((camera.height * SUPERSAMPLING, camera.width * SUPERSAMPLING), np.float32)
    owner = np.full(buffer.shape, -1, np.int32)
    fill(fine, key, valid, triangles, buffer, owner)
    starts = _count(owner, part_of_triangle, parts)
    total = int(starts[-1])
    pixel = np.full(total, -1, np.int32)
    weight = np.zeros(total, np.float32)
    out = np.zeros((total, attributes.shape[1]), np.float32)
    depth_mm = np.zeros((camera.height, camera.width), np.float32)
    _resolve(owner, part_of_triangle, starts, fine, key, triangles, attributes, counts, pixel, weight, out, depth_mm)
    return Points(starts, pixel, weight, out), depth_mm


def vertex_normals(mesh: Mesh) -> FloatArray:
    """Area-weighted unit normals, (V, 3), outward where triangles wind as Mesh says."""
    corners = mesh.vertices_mm[mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [
            sum(np.bincount(mesh.triangles[:, k], face[:, axis], len(mesh.vertices_mm)) for k in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-12), np.float32)


def posed(mesh: Mesh, rotation: NDArray[np.floating], translation_mm: NDArray[np.floating]) -> Mesh:
    """The mesh in another frame; what it looked like at rest stays."""
    vertices = mesh.vertices_mm @ np.asarray(rotation, np.float32).T + np.asarray(translation_mm, np.float32)
    return replace(mesh, vertices_mm=vertices.astype(np.float32))


def clipped(mesh: Mesh, value: NDArray[np.floating]) -> Mesh:
    """The part of the mesh where ``value`` (V,), linear within each triangle, is positive: cuts with smooth edges."""
    inside = value > 0
    count = inside[mesh.triangles].sum(axis=1)
    keep = mesh.triangles[count == 3]
    # Turn the corners of cut triangles so that the odd one out comes first.
    cut = mesh.triangles[(count == 1) | (count == 2)]
    one = count[(count == 1) | (count == 2)] == 1
    odd = np.where(inside[cut] == one[:, None], np.arange(3)[None], 3).min(axis=1, initial=3)
    order = (odd[:, None] + np.arange(3)) % 3
    cut = np.take_along_axis(cut, order, axis=1)
    edges = np.concatenate([cut[:, [0, 1]], cut[:, [0, 2]]])
    share = value[edges[:, 0]] / (value[edges[:, 0]] - value[edges[:, 1]] + 1e-20)
    n = len(cut)
    first = np.arange(n) + len(mesh.vertices_mm)
    second = first + n
    tips = np.stack([cut[one, 0], first[one], second[one]], axis=1)
    two = ~one
    quads = np.concatenate(
        [
            np.stack([first[two], cut[two, 1], cut[two, 2]], axis=1),
            np.stack([first[two], cut[two, 2], second[two]], axis=1),
        ]
    )
    triangles = np.concatenate([keep, tips, quads]).astype(np.int32)

    def extend(array: FloatArray) -> FloatArray:
        weight = share.astype(np.float32).reshape((-1,) + (1,) * (array.ndim - 1))
        return np.concatenate([array, array[edges[:, 0]] * (1 - weight) + array[edges[:, 1]] * weight])

    vertices, uv, rest = extend(mesh.vertices_mm), extend(mesh.uv), extend(mesh.rest_mm)
    regions = {name: extend(region) for name, region in mesh.regions.items()}
    used, compact = np.unique(triangles, return_inverse=True)
    return Mesh(
        vertices[used],
        compact.reshape(-1, 3).astype(np.int32),
        uv[used],
        rest[used],
        {name: region[used] for name, region in regions.items()},
    )
