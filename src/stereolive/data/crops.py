"""Crops for training, cut once: both views around the face as the detector cuts them, and the true disparity on the
first's grid.

A crop folder holds one shard a hundred presentations, each with arrays that are mapped into memory, never read whole::

    crops/
      crops.json                       what the crops were cut with
      shard-00000/first.npy            (N, T, T, 3) uint8 BGR
      shard-00000/second.npy           (N, T, T, 3) uint8 BGR
      shard-00000/disparity.npy        (N, T, T) float16, crop px relative to the shift, NaN where not measured
      shard-00000/surface.npy          (N, T, T) uint8, what each pixel shows, as the manifest's ``surface``
      shard-00000/index.csv            one row a crop: its geometry, and all columns of its presentation
      shard-00000/skipped.csv          presentations without a crop, and why

A shard appears whole or not at all, so that cutting can be stopped at any moment and taken up again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from stereolive.data.manifest import BONA_FIDE, Manifest, Presentation, write_rows
from stereolive.data.registered import REGISTERED, location_of, rig_of
from stereolive.errors import InputError, ManifestError
from stereolive.faces import FaceFinder, Sighting, cut
from stereolive.images import read_depth, read_image
from stereolive.quality import QualityThresholds, blinding_fault, pair_fault, view_fault
from stereolive.rig import Rig
from stereolive.types import FaceCrop

CROPS_FORMAT = "stereolive-crops/2"
SHARD = 100


@dataclass(frozen=True)
class CropRow:
    """One stored crop: where it lies, its geometry as in ``FaceCrop``, and its presentation's columns."""

    sample_id: str
    shard: str
    row: int
    scale: float
    shift_px: float
    focal_px: float
    focal_times_baseline: float
    roll_deg: float
    first_spectrum: str
    second_spectrum: str
    matched_by: str
    fault: str
    known_share: float
    label: str
    pai_species: str
    material: str
    illumination: str
    subject_id: str
    further: Mapping[str, str]

    @property
    def species(self) -> str:
        """The PAI species, or ``bona_fide``."""
        return BONA_FIDE if self.label == BONA_FIDE else self.pai_species or "unnamed"

    @property
    def is_registered(self) -> bool:
        """Whether its views lie on each other, so that they say nothing of disparity."""
        return self.matched_by == REGISTERED

    @property
    def sensors(self) -> str:
        """Both sensors' spectra, e.g. ``visible+near_infrared``."""
        return f"{self.first_spectrum}+{self.second_spectrum}"


CROP_COLUMNS = [entry.name for entry in fields(CropRow) if entry.name != "further"]


@dataclass(frozen=True)
class Cutting:
    """How crops are cut: ``crop_px`` is the side that the network sees, ``stored_px`` what is kept at the same
    scale."""

    crop_px: int = 192
    stored_px: int = 256


