"""What the README says can be typed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stereolive import cli
from stereolive.data.manifest import Presentation
from stereolive.rig import Rig

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("stereolive ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_is_understood(line: str) -> None:
    assert callable(cli.parser().parse_args(shlex.split(line)[1:]).handler)


def test_the_table_has_every_command() -> None:
    commands = next(action for action in cli.parser()._actions if getattr(action, "choices", None))
    listed = re.findall(r"^\| `stereolive (\w+)`", TEXT, re.M)
    assert sorted(listed) == sorted(commands.choices or ())


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"\b(?:configs|benchmarks|docs|scripts)/[\w./-]+\w", TEXT):
        assert (ROOT / name).exists(), name
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for target in re.findall(r"`?make (\w+)`?$", "\n".join(blocks("sh")), re.M):
        assert target in targets


def test_the_rig_is_a_rig() -> None:
    import json

    assert Rig.from_json(json.loads(blocks("json")[0])).baseline_mm == 40


def test_the_python_example_runs(living: Presentation, tmp_path: Path) -> None:
    for name, path in (("first.png", living.first), ("second.png", living.second), ("rig.json", living.rig)):
        shutil.copyfile(path, tmp_path / name)
    (tmp_path / "example.py").write_text(blocks("python")[0])
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "depth (" in done.stdout


def test_the_debian_packages_are_those_that_are_checked_for() -> None:
    checked = re.findall(r'"(lib\w+[\w.-]*)",?$', (ROOT / "scripts" / "check_system.py").read_text("utf-8"), re.M)
    named = next(line for block in blocks("sh") for line in block.splitlines() if line.startswith("apt-get install"))
    assert {"libgl1", "libglib2.0-0", "python3-venv", "make", "git"} <= set(named.split())
    assert {"libgl1", "libglib2.0-0"} <= set(checked)


def test_the_figures_are_those_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "figures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
