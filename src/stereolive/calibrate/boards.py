"""Calibration boards: what they look like, where their points are, and how to find them in a picture.

Board coordinates are millimetres in the board's plane, x to the right and y down as printed, the origin at the first
point (chessboards, ChArUco: the first inner corner; circles: the first centre).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import InputError
from stereolive.images import as_8bit, as_grey
from stereolive.types import ImageArray

Kind = Literal["chessboard", "charuco", "circles"]
FloatArray = NDArray[np.float64]
Grey = NDArray[np.uint8]
DEFAULT_SIZES: dict[Kind, tuple[int, int]] = {"chessboard": (9, 6), "charuco": (8, 6), "circles": (4, 11)}
DEFAULT_SPACING_MM: dict[Kind, float] = {"chessboard": 25.0, "charuco": 28.0, "circles": 18.0}
DICTIONARY = "DICT_4X4_250"
MARKER_PER_SQUARE = 0.6
"""A 4 x 4 marker with its border is 6 cells wide, so that every edge lies on a tenth of a square."""
CIRCLE_DIAMETER_PER_SPACING = 1.1
LEAST_POINTS = 8
"""Fewer points of a ChArUco board than this say too little of a view."""


@dataclass(frozen=True)
class Points:
    """Points of a board found in one image: their numbers on the board (N,) and pixels (N, 2)."""

    ids: NDArray[np.int64]
    pixels: FloatArray

    def only(self, ids: NDArray[np.int64]) -> FloatArray:
        """Pixels (M, 2) of the named points, which must all be there, in the order of ``ids``."""
        order = np.argsort(self.ids)
        return self.pixels[order[np.searchsorted(self.ids, ids, sorter=order)]]


@dataclass(frozen=True)
class Board:
    """A flat pattern of known size.

    ``columns`` x ``rows`` are inner corners for a chessboard, squares for ChArUco, and circles for circles, counted
    the way OpenCV does for its asymmetric grid. ``spacing_mm`` is a square's side, or the distance between rows of
    circles (half of that between the circles of a row).
    """

    kind: Kind
    columns: int
    rows: int
    spacing_mm: float

    def __post_init__(self) -> None:
        if self.kind not in DEFAULT_SIZES:
            raise InputError(f"board: expected one of {', '.join(DEFAULT_SIZES)}, got {self.kind!r}")
        if not (3 <= self.columns <= 40 and 3 <= self.rows <= 40):
            raise InputError(f"board: expected 3 to 40 columns and rows, got {self.columns} x {self.rows}")
        if self.kind == "circles" and self.rows % 2 == 0:
            raise InputError("board: a circle grid needs an odd number of rows, else it looks the same upside down")
        if not 1 <= self.spacing_mm <= 500:
            raise InputError(f"board: expected a spacing of 1 to 500 mm, got {self.spacing_mm:g}")

    @classmethod
    def parse(cls, kind: str, size: str | None = None, spacing_mm: float | None = None) -> Board:
        """A board from what a user types: ``chessboard``, ``9x6``, ``25``. Raises InputError."""
        if kind not in DEFAULT_SIZES:
            raise InputError(f"board: expected one of {', '.join(DEFAULT_SIZES)}, got {kind!r}")
        known = kind
        columns, rows = DEFAULT_SIZES[known]
        if size is not None:
            match = re.fullmatch(r"(\d{1,3})x(\d{1,3})", size.strip().lower())
            if match is None:
                raise InputError(f"board size: expected COLUMNSxROWS such as 9x6, got {size!r}")
            columns, rows = int(match[1]), int(match[2])
        return cls(known, columns, rows, DEFAULT_SPACING_MM[known] if spacing_mm is None else spacing_mm)

    @cached_property
    def points_mm(self) -> FloatArray:
        """All points (N, 3), z = 0."""
        columns, rows = (self.columns - 1, self.rows - 1) if self.kind == "charuco" else (self.columns, self.rows)
        y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype(np.float64)
        if self.kind == "circles":
            x = 2 * x + y % 2
        return np.stack([x, y, np.zeros(len(x))], axis=1) * self.spacing_mm

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of what is printed, without the white margin."""
        s = self.spacing_mm
        if self.kind == "circles":
            r = s * CIRCLE_DIAMETER_PER_SPACING / 2
            return -r, -r, (2 * self.columns - 1) * s + r, (self.rows - 1) * s + r
        squares = (self.columns, self.rows) if self.kind == "charuco" else (self.columns + 1, self.rows + 1)
        return -s, -s, (squares[0] - 1) * s, (squares[1] - 1) * s

    @cached_property
    def circles_mm(self) -> FloatArray:
        """Black discs (N, 3): centre x, y and radius."""
        if self.kind != "circles":
            return np.zeros((0, 3))
        radius = self.spacing_mm * CIRCLE_DIAMETER_PER_SPACING / 2
        return np.column_stack([self.points_mm[:, :2], np.full(len(self.points_mm), radius)])

    @cached_property
    def rectangles_mm(self) -> FloatArray:
        """Black rectangles (N, 4): left, top, width, height."""
        if self.kind == "circles":
            return np.zeros((0, 4))
        if self.kind == "chessboard":
            ys, xs = np.mgrid[: self.rows + 1, : self.columns + 1]
            black = (xs + ys) % 2 == 0
            corners = np.stack([xs[black], ys[black]], axis=1) * self.spacing_mm - self.spacing_mm
            return np.column_stack([corners, np.full((len(corners), 2), self.spacing_mm)])
        # OpenCV draws the pattern; ten pixels a square put every edge on a pixel border.
        image = self._charuco.generateImage((self.columns * 10, self.rows * 10), marginSize=0)
        unit = self.spacing_mm / 10
        runs = []
        for y, row in enumerate(image < 128):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.view(np.int8), [0]])))
            runs += [(x0, y, x1 - x0, 1) for x0, x1 in edges.reshape(-1, 2)]
        rectangles = np.array(runs, np.float64) * unit
        rectangles[:, :2] -= self.spacing_mm
        return rectangles

    @cached_property
    def _charuco(self) -> cv2.aruco.CharucoBoard:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
        size, side = (self.columns, self.rows), self.spacing_mm
        return cv2.aruco.CharucoBoard(size, side, side * MARKER_PER_SQUARE, dictionary)

    def find(self, image: ImageArray) -> Points | None:
        """The board's points in an image of any bit depth, or None. Near-infrared pictures are often flat: contrast
        is raised in steps."""
        grey = np.ascontiguousarray(as_grey(as_8bit(image)))
        # Found on whichever variant shows the board, measured on the picture as it is: raised contrast raises noise.
        measured = cast(Grey, cv2.GaussianBlur(grey, (0, 0), 0.7))
        soft = cast(Grey, cv2.GaussianBlur(grey, (0, 0), 1.2))
        for image_of, raised in ((grey, False), (grey, True), (soft, True)):
            found = self._find_in(_local_contrast(image_of) if raised else image_of, measured)
            if found is not None:
                return found
        return None

    def _find_in(self, grey: Grey, measured: Grey) -> Points | None:
        if self.kind == "charuco":
            corners, ids, _, _ = cv2.aruco.CharucoDetector(self._charuco).detectBoard(grey)
            if ids is None or len(ids) < LEAST_POINTS:
                return None
            found = Points(np.asarray(ids, np.int64).ravel(), np.asarray(corners, np.float64).reshape(-1, 2))
            # A window that takes in the markers would be drawn off by them.
            reach = (1 - MARKER_PER_SQUARE) / 2 * _nearest_neighbour_px(found.pixels)
            return Points(found.ids, _refined(measured, found.pixels, reach))
        pixels = self._find_circles(grey, measured) if self.kind == "circles" else self._find_chessboard(grey, measured)
        return None if pixels is None else Points(np.arange(len(pixels)), pixels)

    def _find_chessboard(self, grey: Grey, measured: Grey) -> FloatArray | None:
        size = (self.columns, self.rows)
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
        found, corners = cv2.findChessboardCornersSB(grey, size, flags=flags)
        if not found:
            plain = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
            found, corners = cv2.findChessboardCorners(grey, size, flags=plain)
            if not found:
                return None
        rough = np.asarray(corners, np.float64).reshape(-1, 2)
        grid = _refined(measured, rough, 0.35 * _nearest_neighbour_px(rough)).reshape(self.rows, self.columns, 2)
        return self._oriented(grid, grey).reshape(-1, 2)

    def _oriented(self, grid: FloatArray, grey: Grey) -> FloatArray:
        """Rows and columns in the printed order: right-handed, and beginning beside the black square of the corner."""
        across, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
        if across[0] * down[1] - across[1] * down[0] < 0:
            grid = grid[:, ::-1]
        if (self.columns + self.rows) % 2 == 1 and _brightness(grey, grid, 0, 0) > _brightness(grey, grid, 1, 0):
            grid = grid[::-1, ::-1]
        return grid

    def _find_circles(self, grey: Grey, measured: Grey) -> FloatArray | None:
        flags = cv2.CALIB_CB_ASYMMETRIC_GRID | cv2.CALIB_CB_CLUSTERING
        parameters = cv2.SimpleBlobDetector.Params()
        # The default refuses blobs above 5000 px, which a near board exceeds.
        parameters.minArea, parameters.maxArea = 12.0, grey.size / 30
        parameters.minDistBetweenBlobs = 3.0
        detector = cv2.SimpleBlobDetector.create(parameters)
        found, centers = cv2.findCirclesGrid(grey, (self.columns, self.rows), flags=flags, blobDetector=detector)
        return _centroids(measured, np.asarray(centers, np.float64).reshape(-1, 2)) if found else None

    def agreed(self, first: Points, second: Points) -> Points:
        """``second`` in the order that agrees with ``first``, for chessboards that look the same after a half or a
        quarter turn.

        The two sensors of a rig look almost the same way, so the turn that changes the board's direction least is
        right.
        """
        if self.kind != "chessboard" or (self.columns + self.rows) % 2 == 1:
            return second
        shape = (self.rows, self.columns, 2)
        reference = _axes(first.pixels.reshape(shape))
        turns = (0, 1, 2, 3) if self.rows == self.columns else (0, 2)
        grids = [np.rot90(second.pixels.reshape(shape), turn) for turn in turns]
        best = max(grids, key=lambda grid: float((_axes(grid) * reference).sum()))
        return Points(second.ids, best.reshape(-1, 2))


