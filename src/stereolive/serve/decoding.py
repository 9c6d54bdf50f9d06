"""Images are decoded in a process of their own, with a bound on time and memory.

Decoders are native code fed by strangers. Where one hangs, dies or eats memory, its process is ended and a new one
started; the service answers 4xx and goes on. The size in pixels is read from the header here before anything is
decoded.

The process speaks over its standard streams: lengths as 8-byte big-endian numbers, then bytes. A request is
``pixel limit, bytes``; an answer ``kind (1 array, 0 refusal), header as JSON, bytes``.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import IO, Any, cast

import numpy as np

from stereolive.errors import ImageError
from stereolive.types import ImageArray

READY = b"R"
START_SECONDS = 120.0
"""A decoder may take this long to start; the limit on decoding counts from then on."""
MEMORY_BYTES = 3_000_000_000
"""Of address space, of which numpy's and OpenCV's libraries take the larger part."""


class DecodingTimeoutError(ImageError):
    """Decoding took longer than is allowed."""


class Decoders:
    """Some decoding processes; ``decode`` waits for a free one. Serves many threads."""

    def __init__(self, count: int, max_pixels: int, seconds: float) -> None:
        self._max_pixels = max_pixels
        self._seconds = seconds
        self._free: SimpleQueue[_Decoder] = SimpleQueue()
        self._all = [_Decoder() for _ in range(count)]
        for decoder in self._all:
            self._free.put(decoder)

    def decode(self, data: bytes) -> ImageArray:
        """The image in ``data`` as ``images.decode_image`` gives it.

        Raises ImageError; every fault of the decoder ends as one.
        """
        decoder = self._free.get()
        try:
            return decoder.decode(data, self._max_pixels, self._seconds)
        finally:
            self._free.put(decoder)

    def close(self) -> None:
        for decoder in self._all:
            decoder.stop()


class _Decoder:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        # Now, since importing the libraries takes a while.
        self._running()

    def decode(self, data: bytes, max_pixels: int, seconds: float) -> ImageArray:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        if not self._is_ready:
            self._await_ready(process, process.stdout)
        # Killing the process is what ends a read or write that takes too long.
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            process.kill()

        watchdog = threading.Timer(seconds, end)
        watchdog.start()
        try:
            process.stdin.write(struct.pack(">QQ", max_pixels, len(data)) + data)
            process.stdin.flush()
            kind, header_size, size = struct.unpack(">QQQ", _read(process.stdout, 24))
            header = json.loads(_read(process.stdout, header_size))
            if not kind:
                raise ImageError(header["error"])
            pixels = np.empty(size, np.uint8)
            _read_into(process.stdout, pixels.data)
            return cast(ImageArray, pixels.view(header["dtype"]).reshape(header["shape"]))
        except (OSError, EOFError):
            self.stop()
            if timed_out.is_set():
                raise DecodingTimeoutError(f"takes longer than {seconds:g} s to decode") from None
            raise ImageError("is damaged: its decoder gave up") from None
        finally:
            watchdog.cancel()

    def _await_ready(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> None:
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            if stream.read(1) != READY:
                raise RuntimeError("the decoding process does not start")
        finally:
            watchdog.cancel()
        self._is_ready = True

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # Closing flushes what the dead process never read.
                with contextlib.suppress(OSError):
                    stream.close()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._is_ready = False
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from stereolive.serve.decoding import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C in the terminal is the service's to handle: it still decodes what it accepted.
                start_new_session=True,
            )
        return self._process


def serve() -> None:
    """The decoding process: answers requests until its input ends."""
    from stereolive.images import _size_in_header, decode_image

    # The libraries write warnings to file descriptor 1 at times; only answers may go there.
    output = sys.stdout.buffer
    _bound_memory()
    source = sys.stdin.buffer
    output.write(READY)
    output.flush()
    while True:
        try:
            max_pixels, size = struct.unpack(">QQ", _read(source, 16))
            data = _read(source, size)
        except EOFError:
            return
        output.write(_answer(data, max_pixels, _size_in_header, decode_image))
        output.flush()


def _answer(
    data: bytes,
    max_pixels: int,
    size_in_header: Callable[[bytes], tuple[int, int]],
    decode_image: Callable[[bytes], ImageArray],
) -> bytes:
    try:
        width, height = size_in_header(data)
        if width * height > max_pixels:
            raise ImageError(f"has {width} x {height} pixels, more than the {max_pixels} that this service takes")
        image = np.ascontiguousarray(decode_image(data))
    except ImageError as error:
        header: dict[str, Any] = {"error": str(error)}
        body = b""
    except MemoryError:
        header, body = {"error": "needs too much memory to decode"}, b""
    else:
        header, body = {"dtype": str(image.dtype), "shape": image.shape}, image.tobytes()
    text = json.dumps(header).encode()
    return struct.pack(">QQQ", 0 if "error" in header else 1, len(text), len(body)) + text + body


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _read_into(stream: IO[bytes], target: memoryview) -> None:
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        filled += count
