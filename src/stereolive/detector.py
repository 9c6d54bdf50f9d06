"""The method, from two images to a verdict. Read this page first.

A pair of images and the rig that took them
-> find the face in either view, and where it lies in both (``faces.locate``)
-> the same square of both rectified views at one scale (``faces.cut``)
-> the depth network: a disparity and its uncertainty for every cell; where the sensors show far more than that square
   keeps, once more on a square of twice the size
-> depth information: millimetres, their uncertainty, both views on one grid (``depth.depth_information``)
-> the liveness model: a score
-> the verdict, with reasons that a person can check.

On the way, ``quality`` stops where no answer is possible; that ends in ``no_response``, never in ``bona_fide``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stereolive import quality
from stereolive.depth import (
    LIVENESS_CHANNELS,
    FloatArray,
    Shape,
    depth_information,
    face_ellipse,
    liveness_input,
    shape_of_face,
    with_finer,
)
from stereolive.errors import ImageError, ModelError
from stereolive.faces import FaceFinder, Sighting, cut
from stereolive.images import as_infrared, check_image
from stereolive.quality import QualityThresholds
from stereolive.rig import Rig
from stereolive.runtime import Network, planes
from stereolive.store import Model, released_model
from stereolive.types import Decision, DepthInformation, FaceCrop, ImageArray, Location, Verdict

FLAT_RESIDUAL_MM = 4.0
"""A face's root mean square distance from its best plane is 8 to 20 mm; below this the reason ``flat`` is given."""
UNCERTAIN_DISPARITY_PX = 1.5
"""Median uncertainty over the face from which on the reason ``views_do_not_match`` is given."""
FINER_BELOW_SCALE = 0.35
"""Crop pixels per pixel of the sensors, below which a crop of twice the size is measured too: it shows detail that the
crop has lost, and only then gains what it costs."""
EYE_DISTANCE_MM = (48.0, 78.0)
"""Between adults' eyes (children from some six years on included); outside, the reason ``wrong_size`` is given."""

DEPTH_INPUTS, LIVENESS_INPUTS = ("first", "second"), ("maps", "views")
"""Names of the networks' inputs: one in the other's place is a file with a right hash, and still no use."""


@dataclass(frozen=True)
class Analysis:
    """A verdict with all that led to it; later members are None where the chain ended before them."""

    verdict: Verdict
    location: Location | None = None
    crop: FaceCrop | None = None
    depth: DepthInformation | None = None
    shape: Shape | None = None


