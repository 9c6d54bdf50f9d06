"""The values that are handed from room to room: frozen, validated where they are made, units and frames in their names.

Frames: *first* and *second* are the sensors' own images; *rectified* are the two images after rectification, whose rows
are epipolar lines; *crop* is the square cut out of a rectified image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8] | NDArray[np.uint16]
Decision = Literal["bona_fide", "attack", "no_response"]


@dataclass(frozen=True)
class Face:
    """A face in one image: box ``x, y, width, height`` and five landmarks in pixels of that image.

    Landmarks are in the order eye, eye, nose tip, mouth corner, mouth corner, left of the image first.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]  # (5, 2)
    confidence: float

    @property
    def center(self) -> tuple[float, float]:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


@dataclass(frozen=True)
class Location:
    """Where the face is in both rectified views.

    ``center_px`` and ``side_px`` give the square to cut from the first rectified view; the second one's is moved by
    ``shift_px`` against the direction of the baseline. ``matched_by`` says what the shift rests on: both views'
    landmarks, or a search along the row where only one view shows a face; ``registered`` where the views lay on each
    other from the start, as in some data sets.
    """

    face_first: Face | None
    face_second: Face | None
    center_px: tuple[float, float]
    side_px: float
    shift_px: float
    matched_by: Literal["landmarks", "search", "registered"]
    rectified_landmarks_first: NDArray[np.float64] | None = None  # (5, 2)


@dataclass(frozen=True)
class FaceCrop:
    """The same square of both rectified views at one scale, rows being epipolar lines.

    Where the second sensor lies on the other side both crops are mirrored, so that always
    ``Z_mm = focal_times_baseline / (shift_px + d / scale)`` with ``d = x_first_crop - x_second_crop`` in crop pixels:
    nearer is larger.
    """

    first: NDArray[np.uint8]  # (S, S, 3) BGR
    second: NDArray[np.uint8]  # (S, S, 3) BGR
    first_crop_from_rectified: NDArray[np.float64]  # (2, 3)
    second_crop_from_rectified: NDArray[np.float64]  # (2, 3)
    scale: float  # crop pixels per rectified pixel
    shift_px: float  # disparity already taken out, in rectified pixels
    focal_px: float  # of the rectified views
    focal_times_baseline: float  # Z in mm times disparity in rectified pixels
    roll_deg: float  # turn of the crop's content against upright, from +y towards -x
    first_spectrum: str
    second_spectrum: str

    @property
    def size(self) -> int:
        return int(self.first.shape[0])


@dataclass(frozen=True)
class DepthInformation:
    """What the depth network says of one face crop; all maps are (G, G) on one grid over the first view's crop.

    ``first`` and ``second`` are both sensors' crops, the second laid onto the first by the depth.
    """

    disparity_px: FloatArray  # in crop pixels, relative to the shift between the crops
    disparity_sd_px: FloatArray
    depth_mm: FloatArray  # Z along the rectified axis
    depth_sd_mm: FloatArray
    first: NDArray[np.uint8]  # (S, S, 3) BGR
    second: NDArray[np.uint8]  # (S, S, 3) BGR
    crop: FaceCrop


@dataclass(frozen=True)
class Verdict:
    """The answer for one pair; ``as_json`` is the object that ``stereolive check --json`` prints."""

    decision: Decision
    score: float | None
    threshold: float
    reasons: tuple[str, ...]
    distance_mm: float | None
    face_first: tuple[float, float, float, float] | None
    face_second: tuple[float, float, float, float] | None
    model: str
    time_ms: float
    eye_distance_mm: float | None = None
    relief_mm: float | None = None
    plane_residual_mm: float | None = None
    depth_sd_mm: float | None = None
    stage_ms: tuple[tuple[str, float], ...] = ()

    def as_json(self) -> dict[str, Any]:
        def box(value: tuple[float, float, float, float] | None) -> list[float] | None:
            return None if value is None else [round(v, 1) for v in value]

        def number(value: float | None, digits: int) -> float | None:
            return None if value is None else round(value, digits)

        return {
            "decision": self.decision,
            "score": number(self.score, 6),
            "threshold": round(self.threshold, 6),
            "reasons": list(self.reasons),
            "distance_mm": number(self.distance_mm, 1),
            "face": {"first": box(self.face_first), "second": box(self.face_second)},
            "model": self.model,
            "time_ms": round(self.time_ms, 2),
            "eye_distance_mm": number(self.eye_distance_mm, 1),
            "relief_mm": number(self.relief_mm, 1),
            "plane_residual_mm": number(self.plane_residual_mm, 2),
            "depth_sd_mm": number(self.depth_sd_mm, 2),
        }
