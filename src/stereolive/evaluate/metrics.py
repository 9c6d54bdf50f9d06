"""Everything that is known about one graded table, as the object that ``metrics.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ManifestError
from stereolive.evaluate import claims, rates
from stereolive.evaluate.bootstrap import SubjectBootstrap, auc_influence, clustered_sd, interval
from stereolive.evaluate.groups import USUAL, by_groups
from stereolive.evaluate.intervals import presentations_needed, upper_bound
from stereolive.evaluate.rates import Decisions, Rate
from stereolive.evaluate.reliability import reliability
from stereolive.evaluate.scores import BoolArray, ScoreTable
from stereolive.evaluate.thresholds import Grading

FORMAT = "stereolive-metrics/1"
APCER_TARGETS = {"bpcer10": 0.10, "bpcer20": 0.05, "bpcer100": 0.01, "bpcer1000": 0.001}
BPCER_TARGETS = {"apcer_at_bpcer_5": 0.05, "apcer_at_bpcer_1": 0.01, "apcer_at_bpcer_0.1": 0.001}
ACER_NOTE = "not an ISO/IEC 30107-3 metric: the mean of apcer_max and bpcer, as data set papers print it"
AUC_NOTE = "not an ISO/IEC 30107-3 metric: all attacks pooled, responses only"
EER_NOTE = (
    "not an ISO/IEC 30107-3 metric: all attacks pooled, its threshold is set on the graded presentations themselves"
)


def metrics(
    table: ScoreTable, grading: Grading, by: Sequence[str] = (), match_threshold: float | None = None
) -> dict[str, Any]:
    """Rates of ``table`` graded by ``grading``; keys as in the contract, further ones beside them.

    Raises ManifestError where a class is missing: with one class only, nothing tells errors from a constant answer.
    """
    _check_classes(table)
    subjects = subject_numbers(table)
    bootstrap = None if subjects is None else SubjectBootstrap(subjects)
    decisions = grading.decisions
    result: dict[str, Any] = {
        "format": FORMAT,
        "threshold": grading.threshold,
        "threshold_source": grading.source,
        "intervals": "two-sided, 95 %, Clopper-Pearson",
    }
    result.update(_error_rates(table, decisions, bootstrap))
    result.update(_nonresponses(table))
    result.update(_curves(table, subjects))
    if decisions is not None:
        result["groups"] = by_groups(table, decisions, _group_columns(table, by), bootstrap)
        graded = {name: Rate(s["apcer"]["errors"], s["apcer"]["n"]) for name, s in result["species"].items()}
        result["claims"] = claims.judge_all(graded, Rate(result["bpcer"]["errors"], result["bpcer"]["n"]))
        result["full_system"] = _full_system(table, decisions, match_threshold)
    if "time_ms" in table.numbers and np.isfinite(table.numbers["time_ms"]).any():
        times = table.numbers["time_ms"]
        middle, slow = np.nanquantile(times, [0.5, 0.95])
        result["time_ms"] = {"median": float(middle), "quantile_95": float(slow), "n": int(np.isfinite(times).sum())}
    result["warnings"] = [*grading.warnings, *_warnings(table, result)]
    return result


def subject_numbers(table: ScoreTable) -> NDArray[np.int64] | None:
    """(N,) subject of every row, -1 where it is not named; None without the column or with one subject only."""
    column = table.names.get("subject_id")
    if column is None or column.count() < 2:
        return None
    unnamed = np.array([not value for value in column.values])
    return np.where(unnamed[column.codes], -1, column.codes).astype(np.int64)


def species_masks(table: ScoreTable) -> dict[str, BoolArray]:
    """(N,) rows of every PAI species."""
    return {name: table.species.equal(name) for name in table.species.present()}


def _check_classes(table: ScoreTable) -> None:
    for there, kind in ((table.bona_fide.any(), "bona fide"), ((~table.bona_fide).any(), "attack")):
        if not there:
            raise ManifestError(f"scores {table.path}: has no {kind} presentation to grade; rates need both kinds")


def _error_rates(table: ScoreTable, decisions: Decisions | None, bootstrap: SubjectBootstrap | None) -> dict[str, Any]:
    masks = species_masks(table)
    species: dict[str, dict[str, Any]] = {name: {} for name in masks}
    result: dict[str, Any] = {"bpcer": None, "species": species, "apcer_max": None}
    for name, mask in masks.items():
        if "instrument_id" in table.names:
            species[name]["instruments"] = table.names["instrument_id"].where(mask).count()
        species[name]["apnrr"] = Rate(int((mask & ~table.responded).sum()), int(mask.sum())).as_json()
    if decisions is None:
        return {**result, "grid": {}, "bpcer_by_illumination": {}, "acer": {"rate": None, "note": ACER_NOTE}}
    bona_fide = rates.bpcer(decisions[table.bona_fide])
    per_species = {name: rates.apcer(decisions[mask]) for name, mask in masks.items()}
    result["bpcer"] = _with_proof(bona_fide)
    for name, rate in per_species.items():
        species[name]["apcer"] = _with_proof(rate)
    if bootstrap is not None:
        responded = decisions >= 0
        wrong = [table.bona_fide & (decisions == 0), *(mask & (decisions == 1) for mask in masks.values())]
        samples = bootstrap.rates(wrong, [table.bona_fide & responded, *(mask & responded for mask in masks.values())])
        shown = [(result["bpcer"], table.bona_fide), *((species[name]["apcer"], mask) for name, mask in masks.items())]
        for column, (rate, mask) in enumerate(shown):
            count = table.names["subject_id"].where(mask & responded).count()
            rate.update(_by_subject(rate, count, samples[:, column]))
    worst = rates.worst(per_species)
    if worst is not None:
        result["apcer_max"] = {"species": worst, **species[worst]["apcer"]}
        acer = rates.acer(per_species[worst], bona_fide)
    else:
        acer = None
    result["grid"], result["bpcer_by_illumination"] = _grid(table, decisions)
    result["acer"] = {"rate": acer, "note": ACER_NOTE}
    return result


def _with_proof(rate: Rate) -> dict[str, Any]:
    return {**rate.as_json(), "proves_at_most": rate.proves}


def _by_subject(rate: dict[str, Any], count: int, samples: NDArray[np.floating]) -> dict[str, Any]:
    """What the sample says when subjects, not presentations, are the independent units."""
    drawn = interval(samples)
    return {
        "subjects": count,
        "ci95_by_subject": None if drawn is None else list(drawn),
        # Without an error the bootstrap is blind; that no subject had one is still an exact statement.
        "proves_at_most_by_subject": upper_bound(0, count) if count and not rate["errors"] else None,
    }


def _grid(table: ScoreTable, decisions: Decisions) -> tuple[dict[str, Any], dict[str, Any]]:
    """APCER per species x illumination, and BPCER per illumination; empty without the column."""
    light = table.names.get("illumination")
    if light is None:
        return {}, {}
    present = light.present()
    grid: dict[str, Any] = {}
    for name, mask in species_masks(table).items():
        cells = {value: mask & light.equal(value) for value in present}
        grid[name] = {value: rates.apcer(decisions[cell]).as_json() for value, cell in cells.items() if cell.any()}
    bona_fide = {value: table.bona_fide & light.equal(value) for value in present}
    return grid, {value: rates.bpcer(decisions[cell]).as_json() for value, cell in bona_fide.items() if cell.any()}


def _nonresponses(table: ScoreTable) -> dict[str, Any]:
    attack = ~table.bona_fide
    silent = ~table.responded
    return {
        "apnrr": Rate(int((attack & silent).sum()), int(attack.sum())).as_json(),
        "bpnrr": Rate(int((table.bona_fide & silent).sum()), int(table.bona_fide.sum())).as_json(),
    }


def _curves(table: ScoreTable, subjects: NDArray[np.int64] | None) -> dict[str, Any]:
    """Figures over all thresholds; null where one class has no response at all."""
    scores = {name: table.score[mask & table.responded] for name, mask in species_masks(table).items()}
    attacks = {name: values for name, values in scores.items() if len(values)}
    bona_fide = table.score[table.bona_fide & table.responded]
    if not len(bona_fide) or not attacks:
        nothing: dict[str, Any] = {
            "bpcer_at_apcer": {},
            "apcer_at_bpcer": {},
            "det": {},
            "auc": None,
            "reliability": None,
        }
        return {**nothing, "eer": {"rate": None, "note": EER_NOTE}}
    responded = table.responded
    kinds = table.bona_fide[responded]
    area, influence = auc_influence(table.score[responded], kinds)
    numbers = np.arange(len(kinds)) if subjects is None else subjects[responded]
    half = 1.959963984540054 * clustered_sd(influence, numbers)
    pooled = np.concatenate(list(attacks.values()))
    equal_rate, equal_threshold = rates.eer(bona_fide, pooled)
    result: dict[str, Any] = {
        "bpcer_at_apcer": {
            key: _point(rates.bpcer_at_apcer(bona_fide, attacks, target)) for key, target in APCER_TARGETS.items()
        },
        "apcer_at_bpcer": {key: _apcer_at(bona_fide, attacks, target) for key, target in BPCER_TARGETS.items()},
        "auc": area,
        "auc_ci95": [max(0.0, area - half), min(1.0, area + half)],
        "auc_note": AUC_NOTE,
        "eer": {"rate": equal_rate, "threshold": finite(equal_threshold), "note": EER_NOTE},
        "det": {name: _det(bona_fide, values) for name, values in attacks.items()},
        "reliability": reliability(bona_fide, pooled),
    }
    return result


def _apcer_at(bona_fide: NDArray[np.float64], attacks: dict[str, NDArray[np.float64]], target: float) -> dict[str, Any]:
    points = {name: rates.apcer_at_bpcer(bona_fide, values, target) for name, values in attacks.items()}
    worst = rates.worst({name: point.rate for name, point in points.items()})
    assert worst is not None
    return {
        "species": {name: point.rate.as_json() for name, point in points.items()},
        "apcer_max": {"species": worst, **points[worst].rate.as_json()},
        "threshold": finite(points[worst].threshold),
        "resolved": points[worst].resolved,
    }


def _point(point: rates.OperatingPoint) -> dict[str, Any]:
    return {
        **point.rate.as_json(),
        "threshold": finite(point.threshold),
        "apcer": point.target,
        "resolved": point.resolved,
    }


def _det(bona_fide: NDArray[np.float64], attacks: NDArray[np.float64]) -> dict[str, list[float | None]]:
    thresholds, apcers, bpcers = rates.thinned_det(bona_fide, attacks)
    return {
        "threshold": [finite(float(value)) for value in thresholds],
        "apcer": apcers.tolist(),
        "bpcer": bpcers.tolist(),
    }


def _full_system(table: ScoreTable, decisions: Decisions, match_threshold: float | None) -> dict[str, Any] | None:
    """IAPAR, FRR and RIAPAR where matching scores and their threshold are given."""
    if match_threshold is not None and not math.isfinite(match_threshold):
        raise ManifestError(f"match_threshold: expected a finite number, got {match_threshold}")
    if "match_score" not in table.numbers:
        if match_threshold is not None:
            raise ManifestError(f"scores {table.path}: has no column match_score for a match_threshold")
        return None
    if match_threshold is None and "match_threshold" in table.numbers:
        given = np.unique(table.numbers["match_threshold"][~np.isnan(table.numbers["match_threshold"])])
        match_threshold = float(given[0]) if len(given) == 1 else None
    if match_threshold is None:
        return None
    scores = table.numbers["match_score"]
    rejects = rates.frr(decisions[table.bona_fide], scores[table.bona_fide], match_threshold)
    species: dict[str, dict[str, Any]] = {}
    for name, mask in species_masks(table).items():
        accepts = rates.iapar(decisions[mask], scores[mask], match_threshold)
        species[name] = {"iapar": accepts.as_json(), "riapar": rates.riapar(accepts, rejects)}
    relative: list[float] = [entry["riapar"] for entry in species.values() if entry["riapar"] is not None]
    return {
        "match_threshold": match_threshold,
        "frr": rejects.as_json(),
        "species": species,
        "riapar_max": max(relative, default=None),
    }


def _group_columns(table: ScoreTable, by: Sequence[str]) -> list[str]:
    asked = [name for name in by if name not in table.names and name not in table.numbers]
    if "score" in asked:
        raise ManifestError("by: the score is what is graded; give another column")
    if asked:
        raise ManifestError(
            f"scores {table.path}: has no column {asked[0]!r} to grade by; it has {', '.join(table.header)}"
        )
    usual = [name for name in USUAL if name in table.names or name in table.numbers]
    if {"manifest_distance_mm", "distance_mm"} <= set(usual):
        usual.remove("distance_mm")
    return list(dict.fromkeys((*by, *usual)))


def _warnings(table: ScoreTable, result: dict[str, Any]) -> list[str]:
    warnings = []
    small = [
        f"{name} ({rate['n']})"
        for name, rate in ((name, entry.get("apcer")) for name, entry in result["species"].items())
        if rate is not None and rate["n"] < presentations_needed(0.07)
    ]
    if small:
        warnings.append(
            f"Too few presentations to prove even an APCER below 7 % ({presentations_needed(0.07)} without an"
            f" error): {', '.join(small)}."
        )
    if "subject_id" not in table.names:
        warnings.append("The file does not name subjects: all intervals take presentations as independent.")
    if "unnamed" in result["species"]:
        warnings.append(
            "Some attacks name no PAI species; they are graded together as 'unnamed', which ISO/IEC 30107-3"
            " does not allow."
        )
    if "illumination" not in table.names:
        warnings.append("The file does not name illuminations: there is no species x illumination grid.")
    return warnings


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None
