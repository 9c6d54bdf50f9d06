"""Make ``evaluation.json``: figures of this project's evaluation, computed by others' code (scikit-learn, SciPy) and
from print.

Run by hand after a change of the cases, never by a test:  python tests/golden/make_golden.py
Nothing of ``stereolive`` is imported here; scores are written out, so that no generator has to stay the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import sklearn
from scipy import __version__ as scipy_version
from scipy.stats import beta, binom, binomtest
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

COUNTS = [(0, 1), (1, 1), (0, 20), (1, 29), (15, 148), (81, 263), (0, 150), (3, 150), (150, 150), (149, 150), (7, 42),
          (1, 100000), (2995, 1000000), (999999, 1000000), (0, 1000000)]  # fmt: skip


def clopper_pearson(errors: int, n: int) -> list[float]:
    interval = binomtest(errors, n).proportion_ci(0.95, "exact")
    return [float(interval.low), float(interval.high)]


def case(name: str, bona_fide: np.ndarray, species: dict[str, np.ndarray]) -> dict[str, object]:
    """Scores and what scikit-learn makes of them;

    attacks pooled for AUC, ROC and DET as those functions have no species.
    """
    attacks = np.concatenate(list(species.values()))
    truth = np.r_[np.ones(len(bona_fide)), np.zeros(len(attacks))]
    scores = np.r_[bona_fide, attacks]
    # scikit-learn's false positive rate is the rate of accepted attacks, its false negative rate that of rejected
    # bona fide.
    accepted, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    apcer, bpcer, thresholds = det_curve(truth, scores)
    at_apcer = {}
    for target in (0.1, 0.05, 0.01):
        # The smallest BPCER among all thresholds at which every species' own ROC stays at or below the target.
        best = 1.0
        for threshold in np.r_[np.unique(scores), np.inf]:
            if all((values >= threshold).mean() <= target for values in species.values()):
                best = min(best, float((bona_fide < threshold).mean()))
        at_apcer[f"{target:g}"] = best
    return {
        "name": name,
        "bona_fide": bona_fide.tolist(),
        "species": {key: values.tolist() for key, values in species.items()},
        "auc": float(roc_auc_score(truth, scores)),
        "roc": [accepted.tolist(), found.tolist()],
        "det": [apcer.tolist(), bpcer.tolist(), thresholds.tolist()],
        "bpcer_at_apcer": at_apcer,
    }


def main() -> None:
    generator = np.random.default_rng(30107)
    golden = {
        "made_with": {"scikit-learn": sklearn.__version__, "scipy": scipy_version, "numpy": np.__version__},
        "clopper_pearson": [{"errors": k, "n": n, "ci95": clopper_pearson(k, n)} for k, n in COUNTS],
        "upper_bound": [
            {"errors": k, "n": n, "bound": float(beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0} for k, n in COUNTS
        ],
        "binomial_cdf": [
            {"k": k, "n": n, "p": p, "cdf": float(binom.cdf(k, n, p))}
            for k, n, p in ((0, 42, 0.07), (3, 109, 0.035), (5, 148, 0.014), (40, 100, 0.5), (1000, 100000, 0.01))
        ],
        "mcnemar": [
            {"only_a": a, "only_b": b, "p": float(binomtest(a, a + b).pvalue)}
            for a, b in ((0, 5), (3, 9), (12, 12), (1, 30))
        ],
        # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 5 (Clopper-Pearson), as printed.
        "published_clopper_pearson": [
            {"errors": 81, "n": 263, "ci95": [0.2527, 0.3676]},
            {"errors": 15, "n": 148, "ci95": [0.0578, 0.1617]},
            {"errors": 0, "n": 20, "ci95": [0.0, 0.1684]},
            {"errors": 1, "n": 29, "ci95": [0.0009, 0.1776]},
        ],
        # The same, method 3 (Wilson's score interval).
        "published_wilson": [
            {"errors": 81, "n": 263, "ci95": [0.2553, 0.3662]},
            {"errors": 15, "n": 148, "ci95": [0.0624, 0.1605]},
            {"errors": 0, "n": 20, "ci95": [0.0, 0.1611]},
            {"errors": 1, "n": 29, "ci95": [0.0061, 0.1718]},
        ],
        # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10 (hybrid score), as printed.
        "published_difference": [
            {"counts": [56, 70, 48, 80], "ci95": [0.0524, 0.3339]},
            {"counts": [9, 10, 3, 10], "ci95": [0.1705, 0.8090]},
            {"counts": [6, 7, 2, 7], "ci95": [0.0582, 0.8062]},
            {"counts": [5, 56, 0, 29], "ci95": [-0.0381, 0.1926]},
            {"counts": [0, 10, 0, 20], "ci95": [-0.1611, 0.2775]},
            {"counts": [0, 10, 0, 10], "ci95": [-0.2775, 0.2775]},
            {"counts": [10, 10, 0, 20], "ci95": [0.6791, 1.0]},
            {"counts": [10, 10, 0, 10], "ci95": [0.6075, 1.0]},
        ],
        "cases": [
            case(
                "overlapping",
                np.round(generator.normal(1.5, 1, 80), 6),
                {"print": np.round(generator.normal(-1, 1, 60), 6), "mask": np.round(generator.normal(0, 1, 40), 6)},
            ),
            case(
                "many ties",
                np.round(generator.beta(5, 2, 60), 1),
                {"print": np.round(generator.beta(2, 5, 50), 1), "screen": np.round(generator.beta(2, 3, 30), 1)},
            ),
            case("separated", np.array([0.8, 0.9, 0.95]), {"print": np.array([0.1, 0.2])}),
            case("all equal", np.full(4, 0.5), {"print": np.full(6, 0.5)}),
        ],
    }  # fmt: skip
    path = Path(__file__).parent / "evaluation.json"
    path.write_text(json.dumps(golden, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
