"""Write the figures of README.md and docs/evaluation.md from the files in results/, so that none is typed by hand.

    python benchmarks/figures.py           # rewrite the blocks
    python benchmarks/figures.py --check   # exit with 1 where a block is not what the files say

A file that is not there yet leaves its table out.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from stereolive.evaluate.rates import Rate, worst

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
GRADED = (
    ("test", "Rendered, unseen subjects, instruments and rigs"),
    ("other_heads", "The same with heads of a source that was not trained on"),
    ("judge", "Rendered by code that is not ours"),
)
"""Folders below results/ as ``benchmarks/evaluate_release.py`` fills them, and what was graded there."""
SHOWN_GROUPS = {
    "visible and near-infrared, up to 600 mm": "one visible, one near-infrared, whichever is first, up to 0.6 m",
    "spectra": "",
}
"""Groups of depth_summary.json, and what to call them; empty: by their value."""
DEPTH_COLUMNS = (
    *("depth over the face, by", "n", "median", "90th percentile", "offset", "spread"),
    *("StereoSGBM's median", "within its 90 % interval"),
)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    given = arguments.parse_args()
    results, stale = ROOT / "results", 0
    documents = {
        "README.md": [grades(results), depth(results), real(results), speed(results)],
        "docs/evaluation.md": [
            operating(results),
            *(details(results, *graded) for graded in GRADED),
            spots(results),
            ablation(results),
        ],
    }
    for name, parts in documents.items():
        path = ROOT / name
        text = path.read_text("utf-8")
        before, rest = text.split(BEGIN)
        _, after = rest.split(END)
        block = "".join(f"{part}\n" for part in parts if part)
        wanted = f"{before}{BEGIN}\n{block}{END}{after}"
        if given.check and text != wanted:
            print(f"{name}: the figures are not those of results/; run python benchmarks/figures.py")
            stale = 1
        elif not given.check:
            path.write_text(wanted, "utf-8")
    return stale


def grades(results: Path) -> str:
    rows = []
    for folder, what in GRADED:
        found = read(results / folder / "metrics.json")
        if found is None:
            continue
        highest = found["apcer_max"]
        rows.append(
            f"| {what} | {percent(found['bpcer'])} | {percent(highest)}, {highest['species'].replace('_', ' ')} | "
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


def operating(results: Path) -> str:
    """The same presentations at all thresholds that the model's manifest keeps."""
    model = read(ROOT / "src" / "stereolive" / "model" / "manifest.json")
    rows = []
    for folder, what in GRADED:
        path = results / folder / "scores.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            scored = [row for row in csv.DictReader(file) if row["decision"] != "no_response"]
        if any(abs(float(row["threshold"]) - model["threshold"]) > 1e-5 for row in scored):
            continue  # of another model
        for point in sorted(model["operating_points"], key=lambda point: float(point["threshold"])):
            bpcer, apcer = rates_at(scored, point["threshold"])
            kind = worst(apcer)
            assert kind is not None
            rows.append(
                f"| {what} | `{point['name']}`, {point['threshold']:.3f} | {percent(bpcer.as_json())} | "
                f"{percent(apcer[kind].as_json())}, {kind.replace('_', ' ')} |"
            )
    if not rows:
        return ""
    head = (
        "## At the thresholds that the model keeps\n\n"
        "Set on its validation subjects (`bpcer_5`: so that 5 % of their living faces are refused; `apcer_10`: so that "
        "10 % of the\nattacks of their worst species pass); its own is one of them.\n\n"
        "| presentations | operating point | BPCER | APCER of the worst species |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def rates_at(scored: list[dict[str, str]], threshold: float) -> tuple[Rate, dict[str, Rate]]:
    """BPCER, and APCER by species, of rows of a score file that got a response."""
    accepted: dict[str, list[bool]] = {}
    for row in scored:
        accepted.setdefault(row["pai_species"] or row["label"], []).append(float(row["score"]) >= threshold)
    living = accepted.pop("bona_fide")
    bpcer = Rate(len(living) - sum(living), len(living))
    return bpcer, {kind: Rate(sum(found), len(found)) for kind, found in accepted.items()}


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
    only = {"doubts": " where the face is taken for living"}
    parts = ", ".join(f"{name} {ms:.0f}{only.get(name, '')}" for name, ms in stages.items())
    return (
        f"A check takes {found['median_ms']['all']:.0f} ms ({parts}; medians on {found['cores']} cores of "
        f"{found['processor']},\n{found['runtime']}). Loading takes {found['loading_ms']:.0f} ms, memory "
        f"{found['resident_mb']:.0f} MB, the base install {found['installed_mb_all']:.0f} MB.\n"
    )


def details(results: Path, folder: str, what: str) -> str:
    """A graded set's own section: rates by species and light, by skin group, and depth by what may change it."""
    found, measured = read(results / folder / "metrics.json"), read(results / folder / "depth_summary.json")
    if found is None:
        return ""
    lights = sorted({light for cells in found["grid"].values() for light in cells})
    head = [name.replace("_", " ") for name in lights]
    lines = [
        f"## {what} (`results/{folder}/`)",
        "",
        f"Threshold {found['threshold']:.3f}, area under the curve {found['auc']:.3f}. Wrongly accepted of those that "
        "got a response;",
        "the last row counts living faces wrongly refused.",
        "",
        f"| species | {' | '.join(head)} | all |",
        "|---" * (len(lights) + 2) + "|",
    ]
    for species, cells in sorted(found["grid"].items(), key=lambda entry: -found["species"][entry[0]]["apcer"]["rate"]):
        counts = [counted(cells.get(light)) for light in lights]
        lines.append(f"| {species} | {' | '.join(counts)} | {percent(found['species'][species]['apcer'])} |")
    living = [counted(found["bpcer_by_illumination"].get(light)) for light in lights]
    lines += [f"| bona fide | {' | '.join(living)} | {percent(found['bpcer'])} |", ""]
    skin = found["groups"].get("skin_group", {})
    if skin:
        lines += ["| skin group | BPCER | attacks accepted |", "|---|---|---|"]
        lines += [
            f"| {group} | {percent(rates['bpcer'])} | {percent(rates['attacks_accepted'])} |"
            for group, rates in sorted(skin.items())
        ]
        lines.append("")
    reliability = found.get("reliability")
    if reliability:
        apart = 100 * reliability["expected_error"]
        lines += [f"Scores as probabilities: {apart:.1f} points apart from the shares in the mean (report).", ""]
    if measured is not None:
        lines += [
            f"| {' | '.join(DEPTH_COLUMNS)} |",
            "|---" * len(DEPTH_COLUMNS) + "|",
        ]
        for group in measured["groups"]:
            errors = [
                millimetres(group[f"{name}_mm"])
                for name in ("median_error", "percentile90_error", "offset", "spread", "sgbm_median_error")
            ]
            inside = f"{100 * group['within_90_interval']:.0f} %"
            told = (f"{group['by']}: {group['value']}", str(group["presentations"]), *errors, inside)
            lines.append(f"| {' | '.join(told)} |")
        lines.append("")
    return "\n".join(lines)


def counted(rate: dict[str, Any] | None) -> str:
    return f"{rate['errors']}/{rate['n']}" if rate and rate["n"] else ""


def spots(results: Path) -> str:
    path = results / "one_sided_spots.csv"
    if not path.exists():
        return ""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "## Spots on the skin that the visible sensor alone sees (`results/one_sided_spots.csv`)",
        "",
        "Presentations of the test data before a visible and a near-infrared sensor, with spots of three millimetres",
        "laid on the visible picture; the contrast is the standard deviation of the logarithm of brightness. Renderers",
        "differ in it as people do. Attacks get the same spots. `results/README.md` says of the models",
        "that are not the released one what they are.",
        "",
        "| model | contrast | depth error | offset | spread | BPCER | BPNRR | attacks accepted | APNRR |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        errors = [millimetres(float(row[f"{name}_mm"])) for name in ("median_error", "offset", "spread")]
        rates = []
        for presented, wrong in (("bona_fide", "refused"), ("attacks", "accepted")):
            total, silent = int(row[presented]), int(row[f"{presented}_without_response"])
            rates += [Rate(int(row[f"{presented}_{wrong}"]), total - silent), Rate(silent, total)]
        shown = [percent(rate.as_json()) for rate in rates]
        lines.append(f"| {' | '.join([row['model'], row['contrast'], *errors, *shown])} |")
    return "\n".join([*lines, ""])


def ablation(results: Path) -> str:
    path = results / "ablation.csv"
    if not path.exists():
        return ""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "## What each part of the training buys (`results/ablation.csv`)",
        "",
        f"The liveness model trained anew for {rows[0]['steps']} steps at half resolution, each time on a part of the",
        "data or with a part of its inputs, on the data and the depth network of the release that",
        "`results/README.md` names. So few steps do not reach the released model's rates: compare rows.",
        "`benchmarks/ablation.py` says what the columns count. The depth network has seen what the others have not.",
        "The last two columns: AUC over what was left out, and that of the row `everything`, which learned from it.",
        "The group `stages` goes on from the finished model instead, at full resolution and for few, small steps.",
        "After so few steps models with fewer inputs are further on: the group `channels` tells how fast each input is",
        "learned from, not what it buys in the end.",
        "",
        "| | | trained on | AUC | APCER | worst species | left out: accepted | left out: AUC | known: AUC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        left_out = f"{row['left_out_errors']} of {row['left_out']}" if row["left_out"] else ""
        lines.append(
            f"| {row['group']} | {row['variant']} | {row['trained_on']} | {row['auc']} | {share(row['apcer'])} | "
            f"{row['worst_species']} {share(row['worst_apcer'])} | {left_out} | {row['left_out_auc']} | "
            f"{row['known_auc']} |"
        )
    return "\n".join([*lines, ""])


def share(text: str) -> str:
    return f"{100 * float(text):.0f} %"


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
