"""HQ-WMCA: colour, near-infrared stereo and a depth sensor, calibrated: the real set that fits this method best.

HDF5 files ``SITE_SESSION_CLIENT_PRESENTER_TYPE_SUBTYPE_PAI[-HASH].h5`` hold one data set a stream, (N, C, H, W):
``BASLER_BGR``, ``BASLER_LEFT_NIR_850nm``, ``BASLER_RIGHT_NIR_850nm`` and further wavelengths, ``REALSENSE_D415_DEPTH``
in millimetres, 0 = none. Streams of one file are paired at the same share of their length. The calibration is a JSON
of Idiap's tools, in centimetres.

**Label: TYPE 00 is bona fide, 01 to 10 are attacks** (``SPECIES`` below). The session, recorded under lights of its
own, becomes the illumination ``session_NN``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive import checks
from stereolive.data.adapters.adaptation import Adaptation, Row, finish, relative, source_folder, spread, tracked
from stereolive.data.adapters.depth_transfer import move_depth
from stereolive.data.adapters.hdf5 import frame, hdf5_files, open_hdf5, stream
from stereolive.errors import InputError, ManifestError, RigError
from stereolive.images import write_depth, write_png
from stereolive.rig import MAX_RIG_BYTES, Camera, Rig, Spectrum

FloatArray = NDArray[np.float64]
MM_PER_CM = 10.0
DEPTH_STREAM = "REALSENSE_D415_DEPTH"
DEPTH_CAMERA = "intel_depth"
DEFAULT_PAIR = "color+nir_left_850nm"

# TYPE of the file name: PAI species and material.
SPECIES = {
    "01": ("funny_glasses", ""),
    "02": ("mannequin_head", ""),
    "03": ("print_flat", "paper"),
    "04": ("replay", "screen"),
    "05": ("mask_rigid", ""),
    "06": ("mask_silicone", "silicone"),
    "07": ("mask_paper", "paper"),
    "08": ("wig", ""),
    "09": ("tattoo", ""),
    "10": ("makeup", ""),
}
FILE_NAME = re.compile(
    r"(?P<site>\d+)_(?P<session>\d+)_(?P<client>\d+)_(?P<presenter>\d+)_(?P<type>\d\d)_(?P<subtype>\d\d)_(?P<pai>\d+)(?:-\w+)?"
)


@dataclass(frozen=True)
class Stream:
    """A sensor of the set under one light, named as in ``--pair``: ``color``, ``nir_left_850nm``, ``nir_right_dark``,
    ...
    """

    name: str
    camera: str  # in the calibration
    data_set: str  # in the HDF5 file
    spectrum: Spectrum

    @classmethod
    def named(cls, name: str) -> Stream:
        """Raises ManifestError where the set has no such stream."""
        if name == "color":
            return cls(name, "color", "BASLER_BGR", "visible")
        match = re.fullmatch(r"nir_(left|right)_(735nm|850nm|940nm|1050nm|dark|stereo)", name)
        if not match:
            raise ManifestError(
                f"pair: expected color or nir_left_850nm (left, right; 735 to 1050nm, dark), got {name!r}"
            )
        side, light = match.groups()
        light = "Dark" if light == "dark" else light
        return cls(name, f"nir_{side}", f"BASLER_{side.upper()}_NIR_{light}", "near_infrared")


def adapt(
    source: str | Path, out: str | Path, calibration: str | Path, pair: str = DEFAULT_PAIR, frames: int = 1
) -> Adaptation:
    """Write images, the third sensor's depth on the first image's grid, a rig file and ``out/manifest.csv``.

    ``pair`` names two streams of two cameras, such as ``color+nir_left_850nm``, ``nir_left_850nm+nir_right_850nm`` or
    two wavelengths, ``nir_left_850nm+nir_right_940nm``. Files that were written before are kept, so that a stopped run
    goes on where it was.

    Raises ManifestError, RigError, MissingExtraError; a file that cannot be used is left out and listed.
    """
    out = Path(out)
    first, second = _pair(pair)
    cameras = read_calibration(calibration)
    for name in (first.camera, second.camera, DEPTH_CAMERA):
        _camera(cameras, name)
    rows: list[Row] = []
    skipped: list[str] = []
    files = hdf5_files(source_folder(source))
    rig_path = out / "rigs" / f"{first.name}-{second.name}.json"
    rig: Rig | None = None
    for path in tracked(files, "HQ-WMCA"):
        try:
            named = _named(path)
            with open_hdf5(path) as file:
                streams = [stream(file, entry.data_set) for entry in (first, second)]
                sizes = [(int(data.shape[3]), int(data.shape[2])) for data in streams if data.ndim == 4]
                if len(sizes) != 2:
                    raise ManifestError(f"{path}: expected streams of (N, C, H, W)")
                if rig is None:
                    rig = rig_between(
                        cameras, first.camera, second.camera, (sizes[0], sizes[1]), (first.spectrum, second.spectrum)
                    )
                    _save_rig(rig, rig_path)
                if [rig.first.size, rig.second.size] != sizes:
                    raise ManifestError(
                        f"{path}: has images of {sizes}, the files before {[rig.first.size, rig.second.size]}"
                    )
                depth_data = stream(file, DEPTH_STREAM)
                for index in spread(len(streams[0]), frames):
                    sample_id = path.stem if frames == 1 else f"{path.stem}-f{index}"
                    share = (index + 0.5) / len(streams[0])
                    paths = []
                    for entry, data in zip((first, second), streams, strict=True):
                        paths.append(_below(out, "images", entry.name, sample_id))
                        if not paths[-1].exists():
                            write_png(paths[-1], frame(data, int(share * len(data))))
                    depth_path = _below(out, "depth", first.camera, sample_id)
                    if not depth_path.exists():
                        depth_mm = frame(depth_data, int(share * len(depth_data))).astype(np.float32)
                        size = (depth_mm.shape[1], depth_mm.shape[0])
                        sensor = cameras[DEPTH_CAMERA].camera("near_infrared", size)
                        transform = transform_between(cameras[DEPTH_CAMERA], cameras[first.camera])
                        write_depth(depth_path, move_depth(depth_mm, sensor, rig.first, *transform))
                    rows.append(
                        {
                            "sample_id": sample_id,
                            "first": relative(paths[0], out),
                            "second": relative(paths[1], out),
                            "rig": relative(rig_path, out),
                            "depth": relative(depth_path, out),
                            **named,
                        }
                    )
        except RigError:
            raise
        except InputError as error:
            skipped.append(str(error))
    return finish(out, rows, skipped)


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """One camera of a calibration file: OpenCV's pinhole model, and where it stands relative to the file's reference
    camera.

    ``X_camera = rotation_camera_from_reference X_reference + translation_camera_from_reference_mm``. The file does not
    say which way its ``relative_rotation`` and ``relative_translation`` lead; this one lays the two near-infrared
    views of a real capture row on row and puts the depth sensor's points onto their stereo depth, the other way does
    neither.
    """

    name: str
    reference: str
    matrix: FloatArray  # (3, 3) in pixels
    distortion: FloatArray  # (5,)
    rotation_camera_from_reference: FloatArray  # (3, 3)
    translation_camera_from_reference_mm: FloatArray  # (3,)

    def camera(self, spectrum: Spectrum, size: tuple[int, int]) -> Camera:
        """The camera alone; ``size`` is (width, height) in pixels, which the file does not carry."""
        return Camera(spectrum, size[0], size[1], self.matrix, self.distortion)


def read_calibration(path: str | Path) -> dict[str, CalibratedCamera]:
    """The cameras of a calibration JSON as Idiap's tools write it, translations brought from centimetres to
    millimetres.

    Raises RigError naming the file, the camera and the key.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_RIG_BYTES:
            raise RigError("is larger than any calibration file")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict) or not data:
            raise RigError("expected a JSON object with one object a camera")
        calibration = {name: _calibrated_camera(name, camera) for name, camera in data.items()}
        for camera in calibration.values():
            if camera.reference not in calibration:
                raise RigError(f"{camera.name}.reference: there is no camera {camera.reference!r}")
        return calibration
    except OSError as error:
        raise RigError(f"calibration {path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RigError(f"calibration {path}: is not JSON ({str(error)[:80]})") from None
    except RigError as error:
        raise RigError(f"calibration {path}: {error}") from None


def rig_between(
    calibration: dict[str, CalibratedCamera],
    first: str,
    second: str,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    spectra: tuple[Spectrum, Spectrum],
) -> Rig:
    """The rig of two cameras of one calibration; ``sizes`` are (width, height) in pixels, first camera's first.

    Raises RigError where a camera is missing, the references differ, or the two make no stereo pair.
    """
    cameras = _camera(calibration, first), _camera(calibration, second)
    rotation, translation_mm = transform_between(*cameras)
    return Rig(
        cameras[0].camera(spectra[0], sizes[0]),
        cameras[1].camera(spectra[1], sizes[1]),
        rotation,
        translation_mm,
    )


def transform_between(source: CalibratedCamera, target: CalibratedCamera) -> tuple[FloatArray, FloatArray]:
    """Rotation (3, 3) and translation (3,) in mm with ``X_target = R X_source + t``."""
    if source.reference != target.reference:
        raise RigError(
            f"{source.name} and {target.name} stand relative to different cameras "
            f"({source.reference}, {target.reference})"
        )
    rotation = target.rotation_camera_from_reference @ source.rotation_camera_from_reference.T
    source_mm, target_mm = source.translation_camera_from_reference_mm, target.translation_camera_from_reference_mm
    return rotation, target_mm - rotation @ source_mm


def _calibrated_camera(name: str, data: object) -> CalibratedCamera:
    if not isinstance(data, dict):
        raise RigError(f"{name}: expected an object")

    def numbers(key: str, shape: tuple[int, ...]) -> Any:
        if key not in data:
            raise RigError(f"{name}.{key}: is missing")
        try:
            value = np.array(data[key], np.float64)
        except (TypeError, ValueError):
            raise RigError(f"{name}.{key}: expected numbers") from None
        # The file nests vectors as (1, N) or (N, 1).
        return value.reshape(shape) if value.size == np.prod(shape) else value

    reference = data.get("reference")
    if not isinstance(reference, str):
        raise RigError(f"{name}.reference: is missing")
    translation_cm = checks.array_of_shape(
        numbers("relative_translation", (3,)), (3,), f"{name}.relative_translation", RigError
    )
    return CalibratedCamera(
        name=name,
        reference=reference,
        matrix=checks.camera_matrix(numbers("camera_matrix", (3, 3)), f"{name}.camera_matrix", RigError),
        distortion=checks.array_of_shape(numbers("distortion_coefs", (5,)), (5,), f"{name}.distortion_coefs", RigError),
        rotation_camera_from_reference=checks.rotation(
            numbers("relative_rotation", (3, 3)), f"{name}.relative_rotation", RigError
        ),
        translation_camera_from_reference_mm=translation_cm * MM_PER_CM,
    )


def _pair(pair: str) -> tuple[Stream, Stream]:
    names = pair.split("+")
    if len(names) != 2:
        raise ManifestError(f"pair: expected two streams joined by +, such as {DEFAULT_PAIR}, got {pair!r}")
    first, second = (Stream.named(name.strip()) for name in names)
    if first.camera == second.camera:
        raise ManifestError(
            f"pair: {first.name} and {second.name} come from one camera, and depth needs two; "
            "take two wavelengths from the left and the right"
        )
    return first, second


def _named(path: Path) -> dict[str, str]:
    """The manifest columns that a file's name tells."""
    match = FILE_NAME.fullmatch(path.stem)
    if not match:
        raise ManifestError(f"{path}: its name, not SITE_SESSION_CLIENT_PRESENTER_TYPE_SUBTYPE_PAI, tells no label")
    kind = match["type"]
    if kind != "00" and kind not in SPECIES:
        raise ManifestError(f"{path}: type {kind} is not known; 00 is bona fide, 01 to 10 are attacks")
    species, material = ("", "") if kind == "00" else SPECIES[kind]
    return {
        "label": "bona_fide" if kind == "00" else "attack",
        "pai_species": species,
        "material": material,
        "illumination": f"session_{match['session']}",
        "subject_id": match["client"],
        "presenter_id": match["presenter"],
        "instrument_id": "" if kind == "00" else f"{kind}_{match['subtype']}_{match['pai']}",
        "presentation_id": path.stem,
    }


def _save_rig(rig: Rig, path: Path) -> None:
    """Depth that was moved by another calibration must not be mixed with this one's."""
    # Not bit by bit: reading a file makes its rotation orthonormal again.
    if path.exists() and not np.allclose(_numbers(Rig.load(path)), _numbers(rig), rtol=1e-9, atol=1e-9):
        raise RigError(f"rig {path}: is of another calibration; write into another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    rig.save(path)


def _numbers(rig: Rig) -> FloatArray:
    parts = [rig.rotation_second_from_first, rig.translation_second_from_first_mm]
    for camera in (rig.first, rig.second):
        parts += [camera.matrix, camera.distortion, np.array(camera.size, np.float64)]
    return np.concatenate([part.ravel() for part in parts])


def _camera(calibration: dict[str, CalibratedCamera], name: str) -> CalibratedCamera:
    if name not in calibration:
        raise RigError(f"calibration: there is no camera {name!r}, only {', '.join(sorted(calibration))}")
    return calibration[name]


def _below(out: Path, *names: str) -> Path:
    path = out.joinpath(*names[:-1], names[-1] + ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
