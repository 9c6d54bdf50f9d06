"""Many pairs: a manifest in, a score file out, row by row, so that a run can be stopped and taken up again."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2

from stereolive.checks import short
from stereolive.data.manifest import COLUMNS, PATH_COLUMNS, Manifest, Presentation
from stereolive.depth import depth_on_first_image_mm
from stereolive.detector import Analysis, LivenessDetector
from stereolive.errors import ImageError, InputError, ManifestError, RigError
from stereolive.images import PART_SUFFIX, read_image, write_depth
from stereolive.rig import Rig

RESULT_COLUMNS = ("sample_id", "decision", "score", "reasons", "distance_mm", "time_ms")
PROVENANCE_COLUMNS = ("threshold", "model")
"""Behind the result's columns, so that a score file says by itself what was graded."""
REASON_SEPARATOR = ";"
CARRIED_PREFIX = "manifest_"
"""Put before a manifest's column that has the name of a result, such as a true ``distance_mm``."""
RIGS_KEPT = 256
NAME_BYTES = 255
"""The most that file systems take for one name."""


@dataclass(frozen=True)
class ScoredRow:
    """One line of a score file, what it was read off, and what was wrong with the row where it could not be scored."""

    sample_id: str
    cells: Mapping[str, str]
    problem: str | None = None
    analysis: Analysis | None = None

    @property
    def decision(self) -> str:
        return self.cells["decision"]


@dataclass
class Tally:
    """What a run of ``score`` came to; rows that an earlier run had finished are counted in ``taken_over`` only."""

    total: int
    taken_over: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    problems: int = 0


def score(
    manifest: Manifest,
    out: str | Path,
    detector: LivenessDetector,
    *,
    depth_dir: str | Path | None = None,
    workers: int = 1,
    on_row: Callable[[ScoredRow | None], None] = lambda _: None,
) -> Tally:
    """Score every row of ``manifest`` that ``out`` does not have yet and append it there.

    A row whose files cannot be read gets ``no_response`` and a reason. ``on_row`` is called with each finished row, and
    with None for each that ``out`` had already. Lines are written in the manifest's order, whatever the number of
    ``workers`` (threads). Raises ManifestError where ``out`` is something else than a score file of this manifest and
    model, or where a depth file would take the place of one that the manifest names.
    """
    out = Path(out)
    depth_folder = None if depth_dir is None else Path(depth_dir)
    if workers < 1:
        raise InputError(f"workers: expected 1 or more, got {workers}")
    columns = score_columns(manifest)
    if depth_folder is not None:
        for presentation in manifest:
            _check_file_name(presentation.sample_id)
        _check_replaces_no_input(depth_folder, manifest)
    finished = _resume(out, columns, manifest, detector)
    tally = Tally(len(manifest), len(finished))
    for _ in finished:
        on_row(None)
    scorer = _Scorer(detector, manifest, depth_folder)
    waiting = (entry for entry in manifest if entry.sample_id not in finished)
    with out.open("a", encoding="utf-8", newline="") as file, _one_thread_each(workers):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        for row in _in_order(scorer, waiting, workers):
            writer.writerow(dict(row.cells))
            file.flush()
            tally.decisions[row.decision] += 1
            tally.problems += row.problem is not None
            on_row(row)
    return tally


def score_columns(manifest: Manifest) -> tuple[str, ...]:
    """The score file's columns: the result's, then the manifest's. Raises ManifestError where two would have one
    name."""
    further = dict.fromkeys(name for entry in manifest for name in entry.further)
    for name in further:
        if (carried_name := _carried_name(name)) != name and carried_name in further:
            raise ManifestError(
                f"manifest {manifest.path}: the columns {name} and {carried_name} would both be {carried_name} in the "
                "score file; rename one"
            )
    carried = [_carried_name(name) for name in (*COLUMNS[1:], *further)]
    return (*RESULT_COLUMNS, *PROVENANCE_COLUMNS, *carried)


class _Scorer:
    """Scores one presentation; used by many threads at once."""

    def __init__(self, detector: LivenessDetector, manifest: Manifest, depth_folder: Path | None) -> None:
        self._detector = detector
        self._manifest = manifest
        self._depth_folder = depth_folder
        # A rig and its rectification are worth keeping: most manifests have thousands of rows a rig.
        self._rig: Callable[[Path], Rig] = lru_cache(maxsize=RIGS_KEPT)(Rig.load)

    def __call__(self, entry: Presentation) -> ScoredRow:
        reason, rig, depth = "unreadable_rig", None, None
        try:
            if entry.rig is None:
                raise RigError(f"sample {entry.sample_id}: has no rig; registered views can train, but not be scored")
            rig = self._rig(entry.rig)
            reason = "unreadable_first"
            first = read_image(entry.first)
            reason = "unreadable_second"
            second = read_image(entry.second)
            reason = "does_not_fit_rig"
            analysis = self._detector.analyse(first, second, rig)
            depth = analysis.depth
        except (ImageError, RigError) as error:
            return self._row(entry, {"decision": "no_response", "reasons": reason}, str(error))
        except Exception as error:
            # Days of scoring must not end at one odd row; its fault is shown and counted.
            problem = f"{type(error).__name__}: {error}"
            return self._row(entry, {"decision": "no_response", "reasons": "internal_error"}, problem)
        finally:
            if self._depth_folder is not None and rig is not None:
                # Of a row that cannot be read too: a picture without any measurement.
                target = _depth_file(self._depth_folder, entry)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_depth(target, depth_on_first_image_mm(depth, rig))
        verdict = analysis.verdict
        cells = {
            "decision": verdict.decision,
            "score": "" if verdict.score is None else f"{verdict.score:.6f}",
            "reasons": REASON_SEPARATOR.join(verdict.reasons),
            "distance_mm": "" if verdict.distance_mm is None else f"{verdict.distance_mm:.1f}",
            "time_ms": f"{verdict.time_ms:.2f}",
        }
        return replace(self._row(entry, cells), analysis=analysis)

    def _row(self, entry: Presentation, cells: Mapping[str, str], problem: str | None = None) -> ScoredRow:
        blank = dict.fromkeys(RESULT_COLUMNS, "")
        provenance, carried = _provenance(self._detector), _carried(self._manifest, entry)
        row = {**blank, "sample_id": entry.sample_id, **cells, **provenance, **carried}
        return ScoredRow(entry.sample_id, row, problem)


