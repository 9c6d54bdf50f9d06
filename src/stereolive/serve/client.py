"""A small client of the service; needs nothing beyond Python's own library.

>>> client = Client("http://127.0.0.1:8000", key)
>>> client.check("first.png", "second.png", "rig.json").decision
'bona_fide'
>>> with client.session() as session:
...     while session.is_open:
...         session.submit(*grab_pair(), "rig.json")
>>> session.result.decision
"""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

from stereolive.errors import InputError, StereoliveError
from stereolive.rig import Rig
from stereolive.types import Decision

ImageFile = bytes | str | Path
"""An image file's bytes, or where it lies."""
RigLike = Rig | Mapping[str, Any] | str | Path
"""A rig, its parsed JSON, its file, or (a ``str`` that is no file) the name of one that the service has registered."""


class ServiceError(StereoliveError):
    """The service refused or failed.

    ``code`` is the last part of the problem's type, ``status`` the HTTP status (0: no connection).
    """

    def __init__(self, status: int, code: str, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"service: {detail}")
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Result:
    """One decision; ``details`` is None for keys without that scope."""

    id: str
    decision: Decision
    no_response_reasons: tuple[str, ...]
    advice: str | None
    details: Mapping[str, Any] | None
    raw: Mapping[str, Any]

    @property
    def is_bona_fide(self) -> bool:
        return self.decision == "bona_fide"


class Client:
    """``address`` like ``https://host:8000``; ``ca_file`` for a certificate of one's own.

    A request that met a busy or restarting service is sent again up to ``attempts`` times, with the same idempotency
    key, so that it is decided once.
    """

    def __init__(
        self,
        address: str,
        key: str,
        *,
        timeout_seconds: float = 30,
        attempts: int = 4,
        ca_file: str | Path | None = None,
    ) -> None:
        if urlsplit(address).scheme not in ("http", "https"):
            raise InputError(f"address: expected http://... or https://..., got {address!r}")
        self._address = address.rstrip("/")
        self._key = key
        self._timeout = timeout_seconds
        self._attempts = attempts
        context = ssl.create_default_context(cafile=ca_file) if address.startswith("https") else None
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})] if _is_local(address) else []
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def check(
        self,
        first: ImageFile,
        second: ImageFile,
        rig: RigLike,
        *,
        idempotency_key: str | None = None,
        relief: bool = False,
    ) -> Result:
        """Check one pair. Raises ServiceError, InputError."""
        path = f"/v1/checks?relief={'true' if relief else 'false'}"
        return _result(self._submit(path, {"rig": _rig_text(rig)}, first, second, idempotency_key))

    def read_check(self, check_id: str) -> Result:
        """A decision that was made before."""
        return _result(self._call("GET", f"/v1/checks/{check_id}"))

    def session(self) -> Session:
        """A new session."""
        return Session(self, self._call("POST", "/v1/sessions"))

    def read_session(self, session_id: str) -> Session:
        """A session as it stands now."""
        return Session(self, self._call("GET", f"/v1/sessions/{session_id}"))

    def information(self) -> Mapping[str, Any]:
        """What the service is and takes."""
        return self._call("GET", "/v1/service")

    def _submit(
        self, path: str, fields: Mapping[str, str], first: ImageFile, second: ImageFile, idempotency_key: str | None
    ) -> dict[str, Any]:
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        for name, image in (("first", first), ("second", second)):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), _image_bytes(image), b"\r\n"]
        parts.append(f"--{boundary}--\r\n".encode())
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Idempotency-Key": idempotency_key or secrets.token_hex(16),
        }
        return self._call("POST", path, b"".join(parts), headers)

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        request = urllib.request.Request(
            self._address + path,
            body,
            {"Authorization": f"Bearer {self._key}", "Accept": "application/json", **(headers or {})},
            method=method,
        )
        for attempt in range(self._attempts):
            last = attempt + 1 == self._attempts
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return cast(dict[str, Any], json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    fault = _service_error(error)
                if last or fault.status not in (429, 503):
                    raise fault from None
                time.sleep(min(fault.retry_after_seconds or 1, 10))
            except (OSError, ValueError) as error:
                # Only what has an idempotency key may be sent again without knowing what became of it.
                if last or (method == "POST" and not headers):
                    raise ServiceError(0, "unreachable", f"{self._address} does not answer ({error})") from None
                time.sleep(0.3 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


class Session:
    """A session: ``submit`` pairs while it ``is_open``."""

    def __init__(self, client: Client, state: Mapping[str, Any]) -> None:
        self._client = client
        self._state = state

    @property
    def id(self) -> str:
        return str(self._state["id"])

    @property
    def is_open(self) -> bool:
        return bool(self._state["status"] == "open")

    @property
    def attempts_left(self) -> int:
        return int(self._state["attempts_left"])

    @property
    def result(self) -> Result | None:
        """Of the last submission."""
        found = self._state["result"]
        return _result(found) if found else None

    def submit(self, first: ImageFile, second: ImageFile, rig: RigLike, *, relief: bool = False) -> Result:
        """Submit one pair. Raises ServiceError, InputError."""
        path = f"/v1/sessions/{self.id}/pairs?relief={'true' if relief else 'false'}"
        fields = {"rig": _rig_text(rig), "nonce": str(self._state["nonce"] or "")}
        self._state = self._client._submit(path, fields, first, second, None)
        return _result(self._state["result"])

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sessions end by themselves."""


def _result(body: Mapping[str, Any]) -> Result:
    return Result(
        body["id"], body["decision"], tuple(body["no_response_reasons"]), body["advice"], body.get("details"), body
    )


def _service_error(error: urllib.error.HTTPError) -> ServiceError:
    retry = error.headers.get("Retry-After") or ""
    try:
        problem = json.load(error)
        code, detail = problem["type"].rpartition(":")[2], problem["detail"]
    except (ValueError, KeyError, TypeError, AttributeError):
        code, detail = "unknown", f"answered {error.code}"
    return ServiceError(error.code, code, detail, float(retry) if retry.isdigit() else None)


def _image_bytes(image: ImageFile) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise InputError(f"image {image}: cannot be read ({error.strerror})") from None


def _rig_text(rig: RigLike) -> str:
    if isinstance(rig, Rig):
        return json.dumps(rig.as_json())
    if isinstance(rig, Mapping):
        return json.dumps(rig)
    if isinstance(rig, str) and not Path(rig).is_file():
        return rig
    return json.dumps(Rig.load(rig).as_json())


def _is_local(address: str) -> bool:
    return urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")
