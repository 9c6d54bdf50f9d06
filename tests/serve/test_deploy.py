"""What lies in deploy/ agrees with the program: its commands, paths and limits; nothing has a default secret."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stereolive import __version__
from stereolive.serve.command import add_commands

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def _parses(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_commands(parser.add_subparsers(required=True))
    return parser.parse_args(arguments)


def _kubernetes() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "stereolive.yaml").read_text("utf-8"))
    return {document["kind"]: document for document in documents}


def test_every_documented_command_exists() -> None:
    lines = [
        line
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for line in re.findall(r"(?:bin/stereolive|-- stereolive|--rm service) ([a-z].*)", path.read_text("utf-8"))
    ]
    assert len(lines) >= 4
    for line in lines:
        _parses(shlex.split(line.replace(" ...", " --name x --scope check")))


def test_kubernetes_manifests(make_client: Callable[..., Any]) -> None:
    kinds = _kubernetes()
    assert set(kinds) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    paths = make_client().get("/v1/openapi.json").json()["paths"]
    deployment = kinds["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
    arguments = _parses(container["args"])
    assert container["ports"] == [{"name": "http", "containerPort": arguments.port}]
    assert container["image"] == f"stereolive:{__version__}"
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    # Whoever is told to end finishes what was accepted: the wait before, reading, and answering.
    assert pod["terminationGracePeriodSeconds"] >= 5 + 10 + 20
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == kinds["Service"]["spec"]["selector"]
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]
    (environment,) = container["env"]
    assert environment["name"] == "STEREOLIVE_DATABASE" and "secretKeyRef" in environment["valueFrom"]


def test_compose_has_no_default_secret_and_is_reached_from_this_machine_alone() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    assert set(re.findall(r"\$\{POSTGRES_PASSWORD(.)", text)) == {":"}
    service = services["service"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert "ports" not in services["database"]


def test_the_image_holds_what_the_package_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    steps = re.sub(r"\\\n(?: #.*\n)?", " ", text)
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", steps)
    names = {name for line in copied for name in line.split()}
    allowed = set(re.findall(r"(?m)^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8")))
    assert names == allowed and all((ROOT / name).exists() for name in names)
    assert re.search(r"(?m)^USER 10001$", steps)
    (entry,) = re.findall(r"(?m)^CMD (\[.*\])$", steps)
    assert _parses(yaml.safe_load(entry)).host == "0.0.0.0"
    # The headless build must satisfy what the package asks of OpenCV.
    (headless,) = re.findall(r'"opencv-python-headless(.*?)"', steps)
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert f"opencv-python{headless}" in requirements


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    unit = tmp_path / "stereolive.service"
    text = (DEPLOY / "stereolive.service").read_text("utf-8")
    # The program is not in /opt on this machine.
    unit.write_text(text.replace("/opt/stereolive/bin/stereolive serve", "/bin/true serve"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
