"""The report: one HTML file that an auditor can archive, print and read without colour vision."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from stereolive import __version__
from stereolive.evaluate.claims import CLAIMS, Claim
from stereolive.evaluate.figures import det_figure, histogram_figure, interval_figure, reliability_figure, shade
from stereolive.evaluate.groups import FEWEST_SUBJECTS, SMALLEST_GROUP
from stereolive.evaluate.metrics import species_masks
from stereolive.evaluate.page import counted, facts, interval_text, page, percent, table, tile, warning_box
from stereolive.evaluate.pictures import Case, worst_cases
from stereolive.evaluate.scores import ScoreTable
from stereolive.evaluate.thresholds import Grading

TITLE = "Presentation attack detection: evaluation after ISO/IEC 30107-3"
STATUS = {"proved": "● proved", "met": "● met", "not proved": "◐ not proved", "not met": "○ not met"}


def write_report(
    path: Path, metrics: dict[str, Any], scores: ScoreTable, grading: Grading, pictures: Path, depth_dir: Path | None
) -> None:
    """Write the report of one evaluation."""
    body = [
        *_head(metrics),
        *_result(metrics),
        *_claims(metrics),
        *_sample(metrics),
        *_heat_map(metrics),
        *_curves(metrics, scores),
        *_full_system(metrics),
        *_groups(metrics),
        *_cases(worst_cases(scores, grading, pictures, depth_dir)),
        *_method(),
    ]
    path.write_text(page(TITLE, body), "utf-8")


def write_protocol_report(path: Path, metrics: dict[str, Any]) -> None:
    """Write the report of a protocol: a table of its folds, then each fold's rates."""
    body = [*_head(metrics), *_folds(metrics)]
    for name, fold in metrics["folds"].items():
        body.append(f"<h2>Fold: {escape(name)}</h2>")
        body += [
            part.replace("<h2>", "<h3>").replace("</h2>", "</h3>")
            for part in (*_result(fold), *_sample(fold), *_heat_map(fold))
        ]
    path.write_text(page(TITLE, [*body, *_method()]), "utf-8")


def _head(metrics: dict[str, Any]) -> Iterator[str]:
    data, system = metrics["data"], metrics["system"]
    yield f"<h1>{TITLE}</h1>"
    rows = [("System", escape(system["name"] or "not named"))]
    if system["model_sha256"]:
        rows.append(("Model", f"{escape(system['model'])}, SHA-256 <code>{system['model_sha256']}</code>"))
    else:
        rows.append(("Model", "hash not given"))
    rows.append(("Scores", f"{escape(data['file'])}, SHA-256 <code>{data['sha256']}</code>"))
    if "protocol" in metrics:
        protocol = metrics["protocol"]
        text = f"{escape(protocol['name'])}, {protocol['folds']} folds, SHA-256 <code>{protocol['sha256']}</code>"
        rows.append(("Protocol", text))
    people = f", {data['subjects']} subjects" if data["subjects"] is not None else ", subjects not named"
    rows.append(
        (
            "Presentations",
            f"{data['rows']} ({data['bona_fide']} bona fide, {data['attacks']} attacks{people}),"
            f" {data['graded']} graded",
        )
    )
    if data["where"]:
        rows.append(("Only rows with", escape(", ".join(data["where"]))))
    origin = {"rendered": "rendered: these rates say nothing certain about cameras", "real": "real captures"}
    rows.append(
        ("Origin", origin.get(data["origin"], "the file does not say whether presentations are real or rendered"))
    )
    if "threshold_source" in metrics:
        rows.append(("Threshold", f"{_number(metrics['threshold'])}, {escape(metrics['threshold_source'])}"))
    rows.append(("Made with", f"stereolive {__version__}"))
    yield facts(rows)


