from __future__ import annotations

from pathlib import Path

import pytest

from stereolive.data.manifest import FURTHER_MANIFEST, Manifest, joined, write_rows
from stereolive.errors import ManifestError

HEAD = "sample_id,first,second,rig,label,pai_species,note\n"


def _written(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_rows_are_read_with_paths_resolved_and_further_columns_carried(tmp_path: Path) -> None:
    path = _written(tmp_path, HEAD + "a,i/1.png,i/2.png,r.json,attack,print,hello\nb,1,2,r,bona_fide,,\nc,1,2,r,,,\n")
    attack, living, unknown = Manifest.read(path)
    assert attack.first == tmp_path / "i/1.png" and attack.depth is None and attack.further == {"note": "hello"}
    assert (attack.species, living.species) == ("print", "bona_fide") and unknown.label is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sample_id,first,second\na,b,c\n", "lacks the column rig"),
        (HEAD, "has no rows"),
        ("", "lacks the column"),
        (HEAD + "a,1,2,r,attack,x,y\na,1,2,r,attack,x,y\n", "row 2: sample_id 'a' was already used in row 1"),
        (HEAD + "a,1,2,r,real,x,y\n", "row 1: label: expected bona_fide or attack, got 'real'"),
        (HEAD + "a,1,2,r,bona_fide,print,y\n", "row 1: is bona_fide, yet has the pai_species 'print'"),
        (HEAD + "a,,2,r,attack,x,y\n", "row 1: first is empty"),
        (HEAD + "a,1,2\n", "row 1: has another number of cells"),
        (HEAD + "a,1,2,r,attack,x,y,z\n", "row 1: has another number of cells"),
        ("sample_id,first,second,rig,rig\na,1,2,r,r\n", "has a column twice"),
        (HEAD + 'a,"1,2,r\n', "is not CSV"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_row(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(_written(tmp_path, text))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_not_text_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00sample")
    with pytest.raises(ManifestError, match="UTF-8"):
        Manifest.read(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="no such file"):
        Manifest.read(tmp_path / "none.csv")


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert len(Manifest.read(_written(tmp_path, "\ufeff" + HEAD + "a,1,2,r,,,\n"))) == 1


def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    assert len(Manifest.read(_written(tmp_path, "\ufeff\r\n  \n" + HEAD + "a,1,2,r,,,\n"))) == 1


def test_parquet_is_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"sample_id": ["a"], "first": ["1"], "second": ["2"], "rig": ["r"], "label": [None], "age": [33]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    (row,) = Manifest.read(tmp_path / "m.parquet")
    assert row.first == tmp_path / "1" and row.label is None and row.further == {"age": "33"}
    _written(tmp_path, "no", "bad.parquet")
    with pytest.raises(ManifestError, match="is not Parquet"):
        Manifest.read(tmp_path / "bad.parquet")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": 1}], ["a"])
    with pytest.raises(ValueError):
        write_rows(path, [{"a": 2}, {"b": 3}], ["a"])
    assert path.read_text() == "a\n1\n" and [entry.name for entry in tmp_path.iterdir()] == ["rows.csv"]


def test_joined_manifests_keep_people_apart_who_are_called_the_same(tmp_path: Path) -> None:
    text = "sample_id,first,second,rig,subject_id,instrument_id\na,1.png,2.png,r.json,s1,i1\nb,1.png,2.png,r.json,,\n"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.csv").write_text(text)
    one, two = (Manifest.read(tmp_path / name / "m.csv") for name in ("one", "two"))
    both = joined(one, [two])
    assert both.presentations[:2] == one.presentations and both.path == one.path
    third, fourth = both.presentations[2:]
    assert (third.sample_id, third.subject_id, third.further["instrument_id"]) == ("2/a", "2/s1", "2/i1")
    assert (fourth.sample_id, fourth.subject_id, fourth.further["instrument_id"]) == ("2/b", "", "")
    assert third.first == tmp_path / "two" / "1.png" and third.further[FURTHER_MANIFEST] == "2"
