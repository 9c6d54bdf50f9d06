"""What makes an answer impossible, each with its code.

A code that begins with ``first_`` or ``second_`` names the view at fault. Faults never lead to ``bona_fide``; an attack
may also end here, which is why non-responses of attacks are counted in reports.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive import checks, measures
from stereolive.depth import Shape, face_ellipse
from stereolive.errors import ModelError
from stereolive.faces import Sighting
from stereolive.images import as_8bit, as_grey
from stereolive.measures import View
from stereolive.rig import Rig
from stereolive.types import DepthInformation, Face, FaceCrop, ImageArray, Location

ADVICE = {
    "no_face": "Look at the camera; no face is seen by either sensor.",
    "too_far": "Come nearer.",
    "at_border": "Move into the middle of the picture.",
    "views_disagree": "The two sensors do not show the same face; check for swapped, mirrored or late cameras.",
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
    "first_broken": "The first sensor's picture is torn, has dead lines or swapped bytes; check cable and format.",
    "second_broken": "The second sensor's picture is torn, has dead lines or swapped bytes; check cable and format.",
    "turned_away": "Look straight at the camera.",
    "several_faces": "Only one person at a time, please.",
    "face_covered": "Take your hand or other things away from your face.",
}
"""Codes of non-response, with a line for the person in front of the sensors or the one who set them up."""

VIEWS: tuple[View, View] = ("first", "second")
Limits = TypeVar("Limits")
OVER_TIME = ("sequence", "drift")
"""Keys of a manifest's ``quality`` that hold the limits of ``watch.sequence`` and ``drift``."""
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
    dark_face: float = 8.0
    """Median of the face, of 255, up to which no light falls on it: an outline before a window. From 8 to 16 training
    and validation faces are still told from attacks, below half of the living ones are refused."""
    dark_unseen_face: float = 32.0
    """The same where no face is found, though the other view shows one: of the training pairs below it a third are
    living faces, whose outline it is; above it one in thirty."""
    copy: float = 0.98
    """Correlation of both views' face region, pixel by pixel, from which on one is taken for a copy of the other."""
    outside: float = 0.08
    """Share of the face box that may lie outside a view."""
    sharpness: float = 1.4
    """Strongest gradients of the face crop at 1 px over those at 3 px, both smoothed: 2.5 for a step, 1 for a slope."""
    glare: float = 0.5
    """Share of the face that may be saturated."""
    banding: float = 0.04
    """Contrast of bands that go across the whole picture, the face included."""
    banding_on_face: float = 0.4
    """Share of that contrast which the face must have for them to be light: shelves and bricks behind it are none."""
    banding_anyway: float = 0.11
    """Contrast from which on the face is not asked. Of 664 validation pictures of living faces without bands 9 show
    some by these three limits, 25 by the first alone; with made bands of a fifth 652 and 659, of three tenths all but
    4 by both."""
    turned: float = 0.42
    """How far the nose tip may lie from the middle between the eyes, along them, per eye distance: some 40 degrees."""
    nodded: tuple[float, float] = (0.2, 0.9)
    """The nose tip's way from the eyes to the mouth, per that way."""
    second_largest: float = 0.7
    """Side of another face, per side of the largest, from which on it is unclear who is meant."""
    rows_apart: float = 0.05
    """Median difference of the landmarks' rows in both rectified views, per side of the crop."""
    landmarks_apart: float = 0.045
    """Root mean square difference of the landmarks after their common shift is taken out, per side of the crop: up to
    0.048 in 429 training pairs of living faces, 0.038 in all but two."""
    eye_distance_mm: tuple[float, float] = (44.0, 82.0)
    """Between the eyes of any person; outside, the views were taken apart in time while the face moved along the
    baseline, or what stands there is no face of a person's size."""
    flattest_mm: float = 3.6
    """Root mean square distance of the face's depth from a plane; what is flatter is no face, or the views show two:
    4.0 and more in 262 validation pairs of living faces."""
    mirrored: float = 0.08
    """How much better both pictures' edges may agree once one of them is mirrored (correlation): one in two hundred
    training pairs has more, and 94 in a hundred of them with one view mirrored."""
    disparity_sd_px: float = 1.6
    """Standard deviation of the disparity, in crop pixels, that three tenths of the face exceed; above this the views
    do not show the same thing, as the depth network itself says of its matches. Training sets it on living faces."""
    depth_sd_mm: float = 30.0
    """Median standard deviation of the depth over the face, beyond which its shape, 50 mm from front to back, is a
    guess: 15 of 1,032 living training and validation faces have more, most of them far from sensors close together."""
    features: float = 0.26
    """Structure at the eyes and at the mouth, against the whole face, in the better view; a hand before them has
    less."""
    features_in_each_view: float = 0.2
    """The same in the worse view, where a picture may end in the middle of the face."""
    features_of_each_eye: float = 0.4
    """The same for the eye that has less, in the geometric mean of the views; a hand before half of the face hides
    one."""
    landmark_to_border: float = 0.2
    """How near to the border a landmark may lie, per side of the face box: nearer ones belong to a face that is cut
    off, though the finder may draw its box inside."""
    seam: float = 2.7
    """Step from one row to the next across the face, against the rows around it: 2.1 for one in a hundred
    pictures that are whole."""
    block_seam: float = 1.7
    """The same for the mean of a whole row, signs and all, where blocks of a JPEG meet: more in two of a thousand
    training pictures that are whole, and in all but one of 150 with wrong bytes that a decoder does not notice."""
    chroma_seam: float = 7.0
    """The same for colour alone: up to 6.4 in 304 training pictures."""
    dead_lines: float = 0.05
    """Share of the face's rows or columns that hold one value from end to end."""
    confidence: float = 0.9
    """The finder's, in the view where it is greater; hands and scarves lower it."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QualityThresholds:
        """The limits of a model's manifest; those over time (``OVER_TIME``) are left to who watches. Raises
        ModelError."""
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if name not in OVER_TIME}
        return limits_from_json(cls, data, "quality")

    def as_json(self) -> dict[str, Any]:
        """What a model's manifest holds under ``quality``."""
        return asdict(self)


