"""The service against its own OpenAPI document, with generated requests right and wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("schemathesis")


@pytest.mark.skipif(not PROGRAM.is_file(), reason="schemathesis is not installed")
def test_the_service_keeps_to_its_document(live, tmp_path: Path) -> None:
    # OpenAPI cannot say that a string must be an image or a rig, so well-formed requests may rightly be refused.
    command = [PROGRAM, "run", f"{live.address}/v1/openapi.json", "--header", f"Authorization: Bearer {live.key}"]
    command += ["--exclude-checks", "positive_data_acceptance", "--max-examples", "10", "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_document_names_every_path_and_its_problems(make_client: Callable[..., object]) -> None:
    document = make_client().get("/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/service",
        "/v1/checks",
        "/v1/checks/{check_id}",
        "/v1/sessions",
        "/v1/sessions/{session_id}",
        "/v1/sessions/{session_id}/pairs",
        "/v1/audit/head",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            problems = [status for status, answer in operation["responses"].items() if "problem+json" in str(answer)]
            assert path == "/health/live" or problems, path
    assert "HTTPValidationError" not in str(document)
