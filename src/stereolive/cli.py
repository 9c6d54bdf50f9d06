"""The command line: every command a few lines over the library.

Exit statuses: 0 done, or bona fide; 1 attack; 3 no response; 2 bad usage or unreadable input, with one line on stderr;
130 and 141 stopped by the user or by a reader that went away; 70 a bug of ours, with its traceback, so that no bug is
ever taken for a verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import stereolive
from stereolive.calibrate.command import add_commands as add_calibrate_commands
from stereolive.data.adapters.command import add_commands as add_adapt_command
from stereolive.errors import InputError, MissingExtraError, StereoliveError
from stereolive.evaluate.command import add_commands as add_evaluate_commands
from stereolive.serve.command import add_commands as add_serve_commands
from stereolive.store import released_model
from stereolive.watch.command import add_commands as add_watch_commands

EXIT_BY_DECISION = {"bona_fide": 0, "attack": 1, "no_response": 3}
EXIT_INPUT, EXIT_BUG, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 70, 130, 141
SPECTRA = ("visible", "near_infrared")
PROBLEMS_SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    try:
        arguments = parser().parse_args(argv)
        status: int = arguments.handler(arguments)
        sys.stdout.flush()
        return status
    except StereoliveError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Nobody reads any more: keep the interpreter from trying again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("stereolive: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception:
        traceback.print_exc()
        return EXIT_BUG


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = _Parser(
        prog="stereolive", description="Face liveness from two cameras: depth across spectra, and a verdict."
    )
    root.add_argument("--version", action="version", version=f"stereolive {stereolive.__version__}")
    commands: Any = root.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_check(commands)
    _add_score(commands)
    add_evaluate_commands(commands)
    _add_demo(commands)
    _add_rig(commands)
    add_calibrate_commands(commands)
    add_watch_commands(commands)
    _add_synth(commands)
    add_adapt_command(commands)
    _add_train(commands)
    _add_export(commands)
    add_serve_commands(commands)
    return root


def _add_check(commands: Any) -> None:
    command = commands.add_parser(
        "check",
        help="one pair of images: a living face or an attack",
        description="Check one pair. Exit status: 0 bona fide, 1 attack, 3 no response, 2 unreadable input.",
    )
    command.add_argument("first", type=Path, metavar="FIRST", help="image of the rig's first sensor")
    command.add_argument("second", type=Path, metavar="SECOND", help="image of the rig's second sensor")
    command.add_argument(
        "--rig",
        type=Path,
        required=True,
        metavar="RIG.json",
        help="calibration of the two sensors, or auto: estimated from this pair, for relative depth only",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--picture", type=_png, metavar="OUT.png", help="draw both views, the depth and the verdict")
    command.add_argument("--depth", type=_png, metavar="OUT.png", help="write the depth, 16 bits in units of 0.1 mm")
    _add_model_options(command)
    command.set_defaults(handler=_check)


def _check(arguments: argparse.Namespace) -> int:
    from stereolive.calibrate.auto import estimate_rig, uncalibrated
    from stereolive.depth import depth_on_first_image_mm
    from stereolive.detector import LivenessDetector
    from stereolive.explain import explain
    from stereolive.images import read_image, write_depth, write_png
    from stereolive.rig import Rig

    _check_outputs(arguments)
    estimated = str(arguments.rig) == "auto"
    rig = None if estimated else Rig.load(arguments.rig)
    with _decoders_silenced():
        first, second = read_image(arguments.first), read_image(arguments.second)
    if rig is None:
        estimate = estimate_rig([(first, second)])
        rig = estimate.rig
        print(f"stereolive: uncalibrated: {estimate.describe()}", file=sys.stderr)
    detector = LivenessDetector(
        arguments.model, threads=arguments.threads, runtime=arguments.runtime, threshold=arguments.threshold
    )
    analysis = detector.analyse(first, second, rig)
    if estimated:
        analysis = replace(analysis, verdict=uncalibrated(analysis.verdict))
    verdict = analysis.verdict
    if arguments.picture:
        from stereolive.picture import draw

        write_png(arguments.picture, draw(analysis, first, second, rig))
    if arguments.depth:
        write_depth(arguments.depth, depth_on_first_image_mm(analysis.depth, rig))
    if arguments.json:
        print(json.dumps(verdict.as_json()))
    else:
        score = "" if verdict.score is None else f"score {verdict.score:.3f} (threshold {verdict.threshold:.3f}), "
        distance = "" if verdict.distance_mm is None else f"{verdict.distance_mm:.0f} mm away, "
        print(f"{verdict.decision}: {score}{distance}{verdict.time_ms:.0f} ms")
        for code in verdict.reasons:
            print(f"  {code}: {explain(code)}")
    return EXIT_BY_DECISION[verdict.decision]


def _check_outputs(arguments: argparse.Namespace) -> None:
    inputs = {"the first image": arguments.first, "the second image": arguments.second, "the rig": arguments.rig}
    given = {"--picture": arguments.picture, "--depth": arguments.depth}
    outputs = {option: path for option, path in given.items() if path is not None}
    for option, path in outputs.items():
        for what, other in inputs.items():
            if _are_same(path, other):
                raise InputError(f"{option}: {path} is {what}, and would be overwritten; choose another name")
    if len(outputs) == 2 and _are_same(*outputs.values()):
        raise InputError("--picture and --depth: name two files")


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, RuntimeError):  # one of them is not there, or a link to itself
        return False


def _add_score(commands: Any) -> None:
    command = commands.add_parser(
        "score",
        help="many pairs: a manifest in, a score file out",
        description="Score every row of a manifest. Stopped, the same command goes on where it was.",
    )
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="CSV or Parquet, one presentation a row")
    command.add_argument("--out", type=Path, required=True, metavar="SCORES.csv")
    command.add_argument("--depth-dir", type=Path, metavar="DIR", help="write each row's depth there as SAMPLE_ID.png")
    command.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="rows at once (default %(default)s)"
    )
    _add_model_options(command, threads=1)
    command.set_defaults(handler=_score)


def _score(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stereolive.data.manifest import Manifest
    from stereolive.detector import LivenessDetector
    from stereolive.score import ScoredRow, score

    manifest = Manifest.read(arguments.manifest)
    detector = LivenessDetector(
        arguments.model, threads=arguments.threads, runtime=arguments.runtime, threshold=arguments.threshold
    )
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    problems = 0
    progress = Progress(*columns, console=Console(stderr=True))
    task = progress.add_task("", total=len(manifest))
    with ExitStack() as shown:

        def advance(row: ScoredRow | None) -> None:
            nonlocal problems
            if not progress.live.is_started:
                # Not before: what is wrong with the arguments is said in one line, without a bar.
                shown.enter_context(progress)
            progress.advance(task)
            if row is not None and row.problem is not None:
                problems += 1
                if problems <= PROBLEMS_SHOWN:
                    progress.console.print(escape(f"{row.sample_id}: {row.problem}"), soft_wrap=True, highlight=False)

        tally = score(
            manifest,
            arguments.out,
            detector,
            depth_dir=arguments.depth_dir,
            workers=arguments.workers,
            on_row=advance,
        )
    counts = ", ".join(f"{tally.decisions[name]} {name}" for name in EXIT_BY_DECISION)
    earlier = f" and {tally.taken_over} from before" if tally.taken_over else ""
    print(
        f"{sum(tally.decisions.values())} presentations scored{earlier}: {counts}, of these {tally.problems} unreadable"
    )
    print(arguments.out)
    return 0


def _add_demo(commands: Any) -> None:
    command = commands.add_parser(
        "demo",
        help="check the pairs that come with the package",
        description="Check the bundled pairs, print a table and write one page with all pictures.",
    )
    command.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="for the page (default %(default)s)"
    )
    _add_model_options(command)
    command.set_defaults(handler=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from stereolive.demo import run_demo
    from stereolive.detector import LivenessDetector

    detector = LivenessDetector(
        arguments.model, threads=arguments.threads, runtime=arguments.runtime, threshold=arguments.threshold
    )
    print(run_demo(detector, arguments.out))
    return 0


def _add_rig(commands: Any) -> None:
    rig = commands.add_parser("rig", help="make rig files")
    actions = rig.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=_Parser)
    command = actions.add_parser(
        "from-bob",
        help="from a calibration file of Idiap's tools (HQ-WMCA)",
        description="Two cameras of a calibration file (in centimetres, relative to one of them) become a rig.",
    )
    command.add_argument("calibration", type=Path, metavar="CALIBRATION.json")
    for view in ("first", "second"):
        command.add_argument(
            f"--{view}", required=True, metavar="CAMERA", help=f"name of the {view} camera in the file"
        )
        command.add_argument(
            f"--{view}-image", type=Path, required=True, metavar="IMAGE", help="one of its images, for the size"
        )
        command.add_argument(f"--{view}-spectrum", choices=SPECTRA, help="default: by the camera's name")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="RIG.json")
    command.set_defaults(handler=_rig_from_bob)


def _rig_from_bob(arguments: argparse.Namespace) -> int:
    from stereolive.data.adapters.hq_wmca import read_calibration, rig_between
    from stereolive.images import read_image

    calibration = read_calibration(arguments.calibration)
    sizes = []
    for path in (arguments.first_image, arguments.second_image):
        height, width = read_image(path).shape[:2]
        sizes.append((width, height))
    rig = rig_between(
        calibration,
        arguments.first,
        arguments.second,
        (sizes[0], sizes[1]),
        (
            arguments.first_spectrum or _spectrum_by_name(arguments.first, "--first-spectrum"),
            arguments.second_spectrum or _spectrum_by_name(arguments.second, "--second-spectrum"),
        ),
    )
    rectification = rig.rectification
    rig.save(arguments.out)
    print(f"baseline {rig.baseline_mm:.1f} mm, rectified views turned by {rectification.roll_deg:.1f} degrees")
    print(arguments.out)
    return 0


def _spectrum_by_name(camera: str, option: str) -> Any:
    if camera.startswith("nir"):
        return "near_infrared"
    if camera in ("color", "rgb"):
        return "visible"
    raise InputError(f"camera {camera!r}: its name does not tell its spectrum; give {option}")


def _add_synth(commands: Any) -> None:
    command = commands.add_parser(
        "synth",
        help="render presentations with depth, for training and tests",
        description="Render presentations and their manifest. Stopped, the same command goes on where it was.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="folder")
    command.add_argument("--samples", type=int, required=True, metavar="N")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="default %(default)s")
    command.add_argument("--heads", type=Path, metavar="FOLDER", help="folder with further head sources")
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="K", help="default %(default)s")
    for name, what in (
        ("sources", "head sources"),
        ("species", "PAI species"),
        ("illuminations", "illuminations"),
        ("rig-families", "rig families"),
        ("splits", "splits"),
    ):
        command.add_argument(f"--{name}", nargs="+", metavar="NAME", help=f"only these {what}")
    command.add_argument("--bona-fide-share", type=float, metavar="SHARE")
    command.add_argument("--subjects", type=int, metavar="N", help="identities to draw from")
    command.add_argument("--instruments", type=int, metavar="N", help="attack instruments of each species to draw from")
    command.set_defaults(handler=_synth)


def _synth(arguments: argparse.Namespace) -> int:
    with _extra("Rendering", "synth"):
        from stereolive.synth.generate import generate
        from stereolive.synth.present import Settings

    names = ("sources", "species", "illuminations", "rig_families", "splits")
    given: dict[str, Any] = {name: tuple(getattr(arguments, name)) for name in names if getattr(arguments, name)}
    for name in ("bona_fide_share", "subjects", "instruments"):
        if getattr(arguments, name) is not None:
            given[name] = getattr(arguments, name)
    heads = None if arguments.heads is None else str(arguments.heads)
    with _extra("Rendering", "synth"):
        print(generate(arguments.out, arguments.samples, Settings(arguments.seed, heads, **given), arguments.workers))
    return 0


def _add_train(commands: Any) -> None:
    command = commands.add_parser(
        "train",
        help="train a model on a manifest",
        description="Train both networks and write a model folder. Stopped or killed, the same command goes on.",
    )
    command.add_argument("config", type=Path, nargs="?", metavar="CONFIG.yaml", help="a file such as those in configs/")
    command.add_argument(
        "--manifest", "--data", type=Path, metavar="MANIFEST", help="what to train on, instead of the configuration's"
    )
    command.add_argument(
        "--also",
        type=Path,
        nargs="+",
        metavar="MANIFEST",
        help="further manifests to learn from, such as rendered ones beside your own; validation is on the first alone",
    )
    command.add_argument(
        "--init",
        type=Path,
        metavar="MODEL",
        help="go on from this model, 'released' for the one that comes along: adapts it to a rig and its recordings",
    )
    command.add_argument("--out", type=Path, metavar="MODEL", help="the model folder, instead of the configuration's")
    command.add_argument("--seed", type=int, metavar="S", help="instead of the configuration's")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), help="instead of the configuration's")
    command.add_argument(
        "--resume", action="store_true", help="begin no new run: refuse where there is none in MODEL.work to go on with"
    )
    command.set_defaults(handler=_train)


def _train(arguments: argparse.Namespace) -> int:
    with _extra("Training", "train"):
        from stereolive.train.config import load_config
        from stereolive.train.run import train

    names = ("manifest", "also", "out", "seed", "device", "init")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if "init" in given:
        given["init"] = _model_folder(given["init"])
    with _extra("Training", "train"):
        config = load_config(arguments.config, **given)
        if arguments.resume and not config.work.is_dir():
            raise InputError(f"--resume: there is no run in {config.work}")
        print(train(config).folder)
    return 0


def _add_export(commands: Any) -> None:
    command = commands.add_parser(
        "export",
        help="a trained model's networks to ONNX, for use without training's weights",
        description="Export a model's networks anew from the weights that it keeps, check that they say what they said,"
        " and write a model folder without the weights, which only training needs.",
    )
    command.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="model folder; 'released' for the one that comes along",
    )
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the model folder to write")
    command.set_defaults(handler=_export)


def _export(arguments: argparse.Namespace) -> int:
    with _extra("Exporting", "train"):
        from stereolive.train.export import export_model

        print(export_model(_model_folder(arguments.model), arguments.out).folder)
    return 0


def _model_folder(given: Path) -> Path:
    """``released`` names the model that comes with the package."""
    return released_model() if given == Path("released") else given


def _add_model_options(command: argparse.ArgumentParser, threads: int = 0) -> None:
    command.add_argument("--model", type=Path, metavar="FOLDER", help="model folder (default: the released one)")
    command.add_argument(
        "--threshold", type=_share, metavar="T", help="accept scores of at least T instead of the model's"
    )
    command.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    command.add_argument(
        "--threads",
        type=int,
        default=threads,
        metavar="N",
        help="of each network, 0 for all cores (default %(default)s)",
    )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, got {text!r}")
    return path


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def _fail(message: str) -> int:
    print(f"stereolive: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_INPUT


@contextmanager
def _extra(what: str, extra: str) -> Iterator[None]:
    """A missing package of an optional part becomes the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "stereolive").split(".")[0] == "stereolive":
            raise
        raise MissingExtraError(what, extra) from None


@contextmanager
def _decoders_silenced() -> Iterator[None]:
    """What the image libraries print of damaged files stays away from our one line; they write past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
