"""The threshold and its operating points, from validation scores alone (ISO/IEC 30107-3's rates)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.data.manifest import BONA_FIDE

BPCER_POINTS = (0.01, 0.02, 0.05)
APCER_POINTS = (0.01, 0.05, 0.10)


def threshold_for_bpcer(bona_fide: NDArray[np.float64], bpcer: float) -> float:
    """The highest threshold that rejects (score below it) at most this share of the bona fide scores."""
    ordered = np.sort(bona_fide)
    return float(ordered[int(np.floor(bpcer * len(ordered) + 1e-9))])


def threshold_for_apcer(attacks: dict[str, NDArray[np.float64]], apcer: float) -> float:
    """The lowest threshold that accepts at most this share of every species' scores."""
    lowest = 0.0
    for scores in attacks.values():
        ordered = np.sort(scores)[::-1]
        allowed = int(np.floor(apcer * len(ordered) + 1e-9))
        if allowed < len(ordered):
            lowest = max(lowest, float(np.nextafter(ordered[allowed], np.inf)))
    return min(lowest, 1.0)


def operating_points(scores: NDArray[np.float64], species: Sequence[str], bpcer: float) -> list[dict[str, Any]]:
    """The named BPCER first, then the usual ones; each with its threshold and the rates it has on these scores."""
    kinds = np.array(species)
    bona_fide = scores[kinds == BONA_FIDE]
    attacks = {str(kind): scores[kinds == kind] for kind in sorted(set(species) - {BONA_FIDE})}
    chosen = [
        (f"bpcer_{100 * share:g}", threshold_for_bpcer(bona_fide, share))
        for share in dict.fromkeys((bpcer, *BPCER_POINTS))
    ]
    chosen += [(f"apcer_{100 * share:g}", threshold_for_apcer(attacks, share)) for share in APCER_POINTS]
    points = []
    for name, least in chosen:
        threshold = _between(scores, least)
        rejected, apcer = rates_at(scores, species, threshold)
        point = {"name": name, "threshold": threshold, "bpcer": rejected}
        points.append({**point, "apcer_max": max(apcer.values()), "apcer": apcer})
    return points


def _between(scores: NDArray[np.float64], threshold: float) -> float:
    """The middle of the gap between the scores that the threshold separates: the same rates, and nobody's score lies on
    it, where rounding would decide."""
    below, above = scores[scores < threshold], scores[scores >= threshold]
    low = float(below.max()) if len(below) else 0.0
    high = float(above.min()) if len(above) else 1.0
    return (low + high) / 2


def rates_at(scores: NDArray[np.float64], species: Sequence[str], threshold: float) -> tuple[float, dict[str, float]]:
    """BPCER, and APCER by species, of scores of which those from ``threshold`` on are taken for bona fide."""
    kinds = np.array(species)
    accepted = scores >= threshold
    attacks = sorted(set(species) - {BONA_FIDE})
    return float((~accepted[kinds == BONA_FIDE]).mean()), {
        kind: float(accepted[kinds == kind].mean()) for kind in attacks
    }


def area_under_curve(bona_fide: NDArray[np.float64], attacks: NDArray[np.float64]) -> float:
    """Probability that a bona fide score is above an attack's, ties counting half."""
    if not len(bona_fide) or not len(attacks):
        return float("nan")
    ordered = np.sort(attacks)
    below = np.searchsorted(ordered, bona_fide, "left")
    up_to = np.searchsorted(ordered, bona_fide, "right")
    return float((below + up_to).mean() / 2 / len(attacks))