def _result(metrics: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Result</h2>"
    worst, bona_fide = metrics["apcer_max"], metrics["bpcer"]
    tiles = []
    if bona_fide is not None:
        if worst is not None:
            tiles.append(
                tile("APCER, worst species", f"{percent(worst['rate'])} %", f"{worst['species']}, {counted(worst)}")
            )
        tiles.append(tile("BPCER", f"{percent(bona_fide['rate'])} %", counted(bona_fide)))
    for key, name in (("bpcer20", "BPCER at APCER 5 %"), ("bpcer100", "BPCER at APCER 1 %")):
        if key in metrics["bpcer_at_apcer"]:
            rate = metrics["bpcer_at_apcer"][key]
            note = counted(rate) if rate["resolved"] else f"{counted(rate)}; too few attacks to resolve"
            tiles.append(tile(name, f"{percent(rate['rate'])} %", note))
    for silent in ("apnrr", "bpnrr"):
        tiles += [tile(silent.upper(), f"{percent(metrics[silent]['rate'])} %", counted(metrics[silent]))]
    yield '<div class="tiles">' + "".join(tiles) + "</div>"
    yield from warning_box(metrics["warnings"])
    if bona_fide is None:
        return
    rows = [(name, entry["apcer"]) for name, entry in metrics["species"].items()]
    rows.sort(key=lambda row: (-(row[1]["rate"] or 0), row[0]))
    marks = [
        (
            name,
            rate["rate"],
            (rate["ci95"][0], rate["ci95"][1]),
            f"{percent(rate['rate'])} % ({counted(rate)})" if rate["n"] else "no response",
        )
        for name, rate in [*rows, ("bona fide (BPCER)", bona_fide)]
    ]
    yield "<p>APCER of each PAI species and BPCER, with exact 95 % intervals:</p>"
    yield interval_figure(marks, {"7 %": 0.07})


def _claims(metrics: dict[str, Any]) -> Iterator[str]:
    if "claims" not in metrics:
        return
    yield "<h2>Which demands it would meet</h2>"
    verdicts = metrics["claims"]
    rows = []
    for claim in CLAIMS:
        verdict = verdicts[claim.key]
        status = f'<span class="status">{STATUS[verdict["status"]]}</span>'
        rows.append([escape(claim.name), escape(claim.text), status, escape(_missing(claim, verdict, metrics))])
    yield table(["", "Demand", "Status", "What is missing"], rows, left=(0, 1, 2, 3), wrap=(1, 3))
    # Demands that ask the same of a species share a column.
    columns: dict[tuple[float | None, float, int], list[Claim]] = {}
    for claim in CLAIMS:
        columns.setdefault((claim.below, claim.at_most, claim.presentations), []).append(claim)
    rows = []
    for name, entry in metrics["species"].items():
        parts = [verdicts[same[0].key]["species"][name] for same in columns.values()]
        rows.append([escape(name), counted(entry["apcer"]), *(_part(part) for part in parts)])
    lacking = [
        sum(part["more"] or 0 for part in verdicts[same[0].key]["species"].values()) for same in columns.values()
    ]
    rows.append(["<b>more in all</b>", "", *(f"<b>{count}</b>" for count in lacking)])
    names = ["<br>".join(escape(claim.name) for claim in same) for same in columns.values()]
    yield "<p>How many more presentations of each species, if none of them is accepted:</p>"
    yield table(["", "Accepted", *names], rows)
    yield (
        '<p class="faint">Proved: the one-sided exact bound at 95 % lies below the limit for every species.'
        " Met: the observed rate suffices, as the laboratory's rule asks. Not met: so many were accepted that more"
        " presentations do not help. FIDO, NIST and Android limit attacks accepted by the whole system, liveness"
        " and comparison; what passes liveness is an upper limit of that. The bound takes presentations as"
        " independent; see the next section for the view by subject. Their further demands (comparison errors, choice"
        " of species, laboratory) cannot be seen from scores.</p>"
    )


def _missing(claim: Claim, verdict: dict[str, Any], metrics: dict[str, Any]) -> str:
    """What keeps a demand from being met, in some words."""
    failing = [name for name, part in verdict["species"].items() if part["status"] == "not met"]
    words = []
    if failing:
        words.append(f"{len(failing)} of {len(verdict['species'])} species accepted too often")
    rate = metrics["bpcer"]["rate"]
    if claim.bpcer_at_most is not None and (rate is None or rate > claim.bpcer_at_most):
        words.append(f"BPCER {percent(rate)} %")
    if not words and verdict["more"]:
        words.append(f"{verdict['more']} more presentations, none of them accepted")
    return ", ".join(words) or "nothing"


def _part(part: dict[str, Any]) -> str:
    """One species before one demand."""
    if part["status"] == "not proved":
        return f"◐ {part['more']} more"
    return STATUS[part["status"]]


def _sample(metrics: dict[str, Any]) -> Iterator[str]:
    if metrics["bpcer"] is None:
        return
    yield "<h2>What the sample can and cannot prove</h2>"
    entries = [("bona fide", metrics["bpcer"], metrics["bpnrr"], "–")]
    for name, entry in metrics["species"].items():
        entries.append((name, entry["apcer"], entry["apnrr"], str(entry.get("instruments", "–"))))
    by_subject = any(rate.get("subjects") for _, rate, _, _ in entries)
    by_instrument = any(count != "–" for *_, count in entries)
    rows = []
    for name, rate, silent, instruments in entries:
        proof = (
            f"{counted(rate)} proves at most {percent(rate['proves_at_most'], 1)} %"
            if rate["n"]
            else "nothing: no response"
        )
        row = [escape(name), percent(rate["rate"], 1), interval_text(rate["ci95"], 1), proof]
        if by_subject:
            bound = rate.get("proves_at_most_by_subject")
            row += [
                str(rate["subjects"]),
                interval_text(rate["ci95_by_subject"], 1),
                "–" if bound is None else f"{percent(bound, 1)}",
            ]
        row += [instruments] if by_instrument else []
        rows.append([*row, counted(silent)])
    header = ["", "Rate, %", "95 % interval, %", "At 95 % confidence"]
    header += ["Subjects", "Interval by subject, %", "At most by subject, %"] if by_subject else []
    header += ["Instruments"] if by_instrument else []
    yield table([*header, "No response"], rows, left=(0, 3))
    if by_subject:
        yield (
            '<p class="faint">By subject: presentations of one subject are not independent. The bootstrap'
            " over subjects has no answer where nothing"
            " erred; there, that no subject of so many met an error proves a limit of its own, on the rate of"
            " subjects that do.</p>"
        )


def _heat_map(metrics: dict[str, Any]) -> Iterator[str]:
    if not metrics["grid"]:
        return
    yield "<h2>PAI species × illumination</h2>"
    lights = sorted(
        {light for cells in metrics["grid"].values() for light in cells} | set(metrics["bpcer_by_illumination"])
    )
    head = "".join(f"<th>{escape(light)}</th>" for light in lights)
    rows = []
    for name, cells in [*metrics["grid"].items(), ("bona fide (BPCER)", metrics["bpcer_by_illumination"])]:
        shown = []
        for light in lights:
            cell = cells.get(light)
            if cell is None or not cell["n"]:
                shown.append('<td class="faint">–<small>none</small></td>')
                continue
            back, ink = shade(cell["rate"])
            small = f"{counted(cell)}, ≤ {percent(cell['ci95'][1], 0)}"
            shown.append(
                f'<td style="background:{back};color:{ink}">{percent(cell["rate"], 1)}<small>{small}</small></td>'
            )
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(shown)}</tr>")
    yield f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    yield (
        '<p class="faint">Percent of presentations with a response that were answered wrongly (APCER; last'
        " row BPCER); below it the errors and the upper"
        " end of the exact 95 % interval in percent. Darker is worse.</p>"
    )


