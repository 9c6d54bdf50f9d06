"""The form that the heads of every source are brought to, and how.

Every source is brought to one form: a closed skin with its neck, two eyeballs and two rows of teeth, in millimetres,
x right, y down, z away from the viewer, the origin midway between the eye centres, the face looking towards -z.
Triangles are wound so that ``cross(v1 - v0, v2 - v0)`` points outward. No vertex is doubled at a texture seam, so
normals are smooth over it; the region ``texture`` is 0 at the seam's triangles, where texture coordinates mean nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


def loop_subdivision(count: int, triangles: IntArray) -> tuple[Any, IntArray]:
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


def template_of(
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


def eye_sphere(points: FloatArray, front: float) -> tuple[FloatArray, float]:
    """Centre and radius (mm) of an eyeball's vertices, whose cornea reaches ``front`` radii from the centre.

    Measured from the front, since a source may hold the visible part of the eyeball only.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    radius = float((high - low)[:2].mean() / 2)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + front * radius], np.float32), radius


def finished(
    source: str,
    template: Template,
    skin_mm: FloatArray,
    eye_points_mm: tuple[FloatArray, FloatArray],
    eye_front: float,
    express: Callable[[np.random.Generator, float], FloatArray],
    rng: np.random.Generator,
) -> HeadShape:
    """A drawn identity, its origin put between its eyes and its size kept within what people have."""
    (a, ra), (b, rb) = (eye_sphere(p, eye_front) for p in eye_points_mm)
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
