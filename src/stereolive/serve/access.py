"""Who may ask what: API keys, and tokens of an identity provider where one is set up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from stereolive.serve import keys
from stereolive.serve.keys import Caller
from stereolive.serve.limits import RateLimits
from stereolive.serve.problems import ProblemError
from stereolive.serve.settings import Settings
from stereolive.serve.storage import Storage
from stereolive.serve.tokens import Tokens

_bearer = HTTPBearer(
    auto_error=False, description="an API key (`stereolive keys create`) or a token of the identity provider"
)


class Access:
    """Turns a request's bearer text into a caller, or refuses."""

    def __init__(self, storage: Storage, settings: Settings, tokens: Tokens | None = None) -> None:
        self._storage = storage
        self._settings = settings
        self._limits = RateLimits(storage)
        self._tokens = tokens
        self._temporary: dict[str, Caller] = {}

    def temporary_key(self, scopes: list[str]) -> str:
        """A key that lives in this process alone."""
        new, digest = keys.generate()
        self._temporary[digest] = Caller(f"page:{new.id}", frozenset(scopes), None)
        return new.text

    async def caller(self, text: str | None, scope: str | None) -> Caller:
        """Raises ProblemError 401, 403 or 429."""
        if not text:
            raise ProblemError(401, "no-key", "send an API key as 'Authorization: Bearer KEY'")
        caller = await run_in_threadpool(self._counted, text)
        if scope is not None and scope not in caller.scopes:
            raise ProblemError(403, "scope", f"this key lacks the scope {scope!r}")
        return caller

    def _counted(self, text: str) -> Caller:
        caller = self._find(text)
        if caller is None:
            raise ProblemError(401, "unknown-key", "this key is unknown, expired or revoked")
        self._limits.take(caller.owner, caller.requests_per_minute or self._settings.requests_per_minute)
        return caller

    def _find(self, text: str) -> Caller | None:
        if text.startswith("sl_"):
            secret_sha256 = hashlib.sha256(text[16:].encode()).hexdigest()
            return self._temporary.get(secret_sha256) or keys.authenticate(self._storage, text)
        return self._tokens.caller(text) if self._tokens else None


def requires(scope: str | None) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, who has ``scope``."""

    async def dependency(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
    ) -> Caller:
        access: Access = request.app.state.access
        caller = await access.caller(credentials.credentials if credentials else None, scope)
        request.state.owner = caller.owner
        return caller

    return dependency
