"""``stereolive adapt``: every set is reached, and what a set cannot do is printed."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from stereolive.data.adapters.command import add_commands
from stereolive.images import write_png


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stereolive")
    add_commands(parser.add_subparsers(required=True))
    return parser


def test_adapt_prints_what_came_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stream in ("color", "depth", "ir"):
        folder = tmp_path / "AF" / "AF-001" / "1_001_1_1_1" / stream
        folder.mkdir(parents=True)
        write_png(folder / "0001.png", np.full((32, 32), 9, np.uint8))
    arguments = _parser().parse_args(["adapt", "cefa", str(tmp_path), "--out", str(tmp_path / "out")])
    assert arguments.handler(arguments) == 0
    printed = capsys.readouterr().out
    assert "1 rows (bona_fide 1)" in printed and "depth -> liveness stage only" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["hq-wmca", "S", "--out", "O", "--calibration", "C", "--pair", "color+nir_left_850nm", "--frames", "3"],
        ["casia-surf", "L", "--out", "O", "--root", "R", "--bona-fide-label", "0"],
        ["cefa", "S", "--out", "O", "--frames", "2"],
        ["wmca", "S", "--out", "O", "--protocol", "P", "--bona-fide-label", "1", "--depth-unit-mm", "0.125"],
        ["3dmad", "S", "--out", "O", "--depth-unit-mm", "1"],
    ],
)
def test_every_set_has_a_command(arguments: list[str]) -> None:
    assert callable(_parser().parse_args(["adapt", *arguments]).handler)


@pytest.mark.parametrize(
    "arguments",
    [
        ["hq-wmca", "S", "--out", "O"],  # no calibration
        ["cefa", "S", "--out", "O", "--frames", "0"],
        ["3dmad", "S", "--out", "O", "--depth-unit-mm", "nan"],
        ["casia-surf", "L", "--out", "O", "--bona-fide-label", "2"],
        ["imagenet", "S", "--out", "O"],
    ],
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        _parser().parse_args(["adapt", *arguments])
    assert stopped.value.code == 2
    capsys.readouterr()
