"""Has a system got worse since an earlier evaluation? A rate has where it lies beyond the earlier one's interval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stereolive.errors import ManifestError


@dataclass(frozen=True)
class Regression:
    """A figure that got worse beyond its interval."""

    name: str
    text: str


def load_metrics(path: str | Path) -> dict[str, Any]:
    """Read a ``metrics.json``."""
    path = Path(path)
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ManifestError(f"metrics {path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ManifestError(f"metrics {path}: is not JSON") from None
    folds = data.get("folds", {"": data}) if isinstance(data, dict) else None
    if not isinstance(folds, dict) or not all(_is_graded(fold) for fold in folds.values()):
        raise ManifestError(f"metrics {path}: is not a metrics.json of stereolive evaluate")
    if not any(rate["rate"] is not None for fold in folds.values() for _, rate in _rates(fold)):
        raise ManifestError(f"metrics {path}: has no rate to hold another against")
    return dict(data)


def _is_graded(metrics: Any) -> bool:
    """Whether there are rates with their intervals, as ``_rates`` reads them."""
    try:
        rates = [rate for _, rate in _rates(metrics)]
        area = [metrics["auc"], *metrics["auc_ci95"]] if metrics.get("auc_ci95") else []
        numbers = [number for rate in rates for number in (rate["rate"], *rate["ci95"])]
        whole = all(len(rate["ci95"]) == 2 and {"n", "errors"} <= set(rate) for rate in rates)
    except (KeyError, TypeError, AttributeError):
        return False
    known = [number for number in (*numbers, *area) if number is not None]
    return whole and len(area) in (0, 3) and all(isinstance(number, int | float) for number in known)


def regressions(old: dict[str, Any], new: dict[str, Any]) -> list[Regression]:
    """Figures of ``new`` that are worse than ``old`` beyond the old interval, and figures that are no longer there.

    A rate is worse where it lies above the upper end of the old 95 % interval, the AUC where it lies below the lower
    end.
    """
    return list(_regressions(old, new, ""))


def _regressions(old: dict[str, Any], new: dict[str, Any], prefix: str) -> Iterator[Regression]:
    if "folds" in old:
        for name, fold in old["folds"].items():
            if name in new.get("folds", {}):
                yield from _regressions(fold, new["folds"][name], f"{prefix}{name}: ")
            else:
                yield Regression(prefix + name, f"{prefix}{name}: is no longer evaluated")
        return
    after = dict(_rates(new))
    for name, before in _rates(old):
        current = after.get(name)
        if current is None or current.get("rate") is None:
            if before.get("rate") is not None:
                yield Regression(prefix + name, f"{prefix}{name}: was {_percent(before)}, is no longer measured")
        elif before.get("rate") is not None and current["rate"] > before["ci95"][1]:
            yield Regression(
                prefix + name,
                f"{prefix}{name}: {_percent(current)}, was {_percent(before)} with an interval up to"
                f" {before['ci95'][1] * 100:.2f} %",
            )
    bounds = old.get("auc_ci95")
    now = "no longer measured" if new.get("auc") is None else f"{new['auc']:.5f}"
    if bounds and (new.get("auc") is None or new["auc"] < bounds[0]):
        yield Regression(
            f"{prefix}auc",
            f"{prefix}auc: {now}, was {old['auc']:.5f} with an interval down to {bounds[0]:.5f}",
        )


def _rates(metrics: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("bpcer", "apnrr", "bpnrr"):
        if metrics.get(name):
            yield name, metrics[name]
    for species, entry in metrics.get("species", {}).items():
        for rate in ("apcer", "apnrr"):
            if entry.get(rate):
                yield f"{rate} {species}", entry[rate]
    for name, rate in metrics.get("bpcer_at_apcer", {}).items():
        # With too few attacks the figure hangs on the single highest attack score: no interval covers that.
        if rate.get("resolved", True):
            yield name, rate


def _percent(rate: dict[str, Any]) -> str:
    return f"{rate['rate'] * 100:.2f} % ({rate['errors']} of {rate['n']})"
