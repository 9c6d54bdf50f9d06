"""The public surface: some dozen names, each documented, and nothing by accident."""

from __future__ import annotations

import subprocess
import sys

import stereolive

PUBLIC = {
    "Analysis",
    "Camera",
    "DepthInformation",
    "ImageError",
    "InputError",
    "LivenessDetector",
    "ManifestError",
    "MissingExtraError",
    "ModelError",
    "Rig",
    "RigError",
    "StereoliveError",
    "Verdict",
    "decode_image",
    "read_image",
}


def test_public_names_are_these() -> None:
    assert set(stereolive.__all__) == PUBLIC and stereolive.__all__ == sorted(stereolive.__all__)


def test_each_has_a_docstring() -> None:
    for name in stereolive.__all__:
        assert (getattr(stereolive, name).__doc__ or "").strip(), name


def test_errors_are_one_tree() -> None:
    for name in stereolive.__all__:
        value = getattr(stereolive, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, stereolive.StereoliveError), name
    assert issubclass(stereolive.InputError, ValueError) and issubclass(stereolive.MissingExtraError, ImportError)
    assert 'pip install "stereolive[train]"' in str(stereolive.MissingExtraError("Training", "train"))


def test_importing_it_loads_no_optional_part() -> None:
    optional = ("torch", "yaml", "scipy", "pandas", "openvino", "pyarrow", "numba", "fastapi")
    code = f"import sys, stereolive, stereolive.cli; print([n for n in {optional} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
