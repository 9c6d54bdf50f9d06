"""What a simple system reaches on the same presentations: OpenCV's StereoSGBM, tuned, and the residual of a plane.

Two figures that the trained model has to be held against, from a manifest with a column ``split``:

- a score file for ``stereolive evaluate``: how far the face's depth is from a plane, how much of it was matched and how
  large it is, weighed by a logistic regression on the training rows;
- the depth error over the face, beside the third sensor's or the renderer's depth, by spectra, rig, illumination and
  distance. Settings are chosen on validation rows only; where nothing was matched, depth is filled from the
  neighbours, so that holes do not flatter it.

    python benchmarks/baseline_sgbm.py MANIFEST --out DIR [--compare SCORES.csv] [--tune MANIFEST]
        [--settings settings.json] [--pictures] [--origin real] [--fit N] [--workers K]

writes ``DIR/scores.csv``, ``DIR/depth_errors.csv`` (one row a presentation), ``DIR/depth_summary.csv`` and
``DIR/settings.json``, and grades the scores as anybody's are graded: ``DIR/metrics.json`` and ``DIR/report.html`` by
``stereolive evaluate``, and with ``--compare`` ``DIR/comparison.json`` and ``.html`` by ``stereolive compare`` beside
another system's scores of the same presentations. Its threshold is set on the validation rows.
``--tune`` names another manifest to tune and fit on, for one that is for checking only; ``--settings`` takes the
outcome of an earlier run; ``--pictures`` says that the worst cases' pictures may be passed on. Faces are found, carried
over and cut as the detector does it, so both see the same rectified pairs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.crops import true_disparity_px
from stereolive.data.manifest import BONA_FIDE, Manifest, Presentation, joined, write_rows
from stereolive.depth import FACE_RADIUS
from stereolive.errors import InputError
from stereolive.evaluate.compare import compare
from stereolive.evaluate.evaluation import evaluate
from stereolive.evaluate.rates import threshold_at_bpcer
from stereolive.faces import FaceFinder, cut, locate
from stereolive.images import read_depth, read_image
from stereolive.rig import Rig
from stereolive.types import FaceCrop

FloatArray = NDArray[np.float32]

CROP_PX = 192
SEARCH_PX = 24  # either way at CROP_PX, as the depth network searches
MARGIN = 1.5  # SGBM needs room beside the face for its search; errors are counted over the face alone
SPECTRA_SHORT = {"visible": "VIS", "near_infrared": "NIR"}
FEATURES = ("log_plane_residual_mm", "matched_share", "log_face_mm")
TUNE_PRESENTATIONS = 40
SYSTEM = "StereoSGBM and the residual of a plane"
BPCER = 0.03  # on validation rows, as the released model's threshold is set


@dataclass(frozen=True)
class Setting:
    """One choice of everything that can be tuned."""

    crop_px: int  # the crop's side without its margin
    normalise_px: int  # window of the local normalisation of log images, in crop pixels; 0 leaves the grey image
    block_px: int
    smoothness: int  # P1 = smoothness * block^2, P2 = 4 P1
    uniqueness: int  # per cent by which the best match must win


SETTINGS = tuple(
    Setting(crop, window, block, smooth, unique)
    for crop, window, block, smooth, unique in itertools.product(
        (CROP_PX, 288), (0, 15, 31), (5, 9, 15), (4, 16, 48), (0, 10)
    )
)


@dataclass(frozen=True)
class Measured:
    """A presentation's depth by StereoSGBM and how it compares; errors are NaN without a true depth."""

    presentation: Presentation
    spectra: str = ""
    median_error_mm: float = math.nan
    percentile90_error_mm: float = math.nan
    matched_share: float = math.nan  # of the face
    distance_mm: float = math.nan  # true, or measured where no truth is known
    features: tuple[float, ...] | None = None
    reason: str = ""


