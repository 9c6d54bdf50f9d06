"""What the service's benchmarks share: a service process on a loopback port, pairs, and a bare HTTP client."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stereolive.store import Model, released_model

COMMAND = [
    sys.executable,
    "-c",
    "import argparse, sys; from stereolive.serve.command import add_commands; parser = argparse.ArgumentParser(); "
    "add_commands(parser.add_subparsers(required=True)); a = parser.parse_args(); sys.exit(a.handler(a))",
]
START_SECONDS = 180


@dataclass(frozen=True)
class PairBytes:
    """One pair as it is sent."""

    name: str
    label: str
    first: bytes
    second: bytes
    rig: bytes


def bundled() -> list[PairBytes]:
    """The pairs that come with the package."""
    from stereolive.demo import bundled_pairs

    return [
        PairBytes(pair.sample_id, pair.label, pair.first.read_bytes(), pair.second.read_bytes(), pair.rig.read_bytes())
        for pair in bundled_pairs()
    ]


def form(parts: Mapping[str, bytes], types: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """A multipart body and its content type; parts other than text get a file name."""
    boundary = secrets.token_hex(12)
    chunks = []
    for name, data in parts.items():
        file_name = f'; filename="{name}"' if name in ("first", "second") else ""
        kind = (types or {}).get(name, "application/octet-stream" if file_name else "text/plain")
        disposition = f'Content-Disposition: form-data; name="{name}"{file_name}'
        chunks.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode())
        chunks += [data, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return b"".join(chunks), f"multipart/form-data; boundary={boundary}"


@dataclass
class Server:
    """A service process; ``start`` and ``kill`` may alternate on one database."""

    folder: Path
    options: list[str]
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[bytes] | None = None
    key: str = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return str(self.folder / "service.db")

    def start(self) -> None:
        """Start and wait until it answers."""
        if not self.key:
            scopes = [
                part
                for scope in ("check", "sessions", "details", "calibrate", "metrics", "audit")
                for part in ("--scope", scope)
            ]
            made = [*COMMAND, "keys", "create", "--database", self.database, "--name", "benchmark", *scopes]
            self.key = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
        command = [
            *COMMAND,
            "serve",
            "--database",
            self.database,
            "--port",
            str(self.port),
            "--rate",
            "10000000",
            *self.options,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health/ready")
                status = connection.getresponse().status
                connection.close()
                if status == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"the service did not start: {(self.folder / 'log').read_text('utf-8')[-2000:]}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)

    def memory_mb(self) -> float:
        """Resident memory of the process and its decoders."""
        assert self.process is not None
        return sum(_resident_mb(pid) for pid in [self.process.pid, *_children(self.process.pid)])

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)


@contextlib.contextmanager
def running(folder: Path, options: list[str]) -> Iterator[Server]:
    server = Server(folder, options)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill(signal.SIGTERM)


def post(
    connection: http.client.HTTPConnection,
    path: str,
    key: str,
    body: bytes,
    content_type: str,
    idempotency_key: str = "",
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of one request."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data)


def machine() -> dict[str, Any]:
    """Where a figure was measured, and what else ran there."""
    return {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "processor": _processor(),
        "python": platform.python_version(),
    }


def served(folder: str | None) -> str:
    """The model that a service given ``folder`` for ``--model`` serves."""
    return Model.load(folder or released_model()).title


def write(name: str, result: Mapping[str, Any]) -> None:
    folder = Path(__file__).parent.parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _resident_mb(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    except OSError:
        return 0.0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text("ascii").split()]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
