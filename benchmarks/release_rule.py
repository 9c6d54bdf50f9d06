"""Whether a model is released in place of another, by a rule that is set before it is scored.

    python benchmarks/release_rule.py BEFORE AFTER MANIFEST... [--bpcer 0.03] [--workers 2] [--out results/compare]

scores the presentations of the manifests, which no graded figure rests on, with both model folders, and writes below
``--out`` a folder named by the two versions: ``rule.json``, and for each manifest's folder what ``stereolive compare``
says at the models' own thresholds. By the rule the new model is released if, on all of them together, its area under
the curve is larger, and its worst species passes no more often where each model refuses the same share of the living
faces. Presentations without a response count in neither. Made faults are looked at besides
(``benchmarks/fault_injection.py``).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stereolive.evaluate import rates
from stereolive.evaluate.metrics import species_masks
from stereolive.evaluate.scores import load_scores
from stereolive.store import Model

ROOT = Path(__file__).parents[1]
STEREOLIVE = [sys.executable, "-m", "stereolive"]


def scored(model: Model, manifest: Path, workers: int) -> Path:
    """The score file of a manifest, by a model; made anew for every version."""
    out = ROOT / "runs" / "compare" / f"{model.version}-{manifest.parent.name}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [*STEREOLIVE, "score", str(manifest), "--model", str(model.folder), "--workers", str(workers)]
    subprocess.run([*command, "--out", str(out)], check=True)
    return out


def judged(files: Sequence[Path], bpcer: float) -> dict[str, Any]:
    """Area under the curve over the rows of all files, and what passes where ``bpcer`` of the living are refused."""
    living: list[NDArray[np.float64]] = []
    attacks: dict[str, list[NDArray[np.float64]]] = {}
    for file in files:
        table = load_scores(file)
        living.append(table.score[table.bona_fide & table.responded])
        for name, mask in species_masks(table).items():
            attacks.setdefault(name, []).append(table.score[mask & table.responded])
    genuine = np.concatenate(living)
    species = {name: np.concatenate(parts) for name, parts in sorted(attacks.items())}
    threshold = rates.threshold_at_bpcer(genuine, bpcer)
    accepted = {name: rates.apcer(rates.decide(scores, threshold)) for name, scores in species.items()}
    worst = rates.worst(accepted)
    assert worst is not None
    return {
        "auc": rates.auc(genuine, np.concatenate(list(species.values()))),
        "threshold": threshold,
        "bpcer": rates.bpcer(rates.decide(genuine, threshold)).as_json(),
        "apcer_max": {"species": worst, **accepted[worst].as_json()},
        "species": {name: rate.as_json() for name, rate in accepted.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="model folder")
    parser.add_argument("after", type=Path, help="model folder")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--bpcer", type=float, default=0.03, help="share of the living that is refused (%(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "compare")
    given = parser.parse_args()
    models = [Model.load(folder) for folder in (given.before, given.after)]
    files = [[scored(model, manifest, given.workers) for manifest in given.manifests] for model in models]
    folder = given.out / "-".join(model.version for model in models)
    folder.mkdir(parents=True, exist_ok=True)
    for manifest, *pair in zip(given.manifests, *files, strict=True):
        aside = files[0][0].with_name("comparison")
        subprocess.run([*STEREOLIVE, "compare", *map(str, pair), "--out", str(aside)], check=True)
        shutil.copyfile(aside / "comparison.json", folder / f"{manifest.parent.name}.json")
    before, after = (judged(scores, given.bpcer) for scores in files)
    larger = after["auc"] > before["auc"]
    no_worse = after["apcer_max"]["rate"] <= before["apcer_max"]["rate"]
    rule = {
        "presentations": [str(manifest) for manifest in given.manifests],
        "models": [model.version for model in models],
        "area_is_larger": larger,
        "worst_species_passes_no_more_often": no_worse,
        "released_by_this": larger and no_worse,
        "before": before,
        "after": after,
    }
    (folder / "rule.json").write_text(json.dumps(rule, indent=1) + "\n", "utf-8")
    for name, found in (("before", before), ("after", after)):
        worst = found["apcer_max"]
        print(f"{name}: AUC {found['auc']:.4f}, {worst['species']} {worst['errors']} of {worst['n']}")
    print(f"{folder / 'rule.json'}: {'holds' if rule['released_by_this'] else 'does not hold'}")


if __name__ == "__main__":
    main()
