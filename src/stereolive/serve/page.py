"""What the page needs beyond its own files: the bundled pairs, and what the reason codes mean.

The pairs are rendered and come with the package, so anybody may see them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from starlette.responses import FileResponse

from stereolive.data.manifest import Presentation
from stereolive.demo import bundled_pairs
from stereolive.errors import StereoliveError
from stereolive.explain import SIGNS, explain
from stereolive.quality import ADVICE
from stereolive.serve.problems import ProblemError

router = APIRouter(prefix="/page", include_in_schema=False)


@router.get("/gallery")
def listed() -> list[dict[str, Any]]:
    """What the page shows of each pair; empty where the installation comes without them."""
    return [
        {
            "id": pair.sample_id,
            "label": pair.label,
            "species": pair.pai_species if pair.label == "attack" else None,
            "illumination": pair.illumination,
        }
        for pair in _pairs().values()
    ]


@router.get("/gallery/{sample_id}/{part}")
def part_of(sample_id: str, part: Literal["first", "second", "rig"]) -> FileResponse:
    """One file of a pair."""
    pair = _pairs().get(sample_id)
    if pair is None:
        raise ProblemError(404, "not-found", "there is no such pair")
    return FileResponse(Path(getattr(pair, part)), headers={"Cache-Control": "max-age=3600"})


@router.get("/reasons")
def reasons() -> dict[str, str]:
    """A sentence for every reason code; the page's own strings may hold a translation."""
    return {code: explain(code) for code in (*SIGNS, *ADVICE, "internal_error")}


@lru_cache(maxsize=1)
def _pairs() -> dict[str, Presentation]:
    try:
        return {pair.sample_id: pair for pair in bundled_pairs()}
    except StereoliveError:
        return {}
