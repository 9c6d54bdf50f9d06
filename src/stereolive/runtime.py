"""Arrays in, arrays out: an exported network behind ONNX Runtime or OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stereolive.errors import InputError, MissingExtraError, ModelError

FloatArray = NDArray[np.float32]
RUNTIMES = ("onnxruntime", "openvino")
MOST_THREADS = 64
"""Of one run. On crops of these sizes more than some ten gain nothing, and with hundreds a run takes minutes."""


class Network:
    """One exported network; may be run by several threads at once.

    ``threads``: how many one run may use, 0 for as many as there are cores. ``inputs``: the names that it must take, in
    this order; none: any. Raises ModelError where the file is no such network, MissingExtraError where OpenVINO is
    asked for and not installed.
    """

    def __init__(
        self, path: str | Path, threads: int = 0, runtime: str = "onnxruntime", inputs: Sequence[str] = ()
    ) -> None:
        if runtime not in RUNTIMES:
            raise InputError(f"runtime: expected one of {', '.join(RUNTIMES)}, got {runtime!r}")
        _check_threads(threads)
        backend = _OnnxRuntime if runtime == "onnxruntime" else _OpenVino
        self._backend: _OnnxRuntime | _OpenVino = backend(Path(path), threads)
        if inputs and self._backend.names != list(inputs):
            raise ModelError(
                f"network {path}: expected the inputs {', '.join(inputs)}, got {', '.join(self._backend.names)}"
            )

    def run(self, *inputs: FloatArray) -> list[FloatArray]:
        """The network's outputs, in its order, for its inputs in its order."""
        return self._backend.run([np.ascontiguousarray(array, np.float32) for array in inputs])


def planes(image: NDArray[np.uint8]) -> FloatArray:
    """A crop (S, S, 3) as the networks take it: (1, 3, S, S) in 0..1."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def processor_session(model: str | bytes, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the processor, of a model's path or content; for these networks and for the face finder's."""
    _check_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait by spinning make a run a quarter faster, but between two runs they would take the cores from
    # everything else in the process, other sessions among it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            self._session = processor_session(str(path), threads)
        except Exception as error:  # onnxruntime has no common base for its errors
            raise ModelError(f"network {path}: cannot be loaded ({_first_line(error)})") from None
        self.names = [entry.name for entry in self._session.get_inputs()]

    def run(self, inputs: list[FloatArray]) -> list[FloatArray]:
        outputs: list[FloatArray] = self._session.run(None, dict(zip(self.names, inputs, strict=True)))
        return outputs


class _OpenVino:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("The OpenVINO runtime", "openvino") from None
        # Its default of bfloat16 where the processor has it would cost a tenth of a pixel.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        except Exception as error:
            raise ModelError(f"network {path}: cannot be loaded ({_first_line(error)})") from None
        self.names = [entry.get_any_name() for entry in self._compiled.inputs]
        self._requests = threading.local()

    def run(self, inputs: list[FloatArray]) -> list[FloatArray]:
        # A request holds the buffers of one run, so each thread has its own.
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        request.infer(inputs)
        return [np.array(request.get_output_tensor(i).data) for i in range(len(self._compiled.outputs))]


def _check_threads(threads: int) -> None:
    if not 0 <= threads <= MOST_THREADS:
        raise InputError(f"threads: expected 0 to {MOST_THREADS}, got {threads}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
