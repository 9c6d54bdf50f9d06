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
    for line in lines:
        assert line[0] == "$"
        if line[2:4] == ["-m", "stereolive"]:
            given = parser().parse_args(line[4:])  # ends the test where the command line has no such option
            if line[4] == "synth":
                rendered.append(f"{given.out}/manifest.csv")
        else:
            assert (ROOT / line[2]).is_file()
        used += [word for word in line if word.startswith("data/") and word.endswith("manifest.csv")]
    assert set(used) == set(rendered) and len(rendered) == len(set(rendered))


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
