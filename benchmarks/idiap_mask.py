"""A real capture of a full-head mask: our depth beside a third sensor's, for two pairs of sensors of one rig.

    python benchmarks/idiap_mask.py ../shared/real/idiap_mask

The folder holds the images of bob.ip.stereo's example (GPL-3.0, so neither they nor pictures of them belong into this
repository): 10-bit near-infrared and 8-bit colour in portrait, calibration in centimetres, and an Intel D415's depth.
Writes results/idiap_mask.json, and pictures into out/, which git ignores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive import LivenessDetector, Rig, read_image
from stereolive.data.adapters.hq_wmca import read_calibration, rig_between
from stereolive.depth import depth_on_first_image_mm
from stereolive.detector import Analysis
from stereolive.faces import cut
from stereolive.images import as_8bit, as_bgr, as_grey, write_png
from stereolive.picture import FaceDepth, Picture, depth_range_mm, depth_scale, draw, paint_depth, write_text
from stereolive.types import FaceCrop, ImageArray

Depth = NDArray[np.float32]
ROOT = Path(__file__).parent.parent
PAIRS = (("nir_left", "nir_left_850nm.png", "nir_right", "nir_right_850nm.png"),
         ("color", "color.png", "nir_left", "nir_left_850nm.png"))  # fmt: skip
D415_FARTHEST_MM = 1500
PANEL = 340


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--model", type=Path, help="model folder (default: the released one)")
    arguments.add_argument("--out", type=Path, default=ROOT / "results" / "idiap_mask.json")
    arguments.add_argument("--pictures", type=Path, default=ROOT / "out")
    given = arguments.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    detector = LivenessDetector(given.model)
    # A score never reaches this threshold, so the depth is shown whatever is thought of the picture's quality.
    for_depth = LivenessDetector(given.model, threshold=1.0)
    result: dict[str, Any] = {"model": detector.model.title, "threshold": detector.threshold, "pairs": {}}
    for first_name, first_file, second_name, second_file in PAIRS:
        first, second = read_image(given.folder / first_file), read_image(given.folder / second_file)
        rig = rig_of(given.folder, (first_name, first), (second_name, second))
        reference = d415_depth(given.folder, first_name, first, rig)
        verdict = detector.check(first, second, rig)
        analysis = replace(for_depth.analyse(first, second, rig), verdict=verdict)
        name = f"{first_name}-{second_name}"
        result["pairs"][name] = {
            "check": verdict.as_json(),
            "baseline_mm": rig.baseline_mm,
            "rectified_views_turned_deg": rig.rectification.roll_deg,
            **compared(analysis, first, second, rig, reference),
        }
        write_png(given.pictures / f"idiap_mask_{name}.png", draw(analysis, first, second, rig))
        beside = side_by_side(analysis, first, rig, reference)
        write_png(given.pictures / f"idiap_mask_{name}_depth.png", beside)
        print(name, json.dumps(result["pairs"][name], indent=1))
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(given.out)


def rig_of(folder: Path, first: tuple[str, ImageArray], second: tuple[str, ImageArray]) -> Rig:
    calibration = read_calibration(folder / "idiap_face_calibration.json")
    height, width = first[1].shape[:2]
    height_second, width_second = second[1].shape[:2]
    return rig_between(
        calibration,
        first[0],
        second[0],
        ((width, height), (width_second, height_second)),
        ("visible" if first[0] == "color" else "near_infrared", "near_infrared"),
    )


def d415_depth(folder: Path, first_name: str, first: ImageArray, rig: Rig) -> Depth:
    """The D415's measurement (H, W) in mm, moved to the first view; 0 where there is none."""
    measured = read_image(folder / "d415_depth_mm.png").astype(np.float32)
    measured[measured > D415_FARTHEST_MM] = 0
    height, width = first.shape[:2]
    between = rig_between(
        read_calibration(folder / "idiap_face_calibration.json"),
        "intel_depth",
        first_name,
        ((measured.shape[1], measured.shape[0]), (width, height)),
        ("near_infrared", rig.first.spectrum),
    )
    return between.depth_second_mm(measured)


def compared(analysis: Analysis, first: ImageArray, second: ImageArray, rig: Rig, reference: Depth) -> dict[str, Any]:
    """Differences over the face, in mm, of our depth and of StereoSGBM's from the D415's."""
    if analysis.depth is None or analysis.crop is None or analysis.location is None:
        return {"ours": None, "sgbm": None}
    face = face_mask(analysis, first.shape[:2])
    ours = depth_on_first_image_mm(analysis.depth, rig)
    # Semi-global matching gets the crop at full resolution, and no face prior either.
    large = cut(first, second, rig, analysis.location, 448)
    return {
        "face_pixels_measured_by_d415": int((face & (reference > 0)).sum()),
        "ours": difference(ours, reference, face),
        "sgbm": difference(sgbm_depth(large, rig), reference, face),
    }


