"""What the service answers, as OpenAPI shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from stereolive.explain import explain
from stereolive.serve.decisions import Stored
from stereolive.serve.keys import Caller
from stereolive.serve.sessions import Session
from stereolive.serve.worker import Answer

ALLOWED_IDEMPOTENCY_KEY = r"^[A-Za-z0-9_.:-]{1,200}$"


class Faces(BaseModel):
    """Face boxes as x, y, width, height in pixels of each image."""

    first: list[float] | None
    second: list[float] | None


class Details(BaseModel):
    """What the decision rests on; only for keys with the scope ``details``."""

    score: float | None = Field(description="0 to 1, higher is more likely bona fide; null without a response")
    threshold: float
    reasons: list[str]
    distance_mm: float | None
    face: Faces
    eye_distance_mm: float | None
    relief_mm: float | None
    plane_residual_mm: float | None
    depth_sd_mm: float | None


class Relief(BaseModel):
    """Depth over the face crop and both sensors' views of it. Not stored, so only with the first answer."""

    size: int = Field(description="cells along a side of the square grid")
    side_mm: float = Field(description="the crop's side at the face's distance")
    roll_deg: float = Field(description="how far the crop's content leans clockwise")
    depth_tenth_mm: str = Field(description="base64 of little-endian uint16, row by row")
    depth_sd_tenth_mm: str
    first: str = Field(description="PNG as data URL")
    second: str = Field(description="PNG as data URL, laid onto the first by the depth")


class CheckResult(BaseModel):
    """One decision."""

    id: str
    session_id: str | None
    decision: Literal["bona_fide", "attack", "no_response"]
    no_response_reasons: list[str] = Field(description="codes; empty where there was a response")
    advice: str | None = Field(description="a line for the person before the sensors, where there was no response")
    model: str
    time_ms: float
    created_at: datetime
    details: Details | None = None
    relief: Relief | None = None


class SessionState(BaseModel):
    """A session. Each submission must carry the current ``nonce``, and changes it."""

    id: str
    status: Literal["open", "decided", "expired"]
    nonce: str | None = Field(description="for the next submission; null where none is taken any more")
    created_at: datetime
    expires_at: datetime
    attempts_left: int
    result: CheckResult | None = Field(default=None, description="of the last submission")


class ServiceInformation(BaseModel):
    """What a client should know before it submits."""

    version: str
    model: str
    rigs: dict[str, Annotated[list[int], Field(min_length=4, max_length=4)]] = Field(
        description="registered rigs: width, height of the first and of the second sensor"
    )
    own_rigs_allowed: bool
    max_body_bytes: int
    max_pixels: int
    session_seconds: int
    max_attempts: int
    scopes: list[str] = Field(description="of the key that asked")


class AuditHead(BaseModel):
    """The audit log's last entry; note it elsewhere to be able to show later that nothing before it changed."""

    sequence: int
    sha256: str


def check_result(stored: Stored, caller: Caller, answer: Answer | None = None) -> CheckResult:
    """``stored`` as ``caller`` may see it."""
    verdict = stored.verdict
    silent = verdict["decision"] == "no_response"
    codes = verdict["reasons"] if silent else []
    may_see = "details" in caller.scopes
    return CheckResult(
        id=stored.id,
        session_id=stored.session_id,
        decision=verdict["decision"],
        no_response_reasons=codes,
        advice=explain(codes[0]) if codes else None,
        model=verdict["model"],
        time_ms=verdict["time_ms"],
        created_at=moment(stored.created_ms),
        details=Details(**{name: verdict[name] for name in Details.model_fields}) if may_see else None,
        relief=Relief(**answer.relief) if may_see and answer and answer.relief else None,
    )


def session_state(session: Session, result: CheckResult | None, max_attempts: int) -> SessionState:
    return SessionState(
        id=session.id,
        status=session.status,
        nonce=session.nonce if session.status == "open" else None,
        created_at=moment(session.created_ms),
        expires_at=moment(session.expires_ms),
        attempts_left=max(0, max_attempts - session.attempts) if session.status == "open" else 0,
        result=result,
    )


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
