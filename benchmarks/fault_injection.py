"""Fault x decision: what happens when sensors, light, cables or timing fail before a living face.

    python benchmarks/fault_injection.py [MANIFEST...] [--split test] [--faults 2120] [--workers 2] [--out FILE]

Takes bona fide rows of manifests (without any: the bundled pairs) that are called bona fide as they are, puts one fault
into each pair or stream (``made_faults.py``) and counts the decisions on the stream's last pair. The quality gates are
asked first, with a liveness model that takes everything for a living face: what they let pass is in the column
``gates_alone_bona_fide``, and on that the released model decides. Writes a table, by default
results/fault_injection.csv; exit status 1 where a fault led to ``bona_fide``.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from made_faults import FAULTS, Base, Shot

from stereolive.data.manifest import Manifest, Presentation
from stereolive.demo import bundled_pairs
from stereolive.detector import Analysis, LivenessDetector
from stereolive.errors import ImageError
from stereolive.faces import FaceFinder
from stereolive.images import as_8bit, read_image
from stereolive.rig import Rig
from stereolive.sources import FramePair
from stereolive.watch.watcher import Watcher

RESULTS = Path(__file__).parents[1] / "results" / "fault_injection.csv"
DECISIONS = ("bona_fide", "attack", "no_response", "refused")


@dataclass(frozen=True)
class Answer:
    """What became of one fault: by the model, and by the gates alone."""

    decision: str
    by_gates: str
    reason: str


class _Certain:
    """In the place of a network: one answer whatever it is shown, the first map of it arched as a face is."""

    def __init__(self, *values: float, arch: float = 0.0) -> None:
        self._values, self._arch = values, arch

    def run(self, *inputs: Any) -> list[Any]:
        height, width = inputs[0].shape[-2] // 2, inputs[0].shape[-1] // 2
        ys, xs = np.mgrid[-1 : 1 : 1j * height, -1 : 1 : 1j * width]
        first, *others = (np.full((1, 1, height, width), value, np.float32) for value in self._values)
        return [first - np.float32(self._arch) * (xs**2 + ys**2).astype(np.float32), *others]


class Judge:
    """The quality gates with networks that are certain of a living face; the model is asked only where they let a
    fault pass, since nothing that they stop can become bona fide."""

    def __init__(self, model: Path | None) -> None:
        self._model = LivenessDetector(model, threads=1)
        self._gates: Any = LivenessDetector(model, threads=1)
        self._gates._depth, self._gates._liveness = _Certain(0.0, 0.2, arch=16.0), _Certain(9.0)
        self._leads: dict[int, Analysis] = {}

    def is_clean(self, base: Base) -> bool:
        pair = base.first, base.second, base.rig
        gates, model = self._gates.check(*pair), None
        if gates.decision == "bona_fide":
            model = self._model.check(*pair)
        return model is not None and model.decision == "bona_fide"

    def answer(self, base: Base, shots: list[Shot]) -> Answer:
        """Only the last pair is on trial: those before it are taken as judged on the clean pair."""
        rig = shots[-1].rig or base.rig
        lead = self._lead(base, rig) if len(shots) > 1 else None
        watcher = Watcher(_Replayed(self._gates, lead, len(shots) - 1), rig)
        moment = None
        for index, shot in enumerate(shots):
            times = 100.0 * index, 100.0 * index + shot.apart_ms
            moment = watcher.judge(FramePair(shot.first, shot.second, *times, str(index), shot.apart_ms > 20))
        assert moment is not None
        verdict = moment.verdict
        if verdict.decision != "bona_fide":
            return Answer(verdict.decision, verdict.decision, (verdict.reasons or ("",))[0])
        decision = self._model.check(shots[-1].first, shots[-1].second, rig).decision
        return Answer(decision, verdict.decision, "passed_the_gates")

    def _lead(self, base: Base, rig: Rig) -> Analysis:
        if rig is not base.rig:
            return self._gates.analyse(base.first, base.second, rig)
        if id(base) not in self._leads:
            self._leads[id(base)] = self._gates.analyse(base.first, base.second, rig)
        return self._leads[id(base)]


class _Replayed:
    """A detector that gives a stream's clean start one ready answer."""

    def __init__(self, detector: LivenessDetector, lead: Analysis | None, count: int) -> None:
        self.threshold = detector.threshold
        self._detector, self._lead, self._left = detector, lead, count

    def analyse(self, first: Any, second: Any, rig: Rig) -> Analysis:
        self._left -= 1
        return self._lead if self._lead and self._left >= 0 else self._detector.analyse(first, second, rig)


