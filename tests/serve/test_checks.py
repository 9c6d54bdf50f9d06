"""One-shot checks: what is answered, what is refused, and how."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa
from starlette.requests import Request
from starlette.testclient import TestClient

from stereolive.serve.problems import ProblemError
from stereolive.serve.settings import Settings
from stereolive.serve.storage import decisions
from stereolive.serve.uploads import read_upload

Make = Callable[..., TestClient]


@pytest.mark.parametrize("model", ["bona_fide", "attack"])
def test_a_face_is_decided_and_can_be_read_again(make_client: Make, pair_number, model: str) -> None:
    client, pair = make_client(model=model), pair_number(1)
    answer = client.post("/v1/checks", files=pair.files, data=pair.data)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["decision"] == model
    assert body["details"]["distance_mm"] == pytest.approx(500, rel=0.2)
    assert body["details"]["score"] == pytest.approx(1 / (1 + np.exp(-3 if model == "bona_fide" else 3)), abs=1e-5)
    again = client.get(f"/v1/checks/{body['id']}")
    assert again.json() == body


def test_without_the_scope_nothing_says_why_an_attack_was_caught(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(scopes=("check",), model="attack"), pair_number(1)
    body = client.post("/v1/checks", files=pair.files, data=pair.data).json()
    assert body["decision"] == "attack"
    assert body["details"] is None and body["advice"] is None and body["no_response_reasons"] == []
    problem(client.post("/v1/checks?relief=true", files=pair.files, data=pair.data), 403, "scope")


def test_a_pair_without_a_face_is_a_non_response_with_advice(make_client: Make, pair_number) -> None:
    client, pair = make_client(scopes=("check",)), pair_number(1)
    ys, xs = np.mgrid[:480, :640]
    plain = b"P5 640 480 255\n" + (100 + 60 * np.sin(xs / 9) * np.cos(ys / 7)).astype(np.uint8).tobytes()
    body = client.post("/v1/checks", files={"first": plain, "second": plain[:-1] + b"\0"}, data=pair.data).json()
    assert (body["decision"], body["no_response_reasons"]) == ("no_response", ["no_face"])
    assert body["advice"].startswith("Look at the camera")


def test_relief_comes_with_the_first_answer(make_client: Make, pair_number) -> None:
    client, pair = make_client(), pair_number(1)
    body = client.post("/v1/checks?relief=true", files=pair.files, data=pair.data).json()
    relief = body["relief"]
    assert relief["size"] == 32 and relief["first"].startswith("data:image/png;base64,")
    assert 100 < relief["side_mm"] < 400


def test_raw_pixels(make_client: Make, pair_number, rig, problem) -> None:
    client, pair = make_client(), pair_number(1)
    grey = np.full((480, 640), 3000, "<u2")

    def send(content_type: str, data: bytes) -> object:
        part = ("first", data, content_type)
        return client.post("/v1/checks", files={"first": part, "second": pair.files["second"]}, data=pair.data)

    answer = send("application/x-raw-image; width=640; height=480; channels=1; bits=16", grey.tobytes())
    assert answer.json()["no_response_reasons"] == ["first_no_signal"], answer.text
    for content_type, data in (
        ("application/x-raw-image; width=640; height=480; channels=1; bits=16", grey.tobytes()[:-1]),
        ("application/x-raw-image; width=640; height=480; channels=2; bits=16", grey.tobytes()),
        ("application/x-raw-image; width=640", grey.tobytes()),
        ("application/x-raw-image; width=-5; height=1e9; channels=1; bits=8", b""),
    ):
        problem(send(content_type, data), 422, "image")


def _png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


def test_unusable_images_are_refused(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(), pair_number(1)

    def send(first: bytes) -> object:
        return client.post("/v1/checks", files={"first": first, "second": pair.files["second"]}, data=pair.data)

    problem(send(b""), 422, "image")
    problem(send(b"no image at all"), 422, "image")
    problem(send(pair.first[:2000]), 422, "image")
    problem(send(_png_header(640, 480)), 422, "image")
    body = problem(send(_png_header(30000, 30000)), 413, "too-many-pixels")
    assert str(body["detail"]).startswith("first: has 30000 x 30000 pixels")
    small = b"P5 32 32 255\n" + bytes(1024)
    assert "rig" in str(problem(send(small), 422, "image")["detail"])


def test_unusable_forms_are_refused(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(), pair_number(1)
    post = client.post
    problem(post("/v1/checks", json={}), 415, "media-type")
    problem(post("/v1/checks", content=b"x", headers={"content-type": "multipart/form-data"}), 400, "multipart")
    problem(
        post("/v1/checks", content=b"x", headers={"content-type": "multipart/form-data; boundary=b"}), 400, "multipart"
    )
    problem(post("/v1/checks", files={"first": pair.first}, data=pair.data), 422, "part")
    problem(post("/v1/checks", files=pair.files), 422, "rig")
    problem(post("/v1/checks", files=pair.files, data={"rig": "unknown"}), 422, "rig")
    problem(post("/v1/checks", files=pair.files, data={"rig": "{}"}), 422, "rig")
    problem(post("/v1/checks", files=pair.files, data={"rig": "[" * 50_000}), 422, "rig")
    problem(post("/v1/checks", files=pair.files, data={"rig": '{"a":' * 9_000}), 422, "rig")
    problem(post("/v1/checks", files=pair.files, data={**pair.data, "nonce": "n"}), 422, "part")
    problem(post("/v1/checks", files=pair.files, data={**pair.data, "other": "n"}), 422, "part")
    huge = json.dumps({**json.loads(pair.rig), "translation_second_from_first_mm": [1e400, 0, 0]})
    problem(post("/v1/checks", files=pair.files, data={"rig": huge}), 422, "rig")
    problem(client.get("/v1/nothing"), 404, "not-found")
    problem(client.delete("/v1/checks"), 405, "method-not-allowed")
    problem(client.get("/v1/checks/chk_x"), 422, "invalid")
    problem(client.get(f"/v1/checks/chk_{'a' * 24}"), 404, "not-found")


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(max_body_bytes=5000), pair_number(1)
    problem(client.post("/v1/checks", files=pair.files, data=pair.data), 413, "too-large")

    def chunks():
        yield b'--b\r\ncontent-disposition: form-data; name="first"; filename="f"\r\n\r\n'
        for _ in range(100):
            yield bytes(1000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    problem(client.post("/v1/checks", content=chunks(), headers=headers), 413, "too-large")


def test_registered_rigs(make_client: Make, pair_number, rig, problem) -> None:
    client, pair = make_client(rigs={"door": rig}, only_registered_rigs=True), pair_number(1)
    assert client.post("/v1/checks", files=pair.files, data={"rig": "door"}).json()["decision"] == "bona_fide"
    assert client.post("/v1/checks", files=pair.files).json()["decision"] == "bona_fide"
    problem(client.post("/v1/checks", files=pair.files, data=pair.data), 403, "rig")
    assert client.get("/v1/service").json()["rigs"] == {"door": [640, 480, 640, 480]}


def test_an_idempotency_key_gives_one_decision(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(), pair_number(1)
    headers = {"Idempotency-Key": "order-17"}
    first = client.post("/v1/checks", files=pair.files, data=pair.data, headers=headers).json()
    again = client.post("/v1/checks", files=pair.files, data=pair.data, headers=headers).json()
    assert first == again
    other = pair_number(2)
    problem(client.post("/v1/checks", files=other.files, data=other.data, headers=headers), 409, "idempotency-key")
    headers = {"Idempotency-Key": "bad key!"}
    problem(client.post("/v1/checks", files=pair.files, data=pair.data, headers=headers), 422, "invalid")


class Broken:
    """A detector that fails in the ways a bug could make it fail."""

    def __init__(self, good: object, how: str) -> None:
        self.model, self.threshold = good.model, good.threshold
        self._good, self._how = good, how

    def analyse(self, first: object, second: object, rig: object) -> object:
        if self._how == "raises":
            raise RuntimeError("secret input")
        from dataclasses import replace

        analysis = self._good.analyse(first, second, rig)
        return replace(analysis, verdict=replace(analysis.verdict, score=float("nan")))


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_fault_never_gives_bona_fide(make_client: Make, pair_number, detectors, how: str, caplog) -> None:
    client, pair = make_client(detector=Broken(detectors["bona_fide"], how)), pair_number(1)
    body = client.post("/v1/checks", files=pair.files, data=pair.data).json()
    assert (body["decision"], body["no_response_reasons"]) == ("no_response", ["internal_error"])
    assert body["advice"]


class Waiting:
    """A detector that takes until it is told to go on."""

    def __init__(self, good: object) -> None:
        self.model, self.threshold = good.model, good.threshold
        self.go_on = threading.Event()
        self._good = good

    def analyse(self, first: object, second: object, rig: object) -> object:
        self.go_on.wait(300)
        return self._good.analyse(first, second, rig)


def test_what_takes_too_long_is_told_so_and_its_decision_can_be_fetched(
    make_client: Make, pair_number, detectors, problem
) -> None:
    detector = Waiting(detectors["attack"])
    client, pair = make_client(detector=detector, answer_seconds=1), pair_number(1)
    headers = {"Idempotency-Key": "slow-1"}
    answer = client.post("/v1/checks", files=pair.files, data=pair.data, headers=headers)
    problem(answer, 503, "timeout")
    assert int(answer.headers["retry-after"]) >= 1
    detector.go_on.set()
    for _ in range(300):
        answer = client.post("/v1/checks", files=pair.files, data=pair.data, headers=headers)
        if answer.status_code == 200:
            break
    assert answer.json()["decision"] == "attack"
    with client.app.state.service.storage.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one() == 1


def test_a_body_that_takes_too_long_is_refused() -> None:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(60)
        return {"type": "http.request", "body": b"", "more_body": True}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(ProblemError) as caught:
        asyncio.run(read_upload(request, Settings(read_seconds=0.1)))
    assert (caught.value.status, caught.value.code) == (408, "slow")
