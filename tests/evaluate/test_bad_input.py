"""Whatever a user gives: one sentence that says what is wrong, exit status 2, and never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from stereolive.cli import main

HEAD = "score,label,pai_species\n"
GOOD = "sample_id,score,label,pai_species,subject_id,split\n" + "".join(
    f"s{i},{i * 37 % 100 / 100},{'bona_fide' if i % 2 else 'attack'},{'' if i % 2 else 'print'},p{i % 7},test\n"
    for i in range(40)
)
FILES: dict[str, bytes] = {
    "good.csv": GOOD.encode(),
    "empty.csv": b"",
    "header.csv": HEAD.encode(),
    "latin.csv": (HEAD + "0.5,attack,m\u00e4sk\n").encode("latin-1"),
    "utf16.csv": (HEAD + "0.5,attack,x\n").encode("utf-16"),
    "binary.csv": bytes(range(256)) * 20,
    "json.csv": b'{"score": 1}',
    "quote.csv": (HEAD + '"0.5,attack,print\n').encode(),
    "endless.csv": (HEAD + "0.5,attack," + "x" * 2_000_000 + "\n0.6,bona_fide,\n").encode(),
    "one_class.csv": (HEAD + "0.5,attack,x\n").encode(),
    "infinite.csv": (HEAD + "1e400,attack,x\n0.5,bona_fide,\n").encode(),
    "list.yaml": b"- 1\n",
    "columns.yaml": b"leave_one_out: [pai_species]\n",
    "scores.yaml": b"leave_one_out: score\n",
    "no_date.yaml": b"folds: [{test: {illumination: 2026-13-45}}]\n",
    "no_time.yaml": b"folds: [{test: {illumination: !!timestamp x}}]\n",
    "deep.yaml": b"folds: " + b"[" * 3000,
    "deep.json": b'{"folds": ' + b"[" * 100_000,
    "digits.json": b'{"bpcer": ' + b"1" * 5000 + b"}",
    "numbers.json": b'{"bpcer": 1, "species": 2}',
    "nothing.json": b'{"bpcer": null, "species": {}}',
    "folds.json": b'{"folds": []}',
    "fold.json": b'{"folds": {"a": 3}}',
    "ends.json": b'{"bpcer": {"rate": 0.1, "n": 10, "errors": 1}, "species": {}}',
    "words.json": b'{"bpcer": {"rate": "x", "n": 1, "errors": 1, "ci95": [0, 1]}, "species": {}}',
    "a_file": b"x",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a_folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: Sequence[str]) -> int | str | None:
    try:
        return main(words)
    except SystemExit as exit_:  # bad usage
        return exit_.code


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate missing.csv --out out", "missing.csv: cannot be read"),
        ("evaluate a_folder --out out", "a_folder: cannot be read"),
        ("evaluate empty.csv --out out", "lacks the columns score, label, pai_species"),
        ("evaluate header.csv --out out", "has no presentation"),
        ("evaluate latin.csv --out out", "is not UTF-8 text"),
        ("evaluate utf16.csv --out out", "is not UTF-8 text"),
        ("evaluate binary.csv --out out", "lacks the columns"),
        ("evaluate json.csv --out out", "lacks the columns"),
        ("evaluate quote.csv --out out", "data row 1"),
        ("evaluate endless.csv --out out", "is not CSV"),
        ("evaluate one_class.csv --out out", "rates need both kinds"),
        ("evaluate infinite.csv --out out", "data row 1: score is '1e400'"),
        ("evaluate good.csv", "--out"),
        ("evaluate good.csv --out a_file", "a_file: cannot be written"),
        ("evaluate good.csv --out a_file/below", "cannot be written"),
        ("evaluate good.csv --out out --threshold high", "--threshold"),
        ("evaluate good.csv --out out --threshold nan", "finite"),
        ("evaluate good.csv --out out --bpcer 5", "between 0 and 1"),
        ("evaluate good.csv --out out --bpcer 0.05", "never set on the test part"),
        ("evaluate good.csv --out out --threshold-from good.csv", "never set on the test"),
        ("evaluate good.csv --out out --by hat", "no column 'hat'"),
        ("evaluate good.csv --out out --by score", "the score is what is graded"),
        ("evaluate good.csv --out out --where hat=yes", "no column 'hat'"),
        ("evaluate good.csv --out out --where score=0.5", "holds numbers"),
        ("evaluate good.csv --out out --where split", "COLUMN=VALUE"),
        ("evaluate good.csv --out out --match-threshold 0.5", "no column match_score"),
        ("evaluate good.csv --out out --match-threshold nan", "finite"),
        ("evaluate good.csv --out out --model a_folder", "neither a file nor a folder with files"),
        ("evaluate good.csv --out out --pictures nowhere", "pictures nowhere: there is no such folder"),
        ("evaluate good.csv --out out --depth-dir nowhere", "depth_dir nowhere: there is no such folder"),
        ("evaluate good.csv --out out --origin painted", "--origin"),
        ("evaluate good.csv --out out --protocol missing.yaml", "cannot be read"),
        ("evaluate good.csv --out out --protocol list.yaml", "expected keys"),
        ("evaluate good.csv --out out --protocol columns.yaml", "name of one column"),
        ("evaluate good.csv --out out --protocol scores.yaml", "holds numbers"),
        ("evaluate good.csv --out out --protocol no_date.yaml", "is not YAML (month must be in 1..12)"),
        ("evaluate good.csv --out out --protocol no_time.yaml", "is not YAML"),
        ("evaluate good.csv --out out --protocol deep.yaml", "nested too deeply"),
        ("evaluate good.csv --out out --protocol deep.json", "nested too deeply"),
        ("evaluate good.csv --out out --protocol digits.json", "is not JSON"),
        ("evaluate good.csv --out out --against missing.json", "cannot be read"),
        ("evaluate good.csv --out out --against good.csv", "is not JSON"),
        ("evaluate good.csv --out out --against numbers.json", "is not a metrics.json"),
        ("evaluate good.csv --out out --against nothing.json", "no rate to hold another against"),
        ("evaluate good.csv --out out --against folds.json", "is not a metrics.json"),
        ("evaluate good.csv --out out --against fold.json", "is not a metrics.json"),
        ("evaluate good.csv --out out --against ends.json", "is not a metrics.json"),
        ("evaluate good.csv --out out --against words.json", "is not a metrics.json"),
        ("plan", "--claim"),
        ("plan --claim 7%", "--claim"),
        ("plan --claim 7", "between 0 and 1"),
        ("plan --claim nan", "between 0 and 1"),
        ("plan --claim 1e-300", "1e-300 is too small to plan for"),
        ("plan --claim 9e-10", "the smallest is 1e-09"),
        ("plan --claim 0.07 --species 0", "1 or more"),
        ("plan --claim 0.07 --confidence 95", "confidence"),
        ("plan --claim 0.07 --correlation nan", "correlation"),
        ("compare good.csv", "B.csv"),
        ("compare good.csv missing.csv --out out", "cannot be read"),
        ("compare good.csv one_class.csv --out out", "no column sample_id"),
        ("compare good.csv good.csv --out a_file", "cannot be written"),
        ("compare good.csv good.csv --out out --threshold-a nan", "finite"),
    ],
)
def test_one_sentence_and_status_2(here: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and out == ""
