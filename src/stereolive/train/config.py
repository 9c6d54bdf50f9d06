"""What a training run can be told: nested dataclasses, each field with its meaning and unit, and their YAML file."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stereolive.depth import LIVENESS_CHANNELS
from stereolive.errors import InputError, MissingExtraError

PRECISIONS = ("float32", "bfloat16")

Limits = dict[str, tuple[float, float]]
STAGE_LIMITS: Limits = {
    "steps": (0, 10**8),
    "batch": (1, 10**5),
    "learning_rate": (0, 1),
    "weight_decay": (0, 1),
    "average_decay": (0, 1),
}
DEPTH_LIMITS: Limits = {
    "whole_share": (0, 1),
    "whole_batch": (1, 10**5),
    "gradient_norm": (1e-6, 1e6),
    "ramp_share": (0, 1),
    "max_shift": (1, 64),
}
LIVENESS_LIMITS: Limits = {
    "variants": (1, 100),
    "dropout": (0, 0.99),
    "species_weight": (0, 1000),
    "cell_weight": (0, 1000),
}
RUN_LIMITS: Limits = {
    "seed": (0, 2**63 - 1),
    "threads": (0, 1024),
    "workers": (1, 1024),
    # More would leave a run of days without a checkpoint, and no number at all would too.
    "checkpoint_minutes": (0, 24 * 60),
}
"""What a field may hold, both ends among it; of those that a stage has."""


@dataclass(frozen=True)
class DepthStage:
    """Training of the depth network on crops with measured or rendered disparity."""

    steps: int = 9000
    """Optimiser steps; 0 leaves the network as it starts (or as it was loaded)."""
    batch: int = 16
    """Pairs a step, over all processes."""
    window_px: int = 128
    """Side of the random windows that are trained on for most of the steps, a multiple of 16."""
    whole_share: float = 0.2
    """Share of the steps, the last ones, that train on whole crops."""
    whole_batch: int = 8
    """Pairs a step while training on whole crops."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW; rises over the first 3 % of the steps and falls along a cosine."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    gradient_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    ramp_share: float = 0.4
    """Share of the steps over which the change of appearance grows from a tenth to its full strength."""
    average_decay: float = 0.999
    """Of the running mean of the weights, which is what is exported."""
    own_depth: bool = False
    """Whether presentations without depth teach the network that training starts from (``init``) by what it says of
    them itself, where it agrees with itself."""
    width: int = 48
    """Channels of the network at a quarter of the resolution, a multiple of 16."""
    max_shift: int = 6
    """The search reaches this many quarter-resolution pixels (four crop pixels each) to either side."""

    def __post_init__(self) -> None:
        _within(self, "depth", STAGE_LIMITS | DEPTH_LIMITS)
        _multiple_of_16("depth.width", self.width, 16)
        _multiple_of_16("depth.window_px", self.window_px, 64)


