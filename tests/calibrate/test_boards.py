"""Boards: their geometry, their print, and finding them."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from stereolive.calibrate.boards import Board, Points
from stereolive.calibrate.guidance import is_new_view, is_steady, missing_views
from stereolive.calibrate.printing import board_pdf, write_board_pdf
from stereolive.calibrate.rendering import NEAR_INFRARED_LOOK, Look, Pose, render_view
from stereolive.errors import InputError
from stereolive.rig import Camera

KINDS = ("chessboard", "charuco", "circles")
CAMERA = Camera("visible", 640, 480, np.array([[600.0, 0, 322], [0, 600, 238], [0, 0, 1]]), np.zeros(5))


def posed(board: Board, distance_mm: float = 400, turn: tuple[float, float, float] = (0.25, -0.2, 0.1)) -> Pose:
    left, top, right, bottom = board.extent_mm
    middle = np.array([(left + right) / 2, (top + bottom) / 2, 0])
    rotation = np.asarray(cv2.Rodrigues(np.array(turn))[0])
    return Pose(rotation, np.array([0, 0, distance_mm]) - rotation @ middle)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("look", "limit_px"), [(Look(), 0.25), (NEAR_INFRARED_LOOK, 0.5)])
def test_finds_points_where_they_are(kind: str, look: Look, limit_px: float) -> None:
    board = Board.parse(kind)
    pose = posed(board)
    found = board.find(render_view(board, CAMERA, pose, look, np.random.default_rng(1)))
    assert found is not None
    true = CAMERA.project(board.points_mm[found.ids] @ pose.rotation.T + pose.translation_mm)
    assert np.sqrt(((found.pixels - true) ** 2).sum(axis=1).mean()) < limit_px


def test_finds_the_board_in_twelve_bits() -> None:
    board = Board.parse("charuco")
    image = render_view(board, CAMERA, posed(board), Look(), np.random.default_rng(1)).astype(np.uint16) * 16
    assert board.find(image) is not None


def test_finds_no_board_where_there_is_none() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8)
    for kind in KINDS:
        assert Board.parse(kind).find(noise) is None


@pytest.mark.parametrize("turn_deg", [0, 170, 180])
def test_a_chessboard_held_upside_down_keeps_its_numbering(turn_deg: float) -> None:
    board = Board.parse("chessboard")
    pose = posed(board, turn=(0, 0, np.radians(turn_deg)))
    found = board.find(render_view(board, CAMERA, pose, Look(), np.random.default_rng(1)))
    assert found is not None
    true = CAMERA.project(board.points_mm @ pose.rotation.T + pose.translation_mm)
    assert np.linalg.norm(found.pixels[0] - true[0]) < 1


def test_views_of_a_symmetric_board_are_brought_into_one_order() -> None:
    board = Board.parse("chessboard", "7x7")
    y, x = np.mgrid[:7, :7].reshape(2, -1)
    first = Points(np.arange(49), np.stack([x, y], axis=1) * 20.0)
    turned = Points(np.arange(49), np.rot90(first.pixels.reshape(7, 7, 2), 1).reshape(-1, 2) + 5)
    assert np.allclose(board.agreed(first, turned).pixels, first.pixels + 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hexagons",), "expected one of"),
        (("chessboard", "9by6"), "COLUMNSxROWS"),
        (("chessboard", "2x6"), "3 to 40"),
        (("circles", "4x10"), "odd number"),
        (("chessboard", "9x6", 0.0), "spacing"),
    ],
)
def test_refuses_impossible_boards(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Board.parse(*arguments)  # type: ignore[arg-type]


def test_the_print_has_true_size() -> None:
    board = Board.parse("chessboard", "9x6", 25)
    text = board_pdf(board).decode("latin-1")
    squares = [float(width) for _, _, width, _ in re.findall(r"(\S+) (\S+) (\S+) (\S+) re", text)]
    assert len(squares) == 35
    assert np.allclose(squares, 25 / 25.4 * 72, atol=1e-3)
    assert "/PrintScaling /None" in text


def test_a_board_too_large_for_the_paper_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        board_pdf(Board.parse("chessboard", "12x9", 30))
    assert board_pdf(Board.parse("chessboard", "12x9", 26), "a3")


def test_guidance_asks_for_what_is_missing() -> None:
    board = Board.parse("chessboard")
    flat = board.points_mm[:, :2] * 1.2 + np.array([230, 170])
    shot = Points(np.arange(54), flat)
    missing = missing_views(board, [(shot, shot)], CAMERA.size)
    assert any("top left" in text for text in missing)
    assert sum("tilt" in text for text in missing) == 4
    assert not is_new_view([(shot, shot)], shot, CAMERA.size)
    assert is_steady(shot, shot) and not is_steady(None, shot)


def test_guidance_knows_which_edge_is_farther_away() -> None:
    board = Board.parse("chessboard")
    pose = posed(board, turn=(0, 0.5, 0))  # a positive turn about y takes the left edge away
    shot = Points(np.arange(54), CAMERA.project(board.points_mm @ pose.rotation.T + pose.translation_mm))
    missing = missing_views(board, [(shot, shot)], CAMERA.size)
    assert not any("its left edge" in text for text in missing)
    assert any("its right edge" in text for text in missing)


def test_a_full_disk_leaves_no_half_page(tmp_path: Path) -> None:
    page, earlier = tmp_path / "board.pdf", tmp_path / "earlier.pdf"
    write_board_pdf(earlier, Board.parse("circles"))
    before = earlier.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        for path in (page, earlier):
            with pytest.raises(InputError, match=rf"{path.name}: cannot be written"):
                write_board_pdf(path, Board.parse("chessboard"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier.pdf"] and earlier.read_bytes() == before
    with pytest.raises(InputError, match="cannot be written"):
        write_board_pdf(tmp_path, Board.parse("chessboard"))
