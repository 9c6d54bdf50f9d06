"""Head shapes: identities and expressions from morphable heads.

Every source is brought to one form: a closed skin with its neck, two eyeballs and two rows of teeth, in millimetres,
x right, y down, z away from the viewer, the origin midway between the eye centres, the face looking towards -z.
Triangles are wound so that ``cross(v1 - v0, v2 - v0)`` points outward. No vertex is doubled at a texture seam, so
normals are smooth over it; the region ``texture`` is 0 at the seam's triangles, where texture coordinates mean nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stereolive.synth.surface import FloatArray, IntArray, Mesh

REGION_NAMES = (
    *("skin", "lips", "brow", "scalp", "beard", "eye", "eye_x", "eye_y"),
    *("mouth_interior", "nostril", "lash", "teeth", "texture"),
)
"""``scalp``, ``beard`` and ``brow`` are soft fields, 0.5 on the usual border and falling over about 25, 12 and 4 mm to
either side: a person's hairline is a threshold on them. ``eye_x`` and ``eye_y`` are mm from the gaze axis on an
eyeball and 1000 elsewhere."""


class HeadSource(Protocol):
    """A family of heads."""

    name: str

    def head(self, rng: np.random.Generator) -> HeadShape: ...


@dataclass(frozen=True)
class Landmarks:
    """Where things are on a source's mean head, in mm of the frontal view; read off its picture."""

    lips_outline: tuple[tuple[float, float], ...]  # right half, from the upper middle to the lower middle
    mouth_line_y: float
    nostril: tuple[float, float]
    brow: tuple[tuple[float, float], ...]  # spine of the brow on the side of positive x, inner end first


@dataclass(frozen=True)
class Template:
    """The mean head of a source with everything that depends on its topology only."""

    subdivision: Any | None  # (V, V0) sparse, the coarse vertices' smooth subdivision; None if already fine
    loop: IntArray  # (B,) neck border, ordered, indices of subdivided vertices
    triangles: IntArray  # (T, 3) of mesh vertices: skin, neck rings, eyeballs, teeth
    uv: FloatArray  # (N', 2)
    regions: dict[str, FloatArray]  # name -> (N',)
    upper_anchor: IntArray  # subdivided vertices that the upper teeth keep to
    lower_anchor: IntArray
    teeth_offset_mm: tuple[FloatArray, FloatArray]  # from the anchors' mean to the rows' origins
    eye_bulge: float  # of the eyeball's radius


_RINGS = ((6.0, 22.0), (22.0, 40.0), (44.0, 62.0), (60.0, 110.0))
"""Rings that continue the neck: mm outward and mm down from the neck's border."""
_EYE_RINGS, _EYE_SIDES = 18, 28
_TEETH_COLUMNS = 25


@dataclass(frozen=True)
class HeadShape:
    """One identity. ``neutral_mm`` are its skin vertices (V, 3) before expression."""

    source: str
    template: Template
    neutral_mm: FloatArray
    eyes_mm: FloatArray  # (2, 3) centres
    eye_radius_mm: float
    gaze_rad: tuple[float, float]  # yaw, pitch of the neutral gaze
    express: Callable[[np.random.Generator, float], FloatArray]  # offsets (V, 3) of a drawn expression

    def mesh(self, rng_expression: np.random.Generator | None, strength: float = 1.0) -> Mesh:
        """The head with a drawn expression and gaze, or neutral where ``rng_expression`` is None."""
        skin = self.neutral_mm
        gaze = self.gaze_rad
        if rng_expression is not None:
            skin = skin + self.express(rng_expression, strength)
            spread = np.radians(15.0)
            gaze = (float(rng_expression.uniform(-spread, spread)), float(rng_expression.uniform(-0.6, 0.6) * spread))
        vertices = self._assemble(skin, gaze)
        rest = self._assemble(self.neutral_mm, self.gaze_rad) if rng_expression is not None else vertices
        template = self.template
        return Mesh(vertices, template.triangles, template.uv, rest, dict(template.regions))

    def _assemble(self, skin: FloatArray, gaze: tuple[float, float]) -> FloatArray:
        template = self.template
        rings = _neck_rings(skin[template.loop])
        upper = self.neutral_mm[template.upper_anchor].mean(axis=0) + template.teeth_offset_mm[0]
        lower = skin[template.lower_anchor].mean(axis=0) + template.teeth_offset_mm[1]
        parts = [skin, rings]
        eyeball = _eyeball(self.eye_radius_mm, template.eye_bulge)
        turned = _turned(eyeball, gaze)
        parts += [turned + self.eyes_mm[0], turned + self.eyes_mm[1]]
        parts += [_teeth_row(True) + upper, _teeth_row(False) + lower]
        return np.concatenate(parts).astype(np.float32)


def _turned(points: FloatArray, gaze: tuple[float, float]) -> FloatArray:
    """Points turned by yaw about y, then pitch about x."""
    cy, sy, cp, sp = np.cos(gaze[0]), np.sin(gaze[0]), np.cos(gaze[1]), np.sin(gaze[1])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return np.asarray(points @ (pitch @ yaw).T, np.float32)


@functools.lru_cache(maxsize=64)
def _eyeball(radius_mm: float, bulge: float) -> FloatArray:
    """Eyeball vertices around their centre, pupil towards -z; the cornea rises by ``bulge`` of the radius."""
    theta = np.linspace(0.0, np.pi, _EYE_RINGS + 1)[1:-1]
    phi = np.arange(_EYE_SIDES) * 2 * np.pi / _EYE_SIDES
    t, p = np.meshgrid(theta, phi, indexing="ij")
    points = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), -np.cos(t)], axis=-1).reshape(-1, 3)
    points = np.concatenate([[[0.0, 0.0, -1.0]], points, [[0.0, 0.0, 1.0]]])
    angle = np.arccos(np.clip(-points[:, 2], -1.0, 1.0))
    return np.asarray(points * (radius_mm * (1.0 + bulge * np.exp(-((angle / 0.42) ** 2))))[:, None], np.float32)


