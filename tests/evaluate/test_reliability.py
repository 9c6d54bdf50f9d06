"""Whether scores may be read as probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from stereolive.evaluate.figures import reliability_figure
from stereolive.evaluate.intervals import clopper_pearson
from stereolive.evaluate.reliability import reliability


def drawn(count: int, attacks_per_bona_fide: float, sharpened: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are the probability of bona fide among equally many, or are more certain than that."""
    random = np.random.default_rng(4)
    truth = random.uniform(0, 1, count)
    living = random.uniform(0, 1, count) < truth
    odds = (truth / (1 - truth)) ** sharpened
    scores = odds / (1 + odds)
    attacks = scores[~living]
    return scores[living], np.repeat(attacks, round(attacks_per_bona_fide))


@pytest.mark.parametrize("attacks_per_bona_fide", [1, 3])
def test_probabilities_lie_on_the_diagonal_however_many_attacks_there_are(attacks_per_bona_fide: float) -> None:
    found = reliability(*drawn(20000, attacks_per_bona_fide))
    assert found is not None and found["expected_error"] < 0.02
    for entry in found["bins"]:
        assert entry["share"] == pytest.approx((entry["from"] + entry["to"]) / 2, abs=0.03)
        assert entry["ci95"][0] < entry["share"] < entry["ci95"][1]


def test_scores_that_are_too_certain_lie_off_it() -> None:
    found = reliability(*drawn(20000, 1, sharpened=4.0))
    assert found is not None and found["expected_error"] > 0.08
    assert found["bins"][-1]["share"] < found["bins"][-1]["mean_score"] - 0.05


def test_counted_by_hand() -> None:
    found = reliability(np.array([0.95, 1.0]), np.array([0.05, 0.95, 0.0, 0.0]))
    assert found is not None
    last = found["bins"][-1]
    assert (last["bona_fide"], last["attacks"]) == (2, 1)
    assert last["share"] == pytest.approx(1 / (1 + 1 / 4))
    low, high = clopper_pearson(2, 3)
    assert last["ci95"] == pytest.approx([2 * low / (1 + low), 2 * high / (1 + high)])
    assert found["bins"][5]["share"] is None
    assert reliability_figure(found["bins"]).count("<circle") == 2


def test_nothing_is_said_of_scores_that_are_no_probabilities() -> None:
    assert reliability(np.array([1.5]), np.array([0.1])) is None
    assert reliability(np.array([]), np.array([0.1])) is None
