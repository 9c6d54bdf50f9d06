"""The released model on the bundled pairs, held against its frozen figures: our own use of ``evaluate --against``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from stereolive.evaluate.drift import load_metrics
from stereolive.store import released_model

ROOT = Path(__file__).parent.parent
FROZEN = ROOT / "tests" / "frozen" / "metrics.json"
Main = Callable[[Sequence[str]], int]


@pytest.fixture(scope="module")
def frozen_set(module_at: Callable[[Path], ModuleType]) -> Main:
    main: Main = module_at(ROOT / "scripts" / "frozen_set.py").main
    return main


def test_the_released_model_is_not_worse_than_its_frozen_figures(
    frozen_set: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    status = frozen_set([])
    assert status == 0, capsys.readouterr().out


def test_a_worse_model_is_found_and_the_way_out_is_said(
    frozen_set: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(released_model(), model)
    manifest = json.loads((model / "manifest.json").read_text("utf-8"))
    manifest["threshold"] = 1.0
    (model / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    before = FROZEN.read_bytes()
    assert frozen_set(["--model", str(model)]) == 1
    out = capsys.readouterr().out
    assert "bpcer: 100.00 %" in out and "frozen_set.py --refresh" in out
    assert FROZEN.read_bytes() == before


def test_the_frozen_set_is_large_enough_to_see_a_change() -> None:
    """With fewer pairs no number of errors would lie beyond an interval."""
    frozen = load_metrics(FROZEN)
    assert frozen["bpcer"]["n"] >= 3 and frozen["bpcer"]["ci95"][1] < 1
    assert sum(entry["apcer"]["n"] for entry in frozen["species"].values()) >= 4