def _eyeball_triangles() -> IntArray:
    n, last = _EYE_SIDES, 1 + (_EYE_RINGS - 1) * _EYE_SIDES
    out: list[tuple[int, int, int]] = []
    for k in range(n):
        j = (k + 1) % n
        out.append((0, 1 + j, 1 + k))
        out.append((last, last - n + k, last - n + j))
        for r in range(_EYE_RINGS - 2):
            a, b = 1 + r * n + k, 1 + r * n + j
            out += [(a, b, b + n), (a, b + n, a + n)]
    return _outward(_eyeball(1.0, 0.0), np.array(out, np.int32))


def _outward(points: FloatArray, triangles: IntArray) -> IntArray:
    """A convex closed mesh's triangles, turned so that the normals point away from its middle."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    flip = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - points.mean(axis=0)) < 0
    triangles = triangles.copy()
    triangles[flip] = triangles[flip][:, ::-1]
    return triangles


@functools.cache
def _teeth_row(upper: bool) -> FloatArray:
    """One row of teeth as a bent strip (2 columns of vertices), its front middle edge at the origin."""
    half_width, depth = (21.0, 26.0) if upper else (19.0, 24.0)
    x = np.linspace(-1.0, 1.0, _TEETH_COLUMNS)
    z = depth * np.abs(x) ** 2.4
    gum, edge = (-9.0, 0.0) if upper else (8.0, 0.0)
    rows = [np.stack([half_width * x, np.full_like(x, y), z], axis=1) for y in (gum, edge)]
    back = np.stack([0.85 * half_width * x, np.full_like(x, edge - np.sign(gum) * -0.5), z + 4.0], axis=1)
    return np.concatenate([*rows, back]).astype(np.float32)


def _teeth_triangles(upper: bool) -> IntArray:
    n = _TEETH_COLUMNS
    out: list[tuple[int, int, int]] = []
    for row in range(2):
        for k in range(n - 1):
            a = row * n + k
            out += [(a, a + 1, a + n + 1), (a, a + n + 1, a + n)]
    triangles = np.array(out, np.int32)
    points = _teeth_row(upper)
    front = np.cross(points[1] - points[0], points[n + 1] - points[0])[2] < 0
    return triangles if front else np.ascontiguousarray(triangles[:, ::-1])


def _neck_rings(border: FloatArray) -> FloatArray:
    """Rings (R * B, 3) that continue the neck's border (B, 3) downwards and outwards into the shoulders."""
    middle = border.mean(axis=0)
    away = border - middle
    away[:, 1] = 0.0
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-3)
    rings = []
    for k, (outward, down) in enumerate(_RINGS):
        ring = border + away * np.array([outward, 0.0, 0.6 * outward])
        level = (k + 1) / len(_RINGS)
        ring[:, 1] = (1 - level) * border[:, 1] + level * border[:, 1].max() + down
        rings.append(ring)
    return np.concatenate(rings)


def _loop_subdivision(count: int, triangles: IntArray) -> tuple[Any, IntArray]:
    """Loop's subdivision (C. Loop 1987): (matrix (V1, V0), triangles (4 T, 3))."""
    from scipy.sparse import coo_matrix

    corner = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, edge_of, uses = np.unique(np.sort(corner, axis=1), axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(-1, 3)
    opposite = np.roll(triangles, -2, axis=1).reshape(-1)
    border_edge = uses == 1
    rows, cols, values = [], [], []

    def put(r: NDArray[Any], c: NDArray[Any], w: NDArray[Any] | float) -> None:
        rows.append(r)
        cols.append(c)
        values.append(np.broadcast_to(np.asarray(w, np.float64), r.shape))

    e = np.arange(len(edges)) + count
    for k in range(2):
        put(e, edges[:, k], np.where(border_edge, 0.5, 0.375))
    inner = ~border_edge[edge_of.reshape(-1)]
    put(edge_of.reshape(-1)[inner] + count, opposite[inner], 0.125)

    degree = np.bincount(edges.reshape(-1), minlength=count)
    on_border = np.zeros(count, bool)
    on_border[edges[border_edge].reshape(-1)] = True
    beta = np.where(degree == 3, 3.0 / 16.0, 3.0 / (8.0 * np.maximum(degree, 1)))
    own = np.where(on_border, 0.75, 1.0 - degree * beta)
    put(np.arange(count), np.arange(count), own)
    for a, b in ((0, 1), (1, 0)):
        v, w = edges[:, a], edges[:, b]
        inside = ~on_border[v]
        put(v[inside], w[inside], beta[v[inside]])
        rim = border_edge & on_border[v]
        put(v[rim], w[rim], 0.125)
    matrix = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), (count + len(edges), count)
    ).tocsr()
    m = edge_of + count
    a, b, c = triangles.T
    ab, bc, ca = m.T
    fine = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]).astype(
        np.int32
    )
    return matrix.astype(np.float32), fine


def _border_loop(triangles: IntArray) -> IntArray:
    """The longest border of a mesh, ordered along the triangles' winding."""
    directed = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    seen = {(int(a), int(b)) for a, b in directed}
    following = {a: b for a, b in seen if (b, a) not in seen}
    loops: list[list[int]] = []
    while following:
        start, step = following.popitem()
        loop = [start]
        while step != start and step in following:
            loop.append(step)
            step = following.pop(step)
        loops.append(loop)
    return np.array(max(loops, key=len), np.int32)


