from __future__ import annotations

import numpy as np
import pytest

from stereolive.train.liveness_stage import temperature
from stereolive.train.threshold import area_under_curve, operating_points, threshold_for_apcer, threshold_for_bpcer


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02, 0.05, 0.5])
@pytest.mark.parametrize("count", [10, 50, 100, 333])
def test_no_more_bona_fide_are_rejected_than_asked_for(share: float, count: int) -> None:
    scores = np.random.default_rng(count).random(count)
    rejected = (scores < threshold_for_bpcer(scores, share)).sum()
    assert rejected == int(share * count + 1e-9)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_no_species_is_accepted_more_often_than_asked_for(share: float) -> None:
    random = np.random.default_rng(1)
    attacks = {"print": random.random(40), "mask": random.random(60) ** 0.5}
    threshold = threshold_for_apcer(attacks, share)
    assert max((scores >= threshold).mean() for scores in attacks.values()) <= share
    lower = threshold - 0.05
    assert max((scores >= lower).mean() for scores in attacks.values()) > share


def test_area_counts_pairs() -> None:
    assert area_under_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == pytest.approx(3.5 / 4)
    assert np.isnan(area_under_curve(np.array([]), np.array([0.5])))


def test_points_state_the_rates_they_have() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.85, 0.2, 0.1])
    species = ["bona_fide"] * 3 + ["mask", "print", "print"]
    points = operating_points(scores, species, 0.34)
    assert points[0]["name"] == "bpcer_34" and points[0]["threshold"] == pytest.approx(0.55)  # nobody's score
    assert points[0]["bpcer"] == pytest.approx(1 / 3) and points[0]["apcer"] == {"mask": 1.0, "print": 0.0}
    assert {"bpcer_1", "bpcer_2", "bpcer_5", "apcer_1", "apcer_5", "apcer_10"} <= {point["name"] for point in points}


def test_temperature_calms_a_boastful_model() -> None:
    random = np.random.default_rng(0)
    labels = random.random(2000) < 0.5
    honest = np.where(labels, 1.5, -1.5) + random.normal(0, 1.7, 2000)
    assert temperature(honest * 4, labels) == pytest.approx(4 * temperature(honest, labels), rel=0.15)
