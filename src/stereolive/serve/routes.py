"""The paths under ``/v1``."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from stereolive import __version__
from stereolive.serve import audit, decisions, sessions
from stereolive.serve.access import requires
from stereolive.serve.decisions import Stored, Submission
from stereolive.serve.keys import Caller
from stereolive.serve.problems import ProblemError, documented
from stereolive.serve.schemas import (
    ALLOWED_IDEMPOTENCY_KEY,
    AuditHead,
    CheckResult,
    ServiceInformation,
    SessionState,
    check_result,
    session_state,
)
from stereolive.serve.service import Service
from stereolive.serve.sessions import Session
from stereolive.serve.storage import now_ms
from stereolive.serve.uploads import read_upload
from stereolive.serve.worker import Answer

router = APIRouter(prefix="/v1", responses=documented(401, 403, 429))

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=ALLOWED_IDEMPOTENCY_KEY,
        description="Your own name for this request: sent again, it gives the same decision and makes no second one.",
    ),
]
WithRelief = Annotated[bool, Query(description="Add the depth for drawing; needs the scope `details`.")]
CheckId = Annotated[str, Path(pattern=r"^chk_[A-Za-z0-9_-]{24}$")]
SessionId = Annotated[str, Path(pattern=r"^ses_[A-Za-z0-9_-]{24}$")]


def _form(*required: str, nonce: bool) -> dict[str, Any]:
    """The body for OpenAPI; it is read by ``uploads``, with limits that the framework has not."""
    image = {
        "type": "string",
        "format": "binary",
        "contentMediaType": "image/png",
        "description": "PNG, JPEG, BMP, PGM or PPM, or raw pixels with their own content type",
    }
    properties: dict[str, Any] = {
        "first": image,
        "second": image,
        "rig": {
            "type": "string",
            "description": "the rig's JSON, or a registered rig's name",
        },
    }
    if nonce:
        properties["nonce"] = {"type": "string", "maxLength": 64, "description": "the session's current nonce"}
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.get("/service", summary="What this service is and takes")
async def service_information(
    request: Request, caller: Annotated[Caller, Depends(requires(None))]
) -> ServiceInformation:
    service: Service = request.app.state.service
    settings = service.settings
    return ServiceInformation(
        version=__version__,
        model=service.worker.detector.model.title,
        rigs={name: [*rig.first.size, *rig.second.size] for name, rig in settings.rigs.items()},
        own_rigs_allowed=not settings.only_registered_rigs,
        max_body_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
        session_seconds=settings.session_seconds,
        max_attempts=settings.max_attempts,
        scopes=sorted(caller.scopes),
    )


@router.post(
    "/checks",
    summary="Check one pair",
    responses=documented(400, 408, 409, 413, 415, 422, 503),
    openapi_extra=_form("first", "second", "rig", nonce=False),
)
async def create_check(
    request: Request,
    caller: Annotated[Caller, Depends(requires("check"))],
    idempotency_key: IdempotencyKey = None,
    relief: WithRelief = False,
) -> CheckResult:
    answer = await _decide(request, caller, idempotency_key, None, relief)
    return check_result(answer.stored, caller, answer)


@router.get("/checks/{check_id}", summary="Read a decision again", responses=documented(404, 422))
async def read_check(
    request: Request, check_id: CheckId, caller: Annotated[Caller, Depends(requires(None))]
) -> CheckResult:
    service: Service = request.app.state.service

    def find() -> Stored | None:
        with service.storage.read() as connection:
            return decisions.find(connection, check_id)

    stored = await run_in_threadpool(find)
    if stored is None or not (stored.owner == caller.owner or "audit" in caller.scopes):
        raise ProblemError(404, "not-found", "there is no such check")
    return check_result(stored, caller)


@router.post("/sessions", status_code=201, summary="Create a session")
async def create_session(
    request: Request, response: Response, caller: Annotated[Caller, Depends(requires("sessions"))]
) -> SessionState:
    service: Service = request.app.state.service

    def create() -> Session:
        with service.storage.write() as connection:
            return sessions.create(connection, caller.owner, service.settings.session_seconds)

    session = await run_in_threadpool(create)
    response.headers["Location"] = f"/v1/sessions/{session.id}"
    return session_state(session, None, service.settings.max_attempts)


@router.get("/sessions/{session_id}", summary="Read a session and its result", responses=documented(404, 422))
async def read_session(
    request: Request, session_id: SessionId, caller: Annotated[Caller, Depends(requires("sessions"))]
) -> SessionState:
    return await run_in_threadpool(_session_state, request.app.state.service, session_id, caller, None)


@router.post(
    "/sessions/{session_id}/pairs",
    summary="Submit a pair to a session",
    responses=documented(400, 404, 408, 409, 410, 413, 415, 422, 503),
    openapi_extra=_form("first", "second", "rig", "nonce", nonce=True),
)
async def submit_pair(
    request: Request,
    session_id: SessionId,
    caller: Annotated[Caller, Depends(requires("sessions"))],
    idempotency_key: IdempotencyKey = None,
    relief: WithRelief = False,
) -> SessionState:
    answer = await _decide(request, caller, idempotency_key, session_id, relief)
    return await run_in_threadpool(_session_state, request.app.state.service, session_id, caller, answer)


@router.get("/audit/head", summary="The audit log's last entry")
async def read_audit_head(request: Request, _caller: Annotated[Caller, Depends(requires("audit"))]) -> AuditHead:
    service: Service = request.app.state.service

    def read() -> audit.Head:
        with service.storage.read() as connection:
            return audit.head(connection)

    head = await run_in_threadpool(read)
    return AuditHead(sequence=head.sequence, sha256=head.sha256)


async def _decide(
    request: Request, caller: Caller, idempotency_key: str | None, session_id: str | None, relief: bool
) -> Answer:
    service: Service = request.app.state.service
    if relief and "details" not in caller.scopes:
        raise ProblemError(403, "scope", "this key lacks the scope 'details', which the relief needs")
    with service.admission.place():
        with service.metrics.stage_seconds.labels("read").time():
            upload = await read_upload(request, service.settings)
        if session_id is None and upload.nonce is not None:
            raise ProblemError(422, "part", "nonce: belongs to sessions; a one-shot check has none")
        check_id = f"chk_{secrets.token_urlsafe(18)}"
        return await service.worker.decide(
            Submission(check_id, caller, upload, now_ms(), idempotency_key, session_id, relief)
        )


def _session_state(service: Service, session_id: str, caller: Caller, answer: Answer | None) -> SessionState:
    with service.storage.read() as connection:
        session = sessions.find(connection, session_id)
        if session is None or not (session.owner == caller.owner or "audit" in caller.scopes):
            raise ProblemError(404, "not-found", "there is no such session")
        stored = answer.stored if answer else None
        if stored is None and session.check_id is not None:
            stored = decisions.find(connection, session.check_id)
    result = check_result(stored, caller, answer) if stored else None
    return session_state(session, result, service.settings.max_attempts)
