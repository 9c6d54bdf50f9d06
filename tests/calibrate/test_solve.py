"""Recovered against true rigs, outliers, the report and the command."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from stereolive.calibrate.boards import Board, Points
from stereolive.calibrate.capture import collect_all, collect_steady
from stereolive.calibrate.command import add_commands
from stereolive.calibrate.judgement import findings, grade
from stereolive.calibrate.rendering import Look, random_poses, render_pair
from stereolive.calibrate.report import report_html
from stereolive.calibrate.solve import BoardPair, Calibration, solve, triangulate_mm
from stereolive.errors import InputError
from stereolive.images import write_png
from stereolive.rig import Camera, Rig
from stereolive.sources import FramesCapture, TwoCaptures, open_source

REAL = Path(__file__).parents[3] / "shared" / "real" / "opencv_boards"
BOARD = Board.parse("chessboard")


@pytest.fixture(scope="module")
def rig() -> Rig:
    first = Camera(
        "visible", 640, 480, np.array([[600.0, 0, 322], [0, 602, 238], [0, 0, 1]]), np.array([-0.05, 0.02, 0.001, 0, 0])
    )
    second = Camera(
        "near_infrared",
        800,
        600,
        np.array([[610.0, 0, 398], [0, 612, 303], [0, 0, 1]]),
        np.array([-0.1, 0.05, 0, 0, 0]),
    )
    return Rig(first, second, np.asarray(cv2.Rodrigues(np.array([0.01, 0.02, -0.015]))[0]), np.array([-45, 1.5, 0.7]))


def pairs_of(rig: Rig, count: int = 16, noise_px: float = 0.1) -> list[BoardPair]:
    """Points as a good finder would deliver them."""
    rng = np.random.default_rng(3)
    pairs = []
    for index, pose in enumerate(random_poses(BOARD, rig, count, rng)):
        points = BOARD.points_mm @ pose.rotation.T + pose.translation_mm
        moved = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
        views = [
            Points(np.arange(54), camera.project(p) + rng.normal(0, noise_px, (54, 2)))
            for camera, p in ((rig.first, points), (rig.second, moved))
        ]
        pairs.append(BoardPair(f"{index:02d}", views[0], views[1]))
    return pairs


def solved(rig: Rig, pairs: list[BoardPair]) -> Calibration:
    return solve(BOARD, pairs, (rig.first.size, rig.second.size), (rig.first.spectrum, rig.second.spectrum))


def test_recovers_the_true_rig_and_tells_its_own_error(rig: Rig) -> None:
    found = solved(rig, pairs_of(rig))
    turn = cv2.Rodrigues(found.rig.rotation_second_from_first @ rig.rotation_second_from_first.T)[0]
    assert abs(found.rig.baseline_mm / rig.baseline_mm - 1) < 0.005
    assert math.degrees(float(np.linalg.norm(turn))) < 0.1
    assert found.rig.second.size == (800, 600)
    assert abs(found.rig.baseline_mm - rig.baseline_mm) < 5 * found.baseline_sd_mm + 0.02
    assert [error.distance_mm for error in found.depth_errors] == [300, 500, 1000]
    assert grade(found) != "not_good_enough"


def test_names_pairs_that_do_not_fit(rig: Rig) -> None:
    pairs = pairs_of(rig)
    second = pairs[4].second
    assert second is not None
    pairs[4] = BoardPair("moved", pairs[4].first, Points(second.ids, second.pixels + np.array([6.0, 9.0])))
    pairs[7] = BoardPair("unseen", None, second)
    found = solved(rig, pairs)
    reasons = {pair.name: pair.reason for pair in found.pairs if not pair.used}
    assert set(reasons) == {"moved", "unseen"}
    assert "moved between both exposures" in reasons["moved"]
    assert "first view" in reasons["unseen"]
    assert found.used == 14


def test_too_few_pairs_are_refused_with_a_reason(rig: Rig) -> None:
    with pytest.raises(InputError, match="3 of 3 pairs"):
        solved(rig, pairs_of(rig, 3))


def test_a_poor_calibration_is_called_so(rig: Rig) -> None:
    found = solved(rig, pairs_of(rig, 7, noise_px=1.5))
    assert grade(found) == "not_good_enough"
    assert all(finding.advice for finding in findings(found) if finding.grade == "not_good_enough")


def test_triangulation_inverts_projection(rig: Rig) -> None:
    points = np.array([[0.0, 0, 500], [50, -40, 300], [-80, 60, 900]])
    second = points @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    assert np.allclose(triangulate_mm(rig, rig.first.project(points), rig.second.project(second)), points, atol=1e-3)


def test_the_report_says_all(rig: Rig) -> None:
    found = solved(rig, pairs_of(rig))
    images = {"00": (np.zeros((480, 640), np.uint8), np.zeros((600, 800, 3), np.uint8))}
    page = report_html(found, images, "two <sensors>")
    for words in (
        "This calibration",
        "Coverage",
        "Expected depth error",
        "0.5 m",
        "baseline",
        "data:image/jpeg",
        "two &lt;sensors&gt;",
    ):
        assert words in page


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    parsed = parser.parse_args(arguments)
    status: int = parsed.handler(parsed)
    return status


def test_command_from_a_folder(rig: Rig, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    board = Board.parse("charuco")
    for index, pose in enumerate(random_poses(board, rig, 8, rng)):
        for word, image in zip(("left", "right"), render_pair(board, rig, pose, (Look(), Look()), rng), strict=True):
            write_png(tmp_path / f"{word}{index:02d}.png", image)
    status = run(["calibrate", str(tmp_path), "--board", "charuco", "--out", str(tmp_path / "rig.json")])
    assert status in (0, 1)
    found = Rig.load(tmp_path / "rig.json")
    assert abs(found.baseline_mm / rig.baseline_mm - 1) < 0.02
    assert (tmp_path / "rig.html").stat().st_size > 10_000


def test_command_prints_a_board_and_accepts_a_refinement(rig: Rig, tmp_path: Path) -> None:
    assert run(["calibrate", "--print", str(tmp_path / "b.pdf"), "--board", "circles"]) == 0
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")
    rig.save(tmp_path / "p.json")
    assert run(["calibrate", "--accept", str(tmp_path / "p.json"), "--out", str(tmp_path / "r.json")]) == 0
    assert np.allclose(Rig.load(tmp_path / "r.json").rotation_second_from_first, rig.rotation_second_from_first)
    with pytest.raises(InputError, match="SOURCE"):
        run(["calibrate"])


def test_steady_new_views_are_kept_from_a_stream(rig: Rig, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    board = Board.parse("charuco")
    frames: list[list[tuple[float, object]]] = [[], []]
    time_ms = 0.0
    for pose in random_poses(board, rig, 2, rng):
        for _ in range(4):
            for view, image in enumerate(render_pair(board, rig, pose, (Look(), Look()), rng)):
                frames[view].append((time_ms, image))
            time_ms += 33
    source = TwoCaptures(lambda: FramesCapture(frames[0]), lambda: FramesCapture(frames[1]))  # type: ignore[arg-type]
    said: list[str] = []
    shots = collect_steady(source, board, tmp_path / "shots", said.append)
    assert len(shots.pairs) == 2
    assert sorted(p.name for p in (tmp_path / "shots").iterdir()) == [
        f"{v}_00{i}.png" for v in ("first", "second") for i in (0, 1)
    ]
    assert "next:" in said[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real boards are not beside the repository")
def test_the_real_boards() -> None:
    shots = collect_all(open_source(str(REAL)), BOARD)
    assert shots.sizes is not None
    found = solve(BOARD, shots.pairs, shots.sizes, ("visible", "visible"))
    assert grade(found) == "good" and found.used >= 12
    assert found.held_out_epipolar_px < 0.3
    assert abs(found.rig.baseline_mm - 83.2) < 0.5  # 3.33 squares, what OpenCV's own samples find
