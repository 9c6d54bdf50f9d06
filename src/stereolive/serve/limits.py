"""How much one caller may ask, and how much the service takes on at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stereolive.serve.problems import ProblemError

MOST_CALLERS = 10_000
"""Buckets that are remembered; beyond, the full ones are forgotten, which changes nothing for anybody."""


class RateLimits:
    """A token bucket a caller: ``rate`` requests a minute on average, a sixth of a minute's worth at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, rate_per_minute: float, now: float | None = None) -> None:
        """Count one request. Raises ProblemError 429 with the time after which another will be taken."""
        now = time.monotonic() if now is None else now
        burst = max(1.0, rate_per_minute / 6)
        per_second = rate_per_minute / 60
        with self._lock:
            tokens, then = self._buckets.get(caller, (burst, now))
            tokens = min(burst, tokens + (now - then) * per_second)
            if tokens < 1:
                self._buckets[caller] = tokens, now
                wait = (1 - tokens) / per_second
                raise ProblemError(
                    429, "rate", "this key has used up its rate; wait a little", retry_after_seconds=wait
                )
            self._buckets[caller] = tokens - 1, now
            if len(self._buckets) > MOST_CALLERS:
                # Nothing is lost with a bucket that would be full by now.
                full = [name for name, (_, at) in self._buckets.items() if now - at > 60]
                for name in full:
                    del self._buckets[name]


class Admission:
    """A place for each request that is in the house. Taken before its body is read, so that memory stays bounded."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self.draining = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place. Raises ProblemError 429 where all are taken. Only for the event loop's thread."""
        if self.taken >= self.places:
            raise ProblemError(429, "busy", "the service is busy; try again shortly", retry_after_seconds=1)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
