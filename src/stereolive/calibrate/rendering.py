"""Pictures of a board through a known rig: the truth to check a calibration against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.boards import Board
from stereolive.rig import Camera, Rig

FloatArray = NDArray[np.float64]
PIXELS_PER_MM = 4
FINE = 3
"""Samples per pixel side."""
WHITE_MARGIN_MM = 12.0


@dataclass(frozen=True)
class Look:
    """How a sensor shows the board, of 255."""

    black: float = 30.0
    white: float = 210.0
    surroundings: float = 95.0
    blur_px: float = 0.6
    noise: float = 2.0
    falloff: float = 0.25  # share of the light lost at the image's corner


NEAR_INFRARED_LOOK = Look(black=34, white=78, surroundings=20, blur_px=0.9, noise=3.0, falloff=0.6)
"""Weak ink, a weak lamp with strong falloff, a soft lens."""


@dataclass(frozen=True, eq=False)
class Pose:
    """The board in the first sensor's frame: ``X_first_mm = rotation X_board_mm + translation_mm``."""

    rotation: FloatArray
    translation_mm: FloatArray


def random_poses(board: Board, rig: Rig, count: int, rng: np.random.Generator) -> list[Pose]:
    """Poses that both sensors see whole, spread over the picture, tilted up to 40 degrees."""
    left, top, right, bottom = board.extent_mm
    outline = np.array([(x, y, 0.0) for x in (left, right) for y in (top, bottom)])
    middle = outline.mean(axis=0)
    poses: list[Pose] = []
    width_mm = right - left
    for _ in range(400 * count):
        if len(poses) == count:
            return poses
        # A board that fills 35 to 90 % of the picture's width.
        distance = rig.first.focal_px * width_mm / (rig.first.width * rng.uniform(0.35, 0.9))
        axis = rng.normal(size=3) * (1, 1, 0.4)
        axis *= math.radians(rng.uniform(5, 40)) / np.linalg.norm(axis)
        rotation, _ = cv2.Rodrigues(axis)
        pixel = rng.uniform(0.12, 0.88, 2) * rig.first.size
        center = rig.first.rays(pixel[None])[0] * distance
        pose = Pose(np.asarray(rotation), center - np.asarray(rotation) @ middle)
        corners = outline @ pose.rotation.T + pose.translation_mm
        second = corners @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
        if _whole(rig.first, corners) and _whole(rig.second, second):
            poses.append(pose)
    raise ValueError("no pose shows the whole board to both sensors")