class LivenessDetector:
    """Tells living faces from attacks. Loading takes well under a second; one object serves many threads.

    ``model`` is a model folder, by default the released one. ``threads`` per network, 0 for as many as there are cores.
    ``runtime`` is ``onnxruntime`` or ``openvino``. ``threshold`` replaces the model's own. Raises ModelError.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        threads: int = 0,
        runtime: str = "onnxruntime",
        threshold: float | None = None,
    ) -> None:
        self.model = Model.load(released_model() if model is None else Path(model))
        if self.model.liveness_channels != LIVENESS_CHANNELS:
            raise ModelError(
                f"model {self.model.folder}: was trained by a version of stereolive with other depth information; "
                "train it again with this one"
            )
        self.threshold = self.model.threshold if threshold is None else threshold
        self.limits = QualityThresholds.from_json(self.model.quality)
        self._finder = FaceFinder(threads)
        self._depth = Network(self.model.depth_path, threads, runtime, DEPTH_INPUTS)
        self._liveness = Network(self.model.liveness_path, threads, runtime, LIVENESS_INPUTS)

    def check(self, first: ImageArray, second: ImageArray, rig: Rig) -> Verdict:
        """The verdict on one pair: images (H, W) or (H, W, 3) BGR, uint8 or uint16, of the rig's sizes.

        Raises ImageError.
        """
        return self.analyse(first, second, rig).verdict

    def analyse(self, first: ImageArray, second: ImageArray, rig: Rig) -> Analysis:
        """The verdict with the face, the depth and the crops it rests on. Raises ImageError."""
        clock = _Clock()
        _check_sizes(first, second, rig)

        def no_response(reason: str, location: Location | None = None) -> Analysis:
            return Analysis(self._verdict("no_response", None, (reason,), location, None, clock), location)

        faults = quality.view_fault(first, "first", self.limits), quality.view_fault(second, "second", self.limits)
        delivered = first, second
        first = as_infrared(first) if rig.first.spectrum == "near_infrared" else first
        second = as_infrared(second) if rig.second.spectrum == "near_infrared" else second
        clock.lap("quality")
        if any(faults):
            # Whether somebody stands there is still said, so that nobody can hide before a covered sensor.
            analysis = no_response(faults[0] or faults[1] or "")
            seen = [
                None if fault else self._finder.find(image)
                for fault, image in zip(faults, (first, second), strict=True)
            ]
            boxes = [faces[0].box if faces else None for faces in seen]
            return replace(analysis, verdict=replace(analysis.verdict, face_first=boxes[0], face_second=boxes[1]))
        sighting = Sighting(first, second, rig, self._finder.find(first), self._finder.find(second))
        location = sighting.location
        clock.lap("find")
        fault = quality.pair_fault(sighting, self.limits)
        if fault or location is None:
            return no_response(fault or "no_face", location)
        crop = cut(first, second, rig, location, self.model.crop_size)
        fault = quality.blinding_fault(crop, location, self.limits)
        if fault:
            return no_response(fault, location)
        clock.lap("rectify")
        disparity, sd = self._disparity(crop)
        if self.model.finer_reach_px is not None and crop.scale < FINER_BELOW_SCALE:
            offset_px = float(np.median(disparity[face_ellipse(len(disparity))]))
            moved = replace(location, shift_px=location.shift_px + offset_px / crop.scale)
            finer = self._disparity(cut(first, second, rig, moved, 2 * crop.size))
            disparity, sd = with_finer((disparity, sd), finer, offset_px, self.model.finer_reach_px)
        info = depth_information(crop, disparity, sd)
        clock.lap("depth")
        (logit,) = self._liveness.run(*(planes[None] for planes in liveness_input(info)))
        score = float(1 / (1 + np.exp(-float(logit.ravel()[0]))))
        shape = shape_of_face(info, location)
        shape = replace(shape, distance_mm=shape.distance_mm * _first_z_per_rectified_z(rig, location))
        clock.lap("liveness")
        decision: Decision = "bona_fide" if score >= self.threshold else "attack"
        if decision == "bona_fide":
            # What leaves an attack recognisable may still leave too little evidence for a living face.
            doubts = quality.doubts(sighting, info, shape, self.limits)
            doubts += quality.delivery_doubts(*delivered, self.limits)
            clock.lap("doubts")
            if doubts:
                verdict = self._verdict("no_response", None, (doubts[0],), location, None, clock)
                return Analysis(verdict, location, crop, info, shape)
        reasons = _reasons(decision, shape, location)
        return Analysis(self._verdict(decision, score, reasons, location, shape, clock), location, crop, info, shape)

    def _disparity(self, crop: FaceCrop) -> tuple[FloatArray, FloatArray]:
        """Disparity and its standard deviation, in crop px."""
        disparity, sd = self._depth.run(planes(crop.first), planes(crop.second))
        return disparity[0, 0], sd[0, 0]

    def _verdict(
        self,
        decision: Decision,
        score: float | None,
        reasons: tuple[str, ...],
        location: Location | None,
        shape: Shape | None,
        clock: _Clock,
    ) -> Verdict:
        face_first = location.face_first if location else None
        face_second = location.face_second if location else None
        return Verdict(
            decision,
            score,
            self.threshold,
            reasons,
            shape.distance_mm if shape else None,
            face_first.box if face_first else None,
            face_second.box if face_second else None,
            self.model.title,
            clock.total_ms(),
            shape.eye_distance_mm if shape else None,
            shape.relief_mm if shape else None,
            shape.plane_residual_mm if shape else None,
            shape.depth_sd_mm if shape else None,
            tuple(clock.laps),
        )


def _check_sizes(first: ImageArray, second: ImageArray, rig: Rig) -> None:
    for name, image, camera in (("first", first, rig.first), ("second", second, rig.second)):
        height, width = check_image(image, name).shape[:2]
        if (width, height) != camera.size:
            raise ImageError(
                f"{name}: the image has {width} x {height} pixels, "
                f"but the rig's {name} sensor {camera.width} x {camera.height}"
            )


def _first_z_per_rectified_z(rig: Rig, location: Location) -> float:
    """Depth is measured along the rectified axis; a distance is told along the first sensor's own, as in a manifest."""
    ray = rig.rectification.rays([location.center_px]) @ rig.rectification.rotation_first
    return float(ray[0, 2])


def _reasons(decision: Decision, shape: Shape, location: Location) -> tuple[str, ...]:
    """What a person can check of the verdict; an attack with a face's shape is left with the liveness score alone."""
    size_fits = shape.eye_distance_mm is None or EYE_DISTANCE_MM[0] <= shape.eye_distance_mm <= EYE_DISTANCE_MM[1]
    views_match = shape.disparity_sd_px < UNCERTAIN_DISPARITY_PX
    has_relief = shape.plane_residual_mm >= FLAT_RESIDUAL_MM
    if decision == "bona_fide":
        # Relief and size come from the depth, and that is worth nothing where the views do not match.
        measured = views_match and shape.eye_distance_mm is not None
        signs = (
            ("views_match", views_match),
            ("relief_of_a_face", has_relief and views_match),
            ("size_of_a_face", size_fits and measured),
        )
        return tuple(code for code, holds in signs if holds)
    reasons = []
    if location.matched_by == "search":
        reasons.append("face_in_first_only" if location.face_first else "face_in_second_only")
    if not views_match:
        reasons.append("views_do_not_match")
    elif not has_relief:
        reasons.append("flat")
    if not size_fits and views_match:
        reasons.append("wrong_size")
    return tuple(reasons) or ("unlike_living_skin",)


class _Clock:
    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.laps: list[tuple[str, float]] = []

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps.append((stage, (now - self._last) * 1000))
        self._last = now

    def total_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000
