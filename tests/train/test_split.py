from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stereolive.data.crops import CropRow, Crops
from stereolive.data.manifest import FURTHER_MANIFEST, Manifest, Presentation, joined
from stereolive.errors import InputError
from stereolive.train.split import check_apart, check_coverage, coverage_table, split, without_test


def _with(row: CropRow, **changes: object) -> CropRow:
    return replace(row, **changes)  # type: ignore[arg-type]


def test_enough_is_enough(crops: Crops) -> None:
    check_coverage(crops.rows)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"illumination": "indoor"}, "at least two illuminations, got indoor"),
        ({"illumination": ""}, "at least two illuminations, got none"),
        ({"material": "paper"}, "at least two materials, got paper"),
        ({"material": " Paper"}, "at least two materials, got paper"),
        ({"label": "attack"}, "there is no bona_fide"),
        ({"label": "bona_fide"}, "there is no attack"),
        ({"label": ""}, "48 of 48 presentations have none"),
    ],
)
def test_data_that_teach_something_else_are_refused(crops: Crops, changes: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_coverage([_with(row, **changes) for row in crops.rows])


def test_table_counts_each_cell(crops: Crops) -> None:
    table = coverage_table(crops.rows)
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["species"] == ["bona_fide", "print", "screen"]
    assert columns["indoor"] == ["12", "6", "6"] and columns["dim"] == ["12", "6", "6"]


@pytest.mark.parametrize("seed", range(5))
def test_no_subject_and_no_instrument_on_both_sides(crops: Crops, seed: int) -> None:
    rows = [
        _with(row, further={"instrument_id": "" if row.label == "bona_fide" else f"i{index % 6}"})
        for index, row in enumerate(crops.rows)
    ]
    try:
        sides = split(rows, 0.3, seed)
    except InputError as error:
        assert "needs bona fide presentations and attacks" in str(error)
        return
    for name in ("subject_id", "instrument_id"):
        seen = [
            {getattr(rows[i], name, rows[i].further.get(name)) for i in sides[side]} for side in ("train", "validation")
        ]
        assert not (seen[0] & seen[1]) - {""}


def test_the_same_seed_gives_the_same_split_and_another_another(crops: Crops) -> None:
    assert split(crops.rows, 0.3, 1) == split(crops.rows, 0.3, 1)
    assert len({tuple(split(crops.rows, 0.3, seed)["validation"]) for seed in range(6)}) > 1


def test_the_manifests_own_split_is_kept_and_test_rows_are_not_touched(crops: Crops) -> None:
    names = ("train", "train", "train", "train", "train", "val", "test", "test")
    rows = [_with(row, further={"split": names[int(row.subject_id[1:])]}) for row in crops.rows]
    sides = split(rows, 0.15, 0)
    assert {rows[i].subject_id for i in sides["train"]} == {"s0", "s1", "s2", "s3", "s4"}
    assert {rows[i].subject_id for i in sides["validation"]} == {"s5"}


@pytest.mark.parametrize(
    ("further", "says"),
    [({"split": "maybe"}, "expected train, validation or test"), ({"split": "train"}, "validation side")],
)
def test_a_useless_split_is_refused(crops: Crops, further: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        split([_with(row, further=further) for row in crops.rows], 0.15, 0)


def test_a_subject_on_both_sides_is_refused(crops: Crops) -> None:
    rows = [_with(row, further={"split": "train" if i < 30 else "validation"}) for i, row in enumerate(crops.rows)]
    with pytest.raises(InputError, match="on both sides"):
        split(rows, 0.15, 0)


def test_an_instrument_on_both_sides_is_refused(crops: Crops) -> None:
    rows = [
        _with(row, further={"split": "train" if int(row.subject_id[1:]) < 5 else "validation", "instrument_id": "i"})
        for row in crops.rows
    ]
    with pytest.raises(InputError, match="instrument_id 'i' on both sides"):
        split(rows, 0.15, 0)


def test_one_light_on_the_learning_side_is_refused(crops: Crops) -> None:
    rows = [
        _with(
            row,
            further={"split": "train" if int(row.subject_id[1:]) < 5 else "validation"},
            illumination="indoor" if int(row.subject_id[1:]) < 5 else "dim",
        )
        for row in crops.rows
    ]
    check_coverage(rows)
    with pytest.raises(InputError, match="at least two illuminations, got indoor"):
        split(rows, 0.15, 0)


@pytest.mark.parametrize("column", ["subject_id", "instrument_id"])
def test_what_a_test_split_shares_is_refused_before_anything_is_cut(tmp_path: Path, column: str) -> None:
    def row(number: int, side: str, name: str) -> Presentation:
        subject, instrument = (name, "") if column == "subject_id" else (f"s{number}", name)
        return Presentation(
            f"p{number}",
            *(tmp_path / part for part in ("first", "second", "rig")),
            label="attack",
            subject_id=subject,
            further={"split": side, "instrument_id": instrument},
        )

    apart = [row(0, "train", "a"), row(1, "val", "b"), row(2, "dev", "b"), row(3, "test", "c"), row(4, "test", "")]
    check_apart(Manifest(tmp_path / "m.csv", tuple(apart)))
    with pytest.raises(InputError, match=f"{column} 'a' is in the splits train and test"):
        check_apart(Manifest(tmp_path / "m.csv", (*apart, row(5, "test", "a"))))


def test_subjects_are_needed(crops: Crops) -> None:
    with pytest.raises(InputError, match="subject_id"):
        split([_with(row, subject_id="") for row in crops.rows], 0.15, 0)


@pytest.mark.parametrize("own_split", [False, True])
def test_a_further_manifest_is_only_learned_from(crops: Crops, own_split: bool) -> None:
    own = [
        _with(row, further={"split": ("train", "validation")[index // 8 % 2]} if own_split else {})
        for index, row in enumerate(crops.rows)
    ]
    if own_split:
        own = [_with(row, subject_id=f"{row.subject_id}/{row.further['split']}") for row in own]
    given = ("", "train", "validation", "test")
    further = [
        _with(row, subject_id=f"2/{row.subject_id}", further={FURTHER_MANIFEST: "2", "split": given[index % 4]})
        for index, row in enumerate(crops.rows)
    ]
    alone, together = split(own, 0.3, 0), split([*own, *further], 0.3, 0)
    assert together["validation"] == alone["validation"]
    learned = [index for index in together["train"] if index >= len(own)]
    assert learned == [len(own) + index for index in range(len(further)) if index % 4 in (0, 1)]


def test_rows_that_no_side_takes_are_not_cut(tmp_path: Path) -> None:
    row = Presentation("a", *(tmp_path / name for name in ("first", "second", "rig")), label="bona_fide")

    def manifest(*splits: str) -> Manifest:
        rows = [replace(row, sample_id=str(n), further={"split": name}) for n, name in enumerate(splits)]
        return Manifest(tmp_path / "m.csv", tuple(rows))

    every = joined(manifest("train", "test", "val", "", "typing error"), [manifest("train", "val", "test", "")])
    kept = [entry.sample_id for entry in without_test(every)]
    assert kept == ["0", "2", "3", "4", "2/0", "2/3"]


def test_what_the_detector_gives_no_answer_for_is_on_no_side(crops: Crops) -> None:
    rows = [_with(row, fault="too_far" if index % 5 == 0 else "") for index, row in enumerate(crops.rows)]
    whole, sides = split(crops.rows, 0.3, 0), split(rows, 0.3, 0)
    for side, indices in sides.items():
        assert indices == [index for index in whole[side] if index % 5]
    with pytest.raises(InputError, match="needs bona fide presentations and attacks"):
        split([_with(row, fault="" if row.label == "attack" else "no_face") for row in crops.rows], 0.3, 0)
