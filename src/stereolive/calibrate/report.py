"""The calibration report: one HTML file with its pictures inside, to be read by the person who holds the board."""
# The page's styles and markup read better unbroken.
# ruff: noqa: E501

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.calibrate.judgement import HEADLINES, MARKS, Finding, cell_counts, coverage, findings, grade
from stereolive.calibrate.solve import MATCHING_ERROR_PX, Calibration, PairResult
from stereolive.errors import InputError
from stereolive.images import as_8bit, as_bgr
from stereolive.rig import Rig
from stereolive.types import ImageArray

STYLE = """
:root{--ink:#1c2430;--soft:#5c6675;--line:#dde2e8;--paper:#fff;--good:#1a7f4b;--usable:#9a6700;--bad:#b42318;--first:#2563a8;--second:#b4532a}
*{box-sizing:border-box}body{margin:0;background:#f3f5f7;color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1020px;margin:0 auto;padding:28px 20px 60px}h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:0 0 10px}
p{margin:0 0 10px}.soft{color:var(--soft)}section{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:18px 20px;margin:16px 0}
section.verdict{border-left:8px solid;color:var(--ink)}.verdict.good{border-left-color:var(--good)}.verdict.usable{border-left-color:var(--usable)}
.verdict.not_good_enough{border-left-color:var(--bad)}.verdict strong{font-size:20px}.good{color:var(--good)}.usable{color:var(--usable)}.not_good_enough{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:13px}td.n,th.n{text-align:right;padding-right:18px}tr.out td{color:var(--soft)}
.two{display:grid;grid-template-columns:1fr 1fr;gap:18px}@media(max-width:700px){.two{grid-template-columns:1fr}}
svg,img{max-width:100%;height:auto;display:block}img{border-radius:4px}.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 14px}
pre{overflow-x:auto;background:#f6f8fa;padding:12px;border-radius:6px;font-size:12px}figure{margin:0}figcaption{color:var(--soft);font-size:13px;margin-top:6px}
td.mark{width:24px;font-weight:700}.wide{overflow-x:auto}
"""


def write_report(
    path: str | Path, calibration: Calibration, images: Mapping[str, tuple[ImageArray, ImageArray]], title: str
) -> None:
    """Write the report. ``images`` holds the pairs' pictures by name; one is shown rectified. Raises InputError."""
    try:
        Path(path).write_text(report_html(calibration, images, title), "utf-8")
    except OSError as error:
        raise InputError(f"report {path}: cannot be written ({error.strerror or error})") from None


