"""What every adapter ends with: rows written as a manifest, and an account of what came in, what did not, and what it
can be used for.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from stereolive.data.manifest import COLUMNS, write_rows
from stereolive.errors import ManifestError

Row = Mapping[str, str]
T = TypeVar("T")

REGISTERED_NOTE = (
    "This set has no calibration (its views already lie on each other), so its manifest has registered=true and no "
    "rig: it can train the depth -> liveness stage only, neither the depth stage nor a score of the whole method."
)
RELATIVE_DEPTH_NOTE = (
    "Its depth is 8 bit without a unit: it is in the column depth_relative, which training does not use, and depth, "
    "which is in 0.1 mm, stays empty."
)


@dataclass(frozen=True)
class Adaptation:
    """The manifest that was written, its rows by ``bona_fide`` or PAI species, and what was left out and why."""

    manifest: Path
    counts: Mapping[str, int]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """The account for a person, one finding a line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        lines = [f"{self.manifest}: {sum(self.counts.values())} rows ({counts})", *self.notes]
        if self.skipped:
            lines.append(f"Left out: {len(self.skipped)}")
            lines += [f"  {reason}" for reason in self.skipped[:5]]
            if len(self.skipped) > 5:
                lines.append(f"  ... and {len(self.skipped) - 5} more")
        return "\n".join(lines)


def finish(out: Path, rows: Sequence[Row], skipped: Sequence[str], notes: Sequence[str] = ()) -> Adaptation:
    """Write ``out/manifest.csv``. Raises ManifestError where nothing came in, saying the first reason."""
    if not rows:
        raise ManifestError(f"{out}: no presentation could be taken over" + (f"; {skipped[0]}" if skipped else ""))
    seen: set[str] = set()
    for row in rows:
        if row["sample_id"] in seen:
            raise ManifestError(
                f"{out}: sample_id {row['sample_id']!r} comes twice; does the source hold the set twice?"
            )
        seen.add(row["sample_id"])
    further = list(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS))
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    write_rows(manifest, rows, [*COLUMNS, *further])
    counts = Counter("bona_fide" if row["label"] == "bona_fide" else row["pai_species"] or "unnamed" for row in rows)
    return Adaptation(manifest, dict(counts), tuple(skipped), tuple(notes))


def relative(path: Path, folder: Path) -> str:
    """``path`` as a manifest in ``folder`` names it."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()


def source_folder(source: str | Path) -> Path:
    """The folder that was named. Raises ManifestError."""
    source = Path(source)
    if not source.is_dir():
        raise ManifestError(f"source {source}: is not a folder")
    return source


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` positions of ``count`` frames, evenly spread, the middle one where one is wanted."""
    taken = min(count, wanted)
    return [int((number + 0.5) * count / taken) for number in range(taken)]


def tracked(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a bar on a terminal's stderr."""
    return track(items, what, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
