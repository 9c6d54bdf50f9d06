"""The calibration assistant over REST: a board is found, missing views are named, and the rig comes out right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from stereolive import Rig
from stereolive.calibrate.boards import Board
from stereolive.calibrate.rendering import Look, Pose, random_poses, render_pair
from stereolive.serve import calibration

Make = Callable[..., TestClient]
BOARD = Board.parse("chessboard")
HEADERS = {"content-type": "application/json"}


def _seen(pixels: NDArray[np.float64]) -> dict[str, Any]:
    return {"ids": list(range(len(pixels))), "pixels": pixels.tolist()}


def _shot(rig: Rig, pose: Pose, noise_px: float, random: np.random.Generator) -> dict[str, Any]:
    first = BOARD.points_mm @ pose.rotation.T + pose.translation_mm
    second = first @ rig.rotation_second_from_first.T + rig.translation_second_from_first_mm
    views = rig.first.project(first), rig.second.project(second)
    return {
        name: _seen(pixels + random.normal(0, noise_px, pixels.shape))
        for name, pixels in zip(("first", "second"), views, strict=True)
    }


@pytest.fixture(scope="module")
def shots(rig: Rig) -> list[dict[str, Any]]:
    random = np.random.default_rng(5)
    return [_shot(rig, pose, 0.05, random) for pose in random_poses(BOARD, rig, 16, random)]


def _request(shots: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"shots": shots, "first_size": [640, 480], "second_size": [640, 480], **changes}


def test_a_board_is_found_and_the_view_is_taken_once_it_stands_still(make_client: Make, rig: Rig, png) -> None:
    client = make_client(scopes=("calibrate",))
    random = np.random.default_rng(1)
    images = render_pair(BOARD, rig, random_poses(BOARD, rig, 1, random)[0], (Look(), Look()), random)
    files = {name: png(image) for name, image in zip(("first", "second"), images, strict=True)}

    def look(**state: Any) -> dict[str, Any]:
        answer = client.post("/v1/calibration/views", files=files, data={"state": json.dumps(state)})
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = look()
    assert len(first["first"]["ids"]) == len(first["second"]["ids"]) == 54 and not first["taken"]
    assert first["missing"] and first["first_size"] == [640, 480]
    shot = {"first": first["first"], "second": first["second"]}
    second = look(before=shot)
    assert second["steady"] and second["taken"] and len(second["missing"]) < len(first["missing"])
    third = look(before=shot, shots=[shot])
    assert third["steady"] and not third["taken"]
    assert look(live=False)["taken"]
    assert look(board={"kind": "charuco"})["first"] is None


def test_the_views_give_the_rig_that_took_them_with_its_report(make_client: Make, rig: Rig, shots) -> None:
    body = make_client(scopes=("calibrate",)).post("/v1/calibration/rigs", json=_request(shots)).json()
    made = Rig.from_json(body["rig"])
    assert made.baseline_mm == pytest.approx(rig.baseline_mm, rel=0.02)
    assert made.first.focal_px == pytest.approx(rig.first.focal_px, rel=0.02)
    assert (made.first.spectrum, made.second.spectrum) == ("visible", "near_infrared")
    assert body["grade"] in ("good", "usable") and body["findings"] and body["headline"]
    assert body["report"].startswith("<!doctype html>") and "Expected depth error" in body["report"]


def test_a_board_to_print(make_client: Make, problem) -> None:
    client = make_client(scopes=("calibrate",))
    answer = client.get("/v1/calibration/board.pdf?kind=circles&paper=a3")
    assert answer.headers["content-type"] == "application/pdf" and answer.content.startswith(b"%PDF")
    problem(client.get("/v1/calibration/board.pdf?spacing_mm=400"), 422, "board")
    problem(client.get("/v1/calibration/board.pdf?kind=circles&rows=4"), 422, "board")
    problem(client.get("/v1/calibration/board.pdf?kind=hexagons"), 422, "invalid")


def _flat(shots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [shots[0]] * 8


def _one_place(shots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen = _seen(np.full((54, 2), 100.0))
    return [{"first": seen, "second": seen}] * 8


def _chance(shots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    random = np.random.default_rng(2)
    return [{name: _seen(random.uniform(0, 480, (54, 2))) for name in ("first", "second")} for _ in range(8)]


@pytest.mark.parametrize("views", [_one_place, _chance, _flat])
def test_views_that_fit_no_cameras_are_refused_or_graded_so(make_client: Make, shots, views) -> None:
    answer = make_client().post("/v1/calibration/rigs", json=_request(views(shots)))
    if answer.status_code == 200:
        assert answer.json()["grade"] == "not_good_enough"
    else:
        assert answer.status_code == 422 and answer.json()["type"].endswith(":calibration"), answer.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "invalid"),
        ("[", "invalid"),
        ("[" * 100_000, "invalid"),
        ('{"shots": [], "first_size": [640, 480], "second_size": [640, 1e9]}', "invalid"),
        ('{"shots": [], "first_size": [640, 480], "second_size": [640, 480], "other": 1}', "invalid"),
        ('{"shots": [], "first_size": [640, 480], "second_size": [640, 480]}', "calibration"),
        (
            '{"board": {"kind": "circles", "rows": 4}, "shots": [], "first_size": [64, 64], "second_size": [64, 64]}',
            "board",
        ),
    ],
)
def test_unusable_requests_are_refused(make_client: Make, problem, body: str, code: str) -> None:
    problem(make_client().post("/v1/calibration/rigs", content=body, headers=HEADERS), 422, code)


def test_points_that_the_board_has_not_are_refused(make_client: Make, shots, problem) -> None:
    client = make_client()

    def send(first: dict[str, Any]) -> object:
        return client.post("/v1/calibration/rigs", json=_request([{**shots[0], "first": first}]))

    seen = shots[0]["first"]
    problem(send({**seen, "ids": [*range(1, 55)]}), 422, "board")
    problem(send({"ids": seen["ids"][:-1], "pixels": seen["pixels"][:-1]}), 422, "board")
    problem(send({**seen, "ids": [0] * 54}), 422, "invalid")
    problem(send({**seen, "pixels": seen["pixels"][:-1]}), 422, "invalid")
    problem(
        client.post("/v1/calibration/rigs", content=json.dumps(_request(shots)).replace("0.0", "NaN")),
        415,
        "media-type",
    )
    body = json.dumps(_request([{**shots[0], "first": {**seen, "pixels": [[float("nan"), 0]] * 54}}]))
    problem(client.post("/v1/calibration/rigs", content=body, headers=HEADERS), 422, "invalid")


@pytest.mark.parametrize("views", [_one_place, _chance])
def test_views_that_show_no_board_break_nothing(make_client: Make, shots, views, png) -> None:
    blank = png(np.full((60, 80), 90, np.uint8))
    state = json.dumps({"shots": views(shots), "before": views(shots)[0]})
    files = {"first": blank, "second": blank}
    answer = make_client().post("/v1/calibration/views", files=files, data={"state": state})
    assert answer.status_code in (200, 422), answer.text


def test_limits(make_client: Make, shots, problem, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client()
    problem(client.post("/v1/calibration/rigs", json=_request(shots * 3)), 422, "invalid")
    monkeypatch.setattr(calibration, "MOST_POINTS", 100)
    problem(client.post("/v1/calibration/rigs", json=_request(shots)), 422, "invalid")
    monkeypatch.setattr(calibration, "MOST_BYTES", 1000)
    problem(client.post("/v1/calibration/rigs", json=_request(shots)), 413, "too-large")
    problem(make_client(scopes=("check",)).get("/v1/calibration/board.pdf"), 403, "scope")


def test_one_fit_at_a_time(make_client: Make, shots, problem) -> None:
    with calibration._solving:
        answer = make_client().post("/v1/calibration/rigs", json=_request(shots))
    problem(answer, 429, "busy")
    assert answer.headers["retry-after"] == "3"
