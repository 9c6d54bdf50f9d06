from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from stereolive.data.crops import Crops


@pytest.fixture(scope="session")
def crop_folder(tmp_path_factory: pytest.TempPathFactory, module_at: Callable[[Path], ModuleType]) -> Path:
    procedural = module_at(Path(__file__).with_name("procedural.py"))
    folder: Path = procedural.write_crops(tmp_path_factory.mktemp("crops") / "crops", 48)
    return folder


@pytest.fixture
def crops(crop_folder: Path) -> Crops:
    return Crops(crop_folder)


@pytest.fixture
def bare_crop_folder(crop_folder: Path, tmp_path: Path) -> Path:
    """A copy of the crops in which nothing has depth."""
    folder = tmp_path / "crops"
    shutil.copytree(crop_folder, folder)
    path = folder / "shard-00000" / "disparity.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    index = folder / "shard-00000" / "index.csv"
    lines = index.read_text().splitlines()
    column = lines[0].split(",").index("known_share")
    cells = [line.split(",") for line in lines[1:]]
    rows = [",".join([*line[:column], "0.0", *line[column + 1 :]]) for line in cells]
    index.write_text("\n".join([lines[0], *rows]) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums in a fixed order, and no fight over the cores with other tests."""
    torch.set_num_threads(1)
