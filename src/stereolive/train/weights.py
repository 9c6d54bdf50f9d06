"""The weights that a model folder keeps beside its exported networks, so that training can go on from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stereolive.errors import InputError, ModelError
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork, LivenessTraining
from stereolive.store import WEIGHTS_FILE, Model, sha256
from stereolive.train.loop import UNREADABLE, save_atomically

WEIGHTS_FORMAT = "stereolive-weights/1"


@dataclass(frozen=True)
class Weights:
    """Both networks' state. ``kinds``: what the auxiliary head's outputs stand for, in their order; ``sha256``: of the
    file they come from."""

    depth: dict[str, Tensor]
    liveness: dict[str, Tensor]
    kinds: tuple[str, ...]
    sha256: str = ""

    @classmethod
    def of_model(cls, folder: str | Path) -> Weights:
        """Of a model folder, verified. Raises ModelError, InputError where it keeps none."""
        model = Model.load(folder)
        path = model.folder / WEIGHTS_FILE
        if not path.is_file():
            raise InputError(f"model {folder}: keeps no {WEIGHTS_FILE}, so it is for use only")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != WEIGHTS_FORMAT:
                raise ModelError(f"model {folder}: {WEIGHTS_FILE} is of another format")
            return cls(state["depth"], state["liveness"], tuple(state["kinds"]), sha256(path))
        except (*UNREADABLE, KeyError, TypeError):
            raise ModelError(f"model {folder}: {WEIGHTS_FILE} cannot be read") from None

    def save(self, folder: Path) -> None:
        """Beside the networks in ``folder``."""
        state = {"format": WEIGHTS_FORMAT, "depth": self.depth, "liveness": self.liveness, "kinds": list(self.kinds)}
        save_atomically(folder / WEIGHTS_FILE, state)

    def networks(self, model: Model) -> tuple[DepthNetwork, LivenessNetwork]:
        """The depth network and the liveness model of ``model``, which keeps these weights, as training left them.

        Raises InputError where it does not say how large they are.
        """
        try:
            sizes = model.training["config"]
            depth = DepthNetwork(sizes["depth"]["width"], sizes["depth"]["max_shift"])
            used = model.preprocessing["liveness_channels_used"]
            liveness = LivenessNetwork(len(self.kinds), used, sizes["liveness"]["width"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"model {model.folder}: does not say how large its networks are") from None
        self.start_depth(depth)
        _load(liveness, self.liveness, "liveness")
        return depth, liveness

    def start_depth(self, network: DepthNetwork) -> None:
        """Give ``network`` these weights. Raises InputError where its sizes are others."""
        _load(network, self.depth, "depth")

    def start_liveness(self, model: LivenessTraining, kinds: Sequence[str]) -> None:
        """Give ``model`` these weights; of the auxiliary head those rows that stand for the same kinds.

        A wider ``model`` starts by saying the same. Raises InputError where it is narrower.
        """
        own = model.network.state_dict()
        state = _grown(self.liveness, own)
        for name in ("tell_kind.weight", "tell_kind.bias"):
            rows = own[name].clone()
            for place, kind in enumerate(kinds):
                if kind in self.kinds:
                    rows[place] = state[name][self.kinds.index(kind)]
            state[name] = rows
        # Calibration is found anew on the validation subjects.
        state["temperature"] = torch.ones(())
        _load(model.network, state, "liveness")


def _grown(narrow: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a liveness network, as one with more channels, whose weights are ``fresh``, has them when it says
    the same: new channels look at the old ones, but nothing looks at them yet (after Chen, Goodfellow and Shlens,
    "Net2Net", 2016).

    What ``narrow`` has none of stays fresh. Raises InputError where ``fresh`` is the narrower one.
    """
    state = dict(narrow)
    for name, entry in fresh.items():
        old = narrow.get(name, entry)
        rows = len(old) if old.ndim else 0
        # The auxiliary head's rows are kinds, whatever the width.
        wide = entry if name.split(".")[0] != "tell_kind" else entry.new_zeros((rows, *entry.shape[1:]))
        if any(ours > theirs for ours, theirs in zip(old.shape, wide.shape, strict=True)):
            raise _other_size("liveness")
        wide = wide.clone()
        if old.ndim < 2:
            wide[(slice(rows),) if old.ndim else ()] = old
        else:
            columns = torch.arange(old.shape[1])
            if name.split(".")[0] in ("decide", "tell_kind"):
                # Mean of every last channel, highest of every last channel, two of the cells.
                channels, more = (old.shape[1] - 2) // 2, (wide.shape[1] - old.shape[1]) // 2
                columns += more * (columns >= channels) + more * (columns >= 2 * channels)
            wide[:rows] = 0
            wide[:rows, columns] = old
        state[name] = wide
    return state


def _load(network: torch.nn.Module, state: dict[str, Tensor], stage: str) -> None:
    own = network.state_dict()
    fits = own.keys() == state.keys() and all(own[name].shape == entry.shape for name, entry in state.items())
    if not fits:
        raise _other_size(stage)
    network.load_state_dict(state)


def _other_size(stage: str) -> InputError:
    return InputError(f"init: its {stage} network is of another size than the configuration's")
