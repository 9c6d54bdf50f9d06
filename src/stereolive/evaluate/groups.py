"""Rates by any column, with the difference of every group to all others: fairness, and where a system is weak."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.evaluate.bootstrap import SubjectBootstrap, interval, ratios
from stereolive.evaluate.intervals import newcombe_difference
from stereolive.evaluate.rates import Decisions, Rate, worst
from stereolive.evaluate.scores import BoolArray, Column, ScoreTable

# Graded without being asked for, where a file has them.
USUAL = (
    "skin_group",
    "illumination",
    "manifest_distance_mm",  # the true distance, where ``stereolive score`` carried it along
    "distance_mm",
    "rig_family",
    "rig",
    "first_spectrum",
    "second_spectrum",
    "head_source",
    "sex",
    "age_group",
    "glasses",
)
MAX_GROUPS = 24
BINNED_ABOVE = 12
# Fewer cannot prove even a rate of 7 % without a single error.
SMALLEST_GROUP = 42
FEWEST_SUBJECTS = 10


@dataclass(frozen=True, eq=False)
class Grouping:
    """One column as groups: row i is in the group ``values[codes[i]]``, in none where its code is -1."""

    values: list[str]
    codes: NDArray[np.int64]  # (N,)


def grouping(table: ScoreTable, column: str) -> Grouping | None:
    """Groups of a column; numbers with many values are cut into four parts of equal size.

    None where it has one value or too many.
    """
    if column in table.numbers:
        numbers = table.numbers[column]
        if _has_many_values(numbers[~np.isnan(numbers)]):
            return _binned(numbers)
        names = _named(numbers)
    else:
        names = table.column(column)
        if names.count() > BINNED_ABOVE and (values_as_numbers := _as_numbers(names)) is not None:
            return _binned(values_as_numbers)
    values = names.present()
    if not 2 <= len(values) <= MAX_GROUPS:
        return None
    places = {value: place for place, value in enumerate(values)}
    return Grouping(values, np.array([places.get(value, -1) for value in names.values])[names.codes])


def by_groups(
    table: ScoreTable, decisions: Decisions, columns: Iterable[str], bootstrap: SubjectBootstrap | None
) -> dict[str, dict[str, Any]]:
    """Per column and group: BPCER, the worst species' APCER, accepted attacks over all species, and the differences to
    the other groups.

    A difference's interval is Newcombe's (1998), widened to the subject bootstrap's where subjects are known.
    ``too_small`` tells why a group cannot support a statement.
    """
    report = {}
    for column in columns:
        groups = grouping(table, column)
        if groups is not None:
            report[column] = _column(table, decisions, groups, bootstrap)
    return report


def _column(
    table: ScoreTable, decisions: Decisions, groups: Grouping, bootstrap: SubjectBootstrap | None
) -> dict[str, Any]:
    known = groups.codes >= 0
    species = table.species
    counts = _counts(groups, decisions, species.codes, len(species.values))
    bona_fide = species.values.index("")
    attacks = [code for code in range(len(species.values)) if code != bona_fide]
    differences = {}
    for name, wrong, mask in (
        ("bpcer_difference", 0, table.bona_fide & known),
        ("attacks_accepted_difference", 1, ~table.bona_fide & known),
    ):
        responded = mask & (decisions >= 0)
        differences[name] = _differences(groups, decisions == wrong, responded, bootstrap)
    subjects = _subjects(table, groups)
    result: dict[str, Any] = {}
    for place, value in enumerate(groups.values):
        cells = counts[place]  # (species, 3): no response, attack, bona fide
        per_species = {species.values[code]: _rate(cells[code], 1) for code in attacks if cells[code].any()}
        worst_species = worst(per_species)
        group: dict[str, Any] = {
            "bpcer": _rate(cells[bona_fide], 0).as_json(),
            "apcer_max": None
            if worst_species is None
            else {"species": worst_species, **per_species[worst_species].as_json()},
            "attacks_accepted": _rate(cells[attacks].sum(axis=0), 1).as_json(),
            "nonresponse": Rate(int(cells[:, 0].sum()), int(cells.sum())).as_json(),
            "subjects": None if subjects is None else subjects[place],
            **{name: difference[place] for name, difference in differences.items()},
        }
        result[value] = {**group, "too_small": _too_small(group)}
    return result


def _counts(groups: Grouping, decisions: Decisions, species: NDArray[np.int32], kinds: int) -> NDArray[np.int64]:
    """Presentations (groups, species, 3) by decision: no response, attack, bona fide."""
    known = groups.codes >= 0
    cell = (groups.codes[known] * kinds + species[known]) * 3 + decisions[known] + 1
    return np.bincount(cell, minlength=len(groups.values) * kinds * 3).reshape(-1, kinds, 3)


def _rate(cell: NDArray[np.int64], wrong: int) -> Rate:
    """Errors among responses; ``cell`` (3,) counts no response, attack, bona fide, ``wrong`` is the erring decision."""
    return Rate(int(cell[wrong + 1]), int(cell[1] + cell[2]))


def _differences(
    groups: Grouping, wrong: BoolArray, responded: BoolArray, bootstrap: SubjectBootstrap | None
) -> list[dict[str, Any] | None]:
    """For each group its rate minus that of all other groups together; masks (N,)."""
    size = len(groups.values)
    totals = np.bincount(groups.codes[responded], minlength=size)
    errors = np.bincount(groups.codes[responded & wrong], minlength=size)
    samples = None
    if bootstrap is not None:
        counted = [bootstrap.counts(mask, groups.codes, size) for mask in (responded & wrong, responded)]
        drawn_errors, drawn_totals = np.split(bootstrap.sums(np.concatenate(counted, axis=1)), 2, axis=1)
        samples = ratios(drawn_errors, drawn_totals) - ratios(
            drawn_errors.sum(axis=1, keepdims=True) - drawn_errors,
            drawn_totals.sum(axis=1, keepdims=True) - drawn_totals,
        )
    result: list[dict[str, Any] | None] = []
    for place in range(size):
        inside = Rate(int(errors[place]), int(totals[place]))
        outside = Rate(int(errors.sum()) - inside.errors, int(totals.sum()) - inside.n)
        if inside.rate is None or outside.rate is None:
            result.append(None)
            continue
        low, high = newcombe_difference(inside.errors, inside.n, outside.errors, outside.n)
        drawn = None if samples is None else interval(samples[:, place])
        if drawn is not None:
            low, high = min(low, drawn[0]), max(high, drawn[1])
        difference = inside.rate - outside.rate
        result.append({"difference": difference, "ci95": [low, high], "beyond_chance": low > 0 or high < 0})
    return result


def _too_small(group: dict[str, Any]) -> str | None:
    if group["subjects"] is not None and group["subjects"] < FEWEST_SUBJECTS:
        return f"only {group['subjects']} subjects, fewer than {FEWEST_SUBJECTS}"
    for key, kind in (("bpcer", "bona fide"), ("attacks_accepted", "attack")):
        n = group[key]["n"]
        if 0 < n < SMALLEST_GROUP:
            return f"only {n} {kind} presentations, fewer than the {SMALLEST_GROUP} that can prove 7 %"
    return None


def _subjects(table: ScoreTable, groups: Grouping) -> list[int] | None:
    """How many subjects each group has."""
    if "subject_id" not in table.names:
        return None
    column = table.names["subject_id"]
    named = (groups.codes >= 0) & ~column.equal("")
    met = np.zeros((len(column.values), len(groups.values)), np.bool_)
    met[column.codes[named], groups.codes[named]] = True
    return [int(count) for count in met.sum(axis=0)]


def _as_numbers(column: Column) -> NDArray[np.float64] | None:
    try:
        values = np.array([float(value) if value else np.nan for value in column.values])
    except ValueError:
        return None
    return values[column.codes]


def _has_many_values(numbers: NDArray[np.float64]) -> bool:
    # A million measured distances need no full count.
    return any(len(np.unique(part)) > BINNED_ABOVE for part in (numbers[:1000], numbers))


def _named(numbers: NDArray[np.float64]) -> Column:
    values, codes = np.unique(numbers, return_inverse=True)
    return Column(codes.astype(np.int32), tuple("" if np.isnan(value) else f"{value:g}" for value in values))


def _binned(numbers: NDArray[np.float64]) -> Grouping | None:
    known = numbers[~np.isnan(numbers)]
    edges = np.unique([float(f"{edge:.2g}") for edge in np.quantile(known, [0.25, 0.5, 0.75])])
    edges = edges[(edges > known.min()) & (edges <= known.max())]
    if not len(edges):
        return None
    names = [f"below {edges[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    names += [f"{edges[-1]:g} and more"]
    return Grouping(names, np.where(np.isnan(numbers), -1, np.digitize(numbers, edges)))
