"""Intel RealSense: its two infrared images, or colour and infrared, with the rig that the device itself knows and its
own depth as a third sensor's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from stereolive.errors import MissingExtraError
from stereolive.rig import Camera, Rig, Spectrum
from stereolive.sources.captures import SourceError
from stereolive.sources.frames import FramePair
from stereolive.sources.pairs import GIVE_UP_S

Streams = Literal["infrared", "colour"]


class RealSense:
    """Pairs of one device: ``infrared`` gives both infrared images, ``colour`` the colour image and the first infrared.

    Every pair carries the device's depth on the first image's grid. It is for recordings and comparisons; no verdict
    rests on it. A device that delivers nothing for a while is started anew until ``give_up_s`` have passed.

    Raises MissingExtraError without the package, SourceError without a device.
    """

    live = True

    def __init__(
        self,
        streams: Streams = "infrared",
        size: tuple[int, int] = (640, 480),
        fps: int = 30,
        give_up_s: float = GIVE_UP_S,
        on_event: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
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
        config.enable_stream(rs.stream.depth, *size, rs.format.z16, fps)
        self._config: Any = config
        self._give_up_s, self._on_event, self._sleep = give_up_s, on_event, sleep
        # The depth lies on the left infrared image's grid as it is; on the colour image's it must be brought.
        self._align: Any = rs.align(rs.stream.color) if streams == "colour" else None
        self._start()

    def _start(self) -> None:
        self._pipeline: Any = self._library.pipeline()
        try:
            self._profile: Any = self._pipeline.start(self._config)
        except RuntimeError as error:
            raise SourceError(f"source realsense: cannot be started ({error})") from None
        self._mm_per_unit = 1000 * float(self._profile.get_device().first_depth_sensor().get_depth_scale())

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
            frames = self._frames()
            if self._streams == "infrared":
                first, second = frames.get_infrared_frame(1), frames.get_infrared_frame(2)
            else:
                first, second = frames.get_color_frame(), frames.get_infrared_frame(1)
            if not first or not second:
                continue
            images = np.asanyarray(first.get_data()).copy(), np.asanyarray(second.get_data()).copy()
            depth = (self._align.process(frames) if self._align else frames).get_depth_frame()
            depth_mm = np.asanyarray(depth.get_data()).astype(np.float32) * self._mm_per_unit if depth else None
            times = first.get_timestamp(), second.get_timestamp()
            yield FramePair(*images, *times, f"{count:06d}", depth_mm=depth_mm)
            count += 1

    def _frames(self) -> Any:
        """The next frames; a lost device is started again. Raises SourceError when it stays away."""
        try:
            return self._pipeline.wait_for_frames()
        except RuntimeError:
            self._on_event("realsense lost")
        waited, pause = 0.0, 0.25
        while waited < self._give_up_s:
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 4.0)
            try:
                self._start()
                frames = self._pipeline.wait_for_frames()
            except (RuntimeError, SourceError):
                continue
            self._on_event(f"realsense is back after {waited:.1f} s")
            return frames
        raise SourceError(f"the realsense was lost and did not come back within {self._give_up_s:g} s")

    def close(self) -> None:
        self._pipeline.stop()


def _camera(numbers: Any, spectrum: Spectrum) -> Camera:
    matrix = np.array([[numbers.fx, 0, numbers.ppx], [0, numbers.fy, numbers.ppy], [0, 0, 1.0]])
    return Camera(spectrum, numbers.width, numbers.height, matrix, np.array(numbers.coeffs[:5], np.float64))
