"""A whole training run, read from top to bottom: what is learned from, then the stages, then the model folder."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from stereolive.data.crops import Crops, Cutting, cut_crops
from stereolive.data.manifest import Manifest
from stereolive.depth import LIVENESS_CHANNELS
from stereolive.errors import InputError
from stereolive.nets.depth import DepthNetwork
from stereolive.nets.liveness import LivenessNetwork
from stereolive.store import DEPTH_FILE, LIVENESS_FILE, Model, sha256
from stereolive.train.cache import cache_inputs
from stereolive.train.config import TrainConfig
from stereolive.train.depth_stage import depth_errors, train_depth
from stereolive.train.export import export_depth, export_liveness
from stereolive.train.joint_stage import train_jointly
from stereolive.train.liveness_stage import logits_of, temperature, train_liveness
from stereolive.train.loop import Log, Machine, machine
from stereolive.train.split import check_coverage, coverage_table, split
from stereolive.train.threshold import area_under_curve, operating_points


def train(config: TrainConfig) -> Model:
    """Train a model on a manifest and write its folder. Raises InputError where the data or the configuration do not
    do.

    Stopped or killed, the same call goes on where the last checkpoint was.
    """
    where = machine(config.device, config.threads)
    manifest = Manifest.read(config.manifest)
    config.work.mkdir(parents=True, exist_ok=True)
    log = Log(config.work / "metrics.jsonl", where)
    cutting = Cutting(config.crop_px, config.stored_px)
    crops = cut_crops(manifest, config.work / "crops", config.workers, cutting)
    return train_on_crops(crops, config, where, log)


def train_on_crops(crops: Crops, config: TrainConfig, where: Machine, log: Log) -> Model:
    """The stages, on crops already cut."""
    log.say_table(coverage_table(crops.rows))
    check_coverage(crops.rows)
    sides = split(crops.rows, config.validation_share, config.seed)
    # Where the detector gives no answer, there is nothing to be learned or judged.
    learning, validating = (
        [index for index in sides[side] if not crops.rows[index].fault] for side in ("train", "validation")
    )
    log.say(f"{len(learning)} presentations to train on, {len(validating)} of other subjects to validate with")

    depth = train_depth(crops, learning, validating, config, where, log)
    depth_path = config.work / DEPTH_FILE
    export_depth(depth, depth_path, config.crop_px)

    inputs = cache_inputs(
        crops, depth_path, _cache_folder(config, depth_path), config.liveness.variants, config.seed, config.workers
    )
    liveness = train_liveness(crops.rows, inputs, learning, validating, config, where, log)

    if config.joint.steps:
        depth, liveness = train_jointly(crops, learning, depth, liveness, config, where, log)
        export_depth(depth, depth_path, config.crop_px)
        inputs = cache_inputs(crops, depth_path, _cache_folder(config, depth_path), 1, config.seed, config.workers)
        liveness.to(where.device).temperature.fill_(1.0)
        labels = np.array([crops.rows[index].label == "bona_fide" for index in validating])
        liveness.temperature.fill_(temperature(logits_of(liveness, inputs, validating, where), labels))
    export_liveness(liveness, config.work / LIVENESS_FILE, inputs.grid)

    logits = logits_of(liveness.to(where.device), inputs, validating, where)
    scores = 1 / (1 + np.exp(-logits))
    species = [crops.rows[index].species for index in validating]
    points = operating_points(scores, species, config.bpcer)
    metrics: dict[str, Any] = {
        "validation_presentations": dict(Counter(species)),
        "validation_auc": area_under_curve(
            scores[[kind == "bona_fide" for kind in species]], scores[[kind != "bona_fide" for kind in species]]
        ),
        "depth": depth_errors(depth.to(where.device), crops, validating, config.crop_px, where),
        "parameters": {"depth": _parameters(depth), "liveness": _parameters(liveness)},
    }
    model = Model(
        config.work,
        config.name,
        config.version,
        {
            "crop_size_px": config.crop_px,
            "liveness_channels": list(LIVENESS_CHANNELS),
            "liveness_channels_used": list(config.liveness.channels or LIVENESS_CHANNELS),
        },
        points[0]["threshold"],
        tuple(points),
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
    log.say(
        f"threshold {saved.threshold:.4f}: {points[0]['name']}, apcer_max {points[0]['apcer_max']:.3f} on validation"
    )
    log.say(f"wrote {config.out}")
    return saved


def _cache_folder(config: TrainConfig, depth_path: Path) -> Path:
    """Named by the depth network's content: another network's depth information is never trained on."""
    return config.work / "cache" / sha256(depth_path)[:16]


def _parameters(network: DepthNetwork | LivenessNetwork) -> int:
    return sum(entry.numel() for entry in network.parameters())


def _data_hash(crops: Crops, config: TrainConfig) -> str:
    if config.manifest.is_file():
        return sha256(config.manifest)
    if not crops.rows:
        raise InputError("there are no crops")
    return sha256(crops.folder / crops.rows[0].shard / "index.csv")
