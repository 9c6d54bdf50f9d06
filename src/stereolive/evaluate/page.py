"""The page around a report: one self-contained HTML file, light, and made for A4 paper as much as for a screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.45 "DejaVu Sans", "Helvetica Neue", Arial, sans-serif; color: #222; background: #fff;
  margin: 0 auto; max-width: 1010px; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 32px 0 8px; border-bottom: 1px solid #bbb; padding-bottom: 3px; }
h3 { font-size: 14px; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 76ch; }
.faint { color: #555; }
code { font: 12px/1.4 "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 7px; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #888; }
th:first-child, td:first-child, .left { text-align: left; }
td, small { white-space: nowrap; }
td.wrap, .facts td { white-space: normal; }
th { white-space: normal; vertical-align: bottom; }
td small { display: block; color: #555; font-size: 11px; }
table.facts td { text-align: left; }
table.heat td + td { text-align: center; border: 1px solid #fff; min-width: 58px; }
table.heat th + th { text-align: center; font-weight: 400; }
table.heat small { color: inherit; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 12px 0; }
.tile { border: 1px solid #bbb; border-radius: 6px; padding: 8px 12px; min-width: 108px; }
.tile b { display: block; font-size: 21px; }
.tile span { color: #555; font-size: 12px; display: block; }
ul.warnings { background: #fff7e0; border: 1px solid #c9a227; border-radius: 6px; padding: 8px 12px 8px 30px; }
.status { white-space: nowrap; font-weight: 600; }
svg { max-width: 100%; height: auto; }
svg text { font: 12px "DejaVu Sans", "Helvetica Neue", Arial, sans-serif; fill: #222; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 12px; }
.case { border: 1px solid #ccc; border-radius: 6px; padding: 8px; }
.case .views { display: flex; gap: 4px; }
.case figure { margin: 0; flex: 1; min-width: 0; }
.case img { width: 100%; display: block; }
.case figcaption, .case div { font-size: 12px; color: #444; overflow-wrap: anywhere; }
@media print {
  @page { size: A4; margin: 14mm; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 10.5px; padding: 0; max-width: none; }
  h2, h3 { break-after: avoid; }
  tr, .case, .tile, svg, ul, .facts { break-inside: avoid; }
  p.faint { break-before: avoid; }
  th, td { padding: 2px 5px; }
  svg { max-height: 190mm; }
  code { font-size: 9.5px; }
  td small, .tile span { font-size: 9px; }
  .tile { min-width: 90px; }
  .cases { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile b { font-size: 16px; }
}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document; ``body`` is markup, ``title`` text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        ' content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,), wrap: Sequence[int] = ()
) -> str:
    """A table of cells that are HTML already; ``left`` are the columns of words, ``wrap`` those that may be broken."""

    def cell(tag: str, number: int, content: str) -> str:
        kinds = " ".join(kind for kind, numbers in (("left", left), ("wrap", wrap)) if number in numbers)
        return f'<{tag} class="{kinds}">{content}</{tag}>' if kinds else f"<{tag}>{content}</{tag}>"

    head = "".join(cell("th", number, content) for number, content in enumerate(header))
    body = "".join("<tr>" + "".join(cell("td", n, content) for n, content in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names (text) and contents (markup)."""
    body = "".join(f"<tr><td>{escape(name)}</td><td>{content}</td></tr>" for name, content in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def tile(name: str, value: str, note: str) -> str:
    """One figure in large print, with what it is and a note; all text."""
    return f'<div class="tile">{escape(name)}<b>{escape(value)}</b><span>{escape(note)}</span></div>'


def warning_box(texts: Sequence[str]) -> Iterator[str]:
    """What a reader must know before the figures; nothing where there is nothing."""
    if texts:
        yield '<ul class="warnings">' + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def percent(rate: float | None, digits: int = 2) -> str:
    """A rate in percent; small ones keep two significant digits."""
    if rate is None:
        return "–"
    value = rate * 100
    if 0 < value < 0.1:
        digits = min(6, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"


def interval_text(ends: Sequence[float] | None, digits: int = 2) -> str:
    """Both ends (rates) in percent."""
    return "–" if ends is None else f"{percent(ends[0], digits)} to {percent(ends[1], digits)}"


def counted(rate: dict[str, Any] | None) -> str:
    """Errors and presentations of a rate as metrics.json has it."""
    return "–" if rate is None else f"{rate['errors']} of {rate['n']}"
