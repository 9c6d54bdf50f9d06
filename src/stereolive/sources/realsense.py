"""Intel RealSense: its two infrared images, or colour and infrared, with the rig that the device itself knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from stereolive.errors import MissingExtraError
from stereolive.rig import Camera, Rig, Spectrum
from stereolive.sources.captures import SourceError
from stereolive.sources.frames import FramePair

Streams = Literal["infrared", "colour"]


class RealSense:
    """Pairs of one device: ``infrared`` gives both infrared images, ``colour`` the colour image and the first infrared.

    Raises MissingExtraError without the package, SourceError without a device.
    """

    live = True

    def __init__(self, streams: Streams = "infrared", size: tuple[int, int] = (640, 480), fps: int = 30) -> None:
        try:
            import pyrealsense2  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise MissingExtraError("RealSense", "realsense") from None
        self._library: Any = pyrealsense2
        self._streams = streams
        rs = self._library
        config = rs.config()
        if streams == "infrared":
            config.enable_stream(rs.stream.infrared, 1, *size, rs.format.y8, fps)
            config.enable_stream(rs.stream.infrared, 2, *size, rs.format.y8, fps)
        else:
            config.enable_stream(rs.stream.color, *size, rs.format.bgr8, fps)
            config.enable_stream(rs.stream.infrared, 1, *size, rs.format.y8, fps)
        self._pipeline: Any = rs.pipeline()
        try:
            self._profile: Any = self._pipeline.start(config)
        except RuntimeError as error:
            raise SourceError(f"source realsense: cannot be started ({error})") from None

    def _profiles(self) -> tuple[Any, Any]:
        rs = self._library
        infrared = self._profile.get_stream(rs.stream.infrared, 1)
        if self._streams == "infrared":
            return infrared, self._profile.get_stream(rs.stream.infrared, 2)
        return self._profile.get_stream(rs.stream.color), infrared

    def rig(self) -> Rig:
        """The factory calibration."""
        first, second = (profile.as_video_stream_profile() for profile in self._profiles())
        first_spectrum: Spectrum = "near_infrared" if self._streams == "infrared" else "visible"
        cameras = [_camera(first.get_intrinsics(), first_spectrum), _camera(second.get_intrinsics(), "near_infrared")]
        relation = first.get_extrinsics_to(second)
        # The library stores the rotation by columns and lengths in metres.
        rotation = np.array(relation.rotation).reshape(3, 3).T
        return Rig(cameras[0], cameras[1], rotation, np.array(relation.translation) * 1000)

    def __iter__(self) -> Iterator[FramePair]:
        count = 0
        while True:
            frames = self._pipeline.wait_for_frames()
            if self._streams == "infrared":
                first, second = frames.get_infrared_frame(1), frames.get_infrared_frame(2)
            else:
                first, second = frames.get_color_frame(), frames.get_infrared_frame(1)
            if not first or not second:
                continue
            images = np.asanyarray(first.get_data()).copy(), np.asanyarray(second.get_data()).copy()
            yield FramePair(*images, first.get_timestamp(), second.get_timestamp(), f"{count:06d}")
            count += 1

    def close(self) -> None:
        self._pipeline.stop()


def _camera(numbers: Any, spectrum: Spectrum) -> Camera:
    matrix = np.array([[numbers.fx, 0, numbers.ppx], [0, numbers.fy, numbers.ppy], [0, 0, 1.0]])
    return Camera(spectrum, numbers.width, numbers.height, matrix, np.array(numbers.coeffs[:5], np.float64))
