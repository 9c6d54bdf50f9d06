"""Has the rig been bumped? The rows of matched faces tell, over time.

In rectified views the landmarks of one face lie on the same rows. If the second sensor has been turned by a small
vector w since it was calibrated, the normalised row of a point (x, y) changes by ``-wx (1 + y^2) + wy x y + wz x``,
so many faces at many places give w by weighted least squares. Turning about the rectified y axis leaves rows as they
are; it cannot be seen here and is not corrected.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.rig import Rig
from stereolive.types import Face

FloatArray = NDArray[np.float64]
LANDMARK_BIAS = 0.03
"""Square of the landmarks' common errors (some 0.14 degrees seen from the sensor) over turns to be expected (0.8)."""
LEAST_SPREAD = 0.06
"""Standard deviation of the faces' places, in units of their distance: 3 cm at half a metre."""
LEAST_STANDARD_ERROR_DEG = 0.01
"""Of the turn: a twentieth of the smallest that is reported."""


@dataclass(frozen=True)
class DriftThresholds:
    """When a rig counts as bumped."""

    faces: int = 12
    """Fewest faces before anything is said; the last ``memory`` of them are used."""
    memory: int = 120
    angle_deg: float = 0.2
    """Smaller turns are not reported: 2 px of rows at 600 px focal length, within what the detector was trained to
    take."""
    sigma: float = 5.0
    """The turn must be this many times its standard error, and more while that rests on few faces."""
    within_rows: float = 0.25
    """Row errors beyond this share of the face's width belong to different faces and say nothing of the rig."""


@dataclass(frozen=True, eq=False)
class Drift:
    """The turn that explains the rows of the faces seen so far."""

    turn_deg: FloatArray  # (3,) about the rectified x, y, z axes; y is not observable and 0
    standard_error_deg: FloatArray  # (3,)
    row_error_px: float  # median of the faces' row errors' sizes, in rectified pixels
    faces: int
    drifted: bool
    can_refine: bool  # faces stood at places far enough apart to tell the turn, not only that there is one

    @property
    def angle_deg(self) -> float:
        return float(np.linalg.norm(self.turn_deg))

    def describe(self) -> str:
        x, _, z = self.turn_deg
        return (
            f"the second sensor seems turned by {self.angle_deg:.2f} degrees "
            f"({x:+.2f} up or down, {z:+.2f} in its plane) "
            f"against the rig file; rows of {self.faces} faces differ by {self.row_error_px:.1f} px"
        )


