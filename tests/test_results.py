"""Committed figures are those of the committed score files, read again by the code as it is now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from stereolive.evaluate.evaluation import evaluate

RESULTS = Path(__file__).parent.parent / "results"
GRADED = sorted(path.parent for path in RESULTS.glob("*/metrics.json") if (path.parent / "scores.csv").exists())
COMPARED = sorted(RESULTS.glob("*/comparison.json"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def counts(value: Any) -> Any:
    """What was counted, without intervals and times."""
    if isinstance(value, dict):
        return {key: counts(value[key]) for key in value if key in ("n", "errors", "apcer", "apnrr", "species")} or {
            key: counts(entry) for key, entry in value.items()
        }
    return value


def test_there_are_results() -> None:
    assert {"test", "baseline_sgbm"} <= {folder.name for folder in GRADED} and COMPARED


@pytest.mark.parametrize("folder", GRADED, ids=lambda folder: folder.name)
def test_metrics_are_those_of_the_scores_beside_them(folder: Path, tmp_path: Path) -> None:
    written = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert written["data"]["sha256"] == sha256(folder / "scores.csv")
    again = evaluate(folder / "scores.csv", tmp_path, origin=written["data"]["origin"]).metrics
    for key in ("threshold", "bpcer", "apcer_max", "apnrr", "bpnrr", "species", "grid", "auc"):
        assert counts(again[key]) == counts(written[key]), key
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.parent.name)
def test_comparisons_are_of_the_scores_that_are_here(path: Path) -> None:
    hashes = {sha256(folder / "scores.csv") for folder in GRADED}
    compared = json.loads(path.read_text("utf-8"))
    for system in ("a", "b"):
        assert compared[system]["sha256"] in hashes, (
            f"{path}: {compared[system]['file']} was replaced; run the command of results/README.md for this folder"
        )
