"""Fault x decision: what happens when sensors, light, cables or timing fail before a living face.

    python benchmarks/fault_injection.py MANIFEST... [--model DIR] [--faults 2000]

Takes the bona fide rows of manifests, puts one fault into each pair (or stream) and counts the decisions. Without
``--model`` the networks are replaced by ones that call everything bona fide with certainty, so that the gates alone
are on trial: the worst case. Writes results/fault_injection.csv, or results/fault_injection_model.csv with ``--model``.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stereolive.detector import LivenessDetector
from stereolive.errors import ImageError
from stereolive.faces import FaceFinder
from stereolive.images import as_8bit, read_image
from stereolive.quality import QualityThresholds
from stereolive.rig import Rig
from stereolive.sources import FramePair
from stereolive.types import Face
from stereolive.watch.watcher import Watcher

RESULTS = Path(__file__).parents[1] / "results"
Image = np.ndarray[Any, Any]
DECISIONS = ("bona_fide", "attack", "no_response", "refused")


@dataclass(frozen=True)
class Base:
    """A clean pair that the gates let pass."""

    first: Image
    second: Image
    rig: Rig
    face_first: Face
    face_second: Face


class _Model:
    name, crop_size = "always_bona_fide", 160


class _Stub:
    def __init__(self, *outputs: Callable[[Image], Image]) -> None:
        self._outputs = outputs

    def run(self, *inputs: Image) -> list[Image]:
        return [output(inputs[0]) for output in self._outputs]


def always_bona_fide() -> LivenessDetector:
    """A detector whose networks are certain that everything lives."""
    detector: Any = LivenessDetector.__new__(LivenessDetector)
    detector.model, detector.threshold, detector.limits = _Model(), 0.5, QualityThresholds()
    detector._finder = FaceFinder(1)

    def flat(value: float) -> Callable[[Image], Image]:
        return lambda x: np.full((1, 1, x.shape[2] // 2, x.shape[3] // 2), value, np.float32)

    detector._depth = _Stub(flat(0.0), flat(0.2))
    detector._liveness = _Stub(lambda x: np.array([9.0], np.float32))
    return detector  # type: ignore[no-any-return]


def noisy(image: Image, rng: np.random.Generator, sd: float = 1.0) -> Image:
    """The same view taken once more."""
    return np.clip(image + rng.normal(0, sd, image.shape), 0, 255).astype(np.uint8)


def one_view(change: Callable[[Image, Face, np.random.Generator], Image], view: str) -> Any:
    """A fault of one sensor's picture."""

    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
        if view == "first":
            yield change(base.first, base.face_first, rng), base.second
        else:
            yield base.first, change(base.second, base.face_second, rng)

    return fault


