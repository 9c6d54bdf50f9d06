"""One camera, video file or stream: frames with their times.

A capture grabs first and retrieves later, so that two can be grabbed with nothing between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import cv2

from stereolive.errors import InputError
from stereolive.sources.frames import FOURCC, decode_frame
from stereolive.types import ImageArray

READ_TIMEOUT_MS = 5000


class SourceError(InputError):
    """A camera, stream or file cannot be opened, or has been lost for good."""


class Capture(Protocol):
    """What pairs are made from. ``live`` captures may fail for a while; others end."""

    live: bool

    def grab(self) -> float | None:
        """Take the next frame and return its time in ms; None where there is none (any more, or for now)."""

    def retrieve(self) -> ImageArray | None:
        """The frame taken last."""

    def close(self) -> None: ...


class VideoCapture:
    """A camera by index or device path, a video file, or a network stream, through OpenCV.

    Times are the driver's where it gives them (Video4Linux: when the frame's buffer was filled), a file's position,
    else the clock's reading right after the grab.
    """

    def __init__(
        self,
        address: str,
        pixel_format: str | None = None,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._is_file = "://" not in address and not address.startswith("/dev/") and not address.isdigit()
        self.live = not self._is_file
        self._format = pixel_format
        self._clock = clock
        if self._is_file and not Path(address).is_file():
            raise SourceError(f"source {address}: no such file")
        self._video = _opened(address)
        if not self._video.isOpened():
            raise SourceError(f"source {address}: cannot be opened")
        for key, value in ((cv2.CAP_PROP_FRAME_WIDTH, size and size[0]), (cv2.CAP_PROP_FRAME_HEIGHT, size and size[1])):
            if value and self.live:
                self._video.set(key, value)
        if fps and self.live:
            self._video.set(cv2.CAP_PROP_FPS, fps)
        if pixel_format in FOURCC and self.live:
            code = cv2.VideoWriter.fourcc(*FOURCC[pixel_format])
            self._video.set(cv2.CAP_PROP_FOURCC, code)
            self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        # Old frames that wait in the driver make live pairs late and unequal.
        if self.live:
            self._video.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def grab(self) -> float | None:
        if not self._video.grab():
            return None
        now = self._clock() * 1000
        position = float(self._video.get(cv2.CAP_PROP_POS_MSEC))
        if self._is_file:
            return position
        # A driver's time is on the monotonic clock; anything else (a stream's own count) says nothing about the
        # other sensor.
        return position if abs(position - now) < READ_TIMEOUT_MS else now

    def retrieve(self) -> ImageArray | None:
        good, frame = self._video.retrieve()
        if not good or frame is None:
            return None
        if self._format is None or self._is_file:
            return cast(ImageArray, frame)
        width = int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return decode_frame(cast(Any, frame), self._format, (width, height))

    def close(self) -> None:
        self._video.release()


class FramesCapture:
    """A virtual camera that plays given frames at given times; what tests and demonstrations use in a camera's
    place."""

    def __init__(self, frames: Sequence[tuple[float, ImageArray | None]], live: bool = False) -> None:
        """``frames`` are (time in ms, image); an image of None is a failed grab."""
        self.live = live
        self._frames = iter(frames)
        self._current: ImageArray | None = None

    def grab(self) -> float | None:
        taken = next(self._frames, None)
        if taken is None or taken[1] is None:
            return None
        self._current = taken[1]
        return taken[0]

    def retrieve(self) -> ImageArray | None:
        return self._current

    def close(self) -> None:
        self._frames = iter(())


def halves(image: ImageArray, layout: str) -> tuple[ImageArray, ImageArray]:
    """Both sensors' images of a module that delivers them in one frame: ``side-by-side`` or ``top-bottom``."""
    height, width = image.shape[:2]
    if layout == "side-by-side":
        middle = width // 2
        return image[:, :middle].copy(), image[:, middle : 2 * middle].copy()
    middle = height // 2
    return image[:middle].copy(), image[middle : 2 * middle].copy()


def _opened(address: str) -> cv2.VideoCapture:
    if address.isdigit():
        return cv2.VideoCapture(int(address), cv2.CAP_ANY)
    if "://" in address:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, READ_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
    return cv2.VideoCapture(address, cv2.CAP_ANY)
