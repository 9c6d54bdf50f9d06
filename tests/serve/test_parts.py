"""The parts of the worker: decoding in its own process, batching, retention, metrics, logs."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from stereolive.errors import ImageError, InputError
from stereolive.serve import metrics, retention
from stereolive.serve.batching import BatchedNetwork
from stereolive.serve.decoding import Decoders, DecodingTimeoutError
from stereolive.serve.logs import JsonFormatter
from stereolive.serve.settings import Settings, is_loopback

Make = Callable[..., TestClient]


@pytest.fixture
def decoders():
    made = Decoders(1, 640 * 480, 20.0)
    yield made
    made.close()


def test_decoding_gives_what_was_encoded_and_survives_its_process(decoders: Decoders, pair_number) -> None:
    data = pair_number(1).first
    image = decoders.decode(data)
    assert image.shape == (480, 640) and image.dtype == np.uint8
    with pytest.raises(ImageError, match="not an image"):
        decoders.decode(b"x" * 100)
    with pytest.raises(ImageError, match="more than the 307200"):
        decoders.decode(b"P5 641 480 255\n" + bytes(641 * 480))
    process = decoders._all[0]._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    decoders._seconds = 0.3
    start = time.monotonic()
    with pytest.raises(DecodingTimeoutError):
        decoders.decode(data)
    assert time.monotonic() - start < 15
    decoders._seconds = 20.0
    assert decoders.decode(data).shape == (480, 640)
    process = decoders._all[0]._process
    assert process is not None
    process.kill()
    process.wait()
    assert decoders.decode(data).shape == (480, 640)


class Doubling:
    """A network that begins when enough others wait for it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_run = threading.Event()

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        self.sizes.append(len(inputs[0]))
        assert self.may_run.wait(60)
        if (inputs[0] < 0).any():
            raise RuntimeError("negative")
        return [inputs[0] * 2, inputs[1] + 1]


def test_runs_that_meet_are_joined_and_each_gets_its_own_answer() -> None:
    inner = Doubling()
    network = BatchedNetwork(inner, most=4)
    answers: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        value = np.full((1, 2), number, np.float32)
        answers[number] = network.run(value, value)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(network._waiting) < 9 and time.monotonic() < deadline:
        time.sleep(0.005)
    inner.may_run.set()
    for thread in threads:
        thread.join()
    for number, (double, more) in answers.items():
        assert (double == 2 * number).all() and (more == number + 1).all() and double.shape == (1, 2)
    assert inner.sizes == [1, 4, 4, 1]
    with pytest.raises(RuntimeError, match="negative"):
        network.run(np.full((1, 2), -1, np.float32), np.zeros((1, 2), np.float32))
    assert (network.run(np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32))[0] == 2).all()


def test_inputs_of_other_sizes_go_through_by_themselves() -> None:
    inner = Doubling()
    network = BatchedNetwork(inner, most=4)
    widths = [2, 2, 5, 2, 5, 2]
    answers: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        value = np.full((1, widths[number]), number, np.float32)
        answers[number] = network.run(value, value)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(widths))]
    deadline = time.monotonic() + 60
    for count, thread in enumerate(threads):
        thread.start()  # in this order: the first runs alone, the others wait for it
        while len(network._waiting) + network.items < count + 1 and time.monotonic() < deadline:
            time.sleep(0.002)
    inner.may_run.set()
    for thread in threads:
        thread.join()
    for number, (double, _) in answers.items():
        assert (double == 2 * number).all() and double.shape == (1, widths[number])
    assert inner.sizes == [1, 3, 2]


def test_images_are_kept_only_where_that_is_set_then_encrypted_and_for_a_while(
    make_client: Make, pair_number, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_number(1)
    key_file = tmp_path / "key"
    key_file.write_text(base64.b64encode(os.urandom(32)).decode() + "\n", "ascii")
    key = retention.load_key(key_file)
    client = make_client(retain_hours=1, retention_key=key)
    service = client.app.state.service
    check = client.post("/v1/checks", files=pair.files, data=pair.data).json()["id"]
    with service.storage.read() as connection:
        assert retention.read(connection, key, check, "second") == pair.second
        with pytest.raises(InputError, match="does not open"):
            retention.read(connection, bytes(32), check, "second")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("service0.db*"))
    assert pair.first[100:140] not in raw
    later_ms = retention.now_ms() + 3_700_000
    monkeypatch.setattr(retention, "now_ms", lambda: later_ms)
    with service.storage.read() as connection, pytest.raises(InputError, match="none is kept"):
        retention.read(connection, key, check, "second")
    with service.storage.write() as connection:
        assert retention.purge(connection, 30) == 2
    client = make_client()
    client.post("/v1/checks", files=pair.files, data=pair.data)
    with client.app.state.service.storage.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM retained_images").scalar_one() == 0
    with pytest.raises(InputError, match="only encrypted"):
        Settings(retain_hours=1)
    key_file.write_text("short", "ascii")
    with pytest.raises(InputError, match="32 bytes"):
        retention.load_key(key_file)


def test_metrics_tell_decisions_stages_and_drift(make_client: Make, pair_number) -> None:
    client, pair = make_client(), pair_number(1)
    client.post("/v1/checks", files=pair.files, data=pair.data)
    client.post("/v1/checks", files={**pair.files, "second": b"P5 640 480 255\n" + bytes(640 * 480)}, data=pair.data)
    client.get("/v1/nothing")
    text = client.get("/metrics").text
    for line in (
        'stereolive_decisions_total{decision="bona_fide"} 1.0',
        'stereolive_non_responses_total{reason="second_too_dark"} 1.0',
        'stereolive_requests_total{route="/v1/checks",status="200"} 2.0',
        'stereolive_requests_total{route="unmatched",status="404"} 1.0',
        'stereolive_refusals_total{problem="not-found"} 1.0',
        "stereolive_pending 0.0",
    ):
        assert line in text, text
    for stage in ("read", "decode", "find", "depth", "liveness", "store"):
        assert f'stereolive_stage_seconds_count{{stage="{stage}"}}' in text


def test_drift() -> None:
    values = np.random.default_rng(1).normal(0, 1, 5000)
    drift = metrics._Drift()
    steady = [index for value in values[:1500] if (index := drift.add(float(value))) is not None]
    assert steady and max(steady) < 0.1
    moved = [index for value in values[1500:2500] if (index := drift.add(float(value) + 1)) is not None]
    assert moved[-1] > 0.25


def test_logs_hold_nothing_of_a_person(make_client: Make, pair_number, caplog: pytest.LogCaptureFixture) -> None:
    client, pair = make_client(), pair_number(1)
    logging.getLogger("stereolive.serve").propagate = True
    with caplog.at_level(logging.INFO, "stereolive.serve"):
        client.post("/v1/checks?relief=true", files=pair.files, data=pair.data)
        client.get("/v1/checks/someone@example")
    lines = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "stereolive.serve"
    ]
    # A record may be caught by more than one of pytest's handlers.
    requests = list({line["request_id"]: line for line in lines if line["message"] == "request"}.values())
    assert [line["route"] for line in requests] == ["/v1/checks", "/v1/checks/{check_id}"]
    allowed = {"time", "level", "message", "request_id", "method", "route", "status", "ms", "owner", "problem"}
    assert all(set(line) == allowed for line in requests)
    assert "someone" not in json.dumps(lines) and "testclient" not in json.dumps(lines)
    try:
        raise ValueError("someone@example")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", None, __import__("sys").exc_info())
    entry = JsonFormatter().format(record)
    assert "someone" not in entry and "ValueError" in entry


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("host", False)],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
