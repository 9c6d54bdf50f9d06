"""kill -9 under load -> results/serve_kill.json: is an acknowledged decision ever lost, or any request decided twice?

Each round starts the service on the same database, loads it, and kills it at a random moment after some decisions.
What was not acknowledged is sent again under its idempotency key in the next round. At the end every acknowledged
decision must be there as it was answered, every request must have exactly one decision, every decision exactly one
entry in the audit log, and the chain must hold.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from serve_common import COMMAND, Server, bundled, form, machine, post, served, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument(
        "--decisions", type=int, nargs=2, default=(3, 30), help="acknowledged in a round before the kill"
    )
    parser.add_argument("--model", help="model folder (default: the released one)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    pairs = bundled()
    # One body for each pair: a request that is sent again must have the same bytes.
    bodies = [form({"first": pair.first, "second": pair.second, "rig": pair.rig}) for pair in pairs]
    acknowledged: dict[str, tuple[str, str]] = {}
    differing = 0
    sent: Counter[str] = Counter()
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--answer-seconds", "600", *(["--model", arguments.model] if arguments.model else [])]
        server = Server(Path(folder), options)
        unfinished: list[str] = []
        count = answers = 0

        def load(stop: threading.Event, finish: bool) -> None:
            nonlocal count, answers, differing
            connection = server.connection()
            while not stop.is_set():
                with lock:
                    if unfinished:
                        name = unfinished.pop()
                    elif finish:
                        break
                    else:
                        name, count = f"request-{count}", count + 1
                    sent[name] += 1
                number = int(name.partition("-")[2])
                try:
                    status, answer = post(connection, "/v1/checks", server.key, *bodies[number % len(bodies)], name)
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    with lock:
                        unfinished.append(name)
                    connection.close()
                    if stop.wait(0.01):
                        break
                    continue
                with lock:
                    if status != 200:
                        unfinished.append(name)
                        continue
                    now = answer["id"], answer["decision"]
                    answers += 1
                    differing += acknowledged.setdefault(name, now) != now
            connection.close()

        begun = time.perf_counter()
        for number in range(arguments.rounds + 1):
            last = number == arguments.rounds
            server.start()
            if not last:
                # Some that were acknowledged are sent once more: they must get the very same decision.
                unfinished += random.sample(sorted(acknowledged), min(5, len(acknowledged)))
            stop = threading.Event()
            threads = [threading.Thread(target=load, args=(stop, last)) for _ in range(arguments.clients)]
            for thread in threads:
                thread.start()
            if not last:
                enough = answers + random.randint(*arguments.decisions)
                while answers < enough and server.process is not None and server.process.poll() is None:
                    time.sleep(0.01)
                time.sleep(random.uniform(0, 0.2))
                server.kill()
                stop.set()
            for thread in threads:
                thread.join()
        server.kill()
        database = sqlite3.connect(server.database)
        stored = {
            name: (check, decision)
            for name, check, decision in database.execute("SELECT idempotency_key, id, decision FROM decisions")
        }
        rows = database.execute("SELECT count(*) FROM decisions").fetchone()[0]
        audited = Counter(
            entry["check"]
            for (body,) in database.execute("SELECT body FROM audit_log")
            if (entry := json.loads(body))["kind"] == "decision"
        )
        database.close()
        verified = subprocess.run(
            [*COMMAND, "audit", "verify", "--database", server.database], capture_output=True, text=True, check=False
        )
    write(
        "serve_kill.json",
        {
            "model": served(arguments.model),
            "kills": arguments.rounds,
            "requests": count,
            "sent_more_than_once": sum(times > 1 for times in sent.values()),
            "acknowledged": len(acknowledged),
            "acknowledged_and_lost": sum(stored.get(name) != now for name, now in acknowledged.items()),
            "answered_differently_when_sent_again": differing,
            "decided_twice": rows - len(stored),
            "requests_without_decision": count - len(stored),
            "decisions_without_exactly_one_audit_entry": sum(audited[check] != 1 for check, _ in stored.values())
            + sum(audited.values())
            - rows,
            "audit_chain_holds": verified.returncode == 0,
            "seconds": round(time.perf_counter() - begun),
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
