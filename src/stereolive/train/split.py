"""Who trains and who validates, and whether the data cover enough to be trained on at all."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from rich.table import Table

from stereolive.data.crops import CropRow
from stereolive.data.manifest import BONA_FIDE, FURTHER_MANIFEST, Manifest, Presentation
from stereolive.errors import InputError

Side = Literal["train", "validation"]
NAMES = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": None}


def check_coverage(rows: Sequence[CropRow | Presentation]) -> None:
    """Refuse data from which only a light or a material would be learned. Raises InputError."""
    labels = Counter(row.label or "" for row in rows)
    if labels[""]:
        raise InputError(f"training needs labels: {labels['']} of {len(rows)} presentations have none")
    for label in (BONA_FIDE, "attack"):
        if not labels[label]:
            raise InputError(f"training needs bona fide presentations and attacks: there is no {label}")
    # Two spellings are no two lights.
    illuminations = {row.illumination.strip().lower() for row in rows} - {""}
    if len(illuminations) < 2:
        raise InputError(
            f"training needs at least two illuminations, got {_listed(illuminations)}: the model would learn the "
            "light, not the face; record the same kinds of presentations under another one"
        )
    materials = {row.material.strip().lower() for row in rows if row.label != BONA_FIDE} - {""}
    if len(materials) < 2:
        raise InputError(
            f"training needs attacks of at least two materials, got {_listed(materials)}: the model would learn that "
            "material, not attacks; add instruments of another one"
        )


def check_apart(manifest: Manifest) -> None:
    """Refuse a column ``split`` by which a face or an instrument is on two sides. Raises InputError.

    The rows of test splits count too, which ``without_test`` leaves out.
    """
    own = [entry for entry in manifest if not entry.further.get(FURTHER_MANIFEST) and entry.further.get("split")]
    for name in ("subject_id", "instrument_id"):
        seen: dict[str, str] = {}
        for entry in own:
            side = NAMES.get(entry.further["split"]) or entry.further["split"]
            value = _named(entry, name)
            if value and seen.setdefault(value, side) != side:
                raise InputError(
                    f"manifest {manifest.path}: {name} {value!r} is in the splits {seen[value]} and {side}; none may "
                    "be in two of them"
                )


def coverage_table(rows: Sequence[CropRow]) -> Table:
    """Presentations per species (rows) and illumination (columns), the pairs of sensors below each other."""
    counts = Counter((row.species, row.illumination, row.sensors) for row in rows)
    illuminations = sorted({row.illumination for row in rows})
    table = Table(title=f"{len(rows)} presentations")
    for name in ("species", "sensors"):
        table.add_column(name)
    for name in illuminations:
        table.add_column(name or "(unnamed)", justify="right")
    species = sorted({row.species for row in rows}, key=lambda name: (name != BONA_FIDE, name))
    for kind in species:
        for sensors in sorted({row.sensors for row in rows if row.species == kind}):
            table.add_row(kind, sensors, *(str(counts[kind, name, sensors]) for name in illuminations))
    return table


def without_test(manifest: Manifest) -> Manifest:
    """The rows that may be on one of ``split``'s sides: those of a test split, and those of a further manifest
    that are not to be trained on, need not be cut."""

    def may_serve(entry: Presentation) -> bool:
        if entry.further.get(FURTHER_MANIFEST):
            return _learned_side(entry.further) is not None
        return NAMES.get(entry.further.get("split", ""), "unknown") is not None  # what is unknown, split refuses

    return Manifest(manifest.path, tuple(filter(may_serve, manifest)))


def split(rows: Sequence[CropRow], validation_share: float, seed: int) -> dict[Side, list[int]]:
    """Indices of the training and the validation rows; rows of a test split, torn between both, or with a fault that
    leaves the detector without an answer, are in neither.

    A column ``split`` (train, validation, test) decides where there is one. Else subjects are drawn; an instrument
    (column
    ``instrument_id``) goes with its subject, one that several subjects share is drawn as well, and rows whose subject
    and instrument fell to different sides are left out: no face and no instrument is on both sides. Rows of a further
    manifest are only trained on, those of its other splits not at all.
    """
    own = [row for row in rows if not row.further.get(FURTHER_MANIFEST)]
    if any(row.further.get("split") for row in own):
        own_sides = iter([_given_side(row) for row in own])
    else:
        own_sides = iter(_drawn_sides(own, validation_share, seed))
    sides = [_learned_side(row.further) if row.further.get(FURTHER_MANIFEST) else next(own_sides) for row in rows]
    names: tuple[Side, ...] = ("train", "validation")
    result: dict[Side, list[int]] = {
        name: [index for index, side in enumerate(sides) if side == name and not rows[index].fault] for name in names
    }
    for side, indices in result.items():
        labels = {rows[index].label for index in indices}
        if labels != {BONA_FIDE, "attack"}:
            raise InputError(
                f"the {side} side of the split needs bona fide presentations and attacks, got {_listed(labels)}; "
                "more subjects, another seed or a column split helps"
            )
    for name in ("subject_id", "instrument_id"):
        train, validation = ({_named(rows[index], name) for index in result[side]} for side in names)
        shared = (train & validation) - {""}
        if shared:
            raise InputError(f"the split has {name} {min(shared)!r} on both sides")
    check_coverage([rows[index] for index in result["train"]])
    return result


def _named(row: CropRow | Presentation, column: str) -> str:
    return row.subject_id if column == "subject_id" else row.further.get(column, "")


def _learned_side(further: Mapping[str, str]) -> str | None:
    return "train" if further.get("split", "") in ("", "train") else None


def _given_side(row: CropRow) -> str | None:
    name = row.further.get("split", "")
    if name not in NAMES:
        raise InputError(f"sample {row.sample_id}: split: expected train, validation or test, got {name!r}")
    return NAMES[name]


def _drawn_sides(rows: Sequence[CropRow], share: float, seed: int) -> list[str | None]:
    if any(not row.subject_id for row in rows):
        raise InputError("training needs the column subject_id (or split), to keep validation subjects apart")
    subjects = sorted({row.subject_id for row in rows}, key=lambda name: _draw(seed, "subject", name))
    if len(subjects) < 2:
        raise InputError("training needs at least two subjects, one of them for validation")
    count = min(len(subjects) - 1, max(1, round(share * len(subjects))))
    validation = set(subjects[:count])
    users: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        instrument = row.further.get("instrument_id", "")
        if instrument:
            users[instrument].add(row.subject_id)
    instrument_validates = {
        name: next(iter(who)) in validation if len(who) == 1 else _draw(seed, "instrument", name) < max(share, 0.3)
        for name, who in users.items()
    }
    sides: list[str | None] = []
    for row in rows:
        validates = row.subject_id in validation
        agrees = instrument_validates.get(row.further.get("instrument_id", ""), validates) == validates
        sides.append(("validation" if validates else "train") if agrees else None)
    return sides


def _draw(seed: int, kind: str, name: str) -> float:
    """From 0 to 1, by name, so that further rows do not move the ones already drawn."""
    digest = hashlib.sha256(f"{seed}/{kind}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