def both_views(change: Callable[[Image, Face, np.random.Generator], Image]) -> Any:
    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
        seed = int(rng.integers(2**31))
        yield (
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


def glaring(image: Image, face: Face, rng: np.random.Generator) -> Image:
    x, y, width, height = face.box
    mask = np.zeros(image.shape[:2], np.float32)
    center = (round(x + width / 2), round(y + height / 2))
    cv2.ellipse(mask, center, (round(0.42 * width), round(0.42 * height)), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.05 * width)
    mask = mask if image.ndim == 2 else mask[..., None]
    return np.clip(image + 400 * mask, 0, 255).astype(np.uint8)


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
    start = x0 - patch.shape[1] if left else min(x1, image.shape[1] - patch.shape[1])
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


def swapped_cables(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
    yield base.second, base.first


def identical(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
    size = base.rig.second.size
    second = cv2.resize(base.first, size)
    if base.second.ndim == 2 and second.ndim == 3:
        second = cv2.cvtColor(second, cv2.COLOR_BGR2GRAY)
    yield base.first, noisy(second, rng)


def other_person(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
    """Another person's second view, laid where this one's face is."""
    source, target = other.face_second, base.face_second
    scale = math.sqrt(target.box[2] * target.box[3] / (source.box[2] * source.box[3]))
    (sx, sy), (tx, ty) = source.center, target.center
    move = np.array([[scale, 0, tx - scale * sx], [0, scale, ty - scale * sy]])
    moved = cv2.warpAffine(other.second, move, base.rig.second.size, borderMode=cv2.BORDER_REFLECT)
    yield base.first, moved.astype(np.uint8)


def frozen(view: str) -> Any:
    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
        for _ in range(3):
            first = base.first if view == "first" else noisy(base.first, rng)
            yield first, (base.second if view == "second" else noisy(base.second, rng))

    return fault


def replayed_loop(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
    loop = [(noisy(base.first, rng), noisy(base.second, rng)) for _ in range(4)]
    yield from loop
    yield loop[0]


def lamp(gains: Callable[[int], float], count: int) -> Any:
    def fault(base: Base, other: Base, rng: np.random.Generator) -> Iterator[tuple[Image, Image]]:
        for index in range(count):
            pair = []
            for image, camera in ((base.first, base.rig.first), (base.second, base.rig.second)):
                gain = gains(index) if camera.spectrum == "near_infrared" else 1.0
                pair.append(noisy(image * gain, rng))
            yield pair[0], pair[1]

    return fault


FAULTS: dict[str, Any] = {
    **{f"{v}_{n}": one_view(f, v) for v in ("first", "second") for n, f in (
        ("covered", covered), ("finger_on_lens", finger), ("dazzled", dazzled), ("loose_cable", loose_cable),
        ("blank", blank), ("defocused", defocused), ("shaken", shaken), ("upside_down", upside_down), ("torn", torn),
        ("banded", banded), ("glare", glaring), ("taken_later", later),
    )},
    "second_mirrored": one_view(mirrored, "second"),
    "far_away": both_views(far_away),
    "at_border": both_views(at_border),
    "two_people": both_views(two_people),
    "hand_over_mouth": both_views(hand_over_mouth),
    "hand_over_eyes": both_views(hand_over_eyes),
    "nobody": both_views(nobody),
    "swapped_cables": swapped_cables,
    "identical_views": identical,
    "other_person_in_second": other_person,
    "first_frozen": frozen("first"),
    "second_frozen": frozen("second"),
    "replayed_loop": replayed_loop,
    "lamp_went_out": lamp(lambda i: 1.0 if i < 6 else 0.3, 7),
    "lamp_flickers": lamp(lambda i: 1.0 if i % 2 == 0 else 0.6, 8),
    "unsynchronised": None,
}  # fmt: skip


def judged(detector: Any, base: Base, pairs: list[tuple[Image, Image]], apart: bool) -> tuple[str, str]:
    """Decision and first reason of the last pair of a stream. A clean start must not count for the fault."""
    watcher = Watcher(detector, base.rig)
    verdict = None
    for index, (first, second) in enumerate(pairs):
        time_ms = 100.0 * index
        try:
            moment = watcher.judge(FramePair(first, second, time_ms, time_ms + 60 * apart, str(index), apart))
        except ImageError:
            return "refused", "wrong_size"
        verdict = moment.verdict
    assert verdict is not None
    return verdict.decision, (verdict.reasons or ("",))[0]


def bases(manifests: list[Path], detector: Any) -> list[Base]:
    """Bona fide pairs that are let through as they are."""
    finder, found = FaceFinder(1), []
    for path in manifests:
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("label") == "bona_fide"]
        for row in rows:
            first, second = (as_8bit(read_image(path.parent / row[view])) for view in ("first", "second"))
            rig = Rig.load(path.parent / row["rig"])
            faces = finder.find(first), finder.find(second)
            if faces[0] and faces[1] and detector.analyse(first, second, rig).verdict.decision == "bona_fide":
                found.append(Base(first, second, rig, faces[0][0], faces[1][0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--faults", type=int, default=2000)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector: Any = LivenessDetector(arguments.model, threads=1) if arguments.model else always_bona_fide()
    clean = bases(arguments.manifests, detector)
    print(f"{len(clean)} clean pairs that are called bona fide", flush=True)
    each = math.ceil(arguments.faults / len(FAULTS))
    rng = np.random.default_rng(1)
    rows = []
    for name, fault in FAULTS.items():
        decisions: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for index in range(each):
            base = clean[(index * 7 + len(rows)) % len(clean)]
            other = clean[(index * 7 + len(rows) + 3) % len(clean)]
            pairs = [(base.first, base.second)] if fault is None else list(fault(base, other, rng))
            decision, reason = judged(detector, base, pairs, fault is None)
            decisions[decision] += 1
            reasons[reason] += 1
        common = " ".join(f"{code}:{count}" for code, count in reasons.most_common(4))
        rows.append({"fault": name, "n": each, **{d: decisions[d] for d in DECISIONS}, "reasons": common})
        print(rows[-1], flush=True)
    total = {
        "fault": "all",
        "n": sum(r["n"] for r in rows),
        **{d: sum(r[d] for r in rows) for d in DECISIONS},
        "reasons": "",
    }
    RESULTS.mkdir(exist_ok=True)
    name = "fault_injection_model.csv" if arguments.model else "fault_injection.csv"
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, total])
    print(total)


if __name__ == "__main__":
    main()