def _curves(metrics: dict[str, Any], scores: ScoreTable) -> Iterator[str]:
    if not metrics["det"]:
        return
    yield "<h2>Detection error trade-off</h2>"
    curves = {name: (np.array(curve["apcer"]), np.array(curve["bpcer"])) for name, curve in metrics["det"].items()}
    points = {}
    if metrics["bpcer"] is not None:
        points = {name: (metrics["species"][name]["apcer"]["rate"], metrics["bpcer"]["rate"]) for name in curves}
    yield det_figure(curves, points)
    yield (
        '<p class="faint">One curve per PAI species, the mark is the operating point. Axes are normal'
        " deviates; a rate beyond them, such as 0, is drawn on the border."
        " A curve ends where the sample does: with n presentations no rate below 1/n is seen.</p>"
    )
    rows = []
    for key, name in (("bpcer10", "10"), ("bpcer20", "5"), ("bpcer100", "1"), ("bpcer1000", "0.1")):
        rate = metrics["bpcer_at_apcer"][key]
        resolved = "" if rate["resolved"] else "too few attacks: no error allowed"
        rows.append(
            [
                f"BPCER at APCER {name} %",
                percent(rate["rate"]),
                interval_text(rate["ci95"]),
                _number(rate["threshold"]),
                "worst",
                resolved,
            ]
        )
    for key, name in (("apcer_at_bpcer_5", "5"), ("apcer_at_bpcer_1", "1"), ("apcer_at_bpcer_0.1", "0.1")):
        point = metrics["apcer_at_bpcer"][key]
        rate = point["apcer_max"]
        resolved = "" if point["resolved"] else "too few bona fide: no error allowed"
        rows.append(
            [
                f"APCER at BPCER {name} %",
                percent(rate["rate"]),
                interval_text(rate["ci95"]),
                _number(point["threshold"]),
                escape(rate["species"]),
                resolved,
            ]
        )
    yield table(["", "%", "95 % interval, %", "Threshold", "Species", ""], rows, left=(0, 4, 5))
    acer, eer = metrics["acer"]["rate"], metrics["eer"]["rate"]
    yield (
        "<p>Not metrics of ISO/IEC 30107-3, but printed in papers: "
        f"AUC {metrics['auc']:.4f} ({metrics['auc_ci95'][0]:.4f} to {metrics['auc_ci95'][1]:.4f}), EER"
        f" {percent(eer)} %, ACER {percent(acer)} %."
        ' <span class="faint">Thresholds in this section are set on the graded presentations themselves, as a'
        " DET curve does; they are no"
        " settings for use.</span></p>"
    )
    yield "<h2>Scores</h2>"
    groups = {"bona fide": scores.score[scores.bona_fide & scores.responded]}
    groups.update({name: scores.score[mask & scores.responded] for name, mask in species_masks(scores).items()})
    yield histogram_figure({name: values for name, values in groups.items() if len(values)}, metrics["threshold"])
    yield (
        '<p class="faint">Heights are the square root of the share of a group, so that single scores can be seen;'
        " each group has its own scale.</p>"
    )
    if metrics["reliability"]:
        yield "<h3>As probabilities</h3>"
        yield reliability_figure(metrics["reliability"]["bins"])
        yield (
            f"<p>Expected calibration error {100 * metrics['reliability']['expected_error']:.1f} points"
            ' <span class="faint">(mean distance from the diagonal, as many attacks as bona fide presentations;'
            " the numbers under the axis are presentations, the bars 95 % intervals).</span></p>"
        )


