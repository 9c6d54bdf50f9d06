"""Frames out of HDF5 files, with errors that name the file and the stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stereolive.errors import ManifestError, MissingExtraError
from stereolive.images import MAX_PIXELS, check_image, write_depth, write_png
from stereolive.types import ImageArray

SUFFIXES = (".h5", ".hdf5")


def hdf5_files(folder: Path) -> list[Path]:
    """All HDF5 files below a folder, sorted. Raises ManifestError where there is none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise ManifestError(f"source {folder}: there is no HDF5 file ({' or '.join(SUFFIXES)}) in it")
    return files


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The open file (``h5py.File``). Raises ManifestError, also for what goes wrong while it is read;
    MissingExtraError without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("Reading HDF5", "datasets") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read as HDF5 ({str(error)[:80]})") from None


def stream(file: Any, name: str) -> Any:
    """The data set ``name``, (N, C, H, W), (N, H, W, C) or (N, H, W). Raises ManifestError."""
    import h5py

    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise ManifestError(f"{file.filename}: has no stream {name}")
    if data.ndim not in (3, 4) or data.shape[0] < 1:
        raise ManifestError(f"{file.filename}, {name}: expected (N, C, H, W) with N > 0, got {data.shape}")
    return data


def frame(data: Any, index: int, order: Literal["BGR", "RGB"] = "BGR") -> ImageArray:
    """Frame ``index`` of a stream as (H, W) or BGR (H, W, 3), uint8 or uint16; ``order`` is how the stream holds
    colour.
    """
    if int(np.prod(data.shape[1:])) > 3 * MAX_PIXELS:
        raise ManifestError(f"{data.file.filename}, {data.name}: frames of {data.shape[1:]} are too large")
    return as_image(data[index], f"{data.file.filename}, {data.name}", order)


def as_image(array: Any, name: str, order: Literal["BGR", "RGB"] = "BGR") -> ImageArray:
    """(C, H, W), (H, W, C) or (H, W) as (H, W) or BGR (H, W, 3). Raises ImageError naming ``name``."""
    image = np.asarray(array)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, 2)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and order == "RGB":
        image = image[:, :, ::-1]
    return check_image(np.ascontiguousarray(image), name)


def write_registered(
    out: Path, sample_id: str, images: Mapping[str, ImageArray], depth_counts: ImageArray, depth_unit_mm: float | None
) -> dict[str, str]:
    """Write a registered set's images and depth as PNG; the manifest columns that name them.

    ``images`` maps ``first`` and ``second`` to images on one grid, which is also the depth's. 16-bit counts become
    ``depth`` in 0.1 mm and need their unit; 8-bit ones have none and become ``depth_relative``. Raises ManifestError
    where the grids differ or the unit is missing.
    """
    if any(image.shape[:2] != depth_counts.shape for image in images.values()):
        sizes = {name: image.shape for name, image in images.items()}
        raise ManifestError(
            f"{sample_id}: depth is {depth_counts.shape}, the images are {sizes}: they are not registered"
        )
    if depth_counts.dtype == np.uint16 and depth_unit_mm is None:
        raise ManifestError(
            f"{sample_id}: its depth is 16 bit (up to {depth_counts.max()}), and the file does not say in which unit; "
            "give --depth-unit-mm (1 for millimetres, 0.125 for a RealSense SR300's counts)"
        )
    columns = {}
    for name, image in images.items():
        write_png(_below(out, name, sample_id), image)
        columns[name] = f"{name}/{sample_id}.png"
    if depth_counts.dtype == np.uint16:
        write_depth(_below(out, "depth", sample_id), depth_counts.astype(np.float32) * np.float32(depth_unit_mm))
        columns["depth"] = f"depth/{sample_id}.png"
    else:
        write_png(_below(out, "depth_relative", sample_id), depth_counts)
        columns["depth_relative"] = f"depth_relative/{sample_id}.png"
    return columns


def _below(out: Path, kind: str, sample_id: str) -> Path:
    path = out / kind / f"{sample_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
