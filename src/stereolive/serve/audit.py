"""The audit log: every decision and every change of a key, each entry chained to the one before by its hash.

``sha256 = SHA-256(previous_sha256 + "\\n" + body)``, the body being JSON with sorted keys, kept as the very text that
was hashed. Whoever may write to the database could rewrite the whole chain; so note its head elsewhere from time to
time (``stereolive audit head``) and hand it to
``stereolive audit verify --head``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stereolive.serve.storage import audit_head, audit_log, now_ms

BEGINNING = "0" * 64


@dataclass(frozen=True)
class Head:
    """The last entry's number and hash; written ``sequence:sha256``."""

    sequence: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Raises ValueError."""
        sequence, colon, sha256 = text.strip().partition(":")
        if not colon or not sequence.isdigit() or len(sha256) != 64:
            raise ValueError(f"expected SEQUENCE:SHA256, got {text[:80]!r}")
        return cls(int(sequence), sha256)


@dataclass(frozen=True)
class Report:
    """What a verification found; ``fault`` is None where the chain holds."""

    entries: int
    head: Head
    fault: str | None


def append(connection: Connection, kind: str, content: dict[str, Any]) -> Head:
    """Add one entry within the caller's writing transaction."""
    # Locking the head first makes the chain gapless however many write at once (SQLite's writers are already alone
    # here).
    last = connection.execute(sa.select(audit_head).with_for_update()).one()
    sequence = last.sequence + 1
    body = json.dumps(
        {"sequence": sequence, "at_ms": now_ms(), "kind": kind, **content}, sort_keys=True, separators=(",", ":")
    )
    sha256 = _chained(last.sha256, body)
    connection.execute(
        audit_log.insert().values(sequence=sequence, previous_sha256=last.sha256, body=body, sha256=sha256)
    )
    connection.execute(audit_head.update().values(sequence=sequence, sha256=sha256))
    return Head(sequence, sha256)


def head(connection: Connection) -> Head:
    last = connection.execute(sa.select(audit_head)).one()
    return Head(last.sequence, last.sha256)


def verify(connection: Connection, noted: Head | None = None) -> Report:
    """Walk the whole chain; ``noted`` is a head that was written down before and must still be part of it."""
    previous, count = BEGINNING, 0
    seen_noted = noted is None or (noted.sequence == 0 and noted.sha256 == BEGINNING)
    rows = connection.execution_options(yield_per=1000).execute(sa.select(audit_log).order_by(audit_log.c.sequence))

    def report(fault: str | None) -> Report:
        # A walk that ends early would leave the database's cursor open.
        rows.close()
        return Report(count, Head(count, previous), fault)

    for row in rows:
        if row.sequence != count + 1:
            return report(f"entry {count + 1} is missing")
        if row.previous_sha256 != previous:
            return report(f"entry {row.sequence} does not follow the entry before it")
        if _chained(previous, row.body) != row.sha256:
            return report(f"entry {row.sequence} was altered")
        if json.loads(row.body).get("sequence") != row.sequence:
            return report(f"entry {row.sequence} carries another number")
        previous, count = row.sha256, row.sequence
        if noted is not None and noted == Head(count, previous):
            seen_noted = True
    last = head(connection)
    if last != Head(count, previous):
        return report(f"the log ends at entry {count}, but its head says {last.sequence}")
    if not seen_noted:
        return report(f"the noted head {noted} is not part of the log")
    return report(None)


def _chained(previous_sha256: str, body: str) -> str:
    return hashlib.sha256(f"{previous_sha256}\n{body}".encode()).hexdigest()


def bodies(connection: Connection, after: int) -> Iterator[str]:
    """The entries' JSON after number ``after``, in order."""
    chosen = sa.select(audit_log.c.body).where(audit_log.c.sequence > after).order_by(audit_log.c.sequence)
    for row in connection.execution_options(yield_per=1000).execute(chosen):
        yield row.body
