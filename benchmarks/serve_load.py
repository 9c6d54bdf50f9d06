"""Throughput, latency and memory of the service under constant load -> results/serve_load.json.

Each client keeps one connection and one request under way; all bundled pairs take turns, every request is decided,
stored and audited.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from serve_common import bundled, form, machine, post, running, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", help="model folder (default: the released one)")
    arguments = parser.parse_args()
    options = ["--workers", str(arguments.workers)] + (["--model", arguments.model] if arguments.model else [])
    bodies = [form({"first": pair.first, "second": pair.second, "rig": pair.rig}) for pair in bundled()]
    latencies_ms: list[float] = []
    outcomes: Counter[str] = Counter()
    memory_mb: list[tuple[int, float]] = []
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), options) as server:
        left = iter(range(arguments.requests))

        def client() -> None:
            connection = server.connection()
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    connection.close()
                    return
                start = time.perf_counter()
                status, answer = post(connection, "/v1/checks", server.key, *bodies[number % len(bodies)])
                taken_ms = (time.perf_counter() - start) * 1000
                with lock:
                    latencies_ms.append(taken_ms)
                    outcomes[answer["decision"] if status == 200 else str(status)] += 1
                    if len(latencies_ms) % max(1, arguments.requests // 20) == 0:
                        memory_mb.append((len(latencies_ms), round(server.memory_mb(), 1)))

        start = time.perf_counter()
        threads = [threading.Thread(target=client) for _ in range(arguments.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        connection = server.connection()
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.key}"})
        text = connection.getresponse().read().decode()
        connection.close()
    batch = [line.split()[1] for line in text.splitlines() if line.startswith("stereolive_batch_mean_items")]
    write(
        "serve_load.json",
        {
            "requests": len(latencies_ms),
            "clients": arguments.clients,
            "workers": arguments.workers,
            "requests_per_second": round(len(latencies_ms) / seconds, 1),
            "latency_ms": {f"p{p}": round(float(np.percentile(latencies_ms, p)), 1) for p in (50, 90, 99)},
            "outcomes": dict(outcomes),
            "pairs_per_batch": round(float(batch[0]), 2) if batch else None,
            "memory_mb_after_requests": memory_mb,
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
