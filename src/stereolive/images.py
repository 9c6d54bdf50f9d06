"""Image files and bytes to arrays, and arrays of any depth to the 8 bits that the networks see.

Only formats whose size is read before anything is decoded are let in, so that a small file cannot ask for gigabytes.
"""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ImageError
from stereolive.types import ImageArray

MAX_PIXELS = 32_000_000
MAX_FILE_BYTES = 256_000_000
PART_SUFFIX = ".part"
"""Of a file that is being written."""
JPEG_START = b"\xff\xd8\xff"
FORMATS = "PNG, JPEG, BMP, PGM or PPM"


def read_image(path: str | Path) -> ImageArray:
    """The image in a file as (H, W) grey or (H, W, 3) BGR, uint8 or uint16. Raises ImageError naming the file."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ImageError("does not exist" if not path.exists() else "is not a file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"is larger than {MAX_FILE_BYTES // 1_000_000} MB")
        return decode_image(path.read_bytes())
    except OSError as error:
        raise ImageError(f"image {path}: cannot be read ({error.strerror or error})") from None
    except ImageError as error:
        raise ImageError(f"image {path}: {error}") from None


def decode_image(data: bytes) -> ImageArray:
    """The image in ``data`` as (H, W) grey or (H, W, 3) BGR, uint8 or uint16. Raises ImageError."""
    if not data:
        raise ImageError("is empty")
    width, height = _size_in_header(data)
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(f"has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million")
    complaints: list[bytes] = []
    try:
        with _complaints_of_libjpeg(complaints) if data.startswith(JPEG_START) else nullcontext():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if complaints:
        raise ImageError("is damaged: a part of the JPEG's picture is wrong or missing")
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ImageError("is damaged and cannot be decoded")
    if image.ndim == 3 and image.shape[2] == 4:
        image = np.ascontiguousarray(image[:, :, :3])
    return cast(ImageArray, image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def check_image(image: object, name: str) -> ImageArray:
    """A caller's array as it is, if it has a form that can be used. Raises ImageError."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name}: expected an array, got {type(image).__name__}")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name}: expected uint8 or uint16, got {image.dtype}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ImageError(f"{name}: expected (H, W) or (H, W, 3), got {image.shape}")
    if not 16 * 16 <= image.shape[0] * image.shape[1] <= MAX_PIXELS:
        raise ImageError(f"{name}: expected 256 to {MAX_PIXELS} pixels, got {image.shape[1]} x {image.shape[0]}")
    return image


def full_scale(image: ImageArray) -> float:
    """The sensor's largest value: 2^bits - 1 with the fewest bits of 8, 10, 12, 14, 16 that hold the image."""
    if image.dtype == np.uint8:
        return 255.0
    top = int(image.max())
    return float(next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if top < 2**bits))


def as_8bit(image: ImageArray) -> NDArray[np.uint8]:
    """The image with 8 bits a value.

    More than 8 bits are spread so that the brightest 0.2 % saturate: few sensors fill their range.
    """
    if image.dtype == np.uint8:
        return cast(NDArray[np.uint8], image)
    thinned = image[::4, ::4]
    top = max(float(np.percentile(thinned, 99.8)), full_scale(image) / 64)
    return cv2.convertScaleAbs(image, alpha=255.0 / top).astype(np.uint8, copy=False)


def as_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3); grey is repeated."""
    return cast(NDArray[np.uint8], cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image)


def as_infrared(image: ImageArray) -> ImageArray:
    """A near-infrared sensor's picture as (H, W): many deliver it as colour, and its colours say nothing."""
    return image if image.ndim == 2 else cast(ImageArray, cv2.transform(image, np.full((1, 3), 1 / 3)))


def as_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W)."""
    return cast(NDArray[np.uint8], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image)


def write_depth(path: str | Path, depth_mm: NDArray[np.float32]) -> None:
    """Write depth (H, W) as the manifest's 16-bit PNG in units of 0.1 mm, 0 = no measurement, whole or not at all."""
    path = Path(path)
    tenths = np.rint(np.where(np.isfinite(depth_mm), depth_mm, 0) * 10)
    tenths = np.where((tenths < 0) | (tenths > 65535), 0, tenths).astype(np.uint16)
    write_png(path, tenths)


def read_depth(path: str | Path) -> NDArray[np.float32]:
    """Depth (H, W) in mm from the manifest's 16-bit PNG; 0 = no measurement. Raises ImageError naming the file."""
    image = read_image(path)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise ImageError(f"depth {path}: expected a 16-bit grey PNG")
    return image.astype(np.float32) / 10.0


def write_png(path: str | Path, image: ImageArray) -> None:
    """Write a PNG whole or not at all. Raises ImageError naming the file."""
    path = Path(path)
    encoded, data = cv2.imencode(".png", image)
    if not encoded:
        raise ImageError(f"image {path}: cannot be encoded")
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        part.write_bytes(data.tobytes())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ImageError(f"image {path}: cannot be written ({error.strerror or error})") from None


def _size_in_header(data: bytes) -> tuple[int, int]:
    """(width, height) from the file's header. Its end must be there, since decoders fill what is missing with grey."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 33:
        if b"IEND" not in data[-16:]:
            raise ImageError("is truncated")
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data.startswith(JPEG_START):
        if b"\xff\xd9" not in data[-4096:]:
            raise ImageError("is truncated")
        return _jpeg_size(data)
    if data.startswith(b"BM") and len(data) >= 30:
        width, height = struct.unpack("<ii", data[18:26])
        if len(data) < struct.unpack("<I", data[2:6])[0]:
            raise ImageError("is truncated")
        return width, abs(height)
    if data[:2] in (b"P5", b"P6"):
        fields = re.match(
            rb"P[56](?:\s+|#[^\n]*\n)+(\d{1,6})(?:\s+|#[^\n]*\n)+(\d{1,6})(?:\s+|#[^\n]*\n)+(\d{1,5})\s", data[:1024]
        )
        if fields:
            width, height, top = (int(field) for field in fields.groups())
            expected = width * height * (3 if data[:2] == b"P6" else 1) * (2 if top > 255 else 1)
            if len(data) - fields.end() < expected:
                raise ImageError("is truncated")
            return width, height
    raise ImageError(f"is not an image that is read here ({FORMATS})")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 < len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        if marker == 0xFF or 0xD0 <= marker <= 0xD9 or marker == 0x01:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
    raise ImageError("is damaged: a JPEG without a frame")


_COMPLAINT = re.compile(rb"(?:Corrupt JPEG data|Premature end of JPEG|Invalid SOS parameters)[^\n]*\n?")
_stderr_lock = threading.Lock()


@contextmanager
def _complaints_of_libjpeg(complaints: list[bytes]) -> Iterator[None]:
    """Collects what libjpeg says of damaged data while the block runs.

    It fills what is missing with grey, calls that success, and tells nobody but the process's stderr. What others
    write there meanwhile is passed on.
    """
    with _stderr_lock:
        try:
            kept = os.dup(2)
            collected = os.memfd_create("stderr")
        except (OSError, AttributeError):  # a process without stderr, or another system than Linux
            yield
            return
        os.dup2(collected, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.lseek(collected, 0, os.SEEK_SET)
            text = os.read(collected, 1 << 20)
            complaints += _COMPLAINT.findall(text)
            if rest := _COMPLAINT.sub(b"", text):
                os.write(kept, rest)
            os.close(collected)
            os.close(kept)
