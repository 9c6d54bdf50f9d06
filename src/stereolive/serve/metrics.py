"""What the service tells Prometheus. No label holds anything about a person or a key."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stereolive.types import Verdict

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24)
DRIFT_WINDOW = 500
"""Answers in the reference, and in the window that is held against it."""
_DRIFT_QUANTITIES = ("score", "distance_mm", "depth_sd_mm")


class Metrics:
    """One registry a service, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "stereolive_"
        self.stage_seconds = Histogram(
            name + "stage_seconds", "Time by stage of a decision", ["stage"], buckets=_SECONDS, registry=self.registry
        )
        self.request_seconds = Histogram(
            name + "request_seconds", "Time by route", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.requests = Counter(
            name + "requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.decisions = Counter(name + "decisions", "Decisions by outcome", ["decision"], registry=self.registry)
        self.non_responses = Counter(
            name + "non_responses", "Non-responses by code", ["reason"], registry=self.registry
        )
        self.refusals = Counter(name + "refusals", "Refused requests by problem", ["problem"], registry=self.registry)
        self.pending = Gauge(name + "pending", "Requests in the house", registry=self.registry)
        self.batch_items = Gauge(
            name + "batch_mean_items", "Mean pairs that went through a network together", registry=self.registry
        )
        self.drift = Gauge(
            name + "drift_psi",
            f"Population stability index of the last {DRIFT_WINDOW} answers against the first {DRIFT_WINDOW}",
            ["quantity"],
            registry=self.registry,
        )
        self._drift = {quantity: _Drift() for quantity in _DRIFT_QUANTITIES}

    def record(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.decisions.labels(verdict.decision).inc()
        for stage, ms in verdict.stage_ms:
            self.stage_seconds.labels(stage).observe(ms / 1000)
        if verdict.decision == "no_response":
            for reason in verdict.reasons:
                self.non_responses.labels(reason).inc()
        for quantity, drift in self._drift.items():
            value = getattr(verdict, quantity)
            if value is not None and (index := drift.add(value)) is not None:
                self.drift.labels(quantity).set(index)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Drift:
    """Population stability index over deciles of the first window.

    Below 0.1 steady, above 0.25 changed (the usual reading).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reference: list[float] = []
        self._edges: np.ndarray | None = None
        self._window: deque[float] = deque(maxlen=DRIFT_WINDOW)
        self._count = 0

    def add(self, value: float) -> float | None:
        """The index once both windows are full, worked out at every tenth value."""
        with self._lock:
            if self._edges is None:
                self._reference.append(value)
                if len(self._reference) == DRIFT_WINDOW:
                    self._edges = np.quantile(self._reference, np.linspace(0, 1, 11)[1:-1])
                return None
            self._window.append(value)
            self._count += 1
            if len(self._window) < DRIFT_WINDOW or self._count % 10:
                return None
            return population_stability_index(self._reference, list(self._window), self._edges)


def population_stability_index(reference: list[float], window: list[float], edges: np.ndarray) -> float:
    """Sum of (p - q) ln(p / q) over the bins between ``edges``; empty bins count as half an answer."""
    shares = []
    for values in (reference, window):
        counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        shares.append(np.maximum(counts, 0.5) / len(values))
    p, q = shares
    return float(((p - q) * np.log(p / q)).sum())
