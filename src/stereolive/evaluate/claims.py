"""What others demand of a liveness system, and whether a sample proves it.

The demands are on attack presentations that are accepted, for each PAI species. FIDO, NIST and Android demand them of
the full system (IAPAR: liveness AND comparison); an APCER below the limit is the stricter half of that, since an
attack must pass the liveness test first. Their other demands (false accepts and rejects of the comparison, number and
kinds of species, laboratory) are outside what scores can show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stereolive.evaluate.intervals import presentations_needed
from stereolive.evaluate.rates import Rate

Status = Literal["proved", "met", "not proved", "not met"]


@dataclass(frozen=True)
class Claim:
    """A demand: ``below`` is a rate to be proved at 95 %;

    without it ``at_most`` is a rate to be observed in ``presentations``.
    """

    key: str
    name: str
    text: str
    below: float | None = None
    at_most: float = 0.0
    presentations: int = 0
    bpcer_at_most: float | None = None


CLAIMS = (
    Claim("fido", "FIDO biometric component", "attacks accepted below 7 % for each species", below=0.07),
    Claim("nist_sp_800_63a_4", "NIST SP 800-63A-4", "attacks accepted below 7 % for each species", below=0.07),
    Claim("android_class_3", "Android class 3", "attacks accepted below 7 % for each species", below=0.07),
    Claim(
        "ibeta_level_1",
        "iBeta level 1",
        "0 of some 150 attacks per species accepted, BPCER at most 15 %",
        at_most=0.0,
        presentations=150,
        bpcer_at_most=0.15,
    ),
    Claim(
        "ibeta_level_2",
        "iBeta level 2",
        "at most 1 % of some 150 attacks per species accepted, BPCER at most 15 %",
        at_most=0.01,
        presentations=150,
        bpcer_at_most=0.15,
    ),
)


def judge(claim: Claim, species: Mapping[str, Rate], bona_fide: Rate) -> dict[str, Any]:
    """One claim's verdict: per species, for BPCER where the claim has one, and for the whole.

    ``more`` is how many more presentations a species needs if no further one errs; null where that cannot help.
    """
    parts = {name: _judge_species(claim, rate) for name, rate in species.items()}
    statuses = [part["status"] for part in parts.values()]
    if claim.bpcer_at_most is not None:
        within = bona_fide.rate is not None and bona_fide.rate <= claim.bpcer_at_most
        statuses.append("met" if within else "not met")
    order: list[Status] = ["not met", "not proved", "met", "proved"]
    status = next((s for s in order if s in statuses), "not proved")
    needed = [part["more"] for part in parts.values()]
    return {
        "name": claim.name,
        "demand": claim.text,
        "status": status,
        "species": parts,
        "bpcer_at_most": claim.bpcer_at_most,
        "more": None if status == "not met" or None in needed else sum(needed),
    }


def judge_all(species: Mapping[str, Rate], bona_fide: Rate) -> dict[str, dict[str, Any]]:
    """Every claim judged by the APCER of each species and the BPCER; by the claim's key."""
    return {claim.key: judge(claim, species, bona_fide) for claim in CLAIMS}


def _judge_species(claim: Claim, rate: Rate) -> dict[str, Any]:
    if claim.below is not None:
        needed = presentations_needed(claim.below, rate.errors)
        if rate.rate is not None and rate.proves < claim.below:
            status: Status = "proved"
        elif rate.rate is not None and rate.rate >= claim.below:
            status = "not met"
        else:
            status = "not proved"
    else:
        needed = claim.presentations
        if rate.rate is not None and rate.rate > claim.at_most:
            # A few more clean attacks could bring 1 of 60 under 1 %; 1 of 60 is never 0.
            status = "not proved" if claim.at_most and rate.errors <= claim.at_most * needed else "not met"
        else:
            status = "met" if rate.n >= needed else "not proved"
    more = None if status == "not met" else max(0, needed - rate.n)
    if status == "not proved" and claim.below is None and claim.at_most:
        more = max(0, needed - rate.n, _clean_needed(rate, claim.at_most))
    return {"n": rate.n, "errors": rate.errors, "proves": rate.proves, "status": status, "more": more}


def _clean_needed(rate: Rate, at_most: float) -> int:
    """How many clean presentations bring the observed rate down to ``at_most``."""
    return max(0, -int(-rate.errors // at_most) - rate.n)
