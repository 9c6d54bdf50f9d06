"""Intervals for presentations that are not independent: several of one subject rise and fall together.

Subjects are drawn with replacement, each with all of its presentations (Efron and Tibshirani, "An introduction to the
bootstrap", 1993; ISO/IEC 19795-1 asks for subjects as the unit). The draws come from a seed, so a report can be made
again to the digit.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stereolive.evaluate.rates import auc, placements

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

REPEATS = 2000
SEED = 20230107
MAX_SUBJECTS = 2000
BLOCK = 250


class SubjectBootstrap:
    """Resamples the subjects of N presentations;

    every statistic sees the same draws, so that differences are paired.
    """

    def __init__(self, subjects: NDArray[np.integer], repeats: int = REPEATS, seed: int = SEED) -> None:
        """``subjects`` (N,) are numbers from 0;

        presentations with a negative number are each a subject of their own.
        """
        self.repeats, self.seed = repeats, seed
        alone = subjects < 0
        numbers = subjects.astype(np.int64)
        numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
        present, self.subject = np.unique(numbers, return_inverse=True)
        self.count = len(present)
        if self.count > MAX_SUBJECTS:
            # Subjects thrown together at random keep the variance of a sum; beyond some thousand nothing else changes.
            groups = np.random.default_rng(seed).permutation(self.count) % MAX_SUBJECTS
            self.subject, self.count = groups[self.subject], MAX_SUBJECTS

    def rates(self, errors: list[BoolArray], presentations: list[BoolArray]) -> NDArray[np.floating]:
        """Resampled rates (repeats, K) of K pairs of masks (N,):

        errors among presentations; NaN where none was drawn.
        """
        wrong = np.stack([np.bincount(self.subject[mask], minlength=self.count) for mask in errors], axis=1)
        total = np.stack([np.bincount(self.subject[mask], minlength=self.count) for mask in presentations], axis=1)
        return ratios(*np.split(self.sums(np.concatenate([wrong, total], axis=1).astype(np.float32)), 2, axis=1))

    def counts(self, mask: BoolArray, codes: NDArray[np.integer], size: int) -> NDArray[np.float32]:
        """Presentations (subjects, size) of a mask (N,), by subject and by a code (N,) from 0."""
        cell = self.subject[mask] * size + codes[mask]
        return np.bincount(cell, minlength=self.count * size).reshape(-1, size).astype(np.float32)

    def sums(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resampled sums (repeats, K) over subjects of ``counts`` (subjects, K)."""
        sums: NDArray[np.float32] = self._weights @ counts
        return sums

    @cached_property
    def _weights(self) -> NDArray[np.float32]:
        """(repeats, subjects): how often each subject was drawn.

        Single precision holds counts up to 16 million exactly.
        """
        generator = np.random.default_rng(self.seed)
        weights = np.empty((self.repeats, self.count), np.float32)
        for start in range(0, self.repeats, BLOCK):
            size = min(BLOCK, self.repeats - start)
            draws = generator.integers(0, self.count, (size, self.count)) + self.count * np.arange(size)[:, None]
            weights[start : start + size] = np.bincount(draws.ravel(), minlength=size * self.count).reshape(size, -1)
        return weights


def ratios(numerators: NDArray[np.floating], denominators: NDArray[np.floating]) -> NDArray[np.floating]:
    """Resampled rates of the same shape; NaN where no presentation was drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        divided: NDArray[np.floating] = numerators / denominators
    return divided


def interval(samples: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of resampled values (B,); None where fewer than half of the draws had a value or none of
    them varies.

    Without any error (or without a success) every draw gives the same rate: that is no knowledge, and the exact
    interval stands alone.
    """
    values = samples[np.isfinite(samples)]
    if len(values) * 2 < len(samples) or np.ptp(values) == 0:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def auc_influence(score: FloatArray, bona_fide: BoolArray) -> tuple[float, FloatArray]:
    """AUC and the influence (N,) of every presentation on it, whose sum is 0; scores without NaN, both classes present.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988). Summed over subjects and squared it gives the variance
    for presentations that are not independent: Obuchowski, "Nonparametric analysis of clustered ROC curve data",
    Biometrics 53 (1997).
    """
    genuine, attack = score[bona_fide], score[~bona_fide]
    of_genuine = placements(genuine, attack)
    of_attack = 1 - placements(attack, genuine)
    area = auc(genuine, attack)
    influence = np.empty(len(score))
    influence[bona_fide] = (of_genuine - area) / len(genuine)
    influence[~bona_fide] = (of_attack - area) / len(attack)
    return area, influence


def clustered_sd(influence: FloatArray, subjects: NDArray[np.integer]) -> float:
    """Standard deviation of a statistic from its influences (N,), summed within subjects (N,)."""
    alone = subjects < 0
    numbers = subjects.astype(np.int64)
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
    sums = np.bincount(numbers, weights=influence)
    count = len(np.unique(numbers))
    return float(np.sqrt((sums**2).sum() * count / max(count - 1, 1)))
