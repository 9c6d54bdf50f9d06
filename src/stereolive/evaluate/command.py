"""The sub-commands ``evaluate``, ``plan`` and ``compare``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stereolive.evaluate.intervals import CONFIDENCE
from stereolive.evaluate.planning import CORRELATION, plan

if TYPE_CHECKING:
    from stereolive.evaluate.evaluation import Evaluation

EXIT_WORSE = 1


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the sub-commands; each sets ``handler``, which takes the parsed arguments and returns the exit status.

    Handlers raise StereoliveError with one sentence, for which the command line exits with 2.
    """
    grade = subparsers.add_parser(
        "evaluate",
        help="grade a score file after ISO/IEC 30107-3",
        description="Grade anybody's scores: a CSV with the columns score, label and pai_species."
        " Writes metrics.json and report.html.",
    )
    grade.add_argument("scores", type=Path, metavar="SCORES.csv")
    grade.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for metrics.json and report.html")
    grade.add_argument(
        "--threshold", type=float, metavar="T", help="accept scores of at least T (default: the file's decisions)"
    )
    grade.add_argument(
        "--threshold-from",
        type=Path,
        metavar="VALIDATION.csv",
        help="set the threshold on another file's validation presentations",
    )
    grade.add_argument(
        "--bpcer",
        type=float,
        metavar="RATE",
        help="set the threshold for this BPCER on validation presentations (such as 0.01)",
    )
    grade.add_argument(
        "--protocol", type=Path, metavar="FILE", help="CSV, YAML or JSON that names the parts and folds; all are run"
    )
    grade.add_argument(
        "--against", type=Path, metavar="OLD/metrics.json", help="exit with 1 if a rate got worse beyond its interval"
    )
    grade.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="also grade by this column (may be repeated)"
    )
    grade.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only such rows (may be repeated)"
    )
    grade.add_argument(
        "--match-threshold", type=float, metavar="T", help="threshold of the column match_score, for IAPAR and RIAPAR"
    )
    grade.add_argument("--system", metavar="NAME", help="the system's name, for the report")
    grade.add_argument("--model", type=Path, metavar="PATH", help="model file or folder whose hash the report shows")
    grade.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder that image paths are relative to (default: that of the scores)",
    )
    grade.add_argument("--depth-dir", type=Path, metavar="DIR", help="folder with the system's depth, SAMPLE_ID.png")
    grade.add_argument(
        "--origin", choices=("rendered", "real"), help="what the presentations are, where the file does not say"
    )
    grade.set_defaults(handler=_evaluate)

    size = subparsers.add_parser(
        "plan",
        help="how many presentations, subjects and instruments a claim needs",
        description="How large a test must be to prove that no PAI species' APCER reaches the claim.",
    )
    size.add_argument("--claim", type=float, required=True, metavar="RATE", help="the rate to stay below, such as 0.07")
    size.add_argument("--species", type=int, default=1, metavar="N", help="number of PAI species (default 1)")
    size.add_argument("--confidence", type=float, default=CONFIDENCE, metavar="C", help="default %(default)s")
    size.add_argument(
        "--correlation",
        type=float,
        default=CORRELATION,
        metavar="RHO",
        help="likeness of repeated presentations, 0 to 1 (default %(default)s)",
    )
    size.add_argument("--json", action="store_true", help="print one JSON object")
    size.set_defaults(handler=_plan)

    pair = subparsers.add_parser(
        "compare",
        help="two systems on the same presentations",
        description="Paired comparison of two score files of the same presentations."
        " Writes comparison.json and comparison.html.",
    )
    pair.add_argument("a", type=Path, metavar="A.csv")
    pair.add_argument("b", type=Path, metavar="B.csv")
    pair.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for comparison.json and comparison.html"
    )
    pair.add_argument("--threshold-a", type=float, metavar="T", help="threshold of A (default: its decisions)")
    pair.add_argument("--threshold-b", type=float, metavar="T", help="threshold of B (default: its decisions)")
    pair.set_defaults(handler=_compare)


def _evaluate(arguments: argparse.Namespace) -> int:
    from stereolive.evaluate.evaluation import evaluate

    result = evaluate(
        arguments.scores,
        arguments.out,
        arguments.threshold,
        arguments.threshold_from,
        arguments.protocol,
        arguments.against,
        arguments.by,
        bpcer=arguments.bpcer,
        where=arguments.where,
        match_threshold=arguments.match_threshold,
        system=arguments.system,
        model=arguments.model,
        pictures=arguments.pictures,
        depth_dir=arguments.depth_dir,
        origin=arguments.origin,
    )
    print(_summary(result))
    if result.regressions:
        print(f"\nWorse than {arguments.against}:")
        for regression in result.regressions:
            print(f"  {regression.text}")
        return EXIT_WORSE
    if arguments.against is not None:
        print(f"\nNo rate is worse than in {arguments.against} beyond its interval.")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    result = plan(arguments.claim, arguments.species, arguments.confidence, arguments.correlation)
    print(json.dumps(result.as_json(), indent=1) if arguments.json else result.text())
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from stereolive.evaluate.compare import compare

    print(compare(arguments.a, arguments.b, arguments.out, arguments.threshold_a, arguments.threshold_b).text())
    return 0


def _summary(result: Evaluation) -> str:
    lines = []
    metrics = result.metrics
    if "threshold_source" in metrics:
        lines += _lines(metrics)
    else:
        for name, fold in metrics["folds"].items():
            lines += [f"{name}:", *(f"  {line}" for line in _lines(fold))]
        for key, value in metrics["summary"].items():
            lines.append(
                f"{key} over {len(metrics['folds'])} folds: mean {value['mean']:.2%}, worst"
                f" {value['worst']:.2%} ({value['worst_fold']})"
            )
    lines += [f"Warning: {text}" for text in metrics["warnings"]]
    return "\n".join([*lines, f"{result.metrics_path}", f"{result.report_path}"])


def _lines(metrics: dict[str, Any]) -> list[str]:
    threshold = "none" if metrics["threshold"] is None else f"{metrics['threshold']:.6g}"
    lines = [f"threshold {threshold}, {metrics['threshold_source']}"]
    worst = metrics["apcer_max"]
    if worst is not None:
        lines.append(f"APCER {_rate(worst)}: {worst['species']}, the worst of {len(metrics['species'])} species")
    if metrics["bpcer"] is not None:
        lines.append(f"BPCER {_rate(metrics['bpcer'])}")
    lines.append(f"APNRR {_rate(metrics['apnrr'])}, BPNRR {_rate(metrics['bpnrr'])}")
    for key, name in (("bpcer20", "5"), ("bpcer100", "1")):
        if key in metrics["bpcer_at_apcer"]:
            lines.append(f"BPCER at APCER {name} %: {_rate(metrics['bpcer_at_apcer'][key])}")
    if metrics["auc"] is not None:
        lines.append(f"AUC {metrics['auc']:.4f} (not ISO)")
    return lines


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "unknown (0 presentations)"
    low, high = rate["ci95"]
    return f"{rate['rate'] * 100:.2f} % ({rate['errors']} of {rate['n']}; 95 %: {low * 100:.2f} to {high * 100:.2f} %)"