class Crops:
    """A crop folder, read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            described = json.loads((self.folder / "crops.json").read_text("utf-8"))
            self.cutting = Cutting(described["crop_px"], described["stored_px"])
            self.shard_names = list(described["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"crops {self.folder}: is no folder of crops") from None
        self.rows: list[CropRow] = []
        for shard in self.shard_names:
            self.rows.extend(_read_index(self.folder / shard / "index.csv"))

    def __len__(self) -> int:
        return len(self.rows)

    def skipped(self) -> Counter[str]:
        """Why presentations have no crop, and how many for each reason; those of one file each together."""
        reasons: Counter[str] = Counter()
        for shard in self.shard_names:
            with (self.folder / shard / "skipped.csv").open(encoding="utf-8", newline="") as file:
                reasons.update(_kind_of_reason(row["reason"]) for row in csv.DictReader(file))
        return reasons

    @cached_property
    def shards(self) -> dict[str, list[int]]:
        """Indices of the rows by shard."""
        members: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            members.setdefault(row.shard, []).append(index)
        return members

    def signature(self, shard: str) -> str:
        """Changes whenever a shard's crops do; empty where it has none."""
        return _read_signature(self.folder / shard) or ""

    def read(self, indices: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float16]]:
        """First and second views (B, T, T, 3) and disparity (B, T, T) of these rows."""
        arrays = [self._arrays[self.rows[index].shard] for index in indices]
        places = [self.rows[index].row for index in indices]
        first, second, disparity = (
            np.stack([shard[kind][place] for shard, place in zip(arrays, places, strict=True)]) for kind in range(3)
        )
        return first, second, disparity

    def disparity(self, index: int) -> NDArray[np.float16]:
        """True disparity (T, T) of a row in crop px, NaN where not measured."""
        row = self.rows[index]
        return np.asarray(self._arrays[row.shard][2][row.row], np.float16)

    def surface(self, index: int) -> NDArray[np.uint8]:
        """What each pixel (T, T) of a row's first view shows, as the manifest's ``surface``."""
        row = self.rows[index]
        return np.asarray(self._arrays[row.shard][3][row.row], np.uint8)

    def face_crop(self, index: int) -> FaceCrop:
        """The stored crop as the detector's value. The affine maps are unknown here and left at zero."""
        first, second, _ = self.read([index])
        row = self.rows[index]
        nowhere = np.zeros((2, 3))
        return FaceCrop(
            first[0],
            second[0],
            nowhere,
            nowhere,
            row.scale,
            row.shift_px,
            row.focal_px,
            row.focal_times_baseline,
            row.roll_deg,
            row.first_spectrum,
            row.second_spectrum,
        )

    @cached_property
    def _arrays(self) -> dict[str, tuple[NDArray[Any], ...]]:
        names = ("first", "second", "disparity", "surface")
        return {
            shard: tuple(np.load(self.folder / shard / f"{name}.npy", mmap_mode="r") for name in names)
            for shard in self.shards
        }


def cut_crops(manifest: Manifest, out: str | Path, workers: int = 1, cutting: Cutting | None = None) -> Crops:
    """Cut every presentation of the manifest in which a face is found; shards that are there already are kept.

    ``workers``: processes. A presentation that cannot be read or shows no face is skipped and listed.
    """
    cutting = cutting or Cutting()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    chunks = [manifest.presentations[start : start + SHARD] for start in range(0, len(manifest), SHARD)]
    shards = [f"shard-{number:05d}" for number in range(len(chunks))]
    missing = [
        (out / shard, chunk, cutting, _signature(chunk, cutting))
        for shard, chunk in zip(shards, chunks, strict=True)
        if _read_signature(out / shard) != _signature(chunk, cutting)
    ]
    run_each(_cut_shard, missing, workers, "cutting crops")
    described = {"format": CROPS_FORMAT, **asdict(cutting), "manifest": str(manifest.path), "shards": shards}
    part = out / "crops.json.part"
    part.write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    part.replace(out / "crops.json")
    return Crops(out)


def run_each(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], workers: int, text: str) -> None:
    """``work(*task)`` for every task, in so many processes, with a progress bar. The first error ends it."""
    if workers > 1 and len(tasks) > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            running = [pool.submit(work, *task) for task in tasks]
            for done in track(as_completed(running), text, total=len(running)):
                done.result()
    else:
        for task in track(tasks, text):
            work(*task)


