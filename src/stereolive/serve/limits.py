"""How much one caller may ask, and how much the service takes on at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from stereolive.serve.problems import ProblemError
from stereolive.serve.storage import Storage, rate_buckets

MOST_CALLERS = 10_000
"""Buckets that are remembered; beyond, the full ones are forgotten, which changes nothing for anybody."""
BURST_MS = 10_000.0
"""So much of a caller's rate may come at once."""


class RateLimits:
    """A token bucket a caller: ``rate_per_minute`` requests on average, a sixth of a minute's worth at once.

    Replicas on one PostgreSQL server share the buckets. With a SQLite file each process has its own, since a write a
    request would cost as much there as a decision.
    """

    def __init__(self, storage: Storage) -> None:
        self._buckets: Buckets | SharedBuckets = Buckets() if storage.is_sqlite else SharedBuckets(storage)

    def take(self, caller: str, rate_per_minute: float) -> None:
        """Count one request. Raises ProblemError 429 with the time after which another will be taken."""
        each_ms = 60_000 / rate_per_minute
        wait_ms = self._buckets.take(caller, each_ms, max(each_ms, BURST_MS))
        if wait_ms > 0:
            raise ProblemError(
                429, "rate", "this key has used up its rate; wait a little", retry_after_seconds=wait_ms / 1000
            )


class Buckets:
    """In memory. What is kept of a bucket is when it will be full again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full_ms: dict[str, float] = {}

    def take(self, caller: str, each_ms: float, burst_ms: float, now_ms: float | None = None) -> float:
        """Take what one request costs from a bucket that holds ``burst_ms``; else how many ms to wait for it."""
        now_ms = time.monotonic() * 1000 if now_ms is None else now_ms
        with self._lock:
            full_ms = max(self._full_ms.get(caller, now_ms), now_ms) + each_ms
            if full_ms - now_ms > burst_ms + 1e-6:
                return full_ms - now_ms - burst_ms
            self._full_ms[caller] = full_ms
            if len(self._full_ms) > MOST_CALLERS:
                for name in [name for name, full in self._full_ms.items() if full <= now_ms]:
                    del self._full_ms[name]
        return 0.0


class SharedBuckets:
    """The same in PostgreSQL and by its clock, in one statement, so that replicas never both take the last place."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def take(self, caller: str, each_ms: float, burst_ms: float) -> float:
        """As ``Buckets.take``."""
        now = sa.extract("epoch", sa.func.now()) * 1000
        full = sa.func.greatest(rate_buckets.c.full_ms, now) + each_ms
        taken = (
            insert(rate_buckets)
            .values(owner=caller, full_ms=now + each_ms)
            .on_conflict_do_update(
                index_elements=[rate_buckets.c.owner], set_={"full_ms": full}, where=full - now <= burst_ms
            )
            .returning(rate_buckets.c.full_ms)
        )
        with self._storage.write() as connection:
            # A count that a power cut takes is no loss.
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            if connection.execute(taken).first() is not None:
                return 0.0
            wait_ms = connection.execute(sa.select(full - now - burst_ms).where(rate_buckets.c.owner == caller))
            return max(1.0, float(wait_ms.scalar_one()))


def forget_full(connection: Connection, now_ms: int) -> None:
    """Delete stored buckets that have long been full."""
    connection.execute(rate_buckets.delete().where(rate_buckets.c.full_ms < now_ms - 86_400_000))


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
