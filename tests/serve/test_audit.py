"""The audit chain, and what happens to it when somebody tampers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from stereolive.serve import audit
from stereolive.serve.storage import Storage


@pytest.fixture
def storage(tmp_path: Path):
    opened = Storage(str(tmp_path / "audit.db"))
    with opened.write() as connection:
        for number in range(5):
            audit.append(connection, "test", {"number": number})
    yield opened
    opened.close()


def _report(storage: Storage, noted: audit.Head | None = None) -> audit.Report:
    with storage.read() as connection:
        return audit.verify(connection, noted)


def test_an_untouched_chain_holds(storage: Storage) -> None:
    report = _report(storage)
    assert report.fault is None and report.entries == 5
    assert audit.Head.parse(str(report.head)) == report.head
    assert _report(storage, report.head).fault is None
    for text in ("", "5", "x:" + "0" * 64, "5:abc"):
        with pytest.raises(ValueError):
            audit.Head.parse(text)


def test_the_log_is_append_only(storage: Storage) -> None:
    for statement in ("UPDATE audit_log SET body='{}' WHERE sequence=2", "DELETE FROM audit_log WHERE sequence=5"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), storage.write() as connection:
            connection.exec_driver_sql(statement)
    assert _report(storage).fault is None


# Somebody with the database in hand, who has taken the triggers away: (what they do, what is found).
TAMPERINGS = [
    ("UPDATE audit_log SET body=replace(body,'\"number\":2','\"number\":9')", "entry 3 was altered"),
    ("UPDATE audit_log SET sha256=replace(sha256,'a','b')", "was altered"),
    ("DELETE FROM audit_log WHERE sequence=3", "entry 3 is missing"),
    ("DELETE FROM audit_log WHERE sequence=1", "entry 1 is missing"),
    ("DELETE FROM audit_log WHERE sequence=5", "ends at entry 4, but its head says 5"),
    ("DELETE FROM audit_log", "ends at entry 0"),
    ("UPDATE audit_log SET previous_sha256=sha256 WHERE sequence=4", "entry 4 does not follow"),
    ("INSERT INTO audit_log SELECT 6, sha256, body, sha256 FROM audit_log WHERE sequence=5", "entry 6 was altered"),
    ("UPDATE audit_head SET sequence=4", "its head says 4"),
]


@pytest.mark.parametrize(("statement", "finding"), TAMPERINGS)
def test_tampering_is_found(storage: Storage, statement: str, finding: str) -> None:
    with storage.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_update")
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_delete")
        connection.exec_driver_sql(statement)
    fault = _report(storage).fault
    assert fault is not None and finding in fault


def test_a_chain_written_anew_is_found_by_a_noted_head(storage: Storage) -> None:
    noted = _report(storage).head
    with storage.write() as connection:
        for name in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER audit_log_no_{name}")
        connection.exec_driver_sql("DELETE FROM audit_log")
        connection.exec_driver_sql(f"UPDATE audit_head SET sequence=0, sha256='{audit.BEGINNING}'")
        for number in range(6):
            audit.append(connection, "test", {"number": number, "forged": True})
    assert _report(storage).fault is None
    fault = _report(storage, noted).fault
    assert fault is not None and "noted head" in fault


def test_every_decision_has_its_entry_with_the_hashes(make_client: Callable[..., TestClient], pair_number) -> None:
    client, pair = make_client(), pair_number(1)
    body = client.post("/v1/checks", files=pair.files, data=pair.data).json()
    storage = client.app.state.service.storage
    with storage.read() as connection:
        entries = [json.loads(text) for text in audit.bodies(connection, 0)]
    assert [entry["kind"] for entry in entries] == ["started", "key_created", "decision"]
    entry = entries[-1]
    assert (entry["check"], entry["decision"], entry["score"]) == (body["id"], "bona_fide", body["details"]["score"])
    assert all(len(entry[name]) == 64 for name in ("model_sha256", "rig_sha256", "request_sha256"))
    head = client.get("/v1/audit/head").json()
    assert _report(storage, audit.Head(head["sequence"], head["sha256"])).fault is None
