"""Two systems on the same presentations: paired differences, which see what two separate intervals cannot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import InputError, ManifestError
from stereolive.evaluate import rates
from stereolive.evaluate.bootstrap import SubjectBootstrap, auc_influence, clustered_sd, interval
from stereolive.evaluate.figures import det_figure
from stereolive.evaluate.intervals import mcnemar_p
from stereolive.evaluate.metrics import species_masks, subject_numbers
from stereolive.evaluate.page import facts, page, percent, table, warning_box
from stereolive.evaluate.rates import Decisions
from stereolive.evaluate.scores import BoolArray, ScoreTable, load_scores, sample_ids
from stereolive.evaluate.thresholds import Grading, choose, part_of

TITLE = "Two systems on the same presentations"
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found; differences are B minus A, so a negative one says that B errs less."""

    result: dict[str, Any]
    json_path: Path
    report_path: Path

    def text(self) -> str:
        lines = [f"{self.result['presentations']} common presentations; differences are B - A"]
        lines += [f"Warning: {text}" for text in self.result["warnings"]]
        for name, pair in self.result["differences"].items():
            low, high = pair["ci95"]
            lines.append(
                f"{name}: A {pair['a'] * 100:.2f} %, B {pair['b'] * 100:.2f} %, difference"
                f" {pair['difference'] * 100:+.2f}"
                f" ({low * 100:+.2f} to {high * 100:+.2f}), only A errs {pair['only_a']}, only B errs {pair['only_b']},"
                f" p = {pair['mcnemar_p']:.3g}"
            )
        auc = self.result["auc"]
        if auc is not None:
            low, high = auc["ci95"]
            lines.append(
                f"AUC (not ISO): A {auc['a']:.4f}, B {auc['b']:.4f}, difference {auc['difference']:+.4f}"
                f" ({low:+.4f} to {high:+.4f})"
            )
        return "\n".join([*lines, str(self.json_path), str(self.report_path)])


