"""From a score file to ``metrics.json`` and the report:

the contract, thresholds, protocols, groups, drift, comparison.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.errors import InputError, ManifestError, StereoliveError
from stereolive.evaluate import command
from stereolive.evaluate.compare import compare
from stereolive.evaluate.evaluation import evaluate, model_sha256
from stereolive.evaluate.intervals import clopper_pearson

Row = dict[str, Any]
Write = Callable[..., Path]
Make = Callable[..., list[Row]]


def run(path: Path, **options: Any) -> dict[str, Any]:
    result = evaluate(path, path.parent / "out", **options)
    written = json.loads(result.metrics_path.read_text("utf-8"))
    assert written == result.metrics
    return result.metrics


def without(rows: list[Row], *names: str) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


# --- the contract
# ------------------------------------------------------------------------------------------------------


def test_metrics_keep_the_contract(write_scores: Write, presentations: Make) -> None:
    """Every figure of the contract counted again from the rows, by the plainest code there is."""
    rows = without(presentations(), "split")
    metrics = run(write_scores(rows))
    heard = [row for row in rows if row["decision"] != "no_response"]
    bona_fide = [row for row in heard if row["label"] == "bona_fide"]
    rejected = sum(row["decision"] == "attack" for row in bona_fide)
    assert metrics["bpcer"] == metrics["bpcer"] | {
        "n": len(bona_fide),
        "errors": rejected,
        "rate": rejected / len(bona_fide),
        "ci95": list(clopper_pearson(rejected, len(bona_fide))),
    }
    for species in ("print_flat", "replay_phone", "mask_silicone"):
        attacks = [row for row in heard if row["pai_species"] == species]
        accepted = sum(row["decision"] == "bona_fide" for row in attacks)
        assert (metrics["species"][species]["apcer"]["n"], metrics["species"][species]["apcer"]["errors"]) == (
            len(attacks),
            accepted,
        )
        for light, cell in metrics["grid"][species].items():
            assert cell["n"] == sum(row["illumination"] == light for row in attacks)
    assert metrics["apcer_max"]["rate"] == max(entry["apcer"]["rate"] for entry in metrics["species"].values())
    for key, label in (("apnrr", "attack"), ("bpnrr", "bona_fide")):
        kind = [row for row in rows if row["label"] == label]
        silent = sum(row["decision"] == "no_response" for row in kind)
        assert (metrics[key]["n"], metrics[key]["errors"]) == (len(kind), silent)
    assert {"bpcer10", "bpcer20", "bpcer100"} <= set(metrics["bpcer_at_apcer"])
    assert metrics["acer"]["rate"] == pytest.approx((metrics["apcer_max"]["rate"] + metrics["bpcer"]["rate"]) / 2)
    assert "not an ISO" in metrics["acer"]["note"]
    assert 0.9 < metrics["auc"] <= 1
    # The threshold in the file reproduces the system's decisions.
    assert all((row["score"] >= metrics["threshold"]) == (row["decision"] == "bona_fide") for row in heard)


def test_three_columns_give_all_rates_at_an_assumed_threshold(write_scores: Write, presentations: Make) -> None:
    rows = [{name: row[name] for name in ("score", "label", "pai_species")} for row in presentations()]
    metrics = run(write_scores(rows))
    assert metrics["threshold"] == 0.5
    assert "assumed" in metrics["threshold_source"]
    assert any("assumed threshold of 0.5" in text for text in metrics["warnings"])
    assert metrics["bpcer"]["n"] and metrics["grid"] == {}


def test_scores_of_another_range_get_no_invented_threshold(write_scores: Write, presentations: Make) -> None:
    rows = [
        {"score": -3.0 + 9 * (row["score"] or 0.0), "label": row["label"], "pai_species": row["pai_species"]}
        for row in presentations()
    ]
    path = write_scores(rows)
    metrics = run(path)
    assert metrics["threshold"] is None and metrics["bpcer"] is None
    assert metrics["auc"] > 0.9 and metrics["bpcer_at_apcer"]["bpcer20"]["rate"] is not None
    assert run(path, threshold=1.5)["bpcer"]["rate"] is not None


@pytest.mark.parametrize("label", ["attack", "bona_fide"])
def test_one_class_only_is_refused(write_scores: Write, presentations: Make, label: str) -> None:
    rows = [row for row in presentations() if row["label"] == label]
    with pytest.raises(ManifestError, match="rates need both kinds"):
        run(write_scores(rows))


def test_nobody_responds(write_scores: Write, presentations: Make) -> None:
    rows = [row | {"decision": "no_response", "score": ""} for row in without(presentations(), "split")]
    metrics = run(write_scores(rows))
    assert metrics["apnrr"]["rate"] == 1.0 and metrics["auc"] is None


@pytest.mark.parametrize("part", ["train", "validation"])
def test_rows_of_no_test_part_are_graded_with_a_warning(write_scores: Write, presentations: Make, part: str) -> None:
    metrics = run(write_scores([row | {"split": part} for row in presentations()]))
    assert metrics["data"]["graded"] == 400
    assert any("No row belongs to the test part" in text for text in metrics["warnings"])


def test_order_of_rows_does_not_matter(write_scores: Write, presentations: Make) -> None:
    rows = presentations()
    first = run(write_scores(rows))
    second = run(write_scores(rows[::-1], "other.csv"))
    for metrics in (first, second):
        metrics.pop("data")
    first["groups"] = second["groups"] = None  # bootstrap draws follow the order of subjects
    assert _without_draws(first) == _without_draws(second)


def test_rendered_and_real_never_meet(write_scores: Write, presentations: Make) -> None:
    rows = [row | {"origin": "real" if i % 2 else "rendered"} for i, row in enumerate(presentations())]
    path = write_scores(rows)
    with pytest.raises(ManifestError, match="never meet in one rate"):
        run(path)
    metrics = run(path, where=["origin=rendered"])
    assert metrics["data"]["origin"] == "rendered" and metrics["data"]["rows"] == 200


# --- thresholds
# --------------------------------------------------------------------------------------------------------


def test_threshold_is_set_on_validation_rows_and_only_test_rows_are_graded(
    write_scores: Write, presentations: Make
) -> None:
    rows = presentations(900)
    metrics = run(write_scores(without(rows, "decision")), bpcer=0.05)
    validation = sorted(
        row["score"]
        for row in rows
        if row["split"] == "validation" and row["label"] == "bona_fide" and row["score"] != ""
    )
    assert metrics["threshold"] == validation[int(len(validation) * 0.05)]
    assert metrics["data"]["graded"] == sum(row["split"] == "test" for row in rows)


def test_no_threshold_is_set_on_the_test_part(write_scores: Write, presentations: Make) -> None:
    rows = presentations(900)
    test = write_scores([row for row in rows if row["split"] == "test"], "test.csv")
    bare = write_scores(without([row for row in rows if row["split"] == "test"], "split"), "bare.csv")
    everything = write_scores(without(rows, "split"), "everything.csv")
    validation = write_scores([row for row in rows if row["split"] == "validation"], "validation.csv")
    for graded, source in ((test, test), (bare, bare), (bare, test), (bare, everything)):
        with pytest.raises(ManifestError, match=r"test part|test or training part"):
            run(graded, threshold_from=source)
    with pytest.raises(ManifestError, match="never set on the test part"):
        run(test, bpcer=0.01)
    metrics = run(test, threshold_from=validation, bpcer=0.02)
    assert "validation.csv" in metrics["threshold_source"]


def test_shared_subjects_are_said(write_scores: Write, presentations: Make) -> None:
    rows = without(presentations(600), "split")
    metrics = run(write_scores(rows[:300], "a.csv"), threshold_from=write_scores(rows[300:], "b.csv"))
    assert any("both in the validation and in the test part" in text for text in metrics["warnings"])


def test_decisions_that_follow_no_threshold(write_scores: Write, presentations: Make) -> None:
    rows = without(presentations(), "split")
    strange = next(row for row in rows if row["decision"] == "bona_fide")
    strange["decision"] = "attack"
    strange["score"] = 0.99
    metrics = run(write_scores(rows))
    assert metrics["threshold"] is None
    assert metrics["bpcer"]["n"]
    assert any("no single threshold" in text for text in metrics["warnings"])


def test_threshold_column(write_scores: Write, presentations: Make) -> None:
    rows = [row | {"threshold": 0.6} for row in without(presentations(), "split", "decision")]
    assert run(write_scores(rows))["threshold"] == 0.6
    # The system's own decisions go before; what contradicts its threshold is said.
    deciding = [row | {"threshold": 0.5} for row in without(presentations(), "split")]
    metrics = run(write_scores(deciding))
    assert metrics["threshold"] == 0.5 and not any("do not follow" in text for text in metrics["warnings"])
    deciding[0]["score"] = 0.3 if deciding[0]["decision"] == "bona_fide" else 0.8
    assert any("1 decisions" in text for text in run(write_scores(deciding))["warnings"])
    rows[3]["threshold"] = 0.7
    with pytest.raises(ManifestError, match="different values"):
        run(write_scores(rows))


# --- protocols
# ---------------------------------------------------------------------------------------------------------


def test_leave_one_species_out(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = presentations(900)
    protocol = tmp_path / "loo.yaml"
    protocol.write_text("name: leave one species out\nbpcer: 0.05\nleave_one_out: pai_species\n", "utf-8")
    metrics = run(write_scores(rows), protocol=protocol)
    assert set(metrics["folds"]) == {"print_flat", "replay_phone", "mask_silicone"}
    for name, fold in metrics["folds"].items():
        assert list(fold["species"]) == [name]
        assert "validation part" in fold["threshold_source"]
    worst = metrics["summary"]["apcer_max"]
    assert worst["worst"] == max(fold["apcer_max"]["rate"] for fold in metrics["folds"].values())
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Folds" in html and metrics["data"]["graded"] == sum(row["split"] == "test" for row in rows)
    # One system scored all: it may have been trained on what a fold leaves out.
    assert "No column left_out" in metrics["warnings"][0] and "No column left_out" in html


def test_leave_one_out_with_a_model_per_fold(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    """A column ``left_out`` names the model; a fold uses the rows that were scored by the model without its value."""
    rows = []
    for light in ("indoor_diffuse", "night_nir_only"):
        rows += [row | {"sample_id": f"{light}-{row['sample_id']}", "left_out": light} for row in presentations(600)]
    protocol = tmp_path / "loo.json"
    protocol.write_text('{"leave_one_out": "illumination", "bpcer": 0.05}', "utf-8")
    metrics = run(write_scores(rows), protocol=protocol)
    for name, fold in metrics["folds"].items():
        graded = [r for r in rows if r["left_out"] == name and r["illumination"] == name and r["split"] == "test"]
        assert fold["apnrr"]["n"] + fold["bpnrr"]["n"] == len(graded)
    assert metrics["warnings"] == []


def test_a_list_of_subjects_is_a_protocol(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = without(presentations(600), "split")
    protocol = tmp_path / "subjects.csv"
    lines = [f"p{i:02d},{'validation' if i < 15 else 'test'}" for i in range(30)]
    protocol.write_text("subject_id,part\n" + "\n".join(lines), "utf-8")
    metrics = run(write_scores(rows), protocol=protocol, bpcer=0.05)
    assert metrics["protocol"]["folds"] == 1
    assert metrics["bpcer"]["n"] > 0  # one fold is an ordinary metrics.json


def test_folds_by_rules(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    protocol = tmp_path / "rules.yaml"
    protocol.write_text(
        "folds:\n"
        "- {name: night, validation: {split: validation}, test: {split: test, illumination: [night_nir_only]}}\n"
        "- {name: prints, validation: {split: validation}, test: {split: test, pai_species: print_flat}}\n",
        "utf-8",
    )
    metrics = run(write_scores(presentations(900)), protocol=protocol)
    assert list(metrics["folds"]["night"]["grid"]["print_flat"]) == ["night_nir_only"]
    assert list(metrics["folds"]["prints"]["species"]) == ["print_flat"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "threshold_part: test\nleave_one_out: pai_species", "never on the test part"),
        ("b.yaml", "folds:\n- {test: {split: test}, validation: {split: [test, validation]}}", "set on the test part"),
        ("c.yaml", "leave_one_out: colour", "no column 'colour'"),
        ("d.yaml", "leaveoneout: pai_species", "unknown key"),
        ("e.yaml", "bpcer: 5\nleave_one_out: pai_species", "bpcer"),
        ("f.yaml", "a: [", "is not YAML"),
        ("g.json", "{", "is not JSON"),
        ("h.csv", "subject_id,part\np01,test\np01,validation\n", "no presentation may be in two parts"),
        ("i.csv", "subject_id,part\np01,exam\n", "part is 'exam'"),
        ("j.csv", "subject_id\np01\n", "expected the columns part"),
        ("k.csv", "subject_id,part\nnobody,test\n", "no test row"),
        ("l.yaml", "folds: []", "expected a list"),
    ],
)  # fmt: skip
def test_refused_protocols(
    write_scores: Write, presentations: Make, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ManifestError) as caught:
        run(write_scores(presentations()), protocol=tmp_path / name)
    assert message in str(caught.value)
    assert name in str(caught.value) or "scores.csv" in str(caught.value)


# --- groups, drift, comparison
# -----------------------------------------------------------------------------------------


def test_groups_show_differences_and_warn_of_small_ones(write_scores: Write, presentations: Make) -> None:
    rows = without(presentations(3000), "split")
    for row in rows:
        if row["skin_group"] == "VI" and row["label"] == "bona_fide" and int(row["sample_id"][1:]) % 3 == 0:
            row["decision"], row["score"] = "attack", 0.01
        row["helmet"] = "yes" if row["sample_id"] < "s0100" else "no"
    groups = run(write_scores(rows), by=["helmet"])["groups"]
    difference = groups["skin_group"]["VI"]["bpcer_difference"]
    assert difference["difference"] > 0.1 and difference["beyond_chance"]
    assert not groups["skin_group"]["I"]["bpcer_difference"]["difference"] > 0
    assert "only 5 subjects" in groups["skin_group"]["VI"]["too_small"]
    assert "bona fide presentations" in groups["helmet"]["yes"]["too_small"]
    assert len(groups["distance_mm"]) == 4
    with pytest.raises(ManifestError, match="no column 'hat'"):
        run(write_scores(rows), by=["hat"])


def test_drift_fails_only_beyond_the_interval(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = without(presentations(), "split")
    old = evaluate(write_scores(rows), tmp_path / "old").metrics_path
    same = evaluate(write_scores(rows), tmp_path / "new", against=old)
    assert same.regressions == ()
    for row in rows:
        if row["label"] == "bona_fide" and row["score"] != "" and int(row["sample_id"][1:]) % 4 == 0:
            row["decision"], row["score"] = "attack", 0.05
    worse = evaluate(write_scores(rows), tmp_path / "new", against=old)
    assert "bpcer" in {regression.name for regression in worse.regressions}
    better = evaluate(write_scores(without(presentations(), "split")), tmp_path / "new", against=worse.metrics_path)
    assert better.regressions == ()
    fewer = [row for row in rows if row["pai_species"] != "print_flat"]
    gone = evaluate(write_scores(fewer), tmp_path / "new", against=worse.metrics_path)
    assert "no longer measured" in " ".join(r.text for r in gone.regressions if r.name == "apcer print_flat")


@pytest.mark.parametrize("text", ["[]", "{", '{"other": 1}'])
def test_drift_refuses_what_is_no_metrics(write_scores: Write, presentations: Make, tmp_path: Path, text: str) -> None:
    (tmp_path / "old.json").write_text(text, "utf-8")
    with pytest.raises(ManifestError, match=r"old\.json"):
        run(write_scores(presentations()), against=tmp_path / "old.json")


def test_comparison_is_paired(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = without(presentations(), "split")
    changed = [dict(row) for row in rows]
    victims = [row for row in changed if row["label"] == "bona_fide" and row["decision"] == "bona_fide"][:12]
    for row in victims:
        row["decision"], row["score"] = "attack", 0.02
    a, b = write_scores(rows, "a.csv"), write_scores(changed[::-1], "b.csv")
    result = compare(a, b, tmp_path / "cmp").result
    pair = result["differences"]["BPCER"]
    assert (pair["only_a"], pair["only_b"]) == (0, 12)
    assert pair["mcnemar_p"] == pytest.approx(2 * 0.5**12)
    assert pair["ci95"][0] > 0 and pair["difference"] == pytest.approx(12 / pair["n"])
    assert result["auc"]["difference"] < 0
    mirrored = compare(b, a, tmp_path / "cmp").result["differences"]["BPCER"]
    assert mirrored["difference"] == -pair["difference"]
    same = compare(a, a, tmp_path / "cmp").result["differences"]["BPCER"]
    assert same["difference"] == 0 and same["ci95"][0] < 0 < same["ci95"][1]
    assert "<svg" in (tmp_path / "cmp" / "comparison.html").read_text("utf-8")


def test_comparison_tells_files_of_one_name_apart(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = [row | {"model": "ours"} for row in without(presentations(), "split")]
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    a, b = write_scores(rows, "first/scores.csv"), write_scores(without(rows, "model"), "second/scores.csv")
    found = compare(a, b, tmp_path / "cmp")
    assert (found.result["a"]["file"], found.result["b"]["file"]) == ("first/scores.csv", "second/scores.csv")
    html = found.report_path.read_text("utf-8")
    assert ">A: ours (first/scores.csv)</text>" in html and ">B: second/scores.csv</text>" in html


def test_comparison_needs_the_same_presentations(write_scores: Write, presentations: Make, tmp_path: Path) -> None:
    rows = without(presentations(), "split")
    a = write_scores(rows, "a.csv")
    others = write_scores([row | {"sample_id": "x" + row["sample_id"]} for row in rows], "b.csv")
    with pytest.raises(ManifestError, match="no sample_id in common"):
        compare(a, others, tmp_path / "cmp")
    swapped = [row | {"label": "attack" if row["label"] == "bona_fide" else "bona_fide"} for row in rows]
    with pytest.raises(ManifestError, match="differ in the label of s0000"):
        compare(a, write_scores(swapped, "c.csv"), tmp_path / "cmp")
    with pytest.raises(ManifestError, match="no column sample_id"):
        compare(a, write_scores(without(rows, "sample_id"), "d.csv"), tmp_path / "cmp")
    half = compare(a, write_scores(rows[:200], "e.csv"), tmp_path / "cmp").result
    assert half["presentations"] == 200 and "200 presentations of A" in half["warnings"][0]


def test_comparison_refuses_other_presentations_of_the_same_names(
    write_scores: Write, presentations: Make, tmp_path: Path
) -> None:
    """Numbered sample_ids are alike in every data set."""
    rows = without(presentations(), "split")
    others = [row | {"subject_id": "q" + row["subject_id"]} for row in rows]
    with pytest.raises(ManifestError, match="differ in the subject_id of s0000"):
        compare(write_scores(rows, "a.csv"), write_scores(others, "b.csv"), tmp_path / "cmp")


def test_comparison_sets_thresholds_on_validation_rows(
    write_scores: Write, presentations: Make, tmp_path: Path
) -> None:
    """Of a file without decisions; its validation rows need not be in the other file."""
    rows = presentations(900)
    a = write_scores(without(rows, "decision"), "a.csv")
    b = write_scores([row for row in rows if row["split"] == "test"], "b.csv")
    result = compare(a, b, tmp_path / "cmp").result
    assert "validation rows" in result["a"]["threshold_source"]
    assert result["a"]["threshold"] == evaluate(a, tmp_path / "out").metrics["threshold"]
    assert result["presentations"] == sum(row["split"] == "test" for row in rows)
    assert (result["a"]["file"], result["b"]["file"]) == ("a.csv", "b.csv")
    assert -1 <= result["auc"]["ci95"][0] <= result["auc"]["ci95"][1] <= 1


def test_full_system_where_matching_scores_are_given(write_scores: Write, presentations: Make) -> None:
    rows = [
        row | {"match_score": 0.9 if row["label"] == "bona_fide" else 0.4} for row in without(presentations(), "split")
    ]
    path = write_scores(rows)
    assert run(path)["full_system"] is None  # no threshold of the comparison
    full = run(path, match_threshold=0.5)["full_system"]
    assert full["riapar_max"] == full["frr"]["rate"] == run(path)["bpcer"]["rate"]  # no attack matches
    assert run(path, match_threshold=0.3)["full_system"]["species"]["print_flat"]["iapar"]["rate"] is not None


# --- the report
# --------------------------------------------------------------------------------------------------------


def test_report_is_one_file_that_escapes_what_it_shows(write_scores: Write, presentations: Make) -> None:
    rows = without(presentations(), "split")
    for row in rows:
        row["subject_id"] += "<script>alert(1)</script>"
        row["illumination"] += "<b>"
    path = write_scores(rows)
    run(path, system="<img src=x>")
    html = (path.parent / "out" / "report.html").read_text("utf-8")
    assert "<script" not in html and "<img src=x" not in html
    assert not re.search(r"(src|href)=[\"'](?!data:)", html)  # nothing from elsewhere
    for text in ("proves at most", "FIDO", "NIST SP 800-63A-4", "Android class 3", "iBeta level 2", "Worst cases"):
        assert text in html


def test_report_holds_pictures_and_depth_of_worst_cases(
    write_scores: Write, presentations: Make, tmp_path: Path
) -> None:
    (tmp_path / "depth").mkdir()
    rows = [
        row | {"first": "a.png", "second": "../none.png", "depth": "d.png"} for row in without(presentations(), "split")
    ]
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60), 900, np.uint16))  # ten bits in sixteen
    depth = np.linspace(4000, 6000, 2400).reshape(40, 60).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), depth)
    for row in rows:
        cv2.imwrite(str(tmp_path / "depth" / f"{row['sample_id']}.png"), depth)
    path = write_scores(rows)
    run(path, depth_dir=tmp_path / "depth")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert html.count("data:image/jpeg;base64,") >= 3
    assert "depth by the system, 404 to 524 mm" in html and "true depth, 404 to 524 mm" in html


def test_model_hash_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "b.onnx").write_bytes(b"two")
    (tmp_path / "m" / "a.json").write_bytes(b"one")
    before = model_sha256(tmp_path / "m")
    assert before == model_sha256(tmp_path / "m")
    (tmp_path / "m" / "a.json").write_bytes(b"One")
    assert model_sha256(tmp_path / "m") != before
    with pytest.raises(InputError):
        model_sha256(tmp_path / "none")


# --- the commands
# ------------------------------------------------------------------------------------------------------


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args(words)
    status: int = arguments.handler(arguments)
    return status


def test_commands(write_scores: Write, presentations: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_scores(without(presentations(), "split"))
    assert call("evaluate", str(path), "--out", str(tmp_path / "a")) == 0
    assert "the worst of 3 species" in capsys.readouterr().out
    assert call("evaluate", str(path), "--out", str(tmp_path / "b"), "--threshold", "0.95", "--against",
                str(tmp_path / "a" / "metrics.json")) == command.EXIT_WORSE  # fmt: skip
    assert "Worse than" in capsys.readouterr().out
    assert call("plan", "--claim", "0.07", "--species", "6") == 0
    assert "42 attack presentations" in capsys.readouterr().out
    assert call("plan", "--claim", "0.07", "--json") == 0
    assert json.loads(capsys.readouterr().out)["presentations_per_species"] == 42
    assert call("compare", str(path), str(path), "--out", str(tmp_path / "c")) == 0
    assert "common presentations" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("--threshold", "0.5", "--bpcer", "0.01"),
        ("--bpcer", "2"),
        ("--where", "split"),
        ("--where", "split=nowhere"),
        ("--threshold", "nan"),
        ("--protocol", "missing.csv"),
        ("--against", "missing.json"),
        ("--model", "missing"),
    ],
)
def test_commands_refuse_in_one_sentence(
    write_scores: Write, presentations: Make, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with pytest.raises(StereoliveError) as caught:
        call("evaluate", str(write_scores(presentations())), "--out", str(tmp_path / "out"), *words)
    assert "\n" not in str(caught.value)


def test_ten_thousand_rows_agree_with_a_plain_reading(write_scores: Write, presentations: Make) -> None:
    """More than one would count by hand: the reader's blocks and codes lose nothing."""
    path = write_scores(without(presentations(10_000), "split"))
    metrics = run(path)
    with path.open(newline="") as file:
        attacks = [row for row in csv.DictReader(file) if row["pai_species"] == "mask_silicone" and row["score"]]
    accepted = sum(row["decision"] == "bona_fide" for row in attacks)
    assert metrics["species"]["mask_silicone"]["apcer"]["errors"] == accepted


def _without_draws(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_draws(entry) for key, entry in value.items() if not key.endswith("by_subject")}
    return value
