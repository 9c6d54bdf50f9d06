"""Depth information of every crop as one depth network produces it: what the liveness stage trains on.

Each presentation is seen through several crops that differ as face finders' do. Kept in shards that appear whole or not
at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.crops import Crops, run_each
from stereolive.depth import depth_information, liveness_input
from stereolive.runtime import Network, planes
from stereolive.types import FaceCrop


class LivenessInputs:
    """Cached inputs: ``read(rows, variants)`` -> (B, C, G, G) float16."""

    def __init__(self, crops: Crops, folder: Path) -> None:
        self._shards = {shard: np.load(_path(crops, folder, shard), mmap_mode="r") for shard in crops.shards}
        self._places = [(row.shard, row.row) for row in crops.rows]
        _, self.variants, self.channels, self.grid, _ = next(iter(self._shards.values())).shape

    def read(self, rows: Sequence[int], variants: Sequence[int]) -> NDArray[np.float16]:
        places = [self._places[row] for row in rows]
        return np.stack(
            [self._shards[shard][row, variant] for (shard, row), variant in zip(places, variants, strict=True)]
        )


def cache_inputs(
    crops: Crops, depth_onnx: Path, folder: Path, variants: int, seed: int, workers: int
) -> LivenessInputs:
    """Run the depth network over ``variants`` crops of every row; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {shard: _path(crops, folder, shard) for shard in crops.shards}
    tasks = [
        (crops.folder, depth_onnx, path, shard, variants, seed) for shard, path in paths.items() if not path.exists()
    ]
    run_each(_cache_shard, tasks, workers, "depth information")
    return LivenessInputs(crops, folder)


def seen_through(depth: Network, crop: FaceCrop) -> NDArray[np.float32]:
    """The liveness model's input (C, G, G) for a crop, by an exported depth network."""
    disparity, sd = depth.run(planes(crop.first), planes(crop.second))
    return liveness_input(depth_information(crop, disparity[0, 0], sd[0, 0]))


def variant_crop(stored: FaceCrop, crop_px: int, variant: int, random: np.random.Generator) -> FaceCrop:
    """A crop of the network's size out of a larger stored one. Variant 0 is the detector's own, others are moved a
    little.

    Moving the second crop by ``o`` stored pixels against the first changes the shift by ``-o / scale``; zooming by
    ``s`` the scale by ``s``.
    """
    zoom, move, offset = 1.0, np.zeros(2), 0.0
    if variant:
        zoom = float(np.exp(random.normal(0, 0.05)))
        move = random.normal(0, 0.025 * crop_px, 2)
        offset = float(random.normal(0, 0.015 * crop_px))
    middle, stored_middle = (crop_px - 1) / 2, (stored.size - 1) / 2

    def resampled(view: NDArray[np.uint8], x: float, y: float) -> NDArray[np.uint8]:
        if not variant:
            start = (stored.size - crop_px) // 2
            return np.ascontiguousarray(view[start : start + crop_px, start : start + crop_px])
        stored_from_crop = np.array(
            [[1 / zoom, 0, stored_middle + x - middle / zoom], [0, 1 / zoom, stored_middle + y - middle / zoom]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(view, stored_from_crop, (crop_px, crop_px), flags=flags), np.uint8)

    nowhere = np.zeros((2, 3))
    return FaceCrop(
        resampled(stored.first, move[0], move[1]),
        resampled(stored.second, move[0] + offset, move[1]),
        nowhere,
        nowhere,
        stored.scale * zoom,
        stored.shift_px - offset / stored.scale,
        stored.focal_px,
        stored.focal_times_baseline,
        stored.roll_deg,
        stored.first_spectrum,
        stored.second_spectrum,
    )


def _path(crops: Crops, folder: Path, shard: str) -> Path:
    """Named by the shard's content, so that crops cut anew are run anew."""
    return folder / f"{shard}-{crops.signature(shard)[:16]}.npy"


def _cache_shard(crop_folder: Path, depth_onnx: Path, path: Path, shard: str, variants: int, seed: int) -> None:
    cv2.setNumThreads(1)
    crops, network = _opened(crop_folder, depth_onnx, path.parent)
    size = crops.cutting.crop_px
    results = []
    indices = crops.shards[shard]
    for index in indices:
        random = np.random.default_rng((seed, index))
        stored = crops.face_crop(index)
        made = [variant_crop(stored, size, variant, random) for variant in range(variants)]
        results += [seen_through(network, crop).astype(np.float16) for crop in made]
    part = path.with_name(f".{path.name}-{os.getpid()}")
    with part.open("wb") as file:
        np.save(file, np.stack(results).reshape(len(indices), variants, *results[0].shape))
    part.replace(path)


@lru_cache(maxsize=1)
def _opened(crop_folder: Path, depth_onnx: Path, folder: Path) -> tuple[Crops, Network]:
    """``folder`` stands for the network's content, which may change behind the same path."""
    return Crops(crop_folder), Network(depth_onnx, threads=1)
