"""The service against its own OpenAPI document, with generated requests right and wrong -> results/serve_schema.json.

schemathesis (https://schemathesis.readthedocs.io) makes the requests and judges the answers. Its pytest plugin gets in
the way of other tests, so it lives in an environment of its own:

    python3 -m venv /tmp/schema && /tmp/schema/bin/pip install "schemathesis>=4,<5"
    PATH=/tmp/schema/bin:$PATH PYTHON benchmarks/serve_schema.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from serve_common import machine, running, served, write

# OpenAPI cannot say that a string must be an image, a rig or a board that was seen, so that well-formed requests may
# rightly be refused.
EXCLUDED = "positive_data_acceptance"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-examples", type=int, default=50, help="generated requests an operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="model folder (default: the released one)")
    parser.add_argument("--no-result", action="store_true", help="only say whether all went well")
    arguments = parser.parse_args()
    program = shutil.which("schemathesis")
    if program is None:
        raise SystemExit("schemathesis is not on the PATH; see the top of this file")
    options = ["--model", arguments.model] if arguments.model else []
    with tempfile.TemporaryDirectory() as name, running(Path(name), options) as server:
        folder = Path(name)
        command = [
            program,
            "run",
            f"{server.address}/v1/openapi.json",
            "--header",
            f"Authorization: Bearer {server.key}",
        ]
        command += ["--exclude-checks", EXCLUDED, "--max-examples", str(arguments.max_examples), "--no-color"]
        command += ["--seed", str(arguments.seed), "--generation-database", "none", "--request-timeout", "120"]
        command += ["--report", "json", "--report-json-path", "report.json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        report = json.loads((folder / "report.json").read_text("utf-8"))
        alive = server.process is not None and server.process.poll() is None
    print(done.stdout[-6000:])
    if arguments.no_result:
        raise SystemExit(done.returncode)
    kept = ("schemathesis_version", "seed", "complete", "operations", "phases", "test_cases", "failures", "errors")
    write(
        "serve_schema.json",
        {"model": served(arguments.model)}
        | {name: report[name] for name in kept}
        | {
            "excluded_checks": [EXCLUDED],
            "exit_status": done.returncode,
            "service_alive_at_the_end": alive,
            "seconds": round(report["running_time"]),
            "machine": machine(),
        },
    )
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
