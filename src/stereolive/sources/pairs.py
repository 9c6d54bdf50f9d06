"""Pairs of frames from two captures, from one capture that holds both, or from a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from stereolive.errors import StereoliveError
from stereolive.images import read_image
from stereolive.sources.captures import Capture, SourceError, halves
from stereolive.sources.folders import pair_files
from stereolive.sources.frames import FramePair
from stereolive.types import ImageArray

MAX_SKEW_MS = 20.0
"""A head that turns or walks moves 0.3 mm in a millisecond: 20 ms are 6 mm, some 7 px at half a metre."""
GIVE_UP_S = 30.0
CATCH_UP_GRABS = 8

Opener = Callable[[], Capture]


class PairSource(Protocol):
    """An iterator of pairs that can be closed."""

    live: bool

    def __iter__(self) -> Iterator[FramePair]: ...

    def close(self) -> None: ...


class TwoCaptures:
    """Grab both, then retrieve both; the capture that lags is grabbed again until both times agree.

    A pair whose times stay further apart than ``max_skew_ms`` is delivered as ``unsynchronised``. A live capture
    that fails is closed and opened again, with growing pauses, until ``give_up_s`` have passed; ``on_event`` hears
    of it.
    """

    def __init__(
        self,
        open_first: Opener,
        open_second: Opener,
        max_skew_ms: float = MAX_SKEW_MS,
        give_up_s: float = GIVE_UP_S,
        on_event: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._openers = (open_first, open_second)
        self._captures: list[Capture] = []
        self._max_skew_ms = max_skew_ms
        self._give_up_s = give_up_s
        self._on_event = on_event
        self._sleep = sleep
        try:
            for opener in self._openers:
                self._captures.append(opener())
        except SourceError:
            self.close()
            raise
        self.live = any(capture.live for capture in self._captures)

    def __iter__(self) -> Iterator[FramePair]:
        count = 0
        while True:
            times = [self._grabbed(0), self._grabbed(1)]
            if times[0] is None or times[1] is None:
                return
            caught_up = self._caught_up(times[0], times[1])
            if caught_up is None:
                return
            first, second = self._captures[0].retrieve(), self._captures[1].retrieve()
            if first is None or second is None:
                continue
            apart = abs(caught_up[1] - caught_up[0]) > self._max_skew_ms
            yield FramePair(first, second, *caught_up, f"{count:06d}", apart)
            count += 1

    def _caught_up(self, first_ms: float, second_ms: float) -> tuple[float, float] | None:
        """Times of both, after the earlier one was grabbed again as long as that brings them nearer. None at the
        end."""
        times = [first_ms, second_ms]
        for _ in range(CATCH_UP_GRABS):
            if abs(times[1] - times[0]) <= self._max_skew_ms:
                break
            late = 0 if times[0] < times[1] else 1
            newer = self._grabbed(late)
            if newer is None:
                return None
            apart = abs(times[1] - times[0])
            times[late] = newer
            if abs(times[1] - times[0]) >= apart:
                # Half a period apart for good: more grabbing would only burn pictures.
                break
        return times[0], times[1]

    def _grabbed(self, index: int) -> float | None:
        """The time of a new frame; a lost live capture is opened again. None at the end of a file."""
        taken = self._captures[index].grab()
        if taken is not None or not self._captures[index].live:
            return taken
        name = ("first", "second")[index]
        self._on_event(f"{name} sensor lost")
        waited, pause = 0.0, 0.25
        while waited < self._give_up_s:
            self._captures[index].close()
            self._sleep(pause)
            waited += pause
            pause = min(2 * pause, 4.0)
            try:
                self._captures[index] = self._openers[index]()
            except SourceError:
                continue
            taken = self._captures[index].grab()
            if taken is not None:
                self._on_event(f"{name} sensor is back after {waited:.1f} s")
                return taken
        raise SourceError(f"the {name} sensor was lost and did not come back within {self._give_up_s:g} s")

    def close(self) -> None:
        for capture in self._captures:
            capture.close()


class OneCapture:
    """Both sensors in one frame, ``side-by-side`` or ``top-bottom``: always of one time."""

    def __init__(
        self,
        opener: Opener,
        layout: str,
        give_up_s: float = GIVE_UP_S,
        on_event: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # The same machinery with one camera twice would grab it twice; a second view of its frame does not.
        self._frame = _SharedFrame(opener)
        self._pairs = TwoCaptures(self._frame.leader, self._frame.follower, float("inf"), give_up_s, on_event, sleep)
        self._layout = layout
        self.live = self._pairs.live

    def __iter__(self) -> Iterator[FramePair]:
        for pair in self._pairs:
            first, second = halves(pair.first, self._layout)
            yield FramePair(first, second, pair.time_first_ms, pair.time_first_ms, pair.name)

    def close(self) -> None:
        self._pairs.close()


class _SharedFrame:
    """One capture that two others look at: the leader grabs, the follower gets the same frame."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.capture: Capture | None = None
        self.time_ms: float | None = None

    def leader(self) -> Capture:
        self.capture = self._opener()
        return _Leader(self, self.capture)

    def follower(self) -> Capture:
        return _Follower(self)


class _Leader:
    def __init__(self, shared: _SharedFrame, capture: Capture) -> None:
        self._shared, self._capture = shared, capture
        self.live = capture.live

    def grab(self) -> float | None:
        self._shared.time_ms = self._capture.grab()
        return self._shared.time_ms

    def retrieve(self) -> ImageArray | None:
        return self._capture.retrieve()

    def close(self) -> None:
        self._capture.close()


class _Follower:
    live = False

    def __init__(self, shared: _SharedFrame) -> None:
        self._shared = shared

    def grab(self) -> float | None:
        return self._shared.time_ms

    def retrieve(self) -> ImageArray | None:
        return self._shared.capture.retrieve() if self._shared.capture else None

    def close(self) -> None: ...


class FolderPairs:
    """The pairs of a folder, by their names; files carry no time, so their skew is zero. Unreadable files are said
    and passed over."""

    live = False

    def __init__(
        self, folder: str | Path, on_event: Callable[[str], None] = lambda message: None, fps: float = 15.0
    ) -> None:
        self._files = pair_files(folder)
        self._on_event = on_event
        self._step_ms = 1000 / fps

    def __iter__(self) -> Iterator[FramePair]:
        for index, (name, first, second) in enumerate(self._files):
            try:
                images = read_image(first), read_image(second)
            except StereoliveError as error:
                self._on_event(str(error))
                continue
            time_ms = index * self._step_ms
            yield FramePair(*images, time_ms, time_ms, name)

    def close(self) -> None: ...
