"""Sets without calibration: label polarity, depth with and without a unit, and that they say what they cannot do."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from stereolive.data.adapters import casia_surf, cefa, threedmad, wmca
from stereolive.data.adapters.adaptation import Adaptation
from stereolive.errors import ManifestError, MissingExtraError
from stereolive.images import read_depth, read_image, write_png

h5py = pytest.importorskip("h5py")


def _rows(result: Adaptation) -> list[dict[str, str]]:
    with result.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["registered"] == "true" and row["rig"] == ""
    assert "depth -> liveness stage only" in result.text()
    return rows


def _image(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.full((32, 32), value, np.uint8))


# --- CASIA-SURF


def _surf(folder: Path, name: str, lines: list[str]) -> Path:
    for line in lines:
        for path in line.split()[:3]:
            _image(folder / path)
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder / name


VAL = [
    "Val/0000/000000-color.png Val/0000/000000-depth.png Val/0000/000000-ir.png 0",
    "Val/0000/000001-color.png Val/0000/000001-depth.png Val/0000/000001-ir.png 1",
]
TRAIN = [
    "Training/fake_part/CLKJ_CS0001/03_en_b.rssdk/color/31.png "
    "Training/fake_part/CLKJ_CS0001/03_en_b.rssdk/depth/31.png "
    "Training/fake_part/CLKJ_CS0001/03_en_b.rssdk/ir/31.png 0",
    "Training/real_part/CLKJ_CS0003/real.rssdk/color/82.png "
    "Training/real_part/CLKJ_CS0003/real.rssdk/depth/82.png Training/real_part/CLKJ_CS0003/real.rssdk/ir/82.png 1",
]


@pytest.mark.parametrize(
    ("name", "named", "labels"),
    [
        ("train_list.txt", None, ["attack", "bona_fide"]),  # 1 = real
        ("val_private_list.txt", None, ["attack", "bona_fide"]),  # 1 = real
        ("val_private_list.txt", "1", ["attack", "bona_fide"]),  # said again
        ("other.txt", "0", ["bona_fide", "attack"]),  # later releases: 0 = live
        ("other.txt", "1", ["attack", "bona_fide"]),
    ],
)
def test_casia_surf_polarity(tmp_path: Path, name: str, named: str | None, labels: list[str]) -> None:
    result = casia_surf.adapt(_surf(tmp_path, name, VAL), tmp_path / "out", bona_fide_label=named)
    assert [row["label"] for row in _rows(result)] == labels


@pytest.mark.parametrize(("name", "named"), [("other.txt", None), ("train_list.txt", "0")])
def test_casia_surf_refuses_to_guess(tmp_path: Path, name: str, named: str | None) -> None:
    with pytest.raises(ManifestError, match="bona fide"):
        casia_surf.adapt(_surf(tmp_path, name, VAL), tmp_path / "out", bona_fide_label=named)


def test_casia_surf_rows(tmp_path: Path) -> None:
    attack, live = _rows(casia_surf.adapt(_surf(tmp_path, "train_list.txt", TRAIN), tmp_path / "out"))
    assert (attack["subject_id"], live["subject_id"]) == ("CLKJ_CS0001", "CLKJ_CS0003")
    assert (attack["pai_species"], attack["instrument"]) == ("print_cutout", "flat, eyes and nose cut out")
    assert (live["pai_species"], live["instrument"]) == ("", "")
    assert attack["depth"] == ""  # 8 bit has no unit
    for column in ("first", "second", "depth_relative"):
        assert (tmp_path / "out" / attack[column]).is_file()
    assert Path(attack["second"]).parent.name == "ir"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Val/a-color.png Val/a-depth.png Val/a-ir.png", "has no label"),  # the public validation list
        ("Val/a-color.png Val/a-depth.png Val/a-ir.png 2", "the label 0 or 1"),
        ("Val/a-color.png 1", "expected COLOUR DEPTH INFRARED LABEL"),
    ],
)
def test_casia_surf_bad_lines(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "train_list.txt").write_text(line + "\n", "utf-8")
    with pytest.raises(ManifestError, match=message):
        casia_surf.adapt(tmp_path / "train_list.txt", tmp_path / "out")


def test_casia_surf_missing_images(tmp_path: Path) -> None:
    path = _surf(tmp_path, "train_list.txt", VAL)
    (tmp_path / "Val/0000/000001-ir.png").unlink()
    result = casia_surf.adapt(path, tmp_path / "out")
    assert len(_rows(result)) == 1 and "there is no such file" in result.skipped[0]
    with pytest.raises(ManifestError, match="no presentation could be taken over"):
        casia_surf.adapt(path, tmp_path / "out", root=tmp_path / "elsewhere")


# --- CeFA


@pytest.mark.parametrize(
    ("folder", "label", "species", "illumination", "subject"),
    [
        ("AF/AF-223/1_223_1_1_1", "bona_fide", "", "indoor", "AF-223"),  # last field 1 = real
        ("AF/AF-223/1_223_1_2_2", "attack", "print_cloth", "outdoor", "AF-223"),
        ("CA/CA-007/2_007_1_1_3", "attack", "print_flat", "indoor", "CA-007"),
        ("EA/EA-012/3_012_1_2_4", "attack", "replay", "outdoor", "EA-012"),
        ("3D-Mask/073/1_073_1_0_2_1_2", "attack", "mask_resin", "backlight", "mask_resin-073"),
        ("3D-Mask/073/1_073_1_0_2_2_1", "attack", "mask_resin", "outdoor", "mask_resin-073"),  # no 1 = real here
        ("Silicone-Mask/001/2_001_1_1_2_1_4", "attack", "mask_silicone", "strong_side", "mask_silicone-001"),
    ],
)
@pytest.mark.parametrize("colour", ["color", "profile"])
def test_cefa(
    tmp_path: Path, folder: str, label: str, species: str, illumination: str, subject: str, colour: str
) -> None:
    for stream in (colour, "depth", "ir"):
        for number in (1, 2, 3):
            _image(tmp_path / folder / stream / f"000{number}.png")
    (row,) = _rows(cefa.adapt(tmp_path, tmp_path / "out"))
    found = (row["label"], row["pai_species"], row["illumination"], row["subject_id"])
    assert found == (label, species, illumination, subject)
    assert Path(row["first"]).name == "0002.png"  # the middle one
    assert len(_rows(cefa.adapt(tmp_path, tmp_path / "out", frames=2))) == 2


def test_cefa_leaves_out_what_tells_no_label(tmp_path: Path) -> None:
    for name in ("1_223_1_1_1", "test_0001"):
        for stream in ("color", "depth", "ir"):
            _image(tmp_path / "AF" / "AF-223" / name / stream / "0001.png")
    (tmp_path / "AF" / "AF-224" / "1_224_1_1_1" / "depth").mkdir(parents=True)
    result = cefa.adapt(tmp_path, tmp_path / "out")
    assert len(_rows(result)) == 1 and len(result.skipped) == 2
    with pytest.raises(ManifestError, match="no folder with color"):
        cefa.adapt(tmp_path / "AF" / "AF-223" / "1_223_1_1_1" / "ir", tmp_path / "out")


# --- 3DMAD


def _mask_video(path: Path, dtype: type = np.uint16, depth: int = 850) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.zeros((5, 3, 48, 64), np.uint8)
    colour[:, 0] = 200  # red first
    with h5py.File(path, "w") as file:
        file["Color_Data"] = colour
        file["Depth_Data"] = np.full((5, 1, 48, 64), depth, dtype)
        file["Eye_Pos"] = np.zeros((5, 4), np.uint16)


def test_3dmad(tmp_path: Path) -> None:
    for session in ("01", "02", "03"):
        _mask_video(tmp_path / "Data" / f"01_{session}_05.hdf5")
    result = threedmad.adapt(tmp_path, tmp_path / "out", frames=2, depth_unit_mm=1.0)
    rows = _rows(result)
    # Polarity: session 3 is the mask.
    assert [row["label"] for row in rows] == ["bona_fide"] * 4 + ["attack"] * 2
    assert {row["pai_species"] for row in rows[4:]} == {"mask_resin"}
    assert {row["second"] for row in rows} == {""} and "no near-infrared view" in result.text()
    assert tuple(read_image(tmp_path / "out" / rows[0]["first"])[0, 0]) == (0, 0, 200)  # BGR
    assert read_depth(tmp_path / "out" / rows[0]["depth"])[0, 0] == pytest.approx(850)


@pytest.mark.parametrize(
    ("name", "depth", "unit", "message"),
    [
        ("01_01_01.hdf5", 850, None, "give --depth-unit-mm"),
        ("01_01_01.hdf5", 2047, 1.0, "raw disparity"),
        ("01_04_01.hdf5", 850, 1.0, "tells no label"),
    ],
)
def test_3dmad_refuses_to_guess(tmp_path: Path, name: str, depth: int, unit: float | None, message: str) -> None:
    _mask_video(tmp_path / name, depth=depth)
    with pytest.raises(ManifestError, match=message):
        threedmad.adapt(tmp_path, tmp_path / "out", depth_unit_mm=unit)


# --- WMCA


def _protocol(folder: Path, rows: list[tuple[str, str]]) -> Path:
    path = folder / "PROTOCOL-grandtest.csv"
    lines = [",client_id,filepath,group,label"]
    lines += [
        f"{number},{name.split('/')[-1][:3]},{name},{('train', 'eval')[number]},{label}"
        for number, (name, label) in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _wmca_file(path: Path, preprocessed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if preprocessed:
            for number in (0, 3, 12):
                channels = [np.full((32, 32), value, np.uint8) for value in (10, 20, 30, 40)]
                file[f"Frame_{number}/array"] = np.stack(channels)
        else:
            file["color"] = np.full((4, 3, 48, 64), 90, np.uint8)
            file["infrared"] = np.full((4, 1, 48, 64), 300, np.uint16)
            file["depth"] = np.full((4, 1, 48, 64), 4000, np.uint16)


REAL, PRINT = "face-station/17.01.18/002_01_003_2_81", "face-station/18.01.18/514_02_035_1_05"


@pytest.mark.parametrize(
    ("labels", "named", "expected"),
    [
        (("bonafide", "attack/print"), None, [("bona_fide", ""), ("attack", "print_flat")]),
        (("real", "flexiblemask"), None, [("bona_fide", ""), ("attack", "mask_silicone")]),
        (("0", "1"), "0", [("bona_fide", ""), ("attack", "type_1")]),
        (("0", "1"), "1", [("attack", "type_2"), ("bona_fide", "")]),
    ],
)
def test_wmca_polarity(
    tmp_path: Path, labels: tuple[str, str], named: str | None, expected: list[tuple[str, str]]
) -> None:
    for name in (REAL, PRINT):
        _wmca_file(tmp_path / f"{name}.hdf5")
    protocol = _protocol(tmp_path, list(zip((REAL, PRINT), labels, strict=True)))
    result = wmca.adapt(tmp_path, tmp_path / "out", protocol, bona_fide_label=named, depth_unit_mm=0.125)
    rows = _rows(result)
    assert [(row["label"], row["pai_species"]) for row in rows] == expected
    assert [row["illumination"] for row in rows] == ["session_01", "session_02"]
    assert [row["split"] for row in rows] == ["train", "test"]
    assert rows[0]["subject_id"] == "002" and rows[0]["split"] == "train"
    assert read_depth(tmp_path / "out" / rows[0]["depth"])[0, 0] == pytest.approx(500)
    assert read_image(tmp_path / "out" / rows[0]["second"]).dtype == np.uint16


def test_wmca_preprocessed(tmp_path: Path) -> None:
    _wmca_file(tmp_path / f"{REAL}.hdf5", preprocessed=True)
    result = wmca.adapt(tmp_path, tmp_path / "out", _protocol(tmp_path, [(REAL, "bonafide")]), frames=2)
    rows = _rows(result)
    assert [row["sample_id"][-2:] for row in rows] == ["f0", "12"]
    values = [int(read_image(tmp_path / "out" / rows[0][name])[0, 0]) for name in ("first", "second", "depth_relative")]
    assert values == [10, 30, 20]
    assert rows[0]["depth"] == "" and "without a unit" in result.text()


def test_wmca_refuses_to_guess(tmp_path: Path) -> None:
    _wmca_file(tmp_path / f"{REAL}.hdf5")
    numbers, words = [(REAL, "1")], [(REAL, "bonafide")]
    with pytest.raises(ManifestError, match="--bona-fide-label 0 or 1"):
        wmca.adapt(tmp_path, tmp_path / "out", _protocol(tmp_path, numbers))
    with pytest.raises(ManifestError, match="its labels are words"):
        wmca.adapt(tmp_path, tmp_path / "out", _protocol(tmp_path, words), bona_fide_label="1")
    with pytest.raises(ManifestError, match="give --depth-unit-mm"):
        wmca.adapt(tmp_path, tmp_path / "out", _protocol(tmp_path, words))
    (tmp_path / "other.csv").write_text("client_id,filepath\n", "utf-8")
    with pytest.raises(ManifestError, match="lacks the column group"):
        wmca.adapt(tmp_path, tmp_path / "out", tmp_path / "other.csv")


def test_views_of_different_size_are_not_registered(tmp_path: Path) -> None:
    _wmca_file(tmp_path / f"{REAL}.hdf5")
    with h5py.File(tmp_path / f"{REAL}.hdf5", "r+") as file:
        del file["color"]
        file["color"] = np.zeros((4, 3, 100, 64), np.uint8)
    with pytest.raises(ManifestError, match="they are not registered"):
        wmca.adapt(tmp_path, tmp_path / "out", _protocol(tmp_path, [(REAL, "bonafide")]), depth_unit_mm=0.125)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mask_video(tmp_path / "01_01_01.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r'pip install "stereolive\[datasets\]"'):
        threedmad.adapt(tmp_path, tmp_path / "out", depth_unit_mm=1.0)
