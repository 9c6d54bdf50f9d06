"""Is a calibration good enough, and what to do if not: limits with the sentence that belongs to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.solve import Calibration

Grade = Literal["good", "usable", "not_good_enough"]
GRID = (8, 6)
HEADLINES: dict[Grade, tuple[str, str]] = {
    "good": ("Good", "This calibration is good enough to use."),
    "usable": ("Usable", "This calibration can be used; read below what would make it better."),
    "not_good_enough": ("Not good enough", "Do not use this calibration; do what is said below and repeat it."),
}
MARKS: dict[Grade, str] = {"good": "✓", "usable": "!", "not_good_enough": "✗"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: what was found, and what to do where it is not good."""

    grade: Grade
    found: str
    advice: str = ""


def coverage(points: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Share of an 8 x 6 grid over the picture that has board points (N, 2)."""
    return float((cell_counts(points, size) > 0).mean())


def cell_counts(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Points (N, 2) per cell (6, 8) of the grid over the picture."""
    columns = np.clip((points[:, 0] / size[0] * GRID[0]).astype(int), 0, GRID[0] - 1)
    rows = np.clip((points[:, 1] / size[1] * GRID[1]).astype(int), 0, GRID[1] - 1)
    counts = np.zeros((GRID[1], GRID[0]), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def findings(calibration: Calibration) -> list[Finding]:
    """Everything that was checked, in the order in which a person should read it."""
    return [
        _pairs(calibration),
        _epipolar(calibration),
        _reprojection(calibration),
        _depth(calibration),
        _rotation(calibration),
        _coverage(calibration),
        _tilt(calibration),
        _outliers(calibration),
    ]


def grade(calibration: Calibration) -> Grade:
    """The worst of all findings."""
    grades = [finding.grade for finding in findings(calibration)]
    return "not_good_enough" if "not_good_enough" in grades else "usable" if "usable" in grades else "good"


def _graded(value: float, good: float, usable: float) -> Grade:
    """For quantities of which less is better."""
    return "good" if value <= good else "usable" if value <= usable else "not_good_enough"


def _pairs(c: Calibration) -> Finding:
    grade = _graded(-c.used, -10, -7)
    return Finding(grade, f"{c.used} pairs used of {len(c.pairs)}", "" if grade == "good" else "Take 15 pairs or more.")


def _epipolar(c: Calibration) -> Finding:
    grade = _graded(c.held_out_epipolar_px, 0.4, 0.8)
    advice = (
        "Hold the board still (better: stand it up) while both sensors expose, check that it is flat, and that both "
        "lenses are in focus."
    )
    found = f"rows of the rectified views agree to {c.held_out_epipolar_px:.2f} px on pairs left out of the fit"
    return Finding(grade, found, "" if grade == "good" else advice)


def _reprojection(c: Calibration) -> Finding:
    grade = _graded(max(c.first_px, c.second_px), 0.5, 1.0)
    worse = "first" if c.first_px >= c.second_px else "second"
    advice = (
        f"Look at the {worse} sensor: focus, motion blur, contrast of the print in its light, a board that is not flat."
    )
    found = f"reprojection error {c.first_px:.2f} px (first), {c.second_px:.2f} px (second)"
    return Finding(grade, found, "" if grade == "good" else advice)


def _depth(c: Calibration) -> Finding:
    error = next((e for e in c.depth_errors if e.distance_mm == 500), None)
    if error is None:
        return Finding("not_good_enough", "the sensors share no view at 500 mm", "Turn them towards the same place.")
    grade = _graded(error.calibration_mm, 4, 8)
    advice = "Add pairs: nearer, farther, more tilted, and into the corners of both pictures."
    found = f"depth at 500 mm is uncertain by {error.calibration_mm:.1f} mm from the calibration alone"
    return Finding(grade, found, "" if grade == "good" else advice)


def _rotation(c: Calibration) -> Finding:
    grade = _graded(c.rotation_sd_deg, 0.1, 0.2)
    advice = "Add pairs, above all tilted ones and such that reach the corners, until this falls."
    found = f"the turn between the sensors is uncertain by {c.rotation_sd_deg:.2f} degrees"
    return Finding(grade, found, "" if grade == "good" else advice)


def _coverage(c: Calibration) -> Finding:
    first = coverage(c.first_points, c.rig.first.size)
    second = coverage(c.second_points, c.rig.second.size)
    grade = _graded(-min(first, second), -0.6, -0.35)
    found = f"board points cover {first:.0%} of the first picture, {second:.0%} of the second"
    return Finding(
        grade, found, "" if grade == "good" else "Add pairs with the board in the empty cells of the coverage picture."
    )


def _tilt(c: Calibration) -> Finding:
    tilted = sum(tilt >= 15 for tilt in c.tilts_deg)
    grade = _graded(-tilted, -5, -3)
    found = f"{tilted} pairs show the board tilted by 15 degrees or more"
    return Finding(grade, found, "" if grade == "good" else "Tilt the board by 20 to 40 degrees, to all four sides.")


def _outliers(c: Calibration) -> Finding:
    rejected = [pair.name for pair in c.pairs if not pair.used]
    if not rejected:
        return Finding("good", "no pair was rejected")
    share = len(rejected) / len(c.pairs)
    grade = _graded(share, 0.25, 0.6)
    found = f"{len(rejected)} pairs rejected: {', '.join(rejected)}"
    return Finding(grade, found, "" if grade == "good" else "Many pairs were unusable; their reasons are in the table.")
