"""Score files of every kind: what is read, and what is refused in one sentence that names the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stereolive.errors import ManifestError
from stereolive.evaluate.scores import load_scores, read_rows, sample_ids

HEAD = "score,label,pai_species\n"


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode("utf-8"))
    return load_scores(path)


def test_three_columns_suffice(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(HEAD + "0.9,bona_fide,\n,attack,print\n0.2,attack,print\n1e-3,attack,\n\n", "utf-8")
    table = load_scores(path)
    assert len(table) == 4
    np.testing.assert_array_equal(table.score, [0.9, np.nan, 0.2, 0.001])
    assert table.bona_fide.tolist() == [True, False, False, False]
    assert table.species.present() == ["print", "unnamed"]
    assert table.decision is None


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEAD + "0.9,bona_fide,\n",  # byte order mark
        HEAD.replace("\n", "\r\n") + "0.9,bona_fide,\r\n",  # Windows
        " score , label,pai_species\n0.9, Bona Fide ,\n",  # blanks and the standard's spelling in prose
        'note,score,label,pai_species\n"a, b\nc",0.9,bona_fide,\n',  # quoted comma and line
    ],
)
def test_spellings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode())
    table = load_scores(path)
    assert table.score.tolist() == [0.9]
    assert table.bona_fide.tolist() == [True]
    assert read_rows(path, [0])[0]["score"].strip() == "0.9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns score, label, pai_species"),
        ("score;label;pai_species\n", "commas"),
        ("score,label\n0.5,attack\n", "lacks the column pai_species"),
        (HEAD, "no presentation"),
        (HEAD + "nan,attack,print\n", "data row 1: score is 'nan'"),
        (HEAD + "0.1,attack,print\ninf,attack,print\n", "data row 2: score is 'inf'"),
        (HEAD + "high,attack,print\n", "data row 1: score is 'high'"),
        (HEAD + "0.1,attack,print\n0.5,live,\n", "data row 2: label is 'live'; expected bona_fide or attack"),
        (HEAD + "0.5,1,\n", "label is '1'"),  # polarity is never guessed
        (HEAD + "0.5,attack\n", "data row 1 has 2 fields, the header 3"),
        ("score,score,label,pai_species\n1,1,attack,x\n", "more than once"),
        ("decision,score,label,pai_species\nreal,0.5,attack,x\n", "decision is 'real'"),
        ("decision,score,label,pai_species\nbona_fide,,attack,x\n", "decision but no score"),
        ("sample_id,score,label,pai_species\na,1,attack,x\na,1,attack,x\n", "sample_id comes more than once"),
    ],
)
def test_refused_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "scores.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        load_scores(tmp_path / "missing.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        load_scores(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00score")
    with pytest.raises(ManifestError, match="UTF-8"):
        load_scores(tmp_path / "bytes.csv")


def test_decision_without_response_silences_its_score(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("decision,score,label,pai_species\nno_response,0.9,bona_fide,\nattack,0.1,attack,x\n", "utf-8")
    table = load_scores(path)
    assert table.responded.tolist() == [False, True]


def test_rows_and_ids_follow_a_selection(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    rows = [f"s{i},{i / 10},attack,x\n" for i in range(8)]
    path.write_text("sample_id,score,label,pai_species\n" + "\n".join(rows), "utf-8")  # with empty lines between
    table = load_scores(path)
    table = table.where(table.score > 0.35)
    assert sample_ids(table) == ["s4", "s5", "s6", "s7"]
    assert {number: row["sample_id"] for number, row in read_rows(path, table.row.tolist()).items()} == {
        4: "s4", 5: "s5", 6: "s6", 7: "s7",
    }  # fmt: skip
