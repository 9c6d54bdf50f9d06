"""How long ``stereolive evaluate`` takes for a million presentations, and how much memory: aim 10 s and 1 GB.

    python benchmarks/evaluate_speed.py [--rows 1000000] [--scores FILE.csv] [--out results/evaluate_speed.json]

Prints one JSON object: wall and processor seconds and the peak of resident memory of the evaluation in a process of its
own (start-up, hash, rates, bootstrap by subject, report), beside the load of the machine, so that the two can be told
apart. ``--scores`` is the file to grade; one that is not there is made first.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SPECIES = ("print_flat", "print_bent", "print_cutout", "replay_phone", "replay_tablet", "mask_paper", "mask_silicone",
           "mask_resin")  # fmt: skip
LIGHTS = ("indoor_diffuse", "strong_side", "dim", "backlight", "night_nir_only")
HEADER = ("sample_id", "decision", "score", "reasons", "distance_mm", "time_ms", "first", "second", "rig", "label",
          "pai_species", "material", "illumination", "subject_id", "skin_group")  # fmt: skip


def write_scores(path: Path, rows: int) -> None:
    """A score file as ``stereolive score`` writes it, of a system that errs by a percent or so."""
    generator = np.random.default_rng(1)
    bona_fide = generator.random(rows) < 0.4
    species = generator.integers(0, len(SPECIES), rows)
    light = generator.integers(0, len(LIGHTS), rows)
    subject = generator.integers(0, max(20, rows // 40), rows)
    logit = generator.normal(np.where(bona_fide, 3.2, -3.2 + 0.2 * species), 1.1)
    score = 1 / (1 + np.exp(-logit))
    silent = generator.random(rows) < 0.02
    distance = generator.uniform(250, 1200, rows)
    time_ms = generator.gamma(9, 5, rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for i in range(rows):
            decision = "no_response" if silent[i] else "bona_fide" if score[i] >= 0.6 else "attack"
            writer.writerow(
                (f"s{i:07d}", decision, "" if silent[i] else f"{score[i]:.6f}", "too_dark" if silent[i] else "",
                 f"{distance[i]:.1f}", f"{time_ms[i]:.2f}", f"images/{i:07d}_first.jpg", f"images/{i:07d}_second.jpg",
                 f"rigs/{'ABC'[i % 3]}.json", "bona_fide" if bona_fide[i] else "attack",
                 "" if bona_fide[i] else SPECIES[species[i]], "skin" if bona_fide[i] else "paper", LIGHTS[light[i]],
                 f"p{subject[i]:05d}", str(1 + subject[i] % 6))
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = given.scores or Path(folder) / "scores.csv"
        if not scores.exists():
            write_scores(scores, given.rows)
        program = "import sys; from stereolive.evaluate.evaluation import evaluate; evaluate(*sys.argv[1:])"
        command = [sys.executable, "-c", program, str(scores), f"{folder}/out"]
        load = os.getloadavg()[0]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        metrics = json.loads((Path(folder) / "out" / "metrics.json").read_text("utf-8"))
        result = {
            "rows": metrics["data"]["rows"],
            "file_mb": round(scores.stat().st_size / 1e6, 1),
            "wall_s": round(wall, 2),
            "processor_s": round(used.ru_utime + used.ru_stime, 2),
            "peak_memory_mb": round(used.ru_maxrss / 1024, 1),
            "metrics_kb": round((Path(folder) / "out" / "metrics.json").stat().st_size / 1e3, 1),
            "report_kb": round((Path(folder) / "out" / "report.html").stat().st_size / 1e3, 1),
            "cores": os.cpu_count(),
            "load_before": round(load, 2),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
