"""What several tests need: the released model, and bundled pairs of the demo."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from stereolive.data.manifest import Presentation
from stereolive.demo import EXPECTED, bundled_pairs
from stereolive.detector import LivenessDetector
from stereolive.images import read_image
from stereolive.rig import Rig
from stereolive.types import ImageArray


@dataclass(frozen=True)
class LoadedPair:
    """One bundled pair, read."""

    first: ImageArray
    second: ImageArray
    rig: Rig


def load(presentation: Presentation) -> LoadedPair:
    return LoadedPair(read_image(presentation.first), read_image(presentation.second), Rig.load(presentation.rig))


@pytest.fixture(scope="session")
def module_at() -> Callable[[Path], ModuleType]:
    """Runs a file that is in no package, such as those in scripts/, and returns its module."""

    def load_module(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_module


@pytest.fixture(scope="session")
def detector() -> LivenessDetector:
    return LivenessDetector(threads=1)


@pytest.fixture(scope="session")
def bundle() -> tuple[Presentation, ...]:
    return bundled_pairs().presentations


@pytest.fixture(scope="session")
def living(bundle: tuple[Presentation, ...]) -> Presentation:
    """A living face in even light, before a visible and a near-infrared sensor that both show it."""
    for entry in bundle:
        rig = Rig.load(entry.rig)
        by_two_spectra = rig.first.spectrum != rig.second.spectrum
        if by_two_spectra and entry.further[EXPECTED] == "bona_fide" and entry.illumination == "indoor_diffuse":
            return entry
    raise AssertionError("the bundle has no living face in even light")


@pytest.fixture(scope="session")
def living_pair(living: Presentation) -> LoadedPair:
    return load(living)


@pytest.fixture
def folder(tmp_path: Path, living: Presentation) -> Path:
    """A folder with ``first``, ``second`` (as bundled) and ``rig.json``, to be spoilt."""
    for name, path in (("first", living.first), ("second", living.second), ("rig", living.rig)):
        (tmp_path / f"{name}{path.suffix}").write_bytes(path.read_bytes())
    return tmp_path
