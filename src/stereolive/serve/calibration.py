"""The calibration assistant: a board in live pairs, what is still missing, and the rig with its report.

Nothing is kept here between requests: the caller holds what was seen so far and sends it along, so that any process
may answer. Pictures are looked at for the board and forgotten.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self, TypeVar

import cv2
import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stereolive.calibrate.boards import DEFAULT_SIZES, DEFAULT_SPACING_MM, Board, Points
from stereolive.calibrate.guidance import ENOUGH_SHOTS, is_new_view, is_steady, missing_views
from stereolive.calibrate.judgement import HEADLINES, Grade, findings, grade
from stereolive.calibrate.printing import board_pdf
from stereolive.calibrate.report import report_html
from stereolive.calibrate.solve import BoardPair, Calibration, solve
from stereolive.errors import InputError, StereoliveError
from stereolive.rig import Spectrum
from stereolive.serve.access import requires
from stereolive.serve.keys import Caller
from stereolive.serve.problems import ProblemError, documented
from stereolive.serve.service import Service
from stereolive.serve.uploads import Part, image_part, read_form, read_json_bytes, text_part
from stereolive.types import ImageArray

MOST_SHOTS = 40
MOST_POINTS = 6000
"""Of one sensor in all shots together: what the fit takes grows with it."""
MOST_BYTES = 2_000_000
_FAULTS = (cv2.error, np.linalg.LinAlgError, ValueError, ArithmeticError, IndexError)
"""What a fit to points that no board could give ends in."""

Body = TypeVar("Body", bound=BaseModel)
router = APIRouter(prefix="/v1/calibration", responses=documented(401, 403, 422, 429))
MayCalibrate = Annotated[Caller, Depends(requires("calibrate"))]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e5, le=1e5)]
Size = tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BoardChoice(_Strict):
    """A printed board; what is left out is its kind's usual size and spacing."""

    kind: Literal["chessboard", "charuco", "circles"] = "chessboard"
    columns: int | None = Field(default=None, ge=3, le=40, description="inner corners, squares or circles")
    rows: int | None = Field(default=None, ge=3, le=40)
    spacing_mm: float | None = Field(default=None, ge=1, le=500, description="a square's side, or between rows")

    def board(self) -> Board:
        """Raises ProblemError."""
        columns, rows = DEFAULT_SIZES[self.kind]
        spacing_mm = self.spacing_mm or DEFAULT_SPACING_MM[self.kind]
        try:
            return Board(self.kind, self.columns or columns, self.rows or rows, spacing_mm)
        except InputError as error:
            raise ProblemError(422, "board", str(error)) from None


class SeenPoints(_Strict):
    """The board's points in one picture, by their numbers on the board."""

    ids: list[Annotated[int, Field(ge=0, lt=1600)]] = Field(min_length=4, max_length=1600)
    pixels: list[tuple[Number, Number]] = Field(min_length=4, max_length=1600)

    @model_validator(mode="after")
    def _match(self) -> Self:
        if len(self.ids) != len(self.pixels) or len(set(self.ids)) != len(self.ids):
            raise ValueError("expected every point once, with one pixel for each")
        return self

    def points(self, board: Board) -> Points:
        """Raises ProblemError where the board has no such points."""
        if max(self.ids) >= len(board.points_mm):
            raise ProblemError(422, "board", f"board: has {len(board.points_mm)} points, got one more")
        if board.kind != "charuco" and self.ids != list(range(len(board.points_mm))):
            raise ProblemError(422, "board", "board: must be seen whole, with its points in order")
        return Points(np.array(self.ids, np.int64), np.array(self.pixels, np.float64))


class Shot(_Strict):
    """A view of the board that both sensors have."""

    first: SeenPoints
    second: SeenPoints


Shots = Annotated[list[Shot], Field(max_length=MOST_SHOTS)]


class ViewState(_Strict):
    """What the caller has seen so far. ``before`` is the pair's predecessor in a live stream; null for stills."""

    board: BoardChoice = BoardChoice()
    shots: Shots = []
    before: Shot | None = None
    live: bool = Field(default=True, description="take a view only where the board stood still since `before`")


class View(BaseModel):
    """What one pair shows, and what to do next."""

    first: SeenPoints | None
    second: SeenPoints | None
    first_size: tuple[int, int] = Field(description="width, height")
    second_size: tuple[int, int]
    steady: bool
    taken: bool = Field(description="a new view: add it to `shots`")
    missing: list[str] = Field(description="what to do next, most useful first; empty when enough was seen")
    enough: int = Field(description="views that are asked for")


class RigRequest(_Strict):
    """All views, to be made a rig."""

    board: BoardChoice = BoardChoice()
    shots: Shots
    first_size: Size
    second_size: Size
    first_spectrum: Spectrum = "visible"
    second_spectrum: Spectrum = "near_infrared"


class FindingText(BaseModel):
    """One thing that was checked, and what to do where it is not good."""

    grade: Grade
    found: str
    advice: str


class CalibratedRig(BaseModel):
    """The rig as a rig file's JSON, how good it is, and the report as an HTML page."""

    rig: dict[str, Any]
    grade: Grade
    headline: str
    sentence: str
    findings: list[FindingText]
    report: str


SCHEMAS = (ViewState, RigRequest)
"""Bodies that are read with limits of our own, and are described by hand therefore."""

_IMAGE = {"type": "string", "format": "binary", "contentMediaType": "image/png"}
_VIEW_BODY = {
    "type": "object",
    "properties": {"first": _IMAGE, "second": _IMAGE, "state": {"$ref": "#/components/schemas/ViewState"}},
    "required": ["first", "second"],
    "additionalProperties": False,
}


def _body(content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {content_type: {"schema": schema}}}}


