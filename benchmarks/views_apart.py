"""How alike the two views of a living face are, by data set: what one renderer shows that another does not.

    python benchmarks/views_apart.py MANIFEST... [--count 120] [--out FILE]

Takes living faces in room light and in light from one side, lays the second view onto the first by the true depth, and
tells by the pair's spectra, as medians over the presentations: how much of the face is white in either view; the
contrast of the logarithm of brightness over the face (its median distance from 0 in a band of sizes) in either view;
and the correlation of the two. Bands are differences of Gaussians in px of a crop whose side is some 250 mm on the
face. The seed of the draw is 1.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stereolive.data.crops import true_disparity_px
from stereolive.data.manifest import BONA_FIDE, Manifest, Presentation
from stereolive.depth import disc
from stereolive.detector import LivenessDetector
from stereolive.images import as_8bit, read_depth, read_image
from stereolive.rig import Rig

RESULTS = Path(__file__).parents[1] / "results" / "views_apart.csv"
LIGHTS = ("indoor_diffuse", "strong_side")
BANDS_PX = ((0.7, 1.5), (1.5, 3.0), (3.0, 6.0), (6.0, 12.0))
SKIN_RADIUS = 0.24  # of the crop's side: within a face
WHITE = 250
MOST_CONTRAST = 0.3  # beyond which edges of hair and glasses would decide


def compared(entry: Presentation, rig: Rig, detector: LivenessDetector) -> dict[str, float] | None:
    """The measures of one presentation; None where the detector cuts no crop or the depth is not known."""
    analysis = detector.analyse(as_8bit(read_image(entry.first)), as_8bit(read_image(entry.second)), rig)
    crop = analysis.crop
    if crop is None or entry.depth is None:
        return None
    disparity = true_disparity_px(read_depth(entry.depth), rig, crop)
    skin = np.isfinite(disparity) & disc(crop.size, SKIN_RADIUS)
    if skin.sum() < 0.5 * disc(crop.size, SKIN_RADIUS).sum():
        return None
    ys, xs = np.mgrid[: crop.size, : crop.size].astype(np.float32)
    there = (xs - np.nan_to_num(disparity)).astype(np.float32)
    views = crop.first, cv2.remap(crop.second, there, ys, cv2.INTER_LINEAR)
    found = {
        f"white_{name}": float((view.max(axis=2) > WHITE)[skin].mean())
        for name, view in zip(("first", "second"), views, strict=True)
    }
    logs = [np.log(view.mean(axis=2, dtype=np.float32) + 8) for view in views]
    for low, high in BANDS_PX:
        first, second = (
            (cv2.GaussianBlur(log, (0, 0), low) - cv2.GaussianBlur(log, (0, 0), high))[skin] for log in logs
        )
        band = f"{low:g}_{high:g}_px"
        found[f"contrast_first_{band}"] = float(np.median(np.abs(first)))
        found[f"contrast_second_{band}"] = float(np.median(np.abs(second)))
        held = [np.clip(values, -MOST_CONTRAST, MOST_CONTRAST) for values in (first, second)]
        found[f"correlation_{band}"] = float(np.corrcoef(*held)[0, 1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=120, help="presentations of each manifest (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    detector = LivenessDetector(threads=1)
    table: list[dict[str, Any]] = []
    for path in given.manifests:
        entries = [entry for entry in Manifest.read(path) if entry.label == BONA_FIDE and entry.illumination in LIGHTS]
        groups: dict[str, list[dict[str, float]]] = {}
        for index in np.random.default_rng(1).permutation(len(entries))[: given.count]:
            rig = Rig.load(entries[index].rig)
            found = compared(entries[index], rig, detector)
            if found is not None:
                groups.setdefault(f"{rig.first.spectrum}+{rig.second.spectrum}", []).append(found)
        for spectra, rows in sorted(groups.items()):
            medians = {name: f"{np.median([row[name] for row in rows]):.4f}" for name in rows[0]}
            table.append({"data": path.parent.name, "spectra": spectra, "presentations": len(rows), **medians})
            print(table[-1])
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
