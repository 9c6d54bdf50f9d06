"""Grade a score file: ``metrics.json`` and ``report.html`` from a CSV alone."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stereolive.errors import InputError, ManifestError, ModelError
from stereolive.evaluate import drift, thresholds
from stereolive.evaluate.groups import USUAL
from stereolive.evaluate.metrics import FORMAT, metrics
from stereolive.evaluate.protocols import LEFT_OUT, Fold, Protocol, load_protocol
from stereolive.evaluate.report import write_protocol_report, write_report
from stereolive.evaluate.scores import ScoreTable, load_scores
from stereolive.evaluate.thresholds import Grading, part_of

# Words that a column origin or capture may hold. What was rendered and what a camera took never meet in one rate.
RENDERED = {"rendered", "render", "synthetic", "simulated"}
REAL = {"real", "captured", "camera", "recorded"}


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found and wrote;

    ``regressions`` is empty unless it was told against what to hold the result.
    """

    metrics: dict[str, Any]
    metrics_path: Path
    report_path: Path
    regressions: tuple[drift.Regression, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where pictures of the worst cases may lie, and whose scores these are."""

    pictures: Path
    depth_dir: Path | None = None
    system: str | None = None
    model: Path | None = None


def evaluate(
    scores: str | Path,
    out: str | Path,
    threshold: float | None = None,
    threshold_from: str | Path | None = None,
    protocol: str | Path | None = None,
    against: str | Path | None = None,
    by: Sequence[str] = (),
    *,
    bpcer: float | None = None,
    where: Sequence[str] = (),
    match_threshold: float | None = None,
    system: str | None = None,
    model: str | Path | None = None,
    pictures: str | Path | None = None,
    depth_dir: str | Path | None = None,
    origin: str | None = None,
) -> Evaluation:
    """Grade the presentations of a score file and write ``out/metrics.json`` and ``out/report.html``.

    ``threshold`` grades at that threshold; ``threshold_from`` sets it on another file's validation presentations,
    ``bpcer`` on this file's own validation rows, each for that BPCER. Without any, the file's decisions are graded
    (see ``thresholds.choose``). ``where`` are conditions ``column=value`` on the rows; ``by`` are columns to grade by
    besides the usual ones. ``pictures`` is the folder that image paths are relative to. ``origin`` says ``rendered`` or
    ``real`` of a file that does not. Raises ManifestError, one sentence, for a file that cannot be graded.
    """
    if threshold is not None and (threshold_from is not None or bpcer is not None):
        raise InputError("threshold: give one threshold, or let it be set on validation presentations, not both")
    if bpcer is not None and not 0 < bpcer < 1:
        raise InputError(f"bpcer: expected a rate between 0 and 1, got {bpcer:g}")
    for name, folder in (("pictures", pictures), ("depth_dir", depth_dir)):
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"{name} {folder}: there is no such folder")
    old = None if against is None else drift.load_metrics(against)
    rules = None if protocol is None else load_protocol(protocol)
    conditions = [_condition(text) for text in where]
    table = load_scores(scores, [*USUAL, *by, *(rules.columns if rules else ()), *(column for column, _ in conditions)])
    for column, values in conditions:
        table = table.where(np.logical_or.reduce([table.column(column).equal(value) for value in values]))
        if not len(table):
            raise ManifestError(f"scores {table.path}: no row has {column} {' or '.join(values)}")
    origin = _origin(table, origin)
    validation = None if threshold_from is None else load_scores(threshold_from)
    source = Source(
        Path(pictures) if pictures else table.path.parent,
        Path(depth_dir) if depth_dir else None,
        system,
        Path(model) if model else None,
    )
    head = {"data": _data(table, origin, where), "system": _system(table, source)}
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if rules is None:
            graded, grading, left_out = _graded_rows(table, threshold, validation, bpcer)
            result = {**metrics(graded, grading, by, match_threshold), **head}
            result["warnings"] += left_out
            result["data"]["graded"] = len(graded)
            write_report(out / "report.html", result, graded, grading, source.pictures, source.depth_dir)
        else:
            result = _by_protocol(table, rules, head, threshold, validation, bpcer, by, match_threshold)
            write_protocol_report(out / "report.html", result)
        _write_json(out / "metrics.json", result)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    worse = () if old is None else tuple(drift.regressions(old, result))
    return Evaluation(result, out / "metrics.json", out / "report.html", worse)


def _graded_rows(
    table: ScoreTable, threshold: float | None, validation: ScoreTable | None, bpcer: float | None
) -> tuple[ScoreTable, Grading, list[str]]:
    """The rows that are graded:

    the test part where the file has one; with their grading and what must be said of it.
    """
    test = part_of(table, "test")
    notes = []
    graded = table
    if test.any():
        graded = table.where(test)
        if not test.all():
            notes.append(f"{len(table) - len(graded)} rows of the training and validation parts are not graded.")
    elif "split" in table.names and table.names["split"].present():
        notes.append(
            "No row belongs to the test part: these are rates on presentations that the system or its"
            " threshold was made with."
        )
    return graded, thresholds.choose(table, graded, threshold, validation, bpcer), notes


def _by_protocol(
    table: ScoreTable,
    rules: Protocol,
    head: dict[str, Any],
    threshold: float | None,
    validation: ScoreTable | None,
    bpcer: float | None,
    by: Sequence[str],
    match_threshold: float | None,
) -> dict[str, Any]:
    folds: dict[str, Any] = {}
    target = bpcer if bpcer is not None else rules.bpcer
    tested = np.zeros(len(table), np.bool_)
    for fold in rules.folds(table):
        tested |= fold.test
        graded = table.where(fold.test)
        grading = _grade_fold(table, graded, fold, threshold, validation, target)
        folds[fold.name] = metrics(graded, grading, by, match_threshold)
    result = {
        "format": FORMAT,
        "protocol": {
            "name": rules.name,
            "sha256": hashlib.sha256(rules.path.read_bytes()).hexdigest(),
            "folds": len(folds),
        },
        "summary": dict(_summary(folds)),
        "folds": folds,
        "warnings": _one_system_warning(table, rules),
        **head,
    }
    result["data"]["graded"] = int(tested.sum())
    if len(folds) > 1:
        return result
    # One fold is an ordinary evaluation of the rows that the protocol names.
    only = next(iter(folds.values()))
    return {**only, **result, "warnings": [*only["warnings"], *result["warnings"]]}


def _one_system_warning(table: ScoreTable, rules: Protocol) -> list[str]:
    if not rules.leave_one_out or LEFT_OUT in table.names:
        return []
    return [
        f"No column {LEFT_OUT} says which system scored a row: where one system scored all, only its threshold was set"
        f" without the {rules.leave_one_out} that a fold tests, and the system itself may have seen it."
    ]


def _grade_fold(
    table: ScoreTable,
    graded: ScoreTable,
    fold: Fold,
    threshold: float | None,
    validation: ScoreTable | None,
    bpcer: float | None,
) -> Grading:
    if threshold is not None or validation is not None:
        return thresholds.choose(table, graded, threshold, validation, bpcer)
    if not fold.validation.any():
        if bpcer is not None:
            raise ManifestError(
                f"fold {fold.name!r} has no validation rows to set a threshold on, and a threshold is never"
                " set on the test part"
            )
        return thresholds.choose(graded, graded)
    part = table.where(fold.validation)
    warnings = thresholds.check_disjoint(part, graded, f"fold {fold.name!r}")
    target = thresholds.DEFAULT_BPCER if bpcer is None else bpcer
    setting = thresholds.set_on_validation(part, target, f"the validation part of fold {fold.name!r}")
    return thresholds.at_threshold(graded, setting, warnings)


def _summary(folds: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Mean, standard deviation over folds, and the worst fold."""
    for key in ("apcer_max", "bpcer", "acer"):
        values = {
            name: fold[key]["rate"] for name, fold in folds.items() if fold[key] and fold[key]["rate"] is not None
        }
        if values:
            worst = max(values, key=lambda name: values[name])
            yield (
                key,
                {
                    "mean": statistics.fmean(values.values()),
                    "sd": statistics.stdev(values.values()) if len(values) > 1 else None,
                    "worst_fold": worst,
                    "worst": values[worst],
                },
            )


def _condition(text: str) -> tuple[str, list[str]]:
    column, equals, values = text.partition("=")
    if not equals or not column:
        raise InputError(f"where: expected COLUMN=VALUE (several values with commas), got {text!r}")
    return column.strip(), [value.strip() for value in values.split(",")]


def _origin(table: ScoreTable, said: str | None) -> str | None:
    """``rendered``, ``real`` or None where neither the file nor the user says; a mixture is refused."""
    if said not in (None, "rendered", "real"):
        raise InputError(f"origin: expected rendered or real, got {said!r}")
    kinds: dict[str, str] = {}
    for name in ("origin", "capture"):
        if name in table.names:
            for value in table.names[name].present():
                for kind, words in (("rendered", RENDERED), ("real", REAL)):
                    if value.lower() in words:
                        kinds[kind] = f"{name}={value}"
    if len(kinds) > 1:
        raise ManifestError(
            f"scores {table.path}: holds rendered and real presentations, which never meet in one rate; choose with"
            f" --where {kinds['real']} or --where {kinds['rendered']}"
        )
    found = next(iter(kinds), None)
    if said and found and said != found:
        raise ManifestError(f"scores {table.path}: says of itself that it is {found} ({kinds[found]}), not {said}")
    return found or said


def _data(table: ScoreTable, origin: str | None, where: Sequence[str]) -> dict[str, Any]:
    return {
        "file": table.path.name,
        "sha256": table.sha256,
        "rows": len(table),
        "graded": len(table),
        "where": list(where),
        "origin": origin,
        "bona_fide": int(table.bona_fide.sum()),
        "attacks": int((~table.bona_fide).sum()),
        "subjects": table.names["subject_id"].count() if "subject_id" in table.names else None,
    }


def _system(table: ScoreTable, source: Source) -> dict[str, Any]:
    named = table.names["model"].present() if "model" in table.names else []
    return {
        "name": source.system or ", ".join(named[:3]) or None,
        "model": source.model.name if source.model else None,
        "model_sha256": model_sha256(source.model) if source.model else None,
    }


def model_sha256(path: Path) -> str:
    """SHA-256 of a model file;

    of a folder that of its sorted lines ``sha256  relative path``, as ``sha256sum`` prints them.
    """
    try:
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
        files = sorted(file for file in path.rglob("*") if file.is_file())
        if not files:
            raise ModelError(f"model {path}: is neither a file nor a folder with files")
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path).as_posix()}\n" for file in files
        ]
    except OSError as error:
        raise ModelError(f"model {path}: cannot be read ({error.strerror or error})") from None
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_json(path: Path, data: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", "utf-8")
    part.replace(path)
