"""API keys: random, shown once, kept as a hash, with scopes, a rate and an end.

A key reads ``sl_<id>_<secret>``. The secret has 256 random bits, so that a plain SHA-256 of it cannot be searched.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stereolive.errors import InputError
from stereolive.serve import audit
from stereolive.serve.storage import Storage, api_keys, now_ms

SCOPES = {
    "check": "one-shot checks",
    "sessions": "create sessions, submit pairs, read results",
    "details": "scores, measurements and the reasons of an attack",
    "calibrate": "find boards in pictures, make rigs",
    "metrics": "read the metrics",
    "audit": "read the audit log's head, and decisions of other keys",
}
_FORM = re.compile(r"sl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """Who asks, and what it may."""

    owner: str
    scopes: frozenset[str]
    requests_per_minute: int | None


@dataclass(frozen=True)
class NewKey:
    """A key at the only moment when its text is known."""

    id: str
    text: str


def create(
    storage: Storage,
    name: str,
    scopes: list[str],
    *,
    requests_per_minute: int | None = None,
    expires_ms: int | None = None,
) -> NewKey:
    """Make a key and note it in the audit log. Raises InputError for an unknown scope."""
    _check(name, scopes, requests_per_minute)
    new, digest = generate()
    with storage.write() as connection:
        connection.execute(
            api_keys.insert().values(
                id=new.id,
                name=name,
                secret_sha256=digest,
                scopes=" ".join(sorted(set(scopes))),
                requests_per_minute=requests_per_minute,
                created_ms=now_ms(),
                expires_ms=expires_ms,
            )
        )
        audit.append(connection, "key_created", {"key": new.id, "scopes": sorted(set(scopes))})
    return new


def generate() -> tuple[NewKey, str]:
    """A new key and its secret's hash, stored nowhere."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return NewKey(key_id, f"sl_{key_id}_{secret}"), _digest(secret)


def revoke(storage: Storage, key_id: str) -> None:
    """End a key at once. Raises InputError where there is no such key."""
    with storage.write() as connection:
        changed = connection.execute(
            api_keys.update()
            .where(api_keys.c.id == key_id, api_keys.c.revoked_ms.is_(None))
            .values(revoked_ms=now_ms())
        )
        if changed.rowcount != 1:
            raise InputError(f"keys: no key {key_id!r} that could be revoked")
        audit.append(connection, "key_revoked", {"key": key_id})


def listed(storage: Storage) -> list[dict[str, Any]]:
    """All keys without their secrets, the oldest first."""
    columns = [column for column in api_keys.c if column.name != "secret_sha256"]
    with storage.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(api_keys.c.created_ms)).mappings()
        return [dict(row) for row in rows]


def authenticate(storage: Storage, text: str) -> Caller | None:
    """The caller that a key's text stands for; None for an unknown, revoked or expired one."""
    parts = _FORM.fullmatch(text)
    if parts is None:
        return None
    with storage.read() as connection:
        row = connection.execute(sa.select(api_keys).where(api_keys.c.id == parts[1])).one_or_none()
    # The comparison is made for an unknown id as well, so that both take the same time.
    matches = matching(text, row.secret_sha256 if row else "0" * 64)
    if row is None or not matches or row.revoked_ms is not None:
        return None
    if row.expires_ms is not None and row.expires_ms <= now_ms():
        return None
    return Caller(f"key:{row.id}", frozenset(row.scopes.split()), row.requests_per_minute)


def matching(text: str, secret_sha256: str) -> bool:
    parts = _FORM.fullmatch(text)
    return parts is not None and hmac.compare_digest(_digest(parts[2]), secret_sha256)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(name: str, scopes: list[str], requests_per_minute: int | None) -> None:
    if not name.strip() or len(name) > 200:
        raise InputError("keys: a key needs a name of at most 200 characters")
    if not scopes:
        raise InputError(f"keys: a key needs at least one scope of {', '.join(SCOPES)}")
    for scope in scopes:
        if scope not in SCOPES:
            raise InputError(f"keys: unknown scope {scope!r}; known are {', '.join(SCOPES)}")
    if requests_per_minute is not None and requests_per_minute < 1:
        raise InputError(f"keys: the rate must be at least 1 request a minute, got {requests_per_minute}")
