"""Image files and bytes to arrays."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stereolive.errors import ImageError
from stereolive.images import (
    MAX_PIXELS,
    as_8bit,
    as_bgr,
    as_grey,
    check_image,
    decode_image,
    full_scale,
    read_depth,
    read_image,
    write_depth,
    write_png,
)

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (32, 48, 3), np.uint8)
GREY = COLOUR[:, :, 0]
DEEP = RNG.integers(0, 1024, (32, 48)).astype(np.uint16)


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm"])
def test_colour_without_loss(suffix: str) -> None:
    assert np.array_equal(decode_image(encoded(suffix, COLOUR)), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".pgm"])
def test_grey_without_loss_and_with_16_bits(suffix: str) -> None:
    assert np.array_equal(decode_image(encoded(suffix, GREY)), GREY)
    deep = decode_image(encoded(suffix, DEEP))
    assert deep.dtype == np.uint16 and np.array_equal(deep, DEEP)


def test_jpeg_grey_and_colour() -> None:
    assert decode_image(encoded(".jpg", GREY)).ndim == 2
    assert decode_image(encoded(".jpg", COLOUR)).shape == COLOUR.shape


def test_transparency_is_dropped() -> None:
    with_alpha = np.dstack([COLOUR, np.full(GREY.shape, 128, np.uint8)])
    assert np.array_equal(decode_image(encoded(".png", with_alpha)), COLOUR)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it has ``width`` x ``height`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PNG, JPEG, BMP, PPM = (encoded(suffix, COLOUR) for suffix in (".png", ".jpg", ".bmp", ".ppm"))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello, this is text, not an image at all", "not an image"),
        (b"GIF89a" + bytes(100), "not an image"),  # a decoder may know it; it is not on the list
        (b"II*\x00" + bytes(100), "not an image"),  # TIFF, whose size stands anywhere
        (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(100), "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),  # the signature alone
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (BMP[: len(BMP) // 2], "truncated"),
        (PPM[: len(PPM) // 2], "truncated"),
        (PNG[:60] + bytes(40) + PNG[100:], "damaged"),  # the pixels' bytes are overwritten
        (bomb(100_000, 100_000), "million"),
        (bomb(0, 5), "no pixels"),
        (b"\xff\xd8\xff\xe0" + bytes(64) + b"\xff\xd9", "damaged"),  # JPEG without a frame
        (b"P6 99999 99999 255\n" + bytes(64), "truncated"),
        (b"P5 0 10 255\n" + bytes(64), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, word: str) -> None:
    with pytest.raises(ImageError, match=word):
        decode_image(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([PNG, JPEG, BMP, PPM]), st.integers(0, 400), st.binary(max_size=12), st.booleans())
def test_damaged_bytes_give_an_image_or_an_image_error(data: bytes, place: int, other: bytes, cut: bool) -> None:
    spoilt = data[:place] + other + (b"" if cut else data[place + len(other) :])
    try:
        image = decode_image(spoilt)
    except ImageError:
        return
    assert image.dtype in (np.uint8, np.uint16) and image.shape[0] * image.shape[1] <= MAX_PIXELS


def test_errors_name_the_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, word in ((tmp_path / "none.png", "does not exist"), (tmp_path, "not a file"), (empty, "is empty")):
        with pytest.raises(ImageError, match=word) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ([[1, 2], [3, 4]], "expected an array"),
        (np.zeros((48, 64), np.float32), "uint8 or uint16"),
        (np.zeros((48, 64), bool), "uint8 or uint16"),
        (np.zeros((48, 64, 4), np.uint8), "expected \\(H, W\\)"),
        (np.zeros(64, np.uint8), "expected \\(H, W\\)"),
        (np.zeros((4, 4), np.uint8), "pixels"),
        (np.zeros((0, 0, 3), np.uint8), "pixels"),
    ],
)
def test_arrays_of_other_forms_are_refused(image: object, word: str) -> None:
    with pytest.raises(ImageError, match=word):
        check_image(image, "first")


@pytest.mark.parametrize(("top", "expected"), [(1023, 1023), (1024, 4095), (16_000, 16_383), (65_535, 65_535)])
def test_full_scale_is_the_fewest_bits_that_hold_the_image(top: int, expected: int) -> None:
    assert full_scale(np.array([[0, top]], np.uint16)) == expected


def test_ten_bits_are_spread_over_eight() -> None:
    ramp = np.linspace(0, 480, 64 * 64).reshape(64, 64).astype(np.uint16)  # a sensor that fills half of its range
    assert as_8bit(ramp).max() == 255 and as_8bit(ramp).dtype == np.uint8
    assert np.all(np.diff(as_8bit(ramp).ravel().astype(int)) >= 0)


def test_grey_and_colour_forms() -> None:
    assert as_bgr(GREY).shape == (*GREY.shape, 3) and as_bgr(COLOUR) is COLOUR
    assert as_grey(COLOUR).shape == GREY.shape and as_grey(GREY) is GREY


def test_depth_files_hold_tenths_of_a_millimetre(tmp_path: Path) -> None:
    depth = np.array([[0.0, 512.34, 6553.5], [np.nan, 7000.0, np.inf]], np.float32)
    write_depth(tmp_path / "depth.png", depth)
    assert np.allclose(read_depth(tmp_path / "depth.png"), [[0, 512.3, 6553.5], [0, 0, 0]], atol=1e-3)
    assert cv2.imread(str(tmp_path / "depth.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_an_image_is_no_depth(tmp_path: Path) -> None:
    write_png(tmp_path / "colour.png", COLOUR)
    with pytest.raises(ImageError, match="16-bit"):
        read_depth(tmp_path / "colour.png")


def test_writing_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be written"):
        write_png(tmp_path / "none" / "x.png", COLOUR)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        write_png(tmp_path / "taken", COLOUR)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("restart", [0, 5])
def test_a_jpeg_damaged_in_the_middle_is_refused(
    progressive: int, restart: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """libjpeg decodes it, with a line on stderr."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    whole = cv2.imencode(".jpg", noise, options)[1].tobytes()
    assert decode_image(whole).shape == noise.shape
    middle = len(whole) // 2
    with pytest.raises(ImageError, match="damaged"):
        decode_image(whole[:middle] + bytes(400) + whole[middle + 400 :])
    assert "orrupt" not in capfd.readouterr().err


def test_what_others_write_to_stderr_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    decode = cv2.imdecode

    def talking(*arguments: object) -> object:
        os.write(2, b"another thread\n")
        return decode(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imdecode", talking)
    decode_image(JPEG)
    assert capfd.readouterr().err == "another thread\n"