def _axes(grid: FloatArray) -> FloatArray:
    axes = np.stack([grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]])
    return cast(FloatArray, axes / np.linalg.norm(axes, axis=1, keepdims=True))


def _brightness(grey: Grey, grid: FloatArray, column: int, row: int) -> float:
    """Mean brightness of the middle of the inner square that begins at a corner."""
    corners = grid[row : row + 2, column : column + 2].reshape(4, 2)
    middle = corners.mean(axis=0)
    inner = np.rint(middle + 0.5 * (corners[[0, 1, 3, 2]] - middle)).astype(np.int32)
    mask = np.zeros(grey.shape, np.uint8)
    cv2.fillConvexPoly(mask, inner, 255)
    return float(cv2.mean(grey, mask)[0])


def _neighbour_distances_px(pixels: FloatArray) -> FloatArray:
    """From each point (N,) to its nearest neighbour."""
    distances = np.linalg.norm(pixels[:, None] - pixels[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return cast(FloatArray, distances.min(axis=1))


def _nearest_neighbour_px(pixels: FloatArray) -> float:
    return float(np.percentile(_neighbour_distances_px(pixels), 10))


def _refined(grey: Grey, pixels: FloatArray, reach: float) -> FloatArray:
    """Corners to a tenth of a pixel and better, each within a window of half width ``reach`` in pixels."""
    half = int(np.clip(round(reach), 2, 11))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 60, 0.0005)
    start = pixels.astype(np.float32).reshape(-1, 1, 2)
    refined = np.asarray(cv2.cornerSubPix(grey, start.copy(), (half, half), (-1, -1), criteria), np.float64).reshape(
        -1, 2
    )
    # A corner that runs away had no corner in its window: the rough place is the better one.
    runaway = np.linalg.norm(refined - pixels, axis=1) > half
    refined[runaway] = pixels[runaway]
    return refined


def _centroids(grey: Grey, pixels: FloatArray) -> FloatArray:
    """Circle centres as centroids of ink, which noise moves less than outlines do; the window follows twice."""
    height, width = grey.shape
    result = pixels.copy()
    for index, distance in enumerate(_neighbour_distances_px(pixels)):
        half = max(3, round(0.52 * float(distance)))
        ys, xs = np.mgrid[-half : half + 1, -half : half + 1]
        for _ in range(2):
            j, i = round(result[index, 0]), round(result[index, 1])
            if not (half <= j < width - half and half <= i < height - half):
                break
            patch = grey[i - half : i + half + 1, j - half : j + half + 1].astype(np.float64)
            inside = np.hypot(xs - (result[index, 0] - j), ys - (result[index, 1] - i)) <= 0.52 * distance
            dark, light = np.percentile(patch[inside], (10, 95))
            # Between a fifth and four fifths of the contrast: noise of paper and ink is cut off, edges keep their
            # weight.
            ink = np.clip((light - 0.2 * (light - dark) - patch) / max(0.6 * (light - dark), 1.0), 0, 1) * inside
            if ink.sum() > 1:
                result[index] = j + (ink * xs).sum() / ink.sum(), i + (ink * ys).sum() / ink.sum()
    return result


def _local_contrast(grey: Grey) -> Grey:
    return cast(Grey, cv2.createCLAHE(clipLimit=4.0, tileGridSize=(6, 6)).apply(grey))