def compare(
    a: str | Path,
    b: str | Path,
    out: str | Path,
    threshold_a: float | None = None,
    threshold_b: float | None = None,
) -> Comparison:
    """Compare two score files on the presentations (``sample_id``) that both have; writes ``comparison.json`` and
    ``.html``.

    Rates are compared where both systems responded, by McNemar's exact test and by a bootstrap over subjects (over
    presentations where subjects are not named). Non-responses are compared on all common presentations.
    Raises ManifestError where the files do not describe the same presentations.
    """
    everything_a, everything_b = load_scores(a), load_scores(b)
    table_a, table_b, notes = _common(everything_a, everything_b)
    grading_a = choose(everything_a, table_a, threshold_a)
    grading_b = choose(everything_b, table_b, threshold_b)
    notes += [f"{name}: {text}" for name, grading in (("A", grading_a), ("B", grading_b)) for text in grading.warnings]
    subjects = subject_numbers(table_a)
    numbers = np.full(len(table_a), -1) if subjects is None else subjects
    result: dict[str, Any] = {
        "format": "stereolive-comparison/1",
        "a": _system(table_a, grading_a, table_b.path),
        "b": _system(table_b, grading_b, table_a.path),
        "presentations": len(table_a),
        "by_subject": subjects is not None,
        "differences": _differences(table_a, grading_a, table_b, grading_b, SubjectBootstrap(numbers)),
        "auc": _auc(table_a, table_b, numbers),
        "warnings": notes,
    }
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "comparison.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", "utf-8")
        (out / "comparison.html").write_text(_report(result, table_a, table_b), "utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return Comparison(result, out / "comparison.json", out / "comparison.html")


def _common(a: ScoreTable, b: ScoreTable) -> tuple[ScoreTable, ScoreTable, list[str]]:
    """Both tables reduced to their common presentations, in one order; the test part where A has one."""
    ids_a, ids_b = sample_ids(a), sample_ids(b)
    place_b = {name: row for row, name in enumerate(ids_b)}
    rows = [(row, place_b[name]) for row, name in enumerate(ids_a) if name in place_b]
    if not rows:
        raise ManifestError(f"{a.path} and {b.path}: have no sample_id in common")
    notes = []
    for name, scores, count in (("A", a, len(ids_a)), ("B", b, len(ids_b))):
        if count > len(rows):
            notes.append(f"{count - len(rows)} presentations of {name} ({scores.path.name}) are not in the other file.")
    rows_a, rows_b = (np.array(column) for column in zip(*rows, strict=True))
    common_a, common_b = a.take(rows_a), b.take(rows_b)
    for name in ("label", "pai_species", "subject_id", "illumination"):
        if name not in common_a.names or name not in common_b.names:
            continue
        differs = _texts(common_a, name) != _texts(common_b, name)
        if name == "label":  # which has several spellings
            differs = common_a.bona_fide != common_b.bona_fide
        if differs.any():
            sample_id = ids_a[rows_a[int(np.argmax(differs))]]
            raise ManifestError(
                f"{a.path} and {b.path}: differ in the {name} of {sample_id}, so they are not of the same presentations"
            )
    test = part_of(common_a, "test")
    if test.any() and not test.all():
        notes.append(f"Only the {int(test.sum())} presentations of the test part are compared.")
        common_a, common_b = common_a.where(test), common_b.where(test)
    return common_a, common_b, notes


def _texts(table: ScoreTable, name: str) -> NDArray[np.object_]:
    column = table.names[name]
    return np.array(column.values, object)[column.codes]


def _system(scores: ScoreTable, grading: Grading, other: Path) -> dict[str, Any]:
    path = scores.path.resolve()
    models = scores.names["model"].present() if "model" in scores.names else []
    return {
        # Score files are often all called scores.csv.
        "file": path.name if path.name != other.name else f"{path.parent.name}/{path.name}",
        "model": ", ".join(models[:3]) or None,
        "sha256": scores.sha256,
        "threshold": grading.threshold,
        "threshold_source": grading.source,
    }


def _differences(
    a: ScoreTable, grading_a: Grading, b: ScoreTable, grading_b: Grading, bootstrap: SubjectBootstrap
) -> dict[str, Any]:
    masks = species_masks(a)
    result: dict[str, Any] = {}
    if grading_a.decisions is not None and grading_b.decisions is not None:
        both = (grading_a.decisions >= 0) & (grading_b.decisions >= 0)
        rows = {"BPCER": (a.bona_fide, 0), **{f"APCER {name}": (mask, 1) for name, mask in masks.items()}}
        for name, (mask, error) in rows.items():
            wrong_a, wrong_b = (_equal(grading.decisions, error) for grading in (grading_a, grading_b))
            pair = _pair(wrong_a, wrong_b, mask & both, bootstrap)
            if pair is not None:
                result[name] = pair
    for name, mask in (("APNRR", ~a.bona_fide), ("BPNRR", a.bona_fide)):
        pair = _pair(~a.responded, ~b.responded, mask, bootstrap)
        if pair is not None:
            result[name] = pair
    return result


def _equal(decisions: Decisions | None, value: int) -> BoolArray:
    assert decisions is not None
    return np.equal(decisions, value)


def _pair(
    wrong_a: BoolArray, wrong_b: BoolArray, mask: BoolArray, bootstrap: SubjectBootstrap
) -> dict[str, Any] | None:
    """One rate of both systems on the presentations of ``mask`` (N,)."""
    n = int(mask.sum())
    if not n:
        return None
    only_a, only_b = int((mask & wrong_a & ~wrong_b).sum()), int((mask & wrong_b & ~wrong_a).sum())
    a, b = int((mask & wrong_a).sum()) / n, int((mask & wrong_b).sum()) / n
    samples = bootstrap.rates([mask & wrong_a, mask & wrong_b], [mask, mask])
    drawn = interval(samples[:, 1] - samples[:, 0])
    if drawn is None or not (only_a and only_b):
        # Where one kind of discordant pair is missing the bootstrap sees too little variation: the exact interval
        # joins it.
        exact = _exact_interval(only_a, only_b, n)
        drawn = exact if drawn is None else (min(drawn[0], exact[0]), max(drawn[1], exact[1]))
    return {
        "n": n,
        "a": a,
        "b": b,
        "difference": b - a,
        "ci95": list(drawn),
        "only_a": only_a,
        "only_b": only_b,
        "mcnemar_p": mcnemar_p(only_a, only_b),
    }


def _exact_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Bounds of a paired difference from the exact bounds of both kinds of discordant pairs (Bonferroni, so
    conservative).
    """
    low_a, high_a = rates.Rate(only_a, n).interval(0.975)
    low_b, high_b = rates.Rate(only_b, n).interval(0.975)
    return low_b - high_a, high_b - low_a


def _auc(a: ScoreTable, b: ScoreTable, subjects: NDArray[np.int64]) -> dict[str, Any] | None:
    """Difference of the AUCs on common responses:

    DeLong et al. (1988), summed over subjects after Obuchowski (1997).
    """
    both = a.responded & b.responded
    kinds = a.bona_fide[both]
    if not kinds.any() or kinds.all():
        return None
    area_a, influence_a = auc_influence(a.score[both], kinds)
    area_b, influence_b = auc_influence(b.score[both], kinds)
    half = NORMAL_95 * clustered_sd(influence_b - influence_a, subjects[both])
    difference = area_b - area_a
    ends = [max(-1.0, difference - half), min(1.0, difference + half)]
    return {"a": area_a, "b": area_b, "difference": difference, "ci95": ends}


def _report(result: dict[str, Any], a: ScoreTable, b: ScoreTable) -> str:
    body = [f"<h1>{TITLE}</h1>"]
    rows = []
    for name in ("a", "b"):
        system = result[name]
        threshold = "none" if system["threshold"] is None else f"{system['threshold']:.6g}"
        text = f"{escape(_label(system))}, SHA-256 <code>{system['sha256']}</code>"
        rows.append((name.upper(), f"{text}<br>threshold {threshold}, {escape(system['threshold_source'])}"))
    unit = "subjects" if result["by_subject"] else "presentations (subjects are not named)"
    rows.append(("Common presentations", f"{result['presentations']}; intervals by bootstrap over {unit}"))
    body.append(facts(rows))
    body += warning_box(result["warnings"])
    body.append("<h2>Paired differences</h2>")
    cells = []
    for name, pair in result["differences"].items():
        low, high = pair["ci95"]
        text = f"{pair['difference'] * 100:+.2f} ({low * 100:+.2f} to {high * 100:+.2f})"
        beyond = low > 0 or high < 0
        cells.append(
            [
                escape(name),
                str(pair["n"]),
                percent(pair["a"]),
                percent(pair["b"]),
                f"<b>{_with_minus(text)}</b>" if beyond else _with_minus(text),
                str(pair["only_a"]),
                str(pair["only_b"]),
                f"{pair['mcnemar_p']:.3g}",
            ]
        )
    header = ["", "Pairs", "A, %", "B, %", "B − A, percentage points (95 %)", "Only A errs", "Only B errs", "McNemar p"]
    body.append(table(header, cells))
    body.append(
        '<p class="faint">Bold: the interval excludes 0. McNemar\'s exact test takes presentations as independent; the'
        " interval takes subjects as the units, and is the wider, exact one where only one of both errs: a small p can"
        " stand beside an interval that holds 0. With many rows some differ by chance alone.</p>"
    )
    auc = result["auc"]
    if auc is not None:
        low, high = auc["ci95"]
        body.append(
            f"<p>AUC (not an ISO metric): A {auc['a']:.4f}, B {auc['b']:.4f}, difference {auc['difference']:+.4f}"
            f" ({low:+.4f} to {high:+.4f}).</p>"
        )
        body.append("<h2>Detection error trade-off</h2><p>All attacks pooled; responses common to both.</p>")
        curves = {}
        both = a.responded & b.responded
        for name, scores in (("a", a), ("b", b)):
            thinned = rates.thinned_det(scores.score[both & scores.bona_fide], scores.score[both & ~scores.bona_fide])
            curves[f"{name.upper()}: {_label(result[name])}"] = thinned[1:]
        body.append(det_figure(curves))
    return page(TITLE, body)


def _with_minus(text: str) -> str:
    return text.replace("-", "−")


def _label(system: dict[str, Any]) -> str:
    return f"{system['model']} ({system['file']})" if system["model"] else str(system["file"])