def limits_from_json(kind: Callable[..., Limits], data: object, where: str) -> Limits:
    """A dataclass of limits from what a manifest holds of them; the rest keep their defaults. Raises ModelError."""
    if not isinstance(data, Mapping):
        raise ModelError(f"{where}: expected an object, got {checks.short(data)}")
    known = inspect.signature(kind).parameters
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ModelError(f"{where}: unknown threshold {unknown[0]!r}; known are {', '.join(sorted(known))}")
    given: dict[str, Any] = {}
    for name, value in data.items():
        default = known[name].default
        count = len(default) if isinstance(default, tuple) else None
        numbers = value if isinstance(value, list) else [value]
        # A limit of NaN would never be exceeded: its check would be off, and nobody told.
        right = all(checks.is_number(number) for number in numbers)
        if not right or (len(value) if isinstance(value, list) else None) != count:
            expected = "a number" if count is None else f"{count} numbers"
            raise ModelError(f"{where}: {name}: expected {expected}, got {checks.short(value)}")
        given[name] = tuple(value) if isinstance(value, list) else value
    limits: Limits = kind(**given)
    return limits


def view_fault(image: ImageArray, view: View, limits: QualityThresholds) -> str | None:
    """The code of a sensor that cannot see: covered, dark, dazzled, dead or delivering noise."""
    if measures.has_swapped_bytes(image):
        return f"{view}_broken"
    return _cells_fault(measures.cells(image), view, limits)


