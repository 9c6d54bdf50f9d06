"""The rates against scikit-learn, a hand-computed example, and what must hold for any scores."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from stereolive.errors import InputError
from stereolive.evaluate import rates
from stereolive.evaluate.bootstrap import SubjectBootstrap, auc_influence, clustered_sd, interval

# A loaded machine is slow now and then; that is no fault of a rate.
FEW = settings(max_examples=60, deadline=None)
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "evaluation.json").read_text("utf-8"))
CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])

# Few distinct values, so that ties are common.
scores = st.lists(st.integers(0, 12).map(lambda v: v / 12), min_size=1, max_size=40)
thresholds = st.floats(-0.1, 1.1)


@CASES
def test_auc_agrees_with_scikit_learn(case: dict[str, Any]) -> None:
    attacks = np.concatenate([np.array(values) for values in case["species"].values()])
    assert rates.auc(case["bona_fide"], attacks) == pytest.approx(case["auc"], abs=1e-12)


@CASES
def test_roc_and_det_agree_with_scikit_learn(case: dict[str, Any]) -> None:
    attacks = np.concatenate([np.array(values) for values in case["species"].values()])
    accepted, found = rates.roc(case["bona_fide"], attacks)
    ours = {(round(x, 12), round(y, 12)) for x, y in zip(accepted, found, strict=True)}
    theirs = {(round(x, 12), round(y, 12)) for x, y in zip(*case["roc"], strict=True)}
    assert ours == theirs
    cut, apcers, bpcers = rates.det(case["bona_fide"], attacks)
    for apcer, bpcer, threshold in zip(*case["det"], strict=True):
        if math.isfinite(threshold):
            place = int(np.searchsorted(cut, threshold))
            assert (apcers[place], bpcers[place]) == pytest.approx((apcer, bpcer), abs=1e-12)


@CASES
def test_bpcer_at_apcer_is_the_best_that_every_species_allows(case: dict[str, Any]) -> None:
    for target, expected in case["bpcer_at_apcer"].items():
        point = rates.bpcer_at_apcer(case["bona_fide"], case["species"], float(target))
        assert point.rate.rate == pytest.approx(expected, abs=1e-12)


def test_hand_computed_example() -> None:
    """Ten presentations on paper: threshold 0.5, one silent of each kind."""
    bona_fide = rates.decide([0.9, 0.8, 0.5, 0.4, math.nan], 0.5)  # one of four rejected; 0.5 reaches the threshold
    prints = rates.decide([0.1, 0.2, 0.6], 0.5)  # one of three accepted
    masks = rates.decide([0.7, math.nan], 0.5)  # one of one accepted, one silent
    assert rates.bpcer(bona_fide) == rates.Rate(1, 4)
    assert rates.apcer(prints) == rates.Rate(1, 3)
    assert rates.apcer(masks) == rates.Rate(1, 1)
    assert rates.nonresponse_rate(bona_fide) == rates.Rate(1, 5)
    assert rates.nonresponse_rate(masks) == rates.Rate(1, 2)
    assert rates.worst({"print": rates.apcer(prints), "mask": rates.apcer(masks)}) == "mask"
    assert rates.acer(rates.apcer(masks), rates.bpcer(bona_fide)) == 0.625
    # 4 x 4 pairs: 0.9, 0.8 beat all (8); 0.5 and 0.4 beat 0.1, 0.2 (4): 12 of 16.
    assert rates.auc([0.9, 0.8, 0.5, 0.4], [0.1, 0.2, 0.6, 0.7]) == 0.75


def test_riapar_is_iapar_plus_frr() -> None:
    attacks = rates.decide([0.9, 0.9, 0.9, 0.1], 0.5)
    accepts = rates.iapar(
        attacks, [0.9, 0.2, 0.8, 0.9], 0.5
    )  # the second does not match, the last is refused as an attack
    rejects = rates.frr(rates.decide([0.9, 0.9, 0.2, math.nan], 0.5), [0.9, 0.1, 0.9, 0.9], 0.5)
    assert (accepts, rejects) == (rates.Rate(2, 4), rates.Rate(2, 3))
    assert rates.riapar(accepts, rejects) == pytest.approx(1 + (0.5 - (1 - 2 / 3)))


@FEW
@given(scores, thresholds, thresholds)
def test_rates_are_monotone_in_the_threshold(values: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert rates.apcer(rates.decide(values, low)).errors >= rates.apcer(rates.decide(values, high)).errors
    assert rates.bpcer(rates.decide(values, low)).errors <= rates.bpcer(rates.decide(values, high)).errors


@FEW
@given(scores, scores, st.randoms())
def test_order_does_not_matter(bona_fide: list[float], attacks: list[float], random: Any) -> None:
    before = _figures(bona_fide, attacks)
    random.shuffle(bona_fide)
    random.shuffle(attacks)
    assert _figures(bona_fide, attacks) == before


@FEW
@given(scores, scores, st.integers(2, 4))
def test_duplicates_do_not_matter(bona_fide: list[float], attacks: list[float], times: int) -> None:
    assert _figures(bona_fide * times, attacks * times)[:2] == pytest.approx(_figures(bona_fide, attacks)[:2])


@FEW
@given(scores, scores, st.sampled_from([lambda s: 3 * s - 7, lambda s: s**3, lambda s: math.atan(s)]))
def test_rescaling_scores_does_not_matter(bona_fide: list[float], attacks: list[float], rescale: Any) -> None:
    changed = _figures([rescale(s) for s in bona_fide], [rescale(s) for s in attacks])
    assert changed == pytest.approx(_figures(bona_fide, attacks))


@FEW
@given(scores, st.floats(0.001, 0.9))
def test_threshold_at_bpcer_is_the_highest_that_holds(bona_fide: list[float], target: float) -> None:
    threshold = rates.threshold_at_bpcer(bona_fide, target)
    assert (rates.bpcer(rates.decide(bona_fide, threshold)).rate or 0) <= target + 1e-9
    following = rates.decide(bona_fide, float(np.nextafter(threshold, np.inf)))
    assert (rates.bpcer(following).rate or 0) > target - 1e-9


@FEW
@given(st.dictionaries(st.sampled_from("abc"), scores, min_size=1), st.floats(0.001, 0.9))
def test_threshold_at_apcer_is_the_lowest_that_holds(attacks: dict[str, list[float]], target: float) -> None:
    threshold = rates.threshold_at_apcer(attacks, target)
    assert all((rates.apcer(rates.decide(v, threshold)).rate or 0) <= target + 1e-9 for v in attacks.values())
    below = float(np.nextafter(threshold, -np.inf))
    assert any((rates.apcer(rates.decide(v, below)).rate or 0) > target - 1e-9 for v in attacks.values())


@FEW
@given(scores, scores)
def test_equal_error_rate_lies_between_the_rates_at_its_threshold(bona_fide: list[float], attacks: list[float]) -> None:
    rate, threshold = rates.eer(bona_fide, attacks)
    apcer = rates.apcer(rates.decide(attacks, threshold)).rate or 0.0
    bpcer = rates.bpcer(rates.decide(bona_fide, threshold)).rate or 0.0
    assert min(apcer, bpcer) - 1e-12 <= rate <= max(apcer, bpcer) + 1e-12


@FEW
@given(scores, scores)
def test_ties_count_by_half(bona_fide: list[float], attacks: list[float]) -> None:
    """Who wins and who loses change places, ties stay: both areas together are always one."""
    assert rates.auc(bona_fide, attacks) + rates.auc(attacks, bona_fide) == pytest.approx(1)


@FEW
@given(scores, st.integers(1, 20), st.floats(0.001, 0.9))
def test_tied_attacks_are_refused_together(attacks: list[float], ties: int, target: float) -> None:
    """No threshold lies between equal scores, so all or none of them are accepted."""
    tied = attacks + [max(attacks)] * ties
    decisions = rates.decide(tied, rates.threshold_at_apcer({"print": tied}, target))
    highest = decisions[np.array(tied) == max(attacks)]
    assert (highest == highest[0]).all()


@FEW
@given(scores, scores, st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_rates_are_monotone_in_what_the_other_rate_may_be(
    bona_fide: list[float], attacks: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    for figure in (
        lambda target: rates.bpcer_at_apcer(bona_fide, {"print": attacks}, target),
        lambda target: rates.apcer_at_bpcer(bona_fide, attacks, target),
    ):
        assert figure(low).rate.errors >= figure(high).rate.errors


@FEW
@given(scores, scores)
def test_det_is_monotone_and_begins_and_ends_where_it_must(bona_fide: list[float], attacks: list[float]) -> None:
    cut, apcers, bpcers = rates.det(bona_fide, attacks)
    assert (np.diff(cut) > 0).all() and (np.diff(apcers) <= 0).all() and (np.diff(bpcers) >= 0).all()
    assert (apcers[0], bpcers[0], apcers[-1], bpcers[-1]) == (1, 0, 0, 1)


@FEW
@given(scores, scores)
def test_areas_and_curves_agree_with_scikit_learn_on_any_scores(bona_fide: list[float], attacks: list[float]) -> None:
    truth = [1] * len(bona_fide) + [0] * len(attacks)
    assert rates.auc(bona_fide, attacks) == pytest.approx(roc_auc_score(truth, bona_fide + attacks), abs=1e-12)
    accepted, found, _ = roc_curve(truth, bona_fide + attacks, drop_intermediate=False)
    ours = np.unique(np.round(rates.roc(bona_fide, attacks), 12), axis=1)
    theirs = np.unique(np.round([accepted, found], 12), axis=1)
    np.testing.assert_array_equal(ours, theirs)


@FEW
@given(scores, scores, st.lists(st.integers(0, 40), max_size=6), thresholds)
def test_no_response_changes_no_other_rate(
    bona_fide: list[float], attacks: list[float], places: list[int], threshold: float
) -> None:
    silent = list(attacks)
    for place in places:
        silent.insert(place, math.nan)
    assert _figures(bona_fide, silent) == _figures(bona_fide, attacks)
    before, after = rates.decide(attacks, threshold), rates.decide(silent, threshold)
    assert rates.apcer(after) == rates.apcer(before)
    assert rates.nonresponse_rate(after) == rates.Rate(len(places), len(silent))


@FEW
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30), st.integers(2, 4))
def test_a_subject_s_repeated_presentations_prove_nothing_new(rows: list[tuple[int, bool]], times: int) -> None:
    """The exact interval narrows with every copy; the bootstrap by subject does not see them."""
    subjects, wrong = (np.array(column) for column in zip(*rows, strict=True))
    everything = np.ones(len(rows), np.bool_)
    once = SubjectBootstrap(subjects).rates([wrong], [everything])
    again = SubjectBootstrap(np.tile(subjects, times)).rates([np.tile(wrong, times)], [np.tile(everything, times)])
    np.testing.assert_allclose(once, again, rtol=1e-6)
    one, many = rates.Rate(int(wrong.sum()), len(rows)), rates.Rate(int(wrong.sum()) * times, len(rows) * times)
    assert many.ci95[1] - many.ci95[0] < one.ci95[1] - one.ci95[0]


def test_bootstrap_agrees_with_every_draw_there_is() -> None:
    """Four subjects can be drawn in 4^4 ways; the resampled quantiles are those of all of them."""
    errors, presentations = np.array([0, 1, 3, 2]), np.array([4, 5, 4, 2])
    draws = np.array(list(itertools.product(range(4), repeat=4)))
    exact = errors[draws].sum(axis=1) / presentations[draws].sum(axis=1)
    subjects = np.repeat(np.arange(4), presentations)
    wrong = np.concatenate([np.arange(n) < k for k, n in zip(errors, presentations, strict=True)])
    drawn = SubjectBootstrap(subjects, repeats=40_000).rates([wrong], [np.ones(len(wrong), np.bool_)])[:, 0]
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(drawn, levels), np.quantile(exact, levels), atol=0.02)
    assert drawn.mean() == pytest.approx(exact.mean(), abs=0.004)


def test_no_response_counts_nowhere_else() -> None:
    with_silence = rates.decide([0.9, math.nan, 0.1], 0.5)
    assert rates.apcer(with_silence) == rates.Rate(1, 2)
    assert rates.bpcer(with_silence) == rates.Rate(1, 2)
    assert rates.auc([0.9, math.nan], [0.1]) == 1.0


@pytest.mark.parametrize(
    ("bona_fide", "attacks", "word"),
    [
        ([], [0.1], "bona fide"),  # one class only
        ([0.9], [], "attack"),
        ([math.nan], [0.1], "bona fide"),  # nobody responded
        ([0.9], [math.inf], "finite"),
        ([[0.9]], [0.1], "shape"),
    ],
)
def test_clear_errors(bona_fide: list[float], attacks: list[float], word: str) -> None:
    for figure in (rates.auc, rates.eer, rates.det, rates.roc):
        with pytest.raises(InputError, match=word):
            figure(bona_fide, attacks)
    with pytest.raises(InputError, match=word):
        rates.bpcer_at_apcer(bona_fide, {"print": attacks}, 0.05)
    with pytest.raises(InputError, match=word):
        rates.apcer_at_bpcer(bona_fide, attacks, 0.05)


def test_nothing_gives_no_rate_and_no_threshold() -> None:
    nothing = rates.decide([], 0.5)
    assert rates.apcer(nothing) == rates.bpcer(nothing) == rates.nonresponse_rate(nothing) == rates.Rate(0, 0)
    assert rates.Rate(0, 0).rate is None and rates.acer(rates.Rate(0, 0), rates.Rate(0, 1)) is None
    assert rates.riapar(rates.Rate(0, 0), rates.Rate(0, 1)) is None
    assert rates.worst({"print": rates.Rate(0, 0)}) is None
    with pytest.raises(InputError, match="bona fide"):
        rates.threshold_at_bpcer([], 0.05)
    with pytest.raises(InputError, match="attack"):
        rates.threshold_at_apcer({"print": [math.nan]}, 0.05)
    with pytest.raises(InputError, match="0 to 1"):
        rates.threshold_at_bpcer([0.5], 1.5)


def test_threshold_that_is_no_number() -> None:
    with pytest.raises(InputError, match="threshold"):
        rates.decide([0.5], math.nan)


def test_apcer_is_not_resolved_by_too_few_attacks() -> None:
    assert rates.bpcer_at_apcer([0.9], {"print": [0.1] * 20}, 0.05).resolved
    assert not rates.bpcer_at_apcer([0.9], {"print": [0.1] * 20, "mask": [0.2] * 19}, 0.05).resolved


def test_bootstrap_by_subject_is_wider_where_subjects_differ() -> None:
    """Twenty subjects with ten presentations each, of whom four always err:

    presentations seem to say more than subjects do.
    """
    wrong = np.repeat(np.arange(20) < 4, 10)
    everything = np.ones(200, np.bool_)
    by_subject = interval(SubjectBootstrap(np.repeat(np.arange(20), 10)).rates([wrong], [everything])[:, 0])
    alone = interval(SubjectBootstrap(np.full(200, -1)).rates([wrong], [everything])[:, 0])
    assert by_subject is not None
    assert alone is not None
    assert by_subject[1] - by_subject[0] > 2.5 * (alone[1] - alone[0])
    assert alone == pytest.approx((0.145, 0.255), abs=0.015)  # 0.2 +- 1.96 sqrt(0.2 0.8 / 200)


def test_bootstrap_is_reproducible_and_blind_without_errors() -> None:
    masks = [np.arange(30) % 7 == 0], [np.ones(30, np.bool_)]
    first = SubjectBootstrap(np.arange(30) % 10).rates(*masks)
    assert np.array_equal(first, SubjectBootstrap(np.arange(30) % 10).rates(*masks))
    assert interval(SubjectBootstrap(np.arange(30)).rates([np.zeros(30, np.bool_)], masks[1])[:, 0]) is None


def test_many_subjects_are_grouped_without_a_change_of_width() -> None:
    wrong = np.random.default_rng(1).random(20000) < 0.1
    drawn = interval(SubjectBootstrap(np.arange(20000)).rates([wrong], [np.ones(20000, np.bool_)])[:, 0])
    assert drawn is not None
    assert drawn[1] - drawn[0] == pytest.approx(2 * 1.96 * math.sqrt(0.09 / 20000), rel=0.12)


def test_auc_variance_agrees_with_delong_and_grows_with_clusters() -> None:
    generator = np.random.default_rng(3)
    bona_fide, attacks = generator.normal(1, 1, 120), generator.normal(0, 1, 150)
    values, kinds = np.r_[bona_fide, attacks], np.r_[np.ones(120, np.bool_), np.zeros(150, np.bool_)]
    area, influence = auc_influence(values, kinds)
    assert area == pytest.approx(rates.auc(bona_fide, attacks))
    # DeLong et al. (1988): variance of the placements over their numbers.
    delong = np.sqrt(
        np.var(rates.placements(bona_fide, attacks), ddof=1) / 120
        + np.var(rates.placements(attacks, bona_fide), ddof=1) / 150
    )
    assert clustered_sd(influence, np.full(270, -1)) == pytest.approx(delong, rel=0.01)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    # The same presentations counted five times, as one subject's, tell no more than once.
    five = np.repeat(np.arange(270), 5)
    _, repeated = auc_influence(values[five], kinds[five])
    assert clustered_sd(repeated, five) == pytest.approx(clustered_sd(influence, np.arange(270)), rel=1e-6)


def _figures(bona_fide: list[float], attacks: list[float]) -> tuple[float, ...]:
    point = rates.bpcer_at_apcer(bona_fide, {"print": attacks}, 0.1).rate.rate
    assert point is not None
    return rates.auc(bona_fide, attacks), rates.eer(bona_fide, attacks)[0], point