def report_html(calibration: Calibration, images: Mapping[str, tuple[ImageArray, ImageArray]], title: str) -> str:
    """The report as one HTML page; ``images``: both views (H, W) or (H, W, 3) of each pair, by its name."""
    verdict = grade(calibration)
    headline, sentence = HEADLINES[verdict]
    board = calibration.board
    parts = [
        f"<h1>Calibration of {html.escape(title)}</h1>",
        f'<p class="soft">{board.kind} {board.columns} x {board.rows}, {board.spacing_mm:g} mm, {len(calibration.pairs)} pairs</p>',
        f'<section class="verdict {verdict}"><p><strong class="{verdict}">{headline}</strong></p><p>{sentence}</p>'
        f"{_findings_table(findings(calibration))}</section>",
        _depth_section(calibration),
        _example_section(calibration, images),
        _coverage_section(calibration),
        _pairs_section(calibration.pairs),
        _rig_section(calibration),
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body><main>{"".join(parts)}</main></body></html>\n'


def _findings_table(rows: list[Finding]) -> str:
    cells = [
        f'<tr><td class="mark {f.grade}">{MARKS[f.grade]}</td><td>{html.escape(f.found)}'
        + (f"<br><b>{html.escape(f.advice)}</b>" if f.advice else "")
        + "</td></tr>"
        for f in rows
    ]
    return f"<table>{''.join(cells)}</table>"


def _depth_section(c: Calibration) -> str:
    rows = "".join(
        f'<tr><td class="n">{e.distance_mm / 1000:g} m</td><td class="n">{e.calibration_mm:.1f}</td>'
        f'<td class="n">{e.matching_mm:.1f}</td><td class="n"><b>{e.total_mm:.1f}</b></td></tr>'
        for e in c.depth_errors
    )
    return (
        '<section><h2>Expected depth error</h2><table><tr><th class="n">distance</th><th class="n">from this calibration, mm</th>'
        f'<th class="n">from {MATCHING_ERROR_PX:g} px of matching, mm</th><th class="n">together, mm</th></tr>{rows}</table>'
        '<p class="soft" style="margin-top:10px">One standard error, over the middle half of the first picture. The calibration\'s share is what '
        "leaving out an eighth of the pairs, in turn, does to the depth. A board printed 1 % too large or too small adds 1 % of the "
        "distance, which no calibration can notice: measure the print.</p></section>"
    )


def _example_section(c: Calibration, images: Mapping[str, tuple[ImageArray, ImageArray]]) -> str:
    used = [pair for pair in c.pairs if pair.used and pair.name in images and pair.epipolar_px is not None]
    if not used:
        return ""
    worst = max(used, key=lambda pair: pair.epipolar_px or 0.0)
    picture = rectified_picture(c.rig, *images[worst.name])
    return (
        f'<section><h2>Rectified views</h2><figure><img alt="both views rectified" src="{_jpeg(picture)}"><figcaption>'
        f"The worst pair that was used, {html.escape(worst.name)} ({worst.epipolar_px:.2f} px). First sensor, then second; the same thing "
        "must lie on the same line in both.</figcaption></figure></section>"
    )


def rectified_picture(rig: Rig, first: ImageArray, second: ImageArray, height: int = 420) -> NDArray[np.uint8]:
    """Both views (H, W, 3) rectified side by side, with a line every 30 rows."""
    rectification = rig.rectification
    scale = height / rectification.size[1]
    affine = np.array([[scale, 0, 0], [0, scale, 0.0]])
    size = (round(rectification.size[0] * scale), height)
    halves = []
    for view, image in (("first", first), ("second", second)):
        map_x, map_y = rectification.maps("first" if view == "first" else "second", affine, size)
        halves.append(cv2.remap(as_bgr(as_8bit(image)), map_x, map_y, cv2.INTER_LINEAR))
    gap = np.full((height, 6, 3), 255, np.uint8)
    picture = np.concatenate([halves[0], gap, halves[1]], axis=1)
    for row in range(15, height, 30):
        cv2.line(picture, (0, row), (picture.shape[1], row), (90, 200, 90), 1)
    return picture.astype(np.uint8, copy=False)


def _coverage_section(c: Calibration) -> str:
    figures = []
    for name, points, size, colour in (
        ("First", c.first_points, c.rig.first.size, "var(--first)"),
        ("Second", c.second_points, c.rig.second.size, "var(--second)"),
    ):
        figures.append(
            f"<figure>{_coverage_svg(points, size, colour)}<figcaption>{name} sensor: {coverage(points, size):.0%} of the cells have "
            "board points; grey cells have none.</figcaption></figure>"
        )
    return f'<section><h2>Coverage</h2><div class="two">{"".join(figures)}</div></section>'


def _coverage_svg(points: NDArray[np.float64], size: tuple[int, int], colour: str) -> str:
    width, height = size
    counts = cell_counts(points, size)
    rows, columns = counts.shape
    cell_w, cell_h = width / columns, height / rows
    cells = "".join(
        f'<rect x="{j * cell_w:.1f}" y="{i * cell_h:.1f}" width="{cell_w:.1f}" height="{cell_h:.1f}" '
        f'fill="{"#fff" if counts[i, j] else "#d5dae1"}" stroke="#e3e7ec"/>'
        for i in range(rows)
        for j in range(columns)
    )
    shown = points[:: max(1, len(points) // 3000)]
    radius = width / 200
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>' for x, y in shown)
    frame = f'<rect width="{width}" height="{height}" fill="none" stroke="#9aa5b1" stroke-width="{width / 300:.1f}"/>'
    return f'<svg viewBox="0 0 {width} {height}">{cells}<g fill="{colour}" fill-opacity=".55">{dots}</g>{frame}</svg>'


def _pairs_section(pairs: tuple[PairResult, ...]) -> str:
    top = max([0.5] + [max(p.first_px or 0, p.second_px or 0, p.epipolar_px or 0) for p in pairs if p.used])
    rows = []
    for pair in pairs:
        name = html.escape(pair.name)
        if not pair.used:
            rows.append(
                f'<tr class="out"><td>{name}</td><td class="not_good_enough">rejected</td>'
                f'<td colspan="4">{html.escape(pair.reason)}</td></tr>'
            )
            continue
        values = (pair.first_px or 0.0, pair.second_px or 0.0, pair.epipolar_px or 0.0)
        numbers = "".join(f'<td class="n">{value:.2f}</td>' for value in values)
        rows.append(
            f'<tr><td>{name}</td><td class="good">used</td>{numbers}<td style="width:38%">{_bars(values, top)}</td></tr>'
        )
    key = (
        '<p class="key soft"><i style="background:var(--first)"></i>first <i style="background:var(--second)"></i>second '
        f'<i style="background:#6b7684"></i>epipolar; full width {top:.2f} px</p>'
    )
    head = '<tr><th>pair</th><th></th><th class="n">first, px</th><th class="n">second, px</th><th class="n">epipolar, px</th><th></th></tr>'
    return f'<section><h2>Errors of each pair</h2>{key}<div class="wide"><table>{head}{"".join(rows)}</table></div></section>'


def _bars(values: tuple[float, float, float], top: float) -> str:
    bars = "".join(
        f'<rect y="{2 + 7 * i}" width="{300 * value / top:.1f}" height="5" rx="1" fill="{colour}"/>'
        for i, (value, colour) in enumerate(zip(values, ("var(--first)", "var(--second)", "#6b7684"), strict=True))
    )
    return f'<svg viewBox="0 0 300 23" preserveAspectRatio="none" style="width:100%;height:23px">{bars}</svg>'


def _rig_section(c: Calibration) -> str:
    rig = c.rig
    turn, _ = cv2.Rodrigues(rig.rotation_second_from_first)
    degrees = [math.degrees(float(v)) for v in np.asarray(turn).ravel()]
    center = -rig.rotation_second_from_first.T @ rig.translation_second_from_first_mm

    def field_of_view(matrix: NDArray[np.float64], width: int) -> float:
        return math.degrees(2 * math.atan(width / 2 / float(matrix[0, 0])))

    rows = [
        ("baseline", f"{rig.baseline_mm:.2f} mm ± {c.baseline_sd_mm:.2f}"),
        ("second sensor's place (right, down, forward)", ", ".join(f"{v:.1f}" for v in center) + " mm"),
        (
            "second sensor turned about x, y, z",
            ", ".join(f"{v:.2f}" for v in degrees) + f" degrees ± {c.rotation_sd_deg:.2f}",
        ),
    ]
    for name, camera in (("first", rig.first), ("second", rig.second)):
        m = camera.matrix
        rows.append(
            (
                f"{name} sensor",
                f"{camera.spectrum.replace('_', '-')}, {camera.width} x {camera.height}, focal length {m[0, 0]:.1f} / {m[1, 1]:.1f} px, "
                f"middle {m[0, 2]:.1f}, {m[1, 2]:.1f}, field of view {field_of_view(m, camera.width):.0f} degrees",
            )
        )
    table = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in rows)
    text = html.escape(json.dumps(rig.as_json(), indent=1))
    return (
        f"<section><h2>The rig</h2><table>{table}</table><details style='margin-top:12px'><summary>Rig file</summary><pre>{text}</pre>"
        "</details></section>"
    )


def _jpeg(picture: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
