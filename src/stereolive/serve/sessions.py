"""Sessions: a nonce and an end, some attempts, one decision.

A session is ``open`` until a pair in it was decided (``bona_fide`` or ``attack``), or its attempts are used up by
non-responses; then it is ``decided``. One that ends before is ``expired``. Every submission carries the session's
nonce, and every accepted one changes it: a submission that comes again, or twice at once, finds it changed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stereolive.serve.problems import ProblemError
from stereolive.serve.storage import now_ms, sessions
from stereolive.types import Decision

Status = Literal["open", "decided", "expired"]


@dataclass(frozen=True)
class Session:
    """A session as it stands now."""

    id: str
    owner: str
    nonce: str
    status: Status
    attempts: int
    created_ms: int
    expires_ms: int
    check_id: str | None


def create(connection: Connection, owner: str, seconds: int) -> Session:
    now = now_ms()
    session = Session(
        f"ses_{secrets.token_urlsafe(18)}", owner, secrets.token_urlsafe(24), "open", 0, now, now + seconds * 1000, None
    )
    connection.execute(
        sessions.insert().values(
            id=session.id,
            owner=owner,
            nonce=session.nonce,
            status="open",
            attempts=0,
            created_ms=now,
            expires_ms=session.expires_ms,
        )
    )
    return session


def find(connection: Connection, session_id: str) -> Session | None:
    row = connection.execute(sa.select(sessions).where(sessions.c.id == session_id)).mappings().one_or_none()
    if row is None:
        return None
    session = Session(**row)
    if session.status == "open" and session.expires_ms <= now_ms():
        return Session(**{**row, "status": "expired"})
    return session


def check_takes(session: Session, nonce: str | None, received_ms: int) -> None:
    """Whether a submission may be worked on. Raises ProblemError. ``take`` decides; this only spares the work."""
    if session.status == "decided":
        raise ProblemError(409, "decided", "this session is decided; create a new one")
    if session.expires_ms <= received_ms:
        raise ProblemError(410, "expired", "this session has expired; create a new one")
    if nonce is None:
        raise ProblemError(422, "nonce", "nonce: is missing; send the session's current nonce")
    if nonce != session.nonce:
        raise ProblemError(409, "replayed", "this nonce was used before or belongs to another session")


def take(
    connection: Connection,
    session: Session,
    nonce: str,
    received_ms: int,
    decision: Decision,
    check_id: str,
    max_attempts: int,
) -> None:
    """Enter a decision within the caller's writing transaction. Raises ProblemError where another came before."""
    final = decision != "no_response" or session.attempts + 1 >= max_attempts
    changed = connection.execute(
        sessions.update()
        .where(
            sessions.c.id == session.id,
            sessions.c.nonce == nonce,
            sessions.c.status == "open",
            sessions.c.attempts == session.attempts,
            sessions.c.expires_ms > received_ms,
        )
        .values(
            nonce=secrets.token_urlsafe(24),
            attempts=session.attempts + 1,
            status="decided" if final else "open",
            check_id=check_id,
        )
    )
    if changed.rowcount != 1:
        raise ProblemError(409, "replayed", "another submission to this session came before")


def purge(connection: Connection, older_than_ms: int) -> int:
    """Delete sessions that ended before; their decisions stay."""
    return connection.execute(sessions.delete().where(sessions.c.expires_ms < older_than_ms)).rowcount
