"""Depth information of every crop as one depth network produces it, and what the crop shows: what the liveness stage
trains on.

Each presentation is seen through several crops that differ as face finders' and as skins do. Kept in shards that appear
whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.crops import Crops, run_each
from stereolive.data.manifest import INSTRUMENT_SURFACE, LIVING_SURFACE
from stereolive.data.registered import measured_information
from stereolive.depth import LIVENESS_MAPS, Number, depth_information, face_ellipse, liveness_input, upright
from stereolive.runtime import Network, planes
from stereolive.store import sha256
from stereolive.types import FaceCrop

VIEW_UNIT = 2 / 255
"""Brightness of a view for each step of the 8 bits that it is kept in."""
SPOTTED_SHARE, SPOTS = 0.35, 0.15
"""How many views of a drawn variation have spots, and up to which contrast."""
BURNT_SHARE, BURNT, MOST_GAIN = 0.15, (0.05, 0.5), 6.0
"""How many are exposed so long that much of the face is white, how much of it, and by which gain at most."""


class Items(NamedTuple):
    """Of B presentations: ``maps`` (B, M, G, G) and ``views`` (B, V, S, S) as ``depth.liveness_input``, the views in
    units of ``VIEW_UNIT``; ``shares`` (B, 2, G, G) of attack instrument and of living skin, both 0 where what is shown
    is not known."""

    maps: NDArray[np.float16]
    views: NDArray[np.uint8]
    shares: NDArray[np.float16]


class LivenessInputs:
    """Cached inputs of the rows in ``shards``, by default of all; variant 0 is the detector's own crop."""

    def __init__(self, crops: Crops, folder: Path, shards: Collection[str] | None = None) -> None:
        shards = crops.shards if shards is None else shards
        self._maps, self._views = (
            {shard: np.load(_path(crops, folder, shard, what), mmap_mode="r") for shard in shards}
            for what in ("maps", "views")
        )
        self._places = [(row.shard, row.row) for row in crops.rows]
        _, self.variants, _, self.grid, _ = next(iter(self._maps.values())).shape

    def read(self, rows: Sequence[int], variants: Sequence[int]) -> Items:
        places = [(*self._places[row], variant) for row, variant in zip(rows, variants, strict=True)]
        maps = np.stack([self._maps[shard][row, variant] for shard, row, variant in places])
        views = np.stack([self._views[shard][row, variant] for shard, row, variant in places])
        return Items(maps[:, : len(LIVENESS_MAPS)], views, maps[:, len(LIVENESS_MAPS) :])


def cache_folder(work: Path, depth_onnx: Path) -> Path:
    """Named by the network's content: another network's depth information is never trained on."""
    return work / "cache" / sha256(depth_onnx)[:16]


def cache_inputs(
    crops: Crops, rows: Iterable[int], depth_onnx: Path, folder: Path, variants: int, seed: int, workers: int
) -> LivenessInputs:
    """Run the depth network over ``variants`` crops of each of ``rows`` and of what lies in their shards; what is there
    already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = sorted({crops.rows[index].shard for index in rows})
    tasks = [
        (crops.folder, depth_onnx, folder, shard, variants, seed)
        for shard in shards
        if not _path(crops, folder, shard, "maps").exists()
    ]
    run_each(_cache_shard, tasks, workers, "depth information")
    return LivenessInputs(crops, folder, shards)


@dataclass(frozen=True)
class Variation:
    """How a crop of the network's size lies in the larger stored one; the default is the detector's own."""

    zoom: float = 1.0
    move_px: tuple[float, float] = (0.0, 0.0)
    offset_px: float = 0.0  # of the second view against the first
    spots: tuple[float, float] = (0.0, 0.0)  # contrast of those that the first sensor alone sees, and the second
    spot_px: float = 4.0
    spots_seed: int = 0
    burnt: tuple[float, float] = (0.0, 0.0)  # how much of the face is white in the first view, and in the second

    @classmethod
    def drawn(cls, crop_px: int, random: np.random.Generator) -> Variation:
        """As face finders differ, as skin does in what one sensor alone sees of it, and as exposure does that follows
        another place than the face: this changes both the views and what the depth network makes of them."""
        zoom = float(np.exp(random.normal(0, 0.05)))
        x, y = random.normal(0, 0.025 * crop_px, 2)
        offset_px = float(random.normal(0, 0.015 * crop_px))
        first, second = (random.random(2) < SPOTTED_SHARE) * random.uniform(0, SPOTS, 2)
        spot_px = float(np.exp(random.uniform(np.log(2), np.log(8))))
        seed = int(random.integers(2**31))
        white = (random.random(2) < BURNT_SHARE) * random.uniform(*BURNT, 2)
        spots, burnt = (float(first), float(second)), (float(white[0]), float(white[1]))
        return cls(zoom, (float(x), float(y)), offset_px, spots, spot_px, seed, burnt)

    def window(
        self, stored: NDArray[Number], crop_px: int, offset_px: float = 0.0, how: int = cv2.INTER_LINEAR
    ) -> NDArray[Number]:
        """The crop (S, S, ...) of a stored image (T, T, ...), interpolated as OpenCV's flag ``how`` says."""
        size = stored.shape[0]
        if self == Variation():
            start = (size - crop_px) // 2
            return np.ascontiguousarray(stored[start : start + crop_px, start : start + crop_px])
        middle, stored_middle = (crop_px - 1) / 2, (size - 1) / 2
        x, y = self.move_px
        stored_from_crop = np.array(
            [
                [1 / self.zoom, 0, stored_middle + x + offset_px - middle / self.zoom],
                [0, 1 / self.zoom, stored_middle + y - middle / self.zoom],
            ]
        )
        flags = how | cv2.WARP_INVERSE_MAP
        return cast("NDArray[Number]", cv2.warpAffine(stored, stored_from_crop, (crop_px, crop_px), flags=flags))

    def crop(self, stored: FaceCrop, crop_px: int) -> FaceCrop:
        """Moving the second crop by ``o`` stored pixels against the first changes the shift by ``-o / scale``; zooming
        by ``s`` the scale by ``s``."""
        nowhere = np.zeros((2, 3))
        return FaceCrop(
            self._shown(self.window(stored.first, crop_px), 0),
            self._shown(self.window(stored.second, crop_px, self.offset_px), 1),
            nowhere,
            nowhere,
            stored.scale * self.zoom,
            stored.shift_px - self.offset_px / stored.scale,
            stored.focal_px,
            stored.focal_times_baseline,
            stored.roll_deg,
            stored.first_spectrum,
            stored.second_spectrum,
        )

    def _shown(self, view: NDArray[np.uint8], which: int) -> NDArray[np.uint8]:
        """A view (S, S, 3) with the spots and the exposure of the first or the second sensor."""
        spots, burnt = self.spots[which], self.burnt[which]
        if not spots and not burnt:
            return view
        side = view.shape[0]
        shown = view.astype(np.float32)
        if spots:
            cells = max(2, round(side / self.spot_px))
            coarse = np.random.default_rng((self.spots_seed, which)).standard_normal((cells, cells), np.float32)
            fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
            shown *= np.exp(fine * (spots / float(fine.std())))[..., None]
        if burnt:
            level = float(np.quantile(shown[face_ellipse(side)].mean(axis=1), 1 - burnt))
            shown *= min(max(255 / max(level, 1.0), 1.0), MOST_GAIN)
        return np.asarray(np.clip(np.rint(shown), 0, 255), np.uint8)


