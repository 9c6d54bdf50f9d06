"""What makes an answer impossible."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.depth import Shape, depth_information
from stereolive.errors import ModelError
from stereolive.explain import SIGNS, UNREADABLE, explain
from stereolive.faces import Sighting, cut, locate
from stereolive.measures import banding, block_seam, chroma_seam, mirror_gain, mismatch_px
from stereolive.quality import (
    ADVICE,
    QualityThresholds,
    blinding_fault,
    crop_fault,
    delivery_doubts,
    doubts,
    limits_from_json,
    pair_fault,
    view_fault,
)
from stereolive.rig import Camera, Rig
from stereolive.types import Face, ImageArray
from stereolive.watch.sequence import ADVICE as SEQUENCE_ADVICE
from stereolive.watch.sequence import SequenceThresholds

LIMITS = QualityThresholds()
RNG = np.random.default_rng(5)
MATRIX = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


def scene(seed: int = 0) -> ImageArray:
    """Something with structure of all sizes, as a room has."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 1, (n * 3 // 4, n)), (640, 480), interpolation=cv2.INTER_CUBIC) for n in (8, 24, 72)
    ]
    return np.clip(40 + 130 * sum(layers) / len(layers), 0, 255).astype(np.uint8)


def noise(mean: float, sd: float) -> ImageArray:
    return np.clip(RNG.normal(mean, sd, (480, 640)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (scene(), None),
        (cv2.cvtColor(scene(), cv2.COLOR_GRAY2BGR), None),
        ((scene() // 12).astype(np.uint8), None),  # dim, yet there is something to see
        (scene().astype(np.uint16) * 4, None),  # ten bits
        (np.zeros((480, 640), np.uint8), "first_too_dark"),
        (np.zeros((480, 640), np.uint16), "first_too_dark"),
        (noise(4, 2), "first_too_dark"),  # a dark frame's noise is no picture
        (RNG.integers(0, 24, (480, 640)).astype(np.uint16), "first_too_dark"),  # the same with ten bits
        (np.full((480, 640), 255, np.uint8), "first_saturated"),
        (np.full((480, 640, 3), 250, np.uint8), "first_saturated"),
        (np.full((480, 640), 128, np.uint8), "first_no_signal"),  # a blank
        (noise(128, 60), "first_no_signal"),  # a loose cable
        (RNG.integers(0, 1024, (480, 640)).astype(np.uint16), "first_no_signal"),
        (scene().astype(np.uint16) << 8, None),  # eight bits, left-justified
        ((scene().astype(np.uint16) << 6) & 0xFFC0, None),  # ten bits of fourteen, left-justified
        (((scene().astype(np.uint16) << 4) + RNG.integers(0, 16, (480, 640), np.uint16)).byteswap(), "first_broken"),
    ],
)
def test_a_sensor_that_cannot_see(image: ImageArray, expected: str | None) -> None:
    assert view_fault(image, "first", LIMITS) == expected


def rig() -> Rig:
    camera = Camera("visible", 640, 480, MATRIX, np.zeros(5))
    other = Camera("near_infrared", 640, 480, MATRIX, np.zeros(5))
    return Rig(camera, other, np.eye(3), np.array([-45.0, 0, 0]))


def face_at(x: float, y: float, side: float) -> Face:
    marks = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]]) * side + (x, y)
    return Face((x - side / 2, y - side / 2, side, side), marks, 0.99)


def fault(first: ImageArray, second: ImageArray, faces_first: list[Face], faces_second: list[Face]) -> str | None:
    return pair_fault(Sighting(first, second, rig(), faces_first, faces_second), LIMITS)


FACE, PARTNER = face_at(340, 240, 160), face_at(286, 240, 160)  # 54 px apart: half a metre away


@pytest.mark.parametrize(
    ("faces_first", "faces_second", "expected"),
    [
        ([FACE], [PARTNER], None),
        ([FACE], [], None),  # a screen, or a print in dye ink: an attack, and no fault
        ([], [PARTNER], None),
        ([], [], "no_face"),
        ([face_at(340, 240, 30)], [face_at(286, 240, 30)], "too_far"),
        ([face_at(610, 240, 160)], [face_at(556, 240, 160)], "at_border"),  # cut by the first picture's right border
        ([face_at(120, 240, 160)], [face_at(66, 240, 160)], "at_border"),  # cut by the second's left border
        ([face_at(340, 20, 160)], [face_at(286, 20, 160)], "at_border"),
        ([FACE], [face_at(286, 400, 160)], "views_disagree"),  # on other rows
        ([PARTNER], [FACE], "views_disagree"),  # swapped views: behind the rig
    ],
)
def test_pairs_that_allow_no_answer(faces_first: list[Face], faces_second: list[Face], expected: str | None) -> None:
    assert fault(scene(1), scene(2), faces_first, faces_second) == expected