def face_mask(analysis: Analysis, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The ellipse inside the face's box in the first view."""
    box = analysis.verdict.face_first
    assert box is not None, "the first view of this capture shows the face"
    x, y, width, height = box
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (
        ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2
    ) < 0.85
    return inside


def difference(ours: Depth, reference: Depth, face: NDArray[np.bool_]) -> dict[str, float | int]:
    both = face & (reference > 0) & (ours > 0)
    apart = (ours - reference)[both].astype(float)
    offset = float(np.median(apart))
    return {
        "pixels": int(both.sum()),
        "share_of_face": round(float(both.sum() / max((face & (reference > 0)).sum(), 1)), 3),
        "median_absolute_mm": round(float(np.median(np.abs(apart))), 2),
        "median_offset_mm": round(offset, 2),
        "median_absolute_without_offset_mm": round(float(np.median(np.abs(apart - offset))), 2),
    }


def sgbm_depth(crop: FaceCrop, rig: Rig) -> Depth:
    """OpenCV's semi-global matching on locally evened-out crops, moved to the first view."""
    first, second = (evened(view) for view in (crop.first, crop.second))
    block = 7
    matcher = cv2.StereoSGBM.create(
        -48, 96, block, 8 * block**2, 64 * block**2, 0, 0, 5, 200, 2, cv2.STEREO_SGBM_MODE_HH
    )
    disparity = matcher.compute(first, second).astype(np.float32) / 16
    known = disparity > -48
    full = crop.shift_px + disparity / crop.scale
    depth = np.where(known & (full > 0), crop.focal_times_baseline / np.maximum(full, 1e-3), 0).astype(np.float32)
    return rig.rectification.first_depth_mm(depth, crop.first_crop_from_rectified)


def evened(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = np.log1p(as_grey(view).astype(np.float32))
    mean = cv2.GaussianBlur(grey, (0, 0), 8)
    spread = np.sqrt(cv2.GaussianBlur((grey - mean) ** 2, (0, 0), 8) + 1e-4)
    return np.asarray(np.clip((grey - mean) / spread * 40 + 128, 0, 255), np.uint8)


def side_by_side(analysis: Analysis, first: ImageArray, rig: Rig, reference: Depth) -> Picture:
    """The first view, our depth, the D415's, and their difference, all on the same pixels."""
    assert analysis.verdict.face_first is not None
    x, y, width, height = analysis.verdict.face_first
    reach = 0.72 * max(width, height)
    left, top = (max(0, round(v - reach)) for v in (x + width / 2, y + height / 2))
    window = slice(top, top + round(2 * reach)), slice(left, left + round(2 * reach))
    ours = depth_on_first_image_mm(analysis.depth, rig)[window]
    theirs = reference[window]
    near, far = depth_range_mm(np.where(theirs > 0, theirs, np.nan).astype(np.float32))

    def panel(depth: Depth, title: str) -> Picture:
        holes = np.where(depth > 0, depth, np.nan).astype(np.float32)
        small = np.asarray(cv2.resize(holes, (PANEL, PANEL), interpolation=cv2.INTER_NEAREST), np.float32)
        blank = np.zeros((PANEL, PANEL), np.float32)
        shown = paint_depth(FaceDepth(small, blank, np.zeros((PANEL, PANEL, 3), np.uint8)), near, far)
        return titled(shown, title)

    apart = np.where((ours > 0) & (theirs > 0), ours - theirs, np.nan)
    level = np.clip(apart / 20, -1, 1)[:, :, None]
    red, blue = np.array((60, 60, 200.0)), np.array((190, 90, 30.0))
    colors = 245 - np.abs(level) * (245 - np.where(level > 0, red, blue))
    colors = np.where(np.isnan(level), 255, colors).astype(np.uint8)
    view = as_bgr(as_8bit(first))[window]
    panels = [
        titled(resized(view), "First view"),
        panel(ours, "Ours"),
        panel(theirs, "D415, moved here"),
        titled(depth_scale(near, far), ""),
        titled(resized(colors), "Ours less D415: blue -20 mm, red +20 mm"),
    ]
    gap = np.full((panels[0].shape[0], 16, 3), 255, np.uint8)
    spaced = [part for entry in panels for part in (entry, gap)]
    return cv2.copyMakeBorder(np.hstack(spaced[:-1]), 16, 16, 16, 16, cv2.BORDER_CONSTANT, value=(255, 255, 255))  # type: ignore[return-value]


def resized(picture: NDArray[Any]) -> Picture:
    return np.asarray(cv2.resize(picture, (PANEL, PANEL), interpolation=cv2.INTER_AREA), np.uint8)


def titled(picture: Picture, title: str) -> Picture:
    head = np.full((34, picture.shape[1], 3), 255, np.uint8)
    write_text(head, title, (0, 22), 16, weight=600)
    return np.vstack([head, picture])


if __name__ == "__main__":
    main()
