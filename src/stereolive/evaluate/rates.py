"""The rates of ISO/IEC 30107-3:2023, "Testing and reporting", and the figures that papers print beside them.

Scores are arrays (N,): higher means more likely bona fide, NaN means no response. A presentation is accepted where
its score is at least the threshold. Decisions are arrays (N,): 1 bona fide, 0 attack, -1 no response. Presentations
without a response count in APNRR and BPNRR and in no other rate. Terms and formulas are those of the standard's
clauses on metrics: 3.2 (terms of the metrics) and 13 (PAD subsystem and full-system evaluation); each function names
its metric as they do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stereolive.errors import InputError
from stereolive.evaluate.intervals import clopper_pearson, upper_bound

FloatArray = NDArray[np.float64]
Decisions = NDArray[np.int8]
DET_POINTS = 80


@dataclass(frozen=True)
class Rate:
    """So many errors of so many presentations."""

    errors: int
    n: int

    @property
    def rate(self) -> float | None:
        return self.errors / self.n if self.n else None

    @property
    def ci95(self) -> tuple[float, float]:
        """Two-sided exact interval (Clopper and Pearson 1934)."""
        return clopper_pearson(self.errors, self.n)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided exact interval at another confidence."""
        return clopper_pearson(self.errors, self.n, confidence)

    @property
    def proves(self) -> float:
        """The rate that this sample proves not to be exceeded: one-sided exact bound at 95 %."""
        return upper_bound(self.errors, self.n)

    def as_json(self) -> dict[str, Any]:
        return {"n": self.n, "errors": self.errors, "rate": self.rate, "ci95": list(self.ci95)}


@dataclass(frozen=True)
class OperatingPoint:
    """A rate at the threshold where the opposite rate meets its target; ``threshold`` may be infinite."""

    target: float
    threshold: float
    rate: Rate
    resolved: bool  # whether the sample is large enough to show the target rate at all (n >= 1 / target)


def decide(scores: ArrayLike, threshold: float) -> Decisions:
    """Decisions (N,) at a threshold."""
    if math.isnan(threshold):
        raise InputError("threshold: is not a number")
    values = _scores(scores)
    decisions = (values >= threshold).astype(np.int8)
    decisions[np.isnan(values)] = -1
    return decisions


def apcer(decisions: Decisions) -> Rate:
    """Attack presentation classification error rate of ONE PAI species.

    ISO/IEC 30107-3: APCER_PAIS = 1 - (1 / N_PAIS) sum Res_i, Res_i = 1 where attack i is classified as an attack. It
    is reported per species, and the worst species stands for the system; no average over species has a meaning.
    """
    return Rate(int((decisions == 1).sum()), int((decisions >= 0).sum()))


def bpcer(decisions: Decisions) -> Rate:
    """Bona fide presentation classification error rate.

    ISO/IEC 30107-3: BPCER = (1 / N_BF) sum Res_i, Res_i = 1 where bona fide presentation i is classified as an attack.
    """
    return Rate(int((decisions == 0).sum()), int((decisions >= 0).sum()))


def nonresponse_rate(decisions: Decisions) -> Rate:
    """APNRR of attacks (per PAI species), BPNRR of bona fide presentations.

    ISO/IEC 30107-3: the proportion of presentations that cause no response of the PAD subsystem.
    """
    return Rate(int((decisions < 0).sum()), len(decisions))


def worst(rates: Mapping[str, Rate]) -> str | None:
    """The PAI species with the highest APCER (of equals the one with more presentations);

    None where no attack had a response.
    """
    graded = [name for name, rate in rates.items() if rate.n]
    return max(graded, key=lambda name: (rates[name].rate, rates[name].n), default=None)


def threshold_at_bpcer(bona_fide: ArrayLike, target: float) -> float:
    """The highest threshold at which BPCER does not exceed ``target``, set on these (validation) scores;

    no interpolation.
    """
    scores = _responses(bona_fide, "bona fide")
    rejected = _allowed_errors(len(scores), target)
    return float(np.partition(scores, rejected)[rejected]) if rejected < len(scores) else math.inf


