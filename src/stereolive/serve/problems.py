"""Answers to what cannot be answered: problem details after RFC 9457, one class for all of them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, for a program (``type``) and for a person (``detail``)."""

    type: str = Field(examples=["urn:stereolive:problem:replayed"])
    title: str
    status: int
    detail: str
    request_id: str | None = None


class ProblemError(Exception):
    """Raised anywhere in a request and turned into its answer. ``code`` is the last part of the problem's type."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long to arrive",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    422: "Cannot be used",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these statuses answer with a problem."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def response(request: Request, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    request.state.problem = code
    problem = Problem(
        type=f"urn:stereolive:problem:{code}",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        request_id=getattr(request.state, "request_id", None),
    )
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the app end as a problem."""

    @app.exception_handler(ProblemError)
    async def _problem(request: Request, error: ProblemError) -> Response:
        headers = {}
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="stereolive"'
        return response(request, error.status, error.code, error.detail, headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return response(request, 422, "invalid", f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        codes = {404: "not-found", 405: "method-not-allowed"}
        code = codes.get(error.status_code, "bad-request")
        return response(request, error.status_code, code, str(error.detail), dict(error.headers or {}))
