"""The geometry of the renderer against closed forms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stereolive.synth.raster import Pinhole, clipped, fill, posed, rasterise, vertex_normals
from stereolive.synth.shapes import box, capsule, grid
from stereolive.synth.surface import FloatArray, Mesh


def camera(
    distortion: tuple[float, ...] = (0, 0, 0, 0, 0),
    rotation: FloatArray | None = None,
    shift: tuple[float, ...] = (0, 0, 0),
) -> Pinhole:
    matrix = np.array([[300.0, 0, 80.3], [0, 301.0, 59.2], [0, 0, 1]])
    return Pinhole(
        160,
        120,
        matrix,
        np.array(distortion, float),
        np.eye(3) if rotation is None else rotation,
        np.array(shift, float),
    )


def draw(view: Pinhole, mesh: Mesh) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Depth (H, W), interpolated world points (H, W, 3) and coverage (H, W)."""
    points, depth = rasterise(
        view,
        mesh.vertices_mm,
        mesh.triangles,
        np.zeros(len(mesh.triangles), np.int32),
        1,
        mesh.vertices_mm,
        np.array([3], np.int32),
    )
    world = np.zeros((view.height * view.width, 3), np.float32)
    cover = np.zeros(view.height * view.width, np.float32)
    world[points.pixel] = points.attributes
    cover[points.pixel] = points.weight
    return depth, world.reshape(view.height, view.width, 3), cover.reshape(view.height, view.width)


def rays(view: Pinhole) -> FloatArray:
    """Directions (H, W, 3), z = 1, of all pixel centres, distortion undone by OpenCV."""
    pixels = (
        np.stack(np.meshgrid(np.arange(view.width), np.arange(view.height)), -1).reshape(-1, 1, 2).astype(np.float64)
    )
    flat = cv2.undistortPoints(pixels, view.matrix, view.distortion, criteria=(3, 100, 1e-10)).reshape(
        view.height, view.width, 2
    )
    return np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)


@pytest.mark.parametrize(
    "distortion",
    [
        (0, 0, 0, 0, 0),
        (-0.25, 0.08, 0.001, -0.002, 0),  # barrel with tangential parts
        (0.15, -0.02, 0, 0, 0),  # pincushion
    ],
)
def test_projection_is_opencvs(distortion: tuple[float, ...]) -> None:
    view = camera(distortion)
    points = np.random.default_rng(0).uniform([-80, -60, 300], [80, 60, 600], (50, 3))
    expected, _ = cv2.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), view.matrix, view.distortion)
    pixels, z = view.project(points)
    np.testing.assert_allclose(pixels, expected.reshape(-1, 2), atol=1e-6)
    np.testing.assert_allclose(z, points[:, 2])


@pytest.mark.parametrize("distortion", [(0, 0, 0, 0, 0), (-0.25, 0.08, 0.001, -0.002, 0)])
def test_depth_of_a_tilted_plane_is_exact(distortion: tuple[float, ...]) -> None:
    view = camera(distortion)
    turn = np.asarray(cv2.Rodrigues(np.radians([20.0, -25.0, 8.0]))[0])
    center = np.array([5.0, -3.0, 400.0])
    depth, _, _ = draw(view, posed(grid(600, 600, 8), turn, center))
    normal = turn[:, 2]
    expected = (normal @ center) / (rays(view) @ normal)
    assert (depth > 0).all()
    assert np.abs(depth - expected).max() < 0.05  # the file's unit is 0.1 mm


def test_depth_of_a_sphere_is_exact_to_its_facets() -> None:
    ball = capsule(np.array([0, 0, 400.0]), np.array([0, 0.01, 400.0]), 60.0, sides=200)
    turn = np.linspace(0, np.pi, 200)
    around = np.linspace(0, 2 * np.pi, 200)
    directions = np.stack(
        [
            np.outer(np.sin(turn), np.cos(around)),
            np.outer(np.cos(turn), np.ones(200)),
            np.outer(np.sin(turn), np.sin(around)),
        ],
        -1,
    )
    vertices = (directions.reshape(-1, 3) * 60 + [0, 0, 400]).astype(np.float32)
    index = np.arange(200 * 200).reshape(200, 200)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    mesh = Mesh(
        vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32), ball.uv, vertices
    )
    view = camera()
    depth, _, _ = draw(view, mesh)
    ray = rays(view)
    half, square = 400 * ray[..., 2], (ray**2).sum(-1)
    root = half**2 - square * (400**2 - 60**2)
    inside = root > 0.02 * half**2  # away from the limb, where facets matter
    expected = (half - np.sqrt(np.maximum(root, 0))) / square
    assert np.abs(depth - expected)[inside].max() < 0.1


