"""Tokens of an identity provider (OpenID Connect, JWT): checked against its published keys, which lie in a file.

The service fetches nothing: whoever runs it keeps the file (a JWKS) fresh, and a changed file is read again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import jwt

from stereolive.errors import InputError
from stereolive.serve.keys import SCOPES, Caller

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures with a public key only: with a shared secret, a public key could be passed off as one."""
SCOPE_PREFIX = "stereolive:"


class Tokens:
    """Accepts tokens of one issuer for one audience.

    Scopes are those of the ``scope`` claim that begin with ``stereolive:``.
    """

    def __init__(self, keys_path: str | Path, issuer: str, audience: str) -> None:
        self._path = Path(keys_path)
        self._issuer = issuer
        self._audience = audience
        self._lock = threading.Lock()
        self._read_ns = -1
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fresh_keys()

    def caller(self, token: str) -> Caller | None:
        """The caller; None for a token that does not hold."""
        try:
            key = self._fresh_keys().get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, InputError, ValueError):
            return None
        granted = {
            name.removeprefix(SCOPE_PREFIX)
            for name in str(claims.get("scope", "")).split()
            if name.startswith(SCOPE_PREFIX)
        }
        # A subject may be a name or an address; logs and the audit log shall not hold it.
        subject = hashlib.sha256(f"{self._issuer}\n{claims['sub']}".encode()).hexdigest()[:24]
        return Caller(f"subject:{subject}", frozenset(granted & SCOPES.keys()), None)

    def _fresh_keys(self) -> dict[str, jwt.PyJWK]:
        """Raises InputError where the file is no JWKS."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            with self._lock:
                if changed_ns != self._read_ns:
                    keys = jwt.PyJWKSet.from_dict(json.loads(self._path.read_text("utf-8"))).keys
                    self._keys = {str(key.key_id): key for key in keys}
                    self._read_ns = changed_ns
        except OSError as error:
            raise InputError(f"identity provider's keys {self._path}: cannot be read ({error.strerror})") from None
        except (ValueError, AttributeError, TypeError, jwt.PyJWTError):
            raise InputError(f"identity provider's keys {self._path}: is no JWKS") from None
        return self._keys
