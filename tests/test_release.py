"""What ``scripts/release.py`` would run, for every release that is described."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from stereolive.cli import parser

ROOT = Path(__file__).parent.parent
DESCRIBED = sorted((ROOT / "configs" / "data").glob("*.yaml"))
Main = Callable[[Sequence[str]], int]


@pytest.fixture(scope="module")
def script(module_at: Callable[[Path], ModuleType]) -> ModuleType:
    return module_at(ROOT / "scripts" / "release.py")


@pytest.fixture(scope="module")
def release(script: ModuleType) -> Main:
    main: Main = script.main
    return main


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda path: path.stem)
def test_renders_what_it_trains_on_and_grades_with(
    described: Path, release: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release([str(ROOT / "configs" / described.name), "--show"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rendered, used = [], []
    renderers: set[str] = set()
    brought = {f"PYTHONPATH={folder.relative_to(ROOT)}/src" for folder in (ROOT / "runs").glob("renderer-*")}
    for line in lines:
        assert line[0] == "$"
        if "stereolive" in line:
            command = line[line.index("stereolive") + 1 :]
            given = parser().parse_args(command)  # ends the test where the command line has no such option
            if command[0] == "synth":
                rendered.append(f"{given.out}/manifest.csv")
            renderers.update(word for word in line if word.startswith("PYTHONPATH="))
        elif line[1] == "git":
            brought.add(f"PYTHONPATH={line[-2]}/src")
        else:
            assert (ROOT / line[2]).is_file()
        used += [word for word in line if word.startswith("data/") and word.endswith("manifest.csv")]
    assert set(used) == set(rendered) and len(rendered) == len(set(rendered))
    assert renderers <= brought


def test_takes_from_another_release_what_is_as_there(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "start: a\nvalidation: v\ntrain: [t, u]\ngraded: {test: w}\nsets: {v: {seed: 1}, u: {seed: 2}}\n"
    )
    (tmp_path / "two.yaml").write_text("like: one\nstart: b\ntrain: [x]\nsets: {x: {seed: 3}, v: {seed: 4}}\n")
    plan = script.described(tmp_path / "two.yaml")
    assert (plan["start"], plan["validation"], plan["graded"]) == ("b", "v", {"test": "w"})
    assert plan["sets"] == {"v": {"seed": 4}, "u": {"seed": 2}, "x": {"seed": 3}}
    assert script.used(plan) == ["v", "x", "w"]


def test_says_which_configurations_can_be_released(release: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        release([str(ROOT / "configs" / "quick.yaml"), "--show"])
    assert ended.value.code == 2 and "quick.yaml" in capsys.readouterr().err


def test_stops_at_the_first_command_that_fails(
    release: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        ran.append(command)
        if len(ran) == 2:
            raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(subprocess, "run", run)
    assert release([str(ROOT / "configs" / DESCRIBED[0].name), "--only", "data"]) == 1
    assert len(ran) == 2 and "stopped at:" in capsys.readouterr().err


def test_what_training_says_is_kept_over_several_tries(script: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "runs" / "release.log"
    with pytest.raises(subprocess.CalledProcessError):
        script.logged([sys.executable, "-c", "print('half'); raise SystemExit(3)"], log)
    script.logged([sys.executable, "-c", "print('done')"], log)
    assert log.read_text() == "half\ndone\n"


def test_the_log_of_the_model_before_is_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr(script, "ROOT", tmp_path)
    plan = {"train": ["train-2"], "validation": "validation-1", "graded": {"test": "test-1"}}
    for name in ("train-2", "validation-1", "test-1"):
        written(tmp_path / "data" / name / "synth.json", name)
    written(tmp_path / script.MODEL / "manifest.json", '{"version": "1"}')
    written(tmp_path / script.TRAINING / "train.log", "log 1")
    written(tmp_path / script.TRAINING / "synth-hard.json", "hard-1")
    written(tmp_path / "runs" / "release-2" / "manifest.json", '{"version": "2"}')
    written(tmp_path / "runs" / "release-2.work" / "metrics.jsonl", "{}")
    written(tmp_path / "runs" / "release-2.log", "log 2")
    for _ in range(2):  # the second time changes nothing
        script.released(Path("configs/release-2.yaml"), plan)
    kept = tmp_path / script.TRAINING
    assert {str(path.relative_to(kept)): path.read_text() for path in kept.rglob("*") if path.is_file()} == {
        "1/train.log": "log 1",
        "1/synth-hard.json": "hard-1",
        "train.log": "log 2",
        "metrics.jsonl": "{}",
        "synth-train-2.json": "train-2",
        "synth-validation-1.json": "validation-1",
        "synth-test-1.json": "test-1",
    }
    assert script.version(tmp_path / script.MODEL) == "2"
