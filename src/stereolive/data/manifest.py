"""The manifest: one presentation a row, in CSV or Parquet; what every tool here reads and every data set becomes.

Columns: ``sample_id, first, second, rig, depth, surface, label, pai_species, material, illumination, subject_id`` and
any further ones, which are carried along. Only the first four are needed to score; ``label`` is ``bona_fide`` or
``attack``. Paths are relative to the manifest. ``surface``, which training uses where it is there, is an 8-bit PNG on
the first image's pixel grid that tells what each pixel shows: 255 the attack instrument, 128 living skin, 0 anything
else, or that it is not known. ``rig`` may be empty where ``registered`` is ``true``: such views lie on each other, and
the columns ``first_spectrum`` and ``second_spectrum`` tell what they are (``data.registered``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from pathlib import Path
from typing import Literal, cast

from stereolive.errors import ManifestError, MissingExtraError

Label = Literal["bona_fide", "attack"]
NEEDED = ("sample_id", "first", "second", "rig")
COLUMNS = (*NEEDED, "depth", "surface", "label", "pai_species", "material", "illumination", "subject_id")
PATH_COLUMNS = ("first", "second", "rig", "depth", "surface")
BONA_FIDE = "bona_fide"
INSTRUMENT_SURFACE, LIVING_SURFACE = 255, 128
"""Values of ``surface``."""


@dataclass(frozen=True)
class Presentation:
    """One row. Paths are resolved; what the row leaves empty is None, or "" for words."""

    sample_id: str
    first: Path
    second: Path
    rig: Path | None
    depth: Path | None = None
    surface: Path | None = None
    label: Label | None = None
    pai_species: str = ""
    material: str = ""
    illumination: str = ""
    subject_id: str = ""
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def species(self) -> str:
        """The PAI species, or ``bona_fide``."""
        return BONA_FIDE if self.label == BONA_FIDE else self.pai_species or "unnamed"


@dataclass(frozen=True)
class Manifest:
    """All rows of a manifest file, in its order."""

    path: Path
    presentations: tuple[Presentation, ...]

    def __len__(self) -> int:
        return len(self.presentations)

    def __iter__(self) -> Iterator[Presentation]:
        return iter(self.presentations)

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read and check a manifest. Raises ManifestError, which names the row; MissingExtraError for Parquet without
        pyarrow."""
        path = Path(path)
        if not path.is_file():
            raise ManifestError(f"manifest {path}: there is no such file")
        rows = _parquet_rows(path) if path.suffix.lower() in (".parquet", ".pq") else _csv_rows(path)
        presentations = []
        seen: dict[str, int] = {}
        for number, row in enumerate(rows, start=1):
            presentation = _presentation(path, number, row)
            if presentation.sample_id in seen:
                raise ManifestError(
                    f"manifest {path}, row {number}: sample_id {presentation.sample_id!r} was already used in row "
                    f"{seen[presentation.sample_id]}"
                )
            seen[presentation.sample_id] = number
            presentations.append(presentation)
        if not presentations:
            raise ManifestError(f"manifest {path}: has no rows")
        return cls(path, tuple(presentations))


FURTHER_MANIFEST = "further_manifest"
"""Column that tells rows which ``joined`` took from a further manifest; it holds that manifest's number."""


def joined(first: Manifest, further: Sequence[Manifest]) -> Manifest:
    """One manifest of several. The names of the further ones' samples, subjects and instruments are put under their
    manifest's number, 2 and up, since two recordings may call different people the same."""
    presentations = list(first)
    for number, manifest in enumerate(further, start=2):
        for entry in manifest:
            named = {
                name: f"{number}/{value}"
                for name, value in entry.further.items()
                if name in ("instrument_id", "instrument_subject_id", "presenter_id") and value
            }
            presentations.append(
                replace(
                    entry,
                    sample_id=f"{number}/{entry.sample_id}",
                    subject_id=f"{number}/{entry.subject_id}" if entry.subject_id else "",
                    further={**entry.further, **named, FURTHER_MANIFEST: str(number)},
                )
            )
    return Manifest(first.path, tuple(presentations))


def write_rows(path: str | Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all; what a row lacks is left empty."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="raise", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _presentation(path: Path, number: int, row: Mapping[str, str]) -> Presentation:
    where = f"manifest {path}, row {number}"
    for name in NEEDED:
        if not row[name] and not (name == "rig" and row.get("registered") == "true"):
            raise ManifestError(f"{where}: {name} is empty")
    label = row.get("label", "")
    if label not in ("", "bona_fide", "attack"):
        raise ManifestError(f"{where}: label: expected bona_fide or attack, got {label!r}")
    if label == BONA_FIDE and row.get("pai_species", "") not in ("", BONA_FIDE):
        raise ManifestError(f"{where}: is bona_fide, yet has the pai_species {row['pai_species']!r}")
    if any("\0" in row.get(name, "") for name in PATH_COLUMNS):
        raise ManifestError(f"{where}: a path holds a null character")
    folder = path.parent
    return Presentation(
        row["sample_id"],
        folder / row["first"],
        folder / row["second"],
        folder / row["rig"] if row["rig"] else None,
        folder / row["depth"] if row.get("depth") else None,
        folder / row["surface"] if row.get("surface") else None,
        cast(Label, label) if label else None,
        row.get("pai_species", ""),
        row.get("material", ""),
        row.get("illumination", ""),
        row.get("subject_id", ""),
        {name: value for name, value in row.items() if name not in COLUMNS},
    )


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(dropwhile(lambda line: not line.strip(), file), strict=True)
            _check_columns(path, reader.fieldnames or ())
            for number, row in enumerate(reader, start=1):
                if None in row or None in row.values():
                    raise ManifestError(f"manifest {path}, row {number}: has another number of cells than the header")
                yield {name: value.strip() for name, value in row.items()}
    except UnicodeDecodeError:
        raise ManifestError(f"manifest {path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise ManifestError(f"manifest {path}: is not CSV ({error})") from None
    except OSError as error:
        raise ManifestError(f"manifest {path}: cannot be read ({error.strerror})") from None


def _parquet_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("Reading Parquet", "datasets") from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise ManifestError(f"manifest {path}: is not Parquet ({str(error)[:80]})") from None
    _check_columns(path, table.column_names)
    for row in table.to_pylist():
        yield {name: "" if value is None else str(value).strip() for name, value in row.items()}


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ManifestError(f"manifest {path}: lacks the column {missing[0]}")
    if len(set(names)) != len(names):
        raise ManifestError(f"manifest {path}: has a column twice")