def _polygon_distance(points: NDArray[Any], outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance (N,) of points (N, 2) to a closed polygon, positive inside."""
    a, b = outline, np.roll(outline, -1, axis=0)
    d = b - a
    t = np.clip(((points[:, None] - a) * d).sum(-1) / np.maximum((d * d).sum(-1), 1e-9), 0, 1)
    distance = np.linalg.norm(points[:, None] - a - t[..., None] * d, axis=-1).min(axis=1)
    x, y = points[:, :1], points[:, 1:]
    crosses = ((a[:, 1] > y) != (b[:, 1] > y)) & (
        x < (y - a[:, 1]) / np.where(d[:, 1] == 0, 1e-9, d[:, 1]) * d[:, 0] + a[:, 0]
    )
    return np.asarray(np.where(crosses.sum(axis=1) % 2 == 1, distance, -distance), np.float64)


def _front_depth(points: FloatArray, triangles: IntArray, cell_mm: float = 1.0) -> FloatArray:
    """How far (mm) each vertex lies behind the foremost surface at its place in the frontal view."""
    front = np.full((400, 400), np.inf, np.float32)
    weights = np.array([[i, j, 6 - i - j] for i in range(7) for j in range(7 - i)], np.float32) / 6.0
    samples = np.einsum("sk,tkc->stc", weights, points[triangles]).reshape(-1, 3)
    place = np.clip(np.round(samples[:, :2] / cell_mm) + 200, 0, 399).astype(np.int64)
    np.minimum.at(front, (place[:, 1], place[:, 0]), samples[:, 2])
    own = np.clip(np.round(points[:, :2] / cell_mm) + 200, 0, 399).astype(np.int64)
    return np.asarray(points[:, 2] - front[own[:, 1], own[:, 0]], np.float32)


def _normals(points: FloatArray, triangles: IntArray) -> NDArray[np.float64]:
    """Unit normals (V, 3), weighted by area."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normal = np.zeros(points.shape)
    for k in range(3):
        np.add.at(normal, triangles[:, k], face)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9), np.float64)


