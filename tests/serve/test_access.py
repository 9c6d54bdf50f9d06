"""Keys, scopes, rates, tokens, back-pressure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import TestClient

from stereolive.errors import InputError
from stereolive.serve import keys
from stereolive.serve.limits import Admission, Buckets
from stereolive.serve.storage import Storage, now_ms
from stereolive.serve.tokens import Tokens

Make = Callable[..., TestClient]


@pytest.fixture
def storage(tmp_path: Path):
    opened = Storage(str(tmp_path / "keys.db"))
    yield opened
    opened.close()


def test_keys_live_and_end(storage: Storage) -> None:
    new = keys.create(storage, "door", ["check"], requests_per_minute=7)
    caller = keys.authenticate(storage, new.text)
    assert caller == keys.Caller(f"key:{new.id}", frozenset({"check"}), 7)
    secret = new.text.split("_", 2)[2]
    assert secret not in json.dumps(keys.listed(storage))
    assert keys.authenticate(storage, new.text[:-1] + ("A" if new.text[-1] != "A" else "B")) is None
    assert keys.authenticate(storage, "") is None
    keys.revoke(storage, new.id)
    assert keys.authenticate(storage, new.text) is None
    with pytest.raises(InputError, match="no key"):
        keys.revoke(storage, new.id)
    ended = keys.create(storage, "old", ["check"], expires_ms=now_ms() - 1)
    assert keys.authenticate(storage, ended.text) is None
    with pytest.raises(InputError, match="unknown scope 'everything'"):
        keys.create(storage, "x", ["everything"])


def test_the_database_file_is_the_users_alone(tmp_path: Path) -> None:
    Storage(str(tmp_path / "deep" / "service.db")).close()
    assert (tmp_path / "deep" / "service.db").stat().st_mode & 0o777 == 0o600


def test_nobody_is_served_without_a_key(make_client: Make, problem) -> None:
    client = make_client()
    for path in (
        "/v1/service",
        "/metrics",
        "/v1/audit/head",
        f"/v1/checks/chk_{'a' * 24}",
        f"/v1/sessions/ses_{'a' * 24}",
    ):
        problem(client.get(path, headers={"Authorization": ""}), 401, "no-key")
        answer = client.get(path, headers={"Authorization": "Bearer wrong"})
        problem(answer, 401, "unknown-key")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/v1/checks", "/v1/sessions"):
        problem(client.post(path, headers={"Authorization": "Basic eDp5"}), 401, "no-key")
    assert client.get("/health/live", headers={"Authorization": ""}).text == "ok"
    assert client.get("/health/ready", headers={"Authorization": ""}).text == "ok"


def test_scopes(make_client: Make, problem) -> None:
    client = make_client(scopes=("check",))
    problem(client.post("/v1/sessions"), 403, "scope")
    problem(client.get("/metrics"), 403, "scope")
    problem(client.get("/v1/audit/head"), 403, "scope")
    assert client.get("/v1/service").json()["scopes"] == ["check"]


def test_rates() -> None:
    buckets = Buckets()
    assert [buckets.take("a", 1000, 10_000, now_ms=0) for _ in range(11)] == [0] * 10 + [pytest.approx(1000)]
    assert buckets.take("b", 1000, 10_000, now_ms=0) == 0
    assert buckets.take("a", 1000, 10_000, now_ms=1001) == 0 < buckets.take("a", 1000, 10_000, now_ms=1002)


def test_a_rate_is_answered_with_retry_after(make_client: Make, problem) -> None:
    client = make_client(requests_per_minute=6)
    assert client.get("/v1/service").status_code == 200
    answer = client.get("/v1/service")
    problem(answer, 429, "rate")
    assert 1 <= int(answer.headers["retry-after"]) <= 10


def test_a_full_house_is_answered_with_retry_after(make_client: Make, pair_number, problem) -> None:
    client, pair = make_client(queue=1), pair_number(1)
    with client.app.state.service.admission.place():
        answer = client.post("/v1/checks", files=pair.files, data=pair.data)
        problem(answer, 429, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        problem(client.get("/health/ready"), 503, "not-ready")
    assert client.post("/v1/checks", files=pair.files, data=pair.data).status_code == 200


def test_a_place_is_given_back_whatever_happens() -> None:
    admission = Admission(1)
    with pytest.raises(KeyError), admission.place():
        raise KeyError
    assert admission.taken == 0


def _jwks(path: Path, key: object, algorithm: str) -> None:
    public = key.public_key()
    handler = jwt.algorithms.RSAAlgorithm if algorithm == "RS256" else jwt.algorithms.ECAlgorithm
    entry = {**handler.to_jwk(public, as_dict=True), "kid": "k1", "alg": algorithm, "use": "sig"}
    path.write_text(json.dumps({"keys": [entry]}), "utf-8")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_tokens_of_an_identity_provider(tmp_path: Path, algorithm: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "jwks.json"
    _jwks(path, key, algorithm)
    tokens = Tokens(path, "https://id.example", "stereolive")
    good = {
        "iss": "https://id.example",
        "aud": "stereolive",
        "sub": "someone@example",
        "exp": time.time() + 60,
        "scope": "openid stereolive:check stereolive:nothing",
    }

    def caller(claims: dict[str, object], signer: object = key, kid: str = "k1") -> keys.Caller | None:
        return tokens.caller(jwt.encode(claims, signer, algorithm, headers={"kid": kid}))

    granted = caller(good)
    assert granted is not None and granted.scopes == {"check"} and "someone" not in granted.owner
    stranger = (
        rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
    )
    assert caller(good, signer=stranger) is None
    assert caller(good, kid="k2") is None
    for change in ({"exp": time.time() - 60}, {"aud": "other"}, {"iss": "https://other.example"}):
        assert caller({**good, **change}) is None
    for name in ("exp", "aud", "iss", "sub"):
        assert caller({k: v for k, v in good.items() if k != name}) is None
    assert tokens.caller(jwt.encode(good, None, "none", headers={"kid": "k1"})) is None
    assert tokens.caller("no.token") is None
    # A signature with a shared secret, where a public key is expected.
    assert tokens.caller(jwt.encode(good, b"k" * 32, "HS256", headers={"kid": "k1"})) is None
    path.write_text("{}", "utf-8")
    with pytest.raises(InputError, match="no JWKS"):
        Tokens(path, "i", "a")
