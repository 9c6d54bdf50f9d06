"""Every figure of a released model on one manifest: scores, rates, and depth beside OpenCV's tuned StereoSGBM.

    python benchmarks/evaluate_release.py MANIFEST --out results/NAME [--split test] [--model MODEL] [--pictures]
        [--origin real] [--tune MANIFEST | --settings settings.json] [--workers K]

writes into ``--out``: ``scores.csv`` as ``stereolive score`` does, ``metrics.json`` and ``report.html`` as ``stereolive
evaluate`` does (with the worst cases' pictures and depth where ``--pictures`` says that they may be passed on),
``depth_errors.csv`` (one row a presentation: both methods on the same rectified pair) and ``depth_summary.json``.
StereoSGBM is tuned on the validation rows of ``--tune`` (``benchmarks/baseline_sgbm.py``); ``--settings`` takes the
outcome of an earlier run. Errors are absolute, over the ellipse that the face fills, in mm along the rectified axis;
a presentation without an answer by the detector has no depth and is counted as such. ``offset_mm`` is the signed median
of our errors over the face, which a rig that is no longer as it was calibrated has even with a perfect network, and
``spread_mm`` the median distance of the errors from it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from baseline_sgbm import SETTINGS, Measured, Setting, measure, tune

from stereolive.data.crops import true_disparity_px
from stereolive.data.manifest import Manifest, Presentation
from stereolive.depth import face_ellipse
from stereolive.detector import Analysis, LivenessDetector
from stereolive.evaluate.evaluation import evaluate
from stereolive.images import read_depth
from stereolive.rig import Rig
from stereolive.score import ScoredRow, score
from stereolive.store import released_model

DISTANCES_MM = (0, 400, 600, 800, 1300)
NEAR_ACROSS = "visible and near-infrared, up to 600 mm"
MEASURES = (
    *("median_error_mm", "percentile90_error_mm", "offset_mm", "spread_mm"),
    *("sgbm_median_error_mm", "sgbm_percentile90_error_mm"),
)
QUANTILE_90 = 1.6448536  # of the standard normal: half the width of its 90 % interval


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", help="only rows of this split")
    parser.add_argument("--model", type=Path, default=released_model())
    parser.add_argument("--tune", type=Path, help="manifest whose validation rows StereoSGBM is tuned on")
    parser.add_argument("--settings", type=Path, help="StereoSGBM's settings of an earlier run")
    parser.add_argument("--pictures", action="store_true", help="show the worst cases' pictures in the report")
    parser.add_argument("--origin", choices=("rendered", "real"), default="rendered", help="default %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.read(given.manifest)
    entries = [entry for entry in manifest if given.split is None or entry.further.get("split") == given.split]
    chosen = Manifest(manifest.path, tuple(entries))
    setting = _setting(given.settings, given.tune, out, given.workers)

    scores = out / "scores.csv"
    scores.unlink(missing_ok=True)  # what is left of an earlier run has no depth to measure
    by_id = {entry.sample_id: entry for entry in entries}
    ours: dict[str, dict[str, Any]] = {}

    def measure_depth(row: ScoredRow | None) -> None:
        assert row is not None
        ours[row.sample_id] = depth_errors(by_id[row.sample_id], row.analysis)

    with tempfile.TemporaryDirectory() as folder:
        detector = LivenessDetector(given.model, threads=1)
        score(chosen, scores, detector, depth_dir=folder, workers=given.workers, on_row=measure_depth)
        shown = {"pictures": manifest.path.parent, "depth_dir": folder} if given.pictures else {}
        evaluate(scores, out, model=given.model, origin=given.origin, **shown)
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        baseline = pool.map(measure, entries, repeat([setting]), chunksize=4)
        rows = [ours[entry.sample_id] | _sgbm(found[0]) for entry, found in zip(entries, baseline, strict=True)]
    _write(out / "depth_errors.csv", rows)
    summary = {
        "manifest": given.manifest.name,
        "split": given.split,
        "presentations": len(entries),
        "sgbm": asdict(setting),
        "groups": summarise(rows),
    }
    (out / "depth_summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    for group in summary["groups"]:
        if group["by"] in ("all", NEAR_ACROSS):
            print(group)


def depth_errors(entry: Presentation, analysis: Analysis | None) -> dict[str, Any]:
    """The detector's errors on one presentation; empty cells where there is no answer or no truth."""
    row: dict[str, Any] = {
        "sample_id": entry.sample_id,
        "label": entry.label,
        "pai_species": entry.pai_species,
        "illumination": entry.illumination,
        "rig": entry.rig.stem,
        "spectra": "",
        "distance_mm": "",
        "median_error_mm": "",
        "percentile90_error_mm": "",
        "offset_mm": "",
        "spread_mm": "",
        "within_90_interval": "",
        "sgbm_median_error_mm": "",
        "sgbm_percentile90_error_mm": "",
    }
    if analysis is None:
        return row
    rig = Rig.load(entry.rig)
    row["spectra"] = f"{rig.first.spectrum}+{rig.second.spectrum}"
    if analysis.depth is None or analysis.crop is None or entry.depth is None:
        return row
    info = analysis.depth
    grid = info.depth_mm.shape[0]
    truth_px = true_disparity_px(read_depth(entry.depth), rig, analysis.crop)
    # Cells that straddle an edge of the truth's holes are left out.
    truth = truth_px.reshape(grid, 2, grid, 2).mean(axis=(1, 3))
    full = analysis.crop.shift_px + truth / analysis.crop.scale
    known = face_ellipse(grid) & np.isfinite(truth) & (full > 1e-3)
    if known.sum() < 50:
        return row
    true_mm = analysis.crop.focal_times_baseline / full[known]
    signed = info.depth_mm[known] - true_mm
    errors, offset = np.abs(signed), np.median(signed)
    row["distance_mm"] = f"{np.median(true_mm):.1f}"
    row["median_error_mm"] = f"{np.median(errors):.3f}"
    row["percentile90_error_mm"] = f"{np.percentile(errors, 90):.3f}"
    row["offset_mm"] = f"{offset:.3f}"
    row["spread_mm"] = f"{np.median(np.abs(signed - offset)):.3f}"
    row["within_90_interval"] = f"{np.mean(errors <= QUANTILE_90 * info.depth_sd_mm[known]):.4f}"
    return row


