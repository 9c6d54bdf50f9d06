"""The service as a process: commands, client, the documented curl lines, TLS, and its end."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stereolive.errors import InputError
from stereolive.serve import keys
from stereolive.serve.client import Client, ServiceError
from stereolive.serve.command import add_commands
from stereolive.serve.storage import Storage, now_ms

DOCUMENT = Path(__file__).parents[2] / "docs" / "service.md"


@pytest.fixture
def folder(tmp_path: Path, pair_number) -> Path:
    """A folder with the files that the documented lines name; every test has images of its own."""
    number = int.from_bytes(os.urandom(3), "big")
    pair = pair_number(number)
    (tmp_path / "first.png").write_bytes(pair.first)
    (tmp_path / "second.png").write_bytes(pair.second)
    (tmp_path / "rig.json").write_text(pair.rig, "utf-8")
    (tmp_path / "first.raw").write_bytes(b"\x40" * 640 * 480)
    return tmp_path


def test_commands(run_command: Callable[..., Any], tmp_path: Path) -> None:
    database = ("--database", str(tmp_path / "s.db"))
    made = run_command("keys", "create", *database, "--name", "door", "--scope", "check", "--days", "2")
    assert re.fullmatch(r"sl_[0-9a-f]{12}_[\w-]{43}\n", made.stdout)
    listed = run_command("keys", "list", *database, "--json").stdout
    key_id = json.loads(listed)["id"]
    assert made.stdout.startswith(f"sl_{key_id}_") and made.stdout[16:].strip() not in listed
    assert run_command("keys", "revoke", *database, key_id).returncode == 0
    assert "revoked" in run_command("keys", "list", *database).stdout
    verified = run_command("audit", "verify", *database)
    assert verified.returncode == 0 and "2 entries" in verified.stdout
    head = run_command("audit", "head", *database).stdout.strip()
    assert run_command("audit", "verify", *database, "--head", head).returncode == 0
    assert run_command("audit", "verify", *database, "--head", f"2:{'0' * 64}").returncode == 1
    kinds = [json.loads(line)["kind"] for line in run_command("audit", "show", *database).stdout.splitlines()]
    assert kinds == ["key_created", "key_revoked"]


@pytest.mark.parametrize("days", ["0", "-1", "0.5", "nan", "inf", "1e300"])
def test_a_key_of_less_than_a_day_is_refused(days: str, tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    with pytest.raises(InputError, match="--days: expected 1 to"):
        _handle("keys", "create", "--database", str(database), "--name", "x", "--scope", "check", f"--days={days}")
    assert not database.exists()


def test_an_expired_key_is_listed_as_expired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(str(tmp_path / "s.db"))
    keys.create(storage, "over", ["check"], expires_ms=now_ms() - 1)
    keys.create(storage, "later", ["check"], expires_ms=now_ms() + 1_000_000)
    keys.create(storage, "for good", ["check"])
    ended = keys.create(storage, "ended", ["check"], expires_ms=now_ms() - 1)
    keys.revoke(storage, ended.id)
    storage.close()
    _handle("keys", "list", "--database", str(tmp_path / "s.db"))
    listed = {line.split("  ")[-1].strip(): line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert listed == {"over": "expired", "later": "active", "for good": "active", "ended": "revoked"}


@pytest.mark.parametrize(
    "words",
    [
        "keys list",
        "keys revoke 0123456789ab",
        "audit verify",
        "audit head",
        "audit show",
        "audit images chk_1 --retention-key key",
    ],
)
@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_a_missing_database_is_refused_and_not_made(words: str, prefix: str, tmp_path: Path) -> None:
    database = tmp_path / "deep" / "nope.db"
    with pytest.raises(InputError, match=r"nope\.db: there is no such file"):
        _handle(*words.split(), "--database", f"{prefix}{database}")
    assert not database.parent.exists()


@pytest.mark.parametrize("port", ["999999", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _handle("serve", f"--port={port}")
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == "" and "expected a port from 0 to 65535" in err


def _handle(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args(words)
    status: int = arguments.handler(arguments)
    return status


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--page", "--host", "0.0.0.0"], "gives a key to whoever"),
        (["--tls-key", "nothing.pem"], "no such file"),
        (["--retain-hours", "1"], "only encrypted"),
        (["--oidc-issuer", "https://id.example"], "--oidc-keys"),
        (["--rig", "door"], "NAME=FILE"),
        (["--model", "nowhere"], "no such folder"),
        (["--database", "mysql://x/y"], "postgresql"),
    ],
)
def test_a_wrong_start_is_refused_in_one_sentence(
    options: list[str], message: str, tmp_path: Path, model_folders
) -> None:
    base = ["serve", "--database", str(tmp_path / "s.db"), "--model", str(model_folders["bona_fide"])]
    with pytest.raises(InputError, match=message):
        _handle(*base, *options)


def test_the_client(live, folder: Path, pair_number) -> None:
    client = Client(live.address, live.key, timeout_seconds=300)
    files = (folder / "first.png", folder / "second.png", folder / "rig.json")
    result = client.check(*files)
    assert result.is_bona_fide and result.details is not None and result.details["distance_mm"] > 300
    assert client.read_check(result.id) == result
    assert client.information()["model"].startswith("test ")
    session = client.session()
    assert session.is_open and session.result is None
    assert session.submit(*files).is_bona_fide
    assert not session.is_open and session.result is not None
    assert client.read_session(session.id).result == session.result
    with pytest.raises(ServiceError, match="decided") as caught:
        session.submit(*files)
    assert (caught.value.status, caught.value.code) == (409, "decided")
    with pytest.raises(InputError, match=r"nothing\.png"):
        client.check(folder / "nothing.png", b"", "door")
    with pytest.raises(ServiceError) as caught:
        Client(live.address, "sl_wrong").information()
    assert caught.value.code == "unknown-key"
    with pytest.raises(ServiceError) as caught:
        Client("http://127.0.0.1:9", "x", attempts=1).information()
    assert caught.value.status == 0


def _documented(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def _bash(script: str, live: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STEREOLIVE_URL": live.address, "STEREOLIVE_KEY": live.key}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("script", _documented("sh"))
def test_the_documented_curl_lines(live, folder: Path, script: str) -> None:
    done = _bash(script, live, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"decision":' in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("script", _documented("bash"))
def test_the_documented_curl_lines_of_the_calibration(live, folder: Path, script: str) -> None:
    done = _bash(script, live, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    view = json.loads(done.stdout)
    assert view["first"] is None and not view["taken"] and view["missing"]
    assert (folder / "board.pdf").read_bytes().startswith(b"%PDF")


def test_the_documented_commands_and_python_exist(live, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser(prog="stereolive")
    add_commands(parser.add_subparsers(required=True))
    lines = re.findall(r"(?m)^stereolive .*$", DOCUMENT.read_text("utf-8"))
    assert len(lines) >= 9
    for line in lines:
        parser.parse_args(line.split()[1:])
    monkeypatch.chdir(folder)
    (script,) = _documented("python")
    exec(
        script.replace("http://127.0.0.1:8000", live.address),
        {"key": live.key, "grab": lambda: ("first.png", "second.png")},
    )


def test_problem_codes_are_documented() -> None:
    source = "".join(
        path.read_text("utf-8") for path in (Path(__file__).parents[2] / "src/stereolive/serve").glob("*.py")
    )
    codes = set(re.findall(r'(?:ProblemError\(\s*|response\(\s*request, )\d+, "([a-z-]+)"', source))
    documented = set(
        re.findall(r"`([a-z-]+)`", DOCUMENT.read_text("utf-8").split("## Problems")[1].split("## Storage")[0])
    )
    assert len(codes) > 15 and codes - {"internal"} <= documented


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    import ipaddress

    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_tls_and_an_end_that_finishes_what_was_accepted(start_service, folder: Path) -> None:
    certificate, key = _certificate(folder)
    live = start_service("--tls-certificate", str(certificate), "--tls-key", str(key), "--workers", "1")
    client = Client(live.address, live.key, ca_file=certificate, attempts=1, timeout_seconds=300)
    files = (folder / "first.png", folder / "second.png", folder / "rig.json")
    assert client.check(*files).is_bona_fide
    outcomes: list[str] = []

    def check() -> None:
        try:
            outcomes.append(client.check(*files).decision)
        except ServiceError as error:
            outcomes.append(f"refused {error.status}")

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    live.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(300)
    assert live.process.wait(300) in (0, -signal.SIGTERM)
    # Every request was either answered, or refused before it was accepted; none was left half done.
    assert len(outcomes) == 8 and set(outcomes) <= {"bona_fide", "refused 0"}, outcomes
    acknowledged = outcomes.count("bona_fide") + 1
    import sqlite3

    database = sqlite3.connect(live.database)
    assert database.execute("SELECT count(*) FROM decisions").fetchone()[0] == acknowledged
    database.close()
    assert '"message": "stopped"' in live.log.read_text("utf-8")