def _full_system(metrics: dict[str, Any]) -> Iterator[str]:
    full = metrics.get("full_system")
    if not full:
        return
    yield "<h2>Full system: liveness and comparison</h2>"
    rows = [
        [escape(name), percent(entry["iapar"]["rate"]), interval_text(entry["iapar"]["ci95"]), percent(entry["riapar"])]
        for name, entry in full["species"].items()
    ]
    yield table(["", "IAPAR, %", "95 % interval, %", "RIAPAR, %"], rows)
    yield (
        f"<p>FRR {percent(full['frr']['rate'])} % ({counted(full['frr'])}) at the comparison's threshold"
        f" {_number(full['match_threshold'])};"
        f" RIAPAR = IAPAR + FRR, at most {percent(full['riapar_max'])} %.</p>"
    )


def _groups(metrics: dict[str, Any]) -> Iterator[str]:
    if not metrics.get("groups"):
        return
    yield "<h2>By group</h2>"
    yield (
        '<p class="faint">Each group with its difference to all other groups together, in percentage points,'
        " and the 95 % interval of that"
        " difference; bold where it is beyond chance, as one of twenty is by chance alone. Accepted attacks are pooled"
        " over species here: groups may differ in their mix of species. ▲ marks a group that is too small to say:"
        f" fewer than {SMALLEST_GROUP} presentations of a kind, which alone can prove 7 %, or"
        f" {FEWEST_SUBJECTS} subjects.</p>"
    )
    for column, groups in metrics["groups"].items():
        rows = []
        for value, group in groups.items():
            worst = group["apcer_max"]
            rows.append(
                [
                    escape(value),
                    "–" if group["subjects"] is None else str(group["subjects"]),
                    f"{percent(group['bpcer']['rate'])}<small>{counted(group['bpcer'])}</small>",
                    _difference(group["bpcer_difference"]),
                    "–"
                    if worst is None
                    else f"{percent(worst['rate'])}<small>{escape(worst['species'])}, {counted(worst)}</small>",
                    _difference(group["attacks_accepted_difference"]),
                    percent(group["nonresponse"]["rate"]),
                    f"▲ {escape(_few(group['too_small']))}" if group["too_small"] else "",
                ]
            )
        header = [
            escape(column),
            "Subjects",
            "BPCER, %",
            "Difference",
            "APCER, worst species, %",
            "Difference, all attacks",
        ]
        yield table([*header, "No response, %", ""], rows, left=(0, 7))