def disparity(crop: FaceCrop, setting: Setting) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Disparity (S, S) in crop px, holes filled, and which of it was matched (S, S)."""
    first, second = (_prepared(view, setting.normalise_px) for view in (crop.first, crop.second))
    half = 16 * math.ceil(SEARCH_PX * setting.crop_px / CROP_PX / 16)
    penalty = setting.smoothness * setting.block_px**2
    matcher = cv2.StereoSGBM.create(
        minDisparity=-half,
        numDisparities=2 * half,
        blockSize=setting.block_px,
        P1=penalty,
        P2=4 * penalty,
        disp12MaxDiff=2,
        uniquenessRatio=setting.uniqueness,
        speckleWindowSize=60,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_HH,
    )
    # Borders of the search are given room, or a band of the crop would have no answer at all.
    padded = (cv2.copyMakeBorder(view, 0, 0, half, half, cv2.BORDER_REPLICATE) for view in (first, second))
    raw = matcher.compute(*padded)[:, half:-half].astype(np.float32) / 16.0
    matched = raw > -half
    return _filled(raw, matched), matched


def measure(presentation: Presentation, settings: Sequence[Setting]) -> list[Measured]:
    """The presentation's depth with each setting; one result with a reason where there is no pair or no face."""
    cv2.setNumThreads(1)
    try:
        rig = _rig(presentation.rig)
        first, second = read_image(presentation.first), read_image(presentation.second)
        location = locate(first, second, rig, _finder().find(first), _finder().find(second))
    except InputError as error:
        return [Measured(presentation, reason=f"unreadable: {error}")] * len(settings)
    if location is None:
        return [Measured(presentation, reason="no_face")] * len(settings)
    truth_mm = None if presentation.depth is None else read_depth(presentation.depth)

    @lru_cache(maxsize=4)
    def prepared(crop_px: int) -> tuple[FaceCrop, FloatArray | None]:
        crop = cut(first, second, rig, location, round(crop_px * MARGIN), MARGIN)
        return crop, None if truth_mm is None else true_disparity_px(truth_mm, rig, crop)

    spectra = f"{SPECTRA_SHORT[rig.first.spectrum]}+{SPECTRA_SHORT[rig.second.spectrum]}"
    return [_measured(presentation, spectra, *prepared(setting.crop_px), setting) for setting in settings]


def _measured(
    presentation: Presentation, spectra: str, crop: FaceCrop, truth_px: FloatArray | None, setting: Setting
) -> Measured:
    found_px, matched = disparity(crop, setting)
    face = _face(crop.size)
    depth_mm = _depth_mm(found_px, crop)
    error, error90, distance = math.nan, math.nan, float(np.median(depth_mm[face]))
    if truth_px is not None:
        known = face & np.isfinite(truth_px)
        if known.sum() >= 50:
            true_mm = _depth_mm(truth_px, crop)[known]
            errors = np.abs(depth_mm[known] - true_mm)
            error, error90 = (float(value) for value in np.percentile(errors, (50, 90)))
            distance = float(np.median(true_mm))
    share = float(matched[face].mean())
    features = _features(depth_mm, matched & face, share, crop) if share > 0.1 else None
    reason = "" if features else "not_matched"
    return Measured(presentation, spectra, error, error90, share, distance, features, reason)


def _features(
    depth_mm: FloatArray, usable: NDArray[np.bool_], share: float, crop: FaceCrop
) -> tuple[float, float, float]:
    """How far the face is from a plane (robustly), how much of it was matched, how wide the crop is in mm."""
    ys, xs = np.nonzero(usable)
    depth = depth_mm[usable].astype(np.float64)
    design = np.stack([xs - crop.size / 2, ys - crop.size / 2, np.ones(len(xs))], axis=1)
    weight = np.ones(len(xs))
    residual = depth
    for _ in range(5):  # iteratively reweighted: a nose must not tilt the plane
        plane, *_ = np.linalg.lstsq(design * weight[:, None], depth * weight, rcond=None)
        residual = depth - design @ plane
        spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-3
        weight = np.sqrt(1 / (1 + (residual / (2 * spread)) ** 2))
    spread = 1.4826 * float(np.median(np.abs(residual)))
    wide_mm = float(np.median(depth)) * crop.size / MARGIN / crop.scale / crop.focal_px
    return math.log(spread + 0.1), share, math.log(wide_mm)


