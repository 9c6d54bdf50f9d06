"""The fields of a CSV as positions in its bytes, block by block: no object is made for a field that nobody reads.

Plain text, without quotes and empty lines, is split by NumPy, several times as fast as by the ``csv`` module; from the
first block on that is not plain, ``csv`` reads the rest.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
HashArray = NDArray[np.uint64]

BLOCK_BYTES = 8_000_000
BLOCK_ROWS = 50_000
FIELD_BYTES = 1_000_000
COMMA, LINE_FEED, CARRIAGE_RETURN = b",\n\r"
WORD = 8
LONG = 4 * WORD  # longer texts are cut out one by one
# What of a word of eight bytes belongs to a text of which so many bytes are left.
MASKS = np.array([(1 << (8 * length)) - 1 for length in range(WORD + 1)], np.uint64)
MIXERS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)


class RowError(ValueError):
    """A data row (from 1) whose fields do not fit the header."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"data row {row} {problem}")


@dataclass(frozen=True, eq=False)
class Fields:
    """One column of a block: text i is ``data[start[i] : start[i] + length[i]]``; behind the last text lie at least
    eight more bytes.
    """

    data: bytes
    start: IntArray  # (N,)
    length: IntArray  # (N,)

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Fields:
        length = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls(b"".join(texts) + bytes(WORD), np.cumsum(length) - length, length)

    def words(self) -> Iterator[NDArray[np.uint64]]:
        """The texts' bytes (N,) eight by eight, with zeros behind the end."""
        last = len(self.data) - WORD
        # Bytes of type V8 may lie anywhere; integers that are not aligned would be copied first, all of them.
        at = np.ndarray((last + 1,), "V8", self.data, strides=(1,))
        for offset in range(0, int(self.length.max(initial=0)), WORD):
            word = at[np.minimum(self.start + offset, last)].view("<u8")
            yield word & MASKS[np.clip(self.length - offset, 0, WORD)]

    def hashes(self) -> HashArray:
        """64 bits (N,) for every text; equal texts have equal ones, whatever else is in the block.

        Texts of at most eight bytes differ for certain, of a million longer ones two agree with a chance of 3e-8.
        """
        result = np.zeros(len(self.start), np.uint64)
        for number, word in enumerate(self.words()):
            if number:  # what is behind the end is 0 and changes nothing
                for mixer in MIXERS:
                    word = word * np.uint64(mixer + 2 * number)
                    word ^= word >> np.uint64(29)
            result ^= word
        return result

    def texts(self, rows: IntArray | None = None) -> list[bytes]:
        """The texts of all rows, or of these."""
        if rows is not None:
            return Fields(self.data, self.start[rows], self.length[rows]).texts()
        if self.length.max(initial=0) <= LONG:
            words = np.stack(list(self.words()) or [np.zeros(len(self.start), np.uint64)], axis=1)
            return [*words.view(f"S{WORD * words.shape[1]}")[:, 0].tolist()]
        ends = (self.start + self.length).tolist()
        return [self.data[start:end] for start, end in zip(self.start.tolist(), ends, strict=True)]


class Names:
    """Numbers the different texts of a column in the order in which they are first met."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._hashes = np.empty(0, np.uint64)  # ascending
        self._codes = np.empty(0, np.int32)  # of these hashes

    def encode(self, column: Fields) -> NDArray[np.int32]:
        """The numbers (N,) of a block's texts."""
        hashes = column.hashes()
        new = np.flatnonzero(~self._knows(hashes))
        if len(new):
            distinct, first = np.unique(hashes[new], return_index=True)
            order = np.argsort(first)
            codes = np.empty(len(order), np.int32)
            codes[order] = np.arange(len(order)) + len(self._texts)
            self._texts += column.texts(new[first[order]])
            joined = np.concatenate([self._hashes, distinct])
            ascending = np.argsort(joined)
            self._hashes, self._codes = joined[ascending], np.concatenate([self._codes, codes])[ascending]
        return self._codes[np.searchsorted(self._hashes, hashes)]

    def texts(self) -> list[str]:
        """The text of every number."""
        return [text.decode("utf-8") for text in self._texts]

    def _knows(self, hashes: HashArray) -> NDArray[np.bool_]:
        if not len(self._hashes):
            return np.zeros(len(hashes), np.bool_)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        known: NDArray[np.bool_] = self._hashes[place] == hashes
        return known


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a file, column by column."""

    columns: tuple[Fields, ...]

    def __len__(self) -> int:
        return len(self.columns[0].start)


def read_blocks(file: BinaryIO) -> tuple[list[str], Iterator[Block]]:
    """The header's fields, and the rows behind it; empty lines are left out.

    Raises RowError where a row has another number of fields than the header, UnicodeDecodeError where the text is not
    UTF-8.
    """
    header, chunks = _header_and_chunks(file)
    return header, _blocks(len(header), chunks)


def read_records(file: BinaryIO, numbers: set[int]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header's fields, and those rows with their number (from 0)."""
    header, chunks = _header_and_chunks(file)
    return header, _records(chunks, numbers)


