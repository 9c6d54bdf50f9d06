"""Where sessions, decisions, keys and the audit log are kept: SQLite in a file, or PostgreSQL by URL.

Times are whole milliseconds since 1970 in columns that end in ``_ms``. Writing transactions are serialised where it
matters: on SQLite they take the write lock at once, on PostgreSQL the audit log's head row is locked by whoever
appends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url

from stereolive.errors import InputError

metadata = sa.MetaData()
_migrating = threading.Lock()
"""Alembic keeps its state in a module."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(200), nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("nonce", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("check_id", sa.String(40)),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("session_id", sa.String(40), index=True),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("owner", "idempotency_key", name="one_decision_an_idempotency_key"),
)

image_digests = sa.Table(
    "image_digests",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("check_id", sa.String(40), nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False, index=True),
)

retained_images = sa.Table(
    "retained_images",
    metadata,
    sa.Column("check_id", sa.String(40), primary_key=True),
    sa.Column("view", sa.String(8), primary_key=True),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False, index=True),
)

rate_buckets = sa.Table(
    "rate_buckets",
    metadata,
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("full_ms", sa.Float, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("previous_sha256", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Storage:
    """One database.

    ``where`` is a path or URL; the tables are made or brought up to date. An SQLite file that is not there is made,
    or refused without ``make``. Raises InputError where it cannot be used.
    """

    def __init__(self, where: str, *, make: bool = True) -> None:
        url = _url(where, make)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {} if self.is_sqlite else {"pool_pre_ping": True, "pool_size": 10}
        self.engine = sa.create_engine(url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        try:
            self._migrate()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self.close()
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise InputError(
                f"database {url.render_as_string(hide_password=True)}: cannot be used ({reason})"
            ) from None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; committed, and on the disk, when the block ends without an error."""
        with self.engine.connect().execution_options(stereolive_writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        with _migrating, as_file(files("stereolive.serve") / "migrations") as folder:
            config = Config()
            config.set_main_option("script_location", str(folder))
            config.attributes["stereolive_write"] = self.write
            command.upgrade(config, "head")


def _url(where: str, make: bool) -> sa.URL:
    if where.startswith(("postgresql://", "postgres://")):
        return make_url(where).set(drivername="postgresql+psycopg")
    if "://" in where and not where.startswith("sqlite:///"):
        raise InputError("database: expected a path or a postgresql:// URL")
    path = Path(where.removeprefix("sqlite:///")).expanduser()
    try:
        if not make and not path.exists():
            raise InputError(f"database {path}: there is no such file")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made by ourselves, so that nobody else on the machine may read it.
        path.touch(mode=0o600)
    except OSError as error:
        raise InputError(f"database {path}: cannot be used ({error.strerror or error})") from None
    return sa.URL.create("sqlite", database=str(path))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by ourselves below; the driver must not begin its own.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged decision must survive a power cut: FULL syncs the log at every commit.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("stereolive_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
