"""Faults of sensors, light, cables and timing, put into clean pairs of a living face.

Each entry of ``FAULTS`` takes a clean pair, another person's pair and a random generator, and yields the pairs of a
stream whose last one must not be called bona fide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from stereolive.images import decode_image
from stereolive.rig import Rig
from stereolive.types import Face

Image = np.ndarray[Any, Any]
Change = Callable[[Image, Face, np.random.Generator], Image]


@dataclass(frozen=True)
class Base:
    """A clean pair that is called bona fide as it is."""

    first: Image
    second: Image
    rig: Rig
    face_first: Face
    face_second: Face


@dataclass(frozen=True)
class Shot:
    """One pair of a made stream; ``rig`` is what the program believes, where that is the fault."""

    first: Image
    second: Image
    apart_ms: float = 0.0
    rig: Rig | None = None


Fault = Callable[[Base, Base, np.random.Generator], Iterator[Shot]]


def noisy(image: Image, rng: np.random.Generator, sd: float = 1.0) -> Image:
    """The same view taken once more."""
    return np.clip(image + sd * rng.standard_normal(image.shape, np.float32), 0, 255).astype(np.uint8)


def one_view(change: Change, view: str) -> Fault:
    """A fault of one sensor's picture."""

    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
        if view == "first":
            yield Shot(change(base.first, base.face_first, rng), base.second)
        else:
            yield Shot(base.first, change(base.second, base.face_second, rng))

    return fault


def both_views(change: Change) -> Fault:
    """The same happens before both sensors."""

    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
        seed = int(rng.integers(2**31))
        yield Shot(
            change(base.first, base.face_first, np.random.default_rng(seed)),
            change(base.second, base.face_second, np.random.default_rng(seed)),
        )

    return fault


