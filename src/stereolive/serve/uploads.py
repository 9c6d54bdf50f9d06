"""From a request's body to two images and what belongs to them, with every limit held before anything large is made.

A body is ``multipart/form-data`` with the parts ``first`` and ``second`` (image files, or raw pixels), ``rig`` (the
rig's JSON, or the name of a registered one) and, for sessions, ``nonce``. A part with raw pixels says so in its
content type:
``application/x-raw-image; width=640; height=480; channels=1; bits=16`` (rows from the top, BGR, 16 bits little-endian).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import ClassVar, cast

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from stereolive.errors import ImageError, RigError
from stereolive.rig import Rig
from stereolive.serve.problems import ProblemError
from stereolive.serve.settings import Settings
from stereolive.types import ImageArray

RAW_TYPE = "application/x-raw-image"
MAX_FIELD_BYTES = 64_000
_PARTS = ("first", "second", "rig", "nonce")


@dataclass(frozen=True)
class Part:
    """One image as it came."""

    data: bytes
    content_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Upload:
    """A submission whose form is right; its images are not decoded yet."""

    first: Part
    second: Part
    rig: Rig
    rig_sha256: str
    nonce: str | None

    @property
    def sha256(self) -> str:
        """Of all that decides the answer, so that a repeated request is known as the same."""
        parts = (
            self.first.sha256,
            self.first.content_type,
            self.second.sha256,
            self.second.content_type,
            self.rig_sha256,
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _InMemoryParser(MultiPartParser):
    # Images must not touch the disk; the body is bounded before it comes here.
    spool_max_size: ClassVar[int] = 1 << 40  # type: ignore[misc]


async def read_upload(request: Request, settings: Settings) -> Upload:
    """Read and take apart a check's body. Raises ProblemError."""
    form = await read_form(request, settings, _PARTS)
    try:
        parts = {name: await image_part(form, name) for name in ("first", "second")}
        nonce = await text_part(form, "nonce")
        rig, digest = _rig(await text_part(form, "rig"), settings)
        return Upload(parts["first"], parts["second"], rig, digest, nonce)
    finally:
        await form.close()


async def read_form(
    request: Request, settings: Settings, names: tuple[str, ...], max_field_bytes: int = MAX_FIELD_BYTES
) -> FormData:
    """The parts of a multipart body, each once and none but ``names``, to be closed by the caller.

    Raises ProblemError.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise ProblemError(415, "media-type", "expected multipart/form-data with the parts " + ", ".join(names))
    limit = _bound(request, settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.read_seconds):
            parser = _InMemoryParser(
                request.headers, _bounded(request, limit), max_files=2, max_fields=4, max_part_size=max_field_bytes
            )
            form = await parser.parse()
    except TimeoutError:
        raise _slow(settings) from None
    except MultiPartException as error:
        raise ProblemError(400, "multipart", f"the body is no valid multipart form ({error.message})") from None
    except (ValueError, KeyError, AssertionError, RecursionError, IndexError):
        # What the parser does not foresee in a hostile body.
        raise ProblemError(400, "multipart", "the body is no valid multipart form") from None
    except ClientDisconnect:
        raise ProblemError(400, "multipart", "the body ended early") from None
    given = [name for name, _ in form.multi_items()]
    for name in given:
        if name not in names:
            await form.close()
            raise ProblemError(422, "part", f"unknown part {name[:40]!r}; expected {', '.join(names)}")
        if given.count(name) > 1:
            await form.close()
            raise ProblemError(422, "part", f"{name}: comes more than once")
    return form


async def read_json_bytes(request: Request, settings: Settings, limit: int) -> bytes:
    """A JSON body's bytes, at most ``limit``. Raises ProblemError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(415, "media-type", "expected application/json")
    _bound(request, limit)
    try:
        async with asyncio.timeout(settings.read_seconds):
            return b"".join([chunk async for chunk in _bounded(request, limit)])
    except TimeoutError:
        raise _slow(settings) from None
    except ClientDisconnect:
        raise ProblemError(400, "bad-request", "the body ended early") from None


async def image_part(form: FormData, name: str) -> Part:
    """An image as it came. Raises ProblemError where the part is missing or no file."""
    value = form.get(name)
    if not isinstance(value, UploadFile):
        raise ProblemError(422, "part", f"{name}: expected an image as a file part")
    return Part(await value.read(), value.content_type or "")