def tune(presentations: Sequence[Presentation], settings: Sequence[Setting], workers: int) -> tuple[Setting, float]:
    """The setting with the smallest median of the presentations' median errors, and that error in mm."""
    with_depth = [entry for entry in presentations if entry.depth is not None]
    # Evenly through the rows, so that every part of them is seen.
    chosen = with_depth[:: max(1, len(with_depth) // TUNE_PRESENTATIONS)]
    if not chosen:
        raise InputError("tuning needs validation rows with a true depth")
    results = list(measure_all(chosen, settings, workers))
    errors = np.array([[entry.median_error_mm for entry in row] for row in results])
    errors = errors[np.isfinite(errors).all(axis=1)]
    if not len(errors):
        raise InputError("tuning found no face with a true depth in the validation rows")
    medians = np.median(errors, axis=0)
    best = int(np.argmin(medians))
    return settings[best], float(medians[best])


def measure_all(
    presentations: Sequence[Presentation], settings: Sequence[Setting], workers: int
) -> Iterator[list[Measured]]:
    """``measure`` for every presentation, in order, in ``workers`` processes."""
    if workers == 1:
        yield from (measure(entry, settings) for entry in presentations)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(measure, presentations, itertools.repeat(settings), chunksize=4)


@dataclass(frozen=True)
class Logistic:
    """score = 1 / (1 + exp(-(bias + weights . (x - mean) / sd)))."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def score(self, features: Sequence[float]) -> float:
        scaled = (np.array(features) - self.mean) / self.sd
        return float(1 / (1 + math.exp(-float(np.clip(self.bias + scaled @ np.array(self.weights), -30, 30)))))

    @classmethod
    def fit(cls, rows: Iterable[Measured]) -> Logistic:
        """By Newton's method, both classes weighing the same, with a small ridge."""
        used = [entry for entry in rows if entry.features is not None]
        x = np.array([entry.features for entry in used], np.float64).reshape(-1, len(FEATURES))
        y = np.array([entry.presentation.label == BONA_FIDE for entry in used], np.float64)
        if not 0 < y.sum() < len(y):
            raise InputError("fitting needs training rows of both labels in which a face was matched")
        mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-9
        design = np.concatenate([(x - mean) / sd, np.ones((len(x), 1))], axis=1)
        balance = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
        theta = np.zeros(design.shape[1])
        for _ in range(30):
            p = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
            gradient = design.T @ (balance * (p - y)) + 1e-2 * theta
            hessian = (design * (balance * p * (1 - p))[:, None]).T @ design + 1e-2 * np.eye(len(theta))
            theta = theta - np.linalg.solve(hessian, gradient)
        return cls(tuple(mean), tuple(sd), tuple(theta[:-1]), float(theta[-1]))


def depth_summary(rows: Iterable[Measured]) -> list[dict[str, Any]]:
    """Median over presentations of the median, and of the 90th percentile, of |depth error| over the face in mm.

    Over all rows and by spectra, label, rig, illumination and true distance, each split by spectra.
    """
    groups: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    for entry in rows:
        if not math.isfinite(entry.median_error_mm):
            continue
        parts = {
            "label": entry.presentation.label or "",
            "rig": entry.presentation.further.get("rig_family") or entry.presentation.rig.stem,
            "illumination": entry.presentation.illumination,
            "distance_mm": _distance_range(entry.distance_mm),
        }
        for spectra in ("all", entry.spectra):
            groups["all", "all", spectra].append(entry)
            for by, value in parts.items():
                groups[by, value, spectra].append(entry)
    return [
        {
            "by": by,
            "value": value,
            "spectra": spectra,
            "presentations": len(entries),
            "median_error_mm": round(float(np.median([e.median_error_mm for e in entries])), 2),
            "percentile90_error_mm": round(float(np.median([e.percentile90_error_mm for e in entries])), 2),
            "matched_share": round(float(np.mean([e.matched_share for e in entries])), 3),
        }
        for (by, value, spectra), entries in sorted(groups.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--compare", type=Path, metavar="SCORES.csv", help="another system on the same presentations")
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="further manifests, as for validation rows")
    parser.add_argument("--tune", type=Path, help="manifest to tune and fit on (default: this one's own rows)")
    parser.add_argument("--settings", type=Path, help="of an earlier run; tuned or fitted is only what they lack")
    parser.add_argument("--pictures", action="store_true", help="show the worst cases' pictures in the report")
    parser.add_argument("--origin", choices=("rendered", "real"), default="rendered", help="default %(default)s")
    parser.add_argument("--fit", type=int, default=600, help="fit the regression on at most so many training rows")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    manifest = joined(Manifest.read(arguments.manifest), [Manifest.read(path) for path in arguments.also])
    source = Manifest.read(arguments.tune) if arguments.tune else manifest
    stored = json.loads(arguments.settings.read_text("utf-8")) if arguments.settings else {}
    setting, model = _tuned(source, stored, out, arguments.fit, arguments.workers)
    scored = [entry for entry in manifest if entry.further.get("split", "test") != "train"]
    measured = [row[0] for row in measure_all(scored, [setting], arguments.workers)]
    scores = out / "scores.csv"
    threshold = _threshold(measured, model)
    _write(scores, (_score_row(entry, model, threshold, manifest.path.parent) for entry in measured))
    _write(out / "depth_errors.csv", (_error_row(entry) for entry in measured))
    summary = depth_summary(e for e in measured if e.presentation.further.get("split", "test") == "test")
    if summary:
        _write(out / "depth_summary.csv", summary)
    for row in summary:
        if row["by"] == "all":
            print(f"{row['spectra']}: {row['median_error_mm']} mm over {row['presentations']} faces")
    shown = manifest.path.parent if arguments.pictures else None
    print(evaluate(scores, out, system=SYSTEM, origin=arguments.origin, pictures=shown).report_path)
    if arguments.compare:
        print(compare(scores, arguments.compare, out).text())


def _tuned(source: Manifest, stored: dict[str, Any], out: Path, fit: int, workers: int) -> tuple[Setting, Logistic]:
    """The setting and the regression: those ``stored``, else tuned on validation rows and fitted on training rows."""
    parts: dict[str, list[Presentation]] = defaultdict(list)
    for entry in source:
        parts[entry.further.get("split", "")].append(entry)
    if "setting" not in stored:
        setting, error = tune(parts["validation"], SETTINGS, workers)
        print(f"best of {len(SETTINGS)} settings on validation rows: {setting}, {error:.2f} mm")
        found = {"setting": asdict(setting), "validation_median_error_mm": error, "settings_tried": len(SETTINGS)}
        stored = {**stored, **found}
    setting = Setting(**stored["setting"])
    if "logistic" not in stored:
        training = parts["train"]
        chosen = training[:: max(1, math.ceil(len(training) / fit))]  # evenly through the rows
        model = Logistic.fit(row[0] for row in measure_all(chosen, [setting], workers))
        stored = {**stored, "fitted_on": len(chosen), "features": FEATURES, "logistic": asdict(model)}
    (out / "settings.json").write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    return setting, Logistic(**stored["logistic"])


def _threshold(measured: Iterable[Measured], model: Logistic) -> float | None:
    """Set on the validation rows for BPCER, rounded as scores are; None without such rows."""
    scores = [
        model.score(entry.features)
        for entry in measured
        if entry.features is not None
        and entry.presentation.label == BONA_FIDE
        and entry.presentation.further.get("split") == "validation"
    ]
    return round(threshold_at_bpcer(scores, BPCER), 6) if scores else None


def _score_row(entry: Measured, model: Logistic, threshold: float | None, folder: Path) -> dict[str, object]:
    """A line as ``stereolive score`` writes it; paths are relative to the manifest's ``folder``."""
    presentation = entry.presentation

    def relative(path: Path | None) -> str:
        return "" if path is None else os.path.relpath(path, folder)

    score = "" if entry.features is None else f"{model.score(entry.features):.6f}"
    carried = {
        "label": presentation.label or "",
        "pai_species": presentation.pai_species,
        "material": presentation.material,
        "illumination": presentation.illumination,
        "subject_id": presentation.subject_id,
        "first": relative(presentation.first),
        "second": relative(presentation.second),
        "rig": relative(presentation.rig),
        "depth": relative(presentation.depth),
        # The names of results, as ``stereolive score`` renames them.
        **{f"manifest_{k}" if k in ("distance_mm", "score") else k: v for k, v in presentation.further.items()},
    }
    result = {"sample_id": presentation.sample_id, "score": score, "reasons": entry.reason}
    if threshold is not None:
        decided = "bona_fide" if score and float(score) >= threshold else "attack" if score else "no_response"
        result |= {"decision": decided, "threshold": f"{threshold:.6f}"}
    return {**result, "distance_mm": _number(entry.distance_mm, 1), **carried}


def _error_row(entry: Measured) -> dict[str, object]:
    presentation = entry.presentation
    return {
        "sample_id": presentation.sample_id,
        "split": presentation.further.get("split", ""),
        "spectra": entry.spectra,
        "label": presentation.label or "",
        "pai_species": presentation.pai_species,
        "illumination": presentation.illumination,
        "rig": presentation.rig.stem,
        "distance_mm": _number(entry.distance_mm, 1),
        "median_error_mm": _number(entry.median_error_mm, 3),
        "percentile90_error_mm": _number(entry.percentile90_error_mm, 3),
        "matched_share": _number(entry.matched_share, 3),
        "reason": entry.reason,
    }


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    kept = list(rows)
    write_rows(path, kept, list(dict.fromkeys(name for row in kept for name in row)))


def _prepared(view: NDArray[np.uint8], window: int) -> NDArray[np.uint8]:
    """Grey, or its logarithm less the local mean over the local spread: what two spectra share is structure."""
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY)
    if not window:
        return np.asarray(cv2.equalizeHist(grey), np.uint8)
    values = np.log1p(grey.astype(np.float32))
    mean = cv2.boxFilter(values, -1, (window, window))
    spread = np.sqrt(np.maximum(cv2.boxFilter(values * values, -1, (window, window)) - mean * mean, 0))
    return np.clip(128 + 42 * (values - mean) / (spread + 0.02), 0, 255).astype(np.uint8)


def _filled(raw: FloatArray, matched: NDArray[np.bool_]) -> FloatArray:
    """Holes take the value of the nearest matched pixel."""
    if not matched.any():
        return np.zeros_like(raw)
    _, labels = cv2.distanceTransformWithLabels(
        (~matched).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[matched]] = raw[matched]
    return values[labels]


def _depth_mm(disparity_px: FloatArray, crop: FaceCrop) -> FloatArray:
    """Z along the rectified axis; disparity as in ``FaceCrop``."""
    full = np.maximum(crop.shift_px + disparity_px / crop.scale, crop.focal_times_baseline / 5000.0)
    return np.asarray(crop.focal_times_baseline / full, np.float32)


def _face(size: int) -> NDArray[np.bool_]:
    """The ellipse that a face fills in its crop, margin included."""
    ys, xs = (np.mgrid[:size, :size] - (size - 1) / 2) / (size / MARGIN)
    return np.asarray(xs**2 + ys**2 < FACE_RADIUS**2, np.bool_)


def _distance_range(distance_mm: float) -> str:
    edges = (300, 400, 500, 600, 800, 1000)
    low, high = (0, *edges), (*edges, None)
    for start, end in zip(low, high, strict=True):
        if end is None or distance_mm < end:
            return f"{start:04d} and more" if end is None else f"{start:04d} to {end:04d}"
    return ""


@lru_cache(maxsize=1)
def _finder() -> FaceFinder:
    return FaceFinder(threads=1)


@lru_cache(maxsize=256)
def _rig(path: Path) -> Rig:
    return Rig.load(path)


if __name__ == "__main__":
    main()
