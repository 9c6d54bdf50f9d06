"""The command line: what each command prints, writes and returns."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import stereolive
from stereolive import cli
from stereolive.cli import main
from stereolive.data.manifest import Presentation
from stereolive.detector import LivenessDetector
from stereolive.images import read_depth, read_image
from stereolive.rig import Rig
from stereolive.score import PROVENANCE_COLUMNS, RESULT_COLUMNS
from stereolive.store import Model, released_model

Capture = pytest.CaptureFixture[str]


def check_arguments(living: Presentation) -> list[str]:
    return ["check", str(living.first), str(living.second), "--rig", str(living.rig)]


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"stereolive {stereolive.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["chekc"], "invalid choice"),
        (["check", "a.png", "b.png"], "--rig"),
        (["check", "a.png", "b.png", "--rig", "r.json", "--picture", "out.jpg"], ".png"),
        (["check", "a.png", "b.png", "--rig", "r.json", "--threshold", "2"], "from 0 to 1"),
        (["check", "a.png", "b.png", "--rig", "r.json", "--threshold", "nan"], "from 0 to 1"),
        (["check", "a.png", "b.png", "--rig", "r.json", "--colour"], "--colour"),
        (["score", "m.csv"], "--out"),
        (["rig"], "ACTION"),
        (["synth", "out", "--samples", "many"], "--samples"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments: list[str], word: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == "" and err.count("\n") == 1 and word in err


def test_every_command_has_help(capsys: Capture) -> None:
    commands = next(a for a in cli.parser()._actions if hasattr(a, "choices") and a.choices)
    assert {"check", "score", "evaluate", "plan", "compare", "demo", "rig", "synth", "train", "export"} <= set(
        commands.choices or ()
    )
    for name in commands.choices or ():
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0 and len(capsys.readouterr().out) > 80


def test_check_prints_the_contract_s_object(living: Presentation, capsys: Capture) -> None:
    status = main([*check_arguments(living), "--json"])
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == "" and out.count("\n") == 1
    needed = {"decision", "score", "threshold", "reasons", "distance_mm", "face", "model", "time_ms"}
    assert needed <= set(answer)
    assert status == {"bona_fide": 0, "attack": 1, "no_response": 3}[answer["decision"]]
    assert 0 <= answer["score"] <= 1 and 100 < answer["distance_mm"] < 2000 and answer["time_ms"] > 0
    for view in ("first", "second"):
        assert len(answer["face"][view]) == 4


@pytest.mark.parametrize(("threshold", "status"), [("0", 0), ("1", 1)])
def test_the_threshold_decides_and_the_status_tells(
    threshold: str, status: int, living: Presentation, capsys: Capture
) -> None:
    assert main([*check_arguments(living), "--threshold", threshold]) == status
    out, _ = capsys.readouterr()
    assert out.startswith("bona_fide: " if status == 0 else "attack: ") and f"threshold {float(threshold):.3f}" in out


def test_check_writes_picture_and_depth(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    picture, depth = tmp_path / "picture.png", tmp_path / "depth.png"
    main([*check_arguments(living), "--picture", str(picture), "--depth", str(depth), "--json"])
    answer = json.loads(capsys.readouterr().out)
    drawn = read_image(picture)
    assert drawn.shape[1] >= 1000 and drawn.shape[2] == 3
    rig = Rig.load(living.rig)
    depth_mm = read_depth(depth)
    assert depth_mm.shape == (rig.first.height, rig.first.width)
    measured = depth_mm[depth_mm > 0]
    assert len(measured) > 1000 and abs(np.median(measured) - answer["distance_mm"]) < 0.25 * answer["distance_mm"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth.png", "picture.png"]


def test_without_a_response_the_depth_is_empty_and_the_picture_says_why(
    folder: Path, living: Presentation, capsys: Capture
) -> None:
    first = read_image(living.first)
    cv2.imwrite(str(folder / "black.png"), np.zeros_like(first))
    arguments = ["check", folder / "black.png", living.second, "--rig", living.rig]
    status = main([*map(str, arguments), "--picture", str(folder / "p.png"), "--depth", str(folder / "d.png")])
    assert status == 3 and "first_too_dark" in capsys.readouterr().out
    assert not read_depth(folder / "d.png").any() and read_image(folder / "p.png").size


@pytest.mark.parametrize("option", ["--picture", "--depth"])
def test_check_overwrites_none_of_its_inputs(option: str, folder: Path, capsys: Capture) -> None:
    names = [next(path for path in folder.iterdir() if path.stem == stem) for stem in ("first", "second")]
    for name in names:
        name.rename(name.with_suffix(".png"))  # whatever format it has
    (folder / "sub").mkdir()
    os.link(folder / "second.png", folder / "again.png")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    arguments = ["check", *(str(folder / f"{stem}.png") for stem in ("first", "second")), "--rig", f"{folder}/rig.json"]
    for target, word in (("sub/../first.png", "is the first image"), ("again.png", "is the second image")):
        assert main([*arguments, option, str(folder / target)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and word in err
    assert main([*arguments, "--picture", str(folder / "p.png"), "--depth", str(folder / "sub/../p.png")]) == 2
    assert "name two files" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_what_cannot_be_written_is_an_error(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    assert main([*check_arguments(living), "--depth", str(tmp_path / "none" / "d.png")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "cannot be written" in err


@pytest.mark.parametrize("threads", ["-1", "300", "99999999999999"])
def test_no_more_threads_than_are_of_use(threads: str, living: Presentation, capsys: Capture) -> None:
    assert main([*check_arguments(living), "--threads", threads]) == 2
    assert capsys.readouterr().err == f"stereolive: threads: expected 0 to 64, got {threads}\n"


def test_bad_models_are_refused(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    for model in (tmp_path / "none", tmp_path):
        assert main([*check_arguments(living), "--model", str(model)]) == 2
        assert capsys.readouterr().err.startswith("stereolive: model ")


def test_a_bug_is_never_taken_for_a_verdict(
    living: Presentation, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(LivenessDetector, "analyse", broken)
    assert main(check_arguments(living)) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_verdict(living: Presentation) -> None:
    read, written = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "stereolive", *check_arguments(living), "--json"]
    done = subprocess.run(command, stdout=written, stderr=subprocess.PIPE, text=True)
    os.close(written)
    assert done.returncode == 141 and done.stderr == ""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, bundle: Sequence[Presentation]) -> Path:
    """Four good rows, with bad ones between them, and columns of its own."""
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "small.png").write_bytes(cv2.imencode(".png", np.zeros((20, 30), np.uint8))[1].tobytes())
    (folder / "bad.json").write_text("{}")
    rows = [
        [
            f"row-{number}",
            str(entry.first),
            str(entry.second),
            str(entry.rig),
            entry.label,
            entry.pai_species,
            "350",
            "x, y",
        ]
        for number, entry in enumerate([*bundle[:2], *bundle[-2:]])
    ]
    good = rows[0]
    rows.insert(1, ["no-file", "none.png", *good[2:]])
    rows.insert(2, ["no-image", good[1], "broken.png", *good[3:]])
    rows.insert(3, ["no-rig", *good[1:3], "bad.json", *good[4:]])
    rows.insert(4, ["no-fit", "small.png", *good[2:]])
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "first", "second", "rig", "label", "pai_species", "distance_mm", "note"])
        writer.writerows(rows)
    return folder / "manifest.csv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_score_keeps_the_contract(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    out, depth = tmp_path / "scores.csv", tmp_path / "depth"
    assert main(["score", str(manifest), "--out", str(out), "--depth-dir", str(depth), "--workers", "2"]) == 0
    rows = rows_of(out)
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in rows_of(manifest)], (
        "in the manifest's order"
    )
    assert list(rows[0])[: len(RESULT_COLUMNS)] == list(RESULT_COLUMNS)
    assert {"label", "pai_species", "note", "manifest_distance_mm", *PROVENANCE_COLUMNS} <= set(rows[0])
    assert rows[0]["note"] == "x, y" and rows[0]["manifest_distance_mm"] == "350"
    reasons = {row["sample_id"]: row["reasons"] for row in rows if row["sample_id"].startswith("no-")}
    assert reasons == {
        "no-file": "unreadable_first",
        "no-image": "unreadable_second",
        "no-rig": "unreadable_rig",
        "no-fit": "does_not_fit_rig",
    }
    for row in rows:
        if row["sample_id"].startswith("no-"):
            assert row["decision"] == "no_response" and row["score"] == ""
        elif row["decision"] != "no_response":
            assert 0 <= float(row["score"]) <= 1 and float(row["distance_mm"]) > 0
            assert (row["decision"] == "bona_fide") == (float(row["score"]) >= float(row["threshold"]))
            assert read_depth(depth / f"{row['sample_id']}.png").any()
    for name in ("no-file", "no-image", "no-fit"):
        assert not read_depth(depth / f"{name}.png").any()
    assert not (depth / "no-rig.png").exists()
    text = capsys.readouterr()
    assert "8 presentations scored" in text.out and "4 unreadable" in text.out and "does not exist" in text.err


def test_score_goes_on_where_it_was_stopped(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "scores.csv"
    assert main(["score", str(manifest), "--out", str(out), "--workers", "1"]) == 0
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    # Killed in the middle of a line.
    out.write_text("".join(lines[:4]) + lines[4][: len(lines[4]) // 2])
    capsys.readouterr()
    assert main(["score", str(manifest), "--out", str(out), "--workers", "2"]) == 0
    assert "5 presentations scored and 3 from before" in capsys.readouterr().out
    again = rows_of(out)
    out.write_text(whole)
    for before, after in zip(rows_of(out), again, strict=True):
        assert {**before, "time_ms": ""} == {**after, "time_ms": ""}
    # Nothing left to do.
    assert main(["score", str(manifest), "--out", str(out)]) == 0
    assert out.read_text() == whole


def test_score_mixes_no_two_runs(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "scores.csv"
    main(["score", str(manifest), "--out", str(out)])
    kept = out.read_bytes()
    for extra, word in ((["--threshold", "0.123"], "threshold"), ([], "other columns")):
        if not extra:
            out.write_text("a,b\n1,2\n")
            kept = out.read_bytes()
        capsys.readouterr()
        assert main(["score", str(manifest), "--out", str(out), *extra]) == 2
        assert word in capsys.readouterr().err and out.read_bytes() == kept


def one_row(folder: Path, living: Presentation, **changes: str) -> Path:
    """A manifest of one living face, with columns changed or added."""
    row = {"sample_id": "a", "first": living.first, "second": living.second, "rig": living.rig, **changes}
    with (folder / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    return folder / "m.csv"


def test_score_keeps_no_row_that_the_manifest_has_changed(
    living: Presentation, tmp_path: Path, capsys: Capture
) -> None:
    manifest = one_row(tmp_path, living, label="attack", note="x\r\ny")
    arguments = ["score", str(manifest), "--out", str(tmp_path / "s.csv")]
    assert main(arguments) == 0
    kept = (tmp_path / "s.csv").read_bytes()
    assert main(arguments) == 0 and (tmp_path / "s.csv").read_bytes() == kept
    for changes in ({"label": "bona_fide"}, {"label": "attack", "second": "other.png"}):
        one_row(tmp_path, living, **{"note": "x\r\ny", **changes})
        capsys.readouterr()
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert "sample a was scored with the" in err and "choose another file" in err and err.count("\n") == 1
        assert (tmp_path / "s.csv").read_bytes() == kept


def test_score_mixes_no_two_models_of_one_name(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "model"
    shutil.copytree(released_model(), model)
    arguments = ["score", str(one_row(tmp_path, living)), "--out", str(tmp_path / "s.csv"), "--model", str(model)]
    assert main(arguments) == 0
    (row,) = rows_of(tmp_path / "s.csv")
    assert row["model"] == Model.load(model).identity
    data = json.loads((model / "manifest.json").read_text()) | {"licence": "another"}
    (model / "manifest.json").write_text(json.dumps(data))
    capsys.readouterr()
    assert main(arguments) == 2
    assert f"was begun with the model {row['model']}" in capsys.readouterr().err


def test_score_takes_no_other_file_for_its_own(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    manifest = one_row(tmp_path, living)
    for content in (b"\xff\xfe", b"x" * 200_000, b"\n\n"):
        (tmp_path / "s.csv").write_bytes(content)
        assert main(["score", str(manifest), "--out", str(tmp_path / "s.csv")]) == 2
        err = capsys.readouterr().err
        assert "choose another file" in err and err.count("\n") == 1
        assert (tmp_path / "s.csv").read_bytes() == content


def test_score_has_no_column_twice(living: Presentation, tmp_path: Path, capsys: Capture) -> None:
    manifest = one_row(tmp_path, living, score="1", manifest_score="2")
    assert main(["score", str(manifest), "--out", str(tmp_path / "s.csv")]) == 2
    err = capsys.readouterr().err
    assert "score and manifest_score would both be manifest_score" in err and not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("sample_id", "arguments", "word"),
    [
        ("a", ["--workers", "0"], "workers: expected 1 or more"),
        ("a", ["--out", "none/s.csv"], "cannot be written"),
        ("a", ["--threads", "300"], "threads: expected 0 to 64"),
        ("n" * 300, [], "cannot be made the name"),
        ("n" * 250, [], "cannot be made the name"),  # while it is written its name is longer
        ("é" * 130, [], "cannot be made the name"),
        ("a//b", [], "cannot be made the name"),
    ],
)
def test_what_is_wrong_before_any_row_is_one_line(
    sample_id: str, arguments: list[str], word: str, living: Presentation, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    manifest = one_row(tmp_path, living, sample_id=sample_id)
    assert main(["score", str(manifest), "--out", "s.csv", "--depth-dir", "depth", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("stereolive: ") and err.count("\n") == 1 and word in err
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_score_writes_no_depth_over_what_the_manifest_names(folder: Path, capsys: Capture) -> None:
    first = next(path for path in folder.iterdir() if path.stem == "first")
    (folder / "link.png").symlink_to(first.name)
    before = first.read_bytes()
    rows = f"link,{first.name},second{first.suffix},rig.json\n"
    (folder / "m.csv").write_text("sample_id,first,second,rig\n" + rows)
    assert main(["score", str(folder / "m.csv"), "--out", str(folder / "s.csv"), "--depth-dir", str(folder)]) == 2
    err = capsys.readouterr().err
    assert "depth of sample link: would take the place of" in err and err.count("\n") == 1
    assert first.read_bytes() == before and not (folder / "s.csv").exists()


def test_a_full_disk_leaves_no_part_of_a_score_file(
    living: Presentation, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    manifest = one_row(tmp_path, living)
    monkeypatch.setattr(Path, "replace", full)
    assert main(["score", str(manifest), "--out", str(tmp_path / "s.csv")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_score_s_file_can_be_evaluated(manifest: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "scores.csv"
    main(["score", str(manifest), "--out", str(out)])
    assert main(["evaluate", str(out), "--out", str(tmp_path / "report")]) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["bpcer"]["n"] <= 8 and (tmp_path / "report" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "lacks"),
        ("sample_id,first,second\na,b,c\n", "rig"),
        ("sample_id,first,second,rig\n", "no rows"),
        ("sample_id,first,second,rig\na,b,c\n", "row 1"),
        ("sample_id,first,second,rig,label\na,b,c,d,real\n", "bona_fide or attack"),
        ("sample_id,first,second,rig\na,b,c,d\na,b,c,d\n", "already used"),
        ("\nsample_id,first,second,rig\n", "no rows"),
    ],
)
def test_bad_manifests_are_refused(text: str, word: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert main(["score", str(tmp_path / "m.csv"), "--out", str(tmp_path / "s.csv")]) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1 and not (tmp_path / "s.csv").exists()


def test_depth_is_written_nowhere_else(bundle: Sequence[Presentation], tmp_path: Path, capsys: Capture) -> None:
    entry = bundle[0]
    for name in ("../outside", "/tmp/outside", "a/../../outside"):
        text = f"sample_id,first,second,rig\n{name},{entry.first},{entry.second},{entry.rig}\n"
        (tmp_path / "m.csv").write_text(text)
        arguments = ["score", tmp_path / "m.csv", "--out", tmp_path / "s.csv", "--depth-dir", tmp_path / "depth"]
        assert main([*map(str, arguments)]) == 2
        assert "cannot be made the name" in capsys.readouterr().err


def test_an_interrupt_ends_in_one_line_and_loses_nothing(bundle: Sequence[Presentation], tmp_path: Path) -> None:
    entry = bundle[0]
    rows = "".join(f"r{i},{entry.first},{entry.second},{entry.rig}\n" for i in range(2000))
    (tmp_path / "m.csv").write_text("sample_id,first,second,rig\n" + rows)
    out = tmp_path / "s.csv"
    command = [sys.executable, "-m", "stereolive", "score", tmp_path / "m.csv", "--out", out]
    # A shell's background jobs, and so their children, ignore interrupts.
    heeding = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, heeding)
    for _ in range(1800):
        if out.exists() and out.read_text().count("\n") > 5:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err and err.rstrip().endswith("stereolive: stopped")
    assert 5 <= len(rows_of(out)) < 2000


def test_demo_prints_a_table_and_writes_one_page(
    tmp_path: Path, bundle: Sequence[Presentation], capsys: Capture
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    page = tmp_path / "demo" / "index.html"
    assert out.rstrip().endswith(str(page)) and f"of {len(bundle)} right" in out
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == len(bundle)
    for word in ("http://", "https://", "<script", 'src="/'):
        assert word not in text, "nothing but the page itself"
    for entry in bundle:
        assert entry.sample_id in text


def test_the_demo_shows_what_it_should(bundle: Sequence[Presentation]) -> None:
    attacks = {entry.pai_species for entry in bundle if entry.label == "attack"}
    living = [entry for entry in bundle if entry.label == "bona_fide"]
    assert len(bundle) >= 12
    assert {"print_flat", "print_bent", "mask_paper", "mask_silicone", "mask_resin"} <= attacks
    assert any(name.startswith("replay") for name in attacks)
    assert len({entry.subject_id for entry in living}) >= 4 and len({e.further["skin_group"] for e in living}) >= 4
    assert len({entry.illumination for entry in bundle}) >= 3
    assert {entry.further["split"] for entry in bundle} == {"test"}
    folder = bundle[0].first.parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6_000_000


CALIBRATION = {
    name: {
        "camera_matrix": [[2000, 0, 600], [0, 2000, 960], [0, 0, 1]],
        "distortion_coefs": [[0.0, 0, 0, 0, 0]],
        "reference": "nir_left",
        "relative_rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "relative_translation": [[x], [y], [0.0]],
    }
    for name, x, y in (("nir_left", 0.0, 0.0), ("nir_right", -7.6, 0.0), ("color", 0.0, 4.0), ("thermal", 5.0, 5.0))
}


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    (tmp_path / "calibration.json").write_text(json.dumps(CALIBRATION))
    cv2.imwrite(str(tmp_path / "portrait.png"), np.zeros((1920, 1200), np.uint16))
    return tmp_path / "calibration.json"


def from_bob(calibration: Path, first: str, second: str, *more: str) -> int:
    image = str(calibration.parent / "portrait.png")
    names = ["--first", first, "--second", second, "--first-image", image, "--second-image", image]
    return main(["rig", "from-bob", str(calibration), *names, "-o", str(calibration.parent / "rig.json"), *more])


def test_a_rig_from_a_calibration_in_centimetres(calibration: Path, capsys: Capture) -> None:
    assert from_bob(calibration, "color", "nir_right") == 0
    rig = Rig.load(calibration.parent / "rig.json")
    # X_camera = X_reference + t: what is at 0 for colour is at (-76, -40, 0) mm for the right one.
    assert np.allclose(rig.translation_second_from_first_mm, (-76, -40, 0))
    assert (rig.first.spectrum, rig.second.spectrum) == ("visible", "near_infrared")
    assert rig.first.size == (1200, 1920) and "baseline 85.9 mm" in capsys.readouterr().out


def test_rigs_that_a_calibration_does_not_give(calibration: Path, capsys: Capture) -> None:
    for arguments, word in (
        (("nir_left", "nir_middle"), "nir_middle"),
        (("nir_left", "nir_left"), "0 mm apart"),
        (("nir_left", "thermal"), "--second-spectrum"),
    ):
        assert from_bob(calibration, *arguments) == 2
        assert word in capsys.readouterr().err and not (calibration.parent / "rig.json").exists()


def test_missing_extras_are_named_with_the_line_that_installs_them(tmp_path: Path) -> None:
    """In a process in which the optional packages cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'yaml', 'numba', 'scipy', 'openvino'): sys.modules[name] = None\n"
        "from stereolive.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    for arguments, extra in (
        (["synth", "out", "--samples", "1"], "synth"),
        (["train", "c.yaml", "--manifest", "m.csv", "--out", "model"], "train"),
        (["export", "released", "--out", "model"], "train"),
    ):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and f'pip install "stereolive[{extra}]"' in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
