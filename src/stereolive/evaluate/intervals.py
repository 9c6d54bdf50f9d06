"""Exact binomial intervals and tests from the standard library alone, so that grading needs no statistics package.

Two conventions stand side by side in every report: an *interval* is two-sided (2.5 % in each tail), and what a sample
*proves* is the one-sided upper bound at 95 %. "0 of 150" has the interval [0, 2.43 %] and proves at most 1.98 %.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from stereolive.errors import InputError

CONFIDENCE = 0.95
SMALLEST_CLAIM = 1e-9
"""A smaller one takes more presentations than anybody makes, and than floating point tells apart."""


@lru_cache(maxsize=65536)
def clopper_pearson(errors: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided exact interval of a proportion; [0, 1] where there is no presentation.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934): the low end is the alpha/2 quantile of Beta(k, n - k + 1), the high end the 1 - alpha/2
    quantile of Beta(k + 1, n - k).
    """
    _check_counts(errors, n)
    tail = (1 - _checked_confidence(confidence)) / 2
    return _low(errors, n, tail), _high(errors, n, tail)


@lru_cache(maxsize=65536)
def upper_bound(errors: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound: the rate that ``errors`` of ``n`` proves not to be exceeded."""
    _check_counts(errors, n)
    return _high(errors, n, 1 - _checked_confidence(confidence))


def presentations_needed(claim: float, errors: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest presentations of which ``errors`` may err and a rate below ``claim`` is still proved (one-sided).

    With no error it is the smallest n with (1 - claim)^n < 1 - confidence: 42 for 7 %, 99 for 3 %, 299 for 1 %, 2995
    for 0.1 %. Raises InputError for a claim below ``SMALLEST_CLAIM``.
    """
    if not 0 < claim < 1:
        raise InputError(f"claim: expected a rate between 0 and 1, got {claim:g}")
    if claim < SMALLEST_CLAIM:
        raise InputError(f"claim: {claim:g} is too small to plan for; the smallest is {SMALLEST_CLAIM:g}")
    if errors < 0:
        raise InputError(f"errors: expected 0 or more, got {errors}")
    tail = 1 - _checked_confidence(confidence)

    def proves(n: int) -> bool:
        # The bound lies below the claim where so few errors are too rare for a true rate of the claim.
        return binomial_cdf(errors, n, claim) < tail

    low, high = errors, errors + 1
    while not proves(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial count: the regularised incomplete beta function I_{1-p}(n - k, k + 1)."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return incomplete_beta(n - k, k + 1, 1 - p)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test on ``only_a`` and ``only_b`` discordant pairs (binomial with p = 1/2).

    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947).
    """
    total = only_a + only_b
    return min(1.0, 2 * binomial_cdf(min(only_a, only_b), total, 0.5)) if total else 1.0


def newcombe_difference(
    errors_a: int, n_a: int, errors_b: int, n_b: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of rate a - rate b of two independent groups.

    The hybrid score interval: Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17 (1998), method 10.
    """
    if not n_a or not n_b:
        return -1.0, 1.0
    rate_a, rate_b = errors_a / n_a, errors_b / n_b
    low_a, high_a = wilson(errors_a, n_a, confidence)
    low_b, high_b = wilson(errors_b, n_b, confidence)
    difference = rate_a - rate_b
    return (
        difference - math.hypot(rate_a - low_a, high_b - rate_b),
        difference + math.hypot(high_a - rate_a, rate_b - low_b),
    )


def wilson(errors: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Score interval: Wilson, "Probable inference, the law of succession, ...", JASA 22 (1927)."""
    _check_counts(errors, n)
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + _checked_confidence(confidence) / 2) ** 2
    middle = errors + z2 / 2
    half = math.sqrt(z2 * (errors * (n - errors) / n + z2 / 4))
    # Exact ends where nothing or everything errs; rounding must not move them.
    low = 0.0 if errors == 0 else (middle - half) / (n + z2)
    high = 1.0 if errors == n else (middle + half) / (n + z2)
    return low, high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b); absolute error below 1e-9 for a + b up to 1e7.

    Continued fraction of Abramowitz and Stegun 26.5.8, evaluated by Lentz's method.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(b, a, 1 - x)
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(_log_beta_kernel(a, b, x)) * fraction / a


def _log_beta_kernel(a: float, b: float, x: float) -> float:
    """log of x^a (1 - x)^b / B(a, b)."""
    return math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)


def _beta_quantile(tail: float, a: float, b: float) -> float:
    """x with I_x(a, b) = tail: Newton's steps, replaced by bisection wherever they leave the bracket."""
    low, high = 0.0, 1.0
    mean = a / (a + b)
    # The normal quantile is a good beginning where counts are large, and steps are dear.
    x = mean + NormalDist().inv_cdf(tail) * math.sqrt(mean * (1 - mean) / (a + b + 1))
    x = x if 0 < x < 1 else mean
    for _ in range(200):
        value = incomplete_beta(a, b, x) - tail
        low, high = (x, high) if value < 0 else (low, x)
        log_density = _log_beta_kernel(a, b, x) - math.log(x) - math.log1p(-x)
        step = value / math.exp(log_density) if log_density > -700 else math.inf
        following = x - step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - x) <= 1e-14 * max(following, 1e-300) or high - low < 1e-16:
            return following
        x = following
    return x


def _low(errors: int, n: int, tail: float) -> float:
    if errors == 0:
        return 0.0
    if errors == n:
        return math.exp(math.log(tail) / n)
    return _beta_quantile(tail, errors, n - errors + 1)


def _high(errors: int, n: int, tail: float) -> float:
    if errors == n:
        return 1.0
    if errors == 0:
        return -math.expm1(math.log(tail) / n)
    # The upper end is one minus the lower end of what did not err: exact where the rate is near 1.
    return 1 - _beta_quantile(tail, n - errors, errors + 1)


def _check_counts(errors: int, n: int) -> None:
    if not 0 <= errors <= n:
        raise InputError(f"expected 0 <= errors <= presentations, got {errors} of {n}")


def _checked_confidence(confidence: float) -> float:
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence: expected at least 0.5 and below 1, got {confidence:g}")
    return confidence