def _few(too_small: str) -> str:
    """The count alone; the section's introduction has the rest of the sentence."""
    return too_small.partition(",")[0].removeprefix("only ").removesuffix(" presentations")


def _difference(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return "–"
    low, high = difference["ci95"]
    text = f"{_points(difference['difference'])}<small>{_points(low)} to {_points(high)}</small>"
    return f"<b>{text}</b>" if difference["beyond_chance"] else text


def _points(difference: float) -> str:
    """Percentage points with a sign, and a minus instead of a hyphen; no negative zero."""
    return f"{round(difference * 100, 1) + 0.0:+.1f}".replace("-", "−")


def _cases(cases: dict[str, list[Case]]) -> Iterator[str]:
    if not any(cases.values()):
        return
    yield "<h2>Worst cases</h2>"
    if not any(case.pictures for found in cases.values() for case in found):
        yield (
            '<p class="faint">Without pictures: none was found by the columns first, second and depth'
            " (--pictures names the folder that they are relative to).</p>"
        )
    for kind, found in cases.items():
        if not found:
            continue
        wrong = found[0].error
        if kind == "attacks":
            title = "Attacks accepted" if wrong else "Attacks with the highest scores (none accepted)"
        else:
            title = "Bona fide rejected" if wrong else "Bona fide with the lowest scores (none rejected)"
        yield f'<h3>{title}</h3><div class="cases">'
        for case in found:
            views = "".join(
                f'<figure><img src="{uri}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
                for name, uri in case.pictures
            )
            names = ("sample_id", "pai_species", "material", "illumination", "subject_id")
            about = " · ".join(case.row[name] for name in names if case.row.get(name))
            reasons = f"<br>{escape(case.row['reasons'].replace(';', ', '))}" if case.row.get("reasons") else ""
            yield (
                f'<div class="case"><div class="views">{views}</div>'
                f"<div><b>score {case.score:.4g}</b> · {escape(about)}{reasons}</div></div>"
            )
        yield "</div>"


def _folds(metrics: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Folds</h2>"
    if len(metrics["folds"]) > 1:
        yield from warning_box(metrics["warnings"])
    rows = []
    for name, fold in metrics["folds"].items():
        worst = fold["apcer_max"]
        rows.append(
            [
                escape(name),
                "–" if worst is None else f"{percent(worst['rate'])} ({counted(worst)})",
                "–" if worst is None else escape(worst["species"]),
                "–" if fold["bpcer"] is None else f"{percent(fold['bpcer']['rate'])} ({counted(fold['bpcer'])})",
                _number(fold["threshold"]),
                "–" if fold["auc"] is None else f"{fold['auc']:.4f}",
            ]
        )
    yield table(["Fold", "APCER, worst, %", "Species", "BPCER, %", "Threshold", "AUC (not ISO)"], rows, left=(0, 2))
    names = {"apcer_max": "APCER, worst species", "bpcer": "BPCER", "acer": "ACER (not ISO)"}
    rows = [
        [
            names[key],
            percent(value["mean"]),
            percent(value["sd"]),
            f"{percent(value['worst'])} ({escape(value['worst_fold'])})",
        ]
        for key, value in metrics["summary"].items()
    ]
    yield table(["Over folds", "Mean, %", "Standard deviation", "Worst fold, %"], rows)


def _method() -> Iterator[str]:
    yield "<h2>How these figures are made</h2>"
    yield (
        "<p>A presentation is accepted where its score reaches the threshold. APCER of a PAI species:"
        " accepted attacks among its attacks with a response;"
        " the worst species stands for the system. BPCER: rejected bona fide presentations among those with a"
        " response. APNRR, BPNRR: presentations without a"
        " response among all; they count in no other rate. Intervals are exact (Clopper and Pearson 1934),"
        " two-sided, 95 %; what a sample proves is the one-sided"
        " bound at 95 %. BPCER at a fixed APCER takes the APCER as the maximum over species, without interpolation.</p>"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
