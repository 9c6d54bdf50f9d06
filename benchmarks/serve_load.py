"""Throughput, latency and memory of the service under constant load -> results/serve_load.json.

wrk (Debian: apt-get install wrk) keeps some connections busy with one request each until enough have been answered;
all bundled pairs take turns, and every request is decided, stored and audited.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from serve_common import Server, bundled, form, machine, running, served, write

SCRIPT = """
local bodies = {}
for number = 0, %(count)d - 1 do
  local file = assert(io.open("%(folder)s/" .. number, "rb"))
  bodies[#bodies + 1] = {file:read("*a"), io.open("%(folder)s/" .. number .. ".type"):read("*a")}
  file:close()
end
local turn = 0
function request()
  turn = turn %% #bodies + 1
  local headers = {["Authorization"] = "Bearer %(key)s", ["Content-Type"] = bodies[turn][2]}
  return wrk.format("POST", "/v1/checks", headers, bodies[turn][1])
end
function done(summary, latency)
  local errors = summary.errors
  local answer = {summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write,
                  errors.timeout, errors.status}
  for _, percentile in ipairs({50, 90, 99}) do answer[#answer + 1] = latency:percentile(percentile) / 1000 end
  io.stderr:write("@@" .. table.concat(answer, " ") .. "\\n")
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", help="model folder (default: the released one)")
    arguments = parser.parse_args()
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    options = ["--workers", str(arguments.workers)] + (["--model", arguments.model] if arguments.model else [])
    pairs = bundled()
    with tempfile.TemporaryDirectory() as name, running(Path(name), options) as server:
        folder = Path(name)
        for number, pair in enumerate(pairs):
            body, content_type = form({"first": pair.first, "second": pair.second, "rig": pair.rig})
            (folder / str(number)).write_bytes(body)
            (folder / f"{number}.type").write_text(content_type, "ascii")
        script = folder / "load.lua"
        script.write_text(SCRIPT % {"count": len(pairs), "folder": folder, "key": server.key}, "ascii")
        memory_mb = {0: round(server.memory_mb(), 1)}
        command = [wrk, "--threads", "1", "--connections", str(arguments.connections), "--duration", "24h"]
        command += ["--timeout", "60s", "--script", str(script), server.address]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        step = max(1, arguments.requests // 20)
        while (answered := _answered(server)) < arguments.requests and load.poll() is None:
            if answered >= max(memory_mb) + step:
                memory_mb[answered] = round(server.memory_mb(), 1)
            time.sleep(0.5)
        load.send_signal(signal.SIGINT)
        report = load.communicate(timeout=120)[1]
        memory_mb[_answered(server)] = round(server.memory_mb(), 1)
        metrics = _metrics(server)
    line = next((line for line in report.splitlines() if line.startswith("@@")), None)
    if line is None:
        raise SystemExit(f"wrk did not end well: {report[-500:]}")
    requests, seconds, broken, timeouts, refused, p50, p90, p99 = (float(part) for part in line[2:].split())
    write(
        "serve_load.json",
        {
            "model": served(arguments.model),
            "requests": int(requests),
            "connections": arguments.connections,
            "workers": arguments.workers,
            "seconds": round(seconds),
            "requests_per_second": round(requests / seconds, 2),
            "latency_ms": {"p50": round(p50), "p90": round(p90), "p99": round(p99)},
            "broken_connections": int(broken),
            "timeouts": int(timeouts),
            "answers_other_than_200": int(refused),
            "decisions": {
                name: int(value) for name, value in _labelled(metrics, "stereolive_decisions_total", "decision").items()
            },
            "pairs_per_batch": round(next(iter(_labelled(metrics, "stereolive_batch_mean_items", "").values())), 2),
            "memory_mb_after_requests": memory_mb,
            "tool": subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False)
            .stdout.split("[")[0]
            .strip(),
            "machine": machine(),
        },
    )


def _metrics(server: Server) -> str:
    connection = server.connection()
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.key}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def _answered(server: Server) -> int:
    counts = _labelled(_metrics(server), "stereolive_requests_total", "route")
    return int(counts.get("/v1/checks", 0))


def _labelled(metrics: str, name: str, label: str) -> dict[str, float]:
    """The values of a metric by one of its labels, summed over the others."""
    values: dict[str, float] = {}
    for line in metrics.splitlines():
        if line.startswith((name + "{", name + " ")):
            key = line.partition(f'{label}="')[2].partition('"')[0] if label else ""
            values[key] = values.get(key, 0.0) + float(line.rpartition(" ")[2])
    return values


if __name__ == "__main__":
    main()
