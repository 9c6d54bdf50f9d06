"""Whether scores may be read as probabilities: of presentations with a score near 0.8, are four in five bona fide?

The share depends on how many attacks there are, so it is told for as many attacks as bona fide presentations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.evaluate.intervals import clopper_pearson

BINS = 10


def reliability(bona_fide: NDArray[np.float64], attacks: NDArray[np.float64]) -> dict[str, Any] | None:
    """Per bin of equal width: mean score, and share of bona fide presentations, of scores (N,) and (M,) of responses;
    None where there are none of a class, or where a score lies outside 0 to 1.

    Both classes weigh the same. ``expected_error`` is the mean distance of both, weighed by the bins' presentations
    (expected calibration error: Naeini, Cooper and Hauskrecht 2015). Intervals are exact, of the share in the sample,
    moved to equal classes.
    """
    if not len(bona_fide) or not len(attacks):
        return None
    bona_fide, attacks = np.sort(bona_fide), np.sort(attacks)  # sums do not depend on the rows' order
    everything = np.concatenate([bona_fide, attacks])
    if everything.min() < 0 or everything.max() > 1:
        return None
    edges = np.linspace(0.0, 1.0, BINS + 1)
    places = [np.minimum((scores * BINS).astype(int), BINS - 1) for scores in (bona_fide, attacks)]
    bins = []
    error = 0.0
    for number in range(BINS):
        held = [scores[place == number] for scores, place in zip((bona_fide, attacks), places, strict=True)]
        living, attacking = (len(scores) for scores in held)
        entry: dict[str, Any] = {
            "from": round(float(edges[number]), 3),
            "to": round(float(edges[number + 1]), 3),
            "bona_fide": living,
            "attacks": attacking,
            "mean_score": None,
            "share": None,
            "ci95": None,
        }
        if living + attacking:
            weights = living / len(bona_fide), attacking / len(attacks)
            means = [float(scores.mean()) if len(scores) else 0.0 for scores in held]
            entry["mean_score"] = (weights[0] * means[0] + weights[1] * means[1]) / sum(weights)
            entry["share"] = weights[0] / sum(weights)
            ratio = len(attacks) / len(bona_fide)
            ends = clopper_pearson(living, living + attacking)
            entry["ci95"] = [end * ratio / (end * ratio + 1.0 - end) for end in ends]
            error += sum(weights) / 2 * abs(entry["mean_score"] - entry["share"])
        bins.append(entry)
    return {"expected_error": error, "bins": bins}