def true_disparity_px(depth_mm: NDArray[np.float32], rig: Rig, crop: FaceCrop) -> NDArray[np.float32]:
    """Disparity (S, S) in crop px relative to the shift, from depth on the first image's grid; NaN where 0 or outside.

    A crop pixel's ray is followed back into the first image, its Z there becomes Z along the rectified axis.
    """
    rectification = rig.rectification
    size = crop.size
    map_x, map_y = rectification.maps("first", crop.first_crop_from_rectified, (size, size))
    inverse = np.where(depth_mm > 0, 1.0 / np.maximum(depth_mm, 1e-3), 0.0).astype(np.float32)
    known = (depth_mm > 0).astype(np.float32)
    nearest = cv2.remap(inverse, map_x, map_y, cv2.INTER_NEAREST, borderValue=(0, 0, 0, 0))
    smooth = cv2.remap(inverse, map_x, map_y, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    whole = cv2.remap(known, map_x, map_y, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0)) > 0.999
    # Between two surfaces there is nothing: where interpolation would invent a depth, the nearest pixel's holds.
    crop_px_per_inverse_mm = crop.focal_times_baseline * crop.scale
    whole &= np.abs(smooth - nearest) * crop_px_per_inverse_mm < 0.5
    chosen = np.where(whole, smooth, nearest).astype(np.float64)

    ys, xs = np.mgrid[:size, :size]
    back = cv2.invertAffineTransform(crop.first_crop_from_rectified)
    rectified = np.stack([xs.ravel(), ys.ravel()], axis=1) @ back[:, :2].T + back[:, 2]
    rays = rectification.rays(rectified)
    # The point with z = Z in the camera's frame lies where its ray, whose rectified z is 1, has been stretched by Z /
    # z_camera.
    z_camera = (rays @ rectification.rotation_first)[:, 2].reshape(size, size)
    inverse_rectified = chosen * z_camera
    disparity = (crop.focal_times_baseline * inverse_rectified - crop.shift_px) * crop.scale
    return np.where(chosen > 0, disparity, np.nan).astype(np.float32)


def _cut_shard(folder: Path, chunk: Sequence[Presentation], cutting: Cutting, signature: str) -> None:
    cv2.setNumThreads(1)
    firsts, seconds, disparities, surfaces = [], [], [], []
    rows: list[dict[str, object]] = []
    skipped: list[dict[str, object]] = []
    for entry in chunk:
        try:
            crop, disparity, surface, matched_by, fault = _cut_presentation(entry, cutting)
        except InputError as error:
            skipped.append({"sample_id": entry.sample_id, "reason": str(error)})
            continue
        rows.append(_as_row(entry, crop, disparity, matched_by, fault, folder.name, len(rows)))
        firsts.append(crop.first)
        seconds.append(crop.second)
        disparities.append(disparity.astype(np.float16))
        surfaces.append(surface)
    side = cutting.stored_px
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    np.save(aside / "first.npy", np.array(firsts, np.uint8).reshape(-1, side, side, 3))
    np.save(aside / "second.npy", np.array(seconds, np.uint8).reshape(-1, side, side, 3))
    np.save(aside / "disparity.npy", np.array(disparities, np.float16).reshape(-1, side, side))
    np.save(aside / "surface.npy", np.array(surfaces, np.uint8).reshape(-1, side, side))
    further = [name for name in dict.fromkeys(n for entry in chunk for n in entry.further) if name not in CROP_COLUMNS]
    write_rows(aside / "index.csv", rows, [*CROP_COLUMNS, *further])
    write_rows(aside / "skipped.csv", skipped, ["sample_id", "reason"])
    (aside / "signature").write_text(signature, "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _cut_presentation(
    entry: Presentation, cutting: Cutting
) -> tuple[FaceCrop, NDArray[np.float32], NDArray[np.uint8], str, str]:
    first, second = read_image(entry.first), read_image(entry.second)
    rig = rig_of(entry, first, second) if entry.rig is None else _rig(entry.rig)
    sighting = Sighting(first, second, rig, _finder().find(first), _finder().find(second))
    location = location_of(sighting) if entry.rig is None else sighting.location
    if location is None:
        raise ManifestError("no_face")
    crop = cut(first, second, rig, location, cutting.stored_px, cutting.stored_px / cutting.crop_px)
    disparity = np.full((cutting.stored_px, cutting.stored_px), np.nan, np.float32)
    if entry.depth is not None:
        depth_mm = read_depth(entry.depth)
        if depth_mm.shape != (rig.first.height, rig.first.width):
            raise ManifestError(f"depth {entry.depth}: is not of the first image's size")
        disparity = true_disparity_px(depth_mm, rig, crop)
    surface = np.zeros((cutting.stored_px, cutting.stored_px), np.uint8)
    if entry.surface is not None:
        shown = read_image(entry.surface)
        if shown.shape != (rig.first.height, rig.first.width):
            raise ManifestError(f"surface {entry.surface}: is not of the first image's size")
        maps = rig.rectification.maps("first", crop.first_crop_from_rectified, (crop.size, crop.size))
        surface = np.asarray(cv2.remap(shown, *maps, cv2.INTER_NEAREST), np.uint8)
    limits = QualityThresholds()
    faults = (
        view_fault(first, "first", limits),
        view_fault(second, "second", limits),
        pair_fault(sighting, limits) if entry.rig else None,
        blinding_fault(crop, location, limits),
    )
    return crop, disparity, surface, location.matched_by, next((fault for fault in faults if fault), "")


