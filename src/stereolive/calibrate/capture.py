"""Collect shots of a board from a source: only steady, new views are kept, and what is still missing is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.boards import Board, Points
from stereolive.calibrate.guidance import is_new_view, is_steady, missing_views
from stereolive.calibrate.solve import BoardPair
from stereolive.images import as_8bit, as_bgr, write_png
from stereolive.sources import FramePair, PairSource
from stereolive.types import ImageArray

Say = Callable[[str], None]
Show = Callable[[NDArray[np.uint8]], bool]
"""Shows a picture (H, W, 3) and says whether to go on."""


@dataclass
class Shots:
    """What was collected: points and pictures of every pair that counts."""

    pairs: list[BoardPair] = field(default_factory=list)
    images: dict[str, tuple[ImageArray, ImageArray]] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None

    def add(self, pair: BoardPair, first: ImageArray, second: ImageArray) -> None:
        self.pairs.append(pair)
        self.images[pair.name] = (first, second)

    def both(self) -> list[tuple[Points, Points]]:
        return [(pair.first, pair.second) for pair in self.pairs if pair.first is not None and pair.second is not None]


def collect_all(source: PairSource, board: Board, say: Say = lambda message: None) -> Shots:
    """Every pair of a folder of chosen shots, whether or not it shows the board."""
    shots = Shots()
    for frames in source:
        if not _same_sizes(shots, frames, say):
            continue
        pair = BoardPair(frames.name, board.find(frames.first), board.find(frames.second))
        shots.add(pair, frames.first, frames.second)
        seen = [name for name, points in (("first", pair.first), ("second", pair.second)) if points is not None]
        say(f"{frames.name}: board found in {' and '.join(seen) or 'neither view'}")
    return shots


def collect_steady(
    source: PairSource,
    board: Board,
    folder: Path | None = None,
    say: Say = lambda message: None,
    show: Show | None = None,
    least_steady_frames: int = 2,
) -> Shots:
    """From a stream: a view counts when the board stood still in both views and is somewhere new. Ends when nothing
    is missing.

    ``folder`` receives the shots as ``first_NNN.png``, ``second_NNN.png``, so that they can be calibrated again.
    """
    shots = Shots()
    before: tuple[Points | None, Points | None] = (None, None)
    steady = 0
    missing: list[str] = []
    for frames in source:
        if frames.unsynchronised or not _same_sizes(shots, frames, say):
            continue
        assert shots.sizes is not None
        now = board.find(frames.first), board.find(frames.second)
        first, second = now
        still = (
            first is not None and second is not None and is_steady(before[0], first) and is_steady(before[1], second)
        )
        steady = steady + 1 if still else 0
        before = now
        if (
            first is not None
            and second is not None
            and steady >= least_steady_frames
            and is_new_view(shots.both(), first, shots.sizes[0])
        ):
            name = f"{len(shots.pairs):03d}"
            shots.add(BoardPair(name, first, second), frames.first, frames.second)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"first_{name}.png", frames.first)
                write_png(folder / f"second_{name}.png", frames.second)
            missing = missing_views(board, shots.both(), shots.sizes[0])
            say(f"view {len(shots.pairs)} taken; " + (f"next: {missing[0]}" if missing else "that is enough"))
            if not missing:
                return shots
        if show is not None and not show(_guide(frames, now, shots, missing)):
            return shots
    return shots


def _same_sizes(shots: Shots, frames: FramePair, say: Say) -> bool:
    sizes = (frames.first.shape[1], frames.first.shape[0]), (frames.second.shape[1], frames.second.shape[0])
    if shots.sizes is None:
        shots.sizes = sizes
    if shots.sizes != sizes:
        say(f"{frames.name}: left out, its pictures have another size than those before")
        return False
    return True


def _guide(
    frames: FramePair, points: tuple[Points | None, Points | None], shots: Shots, missing: list[str]
) -> NDArray[np.uint8]:
    """Both views with what was found, where shots were taken, and what to do next."""
    height = 360
    halves = []
    for index, (image, found) in enumerate(((frames.first, points[0]), (frames.second, points[1]))):
        scale = height / image.shape[0]
        picture = cv2.resize(as_bgr(as_8bit(image)), None, fx=scale, fy=scale).astype(np.uint8)
        for shot in shots.both():
            for x, y in shot[index].pixels[::4] * scale:
                cv2.circle(picture, (round(x), round(y)), 1, (190, 140, 60), -1)
        for x, y in found.pixels * scale if found is not None else ():
            cv2.circle(picture, (round(x), round(y)), 3, (60, 200, 60), -1)
        halves.append(picture)
    picture = np.concatenate(halves, axis=1)
    text = f"{len(shots.pairs)} views. " + (
        f"Next: {missing[0]}" if missing else "Show the board to both sensors, hold it still."
    )
    bar = np.full((34, picture.shape[1], 3), 30, np.uint8)
    cv2.putText(bar, text, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([picture, bar], axis=0)
