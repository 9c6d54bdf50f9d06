"""The main job on the pairs that come with the package: a table, and one page of pictures that needs no other file."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from stereolive.data.manifest import Manifest, Presentation
from stereolive.detector import LivenessDetector
from stereolive.errors import InputError, ManifestError
from stereolive.explain import explain
from stereolive.images import read_image
from stereolive.picture import Picture, draw
from stereolive.rig import Rig
from stereolive.types import Verdict

FOLDER = "demo_pairs"
EXPECTED = "expected"
"""Column of the bundled manifest: the right decision. It is not the label where one sensor cannot see."""
STYLES = {"bona_fide": "green", "attack": "red", "no_response": "yellow"}
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Checked:
    """One bundled pair with its verdict."""

    presentation: Presentation
    expected: str
    verdict: Verdict
    picture: Picture

    @property
    def is_right(self) -> bool:
        """An attack is refused by either other decision; a living face is taken as it should be, or not."""
        if self.expected == "attack":
            return self.verdict.decision != "bona_fide"
        return self.verdict.decision == self.expected


def bundled_pairs() -> Manifest:
    """The manifest of the pairs in the package. Raises ManifestError."""
    folder = Path(str(resources.files("stereolive"))) / FOLDER
    if not folder.is_dir():
        raise ManifestError("this installation comes without demo pairs")
    return Manifest.read(folder / "manifest.csv")


def run_demo(detector: LivenessDetector, out: str | Path, console: Console | None = None) -> Path:
    """Check all bundled pairs, print a table, and write one page; returns its path."""
    console = console or Console()
    manifest = bundled_pairs()
    _warm_up(detector, manifest.presentations[0])
    checked = []
    with console.status("checking") as status:
        for presentation in manifest:
            status.update(f"checking {presentation.sample_id}")
            checked.append(_check(detector, presentation))
    console.print(_table(checked))
    right = sum(entry.is_right for entry in checked)
    console.print(f"{right} of {len(checked)} right; all pairs are rendered, of faces that no training saw.")
    folder = Path(out)
    page = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(render_page(checked, detector), "utf-8")
    except OSError as error:
        raise InputError(f"{page}: cannot be written ({error.strerror or error})") from None
    return page


def render_page(checked: list[Checked], detector: LivenessDetector) -> str:
    """The page as HTML with all pictures inside."""
    rows = "\n".join(_row(number, entry) for number, entry in enumerate(checked, start=1))
    figures = "\n".join(_figure(number, entry) for number, entry in enumerate(checked, start=1))
    right = sum(entry.is_right for entry in checked)
    return _PAGE.format(
        rows=rows,
        figures=figures,
        right=right,
        count=len(checked),
        model=html.escape(detector.model.title),
        threshold=f"{detector.threshold:.3f}",
    )


def _warm_up(detector: LivenessDetector, presentation: Presentation) -> None:
    """The first run of a network allocates its memory; a table of times should not show that."""
    detector.check(read_image(presentation.first), read_image(presentation.second), _rig(presentation))


def _rig(presentation: Presentation) -> Rig:
    assert presentation.rig is not None, "a bundled pair without a rig"
    return Rig.load(presentation.rig)


def _check(detector: LivenessDetector, presentation: Presentation) -> Checked:
    rig = _rig(presentation)
    first, second = read_image(presentation.first), read_image(presentation.second)
    analysis = detector.analyse(first, second, rig)
    expected = presentation.further.get(EXPECTED) or presentation.label or ""
    return Checked(presentation, expected, analysis.verdict, draw(analysis, first, second, rig))


def _table(checked: list[Checked]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("pair", "light", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "distance", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("right", no_wrap=True)
    for entry in checked:
        verdict, style = entry.verdict, STYLES[entry.verdict.decision]
        table.add_row(
            entry.presentation.sample_id,
            _words(entry.presentation.illumination),
            f"[{style}]{_words(verdict.decision)}[/]",
            "-" if verdict.score is None else f"{verdict.score:.3f}",
            "-" if verdict.distance_mm is None else f"{verdict.distance_mm:.0f} mm",
            f"{verdict.time_ms:.0f} ms",
            "yes" if entry.is_right else "[bold]no[/]",
        )
    return table


def _row(number: int, entry: Checked) -> str:
    verdict = entry.verdict
    cells = (
        f'<a href="#pair-{number}">{html.escape(entry.presentation.sample_id)}</a>',
        html.escape(_what(entry.presentation)),
        html.escape(_words(entry.presentation.illumination)),
        f'<span class="verdict {verdict.decision}">{_words(verdict.decision)}</span>',
        "-" if verdict.score is None else f"{verdict.score:.3f}",
        "-" if verdict.distance_mm is None else f"{verdict.distance_mm:.0f} mm",
        f"{verdict.time_ms:.0f} ms",
        html.escape(_words(entry.expected)) + ("" if entry.is_right else " <strong>(wrong)</strong>"),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _figure(number: int, entry: Checked) -> str:
    encoded, data = cv2.imencode(".jpg", entry.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise InputError(f"picture of {entry.presentation.sample_id}: cannot be encoded")
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    height, width = entry.picture.shape[:2]
    what = html.escape(f"{entry.presentation.sample_id}: {_what(entry.presentation)}")
    light = html.escape(_words(entry.presentation.illumination))
    reasons = html.escape(" ".join(explain(code) for code in entry.verdict.reasons))
    return (
        f'<figure id="pair-{number}"><figcaption><strong>{what}</strong>, {light}; '
        f"expected {html.escape(_words(entry.expected))}</figcaption>"
        f'<img loading="lazy" width="{width}" height="{height}" src="{uri}" '
        f'alt="{_words(entry.verdict.decision)}. {reasons}"></figure>'
    )


def _what(presentation: Presentation) -> str:
    if presentation.label == "bona_fide":
        group = presentation.further.get("skin_group", "")
        return f"living face, skin group {group}" if group else "living face"
    return _words(presentation.species)


def _words(code: str) -> str:
    return code.replace("_", " ")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>stereolive demo</title>
<style>
:root {{ color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #202630; background: #eef0f3; }}
body {{ margin: 0 auto; max-width: 1180px; padding: 32px 20px 64px; }}
h1 {{ margin: 0 0 4px; font-size: 1.7rem; }}
p {{ margin: 0 0 20px; max-width: 70ch; color: #4a5464; }}
.scroll {{ overflow-x: auto; background: #fff; border-radius: 10px; margin-bottom: 28px; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: 8px 14px; text-align: left; border-bottom: 1px solid #e3e6ea; white-space: nowrap; }}
th {{ font-size: .85rem; color: #5d6877; }}
tr:last-child td {{ border-bottom: 0; }}
td:nth-child(5), td:nth-child(6), td:nth-child(7), th:nth-child(5), th:nth-child(6), th:nth-child(7) {{
  text-align: right; font-variant-numeric: tabular-nums; }}
a {{ color: #1c5f99; }}
.verdict {{ color: #fff; border-radius: 6px; padding: 2px 9px; font-size: .9rem; }}
.bona_fide {{ background: #227a52; }} .attack {{ background: #bc2c30; }} .no_response {{ background: #5c6876; }}
figure {{ margin: 0 0 24px; background: #fff; border-radius: 10px; overflow: hidden; }}
figcaption {{ padding: 10px 18px; }}
img {{ display: block; width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{right} of {count} pairs judged rightly</h1>
<p>Each pair is two images of one moment, from two calibrated sensors. Every pair here is rendered, with faces and
attack instruments that the model was not trained on; no real person was recorded. Model {model}, threshold
{threshold}: a score of at least the threshold is taken for bona fide.</p>
<div class="scroll"><table>
<thead><tr><th>pair</th><th>what it is</th><th>light</th><th>verdict</th><th>score</th><th>distance</th><th>time</th>
<th>expected</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
{figures}
</body>
</html>
"""
