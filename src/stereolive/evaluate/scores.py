"""Read a score file: columns as arrays, one row a presentation, nothing kept that grading does not ask for.

A million rows must fit into a gigabyte and some seconds without any table package: rows are read in blocks, numbers
become floats and names become codes at once (``fields.py``). Whole rows are read again by number for the few worst
cases that a report shows.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ManifestError
from stereolive.evaluate.fields import Block, Names, RowError, read_blocks, read_records

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

REQUIRED = ("score", "label", "pai_species")
NUMBERS = ("score", "threshold", "distance_mm", "time_ms", "match_score", "match_threshold")
# Read where they are there; every other column only when it is asked for.
NAMES = (
    "label",
    "pai_species",
    "decision",
    "illumination",
    "subject_id",
    "split",
    "instrument_id",
    "origin",
    "capture",
    "model",
)
# ISO/IEC 30107 has one spelling in prose and a manifest another; no other word is taken, since label polarity must
# never be guessed.
LABELS = {"bona_fide": True, "bonafide": True, "attack": False}
DECISIONS = {"bona_fide": 1, "bonafide": 1, "attack": 0, "no_response": -1, "noresponse": -1, "": -1}
UNNAMED_SPECIES = "unnamed"


@dataclass(frozen=True, eq=False)
class Column:
    """A column of names: ``values[codes[i]]`` is row i's; empty where the row says nothing."""

    codes: NDArray[np.int32]  # (N,)
    values: tuple[str, ...]

    def where(self, mask: BoolArray) -> Column:
        return Column(self.codes[mask], self.values)

    def take(self, rows: IntArray) -> Column:
        return Column(self.codes[rows], self.values)

    def present(self) -> list[str]:
        """The values that some row has, without the empty one, sorted (numbers by size)."""
        return sorted(self._present(), key=_natural)

    def count(self) -> int:
        """How many values some row has, without the empty one."""
        return len(self._present())

    def _present(self) -> list[str]:
        counts = np.bincount(self.codes, minlength=len(self.values))
        return [self.values[code] for code in np.flatnonzero(counts) if self.values[code]]

    def equal(self, value: str) -> BoolArray:
        """(N,) rows that have ``value``."""
        rows: BoolArray = self.codes == (self.values.index(value) if value in self.values else -1)
        return rows


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Presentations with scores; arrays are (N,).

    ``score`` is NaN where there was no response. ``decision`` is 1 bona fide, 0 attack, -1 no response; None where
    the file has none.
    """

    path: Path
    sha256: str
    header: tuple[str, ...]
    row: IntArray  # number of the data row in the file, from 0
    score: FloatArray
    bona_fide: BoolArray
    decision: NDArray[np.int8] | None
    names: dict[str, Column]
    numbers: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def responded(self) -> BoolArray:
        return ~np.isnan(self.score)

    @property
    def species(self) -> Column:
        """PAI species of the attacks; empty for bona fide rows."""
        return self.names["pai_species"]

    def where(self, mask: BoolArray) -> ScoreTable:
        """The rows of a mask (N,)."""
        return self.take(np.flatnonzero(mask))

    def take(self, rows: IntArray) -> ScoreTable:
        """Rows by their places in this table, in that order."""
        return replace(
            self,
            row=self.row[rows],
            score=self.score[rows],
            bona_fide=self.bona_fide[rows],
            decision=None if self.decision is None else self.decision[rows],
            names={name: column.take(rows) for name, column in self.names.items()},
            numbers={name: values[rows] for name, values in self.numbers.items()},
        )

    def column(self, name: str) -> Column:
        if name in NUMBERS and name in self.header:
            raise ManifestError(f"scores {self.path}: column {name!r} holds numbers; rows are chosen by names only")
        if name not in self.names:
            raise ManifestError(f"scores {self.path}: has no column {name!r}; it has {', '.join(self.header)}")
        return self.names[name]


def load_scores(path: str | Path, columns: Iterable[str] = ()) -> ScoreTable:
    """Read a score file; ``columns`` are asked for beyond the usual ones, which are read where they are there.

    Raises ManifestError with the file and row.
    """
    path = Path(path)
    with _reading(path):
        digest = _digest(path)
        with path.open("rb") as file:
            fields, blocks = read_blocks(file)
            header = _header(fields, path)
            wanted = [name for name in dict.fromkeys((*NUMBERS, *NAMES, *columns)) if name in header]
            reading = _Reading(path, header, [name for name in wanted if name not in NUMBERS])
            for block in blocks:
                reading.add(block)
        return reading.table(digest)


def read_rows(path: Path, numbers: Iterable[int]) -> dict[int, dict[str, str]]:
    """Whole rows of a score file by number (from 0)."""
    with _reading(path), path.open("rb") as file:
        header, records = read_records(file, set(numbers))
        names = [name.strip() for name in header]
        return {number: dict(zip(names, record, strict=False)) for number, record in records}


def sample_ids(table: ScoreTable) -> list[str]:
    """``sample_id`` of every row of ``table`` in its order."""
    if "sample_id" not in table.header:
        raise ManifestError(f"scores {table.path}: has no column sample_id, by which its presentations could be known")
    with _reading(table.path), table.path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        index = [name.strip() for name in next(reader)].index("sample_id")
        everything = [row[index] for row in reader if row]
    return [everything[i] for i in table.row]


class _Reading:
    """Columns that grow block by block."""

    def __init__(self, path: Path, header: tuple[str, ...], names: Sequence[str]) -> None:
        self.path, self.header = path, header
        self.index = {name: header.index(name) for name in (*names, *(n for n in NUMBERS if n in header))}
        self.known = {name: Names() for name in names}
        self.parts: dict[str, list[NDArray[np.int32] | FloatArray]] = {name: [] for name in self.index}
        self.id_index = header.index("sample_id") if "sample_id" in header else None
        self.id_hashes: list[NDArray[np.uint64]] = []
        self.rows = 0

    def add(self, block: Block) -> None:
        for name, index in self.index.items():
            column = block.columns[index]
            if name in self.known:
                self.parts[name].append(self.known[name].encode(column))
            else:
                self.parts[name].append(self._floats(name, column.texts()))
        if self.id_index is not None:
            self.id_hashes.append(block.columns[self.id_index].hashes())
        self.rows += len(block)

    def _floats(self, name: str, texts: Sequence[bytes]) -> FloatArray:
        try:
            numbers = np.fromiter(map(float, [text or b"nan" for text in texts]), np.float64, len(texts))
            bad = [i for i in np.flatnonzero(~np.isfinite(numbers)).tolist() if texts[i]]
            if not bad:
                return numbers
            row = bad[0]
        except ValueError:
            row = next(i for i, text in enumerate(texts) if not _is_number_or_empty(text))
            if not texts[row].strip():  # blanks alone are as empty as nothing
                return self._floats(name, [text.strip() for text in texts])
        raise ManifestError(
            f"scores {self.path}: data row {self.rows + row + 1}: {name} is {texts[row].decode()[:40]!r}; expected a"
            " finite number,"
            " or nothing where there was no response"
        )

    def table(self, digest: str) -> ScoreTable:
        if not self.rows:
            raise ManifestError(f"scores {self.path}: has no presentation")
        self._check_ids()
        numbers = {n: np.concatenate(p).astype(np.float64) for n, p in self.parts.items() if n not in self.known}
        names = {
            name: _column(np.concatenate(self.parts[name]).astype(np.int32), known.texts())
            for name, known in self.known.items()
        }
        score = numbers.pop("score")
        bona_fide = self._known(names["label"], LABELS, "label", "bona_fide or attack") == 1
        names["pai_species"] = _species(names["pai_species"], bona_fide)
        decision = None
        if "decision" in names and any(names["decision"].values):
            expected = "bona_fide, attack or no_response"
            decision = self._known(names["decision"], DECISIONS, "decision", expected)
            undecidable = (decision >= 0) & np.isnan(score)
            if undecidable.any():
                raise ManifestError(
                    f"scores {self.path}: data row {int(np.argmax(undecidable)) + 1} has a decision but no score;"
                    " give it a score, or write no_response"
                )
            score = np.where(decision < 0, np.nan, score)
            if (decision < 0).all():
                decision = None
        rows = np.arange(self.rows, dtype=np.int64)
        return ScoreTable(self.path, digest, self.header, rows, score, bona_fide, decision, names, numbers)

    def _known(
        self, column: Column, meaning: dict[str, bool] | dict[str, int], name: str, expected: str
    ) -> NDArray[np.int8]:
        known = np.full(len(column.values), -2, np.int8)
        for code, value in enumerate(column.values):
            known[code] = meaning.get(value.lower().replace(" ", "_").replace("-", "_"), -2)
        numbers: NDArray[np.int8] = known[column.codes]
        if (numbers == -2).any():
            row = int(np.argmax(numbers == -2))
            value = column.values[column.codes[row]]
            raise ManifestError(f"scores {self.path}: data row {row + 1}: {name} is {value!r}; expected {expected}")
        return numbers

    def _check_ids(self) -> None:
        if not self.id_hashes:
            return
        hashes = np.sort(np.concatenate(self.id_hashes))
        if (hashes[1:] == hashes[:-1]).any():
            raise ManifestError(
                f"scores {self.path}: a sample_id comes more than once; every row must be one presentation,"
                " or the intervals would claim too much"
            )


def _header(fields: Sequence[str], path: Path) -> tuple[str, ...]:
    header = tuple(field.strip() for field in fields)
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        hint = " (separate columns by commas)" if len(header) == 1 and set(header[0]) & set(";\t") else ""
        raise ManifestError(f"scores {path}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}{hint}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ManifestError(f"scores {path}: has the column {repeated[0]!r} more than once")
    return header


def _column(codes: NDArray[np.int32], names: Sequence[str]) -> Column:
    """Names without the blanks around them; equal ones become one."""
    merged: dict[str, int] = {}
    again = np.array([merged.setdefault(name.strip(), len(merged)) for name in names], np.int32)
    return Column(again[codes] if len(merged) < len(names) else codes, tuple(merged))


def _species(column: Column, bona_fide: BoolArray) -> Column:
    """Every attack has a species, no bona fide presentation has one."""
    values = list(column.values)
    for value in ("", UNNAMED_SPECIES):
        if value not in values:
            values.append(value)
    empty, unnamed = values.index(""), values.index(UNNAMED_SPECIES)
    codes = np.where(bona_fide, empty, np.where(column.codes == empty, unnamed, column.codes))
    return Column(codes.astype(np.int32), tuple(values))


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _is_number_or_empty(text: bytes) -> bool:
    try:
        float(text or b"0")
    except ValueError:
        return False
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ManifestError(f"scores {path}: cannot be read ({error.strerror or error})") from None
    except RowError as error:
        raise ManifestError(f"scores {path}: {error}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"scores {path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise ManifestError(f"scores {path}: is not CSV ({error})") from None
