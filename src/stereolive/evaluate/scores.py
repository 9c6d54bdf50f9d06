"""Read a score file: columns as arrays, one row a presentation, nothing kept that grading does not ask for.

A million rows must fit into a gigabyte and some seconds without any table package: rows are read in blocks, numbers
become floats and names become codes at once. Whole rows are read again by number for the few worst cases that a
report shows.
"""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stereolive.errors import ManifestError

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
BLOCK_ROWS = 50_000
csv.field_size_limit(1_000_000)


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
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            header = _header(next(reader, []), path)
            wanted = [name for name in dict.fromkeys((*NUMBERS, *NAMES, *columns)) if name in header]
            reading = _Reading(path, header, [name for name in wanted if name not in NUMBERS])
            with _no_garbage_collection():
                for block in _blocks(reader):
                    reading.add(block)
    return reading.table(digest)


def read_rows(path: Path, numbers: Iterable[int]) -> dict[int, dict[str, str]]:
    """Whole rows of a score file by number (from 0)."""
    wanted = set(numbers)
    found: dict[int, dict[str, str]] = {}
    if not wanted:
        return found
    with _reading(path), path.open("rb") as lines:
        records = _records(lines)
        header = [name.strip() for name in _fields(next(records, b""))]
        for number, record in enumerate(itertools.islice(records, max(wanted) + 1)):
            if number in wanted:
                found[number] = dict(zip(header, _fields(record), strict=False))
    return found


def _records(lines: BufferedReader) -> Iterator[bytes]:
    """Lines of a CSV, joined where a quoted field runs over several;

    empty ones left out. Faster than to split every field.
    """
    for line in lines:
        if b'"' in line:
            while line.count(b'"') % 2 and (more := next(lines, b"")):
                line += more
        if line not in (b"\n", b"\r\n"):
            yield line


def _fields(record: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(record.decode("utf-8-sig"), newline="")), [])


def sample_ids(table: ScoreTable) -> list[str]:
    """``sample_id`` of every row of ``table`` in its order."""
    if "sample_id" not in table.header:
        raise ManifestError(f"scores {table.path}: has no column sample_id, by which its presentations could be known")
    with _reading(table.path), table.path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        index = [name.strip() for name in next(reader)].index("sample_id")
        everything = [row[index] for row in reader if row]
    return [everything[i] for i in table.row]


class _Codes(dict[str, int]):
    """Numbers names in the order in which they are first met."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class _Reading:
    """Columns that grow block by block."""

    def __init__(self, path: Path, header: tuple[str, ...], names: Sequence[str]) -> None:
        self.path, self.header = path, header
        self.index = {name: header.index(name) for name in (*names, *(n for n in NUMBERS if n in header))}
        self.codes = {name: _Codes() for name in names}
        self.parts: dict[str, list[NDArray[np.int32] | FloatArray]] = {name: [] for name in self.index}
        self.id_index = header.index("sample_id") if "sample_id" in header else None
        self.id_hashes: list[IntArray] = []
        self.rows = 0

    def add(self, block: list[list[str]]) -> None:
        width = len(self.header)
        try:
            columns = list(zip(*block, strict=True))
        except ValueError:
            columns = []
        if len(columns) != width:
            row = next(i for i, r in enumerate(block) if len(r) != width)
            raise ManifestError(
                f"scores {self.path}: data row {self.rows + row + 1} has {len(block[row])} fields, the header {width}"
            )
        for name, index in self.index.items():
            if name in self.codes:
                codes = self.codes[name]
                self.parts[name].append(np.fromiter(map(codes.__getitem__, columns[index]), np.int32, len(block)))
            else:
                self.parts[name].append(self._floats(name, columns[index]))
        if self.id_index is not None:
            self.id_hashes.append(np.fromiter(map(hash, columns[self.id_index]), np.int64, len(block)))
        self.rows += len(block)

    def _floats(self, name: str, texts: Sequence[str]) -> FloatArray:
        try:
            numbers = np.fromiter(map(float, [text or "nan" for text in texts]), np.float64, len(texts))
            bad = [i for i in np.flatnonzero(~np.isfinite(numbers)).tolist() if texts[i]]
            if not bad:
                return numbers
            row = bad[0]
        except ValueError:
            row = next(i for i, text in enumerate(texts) if not _is_number_or_empty(text))
            if not texts[row].strip():  # blanks alone are as empty as nothing
                return self._floats(name, [text.strip() for text in texts])
        raise ManifestError(
            f"scores {self.path}: data row {self.rows + row + 1}: {name} is {texts[row][:40]!r}; expected a"
            " finite number,"
            " or nothing where there was no response"
        )

    def table(self, digest: str) -> ScoreTable:
        if not self.rows:
            raise ManifestError(f"scores {self.path}: has no presentation")
        self._check_ids()
        numbers = {n: np.concatenate(p).astype(np.float64) for n, p in self.parts.items() if n not in self.codes}
        names = {n: _column(np.concatenate(self.parts[n]).astype(np.int32), codes) for n, codes in self.codes.items()}
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


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of short lists without a cycle among them make the collector look at each again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _blocks(reader: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while block := list(itertools.islice(reader, BLOCK_ROWS)):
        if [] in block:  # an empty line is no presentation
            block = [row for row in block if row]
        if block:
            yield block


def _header(fields: list[str], path: Path) -> tuple[str, ...]:
    header = tuple(field.strip() for field in fields)
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        hint = " (separate columns by commas)" if len(header) == 1 and set(header[0]) & set(";\t") else ""
        raise ManifestError(f"scores {path}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}{hint}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ManifestError(f"scores {path}: has the column {repeated[0]!r} more than once")
    return header


def _column(codes: NDArray[np.int32], names: dict[str, int]) -> Column:
    """Names without the blanks around them; equal ones become one."""
    merged = _Codes()
    again = np.array([merged[name.strip()] for name in names], np.int32)
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


def _is_number_or_empty(text: str) -> bool:
    try:
        float(text or "0")
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
    except UnicodeDecodeError:
        raise ManifestError(f"scores {path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise ManifestError(f"scores {path}: is not CSV ({error})") from None
