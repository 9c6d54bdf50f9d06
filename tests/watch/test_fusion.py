"""Fusion rules, faults over time, recording."""

from __future__ import annotations

import csv
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stereolive.data.manifest import Manifest
from stereolive.detector import Analysis
from stereolive.errors import InputError
from stereolive.images import read_depth
from stereolive.rig import Camera, Rig
from stereolive.sources import FramePair
from stereolive.types import ImageArray, Verdict
from stereolive.watch.fusion import Fusion, FusionRules, Outcome
from stereolive.watch.recording import EARLIER_COLUMNS, Recorder
from stereolive.watch.sequence import SequenceWatch
from stereolive.watch.watcher import Watcher

MATRIX = np.array([[600.0, 0, 31.5], [0, 600, 23.5], [0, 0, 1]])
BOX = (20.0, 10.0, 20.0, 24.0)


@pytest.fixture
def rig() -> Rig:
    cameras = [Camera(spectrum, 64, 48, MATRIX, np.zeros(5)) for spectrum in ("visible", "near_infrared")]  # type: ignore[arg-type]
    return Rig(cameras[0], cameras[1], np.eye(3), np.array([-40.0, 0, 0]))


def verdict(score: float | None, reason: str = "", box: tuple[float, float, float, float] | None = BOX) -> Verdict:
    decision = "no_response" if score is None else "bona_fide" if score >= 0.5 else "attack"
    return Verdict(decision, score, 0.5, (reason,) if reason else (), None, box, None, "m", 1.0)  # type: ignore[arg-type]


def outcomes(verdicts: list[Verdict], step_s: float = 0.2, rules: FusionRules | None = None) -> list[Outcome]:
    fusion = Fusion(0.5, rules)
    found = [fusion.add(v, index * step_s) for index, v in enumerate(verdicts)]
    return [outcome for outcome in found if outcome is not None]


FAULT = verdict(None, "first_blurred")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([verdict(0.9)] * 3, ["bona_fide"]),
        ([verdict(0.1)] * 3, ["attack"]),
        ([verdict(0.9)] * 2, []),  # not enough yet
        ([verdict(0.9), verdict(0.1), verdict(0.2)], ["attack"]),
        ([verdict(0.9), verdict(0.1), verdict(0.9), verdict(0.9)], ["bona_fide"]),  # one of four disagrees
        ([verdict(None, "no_face", None)] * 50, []),  # nobody there is no attempt
        ([FAULT] * 21, ["no_response"]),
        ([FAULT] * 8 + [verdict(0.9)] * 3, []),  # three lucky pairs among faults are not enough
    ],
)
def test_rules(verdicts: list[Verdict], expected: list[str]) -> None:
    assert [outcome.decision for outcome in outcomes(verdicts)] == expected


def test_a_person_swapped_in_starts_anew() -> None:
    elsewhere = (44.0, 10.0, 20.0, 24.0)
    assert outcomes([verdict(0.9), verdict(0.9), verdict(0.9, box=elsewhere)]) == []


def test_what_an_attempt_without_decision_says() -> None:
    disagreeing = outcomes([verdict(0.9), verdict(0.1)] * 11)
    assert [outcome.reasons for outcome in disagreeing if outcome.decision == "no_response"] == [("scores_disagree",)]
    elsewhere = verdict(0.9, box=(44.0, 10.0, 20.0, 24.0))
    jumping = outcomes([verdict(0.9), elsewhere] * 11)
    assert jumping[0].decision == "no_response" and "moved_too_fast" in jumping[0].reasons


def test_an_attack_cannot_hide_in_faults() -> None:
    found = outcomes([FAULT] * 63)
    assert [outcome.decision for outcome in found] == ["no_response", "no_response", "attack"]
    assert found[-1].reasons[0] == "repeated_no_response" and found[-1].no_responses_in_a_row == 3


def test_only_a_living_face_or_a_long_absence_sets_the_count_back() -> None:
    fusion = Fusion(0.5)
    for index in range(21):
        fusion.add(FAULT, index * 0.2)
    assert fusion.no_responses_in_a_row == 1
    fusion.add(verdict(None, "no_face", None), 30.0)
    assert fusion.no_responses_in_a_row == 1
    fusion.add(verdict(None, "no_face", None), 90.0)
    assert fusion.no_responses_in_a_row == 0


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        FusionRules(responses=0)


