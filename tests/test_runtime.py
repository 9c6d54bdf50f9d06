from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stereolive.errors import InputError, MissingExtraError, ModelError
from stereolive.runtime import MOST_THREADS, RUNTIMES, Network, processor_session


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = 2 a + b, z = a."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Add", ["a", "a"], ["twice"]),
        helper.make_node("Add", ["twice", "b"], ["y"]),
        helper.make_node("Identity", ["a"], ["z"]),
    ]
    ports = {name: helper.make_tensor_value_info(name, kind, ["n", 3]) for name in "abyz"}
    graph = helper.make_graph(nodes, "g", [ports["a"], ports["b"]], [ports["y"], ports["z"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path: Path = tmp_path_factory.mktemp("n") / "n.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(params=RUNTIMES)
def loaded(network: Path, request: pytest.FixtureRequest) -> Network:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return Network(network, threads=1, runtime=request.param)


@pytest.mark.parametrize("count", [1, 4])
def test_inputs_and_outputs_keep_their_order(loaded: Network, count: int) -> None:
    a, b = np.random.default_rng(0).random((2, count, 3)).astype(np.float32)
    y, z = loaded.run(a, b)
    assert np.allclose(y, 2 * a + b) and np.array_equal(z, a)


def test_any_number_and_layout_is_taken(loaded: Network) -> None:
    a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    y, _ = loaded.run(a, np.zeros((2, 3)))
    assert y.dtype == np.float32 and np.allclose(y, 2 * a)


def test_threads_do_not_mix_their_answers(loaded: Network) -> None:
    def asked(number: int) -> bool:
        a = np.full((2, 3), number, np.float32)
        return all(np.array_equal(loaded.run(a, a)[0], 3 * a) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(asked, range(32)))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_no_network_is_a_model_error(tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    (tmp_path / "n.onnx").write_bytes(b"not a network")
    for path in (tmp_path / "n.onnx", tmp_path / "none.onnx"):
        with pytest.raises(ModelError) as caught:
            Network(path, runtime=runtime)
        assert "cannot be loaded" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_arguments(network: Path) -> None:
    with pytest.raises(InputError, match="expected one of onnxruntime, openvino"):
        Network(network, runtime="tensorrt")
    with pytest.raises(InputError, match="threads"):
        Network(network, threads=-1)
    for threads in (MOST_THREADS + 1, 10**14):
        with pytest.raises(InputError, match=f"threads: expected 0 to {MOST_THREADS}, got {threads}"):
            Network(network, threads=threads)
        with pytest.raises(InputError, match="threads"):
            processor_session(str(network), threads)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_with_other_inputs_is_refused(network: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    Network(network, 1, runtime, ("a", "b"))
    with pytest.raises(ModelError, match="expected the inputs first, second, got a, b"):
        Network(network, 1, runtime, ("first", "second"))


def test_a_missing_runtime_says_what_to_install(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r'pip install "stereolive\[openvino\]"'):
        Network(network, runtime="openvino")