def _as_row(
    entry: Presentation,
    crop: FaceCrop,
    disparity: NDArray[np.float32],
    matched_by: str,
    fault: str,
    shard: str,
    row: int,
) -> dict[str, object]:
    return {
        "sample_id": entry.sample_id,
        "shard": shard,
        "row": row,
        "scale": f"{crop.scale:.9g}",
        "shift_px": f"{crop.shift_px:.9g}",
        "focal_px": f"{crop.focal_px:.9g}",
        "focal_times_baseline": f"{crop.focal_times_baseline:.9g}",
        "roll_deg": f"{crop.roll_deg:.6g}",
        "first_spectrum": crop.first_spectrum,
        "second_spectrum": crop.second_spectrum,
        "matched_by": matched_by,
        "fault": fault,
        "known_share": f"{float(np.isfinite(disparity).mean()):.4f}",
        "label": entry.label or "",
        "pai_species": entry.pai_species,
        "material": entry.material,
        "illumination": entry.illumination,
        "subject_id": entry.subject_id,
        **{name: value for name, value in entry.further.items() if name not in CROP_COLUMNS},
    }


def _read_index(path: Path) -> list[CropRow]:
    numbers = {"scale", "shift_px", "focal_px", "focal_times_baseline", "roll_deg", "known_share"}
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                own: dict[str, Any] = {
                    name: float(row[name]) if name in numbers else int(row[name]) if name == "row" else row[name]
                    for name in CROP_COLUMNS
                }
                rows.append(CropRow(**own, further={name: row[name] for name in row if name not in CROP_COLUMNS}))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"crops {path.parent}: cannot be read; delete that folder to cut them again") from None
    return rows


def _signature(chunk: Sequence[Presentation], cutting: Cutting) -> str:
    """Changes whenever the crops would: with the rows, with the files that they name, and with how they are cut."""
    rows = [
        [str(value) for value in asdict(entry).values()]
        + [_stamp(path) for path in (entry.first, entry.second, entry.depth, entry.surface, entry.rig)]
        for entry in chunk
    ]
    return hashlib.sha256(json.dumps([CROPS_FORMAT, asdict(cutting), rows]).encode()).hexdigest()


def _stamp(path: Path | None) -> str:
    """A file's size and time of change: to read all images again would take as long as cutting them."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        found = None
    return "" if found is None else f"{found.st_size}/{found.st_mtime_ns}"


def _kind_of_reason(reason: str) -> str:
    """``no_face``, or the sentence without the file that it names."""
    what, _, rest = reason.partition(": ")
    return f"{what.split()[0]} {rest}" if rest else what


def _read_signature(folder: Path) -> str | None:
    try:
        return (folder / "signature").read_text("utf-8")
    except OSError:
        return None


@lru_cache(maxsize=1)
def _finder() -> FaceFinder:
    return FaceFinder(threads=1)


@lru_cache(maxsize=256)
def _rig(path: Path) -> Rig:
    return Rig.load(path)
