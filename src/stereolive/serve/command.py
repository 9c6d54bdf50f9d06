"""The commands ``serve``, ``keys`` and ``audit``. Only this module is imported before one of them runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stereolive.errors import InputError, MissingExtraError
from stereolive.watch.ports import port

if TYPE_CHECKING:
    from stereolive.serve.storage import Storage

PAGE_SCOPES = ["check", "sessions", "details", "calibrate"]
LONGEST_DAYS = 36_500


def add_commands(subparsers: Any) -> None:
    """Add ``serve``, ``keys`` and ``audit`` to the command line.

    Each sets ``handler``, which takes the arguments and gives the exit status.
    """
    _add_serve(subparsers)
    _add_keys(subparsers)
    _add_audit(subparsers)


def _add_serve(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="run the service and its page",
        description="Run the REST service and its page. Without a key nobody is served: make one with "
        "'stereolive keys create', or start with --page, which opens the page to this machine with a key that ends "
        "with the process.",
    )
    parser.set_defaults(handler=_serve)
    _add_database(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=port, default=8000)
    parser.add_argument("--model", type=Path, help="model folder (default: the released one)")
    parser.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each network (default: 1, requests run side by side)"
    )
    parser.add_argument(
        "--page", action="store_true", help="print the page's address with a key for this run; only on this machine"
    )
    parser.add_argument(
        "--rig",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="register a rig, so that submissions may name it; may be repeated",
    )
    parser.add_argument(
        "--only-registered-rigs", action="store_true", help="refuse submissions that bring their own rig"
    )
    parser.add_argument("--workers", type=int, default=max(2, os.cpu_count() or 2), help="pairs worked on at once")
    parser.add_argument("--queue", type=int, default=32, help="requests accepted at once; more get 429")
    parser.add_argument("--rate", type=int, default=600, help="requests a minute for keys without a rate of their own")
    parser.add_argument("--max-megabytes", type=float, default=16.0, help="size of a request")
    parser.add_argument("--max-megapixels", type=float, default=4.0, help="size of each image")
    parser.add_argument(
        "--answer-seconds", type=float, default=20.0, help="time for a decision; what takes longer gets 503"
    )
    parser.add_argument("--session-seconds", type=int, default=120, help="life of a session")
    parser.add_argument(
        "--retain-hours", type=float, default=0.0, help="keep images this long, encrypted (default: not at all)"
    )
    parser.add_argument("--retention-key", type=Path, metavar="FILE", help="32 bytes in base64, for --retain-hours")
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM file; needs --tls-key")
    parser.add_argument("--tls-key", type=Path, metavar="FILE")
    parser.add_argument(
        "--oidc-keys", type=Path, metavar="FILE", help="the identity provider's keys (JWKS), to accept its tokens"
    )
    parser.add_argument("--oidc-issuer", metavar="URL", help="'iss' that tokens must have")
    parser.add_argument("--oidc-audience", metavar="NAME", help="'aud' that tokens must have")


def _add_keys(subparsers: Any) -> None:
    parser = subparsers.add_parser("keys", help="make, list and revoke the service's API keys")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key and print it; it is shown only now")
    create.set_defaults(handler=_keys_create)
    _add_database(create)
    create.add_argument("--name", required=True, help="whom or what it is for")
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        help="check, sessions, details, calibrate, metrics or audit; may be repeated",
    )
    create.add_argument("--rate", type=int, help="requests a minute")
    create.add_argument("--days", type=float, help="life of the key, 1 or more (default: until revoked)")
    listing = actions.add_parser("list", help="list the keys, without their secrets")
    listing.set_defaults(handler=_keys_list)
    _add_database(listing)
    listing.add_argument("--json", action="store_true", help="one object a line")
    revoke = actions.add_parser("revoke", help="end a key at once")
    revoke.set_defaults(handler=_keys_revoke)
    _add_database(revoke)
    revoke.add_argument("id", help="as 'stereolive keys list' shows it")


def _add_audit(subparsers: Any) -> None:
    parser = subparsers.add_parser("audit", help="verify and read the service's audit log")
    actions = parser.add_subparsers(dest="action", required=True)
    verify = actions.add_parser("verify", help="check the whole chain; exit status 1 where it does not hold")
    verify.set_defaults(handler=_audit_verify)
    _add_database(verify)
    verify.add_argument(
        "--head", metavar="SEQUENCE:SHA256", help="a head noted before, which must still be part of the log"
    )
    head = actions.add_parser("head", help="print the last entry's number and hash, to be noted elsewhere")
    head.set_defaults(handler=_audit_head)
    _add_database(head)
    show = actions.add_parser("show", help="print entries, one JSON object a line")
    show.set_defaults(handler=_audit_show)
    _add_database(show)
    show.add_argument("--after", type=int, default=0, metavar="SEQUENCE", help="only entries after this one")
    images = actions.add_parser("images", help="decrypt the images that were kept for a check")
    images.set_defaults(handler=_audit_images)
    _add_database(images)
    images.add_argument("check", help="the check's id")
    images.add_argument("--retention-key", type=Path, required=True, metavar="FILE")
    images.add_argument("--out", type=Path, default=Path(), metavar="DIR")


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        default="",
        metavar="PATH_OR_URL",
        help="SQLite file or postgresql:// URL (default: $STEREOLIVE_DATABASE, else a file in the state folder)",
    )


def _serve(arguments: argparse.Namespace) -> int:
    try:
        import cv2
        import uvicorn
        from threadpoolctl import threadpool_limits

        from stereolive.serve import app, batching, keys, logs, retention, settings, tokens
    except ImportError as error:
        raise _missing(error) from None
    if arguments.page and not settings.is_loopback(arguments.host):
        raise InputError(
            f"--page gives a key to whoever sees the terminal; it works on 127.0.0.1 only, not on {arguments.host}"
        )
    for option in ("tls_certificate", "tls_key"):
        path = getattr(arguments, option)
        if path is not None and not path.is_file():
            raise InputError(f"--{option.replace('_', '-')} {path}: there is no such file")
    if (arguments.tls_certificate is None) != (arguments.tls_key is None):
        raise InputError("TLS needs both --tls-certificate and --tls-key")
    provider = (arguments.oidc_keys, arguments.oidc_issuer, arguments.oidc_audience)
    if any(provider) and not all(provider):
        raise InputError("tokens need all of --oidc-keys, --oidc-issuer and --oidc-audience")
    chosen = settings.Settings(
        database=arguments.database,
        rigs=_rigs(arguments.rig),
        only_registered_rigs=arguments.only_registered_rigs,
        max_body_bytes=int(arguments.max_megabytes * 1_000_000),
        max_pixels=int(arguments.max_megapixels * 1_000_000),
        workers=arguments.workers,
        queue=arguments.queue,
        answer_seconds=arguments.answer_seconds,
        session_seconds=arguments.session_seconds,
        requests_per_minute=arguments.rate,
        retain_hours=arguments.retain_hours,
        retention_key=retention.load_key(arguments.retention_key) if arguments.retention_key else b"",
    )
    logs.install()
    # Requests run side by side; libraries that split each small matrix over threads of their own only stand in the way
    # of one another, the more so the busier the machine is.
    cv2.setNumThreads(arguments.threads)
    threadpool_limits(arguments.threads)
    detector = batching.BatchingDetector(
        arguments.model, threads=arguments.threads, runtime=arguments.runtime, batch=chosen.batch
    )
    application = app.create_app(chosen, detector, tokens.Tokens(*provider) if all(provider) else None)
    scheme = "https" if arguments.tls_certificate else "http"
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"{scheme}://{host}:{arguments.port}/page/"
    if arguments.page:
        # After the hash, where browsers send it to nobody and no log sees it.
        print(f"Page: {address}#key={application.state.access.temporary_key(PAGE_SCOPES)}", flush=True)
    else:
        if not keys.listed(application.state.service.storage) and not all(provider):
            print(
                "There is no API key yet: stereolive keys create --name NAME --scope check", file=sys.stderr, flush=True
            )
        print(f"Page: {address}", flush=True)
    if not settings.is_loopback(arguments.host) and not arguments.tls_certificate:
        logs.log("listening beyond this machine without TLS; put a proxy with TLS before it", logging.WARNING)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            host=arguments.host,
            port=arguments.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=int(chosen.answer_seconds + chosen.read_seconds),
            ssl_certfile=arguments.tls_certificate,
            ssl_keyfile=arguments.tls_key,
        )
    )
    server.run()
    return 0 if server.started else 2


def _rigs(given: list[str]) -> dict[str, Any]:
    from stereolive.rig import Rig

    rigs = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or name.lstrip().startswith("{"):
            raise InputError(f"--rig: expected NAME=FILE, got {text!r}")
        rigs[name] = Rig.load(path)
    return rigs


@contextlib.contextmanager
def _storage(arguments: argparse.Namespace, *, make: bool = False) -> Iterator[Storage]:
    """The database; one that is not there is made only where ``make`` says so."""
    try:
        from stereolive.serve import settings, storage
    except ImportError as error:
        raise _missing(error) from None
    opened = storage.Storage(arguments.database or settings.default_database(), make=make)
    try:
        yield opened
    finally:
        opened.close()


def _keys_create(arguments: argparse.Namespace) -> int:
    if arguments.days is not None and not 1 <= arguments.days <= LONGEST_DAYS:
        raise InputError(f"--days: expected 1 to {LONGEST_DAYS}, got {arguments.days:g}")
    with _storage(arguments, make=True) as storage:
        from stereolive.serve import keys
        from stereolive.serve.storage import now_ms

        expires_ms = None if arguments.days is None else now_ms() + int(arguments.days * 86_400_000)
        new = keys.create(
            storage, arguments.name, arguments.scope, requests_per_minute=arguments.rate, expires_ms=expires_ms
        )
    print(new.text)
    return 0


def _keys_list(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage:
        from stereolive.serve import keys
        from stereolive.serve.storage import now_ms

        listed = keys.listed(storage)
        now = now_ms()
    for key in listed:
        if arguments.json:
            print(json.dumps(key))
            continue
        ended = key["expires_ms"] is not None and key["expires_ms"] <= now
        state = "revoked" if key["revoked_ms"] else "expired" if ended else "active"
        made = time.strftime("%Y-%m-%d", time.gmtime(key["created_ms"] / 1000))
        print(f"{key['id']}  {state:<8}{made}  {key['scopes']:<24}  {key['name']}")
    return 0


def _keys_revoke(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage:
        from stereolive.serve import keys

        keys.revoke(storage, arguments.id)
    return 0


def _audit_verify(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage:
        from stereolive.serve import audit

        try:
            noted = audit.Head.parse(arguments.head) if arguments.head else None
        except ValueError as error:
            raise InputError(f"--head: {error}") from None
        with storage.read() as connection:
            report = audit.verify(connection, noted)
    if report.fault:
        print(f"The audit log does not hold: {report.fault} ({report.entries} entries before it hold).")
        return 1
    print(f"The audit log holds: {report.entries} entries, head {report.head}")
    return 0


def _audit_head(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage, storage.read() as connection:
        from stereolive.serve import audit

        print(audit.head(connection))
    return 0


def _audit_show(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage, storage.read() as connection:
        from stereolive.serve import audit

        for body in audit.bodies(connection, arguments.after):
            print(body)
    return 0


def _audit_images(arguments: argparse.Namespace) -> int:
    with _storage(arguments) as storage, storage.read() as connection:
        from stereolive.serve import retention

        key = retention.load_key(arguments.retention_key)
        for view in ("first", "second"):
            data = retention.read(connection, key, arguments.check, view)
            path = arguments.out / f"{arguments.check}-{view}"
            try:
                path.write_bytes(data)
            except OSError as error:
                raise InputError(f"{path}: cannot be written ({error.strerror})") from None
            print(path)
    return 0


def _missing(error: ImportError) -> MissingExtraError:
    if (error.name or "").startswith("stereolive"):
        raise error
    return MissingExtraError("The service", "serve")
