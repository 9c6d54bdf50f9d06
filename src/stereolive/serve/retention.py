"""Images that are kept for a while, where whoever runs the service wants that.

They are encrypted with AES-256-GCM under a key that is never in the database.
What a ciphertext belongs to (check and view) is authenticated with it, so that it cannot be moved to another check.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.engine import Connection

from stereolive.errors import InputError
from stereolive.serve.storage import image_digests, now_ms, retained_images


def load_key(path: str | Path) -> bytes:
    """32 bytes from a file that holds them in base64 (``openssl rand -base64 32``). Raises InputError."""
    try:
        key = base64.b64decode(Path(path).read_text("ascii").strip(), validate=True)
    except OSError as error:
        raise InputError(f"retention key {path}: cannot be read ({error.strerror})") from None
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise InputError(f"retention key {path}: expected 32 bytes in base64 (openssl rand -base64 32)")
    return key


def keep(connection: Connection, key: bytes, check_id: str, view: str, data: bytes, expires_ms: int) -> None:
    """Encrypt and store one image within the caller's writing transaction."""
    nonce = os.urandom(12)
    ciphertext = AESGCM(key).encrypt(nonce, data, _belongs_to(check_id, view))
    connection.execute(
        retained_images.insert().values(
            check_id=check_id, view=view, nonce=nonce, ciphertext=ciphertext, expires_ms=expires_ms
        )
    )


def read(connection: Connection, key: bytes, check_id: str, view: str) -> bytes:
    """One image's bytes as they were submitted. Raises InputError where it is not there, or the key is another."""
    row = connection.execute(
        sa.select(retained_images).where(
            retained_images.c.check_id == check_id,
            retained_images.c.view == view,
            retained_images.c.expires_ms > now_ms(),
        )
    ).one_or_none()
    if row is None:
        raise InputError(f"images: none is kept for check {check_id}")
    try:
        return AESGCM(key).decrypt(bytes(row.nonce), bytes(row.ciphertext), _belongs_to(check_id, view))
    except InvalidTag:
        raise InputError(f"images: the key does not open check {check_id}, or the database was altered") from None


def purge(connection: Connection, replay_days: int) -> int:
    """Delete images that have expired and digests that are no longer needed; how many images went."""
    now = now_ms()
    connection.execute(image_digests.delete().where(image_digests.c.seen_ms < now - replay_days * 86_400_000))
    return connection.execute(retained_images.delete().where(retained_images.c.expires_ms <= now)).rowcount


def _belongs_to(check_id: str, view: str) -> bytes:
    return f"{check_id}/{view}".encode()