def test_a_face_that_looks_away() -> None:
    turned = []
    for face in (FACE, PARTNER):
        marks = face.landmarks.copy()
        marks[2, 0] += 0.2 * 160  # the nose tip, beside an eye
        turned.append(Face(face.box, marks, 0.99))
    first, second = scene(1), scene(2)
    sighting = Sighting(first, second, rig(), [turned[0]], [turned[1]])
    assert sighting.location is not None
    sure = np.full((64, 64), 0.5, np.float32)
    info = depth_information(cut(first, second, rig(), sighting.location, 128), np.zeros((64, 64), np.float32), sure)
    shape = Shape(500.0, 40.0, 10.0, 4.0, 0.5, 63.0)
    found = doubts(sighting, info, shape, LIMITS)
    assert "turned_away" in found and "views_disagree" not in found
    assert "too_far" not in found
    assert "too_far" in doubts(sighting, info, replace(shape, depth_sd_mm=LIMITS.depth_sd_mm + 1), LIMITS)
    # As of views that were taken one after the other while the face moved along the baseline.
    for eye_distance_mm in (30.0, 95.0):
        assert "views_disagree" in doubts(sighting, info, replace(shape, eye_distance_mm=eye_distance_mm), LIMITS)
    assert "views_disagree" in doubts(sighting, info, replace(shape, plane_residual_mm=3.0), LIMITS)  # of two people


@pytest.mark.parametrize("half", [np.s_[:32], np.s_[32:], np.s_[:, :32], np.s_[:, 32:]])
def test_a_half_of_the_face_that_the_network_cannot_match_leaves_the_views_in_doubt(half: tuple[slice, ...]) -> None:
    sd = np.full((64, 64), 0.5, np.float32)
    assert mismatch_px(sd) == 0.5
    sd[half] = 4.0
    assert mismatch_px(sd) == 4.0 > LIMITS.disparity_sd_px


def test_one_view_as_a_copy_of_the_other() -> None:
    picture = scene(1)
    assert fault(picture, picture.copy(), [FACE], [FACE]) == "identical_views"
    brighter = np.clip(picture.astype(float) * 1.3 + 9, 0, 255).astype(np.uint8)
    assert fault(picture, brighter, [FACE], [FACE]) == "identical_views"
    compressed = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_GRAYSCALE)
    assert fault(picture, compressed, [FACE], [FACE]) == "identical_views"


@pytest.mark.parametrize("view", ["first", "second"])
def test_a_face_in_the_dark_of_a_lit_room(view: str) -> None:
    first, second = scene(1), scene(2)
    spoilt = first if view == "first" else second
    spoilt[100:380, 150:500] = 2
    location = locate(first, second, rig(), [FACE], [PARTNER])
    assert location is not None
    crop = cut(first, second, rig(), location, 128)
    other = "second" if view == "first" else "first"
    assert crop_fault(crop, "first" if view == "first" else "second", LIMITS) == f"{view}_too_dark"
    assert crop_fault(crop, "second" if view == "first" else "first", LIMITS) is None, other


def test_an_outline_before_a_window_is_too_dark_where_only_the_other_view_shows_a_face() -> None:
    first, second = scene(1), scene(2)
    first[100:380, 150:500] //= 8
    for faces_first, expected in (([FACE], None), ([], "first_too_dark")):
        location = locate(first, second, rig(), faces_first, [PARTNER])
        assert location is not None
        crop = replace(cut(first, second, rig(), location, 128), first_spectrum="visible")
        assert blinding_fault(crop, location, LIMITS) == expected