class DriftWatch:
    """Collects faces that both views show and estimates the turn."""

    def __init__(self, rig: Rig, limits: DriftThresholds | None = None) -> None:
        self.rig = rig
        self.limits = limits or DriftThresholds()
        self._faces: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=self.limits.memory)

    def add(self, first: Face, second: Face) -> None:
        """Take in one face, found in both views; a pair that cannot be one face is left out."""
        rectification = self.rig.rectification
        rows_first = rectification.rays(rectification.rectify_points(first.landmarks, "first"))[:, 1]
        points = rectification.rays(rectification.rectify_points(second.landmarks, "second"))[:, :2]
        error = rows_first - points[:, 1]
        width = second.box[2] / self.rig.second.focal_px
        if abs(float(np.median(error))) > self.limits.within_rows * width:
            return
        self._faces.append((points, error))

    def clear(self) -> None:
        """Forget all faces, as after a refinement was accepted."""
        self._faces.clear()

    def estimate(self) -> Drift | None:
        """The turn, None with too few faces."""
        count = len(self._faces)
        if count < self.limits.faces:
            return None
        # One equation a face and landmark; a face's five errors are not independent, so the faces are the units.
        designs = np.array([_design(points) for points, _ in self._faces])  # (N, 5, 2)
        errors = np.array([error for _, error in self._faces])  # (N, 5)
        # A finder is off alike on every picture of a face, which no number of them averages out: within one face the
        # landmarks' rows say little of a turn, only faces at several places do.
        prior = np.eye(2) * LANDMARK_BIAS * count
        weights = np.ones(count)
        turn = np.zeros(2)
        for _ in range(10):
            normal = np.einsum("n,nij,nik->jk", weights, designs, designs) + prior
            turn = np.linalg.solve(normal, np.einsum("n,nij,ni->j", weights, designs, errors))
            size = np.abs((errors - designs @ turn).mean(axis=1))
            # Huber's weights (k = 1.345 robust standard deviations) hold back single wrong matches.
            scale = 1.4826 * float(np.median(size)) + 1e-9
            weights = np.minimum(1.0, 1.345 * scale / np.maximum(size, 1e-12))
        residuals = errors - designs @ turn
        inverse = np.linalg.inv(normal)
        # The sandwich: correlated errors within a face do not make the estimate look better than it is. A face far to
        # the side draws the estimate to itself, which its residuals are freed from (MacKinnon and White's HC3 for
        # clusters: Bell and McCaffrey 2002).
        hats = np.einsum("n,nij,jk,nlk->nil", weights, designs, inverse, designs)
        freed = np.linalg.solve(np.eye(hats.shape[1]) - hats, residuals[:, :, None])[:, :, 0]
        scores = np.einsum("nij,ni->nj", designs, freed) * weights[:, None]
        covariance = inverse @ (scores.T @ scores) @ inverse
        # Equal faces, as of a picture that stands still, would look like certainty, and cannot be solved for.
        covariance += np.eye(2) * math.radians(LEAST_STANDARD_ERROR_DEG) ** 2
        spread = float(np.sqrt(np.array([points.mean(axis=0) for points, _ in self._faces]).var(axis=0).sum()))
        return self._drift(turn, covariance, errors, spread)

    def _drift(self, turn: FloatArray, covariance: FloatArray, errors: FloatArray, spread: float) -> Drift:
        angle_deg = math.degrees(float(np.linalg.norm(turn)))
        significance = math.sqrt(max(0.0, float(turn @ np.linalg.solve(covariance, turn))))
        se_x, se_z = np.degrees(np.sqrt(np.diag(covariance)))
        rows = np.abs(np.median(errors, axis=1)) * self.rig.rectification.focal_px
        # The standard error rests on few faces itself: as unlikely as ``sigma`` of a known one (F with 2 and N - 2
        # degrees of freedom).
        freedom = max(1, len(errors) - 2)
        chance = -0.5 * freedom * math.log1p(significance**2 / freedom)
        drifted = angle_deg >= self.limits.angle_deg and chance <= -0.5 * self.limits.sigma**2
        return Drift(
            np.array([math.degrees(turn[0]), 0.0, math.degrees(turn[1])]),
            np.array([se_x, math.inf, se_z]),
            float(np.median(rows)),
            len(errors),
            drifted,
            spread >= LEAST_SPREAD,
        )


def refined(rig: Rig, drift: Drift) -> Rig:
    """The rig with the second sensor turned as the faces say, its centre kept. A person must accept it before it is
    used."""
    rectification = rig.rectification
    turn = np.asarray(cv2.Rodrigues(np.radians(drift.turn_deg))[0], np.float64)
    # Rays of the second sensor, brought to the rectified frame, must be turned further by w.
    in_first = rectification.rotation_first.T @ turn @ rectification.rotation_first
    rotation = rig.rotation_second_from_first @ in_first.T
    center = -rig.rotation_second_from_first.T @ rig.translation_second_from_first_mm
    return Rig(rig.first, rig.second, rotation, -rotation @ center)


def _design(points: FloatArray) -> FloatArray:
    """How the normalised rows of points (N, 2) change with a turn about x and z, (N, 2)."""
    return np.stack([-(1 + points[:, 1] ** 2), points[:, 0]], axis=1)