def _regions(
    points: FloatArray, triangles: IntArray, eyes_mm: FloatArray, eye_radius_mm: float, marks: Landmarks
) -> dict[str, FloatArray]:
    """Region weights of a mean head's skin vertices (V, 3), from where they lie."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    frontal = np.stack([x, y], axis=1)
    behind = _front_depth(points, triangles)
    half = np.array(marks.lips_outline)
    outline = np.concatenate([half, (half * (-1, 1))[-2:0:-1] if half[0, 0] == 0 else (half * (-1, 1))[::-1]])
    in_lips = _polygon_distance(frontal, outline)
    mouth_box = (x < half[:, 0].max() + 8) & (y > marks.mouth_line_y - 20) & (y < marks.mouth_line_y + 31) & (z < 100.0)
    mouth_box &= (y < marks.mouth_line_y + 14) | (x < 24)
    cavity = np.where(mouth_box, np.clip((behind - 5.0) / 4.0, 0, 1), 0.0)
    # The cavity's front wall lies close behind the lips and chin, but faces backwards.
    backwards = mouth_box & (x < 27) & (_normals(points, triangles)[:, 2] > -0.1)
    cavity = np.maximum(cavity, np.where(backwards, np.clip((behind - 1.5) / 2.0, 0, 1), 0.0))
    lips = np.clip(0.5 + in_lips / 2.0, 0, 1) * np.clip(1.0 - (behind - 5.0) / 4.0, 0, 1) * (z < 20.0)

    nose = np.hypot(x - marks.nostril[0], y - marks.nostril[1] + 1.0)
    nostril = np.clip(1.5 - nose / 4.5, 0, 1) * np.clip((behind - 0.8) / 2.0, 0, 1) * (z < 20.0)

    spine = np.array(marks.brow)
    steps = np.concatenate([spine[:-1] + t * np.diff(spine, axis=0) for t in np.linspace(0, 1, 12)])
    to_spine = np.linalg.norm(frontal[:, None] - steps, axis=-1)
    along = np.clip((steps[to_spine.argmin(axis=1), 0] - spine[0, 0]) / np.ptp(spine[:, 0]), 0, 1)
    half_width = 4.2 - 2.4 * along**1.5
    brow = np.clip(0.5 + (half_width - to_spine.min(axis=1)) / 8.0, 0, 1) * (z < 30.0)

    hairline = np.interp(z, [-20, 15, 42, 58, 68, 80, 100, 112, 128, 200], [-62, -58, -42, -28, 8, -16, -14, 5, 58, 80])
    recess = 8.0 * np.exp(-(((x - 38) / 14) ** 2)) * (z < 45)
    scalp = np.clip(0.5 + (hairline - recess - y) / 50.0, 0, 1)
    scalp[(x > 60) & (z > 68) & (z < 120) & (y > -22) & (y < 60)] *= 0.2  # the ears

    cheek_line = np.interp(z, [-30, -5, 25, 55, 72, 85], [66, 62, 48, 28, 6, 0])
    low = np.clip((y - cheek_line) / 24.0 + 0.5, 0, 1) * np.clip((88.0 - z) / 20.0, 0, 1)
    low *= np.clip((150.0 - y) / 40.0, 0, 1)
    lip_top = half[:, 1].min()
    moustache = np.clip(0.5 + np.minimum(y - (lip_top - 10), lip_top + 4 - y) / 8.0, 0, 1)
    moustache *= np.clip((31.0 - x) / 8.0, 0, 1) * (z < 20.0)
    beard = np.maximum(low, moustache) * (1 - np.clip(0.5 + in_lips / 3.0, 0, 1)) * (1 - nostril) * (1 - cavity)

    lash = np.zeros(len(points))
    for eye in eyes_mm:
        away = points - eye
        height = np.linalg.norm(away, axis=1) - eye_radius_mm
        upper = np.clip(0.55 - away[:, 1] / 10.0, 0.15, 1.0)
        lash = np.maximum(lash, np.clip(1.9 - height / 1.1, 0, 1) * upper * (np.hypot(away[:, 0], away[:, 1]) < 17))
    skin = np.clip(1.0 - lips - cavity - nostril, 0, 1)
    values = {
        "skin": skin, "lips": lips, "brow": brow, "scalp": scalp, "beard": beard, "mouth_interior": cavity,
        "nostril": nostril, "lash": lash,
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in values.items()}


def _template(
    mean_mm: FloatArray,
    triangles: IntArray,
    corner_uv: FloatArray,
    subdivision: Any | None,
    eyes_mm: FloatArray,
    eye_radius_mm: float,
    eye_bulge: float,
    marks: Landmarks,
) -> Template:
    """Everything of a source that does not change between identities.

    ``mean_mm`` (V, 3) and ``triangles`` (T, 3) are the fine skin, ``corner_uv`` (T, 3, 2) its texture coordinates.
    """
    skin_regions = _regions(mean_mm, triangles, eyes_mm, eye_radius_mm, marks)
    count = len(mean_mm)
    vertex_uv = np.zeros((count, 2), np.float32)
    vertex_uv[triangles.reshape(-1)] = corner_uv.reshape(-1, 2)
    torn = np.abs(vertex_uv[triangles] - corner_uv).max(axis=(1, 2)) > 1e-3
    texture = np.ones(count, np.float32)
    texture[triangles[torn].reshape(-1)] = 0.0
    uv = [vertex_uv]

    loop = _border_loop(triangles)
    n = len(loop)
    ring_triangles = []
    for k in range(len(_RINGS)):
        top = loop if k == 0 else count + (k - 1) * n + np.arange(n)
        bottom = count + k * n + np.arange(n)
        a, b, c, d = top, np.roll(top, -1), bottom, np.roll(bottom, -1)
        ring_triangles += [np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)]
    uv.append(np.tile(vertex_uv[loop], (len(_RINGS), 1)))
    total = count + n * len(_RINGS)

    pieces = [triangles, *ring_triangles]
    eyeball, eye_triangles = _eyeball(1.0, 0.0), _eyeball_triangles()
    for _ in range(2):
        pieces.append(eye_triangles + total)
        uv.append(np.asarray(0.5 + 0.5 * eyeball[:, :2], np.float32))
        total += len(eyeball)
    for upper in (True, False):
        pieces.append(_teeth_triangles(upper) + total)
        u = np.tile(np.linspace(0.0, 1.0, _TEETH_COLUMNS), 3)
        uv.append(np.stack([u, np.repeat([0.0, 0.9, 1.0], _TEETH_COLUMNS)], axis=1).astype(np.float32))
        total += 3 * _TEETH_COLUMNS

    regions: dict[str, FloatArray] = {}
    eye_start, teeth_start = total - 2 * len(eyeball) - 6 * _TEETH_COLUMNS, total - 6 * _TEETH_COLUMNS
    for name in REGION_NAMES:
        value = np.zeros(total, np.float32)
        if name in skin_regions:
            value[:count] = skin_regions[name]
            value[count:eye_start] = np.tile(skin_regions[name][loop], len(_RINGS))
        elif name == "eye":
            value[eye_start:teeth_start] = 1.0
        elif name in ("eye_x", "eye_y"):
            value[:] = 1000.0
            axis = 0 if name == "eye_x" else 1
            value[eye_start:teeth_start] = np.tile(_eyeball(eye_radius_mm, 0.0)[:, axis], 2)
        elif name == "texture":
            value[:count] = texture
        elif name == "teeth":
            value[teeth_start:] = 1.0
        regions[name] = value

    frontal = np.stack([np.abs(mean_mm[:, 0]), mean_mm[:, 1]], axis=1)
    foremost = _front_depth(mean_mm, triangles) < 1.5
    half = np.array(marks.lips_outline)
    anchors = []
    for place in ((0.0, half[:, 1].min() - 5.0), (0.0, half[:, 1].max() + 9.0)):
        score = np.linalg.norm(frontal - np.array(place), axis=1) + 1e3 * ~foremost
        anchors.append(np.argsort(score)[:12].astype(np.int32))
    lip_front = mean_mm[
        (in_front := foremost & (np.abs(frontal[:, 1] - marks.mouth_line_y) < 3) & (frontal[:, 0] < 6)), 2
    ]
    if not in_front.any():
        raise ValueError("No mouth was found on the mean head: is the head file of another layout?")
    z = float(np.median(lip_front))
    rows = (
        np.array([0.0, marks.mouth_line_y + 0.5, z + 6.0]) - mean_mm[anchors[0]].mean(axis=0),
        np.array([0.0, marks.mouth_line_y + 1.5, z + 8.0]) - mean_mm[anchors[1]].mean(axis=0),
    )
    return Template(
        subdivision=subdivision,
        loop=loop,
        triangles=np.ascontiguousarray(np.concatenate(pieces), np.int32),
        uv=np.concatenate(uv),
        regions=regions,
        upper_anchor=anchors[0],
        lower_anchor=anchors[1],
        teeth_offset_mm=(rows[0].astype(np.float32), rows[1].astype(np.float32)),
        eye_bulge=eye_bulge,
    )


def _eye_sphere(points: FloatArray, front: float) -> tuple[FloatArray, float]:
    """Centre and radius (mm) of an eyeball's vertices, whose cornea reaches ``front`` radii from the centre.

    Measured from the front, since a source may hold the visible part of the eyeball only.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    radius = float((high - low)[:2].mean() / 2)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + front * radius], np.float32), radius