@router.get(
    "/board.pdf",
    summary="A board to print in true size",
    response_class=Response,
    responses={200: {"description": "the page", "content": {"application/pdf": {}}}},
)
def read_board(
    _caller: MayCalibrate,
    kind: Literal["chessboard", "charuco", "circles"] = "chessboard",
    paper: Literal["a4", "a3", "letter"] = "a4",
    columns: Annotated[int | None, Query(ge=3, le=40)] = None,
    rows: Annotated[int | None, Query(ge=3, le=40)] = None,
    spacing_mm: Annotated[float | None, Query(ge=1, le=500)] = None,
) -> Response:
    board = BoardChoice(kind=kind, columns=columns, rows=rows, spacing_mm=spacing_mm).board()
    try:
        return Response(board_pdf(board, paper), media_type="application/pdf")
    except InputError as error:
        raise ProblemError(422, "board", str(error)) from None


@router.post(
    "/views",
    summary="Find the board in a pair",
    responses=documented(400, 408, 413, 415, 503),
    openapi_extra=_body("multipart/form-data", _VIEW_BODY),
)
async def find_board(request: Request, _caller: MayCalibrate) -> View:
    service: Service = request.app.state.service
    with service.admission.place():
        form = await read_form(request, service.settings, ("first", "second", "state"), MOST_BYTES)
        try:
            first, second = await image_part(form, "first"), await image_part(form, "second")
            state = _parsed(ViewState, (await text_part(form, "state", MOST_BYTES) or "{}").encode())
        finally:
            await form.close()
        return await service.worker.run(partial(_view, service, first, second, state), service.settings.answer_seconds)


@router.post(
    "/rigs",
    summary="Make a rig of the views",
    responses=documented(400, 408, 413, 415, 503),
    openapi_extra=_body("application/json", {"$ref": "#/components/schemas/RigRequest"}),
)
async def make_rig(request: Request, _caller: MayCalibrate) -> CalibratedRig:
    service: Service = request.app.state.service
    with service.admission.place():
        asked = _parsed(RigRequest, await read_json_bytes(request, service.settings, MOST_BYTES))
        return await service.worker.run(partial(_rig, asked), service.settings.calibration_seconds)


_solving = threading.Lock()
"""A fit takes seconds: one at a time, so that checks go on beside it."""


def _view(service: Service, first: Part, second: Part, state: ViewState) -> View:
    board = state.board.board()
    shots = _shots(board, state.shots)
    images = service.worker.decode(first, "first"), service.worker.decode(second, "second")
    sizes = [(image.shape[1], image.shape[0]) for image in images]
    now = [_found(board, image) for image in images]
    taken = steady = False
    try:
        if now[0] is not None and now[1] is not None:
            steady = state.before is not None and all(
                is_steady(seen.points(board), points)
                for seen, points in ((state.before.first, now[0]), (state.before.second, now[1]))
            )
            is_still = steady or not state.live
            taken = is_still and len(shots) < MOST_SHOTS and is_new_view(shots, now[0], sizes[0])
            if taken:
                shots.append((now[0], now[1]))
        missing = missing_views(board, shots, sizes[0])
    except _FAULTS:
        raise ProblemError(422, "calibration", "shots: show no board") from None
    return View(
        first=_seen(now[0]),
        second=_seen(now[1]),
        first_size=sizes[0],
        second_size=sizes[1],
        steady=steady,
        taken=taken,
        missing=missing,
        enough=ENOUGH_SHOTS,
    )


def _rig(asked: RigRequest) -> CalibratedRig:
    board = asked.board.board()
    pairs = [BoardPair(str(i + 1), *points) for i, points in enumerate(_shots(board, asked.shots))]
    if not _solving.acquire(blocking=False):
        raise ProblemError(429, "busy", "another calibration is being worked out; try again", retry_after_seconds=3)
    try:
        calibration = solve(
            board, pairs, (asked.first_size, asked.second_size), (asked.first_spectrum, asked.second_spectrum)
        )
        return _answer(calibration)
    except StereoliveError as error:
        raise ProblemError(422, "calibration", str(error)) from None
    except _FAULTS:
        raise ProblemError(422, "calibration", "calibration: these views fit no pair of cameras") from None
    finally:
        _solving.release()


def _answer(calibration: Calibration) -> CalibratedRig:
    """Raises ValueError where a number of the rig is not finite."""
    rig = json.loads(json.dumps(calibration.rig.as_json(), allow_nan=False))
    verdict = grade(calibration)
    headline, sentence = HEADLINES[verdict]
    return CalibratedRig(
        rig=rig,
        grade=verdict,
        headline=headline,
        sentence=sentence,
        findings=[FindingText(grade=f.grade, found=f.found, advice=f.advice) for f in findings(calibration)],
        report=report_html(calibration, {}, "two cameras"),
    )


def _parsed(kind: type[Body], data: bytes) -> Body:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ProblemError(422, "invalid", f"{where}: {first['msg']}") from None


def _shots(board: Board, shots: Sequence[Shot]) -> list[tuple[Points, Points]]:
    if max(sum(len(seen.ids) for seen in view) for view in ([s.first for s in shots], [s.second for s in shots])) > (
        MOST_POINTS
    ):
        raise ProblemError(422, "invalid", f"shots: more than {MOST_POINTS} points")
    return [(shot.first.points(board), shot.second.points(board)) for shot in shots]


def _found(board: Board, image: ImageArray) -> Points | None:
    try:
        points = board.find(image)
    except _FAULTS:
        return None
    return points if points is not None and np.isfinite(points.pixels).all() else None


def _seen(points: Points | None) -> SeenPoints | None:
    if points is None:
        return None
    return SeenPoints(ids=points.ids.tolist(), pixels=[(float(x), float(y)) for x, y in points.pixels])
