"""``stereolive watch`` from one end to the other, on virtual sources made from a bundled pair."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stereolive.cli import main
from stereolive.data.manifest import Manifest, Presentation
from stereolive.errors import InputError
from stereolive.images import as_8bit, as_bgr, decode_image, read_image, write_png
from stereolive.rig import Rig
from stereolive.types import ImageArray
from stereolive.watch.display import Page

Capture = pytest.CaptureFixture[str]


def taken_again(living_pair: Any, count: int) -> list[tuple[ImageArray, ImageArray]]:
    """The same view with fresh noise."""
    rng = np.random.default_rng(0)
    views = [as_8bit(image).astype(np.float32) for image in (living_pair.first, living_pair.second)]

    def once_more(view: Any) -> ImageArray:
        return np.clip(view + rng.normal(0, 1.5, view.shape), 0, 255).astype(np.uint8)

    return [(once_more(views[0]), once_more(views[1])) for _ in range(count)]


@pytest.fixture
def pairs_folder(living_pair: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for index, (first, second) in enumerate(taken_again(living_pair, 6)):
        write_png(folder / f"first_{index}.png", first)
        write_png(folder / f"second_{index}.png", second)
    return folder


def test_a_folder_becomes_a_decision_a_sheet_and_a_data_set(
    pairs_folder: Path, living: Presentation, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["watch", str(pairs_folder), "--rig", str(living.rig), "--headless", "--json", "--once"]
    recording = ["--record", str(tmp_path / "data"), "--consent", "form 1", "--subject", "p01", "--label", "bona_fide"]
    status = main([*arguments, *recording, "--sheet", str(tmp_path / "sheet.png")])
    decision = json.loads(capsys.readouterr().out)
    assert (status, decision["decision"]) == (0, "bona_fide") and decision["responses"] >= 3
    assert read_image(tmp_path / "sheet.png").shape[1] > 1000
    manifest = Manifest.read(tmp_path / "data" / "manifest.csv")
    assert len(manifest) == decision["pairs"]
    scores = ["score", str(tmp_path / "data" / "manifest.csv"), "--out", str(tmp_path / "s.csv"), "--workers", "1"]
    assert main(scores) == 0
    with (tmp_path / "s.csv").open(newline="") as file:
        assert [row["decision"] for row in csv.DictReader(file)] == ["bona_fide"] * len(manifest)


def test_two_videos_and_an_estimated_rig(living_pair: Any, tmp_path: Path, capsys: Capture) -> None:
    frames = taken_again(living_pair, 6)
    for view, name in enumerate(("first.avi", "second.avi")):
        height, width = frames[0][view].shape[:2]
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 98)
        for pair in frames:
            writer.write(as_bgr(as_8bit(pair[view])))
        writer.release()
    source = f"{tmp_path / 'first.avi'},{tmp_path / 'second.avi'}"
    status = main(["watch", source, "--rig", "auto", "--headless", "--json", "--once"])
    out, err = capsys.readouterr()
    assert "uncalibrated: a rig was estimated from 6 faces" in err
    if out:  # an estimated rig may leave too little for a decision, but never without saying so
        decision = json.loads(out)
        assert "uncalibrated" in decision["reasons"] and status in (0, 1, 3)


def test_one_pair_with_an_estimated_rig_has_no_millimetres(living: Presentation, capsys: Capture) -> None:
    status = main(["check", str(living.first), str(living.second), "--rig", "auto", "--json"])
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert status in (0, 1, 3) and "estimated from 1 face and" in err
    assert answer["reasons"][-1] == "uncalibrated"
    assert answer["distance_mm"] is None and answer["eye_distance_mm"] is None and answer["relief_mm"] is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere", "--rig", "auto"], "expected a folder"),
        (["{pairs}", "--rig", "none.json"], "none.json"),
        (["{pairs}", "--rig", "{rig}", "--record", "data"], "consent"),
        (["{pairs}", "--rig", "{rig}", "--consent", "yes"], "belong to --record"),
        (["{pairs}", "--rig", "{rig}", "--material", "silicone"], "belong to --record"),
        (["{pairs}", "--rig", "{rig}", "--responses", "0"], "at least one"),
    ],
)
def test_bad_usage_is_one_sentence(
    arguments: list[str], word: str, pairs_folder: Path, living: Presentation, capsys: Capture
) -> None:
    given = [text.format(pairs=pairs_folder, rig=living.rig) for text in arguments]
    assert main(["watch", *given, "--headless"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and err.count("\n") == 1


@pytest.mark.parametrize("port", ["99999999", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused_before_anything_else(port: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch", "nowhere", "--rig", "auto", f"--page={port}"])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == ""
    assert f"expected a port from 0 to 65535, got '{port}'" in err and err.count("\n") == 1
    with pytest.raises(InputError, match="port 65536 cannot be used"):
        Page(65536)


def test_the_page_shows_the_live_picture_to_this_machine_only() -> None:
    page = Page(0)
    try:
        assert page.address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(page.address, timeout=10) as answer:
            assert b"<img src='/stream'" in answer.read()
        page.show(np.full((40, 60, 3), 200, np.uint8))
        with urllib.request.urlopen(f"{page.address}/stream", timeout=10) as answer:
            assert answer.readline() == b"--picture\r\n" and answer.readline() == b"Content-Type: image/jpeg\r\n"
            size = int(answer.readline().removeprefix(b"Content-Length: "))
            assert answer.readline() == b"\r\n"
            shown = decode_image(answer.read(size))
        assert shown.shape == (40, 60, 3) and abs(int(shown.mean()) - 200) < 3
    finally:
        page.close()


def test_a_bumped_rig_is_noticed_and_left_to_the_user(
    living_pair: Any, living: Presentation, tmp_path: Path, capsys: Capture
) -> None:
    """The second sensor is half a degree off, about the axis along the baseline."""
    true = Rig.load(living.rig)
    turn = cv2.Rodrigues(np.radians(0.5) * true.rectification.rotation_first[0])[0]
    rotation = turn @ true.rotation_second_from_first
    center = -true.rotation_second_from_first.T @ true.translation_second_from_first_mm
    bumped = tmp_path / "rig.json"
    Rig(true.first, true.second, rotation, -rotation @ center).save(bumped)
    before = bumped.read_bytes()
    for index, (first, second) in enumerate(taken_again(living_pair, 14)):
        write_png(tmp_path / f"first_{index:02d}.png", first)
        write_png(tmp_path / f"second_{index:02d}.png", second)
    assert main(["watch", str(tmp_path), "--rig", str(bumped), "--headless"]) == 0
    assert "rig_drifted: the second sensor seems turned by" in capsys.readouterr().err
    assert bumped.read_bytes() == before
    # A face at one place tells that the rig is off, but not how: nothing is proposed.
    assert not (tmp_path / "rig.proposed.json").exists()
