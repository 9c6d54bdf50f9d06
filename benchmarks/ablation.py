"""What each part of the training buys: the liveness stage again, each time without something.

    python benchmarks/ablation.py runs/release-0.10.work [--steps 2000] [--only GROUP ...]
        [--precision bfloat16] [--out results/ablation.csv]

takes crops and cached depth information of a finished training run, and trains the liveness model anew on them: with
fewer channels, with one species, illumination or rig family left out, with one illumination or one material only. One
row a variant; stopped, the same command goes on where it was. Every variant sees faces at half the resolution, which
costs a quarter, and few steps, so its rates compare with those of the row of its group that leaves nothing out (for
``one only``, with the first row's), not with the released model's.

What is left out in turn (species, illuminations, rig families) is left out in two halves first: a model that has
learned from nothing of one half is where the rows of that half go on from, for a third of the steps, each with
everything but what it leaves out. So no row's model has ever seen what is left out of it, and a row costs a third.

The threshold rejects 2 % of the living validation faces. ``apcer`` and ``worst_apcer`` are of the validation rows,
``left_out_apcer`` of all rows of what was left out of training, its training rows among them: no instrument of theirs
was seen, though the subjects were, as living faces. ``left_out_auc`` and ``known_auc`` are of the validation rows of
what was left out (and, where there is no living face among them, of all living ones): by this model, and by the one
that it compares with, which has learned from such. The depth network has seen all of it; that it matters little is
shown by retraining it, not here.

The group ``stages`` goes on from the finished model, at full resolution: the liveness model trained on by itself, and
both networks together, for the same number of small steps over the same number of presentations.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stereolive.data.crops import CropRow, Crops
from stereolive.data.manifest import BONA_FIDE, write_rows
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork, LivenessTraining
from stereolive.runtime import Network
from stereolive.store import DEPTH_FILE, Model
from stereolive.train.cache import Items, LivenessInputs, Variation, cache_folder, seen_through
from stereolive.train.config import PRECISIONS, JointStage, LivenessStage, TrainConfig
from stereolive.train.export import export_depth
from stereolive.train.joint_stage import train_jointly
from stereolive.train.liveness_stage import kind_numbers, logits_of, train_liveness
from stereolive.train.loop import Log, Machine, machine
from stereolive.train.split import split
from stereolive.train.threshold import area_under_curve, rates_at, threshold_for_bpcer
from stereolive.train.weights import Weights

BPCER = 0.02
STAGE_STEPS = 150
GEOMETRY = ("relative_depth", "inside", "side", "distance")
UNCERTAINTY = ("depth_sd", "disparity_sd")
VIEWS = {
    view: (f"{view}_blue", f"{view}_green", f"{view}_red", f"{view}_is_visible", "inside") for view in ("lead", "other")
}
CHANNELS = {
    "everything": (),
    "depth alone": GEOMETRY,
    "depth with uncertainty": GEOMETRY + UNCERTAINTY,
    "both sensors, no depth": VIEWS["lead"] + VIEWS["other"],
    "leading sensor alone": VIEWS["lead"],
    "other sensor alone": VIEWS["other"],
}
COLUMNS = (
    *("group", "variant", "steps", "seed", "trained_on", "validation_attacks", "validation_bona_fide", "auc", "bpcer"),
    *("apcer", "worst_apcer", "worst_species", "left_out", "left_out_errors", "left_out_apcer", "left_out_bpcer"),
    *("left_out_auc", "known_auc"),
)


class HalfInputs(LivenessInputs):
    """The cached inputs at half their resolution, in memory."""

    def __init__(self, crops: Crops, folder: Path) -> None:
        super().__init__(crops, folder)
        rows = range(len(crops.rows))
        whole = (super(HalfInputs, self).read([row], [variant]) for row in rows for variant in range(self.variants))
        self._halves = [Items(*(_half(planes[0]) for planes in items)) for items in whole]
        self.grid //= 2

    def read(self, rows: Sequence[int], variants: Sequence[int]) -> Items:
        items = [self._halves[row * self.variants + variant] for row, variant in zip(rows, variants, strict=True)]
        return Items(*(np.stack(planes) for planes in zip(*items, strict=True)))


def _half(planes: NDArray[np.number]) -> NDArray[np.number]:
    size = planes.shape[-1] // 2
    wanted = planes.astype(np.float32) if planes.dtype == np.float16 else planes
    return np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) for plane in wanted]).astype(
        planes.dtype
    )


Chosen = Callable[[CropRow], bool]
NOTHING = "nothing"


@dataclass(frozen=True)
class Variant:
    """Which rows may be trained on, and which channels are looked at; ``left_out`` is judged by itself. With ``half``
    it goes on from a model that has learned from nothing of ``half``, whose rows are those of ``of_half``."""

    group: str
    name: str
    channels: tuple[str, ...] = ()
    left_out: Chosen = field(default=lambda row: False)
    half: str = ""
    of_half: Chosen = field(default=lambda row: False)

    @property
    def whole(self) -> str:
        """The row that leaves nothing out and learned as this one did."""
        return f"{self.group}/{NOTHING}" if self.half else "channels/everything"


IN_TURN: dict[str, Callable[[CropRow], str]] = {
    "species left out": lambda row: "" if row.species == BONA_FIDE else row.species,
    "illumination left out": lambda row: row.illumination,
    "rig family left out": lambda row: row.further.get("rig_family", ""),
}


def variants(rows: list[CropRow]) -> Iterator[Variant]:
    for name, channels in CHANNELS.items():
        yield Variant("channels", name, channels)
    yield Variant("one only", "indoor_diffuse", left_out=lambda row: row.illumination != "indoor_diffuse")
    yield Variant("one only", "print_flat", left_out=lambda row: row.species not in (BONA_FIDE, "print_flat"))
    for group, told in IN_TURN.items():
        kinds = sorted({told(row) for row in rows} - {""})
        halves = [
            (name, partial(_is_among, told, frozenset(kinds[start::2])))
            for start, name in enumerate(("first half", "second half"))
        ]
        yield Variant(group, NOTHING, half=halves[0][0], of_half=halves[0][1])
        for place, kind in enumerate(kinds):
            yield Variant(group, kind, (), partial(_is_among, told, frozenset([kind])), *halves[place % 2])


def _is_among(told: Callable[[CropRow], str], kinds: frozenset[str], row: CropRow) -> bool:
    return told(row) in kinds


def judged(
    variant: Variant,
    rows: Sequence[CropRow],
    trained_on: int,
    validation: Sequence[int],
    logits: NDArray[np.float64],
    steps: int,
    seed: int,
) -> tuple[float, dict[str, object]]:
    """The threshold, and the columns of a row that every variant has."""
    scores = 1 / (1 + np.exp(-logits))
    species = [rows[index].species for index in validation]
    genuine = np.array([kind == BONA_FIDE for kind in species])
    threshold = threshold_for_bpcer(scores[genuine], BPCER)
    bpcer, apcer = rates_at(scores, species, threshold)
    worst = max(apcer, key=lambda kind: apcer[kind])
    return threshold, {
        "group": variant.group,
        "variant": variant.name,
        "steps": steps,
        "seed": seed,
        "trained_on": trained_on,
        "validation_attacks": int((~genuine).sum()),
        "validation_bona_fide": int(genuine.sum()),
        "auc": f"{area_under_curve(scores[genuine], scores[~genuine]):.4f}",
        "bpcer": f"{bpcer:.4f}",
        "apcer": f"{float((scores[~genuine] >= threshold).mean()):.4f}",
        "worst_apcer": f"{apcer[worst]:.4f}",
        "worst_species": worst,
    }


def measured(
    variant: Variant, rows: list[CropRow], inputs: LivenessInputs, config: TrainConfig, where: Machine, folder: Path
) -> dict[str, object]:
    """A row of the table. ``folder``: where rows keep what further rows need."""
    sides = split(rows, config.validation_share, config.seed)
    validation = sides["validation"]
    train = [index for index in sides["train"] if not variant.left_out(rows[index])]

    def trained(name: str, learned: list[int], stage: LivenessStage, start: Weights | None) -> LivenessNetwork:
        run = replace(config, out=folder / name.replace(" ", "_"), liveness=stage)
        run.work.mkdir(parents=True, exist_ok=True)
        log = Log(run.work / "metrics.jsonl", where)
        return train_liveness(rows, inputs, learned, validation, run, where, log, start)

    stage = replace(config.liveness, channels=variant.channels)
    start = None
    if variant.half:
        rest = [index for index in sides["train"] if not variant.of_half(rows[index])]
        begun = trained(f"{variant.group}/{variant.half}", rest, stage, None)
        start = Weights({}, begun.state_dict(), tuple(kind_numbers(rows, rest)), f"{variant.group}, {variant.half}")
        stage = replace(stage, steps=stage.steps // 3, learning_rate=stage.learning_rate / 3)
    network = trained(f"{variant.group}/{variant.name}", train, stage, start)

    left_out = [index for index in sides["train"] + validation if variant.left_out(rows[index])]
    logits = logits_of(network, inputs, validation, where)
    whole = folder / f"{variant.whole.replace(' ', '_')}.npy"
    if f"{variant.group}/{variant.name}" == variant.whole:
        np.save(whole, logits)
    threshold, result = judged(variant, rows, len(train), validation, logits, config.liveness.steps, config.seed)
    if left_out:
        accepted: NDArray[np.bool_] = 1 / (1 + np.exp(-logits_of(network, inputs, left_out, where))) >= threshold
        living = np.array([rows[index].species == BONA_FIDE for index in left_out])
        result["left_out"] = int((~living).sum())
        result["left_out_errors"] = int(accepted[~living].sum())
        result["left_out_apcer"] = f"{float(accepted[~living].mean()):.4f}"
        if living.any():
            result["left_out_bpcer"] = f"{float((~accepted[living]).mean()):.4f}"
        aside = np.array([variant.left_out(rows[index]) for index in validation])
        genuine = np.array([rows[index].species == BONA_FIDE for index in validation])
        looked_at = aside if (aside & genuine).any() else aside | genuine
        for name, values in (("left_out_auc", logits), ("known_auc", np.load(whole) if whole.exists() else None)):
            if values is not None and (looked_at & ~genuine).any():
                result[name] = f"{area_under_curve(values[looked_at & genuine], values[looked_at & ~genuine]):.4f}"
    return result


STAGES = ("the finished model", "liveness alone, trained on", "both networks, trained on")


def gone_on(name: str, crops: Crops, work: Path, config: TrainConfig, where: Machine) -> dict[str, object]:
    """A row of the group ``stages``."""
    model = Model.load(str(work).removesuffix(".work"))
    start = Weights.of_model(model.folder)
    rows = crops.rows
    sides = split(rows, config.validation_share, config.seed)
    train, validation = sides["train"], sides["validation"]
    config.work.mkdir(parents=True, exist_ok=True)
    log = Log(config.work / "metrics.jsonl", where)
    if name == STAGES[2]:
        logits = _trained_jointly(crops, train, validation, start, config, where, log)
    else:
        inputs = LivenessInputs(crops, cache_folder(work, work / DEPTH_FILE))
        network = (
            train_liveness(rows, inputs, train, validation, config, where, log, start)
            if name == STAGES[1]
            else _liveness_of(start, rows, train, config).eval()
        )
        logits = logits_of(network, inputs, validation, where)
    _, result = judged(Variant("stages", name), rows, len(train), validation, logits, config.joint.steps, config.seed)
    return result


def _liveness_of(start: Weights, rows: Sequence[CropRow], train: Sequence[int], config: TrainConfig) -> LivenessNetwork:
    kinds = kind_numbers(rows, train)
    liveness = LivenessTraining(LivenessNetwork(len(kinds), width=config.liveness.width))
    start.start_liveness(liveness, list(kinds))
    return liveness.network


def _trained_jointly(
    crops: Crops,
    train: Sequence[int],
    validation: Sequence[int],
    start: Weights,
    config: TrainConfig,
    where: Machine,
    log: Log,
) -> NDArray[np.float64]:
    """Logits (N,) of the rows ``validation``, whose depth information is made anew by the changed depth network."""
    depth = DepthNetwork(config.depth.width, config.depth.max_shift)
    start.start_depth(depth)
    liveness = _liveness_of(start, crops.rows, train, config)
    calibrated = [index for index in train if not crops.rows[index].is_registered]
    depth, liveness = train_jointly(crops, calibrated, depth, liveness, config, where, log)
    export_depth(depth, config.work / DEPTH_FILE, config.crop_px)
    changed = Network(config.work / DEPTH_FILE)
    liveness.eval()
    seen = [seen_through(changed, crops, index, config.crop_px, Variation()) for index in validation]
    with torch.no_grad():
        answers = [liveness(*(torch.from_numpy(planes)[None].float() for planes in item)) for item in seen]
    return np.asarray(torch.cat(answers).double().numpy(), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="OUT.work of a training run")
    parser.add_argument("--out", type=Path, default=Path("results/ablation.csv"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of groups")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="of the training steps")
    arguments = parser.parse_args()
    crops = Crops(arguments.work / "crops")
    done: list[dict[str, object]] = []
    if arguments.out.exists():
        with arguments.out.open(newline="") as file:
            done = list(csv.DictReader(file))
    known = {(entry["group"], entry["variant"], str(entry["steps"]), str(entry["seed"])) for entry in done}
    stage = LivenessStage(steps=arguments.steps, learning_rate=3e-3, average_decay=0.99)
    where = machine("auto", 0, arguments.precision)
    inputs: HalfInputs | None = None
    folder = arguments.work / "ablation" / f"{arguments.steps}-{arguments.seed}"
    for variant in variants(crops.rows):
        if arguments.only and variant.group not in arguments.only:
            continue
        if (variant.group, variant.name, str(arguments.steps), str(arguments.seed)) in known:
            continue
        config = TrainConfig(Path("unused"), out=folder, seed=arguments.seed, liveness=stage)
        inputs = inputs or HalfInputs(crops, cache_folder(arguments.work, arguments.work / DEPTH_FILE))
        done.append(measured(variant, crops.rows, inputs, config, where, folder))
        print(done[-1], flush=True)
        write_rows(arguments.out, done, COLUMNS)
    for number, name in enumerate(STAGES):
        if arguments.only and "stages" not in arguments.only:
            continue
        few = STAGE_STEPS if number else 0
        if ("stages", name, str(few), str(arguments.seed)) in known:
            continue
        small = LivenessStage(steps=few, batch=8, learning_rate=5e-5, average_decay=0.99, variants=1)
        aside = arguments.work / "ablation" / f"stage-{number}-{few}-{arguments.seed}"
        config = TrainConfig(
            Path("unused"), out=aside / "model", seed=arguments.seed, liveness=small, joint=JointStage(steps=few)
        )
        done.append(gone_on(name, crops, arguments.work, config, where))
        print(done[-1], flush=True)
        write_rows(arguments.out, done, COLUMNS)


if __name__ == "__main__":
    main()
