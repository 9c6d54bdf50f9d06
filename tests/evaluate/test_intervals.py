"""Exact intervals against SciPy's and printed tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stereolive.errors import InputError
from stereolive.evaluate.claims import CLAIMS, judge
from stereolive.evaluate.intervals import (
    binomial_cdf,
    clopper_pearson,
    mcnemar_p,
    newcombe_difference,
    presentations_needed,
    upper_bound,
    wilson,
)
from stereolive.evaluate.planning import plan
from stereolive.evaluate.rates import Rate

# A loaded machine is slow now and then; that is no fault of a rate.
FEW = settings(max_examples=60, deadline=None)
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "evaluation.json").read_text("utf-8"))


@pytest.mark.parametrize("row", GOLDEN["clopper_pearson"], ids=lambda row: f"{row['errors']}/{row['n']}")
def test_clopper_pearson_agrees_with_scipy(row: dict[str, Any]) -> None:
    assert clopper_pearson(row["errors"], row["n"]) == pytest.approx(row["ci95"], rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("row", GOLDEN["upper_bound"], ids=lambda row: f"{row['errors']}/{row['n']}")
def test_upper_bound_agrees_with_scipy(row: dict[str, Any]) -> None:
    assert upper_bound(row["errors"], row["n"]) == pytest.approx(row["bound"], rel=1e-7)


def test_published_intervals() -> None:
    for row in GOLDEN["published_clopper_pearson"]:
        assert clopper_pearson(row["errors"], row["n"]) == pytest.approx(row["ci95"], abs=5.1e-5)
    for row in GOLDEN["published_wilson"]:
        assert wilson(row["errors"], row["n"]) == pytest.approx(row["ci95"], abs=5.1e-5)
    for row in GOLDEN["published_difference"]:
        assert newcombe_difference(*row["counts"]) == pytest.approx(row["ci95"], abs=5.1e-5)


def test_binomial_and_mcnemar_agree_with_scipy() -> None:
    for row in GOLDEN["binomial_cdf"]:
        assert binomial_cdf(row["k"], row["n"], row["p"]) == pytest.approx(row["cdf"], rel=1e-7)
    for row in GOLDEN["mcnemar"]:
        assert mcnemar_p(row["only_a"], row["only_b"]) == pytest.approx(row["p"], rel=1e-9)
    assert mcnemar_p(0, 0) == 1.0


@pytest.mark.parametrize(
    ("claim", "errors", "needed"),
    [
        (0.07, 0, 42),  # FIDO, NIST SP 800-63A-4, Android class 3
        (0.03, 0, 99),
        (0.01, 0, 299),
        (0.001, 0, 2995),
        (0.07, 1, 66),
    ],
)
def test_presentations_needed(claim: float, errors: int, needed: int) -> None:
    assert presentations_needed(claim, errors) == needed
    assert upper_bound(errors, needed) < claim <= upper_bound(errors, needed - 1)


def test_the_smallest_claim_has_an_end() -> None:
    assert presentations_needed(1e-9) == pytest.approx(-math.log(0.05) / 1e-9, rel=1e-5)


def test_zero_of_150_proves_two_percent() -> None:
    assert round(Rate(0, 150).proves * 100, 1) == 2.0


def test_no_presentation_says_nothing() -> None:
    assert Rate(0, 0).rate is None
    assert Rate(0, 0).ci95 == (0.0, 1.0)


@FEW
@given(st.integers(1, 5000), st.data())
def test_interval_holds_its_rate_and_mirrors(n: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(0, n))
    low, high = clopper_pearson(errors, n)
    assert 0 <= low <= errors / n <= high <= 1
    mirrored = clopper_pearson(n - errors, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)
    if errors < n:
        assert upper_bound(errors, n) < upper_bound(errors + 1, n)


@pytest.mark.parametrize("counts", [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="errors"):
        clopper_pearson(*counts)


def test_plan_names_presentations_subjects_and_instruments() -> None:
    result = plan(0.07, 6).as_json()
    assert result["presentations_per_species"] == 42
    assert result["presentations"] == 252
    once = result["repetitions"][0]
    assert (once["subjects"], once["instruments_per_species"]) == (42, 42)
    presentations = [row["presentations"] for row in result["repetitions"]]
    assert presentations == sorted(presentations)  # correlated repetitions never save presentations
    assert "42 attack presentations per species" in plan(0.07, 6).text()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0.0,), "claim"),
        ((1.5,), "claim"),
        ((0.07, 0), "species"),
        ((0.07, 1, 1.0), "confidence"),
        ((0.07, 1, 0.95, 2), "corr"),
    ],
)
def test_plan_refuses(arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        plan(*arguments)


@pytest.mark.parametrize(
    ("key", "rates", "bpcer", "status", "more"),
    [
        ("fido", [(0, 42)], (0, 10), "proved", 0),
        ("fido", [(0, 41)], (0, 10), "not proved", 1),
        ("fido", [(1, 42), (0, 40)], (0, 10), "not proved", 24 + 2),
        ("fido", [(3, 42)], (0, 10), "not met", None),  # 7.1 % observed
        ("fido", [(0, 0)], (0, 10), "not proved", 42),  # no response proves nothing
        ("ibeta_level_1", [(0, 150)], (1, 10), "met", 0),
        ("ibeta_level_1", [(0, 100)], (1, 10), "not proved", 50),
        ("ibeta_level_1", [(1, 150)], (1, 10), "not met", None),
        ("ibeta_level_1", [(0, 150)], (2, 10), "not met", None),  # BPCER 20 %
        ("ibeta_level_2", [(1, 150)], (0, 10), "met", 0),
        ("ibeta_level_2", [(2, 150)], (0, 10), "not met", None),
        ("ibeta_level_2", [(1, 60)], (0, 10), "not proved", 90),
    ],
)
def test_claims(key: str, rates: list[tuple[int, int]], bpcer: tuple[int, int], status: str, more: int | None) -> None:
    claim = next(claim for claim in CLAIMS if claim.key == key)
    verdict = judge(claim, {str(i): Rate(*counts) for i, counts in enumerate(rates)}, Rate(*bpcer))
    assert (verdict["status"], verdict["more"]) == (status, more)
