"""A bumped rig is noticed, a good one is left alone, and the refinement undoes the bump."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stereolive.drift import Drift, DriftThresholds, DriftWatch, refined
from stereolive.rig import Camera, Rig
from stereolive.types import Face

MATRIX = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
FACE_MM = np.array([[-31.0, -30, 0], [31, -30, 0], [0, 5, -22], [-25, 38, 2], [25, 38, 2]])


def rig_turned(degrees: tuple[float, float, float] = (0, 0, 0)) -> Rig:
    cameras = [Camera(s, 640, 480, MATRIX, np.zeros(5)) for s in ("visible", "near_infrared")]  # type: ignore[arg-type]
    turn = np.asarray(cv2.Rodrigues(np.radians(degrees))[0])
    return Rig(cameras[0], cameras[1], turn, -turn @ np.array([45.0, 1, 0]))


def seen(true: Rig, believed: Rig, faces: int = 60, noise_px: float = 1.5, seed: int = 0) -> Drift | None:
    """What the watch thinks after faces at many places, with landmarks that are off by some pixels."""
    rng = np.random.default_rng(seed)
    watch = DriftWatch(believed)
    for _ in range(faces):
        points = FACE_MM + np.array([rng.uniform(-110, 110), rng.uniform(-80, 80), rng.uniform(400, 700)])
        views = []
        for camera, shown in (
            (true.first, points),
            (true.second, points @ true.rotation_second_from_first.T + true.translation_second_from_first_mm),
        ):
            marks = camera.project(shown) + rng.normal(0, noise_px, (5, 2)) + rng.normal(0, noise_px / 2, 2)
            low, high = marks.min(axis=0) - 30, marks.max(axis=0) + 30
            views.append(Face((low[0], low[1], high[0] - low[0], high[1] - low[1]), marks, 0.99))
        watch.add(views[0], views[1])
    return watch.estimate()


@pytest.mark.parametrize("degrees", [(0.5, 0, 0), (-0.5, 0, 0), (0.35, 0, 0.35), (0, 0, 0.9)])
def test_a_bump_is_noticed_and_undone(degrees: tuple[float, float, float]) -> None:
    true, believed = rig_turned(degrees), rig_turned()
    drift = seen(true, believed)
    assert drift is not None and drift.drifted and drift.can_refine
    better = refined(believed, drift)
    left = cv2.Rodrigues(better.rotation_second_from_first @ true.rotation_second_from_first.T)[0]
    assert np.degrees(np.linalg.norm(left)) < 0.4 * np.linalg.norm(degrees)
    after = seen(true, better, seed=1)
    assert after is not None and not after.drifted


def test_a_good_rig_is_left_alone() -> None:
    drifts = [seen(rig_turned(), rig_turned(), seed=seed) for seed in range(20)]
    assert not any(drift is not None and drift.drifted for drift in drifts)


def test_nothing_is_said_of_few_faces() -> None:
    assert seen(rig_turned((1, 0, 0)), rig_turned(), faces=8) is None


def test_wrong_matches_do_not_make_a_drift() -> None:
    rig = rig_turned()
    watch = DriftWatch(rig)
    face = Face((300, 200, 80, 100), rig.first.project(FACE_MM + np.array([0, 0, 500])), 0.99)
    other = Face((250, 300, 80, 100), face.landmarks + np.array([-50, 100]), 0.99)
    for _ in range(20):
        watch.add(face, other)
    assert watch.estimate() is None


def test_a_limit_of_two_faces_is_answered_too() -> None:
    rig = rig_turned()
    watch = DriftWatch(rig, DriftThresholds(faces=2))
    for x in (-60.0, 60.0):
        marks = rig.first.project(FACE_MM + np.array([x, 0, 500]))
        face = Face((300, 200, 80, 100), marks, 0.99)
        watch.add(face, face)
    drift = watch.estimate()
    assert drift is not None and not drift.drifted
