"""What whoever runs the service may set; every limit with its unit in its name."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from stereolive.errors import InputError
from stereolive.rig import Rig


@dataclass(frozen=True)
class Settings:
    """Limits and choices of one service process. Raises InputError where they cannot hold together."""

    database: str = ""
    """SQLite path or a ``postgresql://`` URL; empty for ``default_database()``."""
    rigs: dict[str, Rig] = field(default_factory=dict)
    """Rigs that a submission may name instead of carrying one."""
    only_registered_rigs: bool = False
    """Refuse submissions that carry their own rig: whoever chooses the rig chooses the scale of the world."""
    max_body_bytes: int = 16_000_000
    max_pixels: int = 4_000_000
    """Of each image, read from its header before anything is decoded."""
    read_seconds: float = 10.0
    """A body that takes longer to arrive is refused."""
    decode_seconds: float = 5.0
    answer_seconds: float = 20.0
    """From the body's arrival to the decision."""
    calibration_seconds: float = 120.0
    """For the fit that makes a rig; one runs at a time."""
    workers: int = 2
    """Pairs that are worked on at once."""
    queue: int = 32
    """Requests that are accepted at once, those worked on included; more get 429."""
    batch: int = 8
    """Most pairs that go through a network together."""
    session_seconds: int = 120
    max_attempts: int = 5
    """Submissions to one session; those without a response may be repeated, up to here."""
    requests_per_minute: int = 600
    """For a key that has no rate of its own; replicas on one PostgreSQL server count together."""
    retain_hours: float = 0.0
    """How long images are kept, encrypted; 0 keeps none."""
    retention_key: bytes = b""
    replay_days: int = 30
    """How long an image's digest is remembered, to refuse it when it is submitted to a session again."""

    def __post_init__(self) -> None:
        if self.retain_hours > 0 and len(self.retention_key) != 32:
            raise InputError("retention: images are kept only encrypted; give a file with a key of 32 bytes")
        if not 1 <= self.workers <= self.queue:
            raise InputError(f"queue: expected at least as many as the {self.workers} workers, got {self.queue}")
        for name in (
            "max_body_bytes",
            "max_pixels",
            "answer_seconds",
            "batch",
            "session_seconds",
            "max_attempts",
            "requests_per_minute",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")


def default_database() -> str:
    """``$STEREOLIVE_DATABASE``, or a file in the user's state folder."""
    given = os.environ.get("STEREOLIVE_DATABASE")
    if given:
        return given
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(state) / "stereolive" / "service.db")


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