def _provenance(detector: LivenessDetector) -> dict[str, str]:
    return {"threshold": f"{detector.threshold:.6f}", "model": detector.model.identity}


def _carried(manifest: Manifest, entry: Presentation) -> dict[str, str]:
    """A row of the manifest as a score file has it: each cell as it was written there."""
    folder = manifest.path.parent

    def cell(column: str) -> str:
        value = getattr(entry, column)
        if column in PATH_COLUMNS and value is not None:
            return value.relative_to(folder).as_posix() if value.is_relative_to(folder) else str(value)
        return value or ""

    cells = {name: cell(name) for name in COLUMNS[1:]} | dict(entry.further)
    return {_carried_name(name): value for name, value in cells.items()}


def _in_order(scorer: _Scorer, entries: Iterator[Presentation], workers: int) -> Iterator[ScoredRow]:
    if workers == 1:
        yield from map(scorer, entries)
        return
    under_way: deque[Future[ScoredRow]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for entry in entries:
            under_way.append(pool.submit(scorer, entry))
            if len(under_way) >= 4 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each(workers: int) -> Iterator[None]:
    """OpenCV's own threads would only fight with several workers."""
    before = cv2.getNumThreads()
    if workers > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _resume(out: Path, columns: Sequence[str], manifest: Manifest, detector: LivenessDetector) -> set[str]:
    """Begin the score file or make it ready to go on; returns the sample_ids that it has."""
    rows = list(_kept_rows(out, columns)) if out.exists() and out.stat().st_size else []
    known = {entry.sample_id: entry for entry in manifest}
    place = {name: index for index, name in enumerate(columns)}
    for row in rows:
        sample_id, model, threshold = (row[place[name]] for name in ("sample_id", "model", "threshold"))
        if sample_id not in known:
            raise ManifestError(
                f"scores {out}: has the sample_id {sample_id!r}, which the manifest lacks; choose another file"
            )
        if {"model": model, "threshold": threshold} != _provenance(detector):
            raise ManifestError(
                f"scores {out}: was begun with the model {model} at the threshold {threshold}; choose another file"
            )
        for name, value in _carried(manifest, known[sample_id]).items():
            if row[place[name]] != value:
                raise ManifestError(
                    f"scores {out}: sample {sample_id} was scored with the {name} {short(row[place[name]])}, and the "
                    f"manifest now has {short(value)}; choose another file"
                )
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ManifestError(f"scores {out}: cannot be written ({error.strerror or error})") from None
    return {row[place["sample_id"]] for row in rows}


def _kept_rows(out: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Complete rows of a score file that was begun; one that a kill cut off is left out."""
    try:
        text = out.read_bytes().decode("utf-8")  # line ends as they are: a cell may hold one
        header, *lines = csv.reader(io.StringIO(text, newline=""))
    except (OSError, ValueError, csv.Error):
        raise ManifestError(f"scores {out}: exists and is not a score file; choose another file") from None
    if header != list(columns):
        raise ManifestError(
            f"scores {out}: exists and has other columns than this manifest asks for; choose another file"
        )
    pending: list[str] | None = None
    for row in lines:
        if pending is not None:
            yield pending
        pending = row if len(row) == len(columns) else None
    if pending is not None and text.endswith("\n"):
        yield pending


def _carried_name(column: str) -> str:
    return CARRIED_PREFIX + column if column in (*RESULT_COLUMNS, *PROVENANCE_COLUMNS) else column


def _depth_file(folder: Path, entry: Presentation) -> Path:
    return folder / f"{entry.sample_id}.png"


def _check_file_name(sample_id: str) -> None:
    parts = PurePosixPath(sample_id).parts
    names = [*parts[:-1], f"{parts[-1]}.png{PART_SUFFIX}"] if parts else []
    if (
        not parts
        or ".." in parts
        or sample_id.startswith("/")
        or "\\" in sample_id
        or "\0" in sample_id
        # Two samples, such as a/b and a//b, would get one file.
        or PurePosixPath(sample_id).as_posix() != sample_id
        or max(len(name.encode()) for name in names) > NAME_BYTES
    ):
        raise ManifestError(f"sample_id {short(sample_id)}: cannot be made the name of a depth file")


def _check_replaces_no_input(depth_folder: Path, manifest: Manifest) -> None:
    """By the files themselves, since a link or another spelling may lead to one of them."""
    targets = {place: entry for entry in manifest if (place := _place(_depth_file(depth_folder, entry)))}
    if not targets:
        return
    for entry in manifest:
        for path in (getattr(entry, name) for name in PATH_COLUMNS):
            place = None if path is None else _place(path)
            if place is not None and place in targets:
                raise ManifestError(
                    f"depth of sample {targets[place].sample_id}: would take the place of {path}, which sample "
                    f"{entry.sample_id} needs; choose another folder"
                )


def _place(path: Path) -> tuple[int, int] | None:
    """Device and number of the file there; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
