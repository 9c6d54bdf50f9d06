"""The application: the paths, the page, the probes, and what happens around every request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stereolive import __version__
from stereolive.serve import calibration, page, problems
from stereolive.serve.access import Access, requires
from stereolive.serve.keys import Caller
from stereolive.serve.logs import log
from stereolive.serve.routes import router
from stereolive.serve.service import Service
from stereolive.serve.settings import Settings
from stereolive.serve.tokens import Tokens
from stereolive.serve.worker import Analyses

SECURITY_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), microphone=(), geolocation=()",
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def create_app(settings: Settings, detector: Analyses, tokens: Tokens | None = None) -> FastAPI:
    """The service as an ASGI application. Raises InputError where the database cannot be used."""
    service = Service(settings, detector)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        purging = asyncio.create_task(service.purge_for_ever())
        try:
            yield
        finally:
            purging.cancel()
            await run_in_threadpool(service.close)

    app = FastAPI(
        title="stereolive",
        version=__version__,
        summary="Face liveness from two cameras",
        lifespan=lifespan,
        # Their pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.access = Access(service.storage, settings, tokens)
    problems.install(app)
    app.include_router(router)
    app.include_router(calibration.router)
    app.include_router(page.router)
    _add_operations(app)
    _add_schemas(app)
    app.mount("/page", StaticFiles(packages=[("stereolive.serve", "web")], html=True), name="page")
    app.add_middleware(Around, service=service)
    return app


def _add_operations(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def _root() -> Response:
        return RedirectResponse("page/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def _icon() -> Response:
        return Response((files("stereolive.serve") / "web" / "icon.svg").read_bytes(), media_type="image/svg+xml")

    @app.get("/health/live", summary="The process runs", response_class=PlainTextResponse)
    async def _live() -> str:
        return "ok"

    @app.get(
        "/health/ready",
        summary="A request could be served now",
        response_class=PlainTextResponse,
        responses=problems.documented(503),
    )
    async def _ready(request: Request) -> str:
        service: Service = request.app.state.service
        reason = await run_in_threadpool(service.ready)
        if reason:
            raise problems.ProblemError(503, "not-ready", reason, retry_after_seconds=1)
        return "ok"

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        responses=problems.documented(401, 403, 429),
    )
    async def _metrics(request: Request, _caller: Annotated[Caller, Depends(requires("metrics"))]) -> Response:
        service: Service = request.app.state.service
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_schemas(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, object]:
        schema = generate()
        parts = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (problems.Problem, *calibration.SCHEMAS):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            parts.update(described.pop("$defs", {}))
            parts[model.__name__] = described
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        for path in schema["paths"].values():
            for operation in path.values():
                answer = operation["responses"].get("422", {})
                if "HTTPValidationError" in str(answer):
                    operation["responses"]["422"] = problems.documented(422)[422]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


class Around:
    """Around every request.

    Its id, security headers, metrics, one line in the log, and a problem where something broke.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                present = {name.lower() for name, _ in headers}
                headers += [item for item in SECURITY_HEADERS.items() if item[0] not in present]
                if b"cache-control" not in present:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            logging.getLogger("stereolive.serve").exception(
                "a request failed", extra={"fields": {"request_id": request_id}}
            )
            if status:
                raise
            await _broken(error, Request(scope))(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "unmatched")
            self._service.metrics.requests.labels(route, str(status)).inc()
            self._service.metrics.request_seconds.labels(route).observe(seconds)
            problem = scope["state"].get("problem")
            if problem:
                self._service.metrics.refusals.labels(problem).inc()
            log(
                "request",
                request_id=request_id,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                owner=scope["state"].get("owner"),
                problem=problem,
            )


def _broken(error: Exception, request: Request) -> Response:
    if isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError):
        return problems.response(
            request, 503, "storage", "the database does not answer; try again", {"Retry-After": "2"}
        )
    return problems.response(request, 500, "internal", "something broke here; the log has the request's id")