@dataclass(frozen=True)
class LivenessStage:
    """Training of the liveness model on the depth information that the depth network produces."""

    steps: int = 3000
    """Optimiser steps; 0 leaves the model as it starts, and only its calibration and its limits are set anew."""
    batch: int = 64
    """Presentations a step."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW, cosine."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    average_decay: float = 0.998
    """Of the running mean of the weights, which is what is exported."""
    init_share: float = 0.0
    """How much the weights that training started from (``init``) count in the mean that is kept: what training forgot
    comes back, so a mean of both holds better for what neither has seen (Wortsman et al., "Robust fine-tuning of
    zero-shot models", 2022)."""
    variants: int = 4
    """Crops a presentation, each with another position, size and coarse shift, as face finders place them."""
    width: int = 48
    """Channels of the first layer, a multiple of 16; a wider model starts from a narrower one as the same model."""
    dropout: float = 0.2
    """Share of the last features dropped in training."""
    species_weight: float = 0.3
    """Of the auxiliary task, telling the species apart, against the task itself."""
    cell_weight: float = 1.0
    """Of the cells' own answers against the task itself."""
    channels: tuple[str, ...] = ()
    """Names of the input channels to use, of ``depth.LIVENESS_CHANNELS``; empty for all. For ablations."""

    def __post_init__(self) -> None:
        _within(self, "liveness", STAGE_LIMITS | LIVENESS_LIMITS)
        _multiple_of_16("liveness.width", self.width, 16)
        for name in self.channels:
            if name not in LIVENESS_CHANNELS:
                known = ", ".join(LIVENESS_CHANNELS)
                raise InputError(f"liveness.channels: there is no {name}; known are {known}")


@dataclass(frozen=True)
class JointStage:
    """Training of both networks together, the liveness loss reaching the depth network."""

    steps: int = 0
    """Optimiser steps; 0 leaves the stage out."""
    batch: int = 8
    """Presentations a step."""
    learning_rate: float = 5e-5
    """Highest rate of AdamW, cosine."""
    depth_weight: float = 1.0
    """Of the depth losses against the liveness loss."""

    def __post_init__(self) -> None:
        _within(self, "joint", STAGE_LIMITS | {"depth_weight": (0, 1000)})


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    manifest: Path
    """The manifest to train on; needs labels, and depth for the depth stage."""
    also: tuple[Path, ...] = field(default=(), kw_only=True)
    """Further manifests, only learned from: validation and the threshold rest on ``manifest`` alone."""
    out: Path
    """The model folder to write; work is kept beside it in a folder ``OUT.work`` until you delete that."""
    name: str = "stereolive"
    """Of the model."""
    version: str = "1"
    """Of the model."""
    licence: str = "unstated"
    """Of the model, which the licences of its training data limit."""
    seed: int = 0
    """Of everything random."""
    device: str = "auto"
    """``cpu``, ``cuda`` or ``auto``: the GPU where there is one."""
    precision: str = "float32"
    """What convolutions are computed in: ``float32``, or ``bfloat16``, which takes half of the time on GPUs and on
    processors that have it (``avx512_bf16`` or ``amx_bf16`` in /proc/cpuinfo) and far more on others."""
    threads: int = 0
    """Processor threads, 0 for as many as there are cores."""
    workers: int = 2
    """Processes that cut crops."""
    crop_px: int = 192
    """Side of the crop that the depth network sees, a multiple of 16."""
    stored_px: int = 256
    """Side of the crops stored for training, at the same scale."""
    validation_share: float = 0.15
    """Share of the subjects set aside for validation where the manifest has no column ``split``."""
    bpcer: float = 0.02
    """Share of bona fide validation presentations that the threshold may reject."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints: what a killed run loses at most."""
    depth: DepthStage = field(default_factory=DepthStage)
    """The depth stage."""
    liveness: LivenessStage = field(default_factory=LivenessStage)
    """The liveness stage."""
    joint: JointStage = field(default_factory=JointStage)
    """The joint stage."""
    init: Path | None = None
    """A model folder whose networks training starts from; it stays as it is."""
    init_depth_only: bool = False
    """Whether only the depth network is taken from ``init``, and the liveness model starts anew."""

    def __post_init__(self) -> None:
        _within(self, "", RUN_LIMITS)
        _multiple_of_16("crop_px", self.crop_px, 64)
        if self.out.name in ("", ".."):
            raise InputError(f"out: expected the name of a folder to write, got {str(self.out)!r}")
        if not 0 <= self.liveness.init_share < 1:
            raise InputError(f"liveness.init_share: expected 0 to less than 1, got {self.liveness.init_share}")
        if self.stored_px < self.crop_px:
            raise InputError(f"stored_px: expected at least crop_px ({self.crop_px}), got {self.stored_px}")
        if not 0 < self.bpcer < 1:
            raise InputError(f"bpcer: expected a share between 0 and 1, got {self.bpcer}")
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share: expected a share between 0 and 1, got {self.validation_share}")
        if self.init is not None and self.init.resolve() == self.out.resolve():
            raise InputError(f"out: {self.out} is the model that training starts from; choose another folder")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device: expected auto, cpu or cuda, got {self.device!r}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected {' or '.join(PRECISIONS)}, got {self.precision!r}")

    @property
    def work(self) -> Path:
        """Where crops, caches, checkpoints and the log lie."""
        return self.out.with_name(self.out.name + ".work")

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return plain


ADAPTATION: Mapping[str, Any] = {
    "depth": {"steps": 300, "learning_rate": 2e-4, "ramp_share": 0.0, "average_decay": 0.99},
    "liveness": {"steps": 400, "learning_rate": 3e-4, "average_decay": 0.99},
}
"""What a run that starts from a model is told where no file says otherwise: few and small steps, so that a few hundred
presentations of one rig do not wash away what the model knows of others."""


def _within(stage: Any, prefix: str, limits: Limits) -> None:
    for name, (low, high) in limits.items():
        value = getattr(stage, name, low)
        if not low <= value <= high:  # nothing is within them that is no number
            raise InputError(f"{prefix}{'.' if prefix else ''}{name}: expected {low:g} to {high:g}, got {value:g}")


def _multiple_of_16(name: str, value: int, least: int) -> None:
    if value % 16 or value < least:
        raise InputError(f"{name}: expected a multiple of 16 from {least} on, got {value}")


def load_config(path: str | Path | None, **given: Any) -> TrainConfig:
    """The configuration in a YAML file, with ``given`` values on top; ``ADAPTATION`` for one that
    starts from a model without a file. Raises InputError for a mistyped key or value."""
    data: Any = {}
    where = "configuration"
    if path is None and given.get("init") is not None:
        data = ADAPTATION
    if path is not None:
        try:
            import yaml
        except ImportError:
            raise MissingExtraError("Reading a configuration", "train") from None
        where = f"configuration {path}"
        try:
            data = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        # A date that is none is a ValueError to YAML, and brackets without end are too deep for it.
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise InputError(f"{where}: cannot be read ({' '.join(str(error).split())[:100]})") from None
    if isinstance(data, dict):
        data = {**data, **given}
    config: TrainConfig = _build(TrainConfig, data, where, "")
    return config


def _build(kind: Any, data: Any, where: str, prefix: str) -> Any:
    if not isinstance(data, dict):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'it'} should hold keys and values, got {data!r}")
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]
    values = {}
    for key, value in data.items():
        if key not in names:
            raise InputError(f"{where}: there is no {prefix}{key}; known are {', '.join(names)}")
        values[key] = _value(hints[key], value, where, f"{prefix}{key}")
    missing = [
        entry.name
        for entry in dataclasses.fields(kind)
        if entry.default is dataclasses.MISSING
        and entry.default_factory is dataclasses.MISSING
        and entry.name not in values
    ]
    if missing:
        raise InputError(f"{where}: {prefix}{missing[0]} is missing")
    return kind(**values)


def _value(kind: Any, value: Any, where: str, name: str) -> Any:
    """``value`` as the field's type; numbers are not taken from text, nor whole numbers from fractions."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _build(kind, value, where, f"{name}.")  # type: ignore[arg-type]
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_value(typing.get_args(kind)[0], entry, where, name) for entry in value)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}.get(
        kind, "a list of names"
    )
    raise InputError(f"{where}: {name}: expected {words}, got {value!r}")
