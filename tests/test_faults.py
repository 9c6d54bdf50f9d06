"""Made faults in a bundled living face: each has its code, and none ends in ``bona_fide``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.detector import LivenessDetector
from stereolive.errors import ImageError
from stereolive.faces import FaceFinder
from stereolive.images import as_8bit
from stereolive.quality import ADVICE
from stereolive.sources import FramePair
from stereolive.watch.sequence import ADVICE as SEQUENCE_ADVICE
from stereolive.watch.watcher import Watcher

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from made_faults import FAULTS, Base


@pytest.fixture(scope="module")
def base(living_pair: Any) -> Base:
    finder = FaceFinder(1)
    first, second = as_8bit(living_pair.first), as_8bit(living_pair.second)
    return Base(first, second, living_pair.rig, finder.find(first)[0], finder.find(second)[0])


@pytest.fixture(scope="module")
def credulous() -> LivenessDetector:
    """A detector that takes every score for a living face, so that only the gates stand between."""
    return LivenessDetector(threads=1, threshold=0.0)


def reasons(base: Base, fault: str, detector: LivenessDetector, seed: int = 0) -> tuple[str, tuple[str, ...]]:
    """Decision and reasons for the last pair of a made stream."""
    shots = list(FAULTS[fault](base, base, np.random.default_rng(seed)))
    watcher = Watcher(detector, shots[-1].rig or base.rig)
    for index, shot in enumerate(shots):
        pair = FramePair(shot.first, shot.second, 100.0 * index, 100.0 * index + shot.apart_ms, "", shot.apart_ms > 20)
        verdict = watcher.judge(pair).verdict
    return verdict.decision, verdict.reasons


def test_the_face_itself_passes(base: Base, credulous: LivenessDetector) -> None:
    verdict = credulous.check(base.first, base.second, base.rig)
    assert verdict.decision == "bona_fide"
    assert [stage for stage, _ in verdict.stage_ms] == ["quality", "find", "rectify", "depth", "liveness", "doubts"]


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("first_covered", {"first_too_dark"}),
        ("second_covered", {"second_too_dark"}),
        ("first_covered_deep", {"first_too_dark", "first_no_signal"}),  # lifted to 8 bits it would be a bright noise
        ("second_covered_deep", {"second_too_dark", "second_no_signal"}),
        ("first_dazzled", {"first_saturated"}),
        ("second_dazzled", {"second_saturated"}),
        ("first_loose_cable", {"first_no_signal"}),
        ("second_blank", {"second_no_signal"}),
        ("first_defocused", {"first_blurred", "views_disagree"}),
        ("second_defocused", {"second_blurred", "views_disagree"}),
        ("first_torn", {"first_broken", "views_disagree"}),
        ("second_half_missing", {"second_broken", "views_disagree", "face_covered"}),
        ("first_stuck_columns", {"first_broken", "views_disagree", "no_face", "first_no_signal"}),
        ("first_banded", {"first_banding", "views_disagree"}),
        ("second_banded", {"second_banding", "views_disagree"}),
        ("first_glare", {"first_glare", "views_disagree"}),
        ("second_glare", {"second_glare", "views_disagree"}),
        ("first_against_light", {"first_too_dark", "views_disagree", "at_border"}),
        (
            "second_against_light",
            {"second_too_dark", "views_disagree", "at_border"},
        ),  # carried over, it may land anywhere
        ("first_taken_later", {"views_disagree"}),
        ("second_mirrored", {"views_disagree"}),
        ("far_away", {"too_far", "no_face"}),
        ("at_border", {"at_border", "no_face"}),
        ("two_people", {"several_faces"}),
        ("hand_over_mouth", {"face_covered", "no_face"}),
        ("hand_over_eyes", {"face_covered", "no_face"}),
        ("hand_over_half", {"face_covered", "no_face"}),
        ("nobody", {"no_face"}),
        ("identical_views", {"identical_views", "views_disagree"}),
        ("first_frozen", {"first_frozen"}),
        ("second_frozen", {"second_frozen"}),
        ("lamp_went_out", {"led_off"}),
        ("lamp_flickers", {"flicker"}),
        ("unsynchronised", {"unsynchronised"}),
        ("rig_bumped_by_half_a_degree", {"rig_drifted", "views_disagree"}),
        ("rig_bent_by_degrees", {"views_disagree"}),
    ],
)
def test_a_made_fault_has_its_code(base: Base, credulous: LivenessDetector, fault: str, codes: set[str]) -> None:
    decision, found = reasons(base, fault, credulous)
    assert decision == "no_response" and found[0] in codes


@pytest.mark.parametrize("white", [0.5, 0.95])
def test_what_a_burnt_out_face_no_longer_shows_is_not_called_covered(
    base: Base, credulous: LivenessDetector, white: float
) -> None:
    x, y, width, height = map(int, base.face_second.box)
    level = np.quantile(base.second[y : y + height, x : x + width], 1 - white)
    burnt = np.clip(base.second * (255.0 / level), 0, 255).astype(np.uint8)
    # As a sensor hides an eye that it can no longer tell from the skin around it.
    eyes = slice(y + height // 4, y + height // 2)
    burnt[eyes, x : x + width] = 255
    verdict = credulous.check(base.first, burnt, base.rig)
    assert verdict.decision == "no_response" and verdict.reasons[0] in ("second_glare", "second_saturated")


def test_nobody_hides_before_a_covered_sensor(base: Base, credulous: LivenessDetector) -> None:
    """The sensor that sees still tells of the face, so that the attempt counts."""
    covered = np.full_like(base.second, 4)
    verdict = credulous.check(base.first, covered, base.rig)
    assert (verdict.decision, verdict.reasons) == ("no_response", ("second_too_dark",))
    assert verdict.face_first is not None and verdict.face_second is None


def test_every_code_has_a_made_fault_in_some_test() -> None:
    here = Path(__file__).parent
    tests = (here / "test_faults.py", here / "test_quality.py", *(here / "watch").glob("test_*.py"))
    text = "".join(path.read_text("utf-8") for path in tests)
    for code in (*ADVICE, *SEQUENCE_ADVICE):
        # One of the two sensors stands for the other: the code is the same.
        assert code in text or code.replace("first_", "second_") in text or code.replace("second_", "first_") in text


def test_swapped_cables(base: Base, credulous: LivenessDetector) -> None:
    with pytest.raises(ImageError, match="first: the image has 640 x 480"):
        credulous.check(base.second, base.first, base.rig)
    first, second = cv2.resize(base.second, base.rig.first.size), cv2.resize(base.first, base.rig.second.size)
    verdict = credulous.check(as_8bit(first), as_8bit(second), base.rig)
    assert (verdict.decision, verdict.reasons) == ("no_response", ("views_disagree",))


@pytest.mark.parametrize("fault", ["first_jpeg_damaged", "second_jpeg_damaged"])
def test_a_jpeg_damaged_in_the_middle_is_not_answered(base: Base, credulous: LivenessDetector, fault: str) -> None:
    for seed in range(4):
        try:
            assert reasons(base, fault, credulous, seed)[0] == "no_response"
        except ImageError as error:
            assert "damaged" in str(error)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("view", ["first", "second"])
def test_bit_depths_give_an_answer(base: Base, credulous: LivenessDetector, view: str, bits: int) -> None:
    images = {"first": base.first, "second": base.second}
    if bits > 8:
        images[view] = images[view].astype(np.uint16) << (bits - 8)
    assert credulous.check(images["first"], images["second"], base.rig).decision == "bona_fide"


@pytest.mark.parametrize("gains", [(0.5, 1.0), (1.0, 0.5), (0.6, 1.3), (1.3, 0.6)])
def test_sensors_that_expose_differently_give_an_answer(
    base: Base, credulous: LivenessDetector, gains: tuple[float, float]
) -> None:
    first, second = (
        np.clip(image * gain, 0, 255).astype(np.uint8)
        for image, gain in zip((base.first, base.second), gains, strict=True)
    )
    assert credulous.check(first, second, base.rig).decision == "bona_fide"


def test_infrared_delivered_as_tinted_colour_is_the_same_picture(base: Base, credulous: LivenessDetector) -> None:
    assert base.rig.second.spectrum == "near_infrared"
    grey = base.second if base.second.ndim == 2 else base.second.mean(axis=2)
    tinted = np.rint(np.clip(grey[..., None] * np.array([1.1, 0.8, 1.1]), 0, 255)).astype(np.uint8)
    plain = credulous.check(base.first, np.rint(tinted.mean(axis=2)).astype(np.uint8), base.rig)
    verdict = credulous.check(base.first, tinted, base.rig)
    assert (verdict.decision, verdict.score) == (plain.decision, plain.score)


def test_a_dark_deep_frame_is_not_lifted_into_a_picture(base: Base, credulous: LivenessDetector) -> None:
    """A covered lens with a glimmer of the scene in its lowest counts, of 16 bits."""
    glimmer = (base.second.astype(np.uint16) >> 5) + np.random.default_rng(0).poisson(20, base.second.shape)
    verdict = credulous.check(base.first, glimmer.astype(np.uint16), base.rig)
    assert verdict.decision == "no_response"
