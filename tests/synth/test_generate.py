"""Whole presentations: repeatable, resumable, split by subject, instrument and rig, and right in their geometry."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from stereolive.data.manifest import INSTRUMENT_SURFACE, LIVING_SURFACE
from stereolive.errors import StereoliveError
from stereolive.rig import Rig
from stereolive.synth.generate import COLUMNS, generate
from stereolive.synth.instruments import BUILDERS
from stereolive.synth.kit import Kit, face_points
from stereolive.synth.lights import ILLUMINATIONS
from stereolive.synth.people import Population
from stereolive.synth.present import ILLUMINATION_SHARES, SPECIES_SHARES, Settings, plan
from stereolive.synth.prints import build_print

SETTINGS = Settings(seed=7)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("images", "depth", "surface", "rigs")
        for path in sorted((folder / kind).iterdir())
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth")
    generate(out, 6, SETTINGS, workers=2)
    return out


def test_manifest_and_files(folder: Path) -> None:
    rows = read(folder)
    assert [row["sample_id"] for row in rows] == [f"{i:06d}" for i in range(6)]
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        rig = Rig.load(folder / row["rig"])
        depth = cv2.imread(str(folder / row["depth"]), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16 and depth.shape == (rig.first.height, rig.first.width)
        for view, camera in (("first", rig.first), ("second", rig.second)):
            image = cv2.imread(str(folder / row[view]), cv2.IMREAD_UNCHANGED)
            assert image.shape[:2] == (camera.height, camera.width)
            assert camera.spectrum == row[f"{view}_spectrum"]
            x, y, w, h = map(int, row[f"face_{view}"].split())
            assert w > 10 and h > 10 and x + w <= camera.width and y + h <= camera.height
        x, y, w, h = map(int, row["face_first"].split())
        middle = depth[y + h // 3 : y + 2 * h // 3, x + w // 3 : x + 2 * w // 3]
        assert np.median(middle) / 10 == pytest.approx(float(row["distance_mm"]), abs=90)
        assert (row["label"] == "attack") == bool(row["pai_species"]) == bool(row["instrument_id"])
        surface = cv2.imread(str(folder / row["surface"]), cv2.IMREAD_UNCHANGED)
        assert surface.dtype == np.uint8 and surface.shape == depth.shape
        assert set(np.unique(surface)) <= {0, LIVING_SURFACE, INSTRUMENT_SURFACE}
        face = surface[y : y + h, x : x + w]
        assert (face == (INSTRUMENT_SURFACE if row["pai_species"] else LIVING_SURFACE)).mean() > 0.05
        assert row["pai_species"] or not (surface == INSTRUMENT_SURFACE).any()


def test_number_of_workers_changes_nothing(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path, 6, SETTINGS, workers=1)
    assert contents(tmp_path) == contents(folder)
    assert read(tmp_path) == read(folder)


def test_goes_on_after_a_kill(folder: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from stereolive.synth.generate import generate\n"
        "from stereolive.synth.present import Settings\n"
        f"if __name__ == '__main__': generate(Path({str(tmp_path / 'out')!r}), 6, Settings(seed=7), workers=1)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    source = str(Path(__file__).parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": source}, stderr=subprocess.DEVNULL
    )
    journal = tmp_path / "out" / "samples.jsonl"
    until = time.monotonic() + 240
    while time.monotonic() < until and (not journal.exists() or journal.read_text().count("\n") < 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(journal.read_text().splitlines())
    assert 2 <= finished < 6
    with journal.open("a") as file:
        file.write('{"sample_id": "0000')  # a line that the kill cut off
    time.sleep(2.5)  # orphaned workers notice and leave
    generate(tmp_path / "out", 6, SETTINGS, workers=2)
    assert contents(tmp_path / "out") == contents(folder)
    assert read(tmp_path / "out") == read(folder)


def test_a_folder_is_not_continued_with_other_settings(folder: Path) -> None:
    with pytest.raises(StereoliveError, match="other settings"):
        generate(folder, 6, Settings(seed=8))


def test_heads_that_there_are_not_are_said_and_the_folder_is_left_free(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StereoliveError, match="No head source named nobody"):
        generate(tmp_path / "out", 1, Settings(seed=1, sources=("nobody",)))
    with pytest.raises(StereoliveError, match="The folder with heads does not exist: nodir"):
        generate(tmp_path / "out", 1, Settings(seed=1, heads="nodir"))
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "bad.npz").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(StereoliveError, match="cannot be read"):
        generate(tmp_path / "out", 1, Settings(seed=1, heads=str(tmp_path)))
    assert not list((tmp_path / "out").iterdir())
    # What the heads' libraries print as they are loaded is kept away from the manifest's path.
    assert capfd.readouterr().out == ""


def test_a_seed_below_zero_is_said(tmp_path: Path) -> None:
    with pytest.raises(StereoliveError, match="seed: expected 0 or more, got -1"):
        generate(tmp_path / "out", 1, Settings(seed=-1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"5", b"null", b'{"a": 1}', b"\xff\xfe", b'{"sample_id": "x", "first": "", "second": "", "rig": ""}',
     b'{"sample_id": 1, "first": "", "second": "", "rig": ""}'],
)  # fmt: skip
def test_a_damaged_journal_is_said_with_its_line(line: bytes, tmp_path: Path) -> None:
    good = b'{"sample_id": "000000", "first": "1", "second": "2", "rig": "r"}\n'
    (tmp_path / "samples.jsonl").write_bytes(good + b'{"sample_id": "0000\n' + line + b"\n")
    with pytest.raises(StereoliveError, match=r"samples\.jsonl, line 3: is damaged"):
        generate(tmp_path, 1, SETTINGS)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_settings_are_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "synth.json").write_bytes(content)
    with pytest.raises(StereoliveError, match=r"synth\.json is damaged; choose another folder"):
        generate(tmp_path, 1, SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ("print_flatt",)}, "unknown print_flatt"),
        ({"illuminations": ("moon",)}, "unknown moon"),
        ({"rig_families": ("Z",)}, "unknown Z"),
        ({"splits": ("dev",)}, "unknown dev"),
        ({"bona_fide_share": 1.5}, "expected 0 to 1"),
        ({"subjects": 3}, "At least 20 subjects"),
    ],
)
def test_wrong_settings_are_said(change: dict[str, object], message: str) -> None:
    with pytest.raises(StereoliveError, match=message):
        Settings(seed=1, **change)  # type: ignore[arg-type]


def test_shares() -> None:
    plans = [plan(SETTINGS, i) for i in range(4000)]
    bona_fide = sum(not p.species for p in plans) / len(plans)
    assert bona_fide == pytest.approx(0.35, abs=0.03)
    lights = Counter(p.illumination for p in plans)
    for name, share in zip(ILLUMINATIONS, ILLUMINATION_SHARES, strict=True):
        assert lights[name] / len(plans) == pytest.approx(share, abs=0.03)
    species = Counter(p.species for p in plans if p.species)
    for name in BUILDERS:
        expected = SPECIES_SHARES[name] / sum(SPECIES_SHARES.values())
        assert species[name] / species.total() == pytest.approx(expected, abs=0.025)


def test_splits_share_no_subject_no_instrument_and_no_test_rig() -> None:
    plans = [plan(SETTINGS, i) for i in range(4000)]
    for split in ("train", "validation", "test"):
        own = [p for p in plans if p.split == split]
        others = [p for p in plans if p.split != split]
        people = {p.holder for p in own} | {p.shown for p in own}
        assert people.isdisjoint({p.holder for p in others} | {p.shown for p in others})
        instruments = {(p.species, p.instrument) for p in own if p.species}
        assert instruments.isdisjoint({(p.species, p.instrument) for p in others if p.species})
    assert {p.family for p in plans if p.split == "test"}.isdisjoint({p.family for p in plans if p.split != "test"})
    # An instrument always shows the same person, and nobody attacks with a picture of themselves.
    shown: dict[tuple[str, int], int] = {}
    for p in plans:
        if p.species:
            assert shown.setdefault((p.species, p.instrument), p.shown) == p.shown != p.holder


def test_settings_are_written_beside_the_samples(folder: Path) -> None:
    assert json.loads((folder / "synth.json").read_text())["seed"] == 7


def test_who_holds_a_print_is_smaller_than_who_is_on_it() -> None:
    """Else a living face would be judged in the attack's place."""
    population = Population(7, None, ())
    people_behind = 0
    for number in range(40):
        fixed, rng = np.random.default_rng([1, number]), np.random.default_rng([2, number])
        kit = Kit(fixed, rng, population.subject(0), population.subject(1), population, "print_flat")
        built = build_print(kit)
        for head in (part for part in built.parts if part.name == "head"):
            people_behind += 1
            seen = [
                np.ptp(points[:, 0]) / (400 + points[:, 2].mean()) for points in (face_points(head.mesh), built.face_mm)
            ]
            assert seen[0] < 0.8 * seen[1]
    assert people_behind
