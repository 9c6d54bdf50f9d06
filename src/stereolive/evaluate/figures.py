"""Figures as inline SVG: told apart by dash, mark and position as well as by colour, and by grey values on paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Okabe and Ito's palette, which people without full colour vision can tell apart; yellow is too pale for lines on
# white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#666666")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2", "6 2 1 2 1 2")
MARKS = ("circle", "square", "triangle", "diamond", "hourglass", "circle-open", "square-open", "triangle-open")
GRID, INK, FAINT = "#d8d8d8", "#222", "#666"
PROBIT_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99)
PANEL_TICKS = (0.001, 0.01, 0.1, 0.4, 0.8, 0.99)
MOST_IN_ONE = 6  # more curves in one figure cannot be told apart
PANELS_A_ROW = 4
NUMBER_PX = 24

Curves = Mapping[str, tuple[FloatArray, FloatArray]]


class _Probit:
    """Normal deviates of rates, as ISO/IEC 19795-1 draws DET curves, as positions from 0 to 1."""

    def __init__(self, curves: Curves, points: Mapping[str, tuple[float, float]]) -> None:
        # A curve can show no rate below one of its sample; the axis begins at the tick below the smallest rate that
        # any curve shows.
        rates = [rate for curve in curves.values() for rate in curve]
        smallest = min((float(rate[rate > 0].min()) for rate in rates if (rate > 0).any()), default=0.01)
        self.low = min(max((tick for tick in PROBIT_TICKS if tick <= max(smallest, 1e-4)), default=1e-4), 0.01)
        self.high = 0.99 if any(rate > 0.8 for point in points.values() for rate in point) else 0.9
        normal = NormalDist()
        self._deviate = normal.inv_cdf
        self._ends = normal.inv_cdf(self.low), normal.inv_cdf(self.high)

    def place(self, rate: float) -> float:
        """A rate of 0 or 1 has no place on such an axis: it lies on the border."""
        low, high = self._ends
        return (self._deviate(min(max(rate, self.low), self.high)) - low) / (high - low)

    def shown(self, ticks: Sequence[float]) -> list[float]:
        return [tick for tick in ticks if self.low <= tick <= self.high]


def det_figure(curves: Curves, points: Mapping[str, tuple[float, float]] | None = None) -> str:
    """DET curves on normal-deviate axes; each curve is APCER (T,), BPCER (T,), ``points`` are operating points of the
    same names.

    Few curves share one figure, many have a panel each on the same axes.
    """
    points = points or {}
    axis = _Probit(curves, points)
    if len(curves) > MOST_IN_ONE:
        return _det_panels(curves, points, axis)
    left, top, side = 58, 12, 400
    parts = [_text(left + side / 2, top + side + 36, "APCER (attacks accepted), %", "middle")]
    parts.append(_text(14, top + side / 2, "BPCER (bona fide rejected), %", "middle", rotate=-90))
    parts += _det_frame(left, top, side, axis, PROBIT_TICKS, True, True)
    for number, (name, curve) in enumerate(curves.items()):
        colour, dash, mark = COLOURS[number], DASHES[number], MARKS[number]
        parts += _det_curve(left, top, side, axis, curve, points.get(name), (colour, dash, mark))
        y = top + 10 + number * 20
        parts.append(_line(left + side + 18, y, left + side + 58, y, colour, dash, 2))
        parts += [_mark(mark, left + side + 38, y, colour), _text(left + side + 66, y + 4, name)]
    width = left + side + 66 + 8 * max((len(name) for name in curves), default=0) + 10
    return _svg(width, max(top + side + 46, top + 20 * len(curves) + 20), parts, "DET curves")


def _det_panels(curves: Curves, points: Mapping[str, tuple[float, float]], axis: _Probit) -> str:
    left, top, side, across, down = 52, 22, 185, 222, 226
    rows = math.ceil(len(curves) / PANELS_A_ROW)
    parts = [_text(14, rows * down / 2, "BPCER (bona fide rejected), %", "middle", rotate=-90)]
    for number, (name, curve) in enumerate(curves.items()):
        row, column = divmod(number, PANELS_A_ROW)
        x, y = left + column * across, top + row * down
        lowest = number + PANELS_A_ROW >= len(curves)
        parts.append(_text(x, y - 6, name))
        parts += _det_frame(x, y, side, axis, PANEL_TICKS, column == 0, lowest)
        parts += _det_curve(x, y, side, axis, curve, points.get(name), (COLOURS[0], "", "circle"))
    width, height = left + PANELS_A_ROW * across, rows * down + 30
    parts.append(_text(left + width / 2 - 40, height - 4, "APCER (attacks accepted), %", "middle"))
    return _svg(width, height, parts, "DET curves, a panel for each PAI species")


def _det_frame(
    x: float, y: float, side: float, axis: _Probit, ticks: Sequence[float], left: bool, below: bool
) -> Iterator[str]:
    """Grid and border of one square at (x, y), with numbers on the left and below it."""
    for tick in axis.shown(ticks):
        along, up = x + axis.place(tick) * side, y + (1 - axis.place(tick)) * side
        yield _line(along, y, along, y + side, GRID)
        yield _line(x, up, x + side, up, GRID)
        if below:
            yield _text(along, y + side + 16, f"{tick * 100:g}", "middle")
        if left:
            yield _text(x - 6, up + 4, f"{tick * 100:g}", "end")
    yield f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="{INK}"/>'


def _det_curve(
    x: float,
    y: float,
    side: float,
    axis: _Probit,
    curve: tuple[FloatArray, FloatArray],
    point: tuple[float, float] | None,
    style: tuple[str, str, str],
) -> Iterator[str]:
    colour, dash, mark = style

    def place(apcer: float, bpcer: float) -> tuple[float, float]:
        return x + axis.place(apcer) * side, y + (1 - axis.place(bpcer)) * side

    corners = (place(apcer, bpcer) for apcer, bpcer in _staircase(*curve))
    path = " ".join(f"{along:.1f},{up:.1f}" for along, up in corners)
    yield (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"'
        f' stroke-dasharray="{dash}" stroke-linejoin="round"/>'
    )
    if point is not None:
        yield _mark(mark, *place(*point), colour)


def interval_figure(
    rows: Sequence[tuple[str, float | None, tuple[float, float], str]], limits: Mapping[str, float]
) -> str:
    """Rates with their intervals, one row each: name, rate, interval, note. ``limits`` are named vertical lines.

    The axis is the square root of the rate, so that 0 has a place and 1 % and 10 % are both legible.
    """
    left, width, step, top = 150, 420, 24, 34
    highest = max((ends[1] for _, _, ends, _ in rows), default=0.1)
    high = next((h for h in (0.02, 0.05, 0.1, 0.2, 0.5) if h >= highest), 1.0)
    ticks = [t for t in (0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t <= high]

    def place(rate: float) -> float:
        return left + math.sqrt(min(rate, high) / high) * width

    bottom = top + step * len(rows)
    parts = []
    free = float(left - NUMBER_PX)  # where the next number has room
    for tick in ticks:
        parts.append(_line(place(tick), top - 4, place(tick), bottom, GRID))
        if place(tick) - free >= NUMBER_PX:
            parts.append(_text(place(tick), bottom + 14, f"{tick * 100:g}", "middle"))
            free = place(tick)
    parts.append(_text(left + width / 2, bottom + 30, "%", "middle"))
    for name, limit in limits.items():
        if limit <= high:
            parts += [
                _line(place(limit), top - 8, place(limit), bottom, INK, "4 3"),
                _text(place(limit), top - 12, name, "middle"),
            ]
    for number, (name, rate, (low, upper), note) in enumerate(rows):
        y = top + step * number + step / 2
        parts.append(_text(left - 8, y + 4, name, "end"))
        parts.append(_line(place(low), y, place(upper), y, INK, width=2))
        parts += [_line(place(end), y - 4, place(end), y + 4, INK, width=2) for end in (low, upper)]
        if rate is not None:
            parts.append(_mark("circle", place(rate), y, COLOURS[0]))
        parts.append(_text(left + width + 10, y + 4, note))
    return _svg(left + width + 190, bottom + 36, parts, "Rates with 95 % intervals")


def histogram_figure(groups: Mapping[str, FloatArray], threshold: float | None, bins: int = 60) -> str:
    """Score histograms, one strip a group on one axis.

    Heights are the square root of a bin's share, so that rare scores are seen, each strip to its own scale.
    """
    left, width, height, gap, top = 150, 520, 30, 8, 20
    everything = np.concatenate(list(groups.values()))
    low, high = float(everything.min()), float(everything.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif high == low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    bottom = top + (height + gap) * len(groups)
    parts = []
    shares = {name: np.sqrt(np.histogram(scores, edges)[0] / len(scores)) for name, scores in groups.items()}
    for number, (name, scores) in enumerate(groups.items()):
        base = top + (height + gap) * number + height
        colour = COLOURS[0] if name == "bona fide" else COLOURS[1]
        for bin_number, tall in enumerate(shares[name]):
            if tall > 0:
                bar = max(1.0, tall / shares[name].max() * height)
                x = left + bin_number * width / bins
                parts.append(
                    f'<rect x="{x:.1f}" y="{base - bar:.1f}" width="{width / bins - 0.8:.1f}"'
                    f' height="{bar:.1f}" fill="{colour}"/>'
                )
        parts += [_line(left, base, left + width, base, FAINT), _text(left - 8, base - 8, name, "end")]
        parts.append(_text(left + width + 8, base - 8, f"n = {len(scores)}"))
    if threshold is not None and low <= threshold <= high:
        x = left + (threshold - low) / (high - low) * width
        parts += [_line(x, top - 6, x, bottom, INK, "4 3"), _text(x, top - 9, "threshold", "middle")]
    for tick in np.linspace(low, high, 6):
        x = left + (tick - low) / (high - low) * width
        parts += [_line(x, bottom - gap, x, bottom - gap + 4, INK), _text(x, bottom + 10, f"{tick:.3g}", "middle")]
    parts.append(_text(left + width / 2, bottom + 26, "score (higher: more likely bona fide)", "middle"))
    return _svg(left + width + 90, bottom + 34, parts, "Score histograms")


def reliability_figure(bins: Sequence[Mapping[str, Any]]) -> str:
    """Share of bona fide presentations by score, with intervals, against the diagonal where both are equal; under each
    bin how many presentations it holds."""
    left, top, side = 58, 12, 300
    parts = [
        _text(left + side / 2, top + side + 52, "score", "middle"),
        _text(14, top + side / 2, "bona fide among as many attacks, %", "middle", rotate=-90),
    ]
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, y = left + tick * side, top + (1 - tick) * side
        parts += [_line(x, top, x, top + side, GRID), _line(left, y, left + side, y, GRID)]
        parts += [_text(x, top + side + 16, f"{tick:g}", "middle"), _text(left - 6, y + 4, f"{100 * tick:g}", "end")]
    parts.append(_line(left, top + side, left + side, top, FAINT, "4 3"))
    for entry in bins:
        middle = left + (entry["from"] + entry["to"]) / 2 * side
        parts.append(_text(middle, top + side + 32, str(entry["bona_fide"] + entry["attacks"]), "middle"))
        if entry["share"] is None:
            continue
        x = left + entry["mean_score"] * side
        low, high = (top + (1 - end) * side for end in entry["ci95"])
        parts.append(_line(x, low, x, high, INK, width=2))
        parts += [_line(x - 4, end, x + 4, end, INK, width=2) for end in (low, high)]
        parts.append(_mark("circle", x, top + (1 - entry["share"]) * side, COLOURS[0]))
    return _svg(left + side + 20, top + side + 60, parts, "Reliability diagram")


def shade(rate: float) -> tuple[str, str]:
    """Background and ink for a rate in a heat map: one hue from white to dark, so that grey print keeps the order."""
    amount = min(1.0, math.sqrt(rate / 0.5))
    red, green, blue = (round(255 + (dark - 255) * amount) for dark in (8, 48, 107))
    # Where black and white stand out alike.
    return f"#{red:02x}{green:02x}{blue:02x}", "#ffffff" if amount > 0.655 else "#000000"


def _staircase(apcers: FloatArray, bpcers: FloatArray) -> list[tuple[float, float]]:
    """Corners of the curve: with finite samples no threshold lies between two neighbouring points."""
    order = np.lexsort((-bpcers, apcers))
    xs, ys = apcers[order], bpcers[order]
    steps = [(float(xs[0]), float(ys[0]))]
    for x, y in zip(xs[1:], ys[1:], strict=True):
        steps += [(float(x), steps[-1][1]), (float(x), float(y))]
    return steps


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    fill = "#fff" if kind.endswith("open") else colour
    shape = kind.removesuffix("-open")
    style = f'fill="{fill}" stroke="{colour}" stroke-width="1.5"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {style}/>'
    outline = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "triangle": ((0, -5), (5, 4), (-5, 4)),
        "diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        "hourglass": ((-4.5, -4.5), (4.5, -4.5), (-4.5, 4.5), (4.5, 4.5)),
    }[shape]
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in outline)
    return f'<polygon points="{path}" {style}/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", rotate: int = 0) -> str:
    turn = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}">' + "".join(parts) + "</svg>"
    )