def test_a_model_s_manifest_may_carry_its_own_limits() -> None:
    assert QualityThresholds.from_json({"smallest_face_px": 64}).smallest_face_px == 64
    with pytest.raises(ModelError, match="smallest_face"):
        QualityThresholds.from_json({"smallest_face": 64})
    with pytest.raises(ModelError, match="expected a number"):
        QualityThresholds.from_json({"glare": "much"})
    manifest = {"glare": 0.4, "sequence": {"flicker": 0.1}, "drift": {"angle_deg": 0.3}}
    assert QualityThresholds.from_json(manifest).glare == 0.4
    assert limits_from_json(SequenceThresholds, manifest["sequence"], "quality.sequence").flicker == 0.1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"glare": float("nan")}, "glare: expected a number, got nan"),
        ({"glare": float("inf")}, "glare: expected a number"),
        ({"glare": 10**400}, "glare: expected a number"),
        ({"glare": [0.1, 0.2]}, "glare: expected a number"),
        ({"nodded": [0.1, float("nan")]}, "nodded: expected 2 numbers"),
        ({"nodded": 0.2}, "nodded: expected 2 numbers"),
        ([], "quality: expected an object"),
        (None, "quality: expected an object, got None"),
    ],
)
def test_a_limit_that_would_turn_its_check_off_is_refused(data: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        QualityThresholds.from_json(data)
    assert says in str(caught.value) and len(str(caught.value)) < 200


def test_every_code_is_explained_in_one_sentence() -> None:
    for code in (*ADVICE, *SIGNS, *UNREADABLE, *SEQUENCE_ADVICE):
        text = explain(code)
        assert text != code and text.endswith(".") and "\n" not in text
    known = ADVICE, SIGNS, UNREADABLE, SEQUENCE_ADVICE
    assert len({code for codes in known for code in codes}) == sum(map(len, known))


def test_thresholds_survive_a_manifest() -> None:
    assert QualityThresholds.from_json(json.loads(json.dumps(LIMITS.as_json()))) == LIMITS


@pytest.mark.parametrize("channel", [None, 0, 2])
def test_a_level_that_shifts_where_blocks_meet_is_seen(channel: int | None) -> None:
    """As where a JPEG's data are wrong without the decoder noticing: what follows is darker, or of another colour."""
    random = np.random.default_rng(0)
    picture = cv2.GaussianBlur(random.uniform(60, 200, (480, 640, 3)).astype(np.float32), (0, 0), 9)
    picture = (picture - picture.mean()) * 8 + 120 + random.normal(0, 3, picture.shape)
    whole = np.clip(picture, 0, 255).astype(np.uint8)
    limit = QualityThresholds().block_seam
    assert block_seam(whole) < limit
    shifted = picture.copy()
    shifted[200:, :, slice(None) if channel is None else channel] -= 6
    assert block_seam(np.clip(shifted, 0, 255).astype(np.uint8)) > limit
    assert block_seam(np.zeros((16, 16), np.uint8)) < limit


def test_a_colour_that_shifts_where_blocks_meet_is_seen_though_a_decoder_smooths_it() -> None:
    random = np.random.default_rng(0)
    grey = cv2.GaussianBlur(random.uniform(60, 200, (480, 640)).astype(np.float32), (0, 0), 9)
    whole = cv2.cvtColor(np.clip((grey - grey.mean()) * 8 + 120, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    assert chroma_seam(whole) < LIMITS.chroma_seam
    planes = cv2.cvtColor(whole, cv2.COLOR_BGR2YCrCb)
    planes[208:, :, 1] += 12
    planes[207, :, 1] += 3
    planes[208, :, 1] -= 3
    shifted = cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)
    assert block_seam(shifted) < LIMITS.block_seam and chroma_seam(shifted) > LIMITS.chroma_seam
    assert chroma_seam(shifted[..., 0]) == 0.0  # near-infrared has no colour, unless it is delivered with one
    assert delivery_doubts(whole, shifted, LIMITS) == ["second_broken"]


def test_bands_are_seen_before_a_dark_room() -> None:
    random = np.random.default_rng(0)
    lit = np.zeros((480, 640))
    lit[:, 200:460] = 90
    bands = 1 + 0.25 * np.sin(np.arange(480) / 480 * 2 * np.pi * 9)[:, None]
    noise = random.normal(0, 2, lit.shape)
    even, banded = (np.clip(light + noise, 0, 255).astype(np.uint8) for light in (lit, lit * bands))
    face = (260.0, 120.0, 140.0, 180.0)
    (contrast, _), (banded_contrast, share) = banding(even, face), banding(banded, face)
    assert contrast < LIMITS.banding < banded_contrast and share > LIMITS.banding_on_face


def test_shelves_behind_a_face_are_no_bands() -> None:
    random = np.random.default_rng(0)
    shelves = 90 * (1 + 0.1 * np.sin(np.arange(480) / 480 * 2 * np.pi * 9))[:, None] + random.normal(0, 2, (480, 640))
    x, y, width, height = face = (300, 120, 110, 150)
    before = shelves.copy()
    before[y : y + height, x : x + width] = 120 + random.normal(0, 2, (height, width))
    for picture, expected in ((before, False), (shelves, True)):
        image = np.clip(picture, 0, 255).astype(np.uint8)
        contrast, share = banding(image, face)
        assert LIMITS.banding < contrast < LIMITS.banding_anyway and (share > LIMITS.banding_on_face) == expected


@pytest.mark.parametrize("lamp", [1, -1])
def test_a_mirrored_view_is_told_by_the_room(lamp: int) -> None:
    """Also where another lamp turns bright edges into dark ones."""
    first = scene(1)
    second = np.roll(first, -20, axis=1)
    second = second if lamp > 0 else (255 - second).astype(np.uint8)
    assert mirror_gain(first, second, rig()) < 0 < LIMITS.mirrored
    assert mirror_gain(first, np.ascontiguousarray(second[:, ::-1]), rig()) > LIMITS.mirrored
    assert mirror_gain(np.full_like(first, 90), np.full_like(second, 20), rig()) <= LIMITS.mirrored
