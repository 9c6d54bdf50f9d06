"""Bad input ends as the contract says: a clear line and status 2, or no response and status 3, and never bona fide.

Every case is put to the command line and to the library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from stereolive.cli import main
from stereolive.detector import LivenessDetector
from stereolive.errors import StereoliveError
from stereolive.images import read_image
from stereolive.rig import Rig


@dataclass(frozen=True)
class Files:
    """The pair that a case spoils."""

    folder: Path

    @property
    def first(self) -> Path:
        return next(path for path in self.folder.iterdir() if path.stem == "first")

    @property
    def second(self) -> Path:
        return next(path for path in self.folder.iterdir() if path.stem == "second")

    @property
    def rig(self) -> Path:
        return self.folder / "rig.json"

    def replace(self, view: str, image: np.ndarray) -> None:
        """Another picture for one view, without loss."""
        old = self.first if view == "first" else self.second
        old.unlink()
        cv2.imwrite(str(self.folder / f"{view}.png"), image)

    def change_rig(self, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
        data = json.loads(self.rig.read_text())
        change(data)
        self.rig.write_text(json.dumps(data))


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def huge_png() -> bytes:
    """A few bytes that ask for ten thousand million pixels."""
    small = cv2.imencode(".png", np.zeros((16, 16), np.uint8))[1].tobytes()
    return small[:16] + (100_000).to_bytes(4, "big") * 2 + small[24:]


UNREADABLE: dict[str, tuple[Callable[[Files], object], str]] = {
    # The image is not there.
    "missing image": (lambda f: f.first.unlink(), "does not exist"),
    # The user named a folder.
    "folder for image": (lambda f: (f.first.rename(f.folder / "x"), (f.folder / "first.png").mkdir()), "not a file"),
    # A camera program that died before it wrote.
    "empty image": (lambda f: write(f.first, b""), "empty"),
    # A copy that was stopped half way; decoders would fill the rest with grey.
    "truncated image": (lambda f: write(f.first, f.first.read_bytes()[:2000]), "truncated"),
    # A few bytes that would take gigabytes.
    "huge image": (lambda f: write(f.second, huge_png()), "million"),
    # Text under an image's name.
    "not an image": (lambda f: write(f.second, b"dear reader\n" * 50), "not an image"),
    # A format that is not on the list, whatever a decoder might make of it.
    "another format": (lambda f: write(f.second, b"GIF89a" + bytes(300)), "not an image"),
    # The other camera's picture size.
    "size does not fit the rig": (lambda f: f.replace("first", np.zeros((321, 432), np.uint8)), "432 x 321"),
    # No rig.
    "missing rig": (lambda f: f.rig.unlink(), "cannot be read"),
    # An empty rig.
    "empty rig": (lambda f: write(f.rig, b""), "not JSON"),
    # The image was named as rig.
    "rig that is not JSON": (lambda f: write(f.rig, f.first.read_bytes()), "not JSON"),
    # Python writes NaN into JSON, and reads it back.
    "rig with NaN": (lambda f: f.change_rig(lambda d: d["first"]["matrix"][0].__setitem__(0, float("nan"))), "finite"),
    # Numbers that no machine holds.
    "rig with a number of 400 digits": (
        lambda f: f.change_rig(lambda d: d["first"]["matrix"][0].__setitem__(0, 10**400)),
        "expected numbers",
    ),
    # Written by a program that quotes all it writes.
    "rig with numbers as text": (
        lambda f: f.change_rig(lambda d: d.update(translation_second_from_first_mm=["-40", "0", "0"])),
        "expected numbers",
    ),
    # A calibration that failed.
    "rig with a singular matrix": (
        lambda f: f.change_rig(lambda d: d["second"]["matrix"].__setitem__(0, [0, 0, 0])),
        "singular",
    ),
    # One camera used twice.
    "rig with a zero baseline": (
        lambda f: f.change_rig(lambda d: d.update(translation_second_from_first_mm=[0, 0, 0])),
        "0 mm apart",
    ),
    # Metres, as some tools write them.
    "rig in metres": (
        lambda f: f.change_rig(
            lambda d: d.update(
                translation_second_from_first_mm=[v / 1000 for v in d["translation_second_from_first_mm"]]
            )
        ),
        "mm apart",
    ),
    # A file of another kind.
    "rig of another format": (lambda f: f.change_rig(lambda d: d.update(format="my-rig/1")), "format"),
}


def picture(files: Files, view: str) -> np.ndarray:
    return read_image(files.first if view == "first" else files.second)


def noise(like: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, like.shape, np.uint8)


def room(like: np.ndarray) -> np.ndarray:
    """Structure of all sizes, and no face."""
    rng = np.random.default_rng(2)
    height, width = like.shape[:2]
    layers = [
        cv2.resize(rng.uniform(0, 1, (n, n)), (width, height), interpolation=cv2.INTER_CUBIC) for n in (5, 15, 50)
    ]
    grey = np.clip(30 + 160 * sum(layers) / 3, 0, 255).astype(np.uint8)
    return grey if like.ndim == 2 else np.repeat(grey[:, :, None], 3, axis=2)


def shrunk(image: np.ndarray, share: float) -> np.ndarray:
    """The picture made smaller in the middle of a plain one: a face far away."""
    height, width = image.shape[:2]
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    frame = room(image)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def moved(image: np.ndarray, share: float) -> np.ndarray:
    """The picture pushed downwards out of the frame, until the face is cut by its border."""
    height, width = image.shape[:2]
    shift = np.array([[1, 0, 0], [0, 1, share * height]], np.float64)
    return np.asarray(cv2.warpAffine(image, shift, (width, height), borderMode=cv2.BORDER_REFLECT))


def swap(files: Files) -> None:
    """Each sensor's picture under the other's name; scaled, so that the sizes fit."""
    first, second = picture(files, "first"), picture(files, "second")
    files.replace("first", cv2.resize(second, first.shape[1::-1]))
    files.replace("second", cv2.resize(first, second.shape[1::-1]))


def copy_first(files: Files) -> None:
    """The first sensor delivers for both: a rig of two equal sensors, so that the size tells nothing."""
    data = json.loads(files.rig.read_text())
    data["second"] = {**data["first"], "spectrum": data["second"]["spectrum"]}
    files.rig.write_text(json.dumps(data))
    files.replace("second", picture(files, "first"))


def both(files: Files, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for view in ("first", "second"):
        files.replace(view, change(picture(files, view)))


def one(view: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], None]:
    return lambda files: files.replace(view, change(picture(files, view)))


NO_ANSWER: dict[str, tuple[Callable[[Files], object], set[str]]] = {
    # A covered lens, or light switched off.
    "first black": (one("first", np.zeros_like), {"first_too_dark"}),
    "second black": (one("second", np.zeros_like), {"second_too_dark"}),
    # Dazzled by the sun or by its own LED.
    "first white": (one("first", lambda image: np.full_like(image, 255)), {"first_saturated"}),
    "second white": (one("second", lambda image: np.full_like(image, 255)), {"second_saturated"}),
    # A broken cable.
    "first noise": (one("first", noise), {"first_no_signal"}),
    "second noise": (one("second", noise), {"second_no_signal"}),
    # A dead sensor that gives one grey.
    "second grey": (one("second", lambda image: np.full_like(image, 128)), {"second_no_signal"}),
    # Both names opened the same camera.
    "second a copy of the first": (copy_first, {"identical_views"}),
    # Nobody is there.
    "no face": (lambda f: both(f, room), {"no_face"}),
    # Somebody is far away.
    "face too small": (lambda f: both(f, lambda image: shrunk(image, 0.16)), {"too_far", "no_face"}),
    # Somebody is half out of the picture.
    "face cut by the border": (lambda f: both(f, lambda image: moved(image, 0.42)), {"at_border", "no_face"}),
}

REFUSED: dict[str, Callable[[Files], object]] = {
    # Cables swapped: each sensor's picture goes by the other's calibration. With every point behind the rig this is
    # mostly no response; where a face is found in one view only, it is an attack.
    "swapped views": swap,
    # Another person's view: two moments, or two rooms.
    "second mirrored": one("second", lambda image: np.ascontiguousarray(image[:, ::-1])),
    "second upside down": one("second", lambda image: np.ascontiguousarray(image[::-1])),
    # One sensor sees a room without a face.
    "face in the first only": one("second", room),
    "face in the second only": one("first", room),
}


def check_by_api(files: Files, detector: LivenessDetector) -> tuple[str, tuple[str, ...]]:
    verdict = detector.check(read_image(files.first), read_image(files.second), Rig.load(files.rig))
    return verdict.decision, verdict.reasons


def check_by_command(files: Files, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["check", str(files.first), str(files.second), "--rig", str(files.rig), "--json"])
    out, err = capfd.readouterr()
    return status, out, err


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_input_is_an_error(
    case: str, folder: Path, detector: LivenessDetector, capfd: pytest.CaptureFixture[str]
) -> None:
    files = Files(folder)
    first, second = files.first, files.second
    spoil, word = UNREADABLE[case]
    spoil(files)
    paths = [next((p for p in folder.iterdir() if p.stem == old.stem), old) for old in (first, second)]
    with pytest.raises(StereoliveError, match=word):
        detector.check(read_image(paths[0]), read_image(paths[1]), Rig.load(files.rig))
    status = main(["check", *map(str, paths), "--rig", str(files.rig), "--json"])
    out, err = capfd.readouterr()
    assert status == 2 and out == ""
    assert err.startswith("stereolive: ") and err.count("\n") == 1 and word in err


@pytest.mark.parametrize("case", NO_ANSWER)
def test_where_there_is_nothing_to_judge_there_is_no_response(
    case: str, folder: Path, detector: LivenessDetector, capfd: pytest.CaptureFixture[str]
) -> None:
    files = Files(folder)
    spoil, reasons = NO_ANSWER[case]
    spoil(files)
    decision, given = check_by_api(files, detector)
    assert decision == "no_response" and set(given) <= reasons and given
    status, out, err = check_by_command(files, capfd)
    answer = json.loads(out)
    assert (status, answer["decision"], answer["score"]) == (3, "no_response", None)
    assert answer["reasons"] == list(given) and err == ""


@pytest.mark.parametrize("case", REFUSED)
def test_never_bona_fide(
    case: str, folder: Path, detector: LivenessDetector, capfd: pytest.CaptureFixture[str]
) -> None:
    files = Files(folder)
    REFUSED[case](files)
    decision, _ = check_by_api(files, detector)
    assert decision in ("attack", "no_response")
    status, out, err = check_by_command(files, capfd)
    assert status == {"attack": 1, "no_response": 3}[decision]
    assert json.loads(out)["decision"] == decision and err == ""


def test_without_light_a_living_face_gets_no_response(
    folder: Path, detector: LivenessDetector, capfd: pytest.CaptureFixture[str]
) -> None:
    """By night the near-infrared sensor alone sees the face: no second view, no depth, no answer, and that is said."""
    files = Files(folder)
    rig = Rig.load(files.rig)
    view = "first" if rig.first.spectrum == "visible" else "second"
    dark = np.random.default_rng(0).poisson(2.0, picture(files, view).shape).astype(np.uint8)
    files.replace(view, dark)
    status, out, _ = check_by_command(files, capfd)
    assert status == 3 and json.loads(out)["reasons"] == [f"{view}_too_dark"]


@pytest.mark.parametrize(
    "image",
    [
        None,
        "first.png",
        np.zeros((480, 640), np.float64),  # what an image library may give
        np.zeros((480, 640, 4), np.uint8),
        np.zeros((0, 0), np.uint8),
        np.zeros((480, 640), np.uint8)[None, None],
    ],
)
def test_arrays_that_are_no_image(image: object, living_pair, detector: LivenessDetector) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StereoliveError, match="first"):
        detector.check(image, living_pair.second, living_pair.rig)  # type: ignore[arg-type]


def test_the_decoders_own_complaints_stay_away(folder: Path) -> None:
    """In a process of its own, since libraries write to the real stderr."""
    files = Files(folder)
    data = bytearray(files.first.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    files.first.write_bytes(bytes(data))
    done = subprocess.run(
        [sys.executable, "-m", "stereolive", "check", files.first, files.second, "--rig", files.rig],
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1, 2, 3)
    assert done.stderr.count("\n") == (done.returncode == 2) and "Traceback" not in done.stderr