def _sgbm(measured: Measured) -> dict[str, str]:
    if not math.isfinite(measured.median_error_mm):
        return {}
    return {
        "sgbm_median_error_mm": f"{measured.median_error_mm:.3f}",
        "sgbm_percentile90_error_mm": f"{measured.percentile90_error_mm:.3f}",
    }


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over presentations, of the offset's size too: over all and by spectra, distance, illumination, label and
    both first together."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if not row["median_error_mm"]:
            continue
        distance = float(row["distance_mm"])
        low = max(edge for edge in DISTANCES_MM if edge <= distance)
        band = (
            f"{low} mm and more"
            if low == DISTANCES_MM[-1]
            else f"{low} to {DISTANCES_MM[DISTANCES_MM.index(low) + 1]} mm"
        )
        for by, value in (
            ("all", "all"),
            ("label", row["label"]),
            ("spectra", row["spectra"]),
            ("distance", band),
            ("illumination", row["illumination"]),
            ("rig", row["rig"].split("_")[0]),
            ("spectra and distance", f"{row['spectra']}, {band}"),
            ("label and distance", f"{row['label']}, {band}"),
        ):
            groups[by, value].append(row)
        if distance <= 600 and {"visible", "near_infrared"} == set(row["spectra"].split("+")):
            groups[NEAR_ACROSS, "all"].append(row)
            groups[NEAR_ACROSS, row["label"]].append(row)
    return [
        {
            "by": by,
            "value": value,
            "presentations": len(members),
            **{name: _median(members, name) for name in MEASURES},
            "within_90_interval": round(float(np.mean([float(row["within_90_interval"]) for row in members])), 3),
        }
        for (by, value), members in sorted(groups.items())
    ]


def _median(rows: Iterable[dict[str, Any]], name: str) -> float | None:
    values = [abs(float(row[name])) for row in rows if row[name]]
    return round(float(np.median(values)), 2) if values else None


def _setting(settings: Path | None, source: Path | None, out: Path, workers: int) -> Setting:
    if settings is not None:
        return Setting(**json.loads(settings.read_text("utf-8"))["setting"])
    if source is None:
        raise SystemExit("give --tune MANIFEST or --settings FILE")
    validation = [entry for entry in Manifest.read(source) if entry.further.get("split") == "validation"]
    setting, error = tune(validation, SETTINGS, workers)
    stored = {"setting": asdict(setting), "validation_median_error_mm": error, "settings_tried": len(SETTINGS)}
    (out / "sgbm_settings.json").write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    return setting


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
