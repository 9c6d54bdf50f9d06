"""A small model made on the spot, drawn pairs that the face finder takes for faces, and services around them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from stereolive import Rig
from stereolive.depth import LIVENESS_CHANNELS, LIVENESS_MAPS, LIVENESS_VIEWS
from stereolive.serve import keys
from stereolive.serve.batching import BatchingDetector
from stereolive.serve.settings import Settings
from stereolive.store import MODEL_FORMAT, Model, sha256

try:
    from fastapi import FastAPI
    from starlette.testclient import TestClient
    from threadpoolctl import threadpool_limits

    from stereolive.serve.app import create_app
except ImportError:  # pragma: no cover
    pytest.skip("the service's extra is not installed", allow_module_level=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where $STEREOLIVE_MUST_RUN is set, as in CI, nothing here may be skipped for want of a program."""
    report = yield
    if report.skipped and os.environ.get("STEREOLIVE_MUST_RUN"):
        report.outcome = "failed"
    return report


# As 'stereolive serve' does: see there.
cv2.setNumThreads(1)
threadpool_limits(1)

CROP = 64
BASELINE_MM, FOCAL_PX = 40.0, 600.0


def rig_json() -> dict[str, object]:
    camera = {
        "width": 640,
        "height": 480,
        "matrix": [[FOCAL_PX, 0, 320], [0, FOCAL_PX, 240], [0, 0, 1]],
        "distortion": [0] * 5,
    }
    return {
        "format": "stereolive-rig/1",
        "first": {"spectrum": "visible", **camera},
        "second": {"spectrum": "near_infrared", **camera},
        "rotation_second_from_first": np.eye(3).tolist(),
        "translation_second_from_first_mm": [-BASELINE_MM, 0, 0],
    }


@lru_cache(maxsize=8)
def drawn_face(shift_px: float, brightness: float = 1.0) -> NDArray[np.uint8]:
    """A face made of ellipses, (480, 640), at ``shift_px`` left of the middle."""
    ys, xs = np.mgrid[:480, :640].astype(np.float32)
    across, down = xs - (320 - shift_px), ys - 240
    picture = 70 + 15 * np.sin(xs / 37) + 10 * np.cos(ys / 23)

    def put(x: float, y: float, a: float, b: float, edge: float, value: float | NDArray[np.float32]) -> None:
        nonlocal picture
        radius = ((across - x) / a) ** 2 + ((down - y) / b) ** 2
        cover = 1 / (1 + np.exp(np.clip((radius - 1) * edge * 8, -30, 30)))
        picture = picture * (1 - cover) + value * cover

    put(0, -18, 88, 112, 1, 40)  # hair
    put(0, 90, 45, 60, 1, 130)  # neck
    put(0, 0, 72, 98, 2, 185 - 40 * (across / 80) ** 2 - 20 * (down / 110) ** 2)
    for side in (-1, 1):
        put(side * 30, -40, 19, 5, 1, 75)  # brow
        put(side * 30, -20, 20, 11, 0.5, 130)
        put(side * 30, -19, 15, 7, 2, 220)  # eye
        put(side * 30, -19, 7, 7, 2, 45)
        put(side * 8, 28, 4, 3, 1, 80)  # nostril
    put(0, 8, 7, 30, 0.5, 205)
    put(0, 26, 15, 8, 0.7, 165)
    put(0, 56, 28, 9, 1, 105)  # mouth
    put(0, 55, 25, 1.8, 1, 60)
    return np.clip(picture * brightness, 0, 255).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@dataclass(frozen=True)
class PairFiles:
    """The form of a submission: files and fields as httpx takes them."""

    first: bytes
    second: bytes
    rig: str

    @property
    def files(self) -> dict[str, tuple[str, bytes, str]]:
        return {"first": ("first.png", self.first, "image/png"), "second": ("second.png", self.second, "image/png")}

    @property
    def data(self) -> dict[str, str]:
        return {"rig": self.rig}


def make_pair(number: int = 0) -> PairFiles:
    """A face at half a metre; every number gives other bytes of the same scene."""
    shift = FOCAL_PX * BASELINE_MM / 500
    images = []
    for image in (drawn_face(0.0), drawn_face(shift, 0.8)):
        image = image.copy()
        image[0, :32] = [255 * (number >> bit & 1) for bit in range(32)]
        images.append(png(image))
    return PairFiles(images[0], images[1], json.dumps(rig_json()))


