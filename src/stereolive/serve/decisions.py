"""Decisions as they are stored: each once, with its entry in the audit log, in one transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from stereolive.serve import audit, retention, sessions
from stereolive.serve.keys import Caller
from stereolive.serve.problems import ProblemError
from stereolive.serve.sessions import Session
from stereolive.serve.settings import Settings
from stereolive.serve.storage import Storage, decisions, image_digests, now_ms
from stereolive.serve.uploads import Upload
from stereolive.types import Verdict


@dataclass(frozen=True)
class Stored:
    """A decision as it is in the database; ``verdict`` is ``Verdict.as_json``."""

    id: str
    owner: str
    session_id: str | None
    request_sha256: str
    verdict: dict[str, Any]
    created_ms: int


@dataclass(frozen=True)
class Submission:
    """What came in, from whom, when, and under which names."""

    check_id: str
    caller: Caller
    upload: Upload
    received_ms: int
    idempotency_key: str | None
    session_id: str | None
    with_relief: bool

    @property
    def sha256(self) -> str:
        return self.upload.sha256


def find(connection: Connection, check_id: str) -> Stored | None:
    return _one(connection, decisions.c.id == check_id)


def find_repeated(connection: Connection, submission: Submission) -> Stored | None:
    """The decision that this idempotency key already led to. Raises ProblemError where it was another request's."""
    if submission.idempotency_key is None:
        return None
    stored = _one(
        connection,
        sa.and_(
            decisions.c.owner == submission.caller.owner, decisions.c.idempotency_key == submission.idempotency_key
        ),
    )
    if stored and (stored.request_sha256, stored.session_id) != (submission.sha256, submission.session_id):
        raise ProblemError(409, "idempotency-key", "this idempotency key was used for another request")
    return stored


def store(
    storage: Storage,
    settings: Settings,
    submission: Submission,
    session: Session | None,
    verdict: Verdict,
    model_sha256: str,
) -> Stored:
    """Store a decision.

    The one stored before where the same idempotency key came in twice at once. Raises ProblemError.
    """
    try:
        with storage.write() as connection:
            repeated = find_repeated(connection, submission)
            return repeated or _insert(connection, settings, submission, session, verdict, model_sha256)
    except IntegrityError:
        # PostgreSQL lets two writers race up to the unique constraint; the other one has won.
        with storage.read() as connection:
            repeated = find_repeated(connection, submission)
        if repeated is None:
            raise _seen_before() from None
        return repeated


def _insert(
    connection: Connection,
    settings: Settings,
    submission: Submission,
    session: Session | None,
    verdict: Verdict,
    model_sha256: str,
) -> Stored:
    check_id, upload, now = submission.check_id, submission.upload, now_ms()
    if session is not None:
        # Checked by take: a session's submission without a nonce never comes here.
        assert upload.nonce is not None
        sessions.take(
            connection, session, upload.nonce, submission.received_ms, verdict.decision, check_id, settings.max_attempts
        )
        digests = sorted({upload.first.sha256, upload.second.sha256})
        known = connection.execute(sa.select(image_digests.c.sha256).where(image_digests.c.sha256.in_(digests))).first()
        if known is not None:
            raise _seen_before()
        connection.execute(
            image_digests.insert(), [{"sha256": value, "check_id": check_id, "seen_ms": now} for value in digests]
        )
    answer = verdict.as_json()
    connection.execute(
        decisions.insert().values(
            id=check_id,
            owner=submission.caller.owner,
            session_id=submission.session_id,
            idempotency_key=submission.idempotency_key,
            request_sha256=submission.sha256,
            decision=verdict.decision,
            verdict=json.dumps(answer, allow_nan=False),
            created_ms=now,
        )
    )
    if settings.retain_hours > 0:
        expires_ms = now + int(settings.retain_hours * 3_600_000)
        for view, part in (("first", upload.first), ("second", upload.second)):
            retention.keep(connection, settings.retention_key, check_id, view, part.data, expires_ms)
    audit.append(
        connection,
        "decision",
        {
            "check": check_id,
            "session": submission.session_id,
            "owner": submission.caller.owner,
            "decision": verdict.decision,
            "score": answer["score"],
            "threshold": answer["threshold"],
            "reasons": answer["reasons"],
            "model": verdict.model,
            "model_sha256": model_sha256,
            "rig_sha256": upload.rig_sha256,
            "request_sha256": submission.sha256,
        },
    )
    return Stored(check_id, submission.caller.owner, submission.session_id, submission.sha256, answer, now)


def _one(connection: Connection, where: sa.ColumnElement[bool]) -> Stored | None:
    row = connection.execute(sa.select(decisions).where(where)).one_or_none()
    if row is None:
        return None
    return Stored(row.id, row.owner, row.session_id, row.request_sha256, json.loads(row.verdict), row.created_ms)


def _seen_before() -> ProblemError:
    return ProblemError(
        409, "replayed", "one of these images was submitted before; every submission needs fresh images"
    )
