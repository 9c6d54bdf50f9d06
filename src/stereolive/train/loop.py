"""The loop that every stage shares: schedule, running mean of the weights, checkpoints, log, progress.

What happens in a step depends on the seed and the step's number alone, so a run that was stopped and taken up again
ends at the same weights as one that was not.
"""

from __future__ import annotations

import copy
import ctypes
import json
import math
import os
import pickle
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stereolive.errors import InputError

Item = TypeVar("Item")
LOG_EVERY = 50
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, IndexError, pickle.UnpicklingError)
"""What ``torch.load`` raises of a file that is damaged or none of its own."""
WARM_SHARE = 0.03


@dataclass(frozen=True)
class Machine:
    """Where training runs: one process, or one of several that ``torchrun`` started."""

    device: torch.device
    rank: int
    world: int
    precision: torch.dtype = torch.float32

    def autocast(self) -> torch.autocast:
        """What convolutions are computed in while this is open: ``precision``; the weights keep 32 bits."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def part(self, batch: list[Item]) -> list[Item]:
        """This process' share of a step's samples: neighbours, so that where two labels take turns, each process sees
        as many of both. With one label a process, the batch's statistics would tell it."""
        count = len(batch)
        return batch[self.rank * count // self.world : (self.rank + 1) * count // self.world]


def main_first(where: Machine, make: Callable[[], Item]) -> Item:
    """``make()``, which the first process does before the others: what it left in files, they find there."""
    if where.world > 1 and not where.is_main:
        torch.distributed.barrier()
    made = make()
    if where.world > 1 and where.is_main:
        torch.distributed.barrier()
    return made


def machine(device: str, threads: int, precision: str = "float32") -> Machine:
    """Set up this process for training; ``precision`` is a name of ``config.PRECISIONS``."""
    if threads:
        torch.set_num_threads(threads)
    _keep_freed_memory()
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: there is no GPU that torch can use; choose cpu or auto")
    chosen = torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
    if world > 1 and not torch.distributed.is_initialized():
        # The first process cuts crops for all, which may take hours.
        torch.distributed.init_process_group("nccl" if name == "cuda" else "gloo", timeout=timedelta(days=2))
    return Machine(chosen, rank, world, getattr(torch, precision))


def _keep_freed_memory() -> None:
    """Let glibc keep what the step before freed: else every step's tensors are fresh pages, a sixth of its time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
        for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
            mallopt(option, value)


@dataclass(frozen=True)
class Recipe:
    """What the loop needs to know of a stage."""

    stage: str
    steps: int
    learning_rate: float
    weight_decay: float
    gradient_norm: float
    average_decay: float
    seed: int
    checkpoint_minutes: float
    kept_by: str | None = None
    """The result of validation by whose highest value the weights are chosen; None keeps the last."""


class Best(NamedTuple):
    """The best weights so far."""

    value: float
    step: int
    weights: dict[str, Any]


class Log:
    """``metrics.jsonl``, one object a line, the same for TensorBoard in ``events`` beside it, and the console. Only the
    first process writes."""

    def __init__(self, path: Path, where: Machine) -> None:
        self._path = path
        self._quiet = not where.is_main
        self._console = Console(quiet=self._quiet, highlight=False)
        self._events: SummaryWriter | None = None

    def write(self, stage: str, step: int, **values: Any) -> None:
        """Numbers by name, or mappings of such."""
        if self._quiet:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        if self._events is None:
            self._events = SummaryWriter(str(self._path.with_name("events")))
            weakref.finalize(self, self._events.close)
        for name, value in values.items():
            numbers = (
                {f"{name}/{key}": entry for key, entry in value.items()}
                if isinstance(value, Mapping)
                else {name: value}
            )
            for key, number in numbers.items():
                self._events.add_scalar(f"{stage}/{key}", number, step)
        self._events.flush()

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def say_table(self, table: Table) -> None:
        self._console.print(table)

    def progress(self, text: str) -> None:
        """A line that the next one replaces where the console is a terminal."""
        self._console.print(text, end="\r" if self._console.is_terminal else "\n", soft_wrap=True)


def fit(
    model: nn.Module,
    recipe: Recipe,
    load: Callable[[int], Item],
    loss: Callable[[nn.Module, Item, int], tuple[Tensor, Mapping[str, Tensor]]],
    validate: Callable[[nn.Module], Mapping[str, float]],
    folder: Path,
    where: Machine,
    log: Log,
    signature: Mapping[str, Any],
) -> nn.Module:
    """Train ``model`` and return the running mean of its weights: the last, or the best by ``recipe.kept_by`` of those
    that were validated, in the first process.

    ``load(step)`` fetches a step's data, in a thread of its own; ``loss(model, data, step)`` returns what is minimised
    and what is logged.
    A checkpoint in ``folder`` is taken up if its ``signature`` is this one, refused otherwise.
    """
    model.to(where.device).train()
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimiser = torch.optim.AdamW(_groups(model, recipe.weight_decay), recipe.learning_rate, betas=(0.9, 0.99))
    path = folder / f"{recipe.stage}.checkpoint"
    start, best = _resume(path, model, average, optimiser, signature, where)
    if start:
        log.say(f"{recipe.stage}: going on at step {start} of {recipe.steps}")
    trained: nn.Module = DistributedDataParallel(model) if where.world > 1 else model
    saved = began = time.monotonic()
    every = max(1, recipe.steps // 10)
    sums: dict[str, Tensor] = {}
    for step, item in _ahead(load, start, recipe.steps):
        # Dropout and the like draw from here, whether the run was interrupted or not.
        torch.manual_seed(_mixed(recipe.seed, step, where.rank))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate_share(step, recipe.steps)
        with where.autocast():
            value, logged = loss(trained, item, step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_norm)
        if torch.isfinite(norm):
            optimiser.step()
            _update_average(average, model, recipe.average_decay, step)
        for name, entry in logged.items():
            sums[name] = sums.get(name, torch.zeros((), device=where.device)) + entry.detach()

        done = step + 1
        if done % LOG_EVERY == 0 or done == recipe.steps:
            seconds = time.monotonic() - began
            count = (done - 1) % LOG_EVERY + 1
            means = {name: float(entry) / min(count, done - start) for name, entry in sums.items()}
            sums = {}
            left = seconds / (done - start) * (recipe.steps - done)
            log.write(stage=recipe.stage, step=done, seconds=round(seconds, 1), **_rounded(means))
            shown = "  ".join(f"{name} {entry:.3g}" for name, entry in means.items())
            log.progress(f"{recipe.stage} {done}/{recipe.steps}  {shown}  {left / 60:.1f} min left")
        if (done % every == 0 or done == recipe.steps) and where.is_main:
            results = _rounded(validate(average))
            # Of equals the later; where it cannot be told (nan), the last.
            if recipe.kept_by is not None and (best is None or not results[recipe.kept_by] < best.value):
                best = Best(results[recipe.kept_by], done, copy.deepcopy(average.state_dict()))
            log.write(stage=recipe.stage, step=done, validation=results)
            log.say(f"{recipe.stage} {done}/{recipe.steps}  validation: {results}")
        if where.is_main and (done == recipe.steps or time.monotonic() - saved > 60 * recipe.checkpoint_minutes):
            _save(path, model, average, optimiser, done, signature, best)
            saved = time.monotonic()
    if where.world > 1:
        torch.distributed.barrier()
    if best is not None:
        log.say(f"{recipe.stage}: kept the weights of step {best.step}, with {recipe.kept_by} {best.value}")
        average.load_state_dict(best.weights)
    return average


def rate_share(step: int, steps: int) -> float:
    """The learning rate's share of its highest: a short rise, then a cosine to a hundredth."""
    warm = max(1, round(WARM_SHARE * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def generator(seed: int, *numbers: int) -> torch.Generator:
    """Random numbers that depend on these numbers alone."""
    return torch.Generator().manual_seed(_mixed(seed, *numbers))


def batch_indices(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of a step's samples; every sample comes once before any comes again."""
    indices: list[int] = []
    position = step * batch
    while len(indices) < batch:
        epoch, offset = divmod(position + len(indices), count)
        order = torch.randperm(count, generator=generator(seed, epoch, 77))
        indices.extend(order[offset : offset + batch - len(indices)].tolist())
    return indices


def save_atomically(path: Path, value: Any) -> None:
    """``torch.save``, whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(value, part)
    part.replace(path)


def _mixed(*numbers: int) -> int:
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = ((mixed ^ (number & 0xFFFFFFFF)) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & 0x7FFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed


def _ahead(load: Callable[[int], Item], start: int, steps: int, depth: int = 3) -> Iterator[tuple[int, Item]]:
    """(step, data), fetched some steps ahead; on one processor thread, since two teams of threads that wait for each
    other on few cores are slower than either."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(load, step) for step in range(start, min(start + depth, steps))]
        for step in range(start, steps):
            item = waiting.pop(0).result()
            if step + depth < steps:
                waiting.append(pool.submit(load, step + depth))
            yield step, item


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases, normalisation and single numbers do not."""
    decayed = [entry for entry in model.parameters() if entry.ndim > 1]
    kept = [entry for entry in model.parameters() if entry.ndim <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]


@torch.no_grad()
def move_towards(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], share: float) -> set[str]:
    """Move the weights ``ours`` by ``share`` of the way to ``theirs``, in place. Returns the names of those that moved,
    which whole numbers do not."""
    moving = [name for name, entry in ours.items() if entry.dtype.is_floating_point]
    torch._foreach_lerp_([ours[name] for name in moving], [theirs[name] for name in moving], share)
    return set(moving)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    share = 1.0 - min(decay, (1 + step) / (10 + step))
    ours, theirs = average.state_dict(), model.state_dict()
    for name in ours.keys() - move_towards(ours, theirs, share):
        ours[name].copy_(theirs[name])


def _save(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    signature: Mapping[str, Any],
    best: Best | None,
) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "signature": json.dumps(signature, sort_keys=True),
        "best": None if best is None else best._asdict(),
    }
    save_atomically(path, state)


def _resume(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    signature: Mapping[str, Any],
    where: Machine,
) -> tuple[int, Best | None]:
    if not path.exists():
        return 0, None
    try:
        state = torch.load(path, map_location=where.device, weights_only=True)
        begun = state["signature"]
    except (*UNREADABLE, KeyError, TypeError):
        raise InputError(f"{path}: cannot be read; delete it to begin the stage again") from None
    if begun != json.dumps(signature, sort_keys=True):
        raise InputError(
            f"{path}: is of a run with another configuration or other data; choose another --out or delete it"
        )
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    best = state.get("best")  # checkpoints of earlier versions have none
    return int(state["step"]), None if best is None else Best(**best)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}