def crop_fault(crop: FaceCrop, view: View, limits: QualityThresholds) -> str | None:
    """The same for the face and its surroundings alone, where the rest of the picture may be lit."""
    cells = cv2.resize(as_grey(getattr(crop, view)), (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(np.median(cells[face_ellipse(len(cells))])) <= limits.dark_face:
        return f"{view}_too_dark"
    return _cells_fault(cells, view, limits)


def _cells_fault(cells: NDArray[np.float32], view: View, limits: QualityThresholds) -> str | None:
    low, high = np.percentile(cells, (1, 99))
    if low >= limits.bright:
        return f"{view}_saturated"
    if measures.structure(cells) >= limits.structure and float(cells.std()) >= limits.spread:
        return None
    return f"{view}_too_dark" if high <= limits.dark else f"{view}_no_signal"


def blinding_fault(crop: FaceCrop, location: Location, limits: QualityThresholds) -> str | None:
    """The fault of a visible-light sensor that sees nothing where the face is: no light falls on it, so no depth can be
    had. Where it shows no face that the other view shows, that takes less darkness.

    A near-infrared sensor with its own illumination that sees nothing there is another matter: that is what a screen
    looks like.
    """
    views: tuple[tuple[View, str, Face | None], ...] = (
        ("first", crop.first_spectrum, location.face_first),
        ("second", crop.second_spectrum, location.face_second),
    )
    searched = replace(limits, dark_face=limits.dark_unseen_face) if location.matched_by == "search" else limits
    for view, spectrum, face in views:
        if spectrum == "visible" and (fault := crop_fault(crop, view, limits if face else searched)):
            return fault
    return None


def pair_fault(sighting: Sighting, limits: QualityThresholds) -> str | None:
    """The code of what makes this pair useless although both sensors see, or None."""
    location, rig = sighting.location, sighting.rig
    if location is None:
        return "no_face"
    if _is_copy(sighting.first, sighting.second, location, limits):
        return "identical_views"
    if location.matched_by == "search" and sighting.faces_first and sighting.faces_second:
        return "views_disagree"
    sizes = [math.sqrt(face.box[2] * face.box[3]) for face in (location.face_first, location.face_second) if face]
    if max(sizes) < limits.smallest_face_px:
        return "too_far"
    if any(share > limits.outside for share in _shares_outside(rig, location)) or _is_cut_off(rig, location, limits):
        return "at_border"
    return None


def doubts(sighting: Sighting, info: DepthInformation, shape: Shape, limits: QualityThresholds) -> list[str]:
    """Codes of what leaves an attack recognisable, but must never end in ``bona_fide``; the gravest first."""
    crop, rig, location = info.crop, sighting.rig, sighting.location
    if location is None:
        return ["no_face"]
    covered = _unsure(location, limits) or _covered(crop, location, rig, limits)
    # Where eyes or mouth are not seen and much is white, that is what hides them.
    glare = limits.glare / 2 if covered else limits.glare
    found = [
        "several_faces" if _several(sighting, limits) else None,
        _disagreement(rig, location, limits),
        # Before what they lead to: what is white has no rows to be whole, a hand hardly looks the same to both.
        *(f"{view}_glare" if measures.glare(crop, view) > glare else None for view in VIEWS),
        "face_covered" if covered else None,
        "views_disagree" if measures.mismatch_px(info.disparity_sd_px) > limits.disparity_sd_px else None,
        "views_disagree" if measures.mirror_gain(sighting.first, sighting.second, rig) > limits.mirrored else None,
        "turned_away" if _turned_away(location, limits) else None,
        "views_disagree" if _is_no_face(shape, limits) else None,
        "too_far" if shape.depth_sd_mm > limits.depth_sd_mm else None,
    ]
    outlines = _outlines(rig, location)
    views: tuple[tuple[View, ImageArray, str], ...] = (
        ("first", sighting.first, crop.first_spectrum),
        ("second", sighting.second, crop.second_spectrum),
    )
    for view, image, spectrum in views:
        if spectrum != "visible":  # else it would have ended as a blinding fault
            found.append(crop_fault(crop, view, limits))
        found.append(f"{view}_broken" if _is_broken(image, outlines[view], limits) else None)
        found.append(f"{view}_blurred" if measures.sharpness(crop, view) < limits.sharpness else None)
        found.append(f"{view}_banding" if _is_banded(image, outlines[view], limits) else None)
    # A screen that a near-infrared lamp lights up may show no face there, and still not the darkness of a screen.
    found.append("views_disagree" if location.matched_by == "search" else None)
    return [code for code in found if code is not None]


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


def delivery_doubts(first: ImageArray, second: ImageArray, limits: QualityThresholds) -> list[str]:
    """As ``doubts``, of the pictures as they were delivered: near-infrared ones may come with colours that shift."""
    views: tuple[tuple[View, ImageArray], ...] = (("first", first), ("second", second))
    return [f"{view}_broken" for view, image in views if measures.chroma_seam(image) > limits.chroma_seam]


def _is_no_face(shape: Shape, limits: QualityThresholds) -> bool:
    """Whether no person's face has such a size, or so little relief."""
    low, high = limits.eye_distance_mm
    wrong_size = shape.eye_distance_mm is not None and not low <= shape.eye_distance_mm <= high
    return wrong_size or shape.plane_residual_mm < limits.flattest_mm


def _several(sighting: Sighting, limits: QualityThresholds) -> bool:
    for faces in (sighting.faces_first, sighting.faces_second):
        sides = [math.sqrt(face.box[2] * face.box[3]) for face in faces]  # the largest first
        if len(sides) > 1 and sides[1] >= limits.second_largest * sides[0]:
            return True
    return False


def _unsure(location: Location, limits: QualityThresholds) -> bool:
    faces = [face for face in (location.face_first, location.face_second) if face is not None]
    return max(face.confidence for face in faces) < limits.confidence


def _covered(crop: FaceCrop, location: Location, rig: Rig, limits: QualityThresholds) -> bool:
    """Whether something hides the eyes, the mouth, or one half of the face."""
    views = measures.features(crop, location, rig)
    weakest = [min(max(around[:2]), max(around[3:])) for around in views]
    eyes = min(np.exp(np.mean([np.log(around[eye] + 1e-6) for around in views])) for eye in (0, 1))
    return bool(
        max(weakest) < limits.features
        or min(weakest) < limits.features_in_each_view
        or eyes < limits.features_of_each_eye
    )


def _is_broken(image: ImageArray, outline: NDArray[np.float64], limits: QualityThresholds) -> bool:
    """Also where the finder sees no face: what breaks a picture may be what hides the face from it."""
    x, y, width, height = box = _box_of(outline)
    # A step above the face leaves all of it wrong.
    taller = x, y - 0.15 * height, width, 1.3 * height
    return (
        measures.seam(image, taller) > limits.seam
        or measures.dead_lines(image, box) > limits.dead_lines
        or measures.block_seam(image) > limits.block_seam
    )


def _is_banded(image: ImageArray, outline: NDArray[np.float64], limits: QualityThresholds) -> bool:
    contrast, share = measures.banding(image, _box_of(outline))
    return contrast > limits.banding_anyway or (contrast > limits.banding and share > limits.banding_on_face)


def _box_of(outline: NDArray[np.float64]) -> tuple[float, float, float, float]:
    (x, y), (width, height) = outline.min(axis=0), np.ptp(outline, axis=0)
    return float(x), float(y), float(width), float(height)


def _turned_away(location: Location, limits: QualityThresholds) -> bool:
    """By the view that sees the face more frontally: with a wide rig one of them sees it from the side."""
    faces = [face for face in (location.face_first, location.face_second) if face is not None]
    poses = [measures.pose(face) for face in faces]
    low, high = limits.nodded
    return all(abs(across) > limits.turned or not low <= down <= high for across, down in poses)


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
        shrink = min(1.0, 160 / w)
        small = cv2.resize(patch, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        patch = np.asarray(small, np.float32)
        # A box takes the same time at any width.
        side = 2 * max(3, round(shrink * w / 5)) + 1
        patch = cv2.blur(patch, (3, 3)) - cv2.blur(patch, (side, side))
        patches.append(patch - patch.mean())
    norm = math.sqrt(float((patches[0] ** 2).sum()) * float((patches[1] ** 2).sum()))
    return norm > 1e-6 and float((patches[0] * patches[1]).sum()) / norm > limits.copy


def _outlines(rig: Rig, location: Location) -> dict[View, NDArray[np.float64]]:
    """Points (N, 2) spread over the face's box in either view; carried over where only one of them shows the face."""
    rectification = rig.rectification
    first, second = location.face_first, location.face_second
    shift = rectification.direction * location.shift_px
    views: tuple[tuple[View, Face | None, View, Face | None, float], ...] = (
        ("first", first, "second", second, shift),
        ("second", second, "first", first, -shift),
    )
    outlines: dict[View, NDArray[np.float64]] = {}
    for view, face, other_view, other, moved in views:
        if face is not None:
            outlines[view] = _points_of_box(face)
        else:
            assert other is not None, "a location without a face"
            rectified = rectification.rectify_points(_points_of_box(other), other_view)
            outlines[view] = rectification.unrectify_points(rectified + np.array([moved, 0]), view)
    return outlines


def _shares_outside(rig: Rig, location: Location) -> list[float]:
    """Which share of the face's box lies outside either image."""
    shares = []
    for view, pixels in _outlines(rig, location).items():
        camera = rig.first if view == "first" else rig.second
        # The finder draws the box around what it sees: that of a face which is cut off ends at the border.
        inset = BORDER_PER_FACE * float(np.ptp(pixels, axis=0).max())
        inside = ((pixels >= inset) & (pixels <= np.array(camera.size) - 1 - inset)).all(axis=1)
        shares.append(1 - float(inside.mean()))
    return shares


def _is_cut_off(rig: Rig, location: Location, limits: QualityThresholds) -> bool:
    for face, camera in ((location.face_first, rig.first), (location.face_second, rig.second)):
        if face is None:
            continue
        from_border = np.minimum(face.landmarks, np.array(camera.size) - 1 - face.landmarks).min()
        if from_border < limits.landmark_to_border * math.sqrt(face.box[2] * face.box[3]):
            return True
    return False


def _points_of_box(face: Face) -> NDArray[np.float64]:
    """Points (N, 2) spread evenly over a face's box."""
    x, y, width, height = face.box
    steps = (np.arange(12) + 0.5) / 12
    return np.stack([(x + a * width, y + b * height) for b in steps for a in steps])
