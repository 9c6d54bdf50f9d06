"""The recording guide's numbers are computed ones, and its manifest is read by the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stereolive.data.manifest import Manifest
from stereolive.evaluate.intervals import clopper_pearson, presentations_needed, upper_bound
from stereolive.evaluate.planning import plan
from stereolive.synth.lights import ILLUMINATIONS

GUIDE = (Path(__file__).parents[3] / "docs" / "recording.md").read_text("utf-8")


def _table(heading: str) -> list[list[str]]:
    """The rows below the table line that starts with ``heading``."""
    lines = GUIDE[GUIDE.index(heading) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _share(text: str) -> float:
    return float(re.match(r"[\d.]+", text)[0]) / 100  # type: ignore[index]


def test_presentations_needed() -> None:
    rows = _table("| claim: below | with 0 errors")
    assert len(rows) == 5
    for claim, *counts in rows:
        assert [int(count) for count in counts] == [presentations_needed(_share(claim), errors) for errors in range(4)]


def test_what_a_smaller_test_proves() -> None:
    rows = _table("| errors of presentations")
    assert len(rows) == 5
    for case, _, interval, proved in rows:
        errors, n = (int(number) for number in case.split(" of "))
        low, high = (float(number) / 100 for number in re.findall(r"[\d.]+", interval))
        assert (low, high) == pytest.approx(clopper_pearson(errors, n), abs=5.1e-5)
        assert _share(proved) == pytest.approx(upper_bound(errors, n), abs=5.1e-5)


def test_repeated_presentations() -> None:
    rows = _table("| claim: below | 1 a subject")
    assert len(rows) == 3
    for claim, *cells in rows:
        expected = [f"{entry['presentations']} of {entry['subjects']}" for entry in plan(_share(claim)).repetitions]
        assert cells == expected


def test_chances_to_pass() -> None:
    for claim in (0.07, 0.03, 0.01):
        strict = plan(claim).allowances[0]["chance_to_pass"].values()
        assert [round(chance * 100) for chance in strict][::2] == [22, 74]
    allowance = plan(0.03).allowances[2]
    assert allowance["presentations"] == 208
    assert round(list(allowance["chance_to_pass"].values())[-1] * 100) == 97


def test_example_manifest_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "manifest.csv").write_text(block, "utf-8")
    rows = list(Manifest.read(tmp_path / "manifest.csv"))
    assert [row.species for row in rows] == ["bona_fide", "bona_fide", "print_flat", "mask_silicone"]
    assert rows[3].further == {"instrument_id": "m01", "split": "validation"}


def test_illuminations_are_named_as_the_renderer_names_them() -> None:
    assert [row[0].strip("`") for row in _table("| `illumination` | how")] == list(ILLUMINATIONS)
