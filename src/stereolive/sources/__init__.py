"""Where pairs come from: two cameras, one camera with both views, video files, streams, folders, RealSense.

A source is named by one word, the same on every command:

- ``FOLDER``: pairs of image files (see ``folders.pair_files``);
- ``A,B``: two captures, each a camera's index or device path, a video file, or an address such as ``rtsp://...``;
- ``side-by-side:A``, ``top-bottom:A``: one capture that delivers both sensors in one frame;
- ``realsense:infrared``, ``realsense:colour``: a RealSense device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stereolive.errors import InputError
from stereolive.sources.captures import Capture, FramesCapture, SourceError, VideoCapture
from stereolive.sources.folders import pair_files
from stereolive.sources.frames import FramePair, decode_frame
from stereolive.sources.pairs import MAX_SKEW_MS, FolderPairs, OneCapture, PairSource, TwoCaptures
from stereolive.sources.realsense import RealSense, Streams

LAYOUTS = ("side-by-side", "top-bottom")


@dataclass(frozen=True)
class SourceOptions:
    """How to open cameras. ``size`` is width, height of one delivered frame; formats are names of
    ``frames.PIXEL_FORMATS``."""

    size: tuple[int, int] | None = None
    fps: float | None = None
    first_format: str | None = None
    second_format: str | None = None
    max_skew_ms: float = MAX_SKEW_MS


def open_source(
    name: str, options: SourceOptions | None = None, on_event: Callable[[str], None] = lambda message: None
) -> PairSource:
    """The source that a name means. Raises SourceError, or MissingExtraError for RealSense."""
    options = options or SourceOptions()
    kind, _, rest = name.partition(":")
    if kind in LAYOUTS:
        return OneCapture(_opener(rest, options, options.first_format), kind, on_event=on_event)
    if kind == "realsense":
        if rest not in ("", "infrared", "colour"):
            raise SourceError(f"source {name}: expected realsense:infrared or realsense:colour")
        streams: Streams = "colour" if rest == "colour" else "infrared"
        return RealSense(streams, options.size or (640, 480), int(options.fps or 30), on_event=on_event)
    if Path(name).is_dir():
        return FolderPairs(name, on_event)
    parts = name.split(",")
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise SourceError(
            f"source {name}: expected a folder, two sources A,B, side-by-side:A, top-bottom:A or realsense:infrared"
        )
    first, second = (part.strip() for part in parts)
    return TwoCaptures(
        _opener(first, options, options.first_format),
        _opener(second, options, options.second_format),
        options.max_skew_ms,
        on_event=on_event,
    )


def _opener(address: str, options: SourceOptions, pixel_format: str | None) -> Callable[[], Capture]:
    if not address:
        raise InputError("source: a camera, file or address is missing")
    return lambda: VideoCapture(address, pixel_format, options.size, options.fps)


__all__ = [
    "MAX_SKEW_MS",
    "Capture",
    "FolderPairs",
    "FramePair",
    "FramesCapture",
    "OneCapture",
    "PairSource",
    "RealSense",
    "SourceError",
    "SourceOptions",
    "TwoCaptures",
    "VideoCapture",
    "decode_frame",
    "open_source",
    "pair_files",
]