def render_pair(
    board: Board, rig: Rig, pose: Pose, looks: tuple[Look, Look], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both sensors' pictures (H, W), uint8."""
    rotation = rig.rotation_second_from_first
    moved = Pose(rotation @ pose.rotation, rotation @ pose.translation_mm + rig.translation_second_from_first_mm)
    return (
        render_view(board, rig.first, pose, looks[0], rng),
        render_view(board, rig.second, moved, looks[1], rng),
    )


def render_view(board: Board, camera: Camera, pose: Pose, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The board through one camera (H, W), uint8, by casting nine rays a pixel through the distorted lens."""
    low, high = _reach(board, camera, pose)
    xs = (np.arange((high[0] - low[0]) * FINE) + 0.5) / FINE - 0.5 + low[0]
    ys = (np.arange((high[1] - low[1]) * FINE) + 0.5) / FINE - 0.5 + low[1]
    # Distortion is smooth: rays on every eighth sample, the rest between them.
    coarse_x = np.append(xs[::8], xs[-1])
    coarse_y = np.append(ys[::8], ys[-1])
    grid = np.stack(np.meshgrid(coarse_x, coarse_y), axis=-1).reshape(-1, 2)
    coarse = camera.rays(grid)[:, :2].reshape(len(coarse_y), len(coarse_x), 2)
    rays = _between(coarse, coarse_x, coarse_y, xs, ys)
    # Where a ray meets the board: board plane to normalised image is a homography.
    board_from_ray = np.linalg.inv(np.column_stack([pose.rotation[:, :2], pose.translation_mm]))
    on_board = rays @ board_from_ray[:, :2].T + board_from_ray[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        mm = on_board[..., :2] / on_board[..., 2:]
    texture, origin_mm = _texture(board)
    map_x = ((mm[..., 0] - origin_mm[0]) * PIXELS_PER_MM - 0.5).astype(np.float32)
    map_y = ((mm[..., 1] - origin_mm[1]) * PIXELS_PER_MM - 0.5).astype(np.float32)
    ink = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(-1.0,) * 4)
    values = np.where(ink < -0.5, look.surroundings, look.black + (look.white - look.black) * np.clip(ink, 0, 1))
    size = (high[0] - low[0], high[1] - low[1])
    picture = np.full((camera.height, camera.width), look.surroundings, np.float32)
    picture[low[1] : high[1], low[0] : high[0]] = cv2.resize(
        values.astype(np.float32), size, interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(picture, (0, 0), look.blur_px)
    from_middle = np.hypot(
        (np.arange(camera.width) / camera.width - 0.5)[None], (np.arange(camera.height) / camera.height - 0.5)[:, None]
    )
    lit = small * (1 - look.falloff * (from_middle / 0.707) ** 2)
    noisy = lit + rng.normal(0, look.noise, lit.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _reach(board: Board, camera: Camera, pose: Pose) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels from and below which (x, y) the board with its margin lies."""
    left, top, right, bottom = board.extent_mm
    xs = np.linspace(left - WHITE_MARGIN_MM, right + WHITE_MARGIN_MM, 9)
    ys = np.linspace(top - WHITE_MARGIN_MM, bottom + WHITE_MARGIN_MM, 9)
    rim = np.array([(x, y, 0.0) for x in xs for y in ys])
    pixels = camera.project(rim @ pose.rotation.T + pose.translation_mm)
    low = np.clip(np.floor(pixels.min(axis=0)) - 3, 0, np.array(camera.size) - 1).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)) + 4, low + 1, camera.size).astype(int)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


@lru_cache(maxsize=4)
def _texture(board: Board) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The print as paper (1) and ink (0) with its white margin, and the board coordinates of its upper left corner."""
    left, top, right, bottom = board.extent_mm
    x0, y0 = left - WHITE_MARGIN_MM, top - WHITE_MARGIN_MM
    fine = PIXELS_PER_MM * 4
    width = round((right + WHITE_MARGIN_MM - x0) * PIXELS_PER_MM) * 4
    height = round((bottom + WHITE_MARGIN_MM - y0) * PIXELS_PER_MM) * 4
    paper = np.full((height, width), 255, np.uint8)
    for x, y, w, h in board.rectangles_mm:
        columns = slice(round((x - x0) * fine), round((x + w - x0) * fine))
        paper[round((y - y0) * fine) : round((y + h - y0) * fine), columns] = 0
    for x, y, radius in board.circles_mm:
        center = (round(((x - x0) * fine - 0.5) * 16), round(((y - y0) * fine - 0.5) * 16))
        cv2.circle(paper, center, round(radius * fine * 16), 0, -1, cv2.LINE_AA, 4)
    small = cv2.resize(paper, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return cast(NDArray[np.float32], small.astype(np.float32) / 255), (x0, y0)


def _between(
    coarse: FloatArray, coarse_x: FloatArray, coarse_y: FloatArray, xs: FloatArray, ys: FloatArray
) -> FloatArray:
    column = np.interp(xs, coarse_x, np.arange(len(coarse_x)))
    row = np.interp(ys, coarse_y, np.arange(len(coarse_y)))
    j, i = np.minimum(column.astype(int), len(coarse_x) - 2), np.minimum(row.astype(int), len(coarse_y) - 2)
    v, u = (column - j)[None, :, None], (row - i)[:, None, None]
    upper = coarse[i][:, j] * (1 - v) + coarse[i][:, j + 1] * v
    lower = coarse[i + 1][:, j] * (1 - v) + coarse[i + 1][:, j + 1] * v
    return cast(FloatArray, upper * (1 - u) + lower * u)


def _whole(camera: Camera, points_mm: FloatArray) -> bool:
    if (points_mm[:, 2] < 50).any():
        return False
    pixels = camera.project(points_mm)
    return bool(((pixels > 4) & (pixels < np.array(camera.size) - 5)).all())
