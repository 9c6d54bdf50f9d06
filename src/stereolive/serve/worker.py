"""From an accepted upload to a stored decision.

Decode, analyse, store. All of it off the event loop, on a bounded number of threads.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from stereolive.detector import Analysis
from stereolive.errors import ImageError
from stereolive.rig import Rig
from stereolive.serve import decisions, sessions
from stereolive.serve.decisions import Stored, Submission
from stereolive.serve.decoding import Decoders
from stereolive.serve.logs import log
from stereolive.serve.metrics import Metrics
from stereolive.serve.problems import ProblemError
from stereolive.serve.settings import Settings
from stereolive.serve.storage import Storage
from stereolive.serve.uploads import Part, image_of
from stereolive.store import Model
from stereolive.types import ImageArray, Verdict

T = TypeVar("T")


class Analyses(Protocol):
    """What the worker needs of a detector."""

    model: Model
    threshold: float

    def analyse(self, first: ImageArray, second: ImageArray, rig: Rig) -> Analysis: ...


@dataclass(frozen=True)
class Answer:
    """A stored decision, and the relief where it was asked for; that is never stored."""

    stored: Stored
    relief: dict[str, Any] | None = None


class Worker:
    """Takes submissions, gives answers."""

    def __init__(self, settings: Settings, detector: Analyses, storage: Storage, metrics: Metrics) -> None:
        self.detector = detector
        manifest = json.dumps(detector.model.as_json(), sort_keys=True).encode()
        self.model_sha256 = hashlib.sha256(manifest).hexdigest()
        self._settings = settings
        self._storage = storage
        self._metrics = metrics
        self._decoders = Decoders(settings.workers, settings.max_pixels, settings.decode_seconds)
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="stereolive")

    async def decide(self, submission: Submission) -> Answer:
        """Raises ProblemError.

        503 where the answer takes too long. A decision that was stored then can still be read with its idempotency
        key.
        """
        return await self.run(partial(self._decide, submission), self._settings.answer_seconds)

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Do ``work`` on a thread of the worker. Raises ProblemError 503 where it takes longer than ``seconds``."""
        begun = self._threads.submit(work)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(asyncio.wrap_future(begun))
        except TimeoutError:
            begun.cancel()
            raise ProblemError(
                503,
                "timeout",
                "the answer took too long; try again with the same idempotency key",
                retry_after_seconds=2,
            ) from None

    def decode(self, part: Part, name: str) -> ImageArray:
        """The image in ``part``. Raises ProblemError that names the part."""
        return image_of(part, name, self._settings.max_pixels, self._decoders.decode)

    def close(self) -> None:
        """Finish what was accepted."""
        self._threads.shutdown(wait=True)
        self._decoders.close()

    def _decide(self, submission: Submission) -> Answer:
        session = None
        with self._stage("look_up"), self._storage.read() as connection:
            repeated = decisions.find_repeated(connection, submission)
            if repeated:
                return Answer(repeated)
            if submission.session_id is not None:
                session = sessions.find(connection, submission.session_id)
                if session is None or session.owner != submission.caller.owner:
                    raise ProblemError(404, "not-found", "there is no such session")
                sessions.check_takes(session, submission.upload.nonce, submission.received_ms)
        upload = submission.upload
        with self._stage("decode"):
            first, second = self.decode(upload.first, "first"), self.decode(upload.second, "second")
        analysis = self._analyse(first, second, upload.rig)
        with self._stage("store"):
            stored = decisions.store(
                self._storage, self._settings, submission, session, analysis.verdict, self.model_sha256
            )
        self._metrics.record(analysis.verdict)
        return Answer(stored, relief_json(analysis) if submission.with_relief else None)

    def _analyse(self, first: ImageArray, second: ImageArray, rig: Rig) -> Analysis:
        start = time.perf_counter()
        try:
            analysis = self.detector.analyse(first, second, rig)
            if all(
                math.isfinite(value)
                for field in fields(Verdict)
                if isinstance(value := getattr(analysis.verdict, field.name), float)
            ):
                return analysis
            log("an analysis gave a number that is not finite", logging.ERROR)
        except ImageError as error:
            raise ProblemError(422, "image", str(error)) from None
        except Exception:
            # Whatever goes wrong here, the one before the sensors is not let in, and whoever runs the service sees it
            # in log and metrics.
            logging.getLogger("stereolive.serve").exception("an analysis failed")
        taken_ms = (time.perf_counter() - start) * 1000
        model = self.detector.model.title
        threshold = self.detector.threshold
        return Analysis(Verdict("no_response", None, threshold, ("internal_error",), None, None, None, model, taken_ms))

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._metrics.stage_seconds.labels(name).observe(time.perf_counter() - start)


def relief_json(analysis: Analysis) -> dict[str, Any] | None:
    """Depth over the face crop and both sensors' views of it, for drawing; None where the chain ended before the depth.

    ``depth_tenth_mm`` and ``depth_sd_tenth_mm`` are base64 of little-endian 16-bit numbers, row by row; ``first`` and
    ``second`` are PNG data URLs, the second laid onto the first by the depth.
    """
    info = analysis.depth
    if info is None:
        return None
    mirrored = info.crop.first_crop_from_rectified[0, 0] < 0
    side_mm = info.crop.size / info.crop.scale * float(np.median(info.depth_mm)) / info.crop.focal_px

    def upright(plane: Any) -> Any:
        return np.ascontiguousarray(plane[:, ::-1] if mirrored else plane)

    def tenths(plane: Any) -> str:
        values = np.clip(np.rint(upright(plane) * 10), 0, 65535).astype("<u2")
        return base64.b64encode(values.tobytes()).decode()

    def picture(plane: Any) -> str:
        small = cv2.resize(upright(plane), info.depth_mm.shape, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".png", small)[1]
        return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()

    return {
        "size": int(info.depth_mm.shape[0]),
        "side_mm": round(side_mm, 1),
        "roll_deg": round(-info.crop.roll_deg if mirrored else info.crop.roll_deg, 1),
        "depth_tenth_mm": tenths(info.depth_mm),
        "depth_sd_tenth_mm": tenths(info.depth_sd_mm),
        "first": picture(info.first),
        "second": picture(info.second),
    }
