"""One running service: its parts, their start and their end."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import sqlalchemy as sa

from stereolive.serve import audit, limits, retention, sessions
from stereolive.serve.batching import BatchedNetwork
from stereolive.serve.limits import Admission
from stereolive.serve.logs import log
from stereolive.serve.metrics import Metrics
from stereolive.serve.settings import Settings, default_database
from stereolive.serve.storage import Storage, now_ms
from stereolive.serve.worker import Analyses, Worker

PURGE_SECONDS = 60
SESSION_DAYS = 7
"""How long an ended session can still be read."""


class Service:
    """Storage, worker, limits and metrics. ``detector`` is anything that analyses pairs. Raises InputError."""

    def __init__(self, settings: Settings, detector: Analyses) -> None:
        self.settings = settings
        self.storage = Storage(settings.database or default_database())
        self.metrics = Metrics()
        self.admission = Admission(settings.queue)
        self.worker = Worker(settings, detector, self.storage, self.metrics)
        self.metrics.pending.set_function(lambda: self.admission.taken)
        network = getattr(detector, "_depth", None)
        if isinstance(network, BatchedNetwork):
            self.metrics.batch_items.set_function(lambda: network.items / max(1, network.runs))
        with self.storage.write() as connection:
            audit.append(
                connection, "started", {"model": detector.model.title, "model_sha256": self.worker.model_sha256}
            )
        log("started", model=detector.model.title, model_sha256=self.worker.model_sha256)

    def ready(self) -> str | None:
        """None where a request could be served now, else why not."""
        if self.admission.draining:
            return "the service is shutting down"
        if self.admission.taken >= self.admission.places:
            return "all places are taken"
        try:
            with self.storage.read() as connection:
                audit.head(connection)
        except sa.exc.SQLAlchemyError:
            return "the database does not answer"
        return None

    def purge(self) -> None:
        """Delete what has expired."""
        with self.storage.write() as connection:
            images = retention.purge(connection, self.settings.replay_days)
            limits.forget_full(connection, now_ms())
            ended = sessions.purge(connection, now_ms() - SESSION_DAYS * 86_400_000)
        if images or ended:
            log("purged", images=images, sessions=ended)

    async def purge_for_ever(self) -> None:
        while True:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                await asyncio.to_thread(self.purge)
            await asyncio.sleep(PURGE_SECONDS)

    def close(self) -> None:
        """Finish what was accepted, then let go of everything."""
        self.admission.draining = True
        self.worker.close()
        self.storage.close()
        log("stopped", logging.INFO)