def load(entry: Presentation, finder: FaceFinder) -> Base | None:
    first, second = as_8bit(read_image(entry.first)), as_8bit(read_image(entry.second))
    faces = finder.find(first), finder.find(second)
    if not faces[0] or not faces[1]:
        return None
    return Base(first, second, Rig.load(entry.rig), faces[0][0], faces[1][0])


_judge: Judge
_entries: list[Presentation]
_clean: list[int]


def prepare(model: Path | None, entries: list[Presentation], clean: list[int]) -> None:
    global _judge, _entries, _clean
    cv2.setNumThreads(1)
    _judge, _entries, _clean = Judge(model), entries, clean


@lru_cache(maxsize=64)
def base_of(index: int) -> Base | None:
    return load(_entries[index], FaceFinder(1))


def is_clean(index: int) -> bool:
    base = base_of(index)
    return base is not None and _judge.is_clean(base)


def inject(name: str, index: int) -> tuple[str, int, Answer]:
    rng = np.random.default_rng([zlib.crc32(name.encode()), index])
    start, further = int(rng.integers(len(_clean))), 1 + int(rng.integers(len(_clean) - 1))
    base, other = base_of(_clean[start]), base_of(_clean[(start + further) % len(_clean)])
    assert base is not None and other is not None
    try:
        return name, index, _judge.answer(base, list(FAULTS[name](base, other, rng)))
    except ImageError:
        return name, index, Answer("refused", "refused", "unreadable")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="*", type=Path)
    parser.add_argument("--split", help="only rows with this value in the column split")
    parser.add_argument("--model", type=Path, help="model folder (default: the released one)")
    parser.add_argument("--faults", type=int, default=2120, help="at least so many (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="only these faults; nothing is written")
    parser.add_argument("--bases", type=int, default=40, help="clean pairs to put them into (%(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS, help="table to write (%(default)s)")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    manifests = [Manifest.read(path) for path in given.manifests] or [bundled_pairs()]
    entries = [e for m in manifests for e in m if e.label == "bona_fide"]
    entries = [e for e in entries if given.split is None or e.further.get("split") == given.split]
    candidates = np.random.default_rng(1).permutation(len(entries))[: 2 * given.bases].tolist()
    with ProcessPoolExecutor(given.workers, get_context("spawn"), prepare, (given.model, entries, [])) as pool:
        passed = pool.map(is_clean, candidates)
        clean = [index for index, good in zip(candidates, passed, strict=True) if good][: given.bases]
    print(f"{len(clean)} clean pairs that are called bona fide", flush=True)
    each = math.ceil(given.faults / len(FAULTS))
    names = given.only or list(FAULTS)
    tasks = [(name, index) for name in names for index in range(each)]
    answers: dict[str, list[Answer]] = {name: [] for name in names}
    with ProcessPoolExecutor(given.workers, get_context("spawn"), prepare, (given.model, entries, clean)) as pool:
        for name, index, answer in pool.map(inject, *zip(*tasks, strict=True), chunksize=5):
            answers[name].append(answer)
            if answer.by_gates == "bona_fide":
                print(f"  passed the gates: {name} {index}, by the model {answer.decision}", flush=True)
            if len(answers[name]) == each:
                print(row(name, answers[name]), flush=True)
    rows = [row(name, found) for name, found in answers.items()]
    total = row("all", [answer for found in answers.values() for answer in found])
    print(total)
    if not given.only:
        with given.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(total))
            writer.writeheader()
            writer.writerows([*rows, {**total, "reasons": ""}])
    return int(total["bona_fide"] > 0)


def row(name: str, answers: list[Answer]) -> dict[str, Any]:
    decisions = Counter(answer.decision for answer in answers)
    reasons = Counter(answer.reason for answer in answers)
    return {
        "fault": name,
        "n": len(answers),
        **{decision: decisions[decision] for decision in DECISIONS},
        "gates_alone_bona_fide": sum(answer.by_gates == "bona_fide" for answer in answers),
        "reasons": " ".join(f"{code}:{count}" for code, count in reasons.most_common(4)),
    }


if __name__ == "__main__":
    sys.exit(main())
