"""Two calibrated sensors: their file, their rectification, and exact conversion between disparity and depth.

The conventions are OpenCV's: x right, y down, z forward, pixel centres at whole numbers, ``X_second = R X_first + t``.
Rectification works for any direction of the baseline: the rectified x axis is laid along it, to the right of the first
sensor's image where there is a choice. ``Rectification.direction`` says on which side the second sensor then lies, so
that the disparity ``direction * (x_first - x_second)`` is positive for everything before the rig. A vertical or
diagonal baseline turns the images; ``Rectification.roll_deg`` says by how much.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stereolive import checks
from stereolive.errors import RigError

FloatArray = NDArray[np.float64]
Spectrum = Literal["visible", "near_infrared"]
RIG_FORMAT = "stereolive-rig/1"
MAX_RIG_BYTES = 1_000_000


@dataclass(frozen=True, eq=False)
class Camera:
    """One sensor: OpenCV's pinhole model with its distortion (4, 5, 8, 12 or 14 coefficients)."""

    spectrum: Spectrum
    width: int
    height: int
    matrix: FloatArray  # (3, 3) in pixels
    distortion: FloatArray  # (N,)

    def __post_init__(self) -> None:
        if self.spectrum not in ("visible", "near_infrared"):
            raise RigError(f"spectrum: expected visible or near_infrared, got {self.spectrum!r}")
        checks.pixel_count(self.width, "width", RigError)
        checks.pixel_count(self.height, "height", RigError)
        object.__setattr__(self, "matrix", checks.camera_matrix(self.matrix, "matrix", RigError))
        reach = np.array([self.matrix[0, 0], self.matrix[1, 1]]) / max(self.size)
        if reach.min() < 0.1 or reach.max() > 100 or reach.max() > 4 * reach.min():
            # From fish eyes to telescopes, and pixels that are not square; numbers beyond break the rectification.
            raise RigError(
                f"matrix: focal lengths of {self.matrix[0, 0]:.4g} and {self.matrix[1, 1]:.4g} px belong to no sensor "
                f"of {self.width} x {self.height} pixels"
            )
        away = np.abs(self.matrix[:2, 2] / self.size - 0.5).max()
        if away > 10:
            # Cropped pictures have it outside, but not that far; numbers beyond break the rectification.
            raise RigError(f"matrix: the principal point lies {away:.3g} pictures away from the middle")
        try:
            count = np.size(self.distortion)
        except ValueError:  # lists of unequal length
            count = 0
        if count not in (4, 5, 8, 12, 14):
            raise RigError(f"distortion: expected 4, 5, 8, 12 or 14 coefficients, got {count}")
        object.__setattr__(self, "distortion", checks.array_of_shape(self.distortion, (count,), "distortion", RigError))
        corners = np.array([[0.0, 0.0], [self.width - 1.0, self.height - 1.0]])
        # Towards the corners of a wide angle the polynomial may turn; where faces are it may not, nor bend rays far.
        middle = np.array([[self.width * x, self.height * y] for x in (0.25, 0.75) for y in (0.25, 0.75)])
        rays = self.rays(middle)
        straight = (middle - self.matrix[:2, 2]) / (self.matrix[0, 0], self.matrix[1, 1])
        bent = (np.linalg.norm(rays[:, :2], axis=1) + 0.01) / (np.linalg.norm(straight, axis=1) + 0.01)
        if not (
            np.isfinite(self.rays(corners)).all()
            and np.abs(self.project(rays) - middle).max() < 1
            and np.abs(np.log(bent)).max() < math.log(5)
        ):
            raise RigError("distortion: cannot be inverted over the image")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def focal_px(self) -> float:
        """The geometric mean of fx and fy."""
        return math.sqrt(float(self.matrix[0, 0] * self.matrix[1, 1]))

    def project(self, points_mm: ArrayLike) -> FloatArray:
        """Pixels (N, 2) of points (N, 3) in this camera's frame."""
        points = np.asarray(points_mm, np.float64).reshape(-1, 1, 3)
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), self.matrix, self.distortion)
        return cast(FloatArray, np.asarray(pixels).reshape(-1, 2))

    def rays(self, pixels: ArrayLike) -> FloatArray:
        """Directions (N, 3) with z = 1 of pixels (N, 2), distortion undone to 1e-9."""
        points = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        normalised = cv2.undistortPoints(points, self.matrix, self.distortion, criteria=criteria)
        return np.concatenate([np.asarray(normalised).reshape(-1, 2), np.ones((len(points), 1))], axis=1)

    def as_json(self) -> dict[str, Any]:
        return {
            "spectrum": self.spectrum,
            "width": self.width,
            "height": self.height,
            "matrix": self.matrix.tolist(),
            "distortion": self.distortion.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Rig:
    """Two sensors, ``X_second = rotation_second_from_first X_first + translation_second_from_first_mm``."""

    first: Camera
    second: Camera
    rotation_second_from_first: FloatArray  # (3, 3)
    translation_second_from_first_mm: FloatArray  # (3,)

    def __post_init__(self) -> None:
        rotation = checks.rotation(self.rotation_second_from_first, "rotation_second_from_first", RigError)
        name = "translation_second_from_first_mm"
        translation = checks.array_of_shape(self.translation_second_from_first_mm, (3,), name, RigError)
        object.__setattr__(self, "rotation_second_from_first", rotation)
        object.__setattr__(self, name, translation)
        if not 1.0 <= self.baseline_mm <= 2000.0:
            raise RigError(
                f"{name}: the sensors are {self.baseline_mm:g} mm apart; depth from two views needs 1 to 2000 mm"
            )
        center = -rotation.T @ translation
        if abs(center[2]) > 0.8 * self.baseline_mm:
            raise RigError(f"{name}: one sensor stands before the other; depth needs them side by side")
        angle = math.degrees(math.acos(float(np.clip(rotation[2, 2], -1, 1))))
        if angle > 45:
            raise RigError(f"rotation_second_from_first: the optical axes differ by {angle:.0f} degrees, more than 45")

    @property
    def baseline_mm(self) -> float:
        return math.hypot(*self.translation_second_from_first_mm)

    @cached_property
    def rectification(self) -> Rectification:
        return _rectify(self)

    def swapped(self) -> Rig:
        """The same sensors in the other order."""
        rotation = self.rotation_second_from_first.T
        return Rig(self.second, self.first, rotation, -rotation @ self.translation_second_from_first_mm)

    @classmethod
    def from_json(cls, data: object) -> Rig:
        """A rig from parsed JSON; unknown keys are left alone.

        Raises RigError with one sentence that names the key.
        """
        if not isinstance(data, dict):
            raise RigError("expected a JSON object")
        if data.get("format") != RIG_FORMAT:
            raise RigError(f"format: expected {RIG_FORMAT!r}, got {data.get('format')!r}")
        cameras = []
        for view in ("first", "second"):
            camera = _key(data, view)
            if not isinstance(camera, dict):
                raise RigError(f"{view}: expected an object")
            try:
                cameras.append(
                    Camera(
                        _key(camera, "spectrum"),
                        _key(camera, "width"),
                        _key(camera, "height"),
                        _key(camera, "matrix"),
                        _key(camera, "distortion"),
                    )
                )
            except RigError as error:
                raise RigError(f"{view}.{error}") from None
        return cls(
            cameras[0],
            cameras[1],
            _key(data, "rotation_second_from_first"),
            _key(data, "translation_second_from_first_mm"),
        )

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """Read a rig file. Raises RigError naming the file."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_RIG_BYTES:
                raise RigError("is larger than any rig file")
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except OSError as error:
            raise RigError(f"rig {path}: cannot be read ({error.strerror or error})") from None
        except RigError as error:
            raise RigError(f"rig {path}: {error}") from None
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
            raise RigError(f"rig {path}: is not JSON ({str(error)[:80]})") from None

    def as_json(self) -> dict[str, Any]:
        return {
            "format": RIG_FORMAT,
            "first": self.first.as_json(),
            "second": self.second.as_json(),
            "rotation_second_from_first": self.rotation_second_from_first.tolist(),
            "translation_second_from_first_mm": self.translation_second_from_first_mm.tolist(),
        }

    def save(self, path: str | Path) -> None:
        """Write the rig file whole or not at all."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(json.dumps(self.as_json(), indent=1) + "\n", "utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def depth_second_mm(self, depth_first_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth on the first image's grid (H, W), moved to the second image's grid; 0 is no measurement.

        Every first pixel is carried over by its depth; where several meet, the nearest wins. Gaps of one pixel that
        come from a larger second image are closed from their neighbours. Raises RigError for another size.
        """
        height, width = depth_first_mm.shape
        if (width, height) != self.first.size:
            raise RigError(f"depth: expected {self.first.height} x {self.first.width}, got {height} x {width}")
        rows, columns = np.nonzero(depth_first_mm > 0)
        target = np.full((self.second.height, self.second.width), np.inf)
        if len(rows):
            rays = self.first.rays(np.stack([columns, rows], axis=1))
            points = rays * depth_first_mm[rows, columns, None]
            points = points @ self.rotation_second_from_first.T + self.translation_second_from_first_mm
            points = points[points[:, 2] > 1.0]
            pixels = np.rint(self.second.project(points)).astype(np.int64)
            inside = ((pixels >= 0) & (pixels < self.second.size)).all(axis=1)
            np.minimum.at(target, (pixels[inside, 1], pixels[inside, 0]), points[inside, 2])
        holes = ~np.isfinite(target)
        target[holes] = 0
        ratio = self.second.focal_px / self.first.focal_px
        closing = 2 * math.ceil(max(ratio, 1.0) / 2) + 1
        closed = cv2.morphologyEx(target.astype(np.float32), cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
        return np.where(holes, closed, target).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Rectification:
    """The rectified pair: two pinhole cameras with one rotation and one focal length, first at the origin.

    ``rotation_*`` turn the sensor's frame into the rectified one; ``matrix`` (3, 3) holds for both. ``size`` is width,
    height. ``direction`` is +1 where the second sensor lies towards +x of the first, else -1. ``roll_deg`` is the angle
    from the rectified image's downward direction to the first sensor's, counted from +y towards -x (clockwise as seen).
    """

    rig: Rig
    rotation_first: FloatArray
    rotation_second: FloatArray
    matrix: FloatArray
    size: tuple[int, int]
    direction: int
    roll_deg: float

    @property
    def focal_px(self) -> float:
        return float(self.matrix[0, 0])

    @property
    def focal_times_baseline(self) -> float:
        """Depth in mm times disparity in rectified pixels."""
        return self.focal_px * self.rig.baseline_mm

    def depth_mm(self, disparity_px: ArrayLike) -> FloatArray:
        """Depth along the rectified axis of disparity ``direction * (x_first - x_second)`` (infinite if <= 0)."""
        disparity = np.asarray(disparity_px, np.float64)
        with np.errstate(divide="ignore"):
            return np.where(disparity > 0, self.focal_times_baseline / disparity, np.inf)

    def disparity_px(self, depth_mm: ArrayLike) -> FloatArray:
        """Disparity from depth along the rectified axis."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.focal_times_baseline / np.asarray(depth_mm, np.float64))

    def rectify_points(self, pixels: ArrayLike, view: Literal["first", "second"]) -> FloatArray:
        """Rectified pixels (N, 2) of image pixels (N, 2)."""
        camera, rotation = self._view(view)
        return self.project(camera.rays(pixels) @ rotation.T)

    def unrectify_points(self, rectified_px: ArrayLike, view: Literal["first", "second"]) -> FloatArray:
        """Image pixels (N, 2) of rectified pixels (N, 2)."""
        camera, rotation = self._view(view)
        return camera.project(self.rays(rectified_px) @ rotation)

    def rays(self, rectified_px: ArrayLike) -> FloatArray:
        """Directions (N, 3), z = 1, in the rectified frame."""
        pixels = np.asarray(rectified_px, np.float64).reshape(-1, 2)
        xy = (pixels - self.matrix[:2, 2]) / self.focal_px
        return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)

    def project(self, points_rectified_mm: ArrayLike) -> FloatArray:
        """Rectified pixels (N, 2) of points (N, 3) in the first view's rectified frame."""
        points = np.asarray(points_rectified_mm, np.float64).reshape(-1, 3)
        return points[:, :2] / points[:, 2:] * self.focal_px + self.matrix[:2, 2]

    def maps(
        self, view: Literal["first", "second"], crop_from_rectified: FloatArray, size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps for ``cv2.remap`` that take an image straight to a crop of its rectified form.

        ``crop_from_rectified`` (2, 3) is affine; ``size`` is the crop's width, height. Cropping and rectification in
        one resampling costs less and blurs less than one after the other.
        """
        camera, rotation = self._view(view)
        affine = np.vstack([crop_from_rectified, (0, 0, 1)])
        new_matrix = affine @ self.matrix
        map_x, map_y = cv2.initUndistortRectifyMap(
            camera.matrix, camera.distortion, rotation, new_matrix, size, cv2.CV_32FC1
        )
        return cast(NDArray[np.float32], map_x), cast(NDArray[np.float32], map_y)

    def first_depth_mm(
        self, depth_rectified_mm: NDArray[np.float32], crop_from_rectified: FloatArray
    ) -> NDArray[np.float32]:
        """Depth on a crop of the rectified grid, moved to the first image's own grid and axis (0 outside the crop)."""
        camera = self.rig.first
        height, width = depth_rectified_mm.shape
        inverse = cv2.invertAffineTransform(crop_from_rectified)
        corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
        outline = self.unrectify_points(corners @ inverse[:, :2].T + inverse[:, 2], "first")
        low = np.clip(np.floor(outline.min(axis=0)) - 2, 0, camera.size).astype(int)
        high = np.clip(np.ceil(outline.max(axis=0)) + 3, 0, camera.size).astype(int)
        result = np.zeros((camera.height, camera.width), np.float32)
        if (high <= low).any():
            return result
        ys, xs = np.mgrid[low[1] : high[1], low[0] : high[0]]
        rays_first = camera.rays(np.stack([xs.ravel(), ys.ravel()], axis=1))
        rays_rectified = rays_first @ self.rotation_first.T
        in_crop = self.project(rays_rectified) @ crop_from_rectified[:, :2].T + crop_from_rectified[:, 2]
        shape = xs.shape
        map_x = in_crop[:, 0].reshape(shape).astype(np.float32)
        map_y = in_crop[:, 1].reshape(shape).astype(np.float32)
        inverse_depth = np.where(depth_rectified_mm > 0, 1 / np.maximum(depth_rectified_mm, 1e-6), np.nan)
        sampled = cv2.remap(
            inverse_depth.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR, borderValue=(float("nan"),) * 4
        )
        # A rectified Z belongs to a point on the ray scaled so that its rectified z is Z; its z in the first camera
        # follows.
        z_first = 1.0 / (sampled.astype(np.float64) * rays_rectified[:, 2].reshape(shape))
        result[low[1] : high[1], low[0] : high[0]] = np.nan_to_num(z_first, nan=0.0, posinf=0.0, neginf=0.0)
        return result

    def _view(self, view: Literal["first", "second"]) -> tuple[Camera, FloatArray]:
        if view == "first":
            return self.rig.first, self.rotation_first
        return self.rig.second, self.rotation_second


def _rectify(rig: Rig) -> Rectification:
    """After Fusiello, Trucco and Verri, "A compact algorithm for rectification of stereo pairs" (2000)."""
    rotation = rig.rotation_second_from_first
    center_second = -rotation.T @ rig.translation_second_from_first_mm
    x_axis = center_second / np.linalg.norm(center_second)
    # A second sensor on the left must not turn the images upside down. Within a degree of vertical, downwards wins, so
    # that no small error of the calibration decides.
    direction = 1 if (x_axis[0] > 0.02 or (abs(x_axis[0]) <= 0.02 and x_axis[1] > 0)) else -1
    x_axis = x_axis * direction
    # The mean of both optical axes keeps the resampling of either image small.
    z_mean = np.array([0, 0, 1.0]) + rotation.T @ np.array([0, 0, 1.0])
    z_axis = z_mean - x_axis * (z_mean @ x_axis)
    z_axis /= np.linalg.norm(z_axis)
    y_axis = np.cross(z_axis, x_axis)
    rotation_first = np.stack([x_axis, y_axis, z_axis])
    rotation_second = rotation_first @ rotation.T
    focal = max(rig.first.focal_px, rig.second.focal_px)
    corners = []
    for camera, turn in ((rig.first, rotation_first), (rig.second, rotation_second)):
        width, height = camera.width - 1.0, camera.height - 1.0
        border = [(x * width, y * height) for x in (0, 0.5, 1) for y in (0, 0.5, 1)]
        rays = camera.rays(border) @ turn.T
        if (rays[:, 2] <= 0.05).any():
            raise RigError("the sensors look too far apart to be rectified")
        corners.append(rays[:, :2] / rays[:, 2:] * focal)
    low = np.floor(np.minimum(corners[0].min(axis=0), corners[1].min(axis=0)))
    high = np.ceil(np.maximum(corners[0].max(axis=0), corners[1].max(axis=0)))
    matrix = np.array([[focal, 0, -low[0]], [0, focal, -low[1]], [0, 0, 1.0]])
    size = (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)
    # Where the sensor's "down" points to in the rectified image tells how it is turned.
    down = rotation_first @ np.array([0, 1.0, 0])
    roll_deg = math.degrees(math.atan2(-down[0], down[1]))
    return Rectification(rig, rotation_first, rotation_second, matrix, size, direction, roll_deg)


def _key(data: dict[str, Any], name: str) -> Any:
    if name not in data:
        raise RigError(f"{name}: is missing")
    return data[name]
