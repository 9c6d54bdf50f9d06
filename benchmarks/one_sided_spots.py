"""What spots on the skin that the visible sensor alone sees do to depth and verdict.

    python benchmarks/one_sided_spots.py MANIFEST [--models MODEL...] [--count 160] [--workers 2] [--out FILE]

Blood and pigment spot skin in visible light and hardly in near-infrared; how much, differs between people as between
renderers. Takes pairs of a visible and a near-infrared sensor, lays spots of three millimetres on the visible picture,
and tells for every contrast (standard deviation of the logarithm of brightness) the error of the depth and what was
decided, of the released model or of several on the same pictures. Presentations by night, where the visible sensor sees
nothing, are left out; the seed of the draw is 1.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from evaluate_release import depth_errors
from numpy.typing import NDArray

from stereolive.data.manifest import BONA_FIDE, Manifest, Presentation
from stereolive.detector import LivenessDetector
from stereolive.images import as_8bit, read_image
from stereolive.rig import Rig
from stereolive.store import released_model

RESULTS = Path(__file__).parents[1] / "results" / "one_sided_spots.csv"
CONTRASTS = (0.0, 0.05, 0.1, 0.15, 0.2)
SPOT_PER_FACE = 0.02  # of the face's width: three millimetres of 150
Row = dict[str, Any]


def spotted(image: NDArray[np.uint8], contrast: float, spot_px: float, seed: int) -> NDArray[np.uint8]:
    """The picture with spots, whose mean brightness stays."""
    if not contrast:
        return image
    height, width = image.shape[:2]
    cells = max(2, round(width / spot_px)), max(2, round(height / spot_px))
    coarse = np.random.default_rng(seed).standard_normal(cells[::-1]).astype(np.float32)
    spots = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    gain = np.exp(spots * (contrast / float(spots.std())))
    return np.asarray(np.clip(np.rint(image * (gain if image.ndim == 2 else gain[..., None])), 0, 255), np.uint8)


_detectors: list[LivenessDetector]


def prepare(models: Sequence[Path]) -> None:
    global _detectors
    cv2.setNumThreads(1)
    _detectors = [LivenessDetector(model, threads=1) for model in models]


def judged(entry: Presentation, index: int, contrasts: Sequence[float]) -> list[Row]:
    """One row for each model and contrast."""
    rig = Rig.load(entry.rig)
    views = [as_8bit(read_image(path)) for path in (entry.first, entry.second)]
    visible = 0 if rig.first.spectrum == "visible" else 1
    box = entry.further["face_first" if visible == 0 else "face_second"].split()
    rows = []
    for contrast in contrasts:
        shown = list(views)
        shown[visible] = spotted(views[visible], contrast, SPOT_PER_FACE * float(box[2]), index)
        for number, detector in enumerate(_detectors):
            analysis = detector.analyse(shown[0], shown[1], rig)
            errors = depth_errors(entry, analysis)
            rows.append(
                {
                    "model": number,
                    "contrast": contrast,
                    "label": entry.label,
                    "decision": analysis.verdict.decision,
                    **{name: errors[name] for name in ("median_error_mm", "offset_mm", "spread_mm")},
                }
            )
    return rows


def summary(rows: Sequence[Row], name: str, contrast: float) -> Row:
    """Of one model and contrast: what was decided, medians over the presentations with depth."""
    living = Counter(row["decision"] for row in rows if row["label"] == BONA_FIDE)
    attacks = Counter(row["decision"] for row in rows if row["label"] != BONA_FIDE)

    def median(measure: str) -> str:
        values = [abs(float(row[measure])) for row in rows if row[measure]]
        return f"{np.median(values):.2f}" if values else ""

    return {
        "model": name,
        "contrast": contrast,
        "bona_fide": living.total(),
        "bona_fide_without_response": living["no_response"],
        "bona_fide_refused": living["attack"],
        "attacks": attacks.total(),
        "attacks_without_response": attacks["no_response"],
        "attacks_accepted": attacks["bona_fide"],
        **{measure: median(measure) for measure in ("median_error_mm", "offset_mm", "spread_mm")},
    }


def across(entry: Presentation) -> bool:
    """Whether one sensor sees visible light and the other near-infrared, and the former sees something."""
    rig = Rig.load(entry.rig)
    spectra = {rig.first.spectrum, rig.second.spectrum}
    return spectra == {"visible", "near_infrared"} and entry.illumination != "night_nir_only"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--models", nargs="+", type=Path, default=[released_model()], help="model folders")
    parser.add_argument("--count", type=int, default=160, help="living faces, and as many attacks (%(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    names = [str(json.loads((model / "manifest.json").read_text("utf-8"))["version"]) for model in given.models]
    entries = [entry for entry in Manifest.read(given.manifest) if across(entry)]
    random = np.random.default_rng(1)
    chosen: list[Presentation] = []
    for living in (True, False):
        those = [entry for entry in entries if (entry.label == BONA_FIDE) is living]
        chosen += [those[index] for index in random.permutation(len(those))[: given.count]]
    with ProcessPoolExecutor(given.workers, get_context("spawn"), prepare, (given.models,)) as pool:
        found = pool.map(partial(judged, contrasts=CONTRASTS), chosen, range(len(chosen)), chunksize=4)
        rows = [row for of_one in found for row in of_one]
    table = [
        summary([row for row in rows if (row["model"], row["contrast"]) == (number, contrast)], name, contrast)
        for number, name in enumerate(names)
        for contrast in CONTRASTS
    ]
    for line in table:
        print(line)
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
