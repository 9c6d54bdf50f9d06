"""The quick reader of score files against Python's ``csv``, on whatever a CSV may hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stereolive.evaluate import fields
from stereolive.evaluate.fields import Fields, Names, RowError, read_blocks, read_records

FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADER = ["a", "b", "c"]
plain = st.text(st.characters(codec="utf-8", exclude_characters='",\r\n\x00'), max_size=20)
# Python's own writer leaves a lone carriage return without quotes, and its reader then ends the row there.
anything = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So small that a few lines are many blocks."""
    monkeypatch.setattr(fields, "BLOCK_BYTES", 40)
    monkeypatch.setattr(fields, "BLOCK_ROWS", 2)
    yield


def written(rows: list[list[str]], line_end: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows([HEADER, *rows])
    return text.getvalue().encode()


def read(data: bytes) -> list[list[str]]:
    header, blocks = read_blocks(io.BytesIO(data))
    assert header == HEADER
    rows: list[list[str]] = []
    for block in blocks:
        texts = [[text.decode() for text in column.texts()] for column in block.columns]
        rows += [list(row) for row in zip(*texts, strict=True)]
    return rows


@FEW
@given(st.lists(st.lists(plain, min_size=3, max_size=3), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_plain_rows(rows: list[list[str]], line_end: str) -> None:
    assert read(written(rows, line_end)) == rows


def test_plain_text_needs_no_csv_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object) -> None:
        raise AssertionError("read by csv")

    monkeypatch.setattr(fields, "_csv", refuse)
    rows = [[f"s{i}", "0.5", "m\u00e4sk"] for i in range(20)]
    for line_end in ("\n", "\r\n"):
        assert read(written(rows, line_end)) == rows
    with pytest.raises(AssertionError, match="read by csv"):
        read(b'a,b,c\n1,"2",3\n')


@FEW
@given(
    st.lists(st.lists(st.one_of(plain, anything), min_size=3, max_size=3), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
)
def test_quotes_commas_and_line_ends_inside_fields(rows: list[list[str]], line_end: str) -> None:
    assert read(written(rows, line_end)) == rows


@FEW
@given(st.lists(st.lists(st.one_of(plain, anything), min_size=3, max_size=3), min_size=1, max_size=12), st.data())
def test_whole_rows_by_number(rows: list[list[str]], data: st.DataObject) -> None:
    numbers = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    header, records = read_records(io.BytesIO(written(rows, "\n")), numbers)
    assert header == HEADER
    assert dict(records) == {number: rows[number] for number in numbers}


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n\n4,5,6\n",  # an empty line
        "a,b,c\n1,2,3\r\n\r\n4,5,6",  # and one of Windows, and no end of the last line
        "a,b,c\n\n1,2,3\n4,5,6\n\n\n",
        "\ufeffa,b,c\r\n1,2,3\r\n4,5,6\r\n",  # byte order mark
        '"a",b,c\n1,2,3\n4,5,6\n',  # a quoted header
        'a,b,c\n1,2,3\n4,"5",6\n',
        "a,b,c\n1,2,3\r4,5,6\n",  # an old Mac's line end
    ],
)
def test_the_same_two_rows(text: str) -> None:
    assert read(text.encode()) == [["1", "2", "3"], ["4", "5", "6"]]


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n1,2\n", "a,b,c\n1,2,3\n1,2,3,4\n", 'a,b,c\n1,2,"3"\n1,2\n'])
def test_a_row_of_another_width_is_named(text: str) -> None:
    with pytest.raises(RowError, match=r"data row 2 has [24] fields, the header 3"):
        read(text.encode())


@FEW
@given(st.lists(st.lists(plain, min_size=1, max_size=6), min_size=1, max_size=5))
def test_names_keep_their_numbers_over_blocks(blocks: list[list[str]]) -> None:
    names = Names()
    codes = [names.encode(Fields.of([text.encode() for text in block])) for block in blocks]
    texts = names.texts()
    assert [[texts[code] for code in part] for part in codes] == blocks
    everything = [text for block in blocks for text in block]
    assert texts == list(dict.fromkeys(everything))  # in the order in which they are met


@FEW
@given(st.lists(plain, min_size=2, max_size=30, unique=True))
def test_hashes_tell_texts_apart_whatever_stands_beside_them(texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    together = Fields.of(encoded).hashes().tolist()
    assert len(set(together)) == len(texts)
    assert together == [Fields.of([text]).hashes()[0] for text in encoded]


def test_long_texts() -> None:
    texts = [b"x" * 500, b"", b"x" * 499 + b"y", b"short"]
    column = Fields.of(texts)
    assert column.texts() == texts
    assert len(set(column.hashes().tolist())) == 4
