"""Protocols as small files over a manifest's columns: which rows set the threshold, which are graded, in how many
folds.

A CSV names a part for every value of one of the scores' columns; ``fold`` is optional::

    subject_id,part,fold          sample_id,part
    p01,validation,a              s0001,test
    p02,test,a                    s0002,validation

A YAML or JSON file states rules. ``validation`` and ``test`` are conditions on columns, all of which must hold::

    name: unseen rigs             name: leave one species out
    bpcer: 0.02                   bpcer: 0.02
    folds:                        leave_one_out: pai_species
      - name: rig G
        validation: {split: validation}
        test: {split: test, rig: [rigs/G.json]}

``leave_one_out`` makes a fold of every value of a column: its test part are the test rows with that value (for
``pai_species`` the attacks of that species and all bona fide test rows), and its validation part are the validation
rows without it. Where each fold has a model of its own, a column ``left_out`` in the scores says which model scored a
row; only rows whose model had not seen the value are then used.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stereolive.errors import ManifestError, MissingExtraError
from stereolive.evaluate.scores import BoolArray, ScoreTable
from stereolive.evaluate.thresholds import PARTS, part_of

Condition = Mapping[str, list[str]]
LEFT_OUT = "left_out"
KEYS = {"name", "bpcer", "folds", "leave_one_out", "threshold_part"}


@dataclass(frozen=True, eq=False)
class Fold:
    """``validation`` and ``test`` are masks (N,) over a table's rows, without a common row."""

    name: str
    validation: BoolArray
    test: BoolArray


@dataclass(frozen=True)
class Protocol:
    """A protocol file, before it meets a table."""

    path: Path
    name: str
    bpcer: float | None = None
    rules: tuple[tuple[str, Condition, Condition], ...] = ()  # fold, validation, test
    leave_one_out: str | None = None
    key: str | None = None  # the column that a CSV lists
    parts: tuple[tuple[str, str, str], ...] = ()  # fold, value of key, part

    @property
    def columns(self) -> set[str]:
        """Columns that the folds are made from."""
        named = {column for _, *parts in self.rules for condition in parts for column in condition}
        return named | {name for name in (self.leave_one_out, self.key) if name} | {"split", LEFT_OUT}

    def folds(self, table: ScoreTable) -> list[Fold]:
        """The folds as rows of ``table``; a fold without test rows is refused."""
        if self.leave_one_out:
            folds = self._left_out(table, self.leave_one_out)
        elif self.key:
            folds = self._listed(table, self.key)
        else:
            folds = [
                Fold(
                    name, _rows(table, validation) if validation else np.zeros(len(table), np.bool_), _rows(table, test)
                )
                for name, validation, test in self.rules
            ]
        for fold in folds:
            if not fold.test.any():
                raise ManifestError(f"protocol {self.path}: fold {fold.name!r} has no test row in {table.path}")
            if (fold.validation & fold.test).any():
                raise ManifestError(
                    f"protocol {self.path}: fold {fold.name!r} uses the same presentations for validation and for test;"
                    " a threshold is never set on the test part"
                )
        return folds

    def _left_out(self, table: ScoreTable, column: str) -> list[Fold]:
        names = table.column(column)
        has_split = "split" in table.names
        test = part_of(table, "test") if has_split else np.ones(len(table), np.bool_)
        validation = part_of(table, "validation")
        values = names.where(test).present()
        if len(values) < 2:
            raise ManifestError(
                f"protocol {self.path}: {column} has fewer than two values in the test part, none can be left out"
            )
        folds = []
        for value in values:
            having = names.equal(value)
            seen_by = table.column(LEFT_OUT).equal(value) if LEFT_OUT in table.names else np.ones(len(table), np.bool_)
            tested = table.bona_fide | having if column == "pai_species" else having
            folds.append(Fold(value, validation & ~having & seen_by, test & tested & seen_by))
        return folds

    def _listed(self, table: ScoreTable, key: str) -> list[Fold]:
        column = table.column(key)
        codes = {value: code for code, value in enumerate(column.values)}
        folds = []
        for fold in dict.fromkeys(name for name, _, _ in self.parts):
            masks = {}
            for part in ("validation", "test"):
                listed = [
                    codes[value] for name, value, p in self.parts if name == fold and p == part and value in codes
                ]
                masks[part] = np.isin(column.codes, listed)
            folds.append(Fold(fold, masks["validation"], masks["test"]))
        return folds


