"""How large a test must be before its result can carry a claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stereolive.errors import InputError
from stereolive.evaluate.intervals import CONFIDENCE, binomial_cdf, presentations_needed

CORRELATION = 0.2
REPETITIONS = (1, 3, 5, 10)
ALLOWED_ERRORS = (0, 1, 2, 3, 5)


@dataclass(frozen=True)
class Plan:
    """What ``stereolive plan`` prints; ``as_json`` has the same figures."""

    claim: float
    species: int
    confidence: float
    correlation: float
    independent: int  # presentations per species, each of its own subject and instrument
    allowances: tuple[dict[str, Any], ...]
    repetitions: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "claim": self.claim,
            "species": self.species,
            "confidence": self.confidence,
            "correlation": self.correlation,
            "presentations_per_species": self.independent,
            "presentations": self.independent * self.species,
            "errors_allowed": list(self.allowances),
            "repetitions": list(self.repetitions),
        }

    def text(self) -> str:
        level, claim = f"{self.confidence:.0%}", f"{self.claim * 100:g} %"
        lines = [
            f"To prove an APCER below {claim} for each of {self.species} PAI species at {level} confidence:",
            f"  {self.independent} attack presentations per species without an error,"
            f" {self.independent * self.species} in all,",
            "  each with a subject and an instrument of its own (only then are they independent).",
            "",
            "If errors are allowed, per species; and how likely a system with that true APCER is to pass:",
            f"  {'errors':>8}  {'presentations':>13}  {'in all':>8}"
            + "".join(f"  {'true ' + format(self.claim / part * 100, '.2g') + ' %':>12}" for part in (2, 5, 10)),
        ]
        for row in self.allowances:
            chances = "".join(f"  {chance:>12.0%}" for chance in row["chance_to_pass"].values())
            lines.append(
                f"  {row['errors']:>8}  {row['presentations']:>13}  {row['presentations'] * self.species:>8}{chances}"
            )
        lines += [
            "",
            "If every subject and instrument is presented several times, presentations resemble each other"
            " (intraclass correlation"
            f" {self.correlation:g}, an assumption):",
            f"  {'repeated':>8}  {'presentations':>13}  {'in all':>8}  {'subjects':>8}  {'instruments':>11} "
            f" {'in all':>8}",
        ]
        for row in self.repetitions:
            lines.append(
                f"  {row['repeated']:>8}  {row['presentations']:>13}  {row['presentations'] * self.species:>8}"
                f"  {row['subjects']:>8}  {row['instruments_per_species']:>11} "
                f" {row['instruments_per_species'] * self.species:>8}"
            )
        lines += [
            "",
            "Columns without 'in all' are per species; the same subjects can serve every species."
            " Presentations without a response do not count.",
            f"The same number of bona fide presentations, {self.independent} without an error, would prove a"
            f" BPCER below {claim}.",
        ]
        return "\n".join(lines)


def plan(claim: float, species: int = 1, confidence: float = CONFIDENCE, correlation: float = CORRELATION) -> Plan:
    """Presentations, subjects and instruments that it takes to prove an APCER below ``claim`` for each species.

    Independent presentations: the exact one-sided bound (Clopper and Pearson 1934). Repeated ones: the design effect
    1 + (m - 1) rho of m presentations with intraclass correlation rho (Kish, "Survey sampling", 1965).
    """
    if species < 1:
        raise InputError(f"species: expected 1 or more, got {species}")
    if not 0 <= correlation <= 1:
        raise InputError(f"correlation: expected 0 to 1, got {correlation:g}")
    independent = presentations_needed(claim, 0, confidence)
    allowances = []
    for errors in ALLOWED_ERRORS:
        n = presentations_needed(claim, errors, confidence)
        chances = {f"{claim / part:g}": binomial_cdf(errors, n, claim / part) for part in (2, 5, 10)}
        allowances.append({"errors": errors, "presentations": n, "chance_to_pass": chances})
    repetitions = []
    for repeated in REPETITIONS:
        groups = math.ceil(independent * (1 + (repeated - 1) * correlation) / repeated - 1e-9)
        repetitions.append(
            {
                "repeated": repeated,
                "presentations": groups * repeated,
                "subjects": groups,
                "instruments_per_species": groups,
            }
        )
    return Plan(claim, species, confidence, correlation, independent, tuple(allowances), tuple(repetitions))