def threshold_at_apcer(attacks: Mapping[str, ArrayLike], target: float) -> float:
    """The lowest threshold at which no PAI species' APCER exceeds ``target``; no interpolation."""
    threshold = -math.inf
    for scores in _graded_species(attacks).values():
        accepted = _allowed_errors(len(scores), target)
        if accepted < len(scores):
            # One more than allowed must be refused, and with it all that tie with it.
            first_refused = np.partition(scores, len(scores) - 1 - accepted)[len(scores) - 1 - accepted]
            threshold = max(threshold, float(np.nextafter(first_refused, np.inf)))
    return threshold


def bpcer_at_apcer(bona_fide: ArrayLike, attacks: Mapping[str, ArrayLike], target: float) -> OperatingPoint:
    """BPCER where the worst species' APCER is at most ``target``: BPCER10, BPCER20, BPCER100 for 10, 5 and 1 %.

    ISO/IEC 30107-3 names the figure BPCER_AP, BPCER at a fixed APCER. Here the APCER is the maximum over PAI species.
    """
    threshold = threshold_at_apcer(attacks, target)
    rate = bpcer(decide(_responses(bona_fide, "bona fide"), threshold))
    resolved = min(len(scores) for scores in _graded_species(attacks).values()) * target >= 1 - 1e-9
    return OperatingPoint(target, threshold, rate, resolved)


def apcer_at_bpcer(bona_fide: ArrayLike, attacks: ArrayLike, target: float) -> OperatingPoint:
    """APCER of one species where BPCER is at most ``target``."""
    genuine = _responses(bona_fide, "bona fide")
    threshold = threshold_at_bpcer(genuine, target)
    rate = apcer(decide(_responses(attacks, "attack"), threshold))
    return OperatingPoint(target, threshold, rate, len(genuine) * target >= 1 - 1e-9)


