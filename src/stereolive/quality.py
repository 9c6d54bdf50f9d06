"""What makes an answer impossible, each with its code.

A code that begins with ``first_`` or ``second_`` names the view at fault. Faults never lead to ``bona_fide``; an attack
may also end here, which is why non-responses of attacks are counted in reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ModelError
from stereolive.images import as_8bit, as_grey
from stereolive.rig import Rig
from stereolive.types import Face, FaceCrop, ImageArray, Location

ADVICE = {
    "no_face": "Look at the camera; no face is seen by either sensor.",
    "too_far": "Come nearer.",
    "at_border": "Move into the middle of the picture.",
    "views_disagree": "The two sensors do not show the same face; check for swapped or unsynchronised cameras.",
    "identical_views": "Both sensors deliver the same picture; check the cameras' connections.",
    "first_too_dark": "The first sensor sees no light; uncover it or turn on a light.",
    "second_too_dark": "The second sensor sees no light; uncover it or turn on its illumination.",
    "first_saturated": "The first sensor is dazzled; lower its exposure.",
    "second_saturated": "The second sensor is dazzled; lower its exposure.",
    "first_no_signal": "The first sensor delivers no picture; check it.",
    "second_no_signal": "The second sensor delivers no picture; check it.",
    "first_blurred": "Hold still; clean or focus the first sensor's lens.",
    "second_blurred": "Hold still; clean or focus the second sensor's lens.",
    "first_glare": "Light is reflected into the first sensor; turn a little or take off what shines.",
    "second_glare": "Light is reflected into the second sensor; turn a little or take off what shines.",
    "first_banding": "The first sensor's picture has bands from pulsed light; match exposure and pulses.",
    "second_banding": "The second sensor's picture has bands from pulsed light; match exposure and pulses.",
    "turned_away": "Look straight at the camera.",
    "several_faces": "Only one person at a time, please.",
    "face_covered": "Take your hand or other things away from your face.",
}
"""Codes of non-response, with a line for the person in front of the sensors or the one who set them up."""

View = Literal["first", "second"]
BORDER_PER_FACE = 0.02
"""A face this near to the border, per its size, is taken to be cut off."""


@dataclass(frozen=True)
class QualityThresholds:
    """The limits beyond which no answer is given; a model's manifest may carry its own."""

    smallest_face_px: float = 40.0
    """Square root of the face box's area in the view's own pixels."""
    structure: float = 0.3
    """Correlation of neighbouring pixels, after the image was averaged to cells of some 1/160 of its width and its slow
    changes were taken out. Noise has about 0, the dimmest useful picture 0.5."""
    spread: float = 0.6
    """Standard deviation of those cells, of 255; less is a blank picture."""
    dark: float = 48.0
    """99th percentile of the cells, of 255, up to which a picture without structure is called dark."""
    bright: float = 235.0
    """1st percentile of the cells, of 255, from which on a picture is called saturated."""
    copy: float = 0.98
    """Correlation of both views' face region, pixel by pixel, from which on one is taken for a copy of the other."""
    outside: float = 0.08
    """Share of the face box that may lie outside a view."""
    sharpness: float = 1.4
    """Strongest gradients of the face crop at 1 px over those at 3 px, both smoothed: 2.5 for a step, 1 for a slope."""
    glare: float = 0.5
    """Share of the face that may be saturated."""
    banding: float = 0.03
    """Contrast of bands that go across the whole picture."""
    turned: float = 0.42
    """How far the nose tip may lie from the middle between the eyes, along them, per eye distance: some 40 degrees."""
    nodded: tuple[float, float] = (0.2, 0.9)
    """The nose tip's way from the eyes to the mouth, per that way."""
    second_largest: float = 0.7
    """Side of another face, per side of the largest, from which on it is unclear who is meant."""
    rows_apart: float = 0.05
    """Median difference of the landmarks' rows in both rectified views, per side of the crop."""
    landmarks_apart: float = 0.06
    """Root mean square difference of the landmarks after their common shift is taken out, per side of the crop."""
    likeness: float = 0.05
    """Correlation of both views' structure, below which they do not show the same thing."""
    likeness_one_view: float = 0.6
    """The same where only one view's picture lets a face be found, and nothing else ties the views together."""
    features: float = 0.26
    """Structure at the eyes and at the mouth, against the whole face; a hand before them has less."""
    confidence: float = 0.9
    """The finder's, in the view where it is greater; hands and scarves lower it."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QualityThresholds:
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ModelError(f"quality: unknown threshold {unknown[0]!r}; known are {', '.join(sorted(known))}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**given)


def view_fault(image: ImageArray, view: View, limits: QualityThresholds) -> str | None:
    """The code of a sensor that cannot see: covered, dark, dazzled, dead or delivering noise."""
    cells = _cells(image)
    structure = _structure(cells)
    low, high = np.percentile(cells, (1, 99))
    if low >= limits.bright:
        return f"{view}_saturated"
    if structure >= limits.structure and float(cells.std()) >= limits.spread:
        return None
    return f"{view}_too_dark" if high <= limits.dark else f"{view}_no_signal"


def crop_fault(crop: FaceCrop, view: View, limits: QualityThresholds) -> str | None:
    """The same for the face's surroundings alone, where the rest of the picture may be lit."""
    cells = cv2.resize(as_grey(getattr(crop, view)), (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(cells, (1, 99))
    if low >= limits.bright:
        return f"{view}_saturated"
    if _structure(cells) >= limits.structure and float(cells.std()) >= limits.spread:
        return None
    return f"{view}_too_dark" if high <= limits.dark else f"{view}_no_signal"


def blinding_fault(crop: FaceCrop, limits: QualityThresholds) -> str | None:
    """The fault of a visible-light sensor that sees nothing where the face is: no light falls on it, so no depth can be
    had.

    A near-infrared sensor with its own illumination that sees nothing there is another matter: that is what a screen
    looks like.
    """
    views: tuple[tuple[View, str], ...] = (("first", crop.first_spectrum), ("second", crop.second_spectrum))
    for view, spectrum in views:
        if spectrum == "visible" and (fault := crop_fault(crop, view, limits)):
            return fault
    return None


def pair_fault(
    first: ImageArray,
    second: ImageArray,
    rig: Rig,
    faces_first: list[Face],
    faces_second: list[Face],
    location: Location | None,
    limits: QualityThresholds,
) -> str | None:
    """The code of what makes this pair useless although both sensors see, or None."""
    if location is None:
        return "no_face"
    if _is_copy(first, second, location, limits):
        return "identical_views"
    if location.matched_by == "search" and faces_first and faces_second:
        return "views_disagree"
    sizes = [math.sqrt(face.box[2] * face.box[3]) for face in (location.face_first, location.face_second) if face]
    if max(sizes) < limits.smallest_face_px:
        return "too_far"
    if any(share > limits.outside for share in _shares_outside(rig, location)):
        return "at_border"
    return None


def doubts(
    first: ImageArray,
    second: ImageArray,
    rig: Rig,
    faces_first: list[Face],
    faces_second: list[Face],
    location: Location,
    crop: FaceCrop,
    limits: QualityThresholds,
) -> list[str]:
    """Codes of what leaves an attack recognisable, but must never end in ``bona_fide``; the gravest first."""
    likeness_limit = limits.likeness_one_view if location.matched_by == "search" else limits.likeness
    found = [
        _disagreement(rig, location, limits),
        "views_disagree" if likeness(crop) < likeness_limit else None,
        "several_faces" if _several(faces_first, limits) or _several(faces_second, limits) else None,
        "face_covered" if _unsure(location, limits) or featureless(crop, location, rig) < limits.features else None,
        "turned_away" if _turned_away(location, limits) else None,
    ]
    views: tuple[tuple[View, ImageArray], ...] = (("first", first), ("second", second))
    for view, image in views:
        found.append(crop_fault(crop, view, limits))
        found.append(f"{view}_glare" if glare(crop, view) > limits.glare else None)
        found.append(f"{view}_blurred" if sharpness(crop, view) < limits.sharpness else None)
        found.append(f"{view}_banding" if banding(image) > limits.banding else None)
    return [code for code in found if code is not None]


def sharpness(crop: FaceCrop, view: View) -> float:
    """How much steeper the steepest edges of the face are at 1 px of smoothing than at 3 px, in the direction where
    they are least so: a shaken picture keeps its edges along the movement."""
    grey = as_grey(getattr(crop, view)).astype(np.float32)
    margin = crop.size // 6
    slopes = []
    for sigma in (1.0, 3.0):
        smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
        x, y = (cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis)[margin:-margin, margin:-margin] for axis in (0, 1))
        slopes.append([np.abs(x), np.abs(y), np.abs(x + y) * 0.707, np.abs(x - y) * 0.707])
    return min(_steepest(fine) / max(_steepest(coarse), 1e-3) for fine, coarse in zip(*slopes, strict=True))


def _steepest(slope: NDArray[np.float32]) -> float:
    return float(slope[slope >= np.percentile(slope, 98)].mean())


def likeness(crop: FaceCrop) -> float:
    """Correlation of both crops' structure at the best shift along the rows, in the middle of the face."""
    first, second = (_gradients(as_grey(view)) for view in (crop.first, crop.second))
    margin, reach = crop.size // 5, crop.size // 10
    template = first[margin:-margin, margin:-margin]
    strip = second[margin:-margin, margin - reach : crop.size - margin + reach]
    if float(template.std()) < 1e-6 or float(strip.std()) < 1e-6:
        return 0.0
    return float(np.nan_to_num(cv2.matchTemplate(strip, template, cv2.TM_CCOEFF_NORMED)).max())


def _gradients(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logarithm of the gradient's size, which lamps and spectra change least."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 2.0)
    size = np.log1p(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))
    return np.asarray(size, np.float32)


def featureless(crop: FaceCrop, location: Location, rig: Rig) -> float:
    """Structure at the eyes or at the mouth, whichever has less, against the whole face; the better of both views."""
    best = 0.0
    sides: tuple[tuple[View, Face | None, NDArray[np.float64]], ...] = (
        ("first", location.face_first, crop.first_crop_from_rectified),
        ("second", location.face_second, crop.second_crop_from_rectified),
    )
    for view, face, affine in sides:
        if face is None:
            continue
        slope = np.expm1(_gradients(as_grey(getattr(crop, view))))
        marks = rig.rectification.rectify_points(face.landmarks, view) @ affine[:, :2].T + affine[:, 2]
        margin, reach = crop.size // 5, crop.size // 16
        whole = float(slope[margin:-margin, margin:-margin].mean())
        around = []
        for x, y in np.clip(np.rint(marks), reach, crop.size - 1 - reach).astype(int):
            around.append(float(slope[y - reach : y + reach + 1, x - reach : x + reach + 1].mean()))
        weakest = min(max(around[:2]), max(around[3:]))
        best = max(best, weakest / max(whole, 1e-3))
    return best


def glare(crop: FaceCrop, view: View) -> float:
    """Share of the middle of the face that is saturated in every colour."""
    image = getattr(crop, view)
    margin = crop.size // 4
    inner = image[margin:-margin, margin:-margin]
    return float((inner.min(axis=2) >= 250).mean())


def banding(image: ImageArray) -> float:
    """Contrast of rows against their neighbours that all three thirds of the picture share: bands of a rolling
    shutter."""
    cells = _cells(image)
    thirds = np.array_split(cells, 3, axis=1)
    profiles = []
    for third in thirds:
        profile = np.median(third, axis=1)
        level = cv2.GaussianBlur(profile[:, None], (0, 0), 6)[:, 0]
        profiles.append((profile - level) / np.maximum(level, 4.0))
    # The product of two thirds keeps only what both have.
    shared = min(float((a * b).mean()) for a, b in zip(profiles, (*profiles[1:], profiles[0]), strict=True))
    # Bands repeat: shelves and collars, which also go across, have no single frequency.
    mean = np.mean(profiles, axis=0)
    spectrum = np.abs(np.fft.rfft(mean * np.hanning(len(mean)))) ** 2
    peak = int(np.argmax(spectrum))
    alone = float(spectrum[max(0, peak - 1) : peak + 2].sum()) / max(float(spectrum.sum()), 1e-12)
    return math.sqrt(max(0.0, shared)) if alone >= 0.7 else 0.0


def _disagreement(rig: Rig, location: Location, limits: QualityThresholds) -> str | None:
    """Whether the landmarks of both views cannot be those of one face seen at one time by this rig."""
    if location.face_first is None or location.face_second is None:
        return None
    first = rig.rectification.rectify_points(location.face_first.landmarks, "first")
    second = rig.rectification.rectify_points(location.face_second.landmarks, "second")
    apart = first - second
    rows = abs(float(np.median(apart[:, 1]))) / location.side_px
    shape = math.sqrt(float(((apart - np.median(apart, axis=0)) ** 2).sum(axis=1).mean())) / location.side_px
    return "views_disagree" if rows > limits.rows_apart or shape > limits.landmarks_apart else None


def _several(faces: list[Face], limits: QualityThresholds) -> bool:
    sides = sorted((math.sqrt(face.box[2] * face.box[3]) for face in faces), reverse=True)
    return len(sides) > 1 and sides[1] >= limits.second_largest * sides[0]


def _unsure(location: Location, limits: QualityThresholds) -> bool:
    faces = [face for face in (location.face_first, location.face_second) if face is not None]
    return max(face.confidence for face in faces) < limits.confidence


def _turned_away(location: Location, limits: QualityThresholds) -> bool:
    """By the view that sees the face more frontally: with a wide rig one of them sees it from the side."""
    faces = [face for face in (location.face_first, location.face_second) if face is not None]
    poses = [pose(face) for face in faces]
    low, high = limits.nodded
    return all(abs(across) > limits.turned or not low <= down <= high for across, down in poses)


def pose(face: Face) -> tuple[float, float]:
    """Where the nose tip lies: along the line of the eyes from their middle, per eye distance; and on the way to the
    mouth."""
    eye, other_eye, nose, mouth, other_mouth = face.landmarks
    middle = (eye + other_eye) / 2
    along = other_eye - eye
    distance = max(float(np.linalg.norm(along)), 1e-6)
    across = along / distance
    down = np.array([-across[1], across[0]])
    to_mouth = float(((mouth + other_mouth) / 2 - middle) @ down)
    return float((nose - middle) @ across) / distance, float((nose - middle) @ down) / (to_mouth or 1e-6)


def _cells(image: ImageArray) -> NDArray[np.float32]:
    grey = (
        as_grey(as_8bit(image))
        if image.dtype == np.uint8
        else as_grey((image >> _surplus_bits(image)).astype(np.uint8))
    )
    height = max(24, round(160 * grey.shape[0] / grey.shape[1]))
    return cv2.resize(grey, (160, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _surplus_bits(image: ImageArray) -> int:
    """How far to shift so that 8 bits remain. A dark 16-bit frame must stay dark, so at least 10 bits are assumed."""
    return max(2, int(image.max()).bit_length() - 8)


def _structure(cells: NDArray[np.float32]) -> float:
    slow = cv2.GaussianBlur(cells, (0, 0), 8)
    fast = cells - slow
    energy = float((fast * fast).mean())
    return float((fast[:, 1:] * fast[:, :-1]).mean()) / energy if energy > 1e-6 else 0.0


def _is_copy(first: ImageArray, second: ImageArray, location: Location, limits: QualityThresholds) -> bool:
    if first.shape[:2] != second.shape[:2]:
        return False
    face = location.face_first or location.face_second
    assert face is not None, "a location without a face"
    height, width = first.shape[:2]
    x, y, w, h = face.box
    columns = slice(max(0, int(x)), min(width, int(x + w) + 1))
    rows = slice(max(0, int(y)), min(height, int(y + h) + 1))
    patches = []
    for image in (first, second):
        patch = as_grey(as_8bit(image))[rows, columns].astype(np.float32)
        if patch.size < 64:
            return False
        # Wide blurs of a face of a thousand pixels would take a second.
        shrink = min(1.0, 160 / w)
        small = cv2.resize(patch, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        patch = np.asarray(small, np.float32)
        patch = cv2.blur(patch, (3, 3)) - cv2.GaussianBlur(patch, (0, 0), max(2.0, shrink * w / 8))
        patches.append(patch - patch.mean())
    norm = math.sqrt(float((patches[0] ** 2).sum()) * float((patches[1] ** 2).sum()))
    return norm > 1e-6 and float((patches[0] * patches[1]).sum()) / norm > limits.copy


def _shares_outside(rig: Rig, location: Location) -> list[float]:
    """Which share of the face's box lies outside either image; carried over where only one of them shows the face."""
    rectification = rig.rectification
    first, second = location.face_first, location.face_second
    shift = rectification.direction * location.shift_px
    views: tuple[tuple[View, Face | None, View, Face | None, float], ...] = (
        ("first", first, "second", second, shift),
        ("second", second, "first", first, -shift),
    )
    shares = []
    for view, face, other_view, other, moved in views:
        if face is not None:
            pixels = _points_of_box(face)
        else:
            assert other is not None, "a location without a face"
            rectified = rectification.rectify_points(_points_of_box(other), other_view)
            pixels = rectification.unrectify_points(rectified + np.array([moved, 0]), view)
        camera = rig.first if view == "first" else rig.second
        # The finder draws the box around what it sees: that of a face which is cut off ends at the border.
        inset = BORDER_PER_FACE * float(np.ptp(pixels, axis=0).max())
        inside = ((pixels >= inset) & (pixels <= np.array(camera.size) - 1 - inset)).all(axis=1)
        shares.append(1 - float(inside.mean()))
    return shares


def _points_of_box(face: Face) -> NDArray[np.float64]:
    """Points (N, 2) spread evenly over a face's box."""
    x, y, width, height = face.box
    steps = (np.arange(12) + 0.5) / 12
    return np.stack([(x + a * width, y + b * height) for b in steps for a in steps])
