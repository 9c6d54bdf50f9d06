"""Write the figures of the README from the files in results/, so that none is typed by hand.

    python benchmarks/readme_figures.py           # rewrite the block
    python benchmarks/readme_figures.py --check   # exit with 1 where the block is not what the files say

A file that is not there yet leaves its table out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
GRADED = (
    ("test", "Rendered, unseen subjects, instruments and rigs"),
    ("other_heads", "The same with heads of a source that was not trained on"),
    ("judge", "Rendered by code that is not ours, scored once"),
)
"""Folders below results/ as ``benchmarks/evaluate_release.py`` fills them, and what was graded there."""
SHOWN_GROUPS = {"visible and near-infrared, up to 600 mm": "visible and near-infrared, up to 0.6 m", "spectra": ""}
"""Groups of depth_summary.json, and what to call them; empty: by their value."""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    given = arguments.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}\n{figures(ROOT / 'results')}{END}{after}"
    if given.check:
        if text != wanted:
            print("README.md: the figures are not those of results/; run python benchmarks/readme_figures.py")
        return int(text != wanted)
    readme.write_text(wanted, "utf-8")
    return 0


def figures(results: Path) -> str:
    """The block's text, from whatever files there are."""
    parts = [grades(results), depth(results), real(results), speed(results)]
    return "".join(f"{part}\n" for part in parts if part)


def grades(results: Path) -> str:
    rows = []
    for folder, what in GRADED:
        found = read(results / folder / "metrics.json")
        if found is None:
            continue
        worst = found["apcer_max"]
        rows.append(
            f"| {what} | {percent(found['bpcer'])} | {percent(worst)}, {worst['species'].replace('_', ' ')} | "
            f"{percent(found['bpnrr'])} | {percent(found['apnrr'])} |"
        )
    if not rows:
        return ""
    head = (
        "Error rates at the model's own threshold, which was set on validation subjects, with exact 95 % intervals. "
        "Presentations\nwithout a response count in the last two columns only.\n\n"
        "| presentations | BPCER | APCER of the worst species | BPNRR | APNRR |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def depth(results: Path) -> str:
    rows = []
    for folder, what in GRADED:
        found = read(results / folder / "depth_summary.json")
        if found is None:
            continue
        for group in found["groups"]:
            kind = SHOWN_GROUPS.get(group["by"])
            if kind is None or (group["by"] != "spectra" and group["value"] != "all"):
                continue
            named = kind or group["value"].replace("_", "-").replace("+", " and ")
            ours, theirs = (millimetres(group[f"{name}median_error_mm"]) for name in ("", "sgbm_"))
            rows.append(f"| {what}: {named} | {group['presentations']} | {ours} | {theirs} |")
    if not rows:
        return ""
    head = (
        "Depth error over the face (median over it, then over presentations), beside OpenCV's tuned StereoSGBM on the "
        "same\nrectified pairs.\n\n"
        "| presentations | n | ours | StereoSGBM |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def real(results: Path) -> str:
    found = read(results / "idiap_mask.json")
    if found is None:
        return ""
    rows = []
    for name, pair in found["pairs"].items():
        verdict = pair["check"]["decision"].replace("_", " ")
        cells = []
        for method in ("ours", "sgbm"):
            apart = pair[method]
            cells.append(
                "-"
                if apart is None
                else f"{apart['median_absolute_mm']:.1f} mm ({apart['median_absolute_without_offset_mm']:.1f})"
            )
        rows.append(f"| {name.replace('-', ' and ').replace('_', ' ')} | {cells[0]} | {cells[1]} | {verdict} |")
    head = (
        "One real capture of a full-head mask (an attack): median absolute difference over the face from a third "
        "sensor's depth, an\nIntel D415, and in brackets what is left after a constant offset is taken out.\n\n"
        "| sensors | ours | StereoSGBM | verdict |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def speed(results: Path) -> str:
    found = read(results / "check_stages.json")
    if found is None:
        return ""
    stages = {name: ms for name, ms in found["median_ms"].items() if name != "all"}
    parts = ", ".join(f"{name} {ms:.0f}" for name, ms in stages.items())
    return (
        f"A check takes {found['median_ms']['all']:.0f} ms ({parts}; medians on {found['cores']} cores of "
        f"{found['processor']},\n{found['runtime']}). Loading takes {found['loading_ms']:.0f} ms, memory "
        f"{found['resident_mb']:.0f} MB, the base install {found['installed_mb_all']:.0f} MB.\n"
    )


def percent(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "-"
    low, high = rate["ci95"]
    return f"{100 * rate['rate']:.1f} % ({rate['errors']} of {rate['n']}; {100 * low:.1f} to {100 * high:.1f})"


def millimetres(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} mm"


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