def test_interpolated_points_project_back_to_their_pixel() -> None:
    view = camera(
        (-0.2, 0.05, 0.001, 0.001, 0), np.asarray(cv2.Rodrigues(np.array([0.05, -0.1, 0.02]))[0]), (-40, 3, 2)
    )
    turn = np.asarray(cv2.Rodrigues(np.radians([30.0, 10.0, 0.0]))[0])
    _, world, cover = draw(view, posed(grid(300, 200, 5), turn, np.array([40.0, 0, 350.0])))
    rows, columns = np.nonzero(cover == 1)
    pixels, _ = view.project(world[rows, columns])
    assert len(rows) > 2000
    assert np.abs(pixels - np.stack([columns, rows], 1)).max() < 0.02


def test_depth_of_the_first_view_leads_to_the_same_point_in_the_second() -> None:
    first = camera((-0.15, 0.02, 0, 0, 0))
    second = camera((0.1, 0, 0, 0.001, 0), np.asarray(cv2.Rodrigues(np.array([0.01, 0.04, -0.03]))[0]), (-40, 5, 1))
    mesh = posed(grid(400, 400, 6), np.asarray(cv2.Rodrigues(np.radians([15.0, 20.0, 0]))[0]), np.array([0, 0, 420.0]))
    depth, _, _ = draw(first, mesh)
    _, world, cover = draw(second, mesh)
    points = rays(first) * depth[..., None]
    pixels, _ = second.project(points.reshape(-1, 3))
    inside = (pixels > 1).all(1) & (pixels < [158, 118]).all(1)
    x, y = pixels[inside].astype(np.float32).T
    seen = np.stack(
        [cv2.remap(np.ascontiguousarray(world[..., k]), x[None], y[None], cv2.INTER_LINEAR)[0] for k in range(3)], 1
    )
    assert inside.sum() > 5000 and cover.min() == 1
    assert np.abs(seen - points.reshape(-1, 3)[inside]).max() < 0.1


def test_the_nearer_surface_hides_the_farther_one_whatever_the_order() -> None:
    near, far = (
        posed(grid(40, 40, 5), np.eye(3), np.array([0, 0, 300.0])),
        posed(grid(400, 400, 20), np.eye(3), np.array([0, 0, 500.0])),
    )
    for meshes in ([near, far], [far, near]):
        vertices = np.concatenate([m.vertices_mm for m in meshes])
        triangles = np.concatenate([meshes[0].triangles, meshes[1].triangles + len(meshes[0].vertices_mm)])
        part = np.repeat([0, 1], [len(m.triangles) for m in meshes]).astype(np.int32)
        points, depth = rasterise(camera(), vertices, triangles, part, 2, vertices, np.array([3, 3], np.int32))
        assert depth[59, 80] == pytest.approx(300)
        assert depth[5, 5] == pytest.approx(500)
        # A pixel's shares add up to one, also along the edge.
        assert np.allclose(np.bincount(points.pixel, points.weight), 1)


def test_normals_point_out_of_closed_meshes() -> None:
    for mesh in (box((50, 30, 20), 5), capsule(np.zeros(3), np.array([0, 50, 10.0]), 8)):
        corners = mesh.vertices_mm[mesh.triangles]
        volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert volume > 0
        outward = mesh.vertices_mm - mesh.vertices_mm.mean(0)
        assert ((vertex_normals(mesh) * outward).sum(1) > 0).mean() > 0.95
    assert np.allclose(vertex_normals(grid(10, 10, 5)), [0, 0, -1])


def test_clipping_cuts_along_the_line() -> None:
    mesh = grid(100, 60, 7)
    part = clipped(mesh, 20.0 - mesh.vertices_mm[:, 0])
    assert part.vertices_mm[:, 0].max() == pytest.approx(20, abs=1e-3)
    corners = part.vertices_mm[part.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(70 * 60, rel=1e-4)
    np.testing.assert_allclose(part.uv[:, 0], part.vertices_mm[:, 0] / 100 + 0.5, atol=1e-5)
    assert len(clipped(mesh, np.full(len(mesh.vertices_mm), -1.0)).triangles) == 0


def test_fill_keeps_the_largest_key() -> None:
    buffer = np.zeros((4, 4), np.float32)
    owner = np.full((4, 4), -1, np.int32)
    xy = np.array([[-1, -1], [9, -1], [-1, 9]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 1]], np.int32)
    fill(xy, np.array([1, 1, 1], np.float32), np.ones(3, bool), triangles, buffer, owner)
    assert (buffer == 1).all() and (owner == 0).all()
