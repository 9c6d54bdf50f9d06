"""The report and its figures: what an auditor must find there, and that it can be told apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stereolive.errors import InputError, ManifestError
from stereolive.evaluate.evaluation import evaluate
from stereolive.evaluate.figures import COLOURS, DASHES, MARKS, det_figure, interval_figure, shade

Row = dict[str, Any]
Write = Callable[..., Path]
Make = Callable[..., list[Row]]


def html_of(path: Path, **options: Any) -> str:
    return evaluate(path, path.parent / "out", **options).report_path.read_text("utf-8")


def section(html: str, title: str) -> str:
    """The part under a heading, without tags."""
    part = html.split(f"<h2>{title}</h2>")[1].split("<h2>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", part).split())


@pytest.fixture
def small(write_scores: Write) -> Path:
    """0 of 30 prints, 0 of 45 screens and 5 of 20 masks accepted; 2 of 50 bona fide rejected."""
    rows: list[Row] = []
    for species, n, accepted in (("print", 30, 0), ("screen", 45, 0), ("mask", 20, 5), ("", 50, 48)):
        for i in range(n):
            label = "attack" if species else "bona_fide"
            decision, score = ("bona_fide", 0.9 - i / 1000) if i < accepted else ("attack", 0.1 + i / 1000)
            rows.append({"score": score, "label": label, "pai_species": species, "decision": decision})
    return write_scores(rows)


def test_each_demand_says_what_is_missing_for_each_species(small: Path) -> None:
    text = section(html_of(small), "Which demands it would meet")
    assert "FIDO biometric component attacks accepted below 7 % for each species ○ not met 1 of 3 species" in text
    assert "mask 5 of 20 ○ not met ○ not met ○ not met" in text
    assert "print 0 of 30 ◐ 12 more ◐ 120 more ◐ 120 more" in text  # 42 prove 7 %, iBeta asks for 150
    assert "screen 0 of 45 ● proved ◐ 105 more ◐ 105 more" in text
    assert "more in all 12 225 225" in text


def test_a_high_bpcer_is_named_among_what_is_missing(small: Path) -> None:
    text = section(html_of(small, threshold=0.8695), "Which demands it would meet")
    assert re.search(r"iBeta level 1 .{60,80} ○ not met 1 of 3 species accepted too often, BPCER 38.00 %", text)


def test_what_the_sample_proves(small: Path) -> None:
    text = section(html_of(small), "What the sample can and cannot prove")
    assert "screen 0.0 0.0 to 7.9 0 of 45 proves at most 6.4 % 0 of 45" in text


def test_head_names_data_model_threshold_and_version(small: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    html = html_of(small, system="Some system", model=tmp_path / "model.bin", origin="real")
    for text in ("Some system", "model.bin, SHA-256", "scores.csv, SHA-256", "real captures", "stereolive 0."):
        assert text in html
    assert len(re.findall(r"<code>[0-9a-f]{64}</code>", html)) == 2


def test_origin_is_believed_only_where_the_file_does_not_say(small: Path, write_scores: Write) -> None:
    assert evaluate(small, small.parent / "out", origin="rendered").metrics["data"]["origin"] == "rendered"
    rows = [
        {"score": 0.9, "label": "bona_fide", "pai_species": "", "origin": "real"},
        {"score": 0.1, "label": "attack", "pai_species": "print", "origin": "real"},
    ]
    with pytest.raises(ManifestError, match="says of itself that it is real"):
        evaluate(write_scores(rows), small.parent / "out", origin="rendered")
    with pytest.raises(InputError, match="rendered or real"):
        evaluate(small, small.parent / "out", origin="painted")


def test_missing_pictures_are_said(small: Path) -> None:
    assert "none was found by the columns first, second and depth" in section(html_of(small), "Worst cases")


def test_small_groups_are_marked(write_scores: Write, presentations: Make) -> None:
    rows = [{k: v for k, v in row.items() if k != "split"} for row in presentations(200)]
    text = section(html_of(write_scores(rows)), "By group")
    assert re.search(r"▲ \d+ bona fide", text) and "fewer than 42 presentations of a kind" in text
    assert "−" in text and not re.search(r"\s-\d", text)  # a minus, not a hyphen


def curve(n: int) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(n + 1) / n
    return steps, steps[::-1]


def test_few_curves_share_a_figure_and_differ_without_colour() -> None:
    figure = det_figure({name: curve(20) for name in "abcdef"}, {"a": (0.1, 0.2)})
    dashes = re.findall(r'<polyline[^>]*stroke-dasharray="([^"]*)"', figure)
    assert len(dashes) == 6 and len(set(dashes)) == 6
    assert len(set(COLOURS)) == len(set(DASHES)) == len(set(MARKS)) == 8


def test_many_curves_have_a_panel_each() -> None:
    names = [f"species_{i}" for i in range(14)]
    figure = det_figure({name: curve(20) for name in names}, dict.fromkeys(names, (1.0, 0.04)))
    assert figure.count("<polyline") == 14 and figure.count("<circle") == 14 and figure.count("<rect") == 14
    assert all(f">{name}</text>" in figure for name in names)
    lines = re.findall(r'<polyline points="([^"]+)"', figure)
    places = [tuple(map(float, pair.split(","))) for line in lines for pair in line.split()]
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', figure).groups())  # type: ignore[union-attr]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


@pytest.mark.parametrize("highest", [0.015, 0.08, 0.4, 1.0])
def test_numbers_below_an_axis_do_not_touch(highest: float) -> None:
    figure = interval_figure([("print", highest, (0, highest), "note")], {"7 %": 0.07})
    bottom = max(float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" text-anchor="middle">[\d.]+<', figure))
    numbers = re.findall(rf'<text x="([\d.]+)" y="{bottom:.1f}" text-anchor="middle">([\d.]+)<', figure)
    assert numbers[0][1] == "0" and len(numbers) >= 3
    assert all(float(b[0]) - float(a[0]) >= 4 * (len(a[1]) + len(b[1])) for a, b in itertools.pairwise(numbers))


def test_heat_map_grows_darker_and_stays_legible() -> None:
    """Grey print keeps the order, and the ink stands out from its ground (WCAG's contrast ratio of at least 4.5)."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
        parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    shades = [shade(rate) for rate in np.linspace(0, 1, 201)]
    grounds = [luminance(ground) for ground, _ in shades]
    assert all(after <= before for before, after in itertools.pairwise(grounds))
    for (_, ink), ground in zip(shades, grounds, strict=True):
        light, dark = max(ground, luminance(ink)), min(ground, luminance(ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5