def load_protocol(path: str | Path) -> Protocol:
    """Read a protocol file (CSV, YAML or JSON).

    Raises ManifestError naming the file, MissingExtraError for YAML without its reader.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"protocol {path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ManifestError(f"protocol {path}: is not UTF-8 text") from None
    try:
        if path.suffix.lower() == ".csv":
            return _from_csv(path, text)
        return _from_rules(path, _parse(path, text))
    except ManifestError as error:
        raise ManifestError(f"protocol {path}: {error}") from None
    except RecursionError:
        raise ManifestError(f"protocol {path}: is nested too deeply") from None


def _from_csv(path: Path, text: str) -> Protocol:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    header = list(rows[0]) if rows else []
    keys = [name for name in header if name not in ("part", "fold")]
    if "part" not in header or len(keys) != 1:
        raise ManifestError("expected the columns part, one column of the scores, and perhaps fold")
    parts = []
    for number, row in enumerate(rows, 1):
        spelled = [part for part, words in PARTS.items() if (row["part"] or "").strip().lower() in words]
        if not spelled:
            raise ManifestError(f"row {number}: part is {row['part']!r}; expected train, validation or test")
        parts.append(((row.get("fold") or "all").strip(), (row[keys[0]] or "").strip(), spelled[0]))
    if len({(fold, value) for fold, value, _ in parts}) < len(parts):
        raise ManifestError(f"a {keys[0]} is listed more than once in one fold; no presentation may be in two parts")
    return Protocol(path, path.stem, key=keys[0], parts=tuple(parts))


def _parse(path: Path, text: str) -> object:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ManifestError(f"is not JSON ({' '.join(str(error).split())[:100]})") from None
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("reading a YAML protocol (CSV and JSON need nothing)", "report") from None
    try:
        return yaml.safe_load(text)
    # Dates and numbers that are none (2026-13-45) fail with errors of the types that they would have become.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        raise ManifestError(f"is not YAML ({' '.join(str(error).split())[:100]})") from None


def _from_rules(path: Path, data: object) -> Protocol:
    if not isinstance(data, dict):
        raise ManifestError("expected keys such as name, bpcer, folds or leave_one_out")
    unknown = sorted(set(map(str, data)) - KEYS)
    if unknown:
        raise ManifestError(f"unknown key {unknown[0]!r}; expected {', '.join(sorted(KEYS))}")
    if data.get("threshold_part", "validation") != "validation":
        raise ManifestError("threshold_part: a threshold is set on the validation part only, never on the test part")
    bpcer = data.get("bpcer")
    if bpcer is not None and (isinstance(bpcer, bool) or not isinstance(bpcer, int | float) or not 0 < bpcer < 1):
        raise ManifestError(f"bpcer: expected a rate between 0 and 1, got {bpcer!r}")
    name = str(data.get("name", path.stem))
    if ("folds" in data) == ("leave_one_out" in data):
        raise ManifestError("expected either folds or leave_one_out")
    if "leave_one_out" in data:
        if not isinstance(data["leave_one_out"], str):
            raise ManifestError(f"leave_one_out: expected the name of one column, got {data['leave_one_out']!r}")
        return Protocol(path, name, bpcer, leave_one_out=data["leave_one_out"])
    if not isinstance(data["folds"], list) or not data["folds"]:
        raise ManifestError("folds: expected a list")
    rules = tuple(_rule(number, fold) for number, fold in enumerate(data["folds"], 1))
    if len({rule[0] for rule in rules}) < len(rules):
        raise ManifestError("folds: two have the same name")
    return Protocol(path, name, bpcer, rules=rules)


def _rule(number: int, fold: object) -> tuple[str, Condition, Condition]:
    if not isinstance(fold, dict) or "test" not in fold or set(fold) - {"name", "validation", "test"}:
        raise ManifestError(f"folds: number {number}: expected name, validation and test")
    return str(fold.get("name", number)), _condition(fold.get("validation", {})), _condition(fold["test"])


def _condition(data: Any) -> Condition:
    if not isinstance(data, dict):
        raise ManifestError(f"folds: expected columns and their values, such as {{split: test}}, got {data!r}")
    return {
        str(column): [str(v) for v in (values if isinstance(values, list) else [values])]
        for column, values in data.items()
    }


def _rows(table: ScoreTable, condition: Condition) -> BoolArray:
    """(N,) rows that meet every column's condition.

    A condition on ``pai_species`` or ``material`` chooses attacks; bona fide rows stay.
    """
    mask = np.ones(len(table), np.bool_)
    for column, values in condition.items():
        if column == "split" and len(values) == 1 and any(values[0] in words for words in PARTS.values()):
            mask &= part_of(table, next(part for part, words in PARTS.items() if values[0] in words))
            continue
        chosen = np.logical_or.reduce([table.column(column).equal(value) for value in values])
        mask &= chosen | table.bona_fide if column in ("pai_species", "material") else chosen
    return mask
