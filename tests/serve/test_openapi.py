"""The OpenAPI document; benchmarks/serve_schema.py holds the service against it with generated requests."""

from __future__ import annotations

from collections.abc import Callable


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
        "/v1/calibration/board.pdf",
        "/v1/calibration/views",
        "/v1/calibration/rigs",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            problems = [status for status, answer in operation["responses"].items() if "problem+json" in str(answer)]
            assert path == "/health/live" or problems, path
    assert "HTTPValidationError" not in str(document)
