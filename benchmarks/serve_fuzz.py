"""Mutated uploads -> results/serve_fuzz.json: no 5xx, no bona_fide, no growth in memory.

The uploads start from bundled attacks that the service clearly refuses (no response, or a score of at most half the
threshold), so that no mutation can rightly become bona fide. Upload ``n`` depends on the seed and ``n`` alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from serve_common import PairBytes, Server, bundled, form, machine, post, running, served, write

NUMBERS = [
    "0",
    "-1",
    "1e400",
    "-1e400",
    "1e-300",
    "NaN",
    "Infinity",
    "99999999999999999999",
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "1.5",
    "16384",
    "15",
]


def flip(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 2, 8, 64))):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def flip_head(data: bytes, random_: random.Random) -> bytes:
    return flip(data[:64], random_) + data[64:]


def cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data))]


def splice(data: bytes, random_: random.Random) -> bytes:
    at, end = sorted(random_.randrange(len(data)) for _ in range(2))
    return data[:at] + data[end:] + data[at : at + random_.randrange(100)]


def header_only(data: bytes, random_: random.Random) -> bytes:
    size = random_.choice((1, 640, 2000, 20000, 65535, 2**31 - 1))
    return random_.choice(
        (
            b"P5 %d %d 255\n" % (size, size),
            b"BM" + random_.randbytes(16) + size.to_bytes(4, "little") * 2 + random_.randbytes(40),
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size.to_bytes(4, "big") * 2 + random_.randbytes(20) + b"IEND",
            b"\xff\xd8\xff\xc0\0\x11\x08" + (size % 65536).to_bytes(2, "big") * 2 + random_.randbytes(40) + b"\xff\xd9",
            random_.randbytes(random_.randrange(2000)),
        )
    )


IMAGE_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [flip, flip_head, cut, splice, header_only]


def mutate_rig(rig: bytes, random_: random.Random) -> bytes:
    if random_.random() < 0.3:
        return random_.choice((flip, cut, splice))(rig, random_)
    data = json.loads(rig)
    holder = random_.choice((data, data["first"], data["second"]))
    name = random_.choice(sorted(holder))
    value = json.dumps(holder[name])
    digits = [i for i, letter in enumerate(value) if letter.isdigit()]
    if digits and random_.random() < 0.7:
        at = random_.choice(digits)
        value = value[:at] + random_.choice(NUMBERS) + value[at + 1 :]
    else:
        value = random_.choice([*NUMBERS, "[" * 500, '"x"'])
    mark = "@@mutated@@"
    holder[name] = mark
    return json.dumps(data).replace(f'"{mark}"', value).encode()


def upload(pair: PairBytes, random_: random.Random) -> tuple[bytes, str, str]:
    """A mutated body, its content type, and the kind of mutation."""
    parts = {"first": pair.first, "second": pair.second, "rig": pair.rig}
    types: dict[str, str] = {}
    kind = random_.choice(("image", "image", "image", "rig", "rig", "form", "raw", "parts"))
    if kind == "image":
        for name in random_.choice((("first",), ("second",), ("first", "second"))):
            parts[name] = random_.choice(IMAGE_MUTATIONS)(parts[name], random_)
    elif kind == "rig":
        parts["rig"] = mutate_rig(pair.rig, random_)
    elif kind == "raw":
        values = [random_.choice(("640", "480", "16", "1", "3", "8", "0", "-5", "x", "99999999")) for _ in range(4)]
        types["first"] = "application/x-raw-image; width={}; height={}; channels={}; bits={}".format(*values)
        parts["first"] = bytes(random_.choice((0, 1, 640 * 480, 640 * 480 * 2, 640 * 480 * 3)))
    elif kind == "parts":
        name = random_.choice(sorted(parts))
        if random_.random() < 0.5:
            del parts[name]
        else:
            parts[random_.choice(("nonce", "third", "rig ", "FIRST", ""))] = parts.pop(name)
    body, content_type = form(parts, types)
    if kind == "form":
        body = random_.choice((flip_head, cut, splice))(body, random_)
        if random_.random() < 0.3:
            content_type = random_.choice(
                (
                    "multipart/form-data",
                    "text/plain",
                    "multipart/form-data; boundary=",
                    "multipart/form-data; boundary=x",
                    "\x01",
                )
            )
    return body, content_type, kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end then, with what was done so far")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="model folder (default: the released one)")
    arguments = parser.parse_args()
    # A busy machine's slowness is no fault that uploads could bring about.
    options = ["--answer-seconds", "600", *(["--model", arguments.model] if arguments.model else [])]
    statuses: dict[str, Counter[str]] = {}
    faults: list[dict[str, object]] = []
    memory_mb: dict[int, float] = {}
    lock = threading.Lock()
    left = iter(range(arguments.requests))
    done = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), options) as server,
    ):
        bases = [pair for pair in bundled() if pair.label == "attack" and _is_clearly_refused(server, pair)]
        if not bases:
            raise SystemExit("no bundled attack is clearly refused")

        def client() -> None:
            nonlocal done
            connection = server.connection()
            while True:
                with lock:
                    number = next(left, None) if time.perf_counter() < end else None
                if number is None:
                    connection.close()
                    return
                random_ = random.Random(f"{arguments.seed}/{number}")
                body, content_type, kind = upload(random_.choice(bases), random_)
                status, outcome = 0, ""
                try:
                    status, answer = post(connection, "/v1/checks", server.key, body, content_type)
                    outcome = str(answer.get("decision", "problem"))
                    if "internal_error" in answer.get("no_response_reasons", ()):
                        outcome = "internal_error"
                except (http.client.HTTPException, OSError, json.JSONDecodeError) as error:
                    # A connection may be closed on a body that is refused early; it must take the next one.
                    connection.close()
                    connection = server.connection()
                    outcome = f"closed ({type(error).__name__})"
                with lock:
                    done += 1
                    statuses.setdefault(kind, Counter())[f"{status or '-'} {outcome}"] += 1
                    if status >= 500 or outcome in ("bona_fide", "internal_error"):
                        faults.append({"number": number, "kind": kind, "status": status, "outcome": outcome})
                    if done % max(1, arguments.requests // 20) == 0:
                        memory_mb[done] = round(server.memory_mb(), 1)

        start = time.perf_counter()
        end = start + 60 * arguments.minutes
        threads = [threading.Thread(target=client) for _ in range(arguments.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        alive = server.process is not None and server.process.poll() is None
    write(
        "serve_fuzz.json",
        {
            "model": served(arguments.model),
            "uploads": done,
            "seed": arguments.seed,
            "clients": arguments.clients,
            "seconds": round(seconds),
            "from_pairs": [pair.name for pair in bases],
            "server_errors": sum(fault["status"] >= 500 for fault in faults),
            "bona_fide": sum(fault["outcome"] == "bona_fide" for fault in faults),
            "internal_errors": sum(fault["outcome"] == "internal_error" for fault in faults),
            "service_alive_at_the_end": alive,
            "first_faults": faults[:10],
            "answers_by_mutation": {kind: dict(sorted(counter.items())) for kind, counter in sorted(statuses.items())},
            "memory_mb_after_uploads": memory_mb,
            "machine": machine(),
        },
    )


def _is_clearly_refused(server: Server, pair: PairBytes) -> bool:
    connection = server.connection()
    parts = {"first": pair.first, "second": pair.second, "rig": pair.rig}
    status, answer = post(connection, "/v1/checks", server.key, *form(parts))
    connection.close()
    if status != 200 or answer["decision"] == "bona_fide":
        return False
    score = answer["details"]["score"]
    return score is None or score <= answer["details"]["threshold"] / 2


if __name__ == "__main__":
    main()
