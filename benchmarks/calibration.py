"""Recovered against true rigs on rendered boards, and the real boards.

    python benchmarks/calibration.py [--rigs 6] [--pairs 20] [--real ../shared/real/opencv_boards]

Every board is shown in 20 views, and in ten more as long as the report puts the uncertainty of the turn between the
sensors above 0.05 degrees, up to 50; the truth has no say in that. Writes results/calibration.csv (one row a rig and
board), results/calibration_real.json and out/calibration_real.html (not kept: it shows the boards). Wanted: baseline
within 0.5 %, rotation within 0.1 degrees.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np

from stereolive.calibrate.boards import Board
from stereolive.calibrate.capture import collect_all
from stereolive.calibrate.judgement import grade
from stereolive.calibrate.rendering import NEAR_INFRARED_LOOK, Look, random_poses, render_pair
from stereolive.calibrate.report import write_report
from stereolive.calibrate.solve import BoardPair, Calibration, solve
from stereolive.rig import Camera, Rig
from stereolive.sources import open_source

RESULTS = Path(__file__).parents[1] / "results"
PICTURES = Path(__file__).parent.parent / "out"
FURTHER_PAIRS, MOST_PAIRS = 10, 50
WANTED_ROTATION_SD_DEG = 0.05
"""Half of the error that is allowed: the calibration's own estimate, from its jackknife."""
SIZES = ((640, 480), (800, 600), (640, 400), (1280, 720))


def random_rig(rng: np.random.Generator) -> Rig:
    """A visible and a near-infrared sensor of different size, focal length and distortion; any direction of the
    baseline."""
    cameras = []
    for spectrum in ("visible", "near_infrared"):
        width, height = SIZES[rng.integers(len(SIZES))]
        focal = width * rng.uniform(0.85, 1.15)
        middle = (width - 1) / 2 + rng.normal(0, 0.01 * width), (height - 1) / 2 + rng.normal(0, 0.01 * width)
        matrix = np.array([[focal, 0, middle[0]], [0, focal * rng.uniform(0.998, 1.002), middle[1]], [0, 0, 1.0]])
        distortion = np.array([rng.uniform(-0.15, 0.05), rng.uniform(-0.02, 0.05), *rng.normal(0, 5e-4, 2), 0.0])
        cameras.append(
            Camera("visible" if spectrum == "visible" else "near_infrared", width, height, matrix, distortion)
        )
    rotation = np.asarray(cv2.Rodrigues(np.radians(rng.uniform(-2, 2, 3)))[0])
    angle = math.radians(rng.choice((0.0, 180.0, 90.0, 45.0)) + rng.uniform(-8, 8))
    baseline = rng.uniform(25, 80)
    center = np.array([math.cos(angle) * baseline, math.sin(angle) * baseline, rng.uniform(-2, 2)])
    return Rig(cameras[0], cameras[1], rotation, -rotation @ center)


def row(number: int, true: Rig, found: Calibration) -> dict[str, object]:
    turn = np.asarray(cv2.Rodrigues(found.rig.rotation_second_from_first @ true.rotation_second_from_first.T)[0])
    baseline_percent = 100 * (found.rig.baseline_mm / true.baseline_mm - 1)
    rotation_deg = math.degrees(float(np.linalg.norm(turn)))
    half_metre = next(error for error in found.depth_errors if error.distance_mm == 500)
    return {
        "rig": number,
        "board": found.board.kind,
        "pairs_used": found.used,
        "baseline_mm": round(true.baseline_mm, 3),
        "baseline_error_percent": round(baseline_percent, 3),
        "baseline_expected_sd_percent": round(100 * found.baseline_sd_mm / true.baseline_mm, 3),
        "rotation_error_deg": round(rotation_deg, 4),
        "rotation_expected_sd_deg": round(found.rotation_sd_deg, 4),
        "focal_error_first_percent": round(100 * (found.rig.first.focal_px / true.first.focal_px - 1), 3),
        "focal_error_second_percent": round(100 * (found.rig.second.focal_px / true.second.focal_px - 1), 3),
        "held_out_epipolar_px": round(found.held_out_epipolar_px, 3),
        "expected_depth_error_at_500_mm": round(half_metre.calibration_mm, 2),
        "grade": grade(found),
        "within_limits": abs(baseline_percent) <= 0.5 and rotation_deg <= 0.1,
    }


def rendered(rigs: int, pairs: int) -> None:
    RESULTS.mkdir(exist_ok=True)
    rows = []
    for number in range(rigs):
        rng = np.random.default_rng(100 + number)
        rig = random_rig(rng)
        for kind in ("chessboard", "charuco", "circles"):
            board = Board.parse(kind)
            rows.append(row(number, rig, shown(board, rig, pairs, rng)))
            print(rows[-1], flush=True)
    with (RESULTS / "calibration.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def shown(board: Board, rig: Rig, pairs: int, rng: np.random.Generator) -> Calibration:
    """The calibration from as many views as its report asks for."""
    shots: list[BoardPair] = []
    further = pairs
    while True:
        for pose in random_poses(board, rig, further, rng):
            first, second = render_pair(board, rig, pose, (Look(), NEAR_INFRARED_LOOK), rng)
            shots.append(BoardPair(str(len(shots)), board.find(first), board.find(second)))
        found = solve(board, shots, (rig.first.size, rig.second.size), (rig.first.spectrum, rig.second.spectrum))
        further = FURTHER_PAIRS
        if found.rotation_sd_deg <= WANTED_ROTATION_SD_DEG or len(shots) >= MOST_PAIRS:
            return found


def real(folder: Path) -> None:
    board = Board.parse("chessboard")
    shots = collect_all(open_source(str(folder)), board)
    assert shots.sizes is not None
    found = solve(board, shots.pairs, shots.sizes, ("visible", "visible"))
    PICTURES.mkdir(exist_ok=True)
    write_report(PICTURES / "calibration_real.html", found, shots.images, "OpenCV's real boards")
    data = {
        "grade": grade(found),
        "pairs": len(found.pairs),
        "used": found.used,
        "reprojection_px": [round(found.first_px, 4), round(found.second_px, 4)],
        "epipolar_px": round(found.epipolar_px, 4),
        "held_out_epipolar_px": round(found.held_out_epipolar_px, 4),
        "rotation_expected_sd_deg": round(found.rotation_sd_deg, 4),
        "baseline_mm_for_25_mm_squares": round(found.rig.baseline_mm, 3),
        "baseline_sd_mm": round(found.baseline_sd_mm, 3),
        "depth_error_mm": {f"{e.distance_mm:g}": round(e.calibration_mm, 2) for e in found.depth_errors},
    }
    (RESULTS / "calibration_real.json").write_text(json.dumps(data, indent=1) + "\n")
    print(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rigs", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--real", type=Path, default=Path("../shared/real/opencv_boards"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.real.is_dir():
        real(arguments.real)
    rendered(arguments.rigs, arguments.pairs)
