"""A release from nothing: its data, its model, its results.

    python scripts/release.py configs/release-0.11.yaml [--only data|model|results] [--workers 2] [--show]

``configs/data/`` holds a file of the same name, which says what to render, what to train on, what to grade with, and
the revision whose released model training starts from. ``like`` names another file there: what is not said is as in
that one, and its sets are known too. ``renderer``: the revision whose code renders, where ours has changed since. Every
step is a command that is printed before it runs (``--show`` only prints them), and goes on where it was stopped.

``data``: renders the sets, below data/. ``model``: trains runs/NAME and puts it and its log into the package and
results/training/, the log of the model before into a folder there. ``results``: everything below results/ that a new
model changes, but for the fault tables and the times, and the figures in the documents.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
STEREOLIVE = [sys.executable, "-m", "stereolive"]
MODEL = Path("src/stereolive/model")
TRAINING = Path("results/training")
SETTINGS = TRAINING / "sgbm_settings.json"
BASELINE = "results/baseline_sgbm"
JUDGE = "../shared/judge/manifest.csv"
MASK = "../shared/real/idiap_mask"
STAGES = ("data", "model", "results")

Command = list[str]


def described(file: Path) -> dict[str, Any]:
    """What a file in configs/data/ says."""
    plan: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    if "like" not in plan:
        return plan
    other = described(file.with_name(f"{plan['like']}.yaml"))
    return other | plan | {"sets": other["sets"] | plan.get("sets", {})}


def used(plan: dict[str, Any]) -> list[str]:
    """Names of the sets that are trained on and graded with."""
    return list(dict.fromkeys([plan["validation"], *plan["train"], *plan["graded"].values()]))


def rendering(plan: dict[str, Any], workers: int) -> Iterator[Command]:
    """A command for each set, and before the first of an earlier renderer one that brings its code back."""
    brought: set[str] = set()
    for name in used(plan):
        settings = plan["shared"] | plan["sets"][name]
        command = [*STEREOLIVE, "synth", f"data/{name}", "--workers", str(workers)]
        revision = settings.pop("renderer", None)
        if revision is not None:
            code = f"runs/renderer-{revision}"
            if revision not in brought and not (ROOT / code).is_dir():
                yield ["git", "worktree", "add", "--detach", code, revision]
            brought.add(revision)
            command = ["env", f"PYTHONPATH={code}/src", *command]
        for key, value in settings.items():
            values = value if isinstance(value, list) else [value]
            command += [f"--{key.replace('_', '-')}", *map(str, values)]
        yield command


def training(plan: dict[str, Any], config: Path, start: Path) -> Command:
    """The command that trains the model."""
    also = [manifest(name) for name in plan["train"]]
    data = ["--manifest", manifest(plan["validation"]), "--also", *also]
    program = STEREOLIVE
    if "processes" in plan:
        # Of one thread each: faster than one process that shares each step's work among as many threads.
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(plan["processes"])]
        program = [sys.executable, *several, *STEREOLIVE[1:]]
    return [*program, "train", str(config), *data, "--init", str(start), "--out", f"runs/{config.stem}"]


def grading(plan: dict[str, Any], workers: int) -> Iterator[Command]:
    """Commands for what a new model changes below results/, in their order."""
    evaluate = [
        sys.executable,
        "benchmarks/evaluate_release.py",
        "--settings",
        str(SETTINGS),
        "--workers",
        str(workers),
    ]
    for name, data in plan["graded"].items():
        yield [*evaluate, manifest(data), "--out", f"results/{name}", "--pictures"]
    # Pictures of ../shared are not passed on.
    yield [*evaluate, JUDGE, "--out", "results/judge"]
    baseline = [sys.executable, "benchmarks/baseline_sgbm.py", manifest(plan["graded"]["test"]), "--pictures"]
    baseline += ["--also", manifest(plan["validation"]), "--settings", f"{BASELINE}/settings.json"]
    yield [*baseline, "--out", BASELINE, "--compare", "results/test/scores.csv", "--workers", str(workers)]
    yield [sys.executable, "benchmarks/idiap_mask.py", MASK]
    yield [sys.executable, "scripts/frozen_set.py", "--refresh"]
    yield [sys.executable, "benchmarks/figures.py"]


def manifest(name: str) -> str:
    return f"data/{name}/manifest.csv"


def fetch(revision: str, where: Path) -> None:
    """Put the model folder that the package had at ``revision`` there, if it is not there yet."""
    if not where.is_dir():
        part = where.with_name(where.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        names = subprocess.run(
            ["git", "ls-tree", "--name-only", revision, f"{MODEL}/"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for name in names:
            shown = subprocess.run(["git", "show", f"{revision}:{name}"], cwd=ROOT, check=True, capture_output=True)
            (part / Path(name).name).write_bytes(shown.stdout)
        part.rename(where)


def logged(command: Command, log: Path) -> None:
    """Run a command, and keep what it says: after what it said before it was stopped."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running,
    ):
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            file.write(line)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)


def version(model: Path) -> str:
    """Of a model folder."""
    return str(json.loads((model / "manifest.json").read_text("utf-8"))["version"])


def released(config: Path, plan: dict[str, Any]) -> None:
    """Put the trained model into the package, and its log beside the results; the log of the model before goes
    into a folder there."""
    trained = ROOT / "runs" / config.stem
    before = version(ROOT / MODEL)
    if before != version(trained):
        kept = ROOT / TRAINING / before
        kept.mkdir(exist_ok=True)
        for pattern in ("metrics.jsonl", "train.log", "synth-*.json"):
            for file in (ROOT / TRAINING).glob(pattern):
                file.replace(kept / file.name)
    for file in trained.iterdir():
        shutil.copy(file, ROOT / MODEL / file.name)
    shutil.copy(trained.with_name(trained.name + ".work") / "metrics.jsonl", ROOT / TRAINING / "metrics.jsonl")
    shutil.copy(trained.with_name(trained.name + ".log"), ROOT / TRAINING / "train.log")
    for name in used(plan):
        shutil.copy(ROOT / "data" / name / "synth.json", ROOT / TRAINING / f"synth-{name}.json")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="a training configuration in configs/ with data in configs/data/")
    parser.add_argument("--only", choices=STAGES, help="one stage; default: all, one after the other")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print the commands and run none")
    given = parser.parse_args(argv)
    data = ROOT / "configs" / "data" / given.config.name
    if not given.config.is_file() or not data.is_file():
        parser.error(f"{given.config}: there is no such configuration with data in {data.parent}")
    plan = described(data)
    start = Path("runs", f"start-{plan['start']}")

    def run(command: Command, log: Path | None = None) -> None:
        print("$", *command, flush=True)
        if given.show:
            return
        if log is None:
            subprocess.run(command, cwd=ROOT, check=True)
        else:
            logged(command, log)

    stages = [given.only] if given.only else STAGES
    try:
        if "data" in stages:
            for command in rendering(plan, given.workers):
                run(command)
        if "model" in stages:
            if not given.show:
                fetch(plan["start"], ROOT / start)
            config = Path(os.path.relpath(given.config, ROOT))
            run(training(plan, config, start), ROOT / "runs" / f"{config.stem}.log")
            if not given.show:
                released(given.config, plan)
        if "results" in stages:
            for command in grading(plan, given.workers):
                run(command)
    except subprocess.CalledProcessError as error:
        print(f"stopped at: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
