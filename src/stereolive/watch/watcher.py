"""The live loop: every pair judged, checked against those before, fused, and the rig watched for drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from stereolive.calibrate.auto import uncalibrated
from stereolive.detector import Analysis
from stereolive.drift import Drift, DriftThresholds, DriftWatch
from stereolive.rig import Rig
from stereolive.sources import FramePair, PairSource
from stereolive.types import ImageArray, Verdict
from stereolive.watch.fusion import Fusion, FusionRules, Outcome
from stereolive.watch.sequence import SequenceThresholds, SequenceWatch


class Detector(Protocol):
    """What the loop needs of ``LivenessDetector``."""

    threshold: float

    def analyse(self, first: ImageArray, second: ImageArray, rig: Rig) -> Analysis: ...


@dataclass(frozen=True, eq=False)
class Moment:
    """What is known after one pair."""

    pair: FramePair
    analysis: Analysis
    outcome: Outcome | None  # where this pair decided an attempt
    drift: Drift | None

    @property
    def verdict(self) -> Verdict:
        return self.analysis.verdict


class Watcher:
    """Judges the pairs of one stream. On a rig that is not ``calibrated`` but estimated every verdict says so and has
    no millimetres."""

    def __init__(
        self,
        detector: Detector,
        rig: Rig,
        rules: FusionRules | None = None,
        *,
        calibrated: bool = True,
        sequence: SequenceThresholds | None = None,
        drift: DriftThresholds | None = None,
    ) -> None:
        self._detector = detector
        self.rig = rig
        self._calibrated = calibrated
        self._sequence = SequenceWatch(rig, sequence)
        self.drift_watch = DriftWatch(rig, drift)
        self.fusion = Fusion(detector.threshold, rules)

    def watch(self, source: PairSource) -> Iterator[Moment]:
        """Every pair of a source; live sources deliver the newest one after each judgement."""
        for pair in source:
            yield self.judge(pair)

    def judge(self, pair: FramePair) -> Moment:
        """One pair."""
        if pair.unsynchronised:
            analysis = Analysis(self._refusal("unsynchronised"))
        else:
            analysis = self._detector.analyse(pair.first, pair.second, self.rig)
        drift = self._watch_drift(analysis)
        fault = self._sequence.fault(pair, analysis.location)
        if fault is None and drift is not None and drift.drifted:
            fault = "rig_drifted"
        verdict = _with_fault(analysis.verdict, fault)
        verdict = verdict if self._calibrated else uncalibrated(verdict)
        analysis = replace(analysis, verdict=verdict)
        return Moment(pair, analysis, self.fusion.add(verdict, pair.time_ms / 1000), drift)

    def _watch_drift(self, analysis: Analysis) -> Drift | None:
        location = analysis.location
        if location is not None and location.face_first is not None and location.face_second is not None:
            self.drift_watch.add(location.face_first, location.face_second)
        return self.drift_watch.estimate()

    def _refusal(self, reason: str) -> Verdict:
        threshold = self._detector.threshold
        return Verdict("no_response", None, threshold, (reason,), None, None, None, "", 0.0)


def _with_fault(verdict: Verdict, fault: str | None) -> Verdict:
    """A fault takes away ``bona_fide``; an attack stays one, with the fault as a further reason."""
    if fault is None or fault in verdict.reasons:
        return verdict
    if verdict.decision == "bona_fide":
        return replace(verdict, decision="no_response", score=None, reasons=(fault,))
    return replace(verdict, reasons=(fault, *verdict.reasons))
