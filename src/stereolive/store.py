"""A model is a folder: the two networks, and ``manifest.json``, which says how to use them and what they can do.

::

    my-model/
      depth.onnx      first, second (B, 3, S, S) in 0..1 -> disparity_px, disparity_sd_px (B, 1, S/2, S/2)
      liveness.onnx   channels (B, C, S/2, S/2) -> logit (B,)
      weights.pt      optional: both networks as training left them, for training that goes on from there
      manifest.json   format, name, version, preprocessing, threshold, operating points, metrics, training, sha256,
      licence
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from stereolive import checks
from stereolive.errors import ModelError

MODEL_FORMAT = "stereolive-model/1"
DEPTH_FILE, LIVENESS_FILE, MANIFEST_FILE = "depth.onnx", "liveness.onnx", "manifest.json"
WEIGHTS_FILE = "weights.pt"
MAX_MANIFEST_BYTES = 4_000_000
SIDE_MULTIPLE = 16
"""The depth network halves a crop's side four times."""


@dataclass(frozen=True)
class Model:
    """What ``manifest.json`` says, checked, and where the networks are.

    ``preprocessing`` holds at least ``crop_size_px`` and ``liveness_channels``. ``threshold`` is the score from which
    on a presentation is taken for bona fide; ``operating_points`` are others, each with the rates that it had on
    validation subjects.
    """

    folder: Path
    name: str
    version: str
    preprocessing: Mapping[str, Any]
    threshold: float
    operating_points: tuple[Mapping[str, Any], ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unstated"
    manifest_sha256: str = field(default="", compare=False)
    """Of ``manifest.json`` as it was loaded, with the networks' hashes in it; empty for a model that was not."""

    @property
    def title(self) -> str:
        """Name and version: what verdicts and the audit log call it."""
        return f"{self.name} {self.version}"

    @property
    def identity(self) -> str:
        """The title and the beginning of the manifest's hash: another for any other content."""
        return f"{self.title} {self.manifest_sha256[:12]}".rstrip()

    @property
    def depth_path(self) -> Path:
        return self.folder / DEPTH_FILE

    @property
    def liveness_path(self) -> Path:
        return self.folder / LIVENESS_FILE

    @property
    def crop_size(self) -> int:
        """Side of the crops that the depth network takes, in pixels."""
        return int(self.preprocessing["crop_size_px"])

    @property
    def finer_reach_px(self) -> float | None:
        """How far the depth network searches to either side, in pixels of whatever crop it is given; None where it
        takes no crop of another size than ``crop_size``."""
        reach = self.preprocessing.get("finer_reach_px")
        return None if reach is None else float(reach)

    @property
    def liveness_channels(self) -> tuple[str, ...]:
        """Names of the liveness model's input channels, in order."""
        return tuple(self.preprocessing["liveness_channels"])

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read and verify a model folder: format, completeness, and every file's hash. Raises ModelError."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(f"model {folder}: there is no such folder")
        data, manifest_sha256 = _read_manifest(folder)
        if data.get("format") != MODEL_FORMAT:
            raise ModelError(f"model {folder}: expected format {MODEL_FORMAT}, got {data.get('format')!r}")
        hashes = _value(folder, data, "sha256", dict)
        for name in (DEPTH_FILE, LIVENESS_FILE, *({WEIGHTS_FILE} & hashes.keys())):
            if not (folder / name).is_file():
                raise ModelError(f"model {folder}: {name} is missing")
            if hashes.get(name) != sha256(folder / name):
                raise ModelError(
                    f"model {folder}: {name} was altered or is incomplete (its sha256 differs from the manifest's)"
                )
        threshold = data.get("threshold")
        if not checks.is_number(threshold) or not 0 <= threshold <= 1:
            raise _unexpected(folder, "threshold", "a number from 0 to 1", threshold)
        preprocessing = _value(folder, data, "preprocessing", dict)
        size = preprocessing.get("crop_size_px")
        if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 2048 or size % SIDE_MULTIPLE:
            raise _unexpected(folder, "crop_size_px", f"a multiple of {SIDE_MULTIPLE} pixels from 32 to 2048", size)
        reach = preprocessing.get("finer_reach_px")
        if reach is not None and not (checks.is_number(reach) and reach > 0):
            raise _unexpected(folder, "finer_reach_px", "a number of pixels above 0", reach)
        channels = preprocessing.get("liveness_channels")
        if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
            raise _unexpected(folder, "liveness_channels", "a list of names", channels)
        points = data.get("operating_points", [])
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise _unexpected(folder, "operating_points", "a list of objects", points)
        quality, metrics, training = (data.get(name, {}) for name in ("quality", "metrics", "training"))
        for name, value in (("quality", quality), ("metrics", metrics), ("training", training)):
            if not isinstance(value, dict):
                raise _unexpected(folder, name, "an object", value)
        return cls(
            folder,
            _value(folder, data, "name", str),
            _value(folder, data, "version", str),
            preprocessing,
            float(threshold),
            tuple(points),
            quality,
            metrics,
            training,
            str(data.get("licence", "unstated")),
            manifest_sha256,
        )

    def as_json(self) -> dict[str, Any]:
        """The manifest, with the hashes of the files as they now are."""
        return {
            "format": MODEL_FORMAT,
            "name": self.name,
            "version": self.version,
            "licence": self.licence,
            "preprocessing": dict(self.preprocessing),
            "threshold": self.threshold,
            "operating_points": [dict(point) for point in self.operating_points],
            "quality": dict(self.quality),
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "sha256": {name: sha256(self.folder / name) for name in self._files()},
        }

    def _files(self) -> list[str]:
        return [DEPTH_FILE, LIVENESS_FILE] + [WEIGHTS_FILE] * (self.folder / WEIGHTS_FILE).is_file()

    def save(self, folder: str | Path) -> Model:
        """Write the model to ``folder``, whole or not at all; what was there is replaced. Returns the model as it now
        is there."""
        # What a link names is written, not the link.
        target = Path(folder).resolve()
        if not math.isfinite(self.threshold):
            raise ModelError(f"threshold: expected a number from 0 to 1, got {self.threshold!r}")
        check_savable(self.name, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for name in self._files():
                shutil.copyfile(self.folder / name, aside / name)
            text = json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n"
            (aside / MANIFEST_FILE).write_text(text, "utf-8")
            aside.chmod(0o755)
            if target.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
                target.replace(old / target.name)
                aside.replace(target)
                shutil.rmtree(old)
            else:
                aside.replace(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return Model.load(target)


def check_savable(name: str, folder: str | Path) -> None:
    """What ``Model.save`` refuses, known before there is a model: a name that is none, and a place that holds something
    else than a model, since all that is there is replaced. Raises ModelError."""
    folder = Path(folder)
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ModelError(f"name: expected letters, digits, dots and dashes, got {name!r}")
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"model {folder}: is a file; choose another name")
    ours = {DEPTH_FILE, LIVENESS_FILE, WEIGHTS_FILE, MANIFEST_FILE}
    other = sorted({path.name for path in folder.iterdir()} - ours) if folder.is_dir() else []
    if other:
        raise ModelError(f"model {folder}: the folder holds something else than a model ({other[0]}); choose another")


def released_model() -> Path:
    """The folder of the model that comes with the package."""
    folder = Path(str(resources.files("stereolive"))) / "model"
    if not folder.is_dir():
        raise ModelError("this installation comes without a model; name a model folder")
    return folder


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest, and the hash of its bytes."""
    path = folder / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ModelError(f"model {folder}: {MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model {folder}: {MANIFEST_FILE} cannot be read ({error.strerror})") from None
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise ModelError(f"model {folder}: {MANIFEST_FILE} is not JSON ({str(error)[:80]})") from None
    if not isinstance(data, dict):
        raise ModelError(f"model {folder}: {MANIFEST_FILE} is not a JSON object")
    return data, hashlib.sha256(content).hexdigest()


def _unexpected(folder: Path, name: str, expected: str, value: object) -> ModelError:
    return ModelError(f"model {folder}: {name}: expected {expected}, got {checks.short(value)}")


def _value(folder: Path, data: dict[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        raise ModelError(f"model {folder}: {name}: is missing or of the wrong kind")
    return value
