"""Several pairs become one decision. The rules, in full:

1. An *attempt* begins with the first pair in which a face is seen by either sensor, and ends with a decision or after
   ``window_s``.
2. ``bona_fide`` takes at least ``responses`` pairs with a score, over at least ``span_s``; a median score at or
above the threshold; at most ``dissent`` of the scores below it; and at least half of the attempt's pairs must have
had a score.
3. ``attack`` takes the same number of scores with a median below the threshold.
4. When the face jumps by more than ``jump`` face widths between two pairs, or is gone for ``gap_s``, the scores so
far are dropped: nobody can be swapped in between. The attempt's time goes on.
5. An attempt that ends without either is ``no_response`` with its most frequent reasons. Such attempts are counted;
after ``no_responses`` in a row the decision is ``attack`` with the reason ``repeated_no_response``, so that an
attack cannot hide in faults. Only ``bona_fide``, or ``forget_s`` without any face, sets the count back.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from stereolive.errors import InputError
from stereolive.types import Decision, Verdict

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FusionRules:
    """The numbers in the rules above."""

    responses: int = 3
    span_s: float = 0.25
    window_s: float = 4.0
    dissent: float = 0.25
    jump: float = 0.6
    gap_s: float = 1.0
    no_responses: int = 3
    forget_s: float = 60.0

    def __post_init__(self) -> None:
        if self.responses < 1 or self.no_responses < 1:
            raise InputError("fusion: expected at least one response and one non-response")
        if not (self.window_s > self.span_s >= 0 and self.gap_s > 0):
            raise InputError("fusion: expected a window longer than the span, and a gap above 0 s")


@dataclass(frozen=True)
class Outcome:
    """One decision over several pairs."""

    decision: Decision
    score: float | None  # median of the pairs' scores
    reasons: tuple[str, ...]
    pairs: int
    responses: int
    duration_s: float
    no_responses_in_a_row: int


@dataclass
class _Attempt:
    began_s: float
    pairs: int = 0
    responses: list[tuple[float, Verdict]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    last_face: Box | None = None
    last_face_s: float = -math.inf


class Fusion:
    """Feed it verdicts in the order of their times; it answers when an attempt is decided."""

    def __init__(self, threshold: float, rules: FusionRules | None = None) -> None:
        self.threshold = threshold
        self.rules = rules or FusionRules()
        self.no_responses_in_a_row = 0
        self._attempt: _Attempt | None = None
        self._last_face_s = -math.inf

    def add(self, verdict: Verdict, time_s: float) -> Outcome | None:
        """Take in one pair's verdict."""
        face = verdict.face_first or verdict.face_second
        if face is not None:
            self._last_face_s = time_s
        elif time_s - self._last_face_s > self.rules.forget_s:
            self.no_responses_in_a_row = 0
        if self._attempt is None:
            if face is None:
                return None
            self._attempt = _Attempt(time_s)
        attempt = self._attempt
        attempt.pairs += 1
        if not self._continues(attempt, verdict, time_s):
            attempt.responses.clear()
            attempt.faults["moved_too_fast"] += 1
        if face is not None:
            attempt.last_face, attempt.last_face_s = verdict.face_first or attempt.last_face, time_s
        if verdict.score is None or verdict.decision == "no_response":
            attempt.faults.update(verdict.reasons)
        else:
            attempt.responses.append((time_s, verdict))
        return self._decided(attempt, time_s)

    def _continues(self, attempt: _Attempt, verdict: Verdict, time_s: float) -> bool:
        if not attempt.responses:
            return True
        if time_s - attempt.last_face_s > self.rules.gap_s:
            return False
        if verdict.face_first is None or attempt.last_face is None:
            return True
        x, y, width, height = verdict.face_first
        u, v, before_width, before_height = attempt.last_face
        moved = math.hypot(x + width / 2 - u - before_width / 2, y + height / 2 - v - before_height / 2)
        return moved <= self.rules.jump * max(width, before_width)

    def _decided(self, attempt: _Attempt, time_s: float) -> Outcome | None:
        scores = np.array([verdict.score for _, verdict in attempt.responses], np.float64)
        enough = len(scores) >= self.rules.responses
        if enough and attempt.responses[-1][0] - attempt.responses[0][0] >= self.rules.span_s:
            if float(np.median(scores)) < self.threshold:
                return self._end(attempt, "attack", time_s)
            few_against = float((scores < self.threshold).mean()) <= self.rules.dissent
            if few_against and 2 * len(scores) >= attempt.pairs:
                return self._end(attempt, "bona_fide", time_s)
        return self._end(attempt, "no_response", time_s) if time_s - attempt.began_s >= self.rules.window_s else None

    def _end(self, attempt: _Attempt, decision: Decision, time_s: float) -> Outcome:
        self._attempt = None
        self.no_responses_in_a_row = {"no_response": self.no_responses_in_a_row + 1, "bona_fide": 0}.get(
            decision, self.no_responses_in_a_row
        )
        scores = [verdict.score for _, verdict in attempt.responses if verdict.score is not None]
        score = float(np.median(scores)) if scores and decision != "no_response" else None
        if decision == "no_response":
            reasons = tuple(code for code, _ in attempt.faults.most_common(2)) or ("scores_disagree",)
            if self.no_responses_in_a_row >= self.rules.no_responses:
                decision, reasons = "attack", ("repeated_no_response", *reasons)
        else:
            side = [verdict for _, verdict in attempt.responses if verdict.decision == decision]
            reasons = tuple(code for code, _ in Counter(r for verdict in side for r in verdict.reasons).most_common(3))
        duration = time_s - attempt.began_s
        return Outcome(decision, score, reasons, attempt.pairs, len(scores), duration, self.no_responses_in_a_row)
