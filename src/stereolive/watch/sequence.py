"""Faults that only several pairs show: a frozen or repeated picture, a lamp that fails or flickers."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from stereolive.rig import Rig
from stereolive.sources import FramePair
from stereolive.types import ImageArray, Location

ADVICE = {
    "unsynchronised": "Both sensors' pictures are too far apart in time; use a lower rate or trigger them together.",
    "first_frozen": "The first sensor repeats an old picture; connect it anew.",
    "second_frozen": "The second sensor repeats an old picture; connect it anew.",
    "led_off": "The near-infrared lamp went out; check its supply.",
    "flicker": "The near-infrared light changes from picture to picture; match its pulses to the exposure.",
    "moved_too_fast": "Hold still for a second.",
    "rig_drifted": "The sensors have moved against each other; calibrate again or accept the proposed refinement.",
    "repeated_no_response": "Too many attempts without an answer; an operator must look.",
    "scores_disagree": "The pictures of this attempt contradict each other; try again.",
    "uncalibrated": "The rig was estimated, not calibrated; distances are relative.",
}
"""Codes that appear while watching, beside those of ``quality``, with a line of advice each."""


@dataclass(frozen=True)
class SequenceThresholds:
    """Limits for faults over time."""

    remembered: int = 300
    """Pictures of each sensor that a new one is compared with: ten seconds at 30 a second."""
    lamp_falls_to: float = 0.45
    """Share of the usual near-infrared brightness, against visible light's, below which the lamp is taken for off."""
    lamp_history: int = 15
    flicker: float = 0.2
    """Mean change of near-infrared brightness from picture to picture, relative; breathing light stays far below."""
    flicker_pairs: int = 4


class SequenceWatch:
    """Remembers what both sensors delivered. One object a stream."""

    def __init__(self, rig: Rig, limits: SequenceThresholds | None = None) -> None:
        self.limits = limits or SequenceThresholds()
        self._infrared = [camera.spectrum == "near_infrared" for camera in (rig.first, rig.second)]
        self._seen: tuple[deque[bytes], deque[bytes]] = (
            deque(maxlen=self.limits.remembered),
            deque(maxlen=self.limits.remembered),
        )
        self._levels: deque[tuple[float, float]] = deque(maxlen=self.limits.lamp_history)
        self._ratios: deque[float] = deque(maxlen=self.limits.lamp_history)

    def fault(self, pair: FramePair, location: Location | None = None) -> str | None:
        """The code of what is wrong with this pair in the light of those before, or None. Call it once a pair."""
        if pair.unsynchronised:
            return "unsynchronised"
        # A sensor's noise never repeats: a picture equal to an earlier one, bit for bit, was not taken now.
        for name, image, seen in zip(("first", "second"), (pair.first, pair.second), self._seen, strict=True):
            digest = hashlib.blake2b(image.tobytes(), digest_size=12).digest()
            if digest in seen:
                return f"{name}_frozen"
            seen.append(digest)
        return self._lamp_fault(pair, location)

    def _lamp_fault(self, pair: FramePair, location: Location | None) -> str | None:
        if not any(self._infrared):
            return None
        infrared = 1 if self._infrared[1] else 0
        both_infrared = all(self._infrared)
        faces = (location.face_first, location.face_second) if location else (None, None)
        boxes = [face.box if face else None for face in faces]
        images = (pair.first, pair.second)
        lamp = _level(images[infrared], boxes[infrared])
        other = 1.0 if both_infrared else _level(images[1 - infrared], boxes[1 - infrared])
        if lamp <= 0 or other <= 0:
            return None
        ratio = lamp / other
        usual = float(np.median(self._ratios)) if len(self._ratios) >= self.limits.flicker_pairs else None
        self._levels.append((pair.time_ms, lamp))
        if self._flickers():
            return "flicker"
        if usual is not None and ratio < self.limits.lamp_falls_to * usual:
            return "led_off"
        self._ratios.append(ratio)
        return None

    def _flickers(self) -> bool:
        levels = np.array([level for _, level in self._levels])[-2 * self.limits.flicker_pairs :]
        if len(levels) <= self.limits.flicker_pairs:
            return False
        steps = np.diff(levels) / np.maximum(levels[:-1], levels[1:])
        # Up and down again: a person who walks up or a lamp that fails changes the light one way.
        turns = float((steps[:-1] * steps[1:] < 0).mean()) if len(steps) > 1 else 0.0
        return float(np.median(np.abs(steps))) > self.limits.flicker and turns >= 0.5


def _level(image: ImageArray, box: tuple[float, float, float, float] | None) -> float:
    """Mean brightness of the face, else of the whole picture, as a share of the format's largest value."""
    grey = image.mean(axis=2) if image.ndim == 3 else image
    if box is not None:
        x, y, width, height = (round(value) for value in box)
        part = grey[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
        grey = part if part.size else grey
    return float(grey.mean()) / float(np.iinfo(image.dtype).max)
