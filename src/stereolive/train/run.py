"""A whole training run, read from top to bottom: what is learned from, then the stages, then the model folder."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table
from torch import Tensor

from stereolive.data.crops import Crops, Cutting, cut_crops
from stereolive.data.manifest import BONA_FIDE, Manifest, joined
from stereolive.depth import DISPARITY_SD_UNIT_PX, LIVENESS_CHANNELS, LIVENESS_MAPS
from stereolive.errors import InputError
from stereolive.measures import mismatch_px
from stereolive.nets.depth import STRIDE, DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.quality import QualityThresholds
from stereolive.runtime import Network
from stereolive.store import DEPTH_FILE, LIVENESS_FILE, Model, check_savable, sha256
from stereolive.train.cache import LivenessInputs, Variation, cache_folder, cache_inputs, seen_through
from stereolive.train.config import TrainConfig
from stereolive.train.depth_stage import depth_errors, train_depth, with_depth
from stereolive.train.export import export_depth, export_liveness
from stereolive.train.joint_stage import train_jointly
from stereolive.train.liveness_stage import kind_numbers, logits_of, temperature, train_liveness
from stereolive.train.loop import Log, Machine, machine, main_first
from stereolive.train.split import check_apart, check_coverage, coverage_table, split, without_test
from stereolive.train.threshold import area_under_curve, operating_points, rates_at
from stereolive.train.weights import Weights

ALLOWED_UNCERTAIN = 50
"""One of so many living faces may be refused because the views do not match well enough."""


def train(config: TrainConfig) -> Model:
    """Train a model on a manifest and write its folder. Raises InputError where the data or the configuration do not
    do.

    Stopped or killed, the same call goes on where the last checkpoint was.
    """
    needing = {"liveness.init_share": config.liveness.init_share, "depth.own_depth": config.depth.own_depth}
    for name, given in needing.items():
        if given and config.init is None:
            raise InputError(f"{name}: needs a model that training starts from (init)")
    where = machine(config.device, config.threads, config.precision)
    # What cannot end well is refused before anything is cut.
    check_savable(config.name, config.out)
    if config.init is not None:
        Weights.of_model(config.init)
        needed = Model.load(config.init).crop_size
        if config.stored_px < needed:
            raise InputError(f"stored_px: expected at least {needed}, the crop of the model that training starts from")
    everything = joined(Manifest.read(config.manifest), [Manifest.read(path) for path in config.also])
    check_apart(everything)
    manifest = without_test(everything)
    check_coverage(manifest.presentations)
    config.work.mkdir(parents=True, exist_ok=True)
    log = Log(config.work / "metrics.jsonl", where)
    cutting = Cutting(config.crop_px, config.stored_px)
    crops = main_first(where, lambda: cut_crops(manifest, config.work / "crops", config.workers, cutting))
    return train_on_crops(crops, config, where, log)


def train_on_crops(crops: Crops, config: TrainConfig, where: Machine, log: Log) -> Model:
    """The stages, on crops already cut."""
    log.say_table(coverage_table(crops.rows))
    skipped = crops.skipped()
    if skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
        log.say(f"{skipped.total()} further presentations are left out: {reasons}")
    check_coverage(crops.rows)
    sides = split(crops.rows, config.validation_share, config.seed)
    learning, validating = sides["train"], sides["validation"]
    log.say(f"{len(learning)} presentations to train on, {len(validating)} of other subjects to validate with")
    calibrated = [index for index in learning if not crops.rows[index].is_registered]
    if len(calibrated) < len(learning):
        log.say(
            f"{len(learning) - len(calibrated)} of them have views that lie on each other: they teach the liveness "
            "model alone, by the depth that came with them"
        )

    start = None if config.init is None else Weights.of_model(config.init)
    depth = train_depth(crops, learning, validating, config, where, log, start)
    depth_path = config.work / DEPTH_FILE
    seen = learning + validating if config.liveness.steps else validating
    variants = config.liveness.variants
    inputs = main_first(where, lambda: _inputs_of(depth, crops, seen, depth_path, variants, config, where))
    begun = None if config.init_depth_only else start
    liveness = train_liveness(crops.rows, inputs, learning, validating, config, where, log, begun)

    if config.joint.steps:
        depth, liveness = train_jointly(crops, calibrated, depth, liveness, config, where, log)
        inputs = main_first(where, lambda: _inputs_of(depth, crops, validating, depth_path, 1, config, where))
        liveness.to(where.device).temperature.fill_(1.0)
        labels = np.array([crops.rows[index].label == BONA_FIDE for index in validating])
        liveness.temperature.fill_(temperature(logits_of(liveness, inputs, validating, where), labels))
    if where.is_main:
        export_liveness(liveness, config.work / LIVENESS_FILE, inputs.grid)
        kinds = tuple(kind_numbers(crops.rows, learning))
        Weights(_state(depth), _state(liveness), kinds).save(config.work)

    logits = logits_of(liveness.to(where.device), inputs, validating, where)
    scores = 1 / (1 + np.exp(-logits))
    species = [crops.rows[index].species for index in validating]
    points = operating_points(scores, species, config.bpcer)
    metrics: dict[str, Any] = {
        "validation_presentations": dict(Counter(species)),
        "validation_auc": area_under_curve(
            scores[[kind == BONA_FIDE for kind in species]], scores[[kind != BONA_FIDE for kind in species]]
        ),
        "depth": depth_errors(depth.to(where.device), crops, with_depth(crops, validating), config.crop_px, where),
        "parameters": {"depth": _parameters(depth), "liveness": _parameters(liveness)},
    }
    model = Model(
        config.work,
        config.name,
        config.version,
        {
            "crop_size_px": config.crop_px,
            "finer_reach_px": STRIDE * config.depth.max_shift,
            "liveness_channels": list(LIVENESS_CHANNELS),
            "liveness_channels_used": list(config.liveness.channels or LIVENESS_CHANNELS),
        },
        points[0]["threshold"],
        tuple(points),
        quality=_quality(inputs, crops, validating, config).as_json(),
        metrics=metrics,
        training={
            "data_sha256": _data_hash(crops, config),
            "presentations": {"train": len(learning), "validation": len(validating)},
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "seed": config.seed,
            "config": config.as_json(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        licence=config.licence,
    )
    if not where.is_main:
        return model
    saved = model.save(config.out)
    if config.init is not None:
        before = Model.load(config.init)
        if before.liveness_channels == saved.liveness_channels:
            log.say_table(before_and_after(before, saved, crops, validating, config.bpcer))
    log.say(
        f"threshold {saved.threshold:.4f}: {points[0]['name']}, apcer_max {points[0]['apcer_max']:.3f} on validation"
    )
    log.say(f"wrote {config.out}")
    return saved


def _inputs_of(
    depth: DepthNetwork,
    crops: Crops,
    rows: Sequence[int],
    path: Path,
    variants: int,
    config: TrainConfig,
    where: Machine,
) -> LivenessInputs:
    """The liveness model's inputs by ``depth``, exported to ``path`` and run over the crops ``rows`` by the first
    process."""
    if where.is_main:
        export_depth(depth, path, config.crop_px)
    return cache_inputs(crops, rows, path, cache_folder(config.work, path), variants, config.seed, config.workers)


def before_and_after(
    before: Model, after: Model, crops: Crops, validating: Sequence[int], bpcer_wanted: float
) -> Table:
    """What training from ``before`` to ``after`` changed on the validation rows, both run as the detector runs them.

    The model that was started from is shown at its own threshold, which knows nothing of these subjects, and at one set
    on them, as the new model's is.
    """
    species = [crops.rows[index].species for index in validating]
    old, new = (_scores(model, crops, validating) for model in (before, after))
    genuine = np.array([kind == BONA_FIDE for kind in species])
    lines = (
        ("before, at its own threshold", old, before.threshold),
        ("before, threshold set here", old, operating_points(old, species, bpcer_wanted)[0]["threshold"]),
        ("after", new, after.threshold),
    )
    table = Table(title=f"{len(validating)} presentations of validation subjects")
    for name in ("model", "AUC", "BPCER", "worst APCER", "of"):
        table.add_column(name, justify="left" if name in ("model", "of") else "right")
    for name, scores, threshold in lines:
        bpcer, apcer = rates_at(scores, species, threshold)
        worst = max(apcer, key=lambda kind: apcer[kind])
        area = area_under_curve(scores[genuine], scores[~genuine])
        table.add_row(name, f"{area:.3f}", f"{100 * bpcer:.1f} %", f"{100 * apcer[worst]:.1f} %", worst)
    return table


def _scores(model: Model, crops: Crops, rows: Sequence[int]) -> NDArray[np.float64]:
    """Of stored crops, by the exported networks of a model folder."""
    depth, liveness = Network(model.depth_path), Network(model.liveness_path)
    logits = []
    for index in track(rows, "before and after"):
        seen = seen_through(depth, crops, index, model.crop_size, Variation())
        (logit,) = liveness.run(*(planes[None] for planes in seen))
        logits.append(float(logit.ravel()[0]))
    return np.asarray(1 / (1 + np.exp(-np.array(logits))), np.float64)


def _quality(inputs: LivenessInputs, crops: Crops, validating: Sequence[int], config: TrainConfig) -> QualityThresholds:
    """The limits, with the depth network's uncertainty at what one of ``ALLOWED_UNCERTAIN`` living faces that both
    views show exceeds; where no calibrated one is validated with, the limit of the model that training started from
    stays."""
    rows = ((index, crops.rows[index]) for index in validating)
    genuine = [
        index for index, row in rows if row.label == BONA_FIDE and row.matched_by != "search" and not row.is_registered
    ]
    if not genuine:
        return QualityThresholds.from_json({} if config.init is None else Model.load(config.init).quality)
    plane = LIVENESS_MAPS.index("disparity_sd")
    maps = inputs.read(genuine, [0] * len(genuine)).maps[:, plane].astype(np.float32)
    found = [mismatch_px(sd * DISPARITY_SD_UNIT_PX) for sd in maps]
    # A value that occurs: between the last two, a single outlier would set the limit.
    highest = round(float(np.quantile(found, 1 - 1 / ALLOWED_UNCERTAIN, method="lower")), 3)
    return replace(QualityThresholds(), disparity_sd_px=highest)


def _state(network: DepthNetwork | LivenessNetwork) -> dict[str, Tensor]:
    return {name: entry.detach().cpu() for name, entry in network.state_dict().items()}


def _parameters(network: DepthNetwork | LivenessNetwork) -> int:
    return sum(entry.numel() for entry in network.parameters())


def _data_hash(crops: Crops, config: TrainConfig) -> str:
    if config.manifest.is_file():
        hashes = [sha256(path) for path in (config.manifest, *config.also)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    if not crops.rows:
        raise InputError("there are no crops")
    return sha256(crops.folder / crops.rows[0].shard / "index.csv")
