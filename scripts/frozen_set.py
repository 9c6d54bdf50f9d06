"""Has the released model got worse on the bundled pairs since its figures were frozen?

    python scripts/frozen_set.py [--model FOLDER]

scores the pairs that come with the package and holds the rates against ``tests/frozen/metrics.json``: ``stereolive
score`` and ``stereolive evaluate --against``, as anybody's continuous integration can do it. Exit status 1 where a rate
is worse beyond its interval. ``make test`` runs it. ``--model`` tries a model before its release.

    python scripts/frozen_set.py --refresh

freezes the figures anew, after the release of another model or of other pairs, and says what got worse by that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stereolive.cli import main as stereolive
from stereolive.demo import bundled_pairs
from stereolive.store import released_model

FROZEN = Path(__file__).parent.parent / "tests" / "frozen" / "metrics.json"
WORSE = 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=released_model(), help="default: the released one")
    parser.add_argument("--refresh", action="store_true", help="freeze the figures anew")
    given = parser.parse_args(argv)
    model = ["--model", str(given.model)]
    with tempfile.TemporaryDirectory() as folder:
        scores = f"{folder}/scores.csv"
        status = stereolive(["score", str(bundled_pairs().path), "--out", scores, "--workers", "1", *model])
        if status:
            return status
        grade = ["evaluate", scores, "--out", folder, "--origin", "rendered", *model]
        status = stereolive([*grade, "--against", str(FROZEN)] if FROZEN.exists() else grade)
        if given.refresh and status in (0, WORSE):
            FROZEN.parent.mkdir(exist_ok=True)
            FROZEN.write_bytes(Path(folder, "metrics.json").read_bytes())
            print(f"frozen: {FROZEN}")
            return 0
    if status == WORSE:
        print("If that is the price of another model or of other pairs: python scripts/frozen_set.py --refresh")
    return status


if __name__ == "__main__":
    sys.exit(main())
