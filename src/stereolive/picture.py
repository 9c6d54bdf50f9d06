"""The check picture: both views with the face, depth in colours with a scale in mm, and what the verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.depth import grid_from_rectified
from stereolive.detector import Analysis
from stereolive.explain import explain
from stereolive.images import as_8bit, as_bgr
from stereolive.rig import Rig
from stereolive.types import Decision, DepthInformation, ImageArray, Verdict

Picture = NDArray[np.uint8]  # (H, W, 3) BGR
Color = tuple[int, int, int]  # BGR

INK: Color = (48, 38, 32)
SOFT_INK: Color = (128, 114, 104)
PAPER: Color = (252, 250, 248)
LINE: Color = (226, 220, 216)
FACE: Color = (80, 220, 120)
BAND: dict[Decision, Color] = {"bona_fide": (82, 122, 34), "attack": (48, 44, 188), "no_response": (118, 104, 92)}
TITLE: dict[Decision, str] = {"bona_fide": "Bona fide", "attack": "Attack", "no_response": "No response"}

MARGIN, GAP = 24, 20
BAND_HEIGHT = 84
PANEL_HEIGHT = 340
SCALE_WIDTH = 92
CONTOUR_MM = 10.0
SMALLEST_RANGE_MM = 60.0
UNCERTAIN_MM = 12.0
"""Standard deviation from which on depth is drawn paler; at twice that it is grey."""


@dataclass(frozen=True)
class FaceDepth:
    """Depth around the face as the first sensor sees it, (N, N): not rectified, not mirrored."""

    depth_mm: NDArray[np.float32]  # along the first sensor's axis; NaN outside the crop
    sd_mm: NDArray[np.float32]
    view: Picture  # the first image there


def draw(analysis: Analysis, first: ImageArray, second: ImageArray, rig: Rig) -> Picture:
    """The check picture of one pair, (H, W, 3) BGR."""
    verdict = analysis.verdict
    # A check that ended before has not looked for faces.
    note = "no face found" if "find" in dict(verdict.stage_ms) else ""
    views = [
        _view_panel(first, verdict.face_first, f"First sensor, {_words(rig.first.spectrum)}", note),
        _view_panel(second, verdict.face_second, f"Second sensor, {_words(rig.second.spectrum)}", note),
    ]
    depth = _no_depth_panel() if analysis.depth is None else _depth_panel(face_depth(analysis.depth, first, rig))
    panels = _side_by_side([*views, depth])
    facts = _facts(verdict, panels.shape[1])
    body = np.vstack([panels, _blank(GAP, panels.shape[1]), facts])
    framed = cv2.copyMakeBorder(body, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=PAPER)
    return cast(Picture, np.vstack([_band(verdict, framed.shape[1]), framed]))


def face_depth(info: DepthInformation, first: ImageArray, rig: Rig, side: int = PANEL_HEIGHT) -> FaceDepth:
    """The depth maps, sampled on ``side`` x ``side`` points of the first image around the face."""
    rectification = rig.rectification
    affine = grid_from_rectified(info)
    grid = info.depth_mm.shape[0]
    inverse = cv2.invertAffineTransform(affine)
    corners = np.array([[0, 0], [grid - 1, 0], [0, grid - 1], [grid - 1, grid - 1]], np.float64)
    outline = rectification.unrectify_points(corners @ inverse[:, :2].T + inverse[:, 2], "first")
    reach = float(np.mean([np.linalg.norm(outline[1] - outline[0]), np.linalg.norm(outline[2] - outline[0])])) / 2
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    across, down = np.meshgrid(*(center + steps * reach for center in outline.mean(axis=0)))
    rays = rig.first.rays(np.stack([across.ravel(), down.ravel()], axis=1)) @ rectification.rotation_first.T
    cells = rectification.project(rays) @ affine[:, :2].T + affine[:, 2]
    map_x, map_y = (cells[:, axis].reshape(side, side).astype(np.float32) for axis in (0, 1))

    def sampled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        nothing = (float("nan"),) * 4
        return cast(NDArray[np.float32], cv2.remap(values, map_x, map_y, cv2.INTER_LINEAR, borderValue=nothing))

    # Inverse depth is what is linear along a surface; a rectified Z belongs to a ray scaled to it.
    rectified_z = rays[:, 2].reshape(side, side).astype(np.float32)
    depth_mm = (1 / (sampled((1 / info.depth_mm).astype(np.float32)) * rectified_z)).astype(np.float32)
    source = as_bgr(as_8bit(first))
    fold = max(1, round(2 * reach / side))
    small = cv2.resize(source, None, fx=1 / fold, fy=1 / fold, interpolation=cv2.INTER_AREA) if fold > 1 else source
    place = [((v + 0.5) / fold - 0.5).astype(np.float32) for v in (across, down)]
    view = cv2.remap(small, place[0], place[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return FaceDepth(depth_mm, sampled(info.depth_sd_mm), cast(Picture, view))


def depth_range_mm(depth_mm: NDArray[np.float32]) -> tuple[float, float]:
    """Nearest and farthest depth that the colours tell apart: what the middle holds, and some relief at the least."""
    side = depth_mm.shape[0]
    middle = depth_mm[side // 6 : -side // 6, side // 6 : -side // 6]
    values = middle[np.isfinite(middle)]
    if not len(values):
        return 0.0, SMALLEST_RANGE_MM
    near, center, far = (float(v) for v in np.percentile(values, (2, 50, 90)))
    half = max(SMALLEST_RANGE_MM / 2, 1.1 * (center - near), min(1.1 * (far - center), 150.0))
    return center - half, center + half


def depth_colors(depth_mm: NDArray[np.float32], near_mm: float, far_mm: float) -> Picture:
    """Depth (H, W) in colours, (H, W, 3): red is near, blue is far."""
    share = np.clip((far_mm - depth_mm) / (far_mm - near_mm), 0, 1)
    # The ends of the colour map are nearly black.
    levels = np.rint(12 + np.nan_to_num(share) * 228).astype(np.uint8)
    return cast(Picture, cv2.applyColorMap(levels, cv2.COLORMAP_TURBO))


def write_text(
    picture: Picture,
    text: str,
    place: tuple[int, int],
    size: int = 16,
    color: Color = INK,
    weight: int = 400,
    align: Literal["left", "right"] = "left",
) -> int:
    """Draw one line of text with its baseline at ``place``; returns where it ends."""
    x, y = place
    if align == "right":
        x -= text_width(text, size, weight)
    # Fonts keep a state, so that each thread needs its own.
    end, _ = cv2.putText(picture, text, (x, y), color, cv2.FontFace("sans"), size, weight)
    return int(end[0])


def text_width(text: str, size: int, weight: int = 400) -> int:
    """Pixels that a line of text takes."""
    return int(cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace("sans"), size, weight)[2])


def _band(verdict: Verdict, width: int) -> Picture:
    band = _blank(BAND_HEIGHT, width, BAND[verdict.decision])
    white = (255, 255, 255)
    write_text(band, TITLE[verdict.decision], (MARGIN, 54), 34, white, 700)
    if verdict.score is None:
        return band
    # The score as a place between 0 and 1, with the threshold beside it.
    bar, right, middle = 300, width - MARGIN, 56
    left = right - bar
    cv2.rectangle(band, (left, middle), (right, middle + 8), _mixed(BAND[verdict.decision], white, 0.35), -1)
    cv2.rectangle(band, (left, middle), (left + round(bar * verdict.score), middle + 8), white, -1)
    mark = left + round(bar * verdict.threshold)
    cv2.line(band, (mark, middle - 6), (mark, middle + 14), white, 2)
    write_text(band, f"score {verdict.score:.3f}", (left, 38), 20, white, 600)
    write_text(band, f"threshold {verdict.threshold:.3f}", (right, 38), 16, white, 400, "right")
    return band


def _view_panel(
    image: ImageArray, box: tuple[float, float, float, float] | None, title: str, without_face: str
) -> Picture:
    height, width = image.shape[:2]
    scale = min(PANEL_HEIGHT / height, 460 / width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(as_8bit(image), None, fx=scale, fy=scale, interpolation=how), np.uint8)
    view = as_bgr(small).copy()
    if box is None and without_face and view.shape[0] > 68:
        strip = _blank(34, view.shape[1], (60, 54, 50))
        write_text(strip, without_face, (12, 23), 16, (255, 255, 255))
        view[-34:] = strip
    elif box is not None:
        x, y, w, h = (round(v * scale) for v in box)
        _corners(view, (x, y, x + w, y + h))
    fill = PANEL_HEIGHT - view.shape[0]
    filled = cv2.copyMakeBorder(view, fill // 2, fill - fill // 2, 0, 0, cv2.BORDER_CONSTANT, value=LINE)
    return _titled(np.asarray(filled, np.uint8), title)


def _corners(view: Picture, box: tuple[int, int, int, int]) -> None:
    """A face box drawn as its four corners, so that the face stays free."""
    left, top, right, bottom = box
    reach = max(8, (right - left) // 5)
    for x, toward_x in ((left, 1), (right, -1)):
        for y, toward_y in ((top, 1), (bottom, -1)):
            for color, thick in (((30, 30, 30), 5), (FACE, 3)):
                cv2.line(view, (x, y), (x + toward_x * reach, y), color, thick, cv2.LINE_AA)
                cv2.line(view, (x, y), (x, y + toward_y * reach), color, thick, cv2.LINE_AA)


def _depth_panel(face: FaceDepth) -> Picture:
    near, far = depth_range_mm(face.depth_mm)
    shown = paint_depth(face, near, far)
    return _titled(np.hstack([shown, depth_scale(near, far)]), "Depth in the first view; grey is uncertain")


def paint_depth(face: FaceDepth, near_mm: float, far_mm: float) -> Picture:
    """Depth in colours with a contour line every 10 mm, grey where it is uncertain."""
    colors = depth_colors(face.depth_mm, near_mm, far_mm).astype(np.float32)
    smooth = cv2.GaussianBlur(np.nan_to_num(face.depth_mm, nan=far_mm), (0, 0), 1.5)
    # Light from above left shows the form; colours alone tell only the distance.
    slope = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8) + cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    colors *= np.clip(1 + 0.10 * slope, 0.72, 1.2)[:, :, None]
    steps = np.floor(smooth / CONTOUR_MM)
    edge = np.zeros(steps.shape, np.float32)
    edge[:, 1:] += steps[:, 1:] != steps[:, :-1]
    edge[1:] += steps[1:] != steps[:-1]
    edge = cv2.GaussianBlur(np.minimum(edge, 1), (0, 0), 0.6)
    colors *= (1 - 0.45 * np.minimum(edge, 1))[:, :, None]
    certain = np.clip(2 - np.nan_to_num(face.sd_mm, nan=1e3) / UNCERTAIN_MM, 0, 1)[:, :, None]
    grey = np.full_like(colors, 196)
    painted = certain * colors + (1 - certain) * grey
    painted[~np.isfinite(face.depth_mm)] = PAPER
    return np.asarray(np.clip(painted, 0, 255), np.uint8)


def depth_scale(near: float, far: float) -> Picture:
    """What the colours mean, in mm, as high as a panel."""
    scale = _blank(PANEL_HEIGHT, SCALE_WIDTH)
    top, bottom, left = 10, PANEL_HEIGHT - 34, 14
    ramp = np.linspace(near, far, bottom - top, dtype=np.float32)[:, None].repeat(18, axis=1)
    scale[top:bottom, left : left + 18] = depth_colors(ramp, near, far)
    step = next(s for s in (10, 20, 25, 50, 100, 200, 500, 1000, 5000) if (far - near) / s <= 7)
    for value in np.arange(np.ceil(near / step) * step, far, step):
        y = top + round((value - near) / (far - near) * (bottom - top))
        cv2.line(scale, (left + 18, y), (left + 23, y), SOFT_INK, 1)
        write_text(scale, f"{value:.0f}", (left + 28, y + 5), 14, SOFT_INK)
    write_text(scale, "mm", (left + 28, PANEL_HEIGHT - 16), 14, SOFT_INK)
    return scale


def _no_depth_panel() -> Picture:
    panel = _blank(PANEL_HEIGHT, PANEL_HEIGHT + SCALE_WIDTH, (242, 239, 236))
    write_text(panel, "No depth: the check ended before.", (28, PANEL_HEIGHT // 2), 18, SOFT_INK)
    return _titled(panel, "Depth")


def _facts(verdict: Verdict, width: int) -> Picture:
    rows: list[tuple[str, str]] = []
    for name, value, form in (
        ("Distance", verdict.distance_mm, "{:.0f} mm"),
        ("Between the eyes", verdict.eye_distance_mm, "{:.0f} mm"),
        ("Relief", verdict.relief_mm, "{:.0f} mm"),
        ("Off the best plane", verdict.plane_residual_mm, "{:.1f} mm"),
        ("Depth uncertainty", verdict.depth_sd_mm, "{:.1f} mm"),
    ):
        rows.append((name, "-" if value is None else form.format(value)))
    stages = "".join(f", {stage} {ms:.0f}" for stage, ms in verdict.stage_ms)
    column = width - 300
    # Beside portrait pictures there is no room for a reason and its code on one line.
    fits = all(text_width(explain(code), 18) + text_width(code, 14) < column - 42 for code in verdict.reasons)
    step = 28 if fits else 50
    height = 40 + max(28 * len(rows), step * len(verdict.reasons) + 56)
    facts = _blank(height, width)
    cv2.line(facts, (0, 0), (width, 0), LINE, 1)
    write_text(facts, "Reasons", (0, 30), 16, SOFT_INK, 600)
    for line, code in enumerate(verdict.reasons):
        y = 60 + step * line
        end = write_text(facts, explain(code), (0, y), 18, INK)
        write_text(facts, code, (end + 14, y) if fits else (0, y + 20), 14, SOFT_INK)
    write_text(facts, f"{verdict.time_ms:.0f} ms{stages}; model {verdict.model}", (0, height - 12), 14, SOFT_INK)
    write_text(facts, "Measured", (column, 30), 16, SOFT_INK, 600)
    for line, (name, text) in enumerate(rows):
        y = 60 + 28 * line
        write_text(facts, name, (column, y), 18, INK)
        write_text(facts, text, (width, y), 18, INK, 600, "right")
    return facts


def _titled(panel: Picture, title: str) -> Picture:
    missing = max(0, text_width(title, 16, 600) - panel.shape[1])
    panel = np.hstack([panel, _blank(panel.shape[0], missing)])
    head = _blank(34, panel.shape[1])
    write_text(head, title, (0, 22), 16, SOFT_INK, 600)
    return cast(Picture, np.vstack([head, panel]))


def _side_by_side(panels: list[Picture]) -> Picture:
    spaced: list[Picture] = []
    for panel in panels:
        spaced += [panel, _blank(panel.shape[0], GAP)]
    row = np.hstack(spaced[:-1])
    # Portrait views leave a row too narrow for the sentences below.
    missing = max(0, 1000 - row.shape[1])
    return cast(Picture, cv2.copyMakeBorder(row, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=PAPER))


def _blank(height: int, width: int, color: Color = PAPER) -> Picture:
    return np.full((height, width, 3), color, np.uint8)


def _mixed(color: Color, other: Color, share: float) -> Color:
    b, g, r = (round(a + (c - a) * share) for a, c in zip(color, other, strict=True))
    return b, g, r


def _words(spectrum: str) -> str:
    return spectrum.replace("_", "-")
