"""The same storage on PostgreSQL: Debian's server, started here on a loopback port."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from stereolive.errors import InputError
from stereolive.serve import audit
from stereolive.serve.client import Client
from stereolive.serve.limits import SharedBuckets, forget_full
from stereolive.serve.storage import Storage, decisions, now_ms


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def postgres(free_port: Callable[[], int]) -> Iterator[str]:
    """A URL of an empty server."""
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; Debian's package makes an account for it.
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("running as root without the account 'postgres'")
        account = {"user": owner.pw_uid, "group": owner.pw_gid}
    # Not among pytest's folders, which it closes to other accounts whenever it starts.
    folder = Path(tempfile.mkdtemp(prefix="stereolive-postgres-"))
    if account:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    data = str(folder / "data")
    subprocess.run(
        [initdb, "-D", data, "-U", "tests", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
        **account,
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                server,
                "-D",
                data,
                "-p",
                str(port),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                f"unix_socket_directories={folder}",
            ],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            **account,
        )
    url = f"postgresql://tests@127.0.0.1:{port}/postgres"
    for _ in range(600):
        ready = subprocess.run(
            [_program("pg_isready") or "pg_isready", "-h", "127.0.0.1", "-p", str(port)],
            capture_output=True,
            check=False,
        )
        if ready.returncode == 0:
            break
        threading.Event().wait(0.1)
    yield url
    process.send_signal(signal.SIGINT)
    process.wait(60)
    shutil.rmtree(folder)


def test_replicas_may_start_at_once_and_the_log_is_append_only(postgres: str, command: list[str]) -> None:
    # Processes of their own, as replicas are.
    replicas = [
        subprocess.Popen([*command, "audit", "head", "--database", postgres], stdout=subprocess.PIPE) for _ in range(3)
    ]
    assert [process.communicate()[0] for process in replicas] == [f"0:{audit.BEGINNING}\n".encode()] * 3
    storage = Storage(postgres)

    def append(number: int) -> None:
        with storage.write() as connection:
            audit.append(connection, "test", {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(40)))
    for statement in ("UPDATE audit_log SET body='{}'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(sa.exc.DatabaseError, match="append-only"), storage.write() as connection:
            connection.exec_driver_sql(statement)
    with storage.read() as connection:
        report = audit.verify(connection)
    assert report.fault is None and report.entries == 40
    with storage.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_log_append_only ON audit_log")
        connection.exec_driver_sql("UPDATE audit_log SET body=replace(body,'\"number\":7,','\"number\":8,')")
    with storage.read() as connection:
        report = audit.verify(connection)
    assert report.fault is not None and "altered" in report.fault
    with storage.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    storage.close()


def test_two_processes_share_one_database_and_decide_once(
    postgres: str, start_service: Callable[..., object], pair_number
) -> None:
    first, second = (start_service(database=postgres) for _ in range(2))
    clients = [Client(live.address, first.key, timeout_seconds=300) for live in (first, second)]
    pair = pair_number(90_001)

    def check(number: int) -> str:
        return clients[number % 2].check(pair.first, pair.second, json.loads(pair.rig), idempotency_key="once").id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(check, range(12)))) == 1
    # A session made at one, submitted at the other, read at the first.
    session = clients[0].session()
    there = clients[1].read_session(session.id)
    fresh = pair_number(90_002)
    assert there.submit(fresh.first, fresh.second, json.loads(fresh.rig)).is_bona_fide
    result = clients[0].read_session(session.id).result
    assert result is not None and result.is_bona_fide
    storage = Storage(postgres)
    with storage.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one() == 2
        assert audit.verify(connection).fault is None
    storage.close()


def test_a_database_that_does_not_answer(
    make_client: Callable[..., TestClient], pair_number, problem, postgres: str
) -> None:
    with pytest.raises(InputError, match="cannot be used") as caught:
        Storage("postgresql://someone:secret@127.0.0.1:9/nothing")
    assert "secret" not in str(caught.value)
    client, pair = make_client(), pair_number(1)
    storage = client.app.state.service.storage
    engine = storage.engine
    storage.engine = sa.create_engine("postgresql+psycopg://someone@127.0.0.1:9/nothing")
    try:
        problem(client.get("/v1/service"), 503, "storage")
        problem(client.get("/health/ready"), 503, "not-ready")
    finally:
        storage.engine = engine
    assert client.post("/v1/checks", files=pair.files, data=pair.data).status_code == 200


def test_replicas_count_a_key_s_rate_together(postgres: str) -> None:
    storages = [Storage(postgres) for _ in range(3)]
    replicas = [SharedBuckets(storage) for storage in storages]

    def take(number: int) -> float:
        return replicas[number % 3].take("rate-test", 60_000, 20 * 60_000)

    with ThreadPoolExecutor(6) as pool:
        waits = list(pool.map(take, range(30)))
    assert waits.count(0.0) == 20
    assert all(50_000 < wait <= 60_000 for wait in waits if wait)
    with storages[0].write() as connection:
        forget_full(connection, now_ms() + 2 * 86_400_000)
    assert take(0) == 0.0
    for storage in storages:
        storage.close()
