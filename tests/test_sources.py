"""Pairs from captures, files and folders: times, skew, disconnects, formats."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.errors import ImageError, InputError, MissingExtraError
from stereolive.images import as_infrared, write_png
from stereolive.sources import (
    FramePair,
    FramesCapture,
    OneCapture,
    RealSense,
    SourceError,
    TwoCaptures,
    decode_frame,
    open_source,
)
from stereolive.sources.arguments import add_source_options, source_options
from stereolive.sources.frames import is_infrared_as_colour
from stereolive.types import ImageArray


def frame(value: int) -> ImageArray:
    return np.full((48, 64), value, np.uint8)


def stream(times_ms: list[float], live: bool = False) -> FramesCapture:
    return FramesCapture([(time, frame(index)) for index, time in enumerate(times_ms)], live)


def test_pairs_carry_times_and_skew() -> None:
    source = TwoCaptures(lambda: stream([0, 33, 66]), lambda: stream([5, 38, 71]))
    pairs = list(source)
    assert [pair.skew_ms for pair in pairs] == [5, 5, 5]
    assert not any(pair.unsynchronised for pair in pairs)
    assert [int(pair.second[0, 0]) for pair in pairs] == [0, 1, 2]


def test_a_late_stream_is_caught_up() -> None:
    source = TwoCaptures(lambda: stream([0, 33, 66, 99, 132]), lambda: stream([66, 99, 132]))
    pairs = list(source)
    assert [pair.skew_ms for pair in pairs] == [0, 0, 0]
    assert int(pairs[0].first[0, 0]) == 2


def test_streams_that_never_meet_are_unsynchronised() -> None:
    source = TwoCaptures(lambda: stream([0, 100, 200]), lambda: stream([50, 150, 250]), max_skew_ms=20)
    pairs = list(source)
    assert pairs and all(pair.unsynchronised for pair in pairs)


def test_a_lost_camera_is_opened_again() -> None:
    opened: list[int] = []
    said: list[str] = []

    def second() -> FramesCapture:
        opened.append(1)
        if len(opened) == 1:
            return FramesCapture([(0, frame(1)), (33, None)], live=True)
        if len(opened) < 4:
            raise SourceError("still unplugged")
        return FramesCapture([(time, frame(2)) for time in (900.0, 933.0)], live=True)

    source = TwoCaptures(
        lambda: stream([0, 33, 900, 933]), second, give_up_s=30, on_event=said.append, sleep=lambda seconds: None
    )
    pairs = list(zip(source, range(3), strict=False))
    assert [int(pair.second[0, 0]) for pair, _ in pairs] == [1, 2, 2]
    assert said[0] == "second sensor lost" and said[1].startswith("second sensor is back")


def test_a_camera_lost_for_good_is_an_error() -> None:
    opened: list[int] = []

    def second() -> FramesCapture:
        opened.append(1)
        if len(opened) > 1:
            raise SourceError("unplugged")
        return stream([0], live=True)

    source = TwoCaptures(
        lambda: stream([0, 33]),
        second,
        give_up_s=3,
        sleep=lambda seconds: None,
    )
    with pytest.raises(SourceError, match="did not come back"):
        list(source)


@pytest.mark.parametrize("layout", ["side-by-side", "top-bottom"])
def test_one_capture_is_cut_in_half(layout: str) -> None:
    axis = 1 if layout == "side-by-side" else 0
    both = np.concatenate([frame(10), frame(20)], axis=axis)
    pairs = list(OneCapture(lambda: FramesCapture([(0, both), (33, both)]), layout))
    assert len(pairs) == 2
    assert (pairs[0].first == 10).all() and (pairs[0].second == 20).all() and pairs[1].skew_ms == 0


def test_folders_pair_by_name(tmp_path: Path) -> None:
    for name in ("left01", "right01", "left02", "right03"):
        write_png(tmp_path / f"{name}.png", frame(1))
    assert [pair.name for pair in open_source(str(tmp_path))] == ["01"]


def test_two_folders_pair_by_name(tmp_path: Path) -> None:
    for folder in ("rgb", "ir"):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "a.png", frame(1))
    assert [pair.name for pair in open_source(str(tmp_path))] == ["a"]


def test_a_damaged_file_of_a_folder_is_said_and_passed_over(tmp_path: Path) -> None:
    for name in ("first_1", "second_1", "first_2", "second_2"):
        write_png(tmp_path / f"{name}.png", frame(1))
    (tmp_path / "second_1.png").write_bytes(b"not a picture")
    said: list[str] = []
    assert len(list(open_source(str(tmp_path), on_event=said.append))) == 1
    assert "second_1.png" in said[0]


def test_video_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
        for value in (10, 100, 200):
            writer.write(np.full((48, 64, 3), value, np.uint8))
        writer.release()
    pairs: list[FramePair] = list(open_source(f"{tmp_path / 'a.avi'},{tmp_path / 'b.avi'}"))
    assert len(pairs) == 3
    assert pairs[0].first.shape == (48, 64, 3) and abs(int(pairs[1].first.mean()) - 100) < 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "expected a folder"),
        ("a.mp4,b.mp4", "no such file"),
        ("realsense:depth", "realsense:infrared"),
    ],
)
def test_wrong_names_are_refused_in_one_sentence(name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(name)


def test_realsense_says_what_to_install() -> None:
    try:
        import pyrealsense2  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="realsense"):
            open_source("realsense:infrared")
    else:
        pytest.skip("pyrealsense2 is installed here")


def test_raw_formats() -> None:
    size = (8, 4)
    grey = np.arange(32, dtype=np.uint8).reshape(4, 8)
    assert (decode_frame(grey, "grey8", size) == grey).all()
    deep = grey.astype(np.uint16) * 30
    for name in ("grey10", "grey12", "grey16"):
        assert (decode_frame(deep.view(np.uint8), name, size) == deep).all()
    # One colour everywhere comes out as that colour, whichever the pattern.
    red = np.zeros((4, 8), np.uint8)
    red[::2, ::2] = 200
    assert tuple(decode_frame(red, "bayer_rggb8", size)[2, 4]) == (0, 0, 200)
    blue_deep = (red.astype(np.uint16)) * 4
    assert tuple(decode_frame(blue_deep, "bayer_bggr10", size)[2, 4]) == (800, 0, 0)
    yuyv = np.zeros((4, 8, 2), np.uint8)
    yuyv[..., 0], yuyv[..., 1] = 126, 128
    assert np.ptp(decode_frame(yuyv, "yuyv", size)) == 0
    with pytest.raises(ImageError, match="expected 32 bytes"):
        decode_frame(grey[:2], "grey8", size)
    with pytest.raises(InputError, match="pixel format"):
        decode_frame(grey, "rgb565", size)


def test_infrared_delivered_as_colour() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert is_infrared_as_colour(colour)
    assert (as_infrared(colour) == grey).all()
    assert not is_infrared_as_colour(np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))


def test_options() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_source_options(parser)
    options = source_options(parser.parse_args(["--frame-size", "640x480", "--max-skew-ms", "8"]))
    assert options.size == (640, 480) and options.max_skew_ms == 8
    with pytest.raises(InputError, match="WIDTHxHEIGHT"):
        source_options(parser.parse_args(["--frame-size", "big"]))


class FakeRealSense:
    """The part of pyrealsense2 that is used, for a device that is unplugged after its first frames."""

    class Frame:
        def __init__(self, data: np.ndarray) -> None:
            self._data = data

        def get_data(self) -> np.ndarray:
            return self._data

        def get_timestamp(self) -> float:
            return 12.0

    def __init__(self) -> None:
        self.stream = SimpleNamespace(infrared="infrared", color="colour", depth="depth")
        self.format = SimpleNamespace(y8="y8", bgr8="bgr8", z16="z16")
        self.started = self.delivered = 0

    def config(self) -> Any:
        return SimpleNamespace(enable_stream=lambda *arguments: None)

    def align(self, stream: str) -> Any:
        return SimpleNamespace(process=lambda frames: frames)

    def pipeline(self) -> Any:
        return SimpleNamespace(start=self.start, wait_for_frames=self.wait, stop=lambda: None)

    def start(self, config: object) -> Any:
        self.started += 1
        if self.started == 2:
            raise RuntimeError("No device connected")
        numbers = SimpleNamespace(width=64, height=48, fx=60.0, fy=60.0, ppx=32.0, ppy=24.0, coeffs=[0.0] * 5)
        relation = SimpleNamespace(rotation=[1, 0, 0, 0, 1, 0, 0, 0, 1], translation=[-0.05, 0, 0])
        profile = SimpleNamespace(get_intrinsics=lambda: numbers, get_extrinsics_to=lambda other: relation)
        profile.as_video_stream_profile = lambda: profile
        sensor = SimpleNamespace(get_depth_scale=lambda: 0.001)
        device = SimpleNamespace(first_depth_sensor=lambda: sensor)
        return SimpleNamespace(get_stream=lambda *arguments: profile, get_device=lambda: device)

    def wait(self) -> Any:
        self.delivered += 1
        if self.delivered == 2:
            raise RuntimeError("Frame didn't arrive within 5000")
        grey, depth = self.Frame(frame(self.delivered)), self.Frame(np.full((48, 64), 500, np.uint16))
        return SimpleNamespace(
            get_infrared_frame=lambda number: grey, get_color_frame=lambda: grey, get_depth_frame=lambda: depth
        )


@pytest.mark.parametrize("name", ["realsense:infrared", "realsense:colour"])
def test_realsense_gives_pairs_with_depth_and_comes_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", FakeRealSense())
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    said: list[str] = []
    source = open_source(name, on_event=said.append)
    assert isinstance(source, RealSense)
    pairs = [pair for pair, _ in zip(source, range(2), strict=False)]
    assert [int(pair.first[0, 0]) for pair in pairs] == [1, 3]
    assert pairs[0].depth_mm is not None and np.allclose(pairs[0].depth_mm, 500)
    assert said == ["realsense lost", "realsense is back after 0.8 s"]
    rig = source.rig()
    assert rig.baseline_mm == pytest.approx(50)
    assert rig.first.spectrum == ("near_infrared" if name.endswith("infrared") else "visible")
    source.close()
