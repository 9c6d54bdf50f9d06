"""Detection rates of skew and drift on virtual sources.

    python benchmarks/skew_and_drift.py

Writes results/skew_detection.csv and results/drift_detection.csv.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stereolive.drift import DriftWatch
from stereolive.rig import Camera, Rig
from stereolive.sources import FramesCapture, TwoCaptures
from stereolive.types import Face

RESULTS = Path(__file__).parents[1] / "results"
MATRIX = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
FACE_MM = np.array([[-31.0, -30, 0], [31, -30, 0], [0, 5, -22], [-25, 38, 2], [25, 38, 2]])
FRAME = np.zeros((16, 16), np.uint8)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


def skew() -> list[dict[str, Any]]:
    """Streams of 15 pictures a second with a constant offset and jitter of 1 ms; the offset cannot be caught up."""
    rng = np.random.default_rng(0)
    rows = []
    for offset_ms in (0, 5, 10, 15, 18, 22, 25, 30, 33):
        refused = total = 0
        for _ in range(20):
            streams = []
            for start in (0.0, float(offset_ms)):
                times = start + np.arange(60) * 1000 / 15 + rng.normal(0, 1, 60)
                streams.append([(float(t), FRAME) for t in times])
            source = TwoCaptures(lambda s=streams: FramesCapture(s[0]), lambda s=streams: FramesCapture(s[1]))  # type: ignore[misc]
            for pair in source:
                total += 1
                refused += pair.unsynchronised
        rows.append(
            {
                "offset_ms": offset_ms,
                "limit_ms": 20,
                "pairs": total,
                "refused": refused,
                "rate": round(refused / total, 4),
            }
        )
    return rows


def turned(degrees: tuple[float, float, float]) -> Rig:
    first = Camera("visible", 640, 480, MATRIX, np.zeros(5))
    second = Camera("near_infrared", 640, 480, MATRIX, np.zeros(5))
    turn = np.asarray(cv2.Rodrigues(np.radians(degrees))[0])
    return Rig(first, second, turn, -turn @ np.array([45.0, 1, 0]))


def faces_until_drift(
    true: Rig, believed: Rig, rng: np.random.Generator, noise_px: float, most: int = 120
) -> int | None:
    watch = DriftWatch(believed)
    for count in range(1, most + 1):
        points = FACE_MM + np.array([rng.uniform(-110, 110), rng.uniform(-80, 80), rng.uniform(400, 700)])
        moved = points @ true.rotation_second_from_first.T + true.translation_second_from_first_mm
        views = []
        for camera, shown in ((true.first, points), (true.second, moved)):
            marks = camera.project(shown) + rng.normal(0, noise_px, (5, 2)) + rng.normal(0, noise_px / 2, 2)
            low, high = marks.min(axis=0) - 30, marks.max(axis=0) + 30
            views.append(Face((low[0], low[1], high[0] - low[0], high[1] - low[1]), marks, 0.99))
        watch.add(views[0], views[1])
        drift = watch.estimate()
        if drift is not None and drift.drifted:
            return count
    return None


def drift() -> list[dict[str, Any]]:
    rows = []
    for axis, index in (("x", 0), ("z", 2), ("y", 1)):
        for degrees in (0.0, 0.2, 0.3, 0.5, 1.0):
            if degrees == 0 and axis != "x":
                continue
            turn = [0.0, 0.0, 0.0]
            turn[index] = degrees
            found = [
                faces_until_drift(
                    turned((turn[0], turn[1], turn[2])), turned((0, 0, 0)), np.random.default_rng(seed), 1.5
                )
                for seed in range(25)
            ]
            hits = [count for count in found if count is not None]
            rows.append(
                {
                    "axis": axis, "turn_deg": degrees, "runs": len(found), "detected": len(hits),
                    "rate": round(len(hits) / len(found), 3), "median_faces": float(np.median(hits)) if hits else "",
                }
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    write("skew_detection.csv", skew())
    write("drift_detection.csv", drift())