def picture(seed: int, gain: float = 1.0) -> ImageArray:
    return np.clip(np.random.default_rng(seed).normal(120, 20, (48, 64)) * gain, 0, 255).astype(np.uint8)


def pair(index: int, first: ImageArray, second: ImageArray, apart: bool = False) -> FramePair:
    return FramePair(first, second, index * 100.0, index * 100.0, str(index), apart)


def test_frozen_and_repeated_pictures(rig: Rig) -> None:
    watch = SequenceWatch(rig)
    assert watch.fault(pair(0, picture(0), picture(1))) is None
    assert watch.fault(pair(1, picture(2), picture(1))) == "second_frozen"
    assert watch.fault(pair(2, picture(0), picture(3))) == "first_frozen"
    assert watch.fault(pair(3, picture(4), picture(5), True)) == "unsynchronised"


def test_a_lamp_that_goes_out_and_one_that_flickers(rig: Rig) -> None:
    steady = SequenceWatch(rig)
    faults = [steady.fault(pair(i, picture(2 * i), picture(2 * i + 1, 1 if i < 6 else 0.3))) for i in range(8)]
    assert faults[:6] == [None] * 6 and faults[6] == "led_off"
    pulsed = SequenceWatch(rig)
    faults = [pulsed.fault(pair(i, picture(2 * i), picture(2 * i + 1, 1 if i % 2 else 0.6))) for i in range(10)]
    assert faults[-1] == "flicker"
    brighter = SequenceWatch(rig)
    walking_up = [brighter.fault(pair(i, picture(2 * i), picture(2 * i + 1, 0.5 + 0.05 * i))) for i in range(10)]
    assert walking_up == [None] * 10


class Certain:
    """A detector to which everything lives."""

    threshold = 0.5

    def analyse(self, first: ImageArray, second: ImageArray, rig: Rig) -> Analysis:
        return Analysis(verdict(0.99))


def test_a_fault_takes_bona_fide_away(rig: Rig) -> None:
    watcher = Watcher(Certain(), rig, calibrated=False)
    good = watcher.judge(pair(0, picture(0), picture(1))).verdict
    frozen = watcher.judge(pair(1, picture(2), picture(1))).verdict
    apart = watcher.judge(pair(2, picture(3), picture(4), True)).verdict
    assert (good.decision, good.reasons) == ("bona_fide", ("uncalibrated",))
    assert (frozen.decision, frozen.score, frozen.reasons[0]) == ("no_response", None, "second_frozen")
    assert (apart.decision, apart.reasons[0]) == ("no_response", "unsynchronised")


def test_recording_needs_consent_and_makes_a_manifest(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="consent"):
        Recorder(tmp_path, rig, consent=" ", subject_id="p01")
    with pytest.raises(InputError, match="species"):
        Recorder(tmp_path, rig, consent="form 1", subject_id="p01", label="attack")
    recorder = Recorder(tmp_path, rig, consent="form 1", subject_id="p01", label="bona_fide")
    recorder.add(pair(0, picture(0), picture(1)), verdict(0.9))
    Recorder(tmp_path, rig, consent="form 2", subject_id="p02").add(pair(1, picture(2), picture(3)), verdict(None, "x"))
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["consent"] for row in rows] == ["form 1", "form 2"]
    assert all((tmp_path / row[column]).is_file() for row in rows for column in ("first", "second", "rig"))
    assert rows[0]["label"] == "bona_fide" and rows[1]["label"] == ""


def test_a_third_sensor_s_depth_is_recorded(rig: Rig, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, rig, consent="form 1", subject_id="p01")
    taken = replace(pair(0, picture(0), picture(1)), depth_mm=np.full((48, 64), 512.3, np.float32))
    recorder.add(taken, verdict(0.9))
    (entry,) = Manifest.read(recorder.manifest)
    assert entry.depth is not None and np.allclose(read_depth(entry.depth), 512.3)