def det(bona_fide: ArrayLike, attacks: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Detection error trade-off: thresholds (T,), APCER (T,) falling, BPCER (T,) rising, at every score where
    something changes.

    ISO/IEC 19795-1 defines the curve, ISO/IEC 30107-3 its axes. The first threshold is -inf (everything accepted),
    the last +inf.
    """
    genuine = np.sort(_responses(bona_fide, "bona fide"))
    attack = np.sort(_responses(attacks, "attack"))
    merged = np.sort(np.concatenate([genuine, attack]), kind="stable")  # two sorted runs: quick
    different = np.r_[True, merged[1:] != merged[:-1]]
    thresholds = np.concatenate([[-np.inf], merged[different], [np.inf]])
    apcers = 1 - np.searchsorted(attack, thresholds, "left") / len(attack)
    bpcers = np.searchsorted(genuine, thresholds, "left") / len(genuine)
    return thresholds, apcers, bpcers


def thinned_det(bona_fide: ArrayLike, attacks: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The DET curve at some hundred of its points, spread along both axes, so that a million scores make a small
    figure.
    """
    thresholds, apcers, bpcers = det(bona_fide, attacks)
    chosen = [np.linspace(0, len(thresholds) - 1, 9).astype(int)]
    # A DET curve's axes stretch the small rates; half of the points are spread along each axis in that measure.
    for curve, rising in ((apcers[::-1], False), (bpcers, True)):
        steps = np.geomspace(max(curve[curve > 0].min(), 1e-6), 1, DET_POINTS // 2)
        index = np.minimum(np.searchsorted(curve, steps), len(curve) - 1)
        chosen.append(index if rising else len(curve) - 1 - index)
    points = np.unique(np.concatenate(chosen))
    return thresholds[points], apcers[points], bpcers[points]


def roc(bona_fide: ArrayLike, attacks: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Receiver operating characteristic:

    accepted attacks (T,) and accepted bona fide presentations (T,) from (0, 0) to (1, 1).
    """
    _, apcers, bpcers = det(bona_fide, attacks)
    return apcers[::-1], 1 - bpcers[::-1]


def auc(bona_fide: ArrayLike, attacks: ArrayLike) -> float:
    """Area under the ROC: P(bona fide score > attack score) + P(equal) / 2.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982). Not an ISO metric.
    """
    genuine, attack = _responses(bona_fide, "bona fide"), _responses(attacks, "attack")
    # Whole numbers are added, so that no order of the presentations changes the last digit.
    return int(_twice_below(genuine, attack).sum()) / (2 * len(genuine) * len(attack))


def placements(scores: FloatArray, others: FloatArray) -> FloatArray:
    """For every score (N,) the part of ``others`` (M,) that lie below it, equal ones by half; the mean is an AUC."""
    fraction: FloatArray = _twice_below(scores, others) / (2.0 * len(others))
    return fraction


def _twice_below(scores: FloatArray, others: FloatArray) -> NDArray[np.int64]:
    """For every score (N,) twice the number of ``others`` (M,) below it, equal ones counted once."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")


def eer(bona_fide: ArrayLike, attacks: ArrayLike) -> tuple[float, float]:
    """Equal error rate over all attacks pooled, and its threshold. Not an ISO metric: its threshold is set on the
    test part.

    The mean of APCER and BPCER at the threshold where they are nearest to each other.
    """
    thresholds, apcers, bpcers = det(bona_fide, attacks)
    nearest = int(np.argmin(np.abs(apcers - bpcers)))
    return float(apcers[nearest] + bpcers[nearest]) / 2, float(thresholds[nearest])


def acer(apcer_max: Rate, bona_fide: Rate) -> float | None:
    """Average classification error rate (APCER_max + BPCER) / 2.

    Not an ISO metric: ISO/IEC 30107-3 does not define it.
    """
    if apcer_max.rate is None or bona_fide.rate is None:
        return None
    return (apcer_max.rate + bona_fide.rate) / 2


def iapar(decisions: Decisions, match_scores: ArrayLike, match_threshold: float) -> Rate:
    """Impostor attack presentation accept rate of ONE PAI species:

    accepted by PAD and by the comparison (full system).
    """
    responded = decisions >= 0
    matched = np.asarray(match_scores, np.float64) >= match_threshold
    return Rate(int((matched & (decisions == 1)).sum()), int(responded.sum()))


def frr(decisions: Decisions, match_scores: ArrayLike, match_threshold: float) -> Rate:
    """False reject rate of the full system on bona fide presentations: rejected by PAD or by the comparison."""
    responded = decisions >= 0
    matched = np.asarray(match_scores, np.float64) >= match_threshold
    return Rate(int((responded & ~(matched & (decisions == 1))).sum()), int(responded.sum()))


def riapar(attack_accepts: Rate, false_rejects: Rate) -> float | None:
    """Relative impostor attack presentation accept rate of one PAI species.

    ISO/IEC 30107-3:2023: RIAPAR = 1 + (IAPAR - (1 - FRR)), that is IAPAR + FRR.
    """
    if attack_accepts.rate is None or false_rejects.rate is None:
        return None
    return attack_accepts.rate + false_rejects.rate


def _allowed_errors(n: int, target: float) -> int:
    if not 0 <= target <= 1:
        raise InputError(f"target rate: expected 0 to 1, got {target:g}")
    return math.floor(n * target + 1e-9)  # 0.07 * 100 must allow 7


def _graded_species(attacks: Mapping[str, ArrayLike]) -> dict[str, FloatArray]:
    graded = {}
    for name, scores in attacks.items():
        values = _scores(scores)
        values = values[~np.isnan(values)]
        if len(values):
            graded[name] = values
    if not graded:
        raise InputError("there is no attack presentation with a response")
    return graded


def _scores(scores: ArrayLike) -> FloatArray:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1:
        raise InputError(f"scores: expected shape (N,), got {values.shape}")
    if np.isinf(values).any():
        raise InputError("scores: has values that are not finite")
    return values


def _responses(scores: ArrayLike, kind: str) -> FloatArray:
    values = _scores(scores)
    values = values[~np.isnan(values)]
    if not len(values):
        raise InputError(f"there is no {kind} presentation with a response")
    return values
