"""Where the threshold comes from:

given, set on validation presentations, or the system's own decisions. Never from the test part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ManifestError
from stereolive.evaluate.rates import Decisions, decide, threshold_at_bpcer
from stereolive.evaluate.scores import BoolArray, ScoreTable, sample_ids

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "devel", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
DEFAULT_BPCER = 0.01
# A score lies between 0 and 1 (contract). The middle is then the one threshold that no look at the data can have
# chosen.
ASSUMED_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Grading:
    """Decisions (N,) for a table's rows and where they come from;

    without decisions only figures over all thresholds are given.
    """

    decisions: Decisions | None
    threshold: float | None
    source: str
    warnings: tuple[str, ...] = ()


def part_of(table: ScoreTable, part: str) -> BoolArray:
    """(N,) rows of ``train``, ``validation`` or ``test``; all False where there is no column ``split``."""
    split = table.names.get("split")
    if split is None:
        return np.zeros(len(table), np.bool_)
    spelled = {word: name for name, words in PARTS.items() for word in words}
    unknown = [value for value in split.present() if value.lower() not in spelled]
    if unknown:
        raise ManifestError(f"scores {table.path}: split is {unknown[0]!r}; expected train, validation or test")
    codes = [code for code, value in enumerate(split.values) if spelled.get(value.lower()) == part]
    return np.isin(split.codes, codes)


def set_on_validation(validation: ScoreTable, bpcer: float, part: str) -> Grading:
    """The highest threshold whose BPCER on ``validation`` is at most ``bpcer``;

    its decisions are not for these rows.
    """
    bona_fide = validation.score[validation.bona_fide & validation.responded]
    if not len(bona_fide):
        raise ManifestError(f"{part}: has no bona fide presentation with a response, so no threshold can be set on it")
    threshold = threshold_at_bpcer(bona_fide, bpcer)
    if not math.isfinite(threshold):
        raise ManifestError(f"{part}: a BPCER of {bpcer:g} sets no threshold")
    warnings = []
    if len(bona_fide) * bpcer < 1:
        warnings.append(
            f"The threshold was set for a BPCER of {bpcer * 100:g} % on only {len(bona_fide)} bona fide"
            " validation presentations:"
            f" too few to hold one error ({math.ceil(1 / bpcer) if bpcer else 'infinitely many'} needed)."
        )
    source = f"set on {part} for a BPCER of {bpcer * 100:g} % ({len(bona_fide)} bona fide presentations)"
    return Grading(None, threshold, source, tuple(warnings))


def from_file(table: ScoreTable, validation: ScoreTable, bpcer: float) -> Grading:
    """A threshold from another score file, refused where that file is, or holds, the test part."""
    if validation.sha256 == table.sha256 and "split" not in validation.names:
        raise ManifestError(
            f"threshold from {validation.path}: is the test part itself; a threshold is set on validation"
            " presentations only"
        )
    if "split" in validation.names:
        mask = part_of(validation, "validation")
        if not mask.any():
            raise ManifestError(
                f"threshold from {validation.path}: has no validation row (split); a threshold is never set on"
                " the test or training part"
            )
        validation = validation.where(mask)
    warnings = check_disjoint(validation, table, f"threshold from {validation.path}")
    setting = set_on_validation(validation, bpcer, f"the validation presentations of {validation.path.name}")
    return at_threshold(table, setting, warnings)


def at_threshold(table: ScoreTable, setting: Grading, warnings: tuple[str, ...] = ()) -> Grading:
    """The rows of ``table`` decided at the threshold of ``setting``, which was set on others."""
    assert setting.threshold is not None
    decisions = decide(table.score, setting.threshold)
    return Grading(decisions, setting.threshold, setting.source, (*warnings, *setting.warnings))


def check_disjoint(validation: ScoreTable, test: ScoreTable, where: str) -> tuple[str, ...]:
    """Refuse presentations that both set the threshold and are graded; warn of shared subjects."""
    if "sample_id" in validation.header and "sample_id" in test.header:
        shared = set(sample_ids(validation)) & set(sample_ids(test))
        if shared:
            raise ManifestError(
                f"{where}: {len(shared)} presentations (such as {min(shared)!r}) are also graded; a threshold"
                " is never set on the test part"
            )
    if "subject_id" in validation.names and "subject_id" in test.names:
        people = set(validation.names["subject_id"].present()) & set(test.names["subject_id"].present())
        if people:
            return (
                f"{len(people)} subjects (such as {min(people)}) are both in the validation and in the test part:"
                " the rates say little about people that the system never saw.",
            )
    return ()


def choose(
    everything: ScoreTable,
    table: ScoreTable,
    threshold: float | None = None,
    validation: ScoreTable | None = None,
    bpcer: float | None = None,
) -> Grading:
    """Grade ``table`` (the test rows of ``everything``): by ``threshold``, by one set on ``validation`` or on the
    file's own validation rows at ``bpcer``, by the file's decisions, by its ``threshold`` column, else at 0.5 where
    scores lie between 0 and 1, else not at all.
    """
    if threshold is not None:
        if not math.isfinite(threshold):
            raise ManifestError(f"threshold: expected a finite number, got {threshold}")
        return at_threshold(table, Grading(None, threshold, "given by the user"))
    if validation is not None:
        return from_file(table, validation, DEFAULT_BPCER if bpcer is None else bpcer)
    own = part_of(everything, "validation")
    graded_rows_are_validation = bool(np.isin(table.row, everything.row[own]).all())
    can_set = bool(own.any()) and not graded_rows_are_validation
    if bpcer is not None:
        if not can_set:
            raise ManifestError(
                f"scores {table.path}: has no validation rows beside those that are graded (column split), and"
                " a threshold is never set on the"
                " test part; name a validation file to take it from"
            )
        return _on_own_validation(everything.where(own), table, bpcer)
    given = _threshold_column(table)
    if table.decision is not None:
        return _own_decisions(table, given)
    if given is not None:
        return at_threshold(table, Grading(None, given, "the file's column threshold"))
    if can_set:
        return _on_own_validation(everything.where(own), table, DEFAULT_BPCER)
    responses = table.score[table.responded]
    advice = "Give --threshold, or --threshold-from a validation file, or a column split."
    if len(responses) and responses.min() >= 0 and responses.max() <= 1:
        return at_threshold(
            table,
            Grading(None, ASSUMED_THRESHOLD, "assumed: the middle of the score range"),
            (
                "The file has no decisions and no threshold was given: APCER and BPCER are those at an"
                " assumed threshold of 0.5, not at the"
                f" system's own. {advice}",
            ),
        )
    return Grading(
        None,
        None,
        "none",
        (
            "The file has no decisions, no threshold was given and scores do not lie between 0 and 1: only"
            " figures over all thresholds are"
            f" given. {advice}",
        ),
    )


def _on_own_validation(validation: ScoreTable, table: ScoreTable, bpcer: float) -> Grading:
    warnings = check_disjoint(validation, table, f"scores {table.path}")
    return at_threshold(table, set_on_validation(validation, bpcer, "the validation rows of the same file"), warnings)


def _threshold_column(table: ScoreTable) -> float | None:
    column = table.numbers.get("threshold")
    if column is None:
        return None
    values: NDArray[np.float64] = np.unique(column[~np.isnan(column)])
    if len(values) > 1:
        raise ManifestError(f"scores {table.path}: threshold has {len(values)} different values; one system has one")
    return float(values[0]) if len(values) else None


def _own_decisions(table: ScoreTable, given: float | None) -> Grading:
    decisions = table.decision
    assert decisions is not None
    accepted, rejected = table.score[decisions == 1], table.score[decisions == 0]
    source = "the file's own decisions"
    if given is not None:
        other = int((decisions != decide(table.score, given)).sum())
        warning = (
            f"{other} decisions of the file do not follow from its scores and its threshold; decisions are graded."
        )
        return Grading(decisions, given, f"{source} (the threshold is its column)", (warning,) if other else ())
    if len(accepted) and (not len(rejected) or rejected.max() < accepted.min()):
        return Grading(decisions, float(accepted.min()), f"{source} (the threshold is the smallest accepted score)")
    if len(accepted):
        warning = (
            "The file's decisions follow from no single threshold on its scores: rates are those of the decisions,"
            " curves those of scores."
        )
        return Grading(decisions, None, source, (warning,))
    if len(rejected):
        return Grading(decisions, float(np.nextafter(rejected.max(), np.inf)), f"{source} (nothing was accepted)")
    return Grading(decisions, None, source)
