"""Whole data sets of rendered presentations: who, what, where and under which light, drawn from one seed.

Sample ``i`` of seed ``s`` is the same whatever the number of workers and whatever was rendered before it. Subjects,
instruments and rig families belong to one split each, so that no test face is on a training print or mask.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import threading
import time
import zipfile
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

import cv2

from stereolive.data.manifest import NEEDED
from stereolive.errors import StereoliveError
from stereolive.synth.people import Population
from stereolive.synth.present import Settings, present

COLUMNS = (
    *("sample_id", "first", "second", "rig", "depth", "surface", "label", "pai_species", "material", "illumination"),
    *("subject_id", "instrument_id", "instrument_subject_id", "head_source", "skin_group", "distance_mm", "split"),
    *("rig_family", "first_spectrum", "second_spectrum", "face_first", "face_second"),
)


def _write(path: Path, data: bytes) -> None:
    """All of the file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


_WORKER: dict[str, Any] = {}


def _begin(settings: Settings, out: Path) -> None:
    import numba

    # Libraries of the head sources greet on stdout, which is for the manifest's path.
    os.dup2(2, 1)
    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    parent = os.getppid()

    def follow() -> None:
        # A worker whose parent was killed would wait for work for ever.
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _WORKER["settings"], _WORKER["out"] = settings, out


def _population() -> Population:
    """This worker's, loaded when first asked for: what goes wrong as a worker starts cannot be told to the caller."""
    if "population" not in _WORKER:
        settings: Settings = _WORKER["settings"]
        folder = Path(settings.heads) if settings.heads else None
        try:
            _WORKER["population"] = Population(settings.seed, folder, settings.sources)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            where = f" in {folder}" if folder else ""
            raise StereoliveError(f"The heads{where} cannot be read: {error}.") from error
        except ValueError as error:
            raise StereoliveError(str(error)) from error
    population: Population = _WORKER["population"]
    return population


def _load_heads() -> None:
    _population()


def _render(index: int) -> dict[str, str]:
    out: Path = _WORKER["out"]
    settings: Settings = _WORKER["settings"]
    made = present(settings, _population(), index)
    _write(out / made.row["first"], made.first[1])
    _write(out / made.row["second"], made.second[1])
    _write(out / made.row["depth"], made.depth)
    _write(out / made.row["surface"], made.surface)
    name, rig = made.rig_json
    if not (out / name).exists():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        temporary = (out / name).with_name(f"{Path(name).stem}.{os.getpid()}.tmp.json")
        rig.save(temporary)
        temporary.replace(out / name)
    return made.row


def _read_rows(journal: Path) -> dict[str, dict[str, str]]:
    """What was finished before. A line that a kill cut off is rendered again; later runs have written behind it."""
    rows: dict[str, dict[str, str]] = {}
    if journal.exists():
        for number, line in enumerate(journal.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line.decode("utf-8"))
            except json.JSONDecodeError:
                continue
            except (ValueError, RecursionError):
                row = None
            if not _is_row(row):
                raise StereoliveError(
                    f"{journal}, line {number}: is damaged; take the line out and its sample is rendered again."
                )
            rows[row["sample_id"]] = row
    return rows


def _is_row(row: object) -> TypeGuard[dict[str, str]]:
    return (
        isinstance(row, dict)
        and set(NEEDED) <= set(row) <= set(COLUMNS)
        and all(isinstance(value, str) for value in row.values())
        and re.fullmatch(r"[0-9]{6,}", row["sample_id"]) is not None
    )


def _check_begun(begun: Path, wanted: str) -> None:
    """Raises StereoliveError where the folder is not one of these settings."""
    if not begun.exists():
        return
    try:
        same = json.loads(begun.read_text("utf-8")) == json.loads(wanted)
    except (ValueError, RecursionError):
        raise StereoliveError(f"{begun} is damaged; choose another folder.") from None
    if not same:
        raise StereoliveError(f"{begun.parent} was begun with other settings (see {begun}); choose another folder.")


def _write_manifest(out: Path, rows: dict[str, dict[str, str]]) -> None:
    temporary = out / ".manifest.csv.tmp"
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
    temporary.replace(out / "manifest.csv")


def generate(out: Path, samples: int, settings: Settings, workers: int = 1) -> Path:
    """Render ``samples`` presentations into a folder, or what is missing of them; returns the manifest's path."""
    try:
        return _generate(Path(out), samples, settings, workers)
    except BrokenProcessPool as error:
        hint = "perhaps memory ran out; run the same command again, with fewer workers, to go on"
        raise StereoliveError(f"A worker ended before its time: {hint}.") from error
    except OSError as error:
        if error.errno == 28:
            raise StereoliveError(
                f"The disk is full: free some space under {out} and run the same command again to go on."
            ) from error
        raise StereoliveError(f"Cannot write to {out}: {error.strerror or error}.") from error


def _generate(out: Path, samples: int, settings: Settings, workers: int) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if samples < 1 or workers < 1:
        raise StereoliveError("samples and workers must be at least 1.")
    if settings.seed < 0:
        raise StereoliveError(f"seed: expected 0 or more, got {settings.seed}.")
    if settings.heads and not Path(settings.heads).is_dir():
        raise StereoliveError(f"The folder with heads does not exist: {settings.heads}")
    begun = out / "synth.json"
    wanted = json.dumps({"format": "stereolive-synth/1", **asdict(settings)}, indent=1)
    _check_begun(begun, wanted)
    out.mkdir(parents=True, exist_ok=True)
    journal = out / "samples.jsonl"
    rows = _read_rows(journal)
    wanting = [i for i in range(samples) if f"{i:06d}" not in rows]
    # Threaded linear algebra inside each worker would only get in the others' way, and may round differently.
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            ProcessPoolExecutor(workers, context, _begin, (settings, out)) as pool,
            Progress(*columns, console=Console(stderr=True)) as progress,
            ExitStack() as opened,
        ):
            waiting = "loading heads (the first time, minutes)"
            task = progress.add_task(waiting, total=samples, completed=sum(int(name) < samples for name in rows))
            # Before anything is written: a folder begun with heads that there are not could not be gone on with.
            try:
                for loaded in [pool.submit(_load_heads) for _ in range(min(workers, len(wanting)))]:
                    loaded.result()
                _write(begun, wanted.encode())
                log = opened.enter_context(journal.open("a"))
                if journal.stat().st_size and not journal.read_bytes().endswith(b"\n"):
                    log.write("\n")
                missing = iter(wanting)
                under_way = {pool.submit(_render, i) for _, i in zip(range(2 * workers), missing, strict=False)}
                while under_way:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        row = future.result()
                        rows[row["sample_id"]] = row
                        log.write(json.dumps(row) + "\n")
                        log.flush()
                        progress.update(task, advance=1, description="rendering")
                        if len(rows) % 200 == 0:
                            _write_manifest(out, rows)
                        following = next(missing, None)
                        if following is not None:
                            under_way.add(pool.submit(_render, following))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    _write_manifest(out, rows)
    return out / "manifest.csv"
