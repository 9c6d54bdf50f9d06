"""Pairs of several requests go through the networks together.

``BatchingDetector`` is the detector as it is, so that the service decides nothing by itself; only its networks are
shared. Whoever comes to a network while another run is under way waits, and all who wait then go through as one
batch: no timer, hence no delay for a lone request.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

import numpy as np

from stereolive.detector import LivenessDetector
from stereolive.runtime import FloatArray


class Runs(Protocol):
    """Anything with the ``run`` of ``runtime.Network``."""

    def run(self, *inputs: FloatArray) -> list[FloatArray]: ...


class _Entry:
    """One caller's inputs, and what became of them."""

    def __init__(self, inputs: tuple[FloatArray, ...]) -> None:
        self.inputs = inputs
        self.outputs: list[FloatArray] | None = None
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.outputs is not None or self.error is not None


class BatchedNetwork:
    """A network whose concurrent runs are joined along the first axis, ``most`` of them at once."""

    def __init__(self, network: Runs, most: int) -> None:
        self._network = network
        self._most = most
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._busy = False
        self.runs = 0
        self.items = 0

    def run(self, *inputs: FloatArray) -> list[FloatArray]:
        entry = _Entry(inputs)
        with self._changed:
            self._waiting.append(entry)
            while not entry.is_done:
                if self._busy:
                    self._changed.wait()
                    continue
                # Whoever finds the network free runs it for all who wait, but no longer than for its own answer.
                self._busy = True
                batch = self._next()
                self._changed.release()
                try:
                    self._run(batch)
                finally:
                    self._changed.acquire()
                    self._busy = False
                    self._changed.notify_all()
        if entry.error is not None:
            raise entry.error
        assert entry.outputs is not None
        return entry.outputs

    def _next(self) -> list[_Entry]:
        """Who waited longest, and who waits with inputs of the same size; they wait no more."""
        shapes = [[array.shape[1:] for array in entry.inputs] for entry in self._waiting]
        batch = [entry for entry, shape in zip(self._waiting, shapes, strict=True) if shape == shapes[0]][: self._most]
        self._waiting = [entry for entry in self._waiting if entry not in batch]
        return batch

    def _run(self, batch: list[_Entry]) -> None:
        self.runs += 1
        self.items += len(batch)
        try:
            joined = [np.concatenate(arrays) for arrays in zip(*(entry.inputs for entry in batch), strict=True)]
            outputs = self._network.run(*joined)
        except Exception as error:  # each of them waits for an answer, be it this
            for entry in batch:
                entry.error = error
            return
        start = 0
        for entry in batch:
            stop = start + len(entry.inputs[0])
            entry.outputs = [output[start:stop] for output in outputs]
            start = stop


class BatchingDetector(LivenessDetector):
    """``LivenessDetector`` for many threads at once."""

    def __init__(
        self, model: str | Path | None = None, *, threads: int = 1, runtime: str = "onnxruntime", batch: int = 8
    ) -> None:
        super().__init__(model, threads=threads, runtime=runtime)
        self._depth = BatchedNetwork(self._depth, batch)  # type: ignore[assignment]
        self._liveness = BatchedNetwork(self._liveness, batch)  # type: ignore[assignment]
