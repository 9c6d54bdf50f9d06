"""Sessions: fresh nonce, fresh images, one decision, an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.testclient import TestClient

Make = Callable[..., TestClient]


def test_a_session_from_its_creation_to_its_result(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(), pair_number(1)
    created = client.post("/v1/sessions")
    assert created.status_code == 201
    session = created.json()
    assert session["status"] == "open" and session["attempts_left"] == 5 and session["result"] is None
    path = created.headers["location"]
    answer = client.post(f"{path}/pairs", files=pair.files, data={**pair.data, "nonce": session["nonce"]})
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    assert decided["status"] == "decided" and decided["nonce"] is None
    assert decided["result"]["decision"] == "bona_fide" and decided["result"]["session_id"] == session["id"]
    assert client.get(path).json() == decided
    more = pair_number(2)
    problem(
        client.post(f"{path}/pairs", files=more.files, data={**more.data, "nonce": session["nonce"]}), 409, "decided"
    )


def _no_face(number: int) -> dict[str, bytes]:
    import numpy as np

    ys, xs = np.mgrid[:480, :640]
    picture = (100 + 60 * np.sin(xs / 9) * np.cos(ys / 7)).astype(np.uint8).tobytes()[:-8]
    return {
        view: b"P5 640 480 255\n" + picture + bytes([number] * 7 + [side])
        for side, view in enumerate(("first", "second"))
    }


def test_non_responses_may_be_repeated_until_the_attempts_are_used_up(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(max_attempts=2), pair_number(1)
    session = client.post("/v1/sessions").json()
    path = f"/v1/sessions/{session['id']}/pairs"
    once = client.post(path, files=_no_face(1), data={**pair.data, "nonce": session["nonce"]}).json()
    assert once["status"] == "open" and once["attempts_left"] == 1 and once["nonce"] != session["nonce"]
    assert once["result"]["decision"] == "no_response"
    twice = client.post(path, files=_no_face(2), data={**pair.data, "nonce": once["nonce"]}).json()
    assert twice["status"] == "decided" and twice["result"]["decision"] == "no_response"


def test_replayed_and_stale_submissions_are_refused(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(), pair_number(1)
    session = client.post("/v1/sessions").json()
    path = f"/v1/sessions/{session['id']}/pairs"
    problem(client.post(path, files=pair.files, data=pair.data), 422, "nonce")
    problem(client.post(path, files=pair.files, data={**pair.data, "nonce": "another"}), 409, "replayed")
    assert client.post(path, files=pair.files, data={**pair.data, "nonce": session["nonce"]}).status_code == 200
    # The same images in another session, even with one view exchanged.
    other = client.post("/v1/sessions").json()
    path = f"/v1/sessions/{other['id']}/pairs"
    problem(client.post(path, files=pair.files, data={**pair.data, "nonce": other["nonce"]}), 409, "replayed")
    mixed = {"first": pair_number(2).first, "second": pair.second}
    problem(client.post(path, files=mixed, data={**pair.data, "nonce": other["nonce"]}), 409, "replayed")
    fresh = pair_number(3)
    assert client.post(path, files=fresh.files, data={**fresh.data, "nonce": other["nonce"]}).status_code == 200


def test_an_expired_session_takes_nothing(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(session_seconds=1), pair_number(1)
    session = client.post("/v1/sessions").json()
    time.sleep(1.1)
    assert client.get(f"/v1/sessions/{session['id']}").json()["status"] == "expired"
    path = f"/v1/sessions/{session['id']}/pairs"
    problem(client.post(path, files=pair.files, data={**pair.data, "nonce": session["nonce"]}), 410, "expired")


def test_sessions_belong_to_the_key_that_made_them(make_client: Make, pair_number, problem) -> None:
    from stereolive.serve import keys

    client, pair = make_client(), pair_number(1)
    session = client.post("/v1/sessions").json()
    stranger = keys.create(client.app.state.service.storage, "stranger", ["sessions"])
    headers = {"Authorization": f"Bearer {stranger.text}"}
    path = f"/v1/sessions/{session['id']}"
    problem(client.get(path, headers=headers), 404, "not-found")
    data = {**pair.data, "nonce": session["nonce"]}
    problem(client.post(f"{path}/pairs", files=pair.files, data=data, headers=headers), 404, "not-found")


def test_the_same_submission_many_times_at_once_is_decided_once(make_client: Make, pair_number) -> None:
    client, pair = make_client(workers=3), pair_number(1)
    session = client.post("/v1/sessions").json()
    path, data = f"/v1/sessions/{session['id']}/pairs", {**pair.data, "nonce": session["nonce"]}

    def submit(headers: dict[str, str]) -> tuple[int, dict[str, object]]:
        answer = client.post(path, files=pair.files, data=data, headers=headers)
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(submit, [{}] * 6))
    assert sorted(status for status, _ in answers) == [200] + [409] * 5
    storage = client.app.state.service.storage
    assert _decisions(storage) == 1

    session = client.post("/v1/sessions").json()
    fresh = pair_number(2)
    path, data, pair = f"/v1/sessions/{session['id']}/pairs", {**fresh.data, "nonce": session["nonce"]}, fresh
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(submit, [{"Idempotency-Key": "one"}] * 6))
    assert [status for status, _ in answers] == [200] * 6
    assert len({answer["result"]["id"] for _, answer in answers}) == 1
    assert _decisions(storage) == 2


def _decisions(storage: object) -> int:
    import sqlalchemy as sa

    from stereolive.serve.storage import decisions

    with storage.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one())