def _header_and_chunks(file: BinaryIO) -> tuple[list[str], Iterator[bytes | Iterator[list[str]]]]:
    """The header; then plain text in whole lines, and in the end perhaps the rows of what is not plain."""
    line = file.readline()
    if b'"' in line:
        file.seek(0)
        rows = _csv(file)
        return next(rows, []), iter([rows])
    header = next(csv.reader([line.decode("utf-8-sig")]), [])
    return header, _chunks(file)


def _chunks(file: BinaryIO) -> Iterator[bytes | Iterator[list[str]]]:
    while chunk := file.read(BLOCK_BYTES):
        chunk += file.readline()
        if not _is_plain(chunk):
            file.seek(-len(chunk), io.SEEK_CUR)
            yield _csv(file)
            return
        yield chunk if chunk.endswith(b"\n") else chunk + b"\n"


def _is_plain(chunk: bytes) -> bool:
    """Whether every line is a row and every comma separates; lines may end as Windows ends them."""
    if b'"' in chunk or chunk.startswith((b"\n", b"\r")):
        return False
    data = np.frombuffer(chunk, np.uint8)  # bytes' own search for two line ends takes ten times as long
    feed = data == LINE_FEED
    if b"\r" in chunk:
        back = data == CARRIAGE_RETURN
        if back[-1] or (back[:-1] & ~feed[1:]).any() or (feed[:-1] & back[1:]).any():
            return False
    return not (feed[:-1] & feed[1:]).any()


def _csv(file: BinaryIO) -> Iterator[list[str]]:
    csv.field_size_limit(FIELD_BYTES)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        yield from (row for row in csv.reader(text) if row)
    finally:
        with suppress(ValueError):  # closed already, where an error ended the reading
            text.detach()  # the file is the caller's


def _blocks(width: int, chunks: Iterator[bytes | Iterator[list[str]]]) -> Iterator[Block]:
    done = 0
    for chunk in chunks:
        if isinstance(chunk, bytes):
            yield (block := _split(chunk, width, done))
            done += len(block)
            continue
        while rows := list(itertools.islice(chunk, BLOCK_ROWS)):
            for number, row in enumerate(rows, done + 1):
                _check_width(len(row), width, number)
            yield Block(tuple(Fields.of([text.encode() for text in column]) for column in zip(*rows, strict=True)))
            done += len(rows)


def _split(chunk: bytes, width: int, done: int) -> Block:
    data = np.frombuffer(chunk, np.uint8)
    ends = np.flatnonzero((data == COMMA) | (data == LINE_FEED))
    lines = np.flatnonzero(data[ends] == LINE_FEED)
    widths = np.diff(lines, prepend=-1)
    if (widths != width).any():
        row = int(np.argmax(widths != width))
        _check_width(int(widths[row]), width, done + row + 1)
    before = np.concatenate([[-1], ends[:-1]])
    padded = chunk + bytes(WORD)
    columns = []
    for number in range(width):
        start = before[number::width] + 1
        length = ends[number::width] - start
        if number == width - 1:  # lines of Windows end in two characters
            length -= data[ends[number::width] - 1] == CARRIAGE_RETURN
        columns.append(Fields(padded, start, length))
    return Block(tuple(columns))


def _check_width(found: int, expected: int, row: int) -> None:
    if found != expected:
        raise RowError(row, f"has {found} fields, the header {expected}")


def _records(chunks: Iterator[bytes | Iterator[list[str]]], numbers: set[int]) -> Iterator[tuple[int, list[str]]]:
    waiting, done = sorted(numbers), 0
    for chunk in chunks:
        if not waiting:
            return
        if not isinstance(chunk, bytes):
            for number, row in enumerate(chunk, done):
                if number in numbers:
                    yield number, row
            return
        count = chunk.count(b"\n")
        if waiting[0] < done + count:
            lines = chunk.split(b"\n")
            while waiting and waiting[0] < done + count:
                number = waiting.pop(0)
                yield number, next(csv.reader([lines[number - done].decode("utf-8")]))
        done += count