def seen_through(
    depth: Network, crops: Crops, index: int, crop_px: int, variation: Variation
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The liveness model's input for a row's crop, as ``depth.liveness_input``: by an exported depth network, or by the
    depth that came with views which lie on each other."""
    stored = crops.face_crop(index)
    if crops.rows[index].is_registered:
        variation = replace(variation, offset_px=0.0)
        disparity = variation.window(crops.disparity(index).astype(np.float32), crop_px, how=cv2.INTER_NEAREST)
        return liveness_input(measured_information(variation.crop(stored, crop_px), disparity * variation.zoom))
    crop = variation.crop(stored, crop_px)
    disparity, sd = (output[0, 0] for output in depth.run(planes(crop.first), planes(crop.second)))
    return liveness_input(depth_information(crop, disparity, sd))


def _path(crops: Crops, folder: Path, shard: str, what: str) -> Path:
    """Named by the shard's content, so that crops cut anew are run anew. The maps appear last."""
    return folder / f"{shard}-{crops.signature(shard)[:16]}-{what}.npy"


def _cache_shard(crop_folder: Path, depth_onnx: Path, folder: Path, shard: str, variants: int, seed: int) -> None:
    cv2.setNumThreads(1)
    crops, network = _opened(crop_folder, depth_onnx, folder)
    size = crops.cutting.crop_px
    kept_maps, kept_views = [], []
    indices = crops.shards[shard]
    for index in indices:
        random = np.random.default_rng((seed, index))
        surface, roll_deg = crops.surface(index), crops.rows[index].roll_deg
        for variation in [Variation(), *(Variation.drawn(size, random) for _ in range(variants - 1))]:
            maps, views = seen_through(network, crops, index, size, variation)
            shown = variation.window(surface, size, how=cv2.INTER_NEAREST)
            shares = [
                cv2.resize((shown == value).astype(np.float32), maps.shape[1:], interpolation=cv2.INTER_AREA)
                for value in (INSTRUMENT_SURFACE, LIVING_SURFACE)
            ]
            turned = upright(np.stack(shares, axis=2), roll_deg).transpose(2, 0, 1)
            kept_maps.append(np.concatenate([maps, turned]).astype(np.float16))
            kept_views.append(np.rint(views / VIEW_UNIT).astype(np.uint8))
    for what, kept in (("views", kept_views), ("maps", kept_maps)):
        path = _path(crops, folder, shard, what)
        part = path.with_name(f".{path.name}-{os.getpid()}")
        with part.open("wb") as file:
            np.save(file, np.stack(kept).reshape(len(indices), variants, *kept[0].shape))
        part.replace(path)


@lru_cache(maxsize=1)
def _opened(crop_folder: Path, depth_onnx: Path, folder: Path) -> tuple[Crops, Network]:
    """``folder`` stands for the network's content, which may change behind the same path."""
    return Crops(crop_folder), Network(depth_onnx, threads=1)