def write_model(folder: Path, logit: float) -> Path:
    """A model that takes brightness for disparity and answers ``logit`` to every face."""
    folder.mkdir(parents=True)
    crop = ["B", 3, CROP, CROP]
    grid = ["B", 1, CROP // 2, CROP // 2]
    depth = helper.make_graph(
        [
            helper.make_node("AveragePool", ["first"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("ReduceMean", ["pooled", "axis"], ["grey"], keepdims=1),
            helper.make_node("Mul", ["grey", "gain"], ["disparity_px"]),
            helper.make_node("ReduceMean", ["second"], ["mean_second"], keepdims=1),
            helper.make_node("Mul", ["mean_second", "zero"], ["nothing"]),
            helper.make_node("Mul", ["grey", "zero"], ["zeros"]),
            helper.make_node("Add", ["zeros", "sd"], ["spread"]),
            helper.make_node("Add", ["spread", "nothing"], ["disparity_sd_px"]),
        ],
        "depth",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, crop) for name in ("first", "second")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, grid) for name in ("disparity_px", "disparity_sd_px")],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("gain", TensorProto.FLOAT, [], [2.0]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("sd", TensorProto.FLOAT, [], [0.2]),
        ],
    )
    maps = ["B", len(LIVENESS_MAPS), CROP // 2, CROP // 2]
    views = ["B", len(LIVENESS_VIEWS), CROP, CROP]
    liveness = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["maps", "axes"], ["mean_maps"], keepdims=0),
            helper.make_node("ReduceMean", ["views", "axes"], ["mean_views"], keepdims=0),
            helper.make_node("Add", ["mean_maps", "mean_views"], ["mean"]),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "bias"], ["logit"]),
        ],
        "liveness",
        [
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, maps),
            helper.make_tensor_value_info("views", TensorProto.FLOAT, views),
        ],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["B"])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("bias", TensorProto.FLOAT, [], [logit]),
        ],
    )
    for name, graph in (("depth.onnx", depth), ("liveness.onnx", liveness)):
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / name)
    manifest = {
        "format": MODEL_FORMAT,
        "name": "test",
        "version": "0",
        "preprocessing": {"crop_size_px": CROP, "liveness_channels": list(LIVENESS_CHANNELS)},
        "threshold": 0.5,
        "sha256": {name: sha256(folder / name) for name in ("depth.onnx", "liveness.onnx")},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    Model.load(folder)
    return folder


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model that takes every face for bona fide, and one that takes every face for an attack."""
    base = tmp_path_factory.mktemp("models")
    return {name: write_model(base / name, logit) for name, logit in (("bona_fide", 3.0), ("attack", -3.0))}


@pytest.fixture(scope="session")
def detectors(model_folders: dict[str, Path]) -> dict[str, BatchingDetector]:
    return {name: BatchingDetector(folder) for name, folder in model_folders.items()}


@pytest.fixture
def make_client(tmp_path: Path, detectors: dict[str, BatchingDetector]) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a service with a database of its own; ``scopes`` are its key's."""
    clients: list[TestClient] = []

    def make(
        scopes: tuple[str, ...] = ("check", "sessions", "details", "calibrate", "metrics", "audit"),
        model: str = "bona_fide",
        detector: object = None,
        **changes: object,
    ) -> TestClient:
        chosen = Settings(
            database=str(tmp_path / f"service{len(clients)}.db"),
            requests_per_minute=100_000,
            workers=1,
            # A machine that is busy with other things still passes.
            answer_seconds=300,
            decode_seconds=120,
        )
        app: FastAPI = create_app(replace(chosen, **changes), detector or detectors[model])
        key = keys.create(app.state.service.storage, "test", list(scopes))
        client = TestClient(app, headers={"Authorization": f"Bearer {key.text}"})
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def rig() -> Rig:
    return Rig.from_json(rig_json())


@pytest.fixture(scope="session", name="png")
def png_bytes() -> Callable[[NDArray[np.uint8]], bytes]:
    return png


@pytest.fixture(scope="session")
def pair_number() -> Callable[[int], PairFiles]:
    return make_pair


@pytest.fixture(scope="session")
def problem() -> Callable[..., dict[str, object]]:
    """Asserts that an answer is a certain problem, and gives its body."""

    def check(answer: object, status: int, code: str) -> dict[str, object]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["type"] == f"urn:stereolive:problem:{code}", body
        assert body["status"] == status
        return body

    return check


COMMAND = [
    sys.executable,
    "-c",
    "import argparse, sys; from stereolive.serve.command import add_commands; parser = argparse.ArgumentParser(); "
    "add_commands(parser.add_subparsers(required=True)); a = parser.parse_args(); sys.exit(a.handler(a))",
]


@dataclass(frozen=True)
class Live:
    """A service in a process of its own, started by the command line."""

    address: str
    database: str
    key: str
    page: str
    process: subprocess.Popen[str]
    log: Path


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return _free_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The service's commands, to be followed by their arguments."""
    return COMMAND


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of the service's commands to its end."""

    def run(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture(scope="session")
def start_service(
    tmp_path_factory: pytest.TempPathFactory,
    model_folders: dict[str, Path],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> Iterator[Callable[..., Live]]:
    """Starts services on free loopback ports and ends them with the tests; an empty ``model`` is the released one."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *options: str,
        database: str = "",
        model: str = "bona_fide",
        scopes: str = "check sessions details calibrate metrics audit",
    ) -> Live:
        folder = tmp_path_factory.mktemp("service")
        database = database or str(folder / "service.db")
        scope_options = [part for scope in scopes.split() for part in ("--scope", scope)]
        made = run_command("keys", "create", "--database", database, "--name", "tests", *scope_options)
        assert made.returncode == 0, made.stderr
        port, log = _free_port(), folder / "log"
        command = [*COMMAND, "serve", "--database", database, "--port", str(port), "--workers", "2", "--rate", "100000"]
        command += ["--answer-seconds", "300"]
        command += [*(["--model", str(model_folders[model])] if model else []), *options]
        with log.open("w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Page: "), line + log.read_text("utf-8")
        scheme = "https" if "--tls-key" in options else "http"
        live = Live(f"{scheme}://127.0.0.1:{port}", database, made.stdout.strip(), line[6:].strip(), process, log)
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return live
            assert time.monotonic() < deadline and process.poll() is None, log.read_text("utf-8")
            time.sleep(0.05)

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def live(start_service: Callable[..., Live]) -> Live:
    """One service that several tests share; --page gives its page a key."""
    return start_service("--page")
