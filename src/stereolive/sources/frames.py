"""A pair of frames with its times, and raw camera formats to images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ImageError, InputError
from stereolive.types import FloatArray, ImageArray


@dataclass(frozen=True, eq=False)
class FramePair:
    """Two frames and when they were taken, in ms of one clock. ``unsynchronised`` pairs must not be judged."""

    first: ImageArray
    second: ImageArray
    time_first_ms: float
    time_second_ms: float
    name: str
    unsynchronised: bool = False
    depth_mm: FloatArray | None = None  # (H, W) a third sensor's, Z along the first camera's axis on its grid; 0 = none

    @property
    def skew_ms(self) -> float:
        """How much later the second frame was taken."""
        return self.time_second_ms - self.time_first_ms

    @property
    def time_ms(self) -> float:
        return max(self.time_first_ms, self.time_second_ms)


PixelFormat = Literal[
    "bgr8", "infrared_bgr8", "grey8", "grey10", "grey12", "grey16", "yuyv", "uyvy",
    "bayer_rggb8", "bayer_bggr8", "bayer_grbg8", "bayer_gbrg8",
    "bayer_rggb10", "bayer_bggr10", "bayer_grbg10", "bayer_gbrg10",
    "bayer_rggb12", "bayer_bggr12", "bayer_grbg12", "bayer_gbrg12",
]  # fmt: skip
PIXEL_FORMATS: tuple[str, ...] = PixelFormat.__args__  # type: ignore[attr-defined]

_BAYER = {
    # OpenCV names a pattern after the second row's second and third pixel.
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
}
FOURCC = {
    "yuyv": "YUYV", "uyvy": "UYVY", "grey8": "GREY", "grey10": "Y10 ", "grey12": "Y12 ", "grey16": "Y16 ",
    "bayer_rggb8": "RGGB", "bayer_bggr8": "BA81", "bayer_grbg8": "GRBG", "bayer_gbrg8": "GBRG",
    "bayer_rggb10": "RG10", "bayer_bggr10": "BG10", "bayer_grbg10": "BA10", "bayer_gbrg10": "GB10",
    "bayer_rggb12": "RG12", "bayer_bggr12": "BG12", "bayer_grbg12": "BA12", "bayer_gbrg12": "GB12",
}  # fmt: skip
"""What to ask a Video4Linux camera for; formats without an entry are what OpenCV delivers by itself."""


def decode_frame(raw: NDArray[np.uint8] | NDArray[np.uint16], pixel_format: str, size: tuple[int, int]) -> ImageArray:
    """A camera's raw frame as (H, W) grey or (H, W, 3) BGR, uint8 or uint16; values of 10 and 12 bits stay as they are.

    ``raw`` may have any shape with the right number of bytes; ``size`` is width, height. Raises ImageError.
    """
    if pixel_format not in PIXEL_FORMATS:
        raise InputError(f"pixel format: expected one of {', '.join(PIXEL_FORMATS)}, got {pixel_format!r}")
    width, height = size
    if pixel_format == "bgr8":
        return _shaped(raw, (height, width, 3), np.dtype(np.uint8))
    if pixel_format == "infrared_bgr8":
        # The three channels carry the same picture; their mean has less noise than any of them.
        colour = _shaped(raw, (height, width, 3), np.dtype(np.uint8))
        return cast(ImageArray, np.rint(colour.mean(axis=2)).astype(np.uint8))
    if pixel_format in ("yuyv", "uyvy"):
        packed = _shaped(raw, (height, width, 2), np.dtype(np.uint8))
        code = cv2.COLOR_YUV2BGR_YUYV if pixel_format == "yuyv" else cv2.COLOR_YUV2BGR_UYVY
        return cast(ImageArray, cv2.cvtColor(packed, code))
    bits = int("".join(letter for letter in pixel_format if letter.isdigit()))
    plane = _shaped(raw, (height, width), np.dtype(np.uint8 if bits == 8 else np.uint16))
    if pixel_format.startswith("bayer"):
        return cast(ImageArray, cv2.cvtColor(plane, _BAYER[pixel_format[6:10]]))
    return plane


def is_infrared_as_colour(image: ImageArray) -> bool:
    """Whether a colour frame carries one grey picture in its three channels, as many infrared cameras deliver it."""
    if image.ndim != 3:
        return False
    sample = image[::4, ::4].astype(np.int32)
    return int(np.percentile(np.ptp(sample, axis=2), 99)) <= max(3, int(sample.max()) // 64)


def _shaped(
    raw: NDArray[np.uint8] | NDArray[np.uint16], shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> ImageArray:
    expected = int(np.prod(shape)) * dtype.itemsize
    if raw.nbytes != expected:
        raise ImageError(f"frame: expected {expected} bytes for {shape}, got {raw.nbytes}; check size and pixel format")
    return cast(ImageArray, np.ascontiguousarray(raw).view(np.uint8).reshape(-1).view(dtype).reshape(shape))