def _finish(
    source: str,
    template: Template,
    skin_mm: FloatArray,
    eye_points_mm: tuple[FloatArray, FloatArray],
    eye_front: float,
    express: Callable[[np.random.Generator, float], FloatArray],
    rng: np.random.Generator,
) -> HeadShape:
    """A drawn identity, its origin put between its eyes and its size kept within what people have."""
    (a, ra), (b, rb) = (_eye_sphere(p, eye_front) for p in eye_points_mm)
    middle = (a + b) / 2
    ipd = float(np.linalg.norm(a - b))
    # Morphable heads vary in size less than people do: 54-72 mm covers 1st to 99th percentile (Dodgson 2004).
    wanted = float(np.clip(ipd * rng.normal(1.0, 0.03), 55.0, 71.0))
    scale = wanted / ipd
    eyes = (np.stack([a, b]) - middle) * scale

    def scaled(r: np.random.Generator, strength: float) -> FloatArray:
        return np.asarray(express(r, strength) * scale, np.float32)

    neutral = np.asarray((skin_mm - middle) * scale, np.float32)
    gaze = (float(rng.normal(0, 0.05)), float(rng.normal(0, 0.03)))
    radius = round((ra + rb) / 2 * scale, 2)
    return HeadShape(source, template, neutral, eyes.astype(np.float32), radius, gaze, scaled)


_EXPRESSIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "smile": (("mouthSmile", 0.8), ("cheekSquint", 0.5), ("eyeSquint", 0.3), ("mouthUpperUp", 0.3)),
    "grin": (
        ("mouthSmile", 0.9),
        ("jawOpen", 0.15),
        ("mouthUpperUp", 0.4),
        ("mouthLowerDown", 0.3),
        ("cheekSquint", 0.6),
    ),
    "open": (("jawOpen", 0.8),),
    "talk": (("jawOpen", 0.3), ("mouthFunnel", 0.4), ("mouthLowerDown", 0.3)),
    "pucker": (("mouthPucker", 0.8),),
    "frown": (("browDown", 0.9), ("mouthFrown", 0.7), ("noseSneer", 0.2)),
    "surprise": (("browInnerUp", 0.8), ("browOuterUp", 0.8), ("eyeWide", 0.6), ("jawOpen", 0.35)),
    "blink": (("eyeBlink", 0.95),),
    "squint": (("eyeSquint", 0.9), ("cheekSquint", 0.5), ("browDown", 0.4)),
    "wink": (("eyeBlink_L", 0.95), ("cheekSquint_L", 0.6), ("mouthSmile_L", 0.4)),
    "sneer": (("noseSneer", 0.7), ("mouthUpperUp", 0.5)),
    "press": (("mouthPress", 0.7), ("mouthRollLower", 0.3)),
    "puff": (("cheekPuff", 0.7),),
    "aside": (("mouthLeft", 0.6),),
}
"""Expressions in ARKit's blendshape names; a name without a side stands for both."""


def _draw_expression(rng: np.random.Generator, names: dict[str, int]) -> dict[int, float]:
    """Blendshape weights of an expression: one or two of ``_EXPRESSIONS``, uneven between the sides, and twitches."""
    weights: dict[int, float] = {}
    kinds = list(_EXPRESSIONS)
    odds = np.array([3, 2, 1.5, 1.5, 0.7, 1.2, 1.2, 0.8, 1, 0.4, 0.6, 0.8, 0.4, 0.6])
    chosen = rng.choice(len(kinds), size=int(rng.integers(1, 3)), replace=False, p=odds / odds.sum())
    amount = rng.beta(1.6, 1.4, size=len(chosen))
    side = 1.0 + rng.normal(0.0, 0.15)
    for k, strength in zip(chosen, amount, strict=True):
        blink = kinds[k] in ("blink", "wink")
        for name, peak in _EXPRESSIONS[kinds[k]]:
            value = peak * (rng.uniform(0.85, 1.0) if blink else strength * rng.uniform(0.7, 1.2))
            for suffix, factor in (("", 1.0), ("_L", side), ("_R", 2.0 - side)):
                if name + suffix in names and (suffix == "" or name[-2:] not in ("_L", "_R")):
                    weights[names[name + suffix]] = weights.get(names[name + suffix], 0.0) + value * (
                        min(factor, 1.0) if blink else factor
                    )
    for index in rng.choice(sorted(names.values()), size=4, replace=False):
        weights[int(index)] = weights.get(int(index), 0.0) + rng.uniform(0.0, 0.12)
    return {k: float(np.clip(v, 0.0, 1.0)) for k, v in weights.items()}


def _arkit_names(names: list[str]) -> dict[str, int]:
    """Index of each expression blendshape by its name with ``_L`` or ``_R`` at the end; those of gaze left out."""
    out = {}
    for k, name in enumerate(names):
        if name.startswith(("eyeLook", "Pupil", "tongue")):
            continue
        short = (
            name.replace("Left", "_L").replace("Right", "_R")
            if name not in ("mouthLeft", "mouthRight", "jawLeft", "jawRight")
            else name
        )
        out[short] = k
    return out


