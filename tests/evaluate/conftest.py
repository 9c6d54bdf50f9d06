"""Score files that tests write: rows as dictionaries, columns as they come."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Row = dict[str, Any]
SPECIES = ("print_flat", "replay_phone", "mask_silicone")
LIGHTS = ("indoor_diffuse", "night_nir_only")


@pytest.fixture
def write_scores(tmp_path: Path) -> Callable[..., Path]:
    """Write rows to a CSV file and return its path."""

    def write(rows: Sequence[Row], name: str = "scores.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture
def presentations() -> Callable[..., list[Row]]:
    """Presentations of a system that errs now and then, with subjects, lights, skin groups and parts."""

    def make(count: int = 400, seed: int = 1, threshold: float = 0.5) -> list[Row]:
        generator = np.random.default_rng(seed)
        rows = []
        for number in range(count):
            bona_fide = number % 5 < 2
            subject = int(generator.integers(30))
            score = round(float(generator.beta(7, 2) if bona_fide else generator.beta(2, 7)), 5)
            silent = generator.random() < 0.03
            decision = "no_response" if silent else "bona_fide" if score >= threshold else "attack"
            rows.append(
                {
                    "sample_id": f"s{number:04d}",
                    "decision": decision,
                    "score": "" if silent else score,
                    "reasons": "too_blurred" if silent else "",
                    "distance_mm": round(float(generator.uniform(250, 900)), 1),
                    "time_ms": round(float(generator.gamma(9, 4)), 2),
                    "label": "bona_fide" if bona_fide else "attack",
                    "pai_species": "" if bona_fide else SPECIES[number % 3],
                    "illumination": LIGHTS[int(generator.integers(2))],
                    "subject_id": f"p{subject:02d}",
                    "skin_group": ("I", "II", "III", "IV", "V", "VI")[subject % 6],
                    "split": ("train", "validation", "test")[subject % 3],
                }
            )
        return rows

    return make