async def text_part(form: FormData, name: str, max_bytes: int = MAX_FIELD_BYTES) -> str | None:
    """A part's text, None where it is missing. Raises ProblemError."""
    value = form.get(name)
    if not isinstance(value, UploadFile):
        return value
    data = await value.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ProblemError(413, "too-large", f"{name}: has more than {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProblemError(422, "part", f"{name}: is not UTF-8") from None


def _rig(text: str | None, settings: Settings) -> tuple[Rig, str]:
    if text is None:
        if len(settings.rigs) == 1:
            # With one rig there is nothing to choose.
            text = next(iter(settings.rigs))
        else:
            raise ProblemError(422, "rig", "rig: expected the rig's JSON or the name of a registered rig")
    registered = settings.rigs.get(text)
    if registered is not None:
        return registered, rig_sha256(registered)
    if not text.lstrip().startswith("{"):
        raise ProblemError(422, "rig", f"rig: no rig is registered as {text[:40]!r}")
    if settings.only_registered_rigs:
        raise ProblemError(403, "rig", "rig: this service takes registered rigs only; send the name of one")
    try:
        return _parsed_rig(text)
    except RigError as error:
        raise ProblemError(422, "rig", f"rig: {error}") from None


@lru_cache(maxsize=64)
def _parsed_rig(text: str) -> tuple[Rig, str]:
    try:
        rig = Rig.from_json(json.loads(text))
        # Rectification is part of what may fail, and is kept with the rig.
        _ = rig.rectification
    except RigError:
        raise
    except (ValueError, TypeError, RecursionError, ArithmeticError):
        raise RigError("is not the JSON of a rig") from None
    return rig, rig_sha256(rig)


def rig_sha256(rig: Rig) -> str:
    """Of the rig's canonical JSON, so that formatting does not matter."""
    return hashlib.sha256(json.dumps(rig.as_json(), sort_keys=True).encode()).hexdigest()


def image_of(part: Part, name: str, max_pixels: int, decode: Callable[[bytes], ImageArray]) -> ImageArray:
    """The part's image.

    ``decode`` is asked for anything but raw pixels. Raises ProblemError 422, or 413 for too many pixels.
    """
    try:
        if part.content_type.partition(";")[0].strip().lower() == RAW_TYPE:
            return _raw_image(part, max_pixels)
        return decode(part.data)
    except ImageError as error:
        status, code = (413, "too-many-pixels") if "pixels, more than" in str(error) else (422, "image")
        raise ProblemError(status, code, f"{name}: {error}") from None


def _raw_image(part: Part, max_pixels: int) -> ImageArray:
    message = Message()
    message["content-type"] = part.content_type
    values = []
    for key, low, high in (("width", 16, 16384), ("height", 16, 16384), ("channels", 1, 3), ("bits", 8, 16)):
        text = str(message.get_param(key, ""))
        if not (text.isascii() and text.isdigit() and len(text) < 6 and low <= int(text) <= high):
            raise ImageError(f"raw pixels need {key} from {low} to {high} in their content type")
        values.append(int(text))
    width, height, channels, bits = values
    if channels == 2 or bits not in (8, 16):
        raise ImageError("raw pixels have 1 or 3 channels and 8 or 16 bits")
    if width * height > max_pixels:
        raise ImageError(f"has {width} x {height} pixels, more than the {max_pixels} that this service takes")
    expected = width * height * channels * bits // 8
    if len(part.data) != expected:
        raise ImageError(f"raw pixels: expected {expected} bytes, got {len(part.data)}")
    pixels = np.frombuffer(part.data, "<u2" if bits == 16 else "u1").astype(np.uint16 if bits == 16 else np.uint8)
    shape = (height, width) if channels == 1 else (height, width, 3)
    return cast(ImageArray, pixels.reshape(shape))


def _bound(request: Request, limit: int) -> int:
    """``limit``; raises ProblemError where the request says already that it holds more."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    return limit


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "too-large", f"the body has more than {limit} bytes")


def _slow(settings: Settings) -> ProblemError:
    return ProblemError(408, "slow", f"the body took longer than {settings.read_seconds:g} s to arrive")