# How far the sources' corneas reach from the eyeballs' centres, in radii.
_ICT_EYE_FRONT, _MAKEHUMAN_EYE_FRONT = 1.20, 1.123
_ICT_MARKS = Landmarks(
    lips_outline=((0, 64.0), (7, 62.0), (15, 66.0), (24.5, 71.0), (17, 77.5), (9, 79.5), (0, 80.0)),
    mouth_line_y=70.0,
    nostril=(9.0, 41.5),
    brow=((9, -12.5), (20, -17.5), (32, -20.5), (42, -18.5), (50, -12.5)),
)
_MAKEHUMAN_MARKS = Landmarks(
    lips_outline=((0, 60.5), (7, 59.0), (15, 62.0), (26, 68.0), (20, 74.0), (13, 78.5), (0, 79.5)),
    mouth_line_y=68.0,
    nostril=(9.0, 43.5),
    brow=((9, -12.0), (20, -16.0), (32, -18.5), (42, -16.5), (50, -10.5)),
)


class IctFaceKit:
    """ICT-FaceKit's morphable face (USC ICT, MIT licence): 100 identity and 57 expression shapes, in cm."""

    name = "ict_facekit"

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        to_mm = np.array([10.0, -10.0, -10.0], np.float32)
        material = data["mat"]
        triangles = data["f"][np.isin(material, (0, 1))]
        used = np.unique(triangles)
        number = np.full(len(data["v"]), -1, np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        triangles = number[triangles]
        left, right = (np.unique(data["f"][material == k]) for k in (4, 6))
        every = np.concatenate([used, left, right])
        self._eyes = (slice(len(used), len(used) + len(left)), slice(len(used) + len(left), None))
        self._skin = slice(0, len(used))
        self._mean = np.asarray(data["v"][every] * to_mm, np.float32)
        self._identity = np.asarray(data["identity"][:, every].astype(np.float32) * to_mm).reshape(100, -1)
        self._expression = np.asarray(data["expression"][:, used].astype(np.float32) * to_mm)
        self._names = _arkit_names([str(n) for n in data["ex_names"]])
        (a, ra), (b, rb) = (_eye_sphere(self._mean[e], _ICT_EYE_FRONT) for e in self._eyes)
        middle = (a + b) / 2
        mean = np.asarray(self._mean[self._skin] - middle, np.float32)
        eyes = np.asarray(np.stack([a, b]) - middle, np.float32)
        # No skin map is made for the file's own texture layout: a cylinder around the head serves.
        angle = np.arctan2(mean[:, 0], -(mean[:, 2] - 80.0))
        uv = np.stack([0.5 + angle / (2 * np.pi), (mean[:, 1] + 130.0) / 380.0], axis=1).astype(np.float32)
        self._template = _template(mean, triangles, uv[triangles], None, eyes, (ra + rb) / 2, 0.08, _ICT_MARKS)

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: the 100 modes drawn from the model's own distribution, a little widened."""
        modes = np.clip(rng.normal(0.0, 1.0, 100), -2.2, 2.2).astype(np.float32) * np.float32(rng.uniform(0.7, 1.15))
        points = self._mean + (modes @ self._identity).reshape(-1, 3)

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            weights = _draw_expression(r, self._names)
            index = list(weights)
            value = np.array([weights[k] for k in index], np.float32) * np.float32(strength)
            return np.asarray(np.tensordot(value, self._expression[index], 1), np.float32)

        eyes = (points[self._eyes[0]], points[self._eyes[1]])
        return _finish(self.name, self._template, points[self._skin], eyes, _ICT_EYE_FRONT, express, rng)


_MAKEHUMAN_TO_MM = np.array([100.0, -100.0, -100.0], np.float32)


class MakeHuman:
    """MakeHuman's head (CC0), in dm: macro targets as a convex mixture, few shape targets, smoothly subdivided."""

    name = "makehuman"

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        self._setup(
            np.asarray(data["v"] * _MAKEHUMAN_TO_MM, np.float32),
            data["f"],
            data["vt"][data["ft"]],
            np.unique(data["eye_f"]),
        )
        self._names = [str(n) for n in data["names"]]
        self._targets = data["targets"]

    def _setup(self, points: FloatArray, triangles: IntArray, corner_uv: FloatArray, eye: NDArray[Any]) -> None:
        left, right = eye[points[eye, 0] > 0], eye[points[eye, 0] < 0]
        used = np.unique(triangles)
        number = np.full(len(points), -1, np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        matrix, fine = _loop_subdivision(len(used), number[triangles])
        middle_uv = (corner_uv + np.roll(corner_uv, -1, axis=1)) / 2
        a, b, c = (corner_uv[:, k] for k in range(3))
        ab, bc, ca = (middle_uv[:, k] for k in range(3))
        uv = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        uv = uv * np.array([1, -1]) + np.array([0, 1])
        self._mean, self._used, self._left, self._right = points, used, left, right
        self._matrix = matrix
        (ea, ra), (eb, rb) = (_eye_sphere(points[e], _MAKEHUMAN_EYE_FRONT) for e in (left, right))
        middle = (ea + eb) / 2
        self._template = _template(
            np.asarray(matrix @ (points[used] - middle), np.float32), fine, uv.astype(np.float32), matrix,
            np.asarray(np.stack([ea, eb]) - middle, np.float32), (ra + rb) / 2, 0.06, _MAKEHUMAN_MARKS,
        )  # fmt: skip

    def _smooth(self, coarse: FloatArray) -> FloatArray:
        return np.asarray(self._matrix @ coarse[self._used], np.float32)

    def _sum(self, weights: dict[int, float]) -> FloatArray:
        """Offsets (V0, 3) in mm of a few targets."""
        total = np.zeros_like(self._mean)
        for k, w in weights.items():
            total += np.float32(w) * self._targets[k].astype(np.float32)
        return total * _MAKEHUMAN_TO_MM

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: ethnicity and sex mixed, age, weight, then some twelve shape targets."""
        names = {n: k for k, n in enumerate(self._names)}
        weights: dict[int, float] = {}
        ethnicity = rng.dirichlet((0.45, 0.45, 0.45))
        female = float(rng.beta(0.4, 0.4))
        old = float(rng.beta(0.7, 1.2))
        for race, share in zip(("african", "asian", "caucasian"), ethnicity, strict=True):
            for sex, part in (("female", female), ("male", 1 - female)):
                for age, amount in (("old", old), ("young", 1 - old)):
                    k = names.get(f"macrodetails/{race}-{sex}-{age}")
                    if k is not None:
                        weights[k] = share * part * amount
        heavy = float(rng.normal(0, 0.55))
        for sex, part in (("female", female), ("male", 1 - female)):
            for age, amount in (("old", old), ("young", 1 - old)):
                end = "max" if heavy > 0 else "min"
                k = names.get(f"macrodetails/universal-{sex}-{age}-averagemuscle-{end}weight")
                if k is not None:
                    weights[k] = part * amount * min(abs(heavy), 1.0)
        groups = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck", "asym")
        for group in groups:
            members = [
                n
                for n in self._names
                if n.startswith(group + "/") and not any(t in n for t in ("trunk", "-trans-", "angle-in", "pointed"))
            ]
            if group == "eyes":
                members = [n for n in members if "push" not in n]
            count = {"nose": 3, "asym": 2, "eyes": 1, "mouth": 2, "head": 2}.get(group, 1)
            for n in rng.choice(members, size=count, replace=False):
                value = float(rng.uniform(0.1, 0.4 if group in ("asym", "ears", "neck", "head", "forehead") else 0.65))
                weights[names[n]] = value
                # Targets of one side are drawn for both, a little differently: faces are nearly symmetric.
                for one, other in (("/l-", "/r-"), ("/r-", "/l-")):
                    twin = n.replace(one, other)
                    if twin != n and twin in names:
                        weights[names[twin]] = value * float(rng.uniform(0.85, 1.15))
        coarse = self._mean + self._sum(weights)
        race = ("african", "asian", "caucasian")[int(np.argmax(ethnicity))]
        units = {n.split("/")[-1]: k for n, k in names.items() if n.startswith(f"expression/units/{race}/")}

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            return self._smooth(self._sum({k: strength * w for k, w in _makehuman_expression(r, units).items()}))

        return self._identity(coarse, express, rng)

    def _identity(
        self, coarse: FloatArray, express: Callable[[np.random.Generator, float], FloatArray], rng: np.random.Generator
    ) -> HeadShape:
        eyes = (coarse[self._left], coarse[self._right])
        return _finish(self.name, self._template, self._smooth(coarse), eyes, _MAKEHUMAN_EYE_FRONT, express, rng)


_MAKEHUMAN_EXPRESSIONS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("mouth-corner-puller", 0.9), ("eye-left-slit", 0.3), ("eye-right-slit", 0.3)),
    (("mouth-corner-puller", 0.9), ("mouth-parling", 0.6)),
    (("mouth-open", 0.8),),
    (("mouth-part-later", 0.7),),
    (("mouth-depression", 0.7), ("eyebrows-left-down", 0.8), ("eyebrows-right-down", 0.8)),
    (("mouth-pursing", 0.7),),
    (("mouth-protusion", 0.7),),
    (("mouth-compression", 0.7),),
    (("eye-left-closure", 0.95), ("eye-right-closure", 0.95)),
    (("eyebrows-left-up", 0.8), ("eyebrows-right-up", 0.8), ("eye-left-opened-up", 0.6), ("eye-right-opened-up", 0.6)),
    (("eye-left-slit", 0.8), ("eye-right-slit", 0.8)),
    (("nose-left-elevation", 0.6), ("nose-right-elevation", 0.6), ("mouth-elevation", 0.4)),
    (("eyebrows-left-inner-up", 0.8), ("eyebrows-right-inner-up", 0.8), ("mouth-depression-retraction", 0.5)),
    (("mouth-retraction", 0.6),),
)


def _makehuman_expression(rng: np.random.Generator, units: dict[str, int]) -> dict[int, float]:
    """Weights of MakeHuman's expression units, which know no asymmetry at the mouth, plus small twitches."""
    weights: dict[int, float] = {}
    for k in rng.choice(len(_MAKEHUMAN_EXPRESSIONS), size=int(rng.integers(1, 3)), replace=False):
        strength = rng.beta(1.8, 1.2)
        for name, peak in _MAKEHUMAN_EXPRESSIONS[k]:
            value = peak * (rng.uniform(0.85, 1.0) if "closure" in name else strength * rng.uniform(0.6, 1.1))
            if name in units:
                weights[units[name]] = weights.get(units[name], 0.0) + float(value)
    return {k: min(v, 1.0) for k, v in weights.items()}


class Anny(MakeHuman):
    """Anny's parametric human (NAVER, Apache-2.0): phenotype, local changes and facial actions, in metres."""

    name = "anny"

    def __init__(self) -> None:
        import anny
        import torch

        with torch.no_grad():
            model = anny.Anny(
                rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
            )
        self._model = model
        template = model.template_vertices.numpy()
        shapes = model.blendshapes.numpy()
        labels = [str(n) for n in model.blendshape_labels]

        def to_mm(a: NDArray[Any]) -> FloatArray:
            # Anny: x to the person's left, y backwards, z up.
            return np.ascontiguousarray(np.stack([a[..., 0], -a[..., 2], a[..., 1]], axis=-1) * 1000.0, np.float32)

        self._shapes = to_mm(shapes)
        kinds = [n.split(":")[0] for n in labels]
        self._phenotype = [k for k, kind in enumerate(kinds) if kind.startswith("phenotype")]
        moving = np.abs(self._shapes).max(axis=(1, 2)) > 0.3
        wanted = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "neck-double", "nose")
        self._local = {
            n.split(":", 1)[1]: k
            for k, n in enumerate(labels)
            if kinds[k].startswith("local")
            and moving[k]
            and n.split(":", 1)[1].removeprefix("l-").removeprefix("r-").startswith(wanted)
        }
        actions = [n.split(":", 1)[1] if kinds[k].startswith("facial") else "eyeLook" for k, n in enumerate(labels)]
        self._actions = _arkit_names(actions)
        faces = model.faces.numpy().astype(np.int32)
        corner_uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
        piece = _components(len(template), faces)
        sizes = np.bincount(piece)
        skin = sizes.argmax()
        mean = to_mm(template)
        eyes = [k for k in range(len(sizes)) if k != skin and _is_eye(mean[piece == k])]
        eye = np.flatnonzero(np.isin(piece, eyes))
        face = piece[faces[:, 0]] == skin
        self._setup(mean, faces[face], corner_uv[face].astype(np.float32), eye)

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: an adult or youth of any phenotype, with some ten local changes."""
        import torch

        ethnicity = rng.dirichlet((0.5, 0.5, 0.5))
        drawn = {
            "gender": rng.beta(0.5, 0.5),
            "age": rng.uniform(0.55, 1.0),
            "muscle": rng.uniform(0.2, 0.8),
            "weight": rng.beta(1.5, 1.5),
            "height": rng.uniform(0.2, 0.8),
            "proportions": rng.uniform(0.2, 0.8),
            "cupsize": 0.5,
            "firmness": 0.5,
            "african": ethnicity[0],
            "asian": ethnicity[1],
            "caucasian": ethnicity[2],
        }
        with torch.no_grad():
            coefficients = self._model.get_phenotype_blendshape_coefficients(
                **{k: torch.tensor([float(v)], dtype=self._model.dtype) for k, v in drawn.items()}
            )
        value = np.asarray(coefficients.numpy()[0], np.float32)[: len(self._shapes)]
        coarse = self._mean.copy()
        for k in self._phenotype:
            if abs(value[k]) > 1e-5:
                coarse += value[k] * self._shapes[k]
        names = list(self._local)
        for n in rng.choice(names, size=10, replace=False):
            amount = float(rng.uniform(0.1, 0.7))
            coarse += np.float32(amount) * self._shapes[self._local[n]]
            twin = {"l-": "r-", "r-": "l-"}.get(n[:2], "") + n[2:]
            if twin in self._local:
                coarse += np.float32(amount * rng.uniform(0.85, 1.15)) * self._shapes[self._local[twin]]

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            total = np.zeros_like(self._mean)
            for k, w in _draw_expression(r, self._actions).items():
                total += np.float32(strength * w) * self._shapes[k]
            return self._smooth(total)

        return self._identity(coarse, express, rng)


def _components(count: int, triangles: IntArray) -> NDArray[Any]:
    """The connected piece that each vertex belongs to, (V,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.stack([triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)])
    pieces = connected_components(coo_matrix((np.ones(edges.shape[1]), (edges[0], edges[1])), (count, count)), False)[1]
    return np.asarray(pieces)


def _is_eye(points: FloatArray) -> bool:
    """Whether a piece (N, 3) in mm is an eyeball: 20-36 mm across in both directions and off the middle plane."""
    size = np.ptp(points, axis=0)
    return bool(
        np.all((size[:2] > 20) & (size[:2] < 36)) and abs(size[0] - size[1]) < 3 and abs(points[:, 0].mean()) > 15
    )


@functools.cache
def _anny() -> Anny:
    return Anny()


@functools.lru_cache(maxsize=8)
def _from_file(path: Path) -> HeadSource:
    with np.load(path, allow_pickle=False) as archive:
        names = set(archive.files)
        if {"identity", "expression", "ex_names", "mat"} <= names:
            return IctFaceKit({k: archive[k] for k in ("v", "f", "mat", "identity", "expression", "ex_names")})
        if {"targets", "names", "eye_f", "vt", "ft"} <= names:
            return MakeHuman({k: archive[k] for k in ("v", "f", "ft", "vt", "eye_f", "targets", "names")})
    raise ValueError(f"{path} holds no head that is known: expected the arrays of ICT-FaceKit or MakeHuman.")


def load_sources(folder: Path | None) -> list[HeadSource]:
    """Every head source at hand: anny where it is installed, and the head files in ``folder/heads``.

    Loading happens once in a process. Raises ValueError where there is none.
    """
    sources: list[HeadSource] = []
    with contextlib.suppress(ImportError):
        sources.append(_anny())
    if folder is not None:
        if not folder.is_dir():
            raise ValueError(f"The folder with heads does not exist: {folder}")
        sources += [_from_file(path) for path in sorted((folder / "heads").glob("*.npz"))]
    if not sources:
        where = f" and {folder / 'heads'} holds no .npz file" if folder is not None else ""
        raise ValueError(f'No head source is at hand: anny is not installed{where}; pip install "stereolive[synth]".')
    return sources