def test_an_attack_has_a_material_and_an_instrument(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--material"):
        Recorder(tmp_path, rig, consent="form 1", subject_id="p01", label="bona_fide", material="silicone")
    attack = {"label": "attack", "pai_species": "mask_silicone", "material": "silicone", "instrument_id": "m01"}
    recorder = Recorder(tmp_path, rig, consent="form 1", subject_id="p01", **attack)
    recorder.add(pair(0, picture(0), picture(1)), verdict(0.1))
    (entry,) = Manifest.read(recorder.manifest)
    assert (entry.material, entry.further["instrument_id"]) == ("silicone", "m01")


def test_a_recording_without_instruments_goes_on_as_it_was(rig: Rig, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(",".join(EARLIER_COLUMNS) + "\r\n", "utf-8", newline="")
    attack = {"label": "attack", "pai_species": "print_flat", "material": "paper_carbon"}
    recorder = Recorder(tmp_path, rig, consent="form 1", subject_id="p01", **attack)
    recorder.add(pair(0, picture(0), picture(1)), verdict(0.1))
    before = manifest.read_bytes()
    assert before.startswith(",".join(EARLIER_COLUMNS).encode() + b"\r\n")
    (entry,) = Manifest.read(manifest)
    assert entry.material == "paper_carbon" and entry.subject_id == "p01"
    with pytest.raises(InputError, match="without the column instrument_id"):
        Recorder(tmp_path, rig, consent="form 1", subject_id="p01", instrument_id="p01", **attack)
    assert manifest.read_bytes() == before


def test_a_row_that_a_kill_cut_off_is_dropped_and_no_other(rig: Rig, tmp_path: Path) -> None:
    """At every byte that the last row, or the header, may end at."""

    def recorder() -> Recorder:
        return Recorder(tmp_path, rig, consent="Zettel \u201e7\u201c,\nunterschrieben", subject_id="p01")

    first = recorder()
    header = first.manifest.read_bytes()
    first.add(pair(0, picture(0), picture(1)), verdict(0.9, "views_match"))
    kept = first.manifest.read_bytes()
    first.add(pair(1, picture(2), picture(3)), verdict(0.9, "views_match"))
    whole = first.manifest.read_bytes()
    for end in range(len(whole) + 1):
        first.manifest.write_bytes(whole[:end])
        recorder()
        complete = [text for text in (header, kept, whole) if end >= len(text) - 1]  # all but the line's last byte
        assert first.manifest.read_bytes() == (complete or [header])[-1], end
    first.manifest.write_bytes(whole[:-9])
    recorder().add(pair(2, picture(4), picture(5)), verdict(0.9))
    assert len(Manifest.read(first.manifest)) == 2
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"something else", "other columns"),
        (lambda data: data.replace(b"form 1,", b"form 1"), "row 1: has another number of cells"),
        (lambda data: data.replace(b"form 1", b"f\xf6rm 1"), "UTF-8"),
    ],
)
def test_a_manifest_that_cannot_go_on_is_left_as_it_is(rig: Rig, tmp_path: Path, damage, message: str) -> None:
    recorder = Recorder(tmp_path, rig, consent="form 1", subject_id="p01")
    recorder.add(pair(0, picture(0), picture(1)), verdict(0.9))
    damaged = damage(recorder.manifest.read_bytes())
    recorder.manifest.write_bytes(damaged)
    with pytest.raises(InputError, match=message):
        Recorder(tmp_path, rig, consent="form 1", subject_id="p01")
    assert recorder.manifest.read_bytes() == damaged


def test_a_full_disk_leaves_no_part_of_a_row(rig: Rig, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, rig, consent="long " * 20_000, subject_id="p01")  # longer than its pictures
    recorder.add(pair(0, picture(0), picture(1)), verdict(0.9))
    before = recorder.manifest.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            recorder.add(pair(1, picture(2), picture(3)), verdict(0.9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert recorder.manifest.read_bytes() == before
    recorder.add(pair(2, picture(4), picture(5)), verdict(0.9))
    assert len(Manifest.read(recorder.manifest)) == 2