def covered(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.clip(rng.normal(rng.uniform(2, 10), 1.5, image.shape), 0, 255).astype(np.uint8)


def finger(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Light through a finger: a soft glow."""
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    glow = 60 * np.exp(-((xs - rng.uniform(0, image.shape[1])) ** 2 + (ys - rng.uniform(0, image.shape[0])) ** 2) / 9e4)
    glow = glow if image.ndim == 2 else glow[..., None]
    return np.clip(glow + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


def dazzled(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.clip(image.astype(np.float32) * 3 + 235, 0, 255).astype(np.uint8)


def loose_cable(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, image.shape, np.uint8)


def blank(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.full_like(image, int(rng.integers(40, 220)))


def defocused(image: Image, face: Face, rng: np.random.Generator) -> Image:
    sigma = rng.uniform(0.05, 0.09) * face.box[2]
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)


def shaken(image: Image, face: Face, rng: np.random.Generator) -> Image:
    length = max(9, round(rng.uniform(0.3, 0.5) * face.box[2]))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, math.pi)
    reach = (length - 1) / 2
    ends = [(round(reach + s * reach * math.cos(angle)), round(reach + s * reach * math.sin(angle))) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.uint8)


def mirrored(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def upside_down(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.ascontiguousarray(image[::-1, ::-1])


def later(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """The head went up or down between both exposures."""
    step = rng.choice((-1, 1)) * rng.uniform(0.12, 0.25) * face.box[3]
    move = np.array([[1, 0, 0], [0, 1, step]])
    return cv2.warpAffine(image, move, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def torn(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """The lower part belongs to another picture."""
    row = round(face.box[1] + face.box[3] * rng.uniform(0.4, 0.6))
    result = image.copy()
    result[row:] = np.roll(image[row:], round(rng.choice((-1, 1)) * rng.uniform(0.4, 0.6) * face.box[2]), axis=1)
    return result


def banded(image: Image, face: Face, rng: np.random.Generator) -> Image:
    rows = np.arange(image.shape[0])
    period = image.shape[0] / rng.uniform(6, 14)
    gain = 1 + rng.uniform(0.2, 0.4) * np.sin(2 * np.pi * (rows / period + rng.uniform()))
    gain = gain.reshape(-1, *([1] * (image.ndim - 1)))
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def _ellipse(image: Image, face: Face, reach: float, softness: float) -> Image:
    """1 in an ellipse around the face's middle whose radii are ``reach`` of its box, 0 outside, to be multiplied."""
    x, y, width, height = face.box
    mask = np.zeros(image.shape[:2], np.float32)
    center = (round(x + width / 2), round(y + height / 2))
    cv2.ellipse(mask, center, (round(reach * width), round(reach * height)), 0, 0, 360, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness * width), np.float32)
    return mask if image.ndim == 2 else mask[..., None]


def glaring(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return np.clip(image + 400 * _ellipse(image, face, 0.42, 0.05), 0, 255).astype(np.uint8)


def against_light(image: Image, face: Face, rng: np.random.Generator) -> Image:
    left = rng.uniform(0.0, 0.03)
    return np.clip(image * (1.3 + (left - 1.3) * _ellipse(image, face, 0.65, 0.03)), 0, 255).astype(np.uint8)


def far_away(image: Image, face: Face, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    side = math.sqrt(face.box[2] * face.box[3])
    scale = rng.uniform(22, 32) / side
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    result = np.full_like(image, int(image.mean()))
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    result[y : y + small.shape[0], x : x + small.shape[1]] = small
    return result.astype(np.uint8)


def at_border(image: Image, face: Face, rng: np.random.Generator) -> Image:
    y, height = face.box[1], face.box[3]
    move = np.array([[1, 0, 0], [0, 1, -(y + rng.uniform(0.3, 0.5) * height)]])
    return cv2.warpAffine(image, move, (image.shape[1], image.shape[0])).astype(np.uint8)


def two_people(image: Image, face: Face, rng: np.random.Generator) -> Image:
    x, y, width, height = face.box
    x0, y0 = max(0, round(x - 0.1 * width)), max(0, round(y - 0.1 * height))
    x1, y1 = min(image.shape[1], round(x + 1.1 * width)), min(image.shape[0], round(y + 1.1 * height))
    patch = image[y0:y1, x0:x1]
    left = x0 - patch.shape[1] >= 0
    if not left and x1 + patch.shape[1] > image.shape[1]:
        # No room beside so large a face: both stand farther away.
        half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        high = cv2.copyMakeBorder(half, 0, image.shape[0] - half.shape[0], 0, 0, cv2.BORDER_REPLICATE)
        both = np.concatenate([high, high], axis=1)
        missing = image.shape[1] - both.shape[1]
        return np.asarray(cv2.copyMakeBorder(both, 0, 0, 0, missing, cv2.BORDER_REPLICATE), np.uint8)
    start = x0 - patch.shape[1] if left else x1
    result = image.copy()
    result[y0:y1, start : start + patch.shape[1]] = patch
    return result


def hand_over_mouth(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return _patched(image, face, rng, 0.55, 1.05)


def hand_over_eyes(image: Image, face: Face, rng: np.random.Generator) -> Image:
    return _patched(image, face, rng, 0.2, 0.6)


def _patched(image: Image, face: Face, rng: np.random.Generator, top: float, bottom: float) -> Image:
    x, y, width, height = face.box
    result = image.copy()
    rows = slice(max(0, round(y + top * height)), max(0, round(y + bottom * height)))
    columns = slice(max(0, round(x - 0.05 * width)), max(0, round(x + 1.05 * width)))
    level = float(np.median(result[rows, columns])) * rng.uniform(0.6, 1.1)
    noise = rng.normal(level, 4, result[rows, columns].shape)
    result[rows, columns] = np.clip(noise, 0, 255)
    return result


def nobody(image: Image, face: Face, rng: np.random.Generator) -> Image:
    x, y, width, height = (round(v) for v in face.box)
    result = image.copy()
    rows, columns = (
        slice(max(0, y - height // 2), y + 3 * height // 2),
        slice(max(0, x - width // 2), x + 3 * width // 2),
    )
    result[rows, columns] = cv2.GaussianBlur(image, (0, 0), width / 3)[rows, columns]
    return result


def covered_deep(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """A covered sensor of 10 to 16 bits: dark current, noise and the pattern of its columns."""
    height, width = image.shape[:2]
    columns = rng.normal(0, rng.uniform(0, 2), width)
    counts = rng.normal(rng.uniform(4, 40), rng.uniform(1, 6), (height, width)) + columns
    return np.clip(counts * 2 ** int(rng.integers(0, 5)), 0, 65535).astype(np.uint16)


def finger_deep(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """A finger on a sensor of 12 bits that is far from its full scale."""
    glow = finger(np.zeros(image.shape[:2], np.uint8), face, rng).astype(np.float32) * rng.uniform(0.5, 4)
    return np.clip(glow + rng.normal(20, 3, glow.shape), 0, 4095).astype(np.uint16)


def byte_swapped(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Twelve bits in the wrong byte order."""
    deep = image.astype(np.uint16) * 16 + rng.integers(0, 16, image.shape).astype(np.uint16)
    return deep.byteswap()


def half_missing(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Packets were lost: grey from a row in the face on."""
    row = round(face.box[1] + face.box[3] * rng.uniform(0.35, 0.6))
    result = image.copy()
    result[max(0, row) :] = 128
    return result


def stuck_columns(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Every third to sixth group of columns delivers one value."""
    result = image.copy()
    width = max(2, round(rng.uniform(0.03, 0.06) * face.box[2]))
    for start in range(0, image.shape[1], width * int(rng.integers(3, 6))):
        result[:, start : start + width] = int(rng.integers(0, 256))
    return result


def rolled(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """The picture begins in the wrong row."""
    return np.roll(image, round(rng.uniform(0.2, 0.8) * image.shape[0]), axis=0)


def damaged_jpeg(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Some bytes in the middle of the file are wrong, so that the face looks different. Raises ImageError where that is
    noticed."""
    x, y, width, height = (max(0, int(side)) for side in face.box)
    quality = int(rng.integers(75, 96))
    whole = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    shown = np.asarray(decode_image(whole)).astype(int)
    while True:
        data = bytearray(whole)
        start, count = int(rng.uniform(0.15, 0.6) * len(data)), int(rng.integers(4, 200))
        data[start : start + count] = rng.integers(0, 256, count, np.uint8).tobytes()
        damaged = np.asarray(decode_image(bytes(data)))
        # Wrong bytes may be those of the wall behind, which is no fault of the face's picture.
        apart = np.abs(damaged - shown)[y : y + height, x : x + width]
        if (apart > 24).mean() > 0.01:
            return damaged


def hand_over_half(image: Image, face: Face, rng: np.random.Generator) -> Image:
    """Something flat before the left or the right half of the face."""
    x, y, width, height = face.box
    start = x - 0.1 * width if rng.integers(2) else x + 0.48 * width
    result = image.copy()
    rows = slice(max(0, round(y - 0.1 * height)), max(0, round(y + 1.1 * height)))
    columns = slice(max(0, round(start)), max(0, round(start + 0.62 * width)))
    level = float(np.median(result[rows, columns])) * rng.uniform(0.6, 1.1)
    result[rows, columns] = np.clip(rng.normal(level, 4, result[rows, columns].shape), 0, 255)
    return result


def swapped_cables(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
    yield Shot(base.second, base.first)


def identical(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
    second = cv2.resize(base.first, base.rig.second.size)
    if base.second.ndim == 2 and second.ndim == 3:
        second = cv2.cvtColor(second, cv2.COLOR_BGR2GRAY)
    yield Shot(base.first, noisy(second, rng))


def other_person(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
    """Another person's second view, laid where this one's face is."""
    source, target = other.face_second, base.face_second
    scale = math.sqrt(target.box[2] * target.box[3] / (source.box[2] * source.box[3]))
    (sx, sy), (tx, ty) = source.center, target.center
    move = np.array([[scale, 0, tx - scale * sx], [0, scale, ty - scale * sy]])
    moved = cv2.warpAffine(other.second, move, base.rig.second.size, borderMode=cv2.BORDER_REFLECT)
    yield Shot(base.first, moved.astype(np.uint8))


def frozen(view: str) -> Fault:
    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
        for _ in range(3):
            first = base.first if view == "first" else noisy(base.first, rng)
            yield Shot(first, base.second if view == "second" else noisy(base.second, rng))

    return fault


def replayed_loop(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
    loop = [Shot(noisy(base.first, rng), noisy(base.second, rng)) for _ in range(4)]
    yield from loop
    yield loop[0]


def lamp(gains: Callable[[int], float], count: int) -> Fault:
    """The near-infrared light follows ``gains`` from pair to pair."""

    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
        for index in range(count):
            pair = []
            for image, camera in ((base.first, base.rig.first), (base.second, base.rig.second)):
                gain = gains(index) if camera.spectrum == "near_infrared" else 1.0
                pair.append(noisy(image * gain, rng))
            yield Shot(pair[0], pair[1])

    return fault


def unsynchronised(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
    yield Shot(base.first, base.second, apart_ms=rng.uniform(25, 200))


def bumped(low_deg: float, high_deg: float, pairs: int) -> Fault:
    """The second sensor was turned against the rig file, about the axis that moves rows; away from where they match,
    since rendered rigs are a little off themselves, and a turn that puts them right is no fault."""

    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[Shot]:
        axis = base.rig.rectification.rotation_first[0]
        angle = np.radians(rng.uniform(low_deg, high_deg))
        rig = max((turned(base.rig, sign * angle * axis) for sign in (-1, 1)), key=lambda rig: rows_apart(base, rig))
        for _ in range(pairs):
            yield Shot(noisy(base.first, rng), noisy(base.second, rng), rig=rig)

    return fault


def turned(rig: Rig, turn: np.ndarray[Any, Any]) -> Rig:
    """The second sensor turned about its centre."""
    rotation = np.asarray(cv2.Rodrigues(turn)[0]) @ rig.rotation_second_from_first
    center = -rig.rotation_second_from_first.T @ rig.translation_second_from_first_mm
    return replace(rig, rotation_second_from_first=rotation, translation_second_from_first_mm=-rotation @ center)


def rows_apart(base: Base, rig: Rig) -> float:
    """How far the face's landmarks lie from each other's rows by this rig, in rectified pixels."""
    first = rig.rectification.rectify_points(base.face_first.landmarks, "first")
    second = rig.rectification.rectify_points(base.face_second.landmarks, "second")
    return abs(float(np.median((first - second)[:, 1])))


FAULTS: dict[str, Fault] = {
    **{f"{view}_{name}": one_view(change, view) for view in ("first", "second") for name, change in (
        ("covered", covered), ("covered_deep", covered_deep), ("finger_on_lens", finger), ("finger_deep", finger_deep),
        ("dazzled", dazzled), ("loose_cable", loose_cable), ("blank", blank), ("byte_swapped", byte_swapped),
        ("defocused", defocused), ("shaken", shaken), ("upside_down", upside_down), ("torn", torn), ("rolled", rolled),
        ("half_missing", half_missing), ("stuck_columns", stuck_columns), ("jpeg_damaged", damaged_jpeg),
        ("banded", banded), ("glare", glaring), ("against_light", against_light), ("taken_later", later),
    )},
    "second_mirrored": one_view(mirrored, "second"),
    "far_away": both_views(far_away),
    "at_border": both_views(at_border),
    "two_people": both_views(two_people),
    "hand_over_mouth": both_views(hand_over_mouth),
    "hand_over_eyes": both_views(hand_over_eyes),
    "hand_over_half": both_views(hand_over_half),
    "nobody": both_views(nobody),
    "swapped_cables": swapped_cables,
    "identical_views": identical,
    "other_person_in_second": other_person,
    "first_frozen": frozen("first"),
    "second_frozen": frozen("second"),
    "replayed_loop": replayed_loop,
    "lamp_went_out": lamp(lambda i: 1.0 if i < 6 else 0.3, 7),
    "lamp_flickers": lamp(lambda i: 1.0 if i % 2 == 0 else 0.6, 8),
    "unsynchronised": unsynchronised,
    "rig_bumped_by_half_a_degree": bumped(0.5, 0.6, 14),
    "rig_bent_by_degrees": bumped(2.5, 5.0, 1),
}  # fmt: skip
