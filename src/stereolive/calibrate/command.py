"""``stereolive calibrate``: print a board, collect its views, write the rig and a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from stereolive.calibrate.boards import DEFAULT_SIZES, Board
from stereolive.calibrate.capture import Shots, collect_all, collect_steady
from stereolive.calibrate.judgement import HEADLINES, MARKS, findings, grade
from stereolive.calibrate.printing import PAPERS_MM, write_board_pdf
from stereolive.calibrate.report import write_report
from stereolive.calibrate.solve import Calibration, solve
from stereolive.errors import InputError
from stereolive.rig import Rig, Spectrum
from stereolive.sources import SourceOptions, open_source
from stereolive.sources.arguments import add_source_options, source_options
from stereolive.watch.window import Window, has_display

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
SPECTRA = ("visible", "near_infrared")
NOT_GOOD_ENOUGH = 1


def add_commands(subparsers: Subparsers) -> None:
    """Register ``calibrate``."""
    parser = subparsers.add_parser(
        "calibrate",
        help="turn pictures of a board into a rig file and a report",
        description="Print a board (--print), show it to both sensors in 15 views, and get a rig file with a report. "
        "SOURCE is a folder of pairs, two videos or cameras A,B, side-by-side:A, top-bottom:A or realsense:infrared. "
        "Exit status: 0 good or usable, 1 not good enough, 2 bad usage or unreadable input.",
    )
    parser.add_argument("source", nargs="?", help="where the pairs come from")
    parser.add_argument("--board", choices=list(DEFAULT_SIZES), default="chessboard")
    parser.add_argument(
        "--size", metavar="CxR", help="inner corners (chessboard), squares (charuco) or circles (circles)"
    )
    parser.add_argument("--square-mm", type=float, help="side of a square, or distance between rows of circles")
    parser.add_argument(
        "--print", dest="pdf", metavar="BOARD.pdf", help="write the board as a PDF in true size and stop"
    )
    parser.add_argument("--paper", choices=list(PAPERS_MM), default="a4")
    parser.add_argument("--first", choices=SPECTRA, default="visible", help="what the first sensor sees")
    parser.add_argument("--second", choices=SPECTRA, default="near_infrared", help="what the second sensor sees")
    parser.add_argument("--out", metavar="RIG.json", default="rig.json")
    parser.add_argument("--report", metavar="REPORT.html", help="default: beside the rig file")
    parser.add_argument("--save", metavar="DIR", help="keep the shots that a live camera or a video gave")
    parser.add_argument(
        "--accept", metavar="PROPOSED.json", help="take a refinement that watch proposed as --out and stop"
    )
    add_source_options(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """The command. Raises StereoliveError."""
    console = Console(stderr=True)
    if arguments.accept:
        Rig.load(arguments.accept).save(arguments.out)
        console.print(f"{arguments.accept} is now {arguments.out}")
        return 0
    board = Board.parse(arguments.board, arguments.size, arguments.square_mm)
    if arguments.pdf:
        write_board_pdf(arguments.pdf, board, arguments.paper)
        console.print(
            f"{arguments.pdf}: {board.kind} {board.columns}x{board.rows}; print at 100 % and measure the ruler"
        )
        return 0
    if not arguments.source:
        raise InputError("calibrate: give a SOURCE of pairs, or --print BOARD.pdf to print a board first")
    shots = _collect(arguments.source, board, source_options(arguments), arguments.save, console)
    if shots.sizes is None:
        raise InputError(f"calibrate: {arguments.source} gave no pairs")
    spectra = cast(tuple[Spectrum, Spectrum], (arguments.first, arguments.second))
    calibration = solve(board, shots.pairs, shots.sizes, spectra)
    calibration.rig.save(arguments.out)
    report = Path(arguments.report) if arguments.report else Path(arguments.out).with_suffix(".html")
    write_report(report, calibration, shots.images, Path(arguments.source).name or arguments.source)
    _say(console, calibration, arguments.out, report)
    return NOT_GOOD_ENOUGH if grade(calibration) == "not_good_enough" else 0


def _collect(name: str, board: Board, options: SourceOptions, save: str | None, console: Console) -> Shots:
    def say(message: str) -> None:
        console.print(message, highlight=False)

    source = open_source(name, options, say)
    try:
        if Path(name).is_dir():
            return collect_all(source, board, say)
        window: Any = Window("stereolive calibrate") if source.live and has_display() else None
        show = window.show if window else None
        try:
            return collect_steady(source, board, Path(save) if save else None, say, show)
        finally:
            if window:
                window.close()
    finally:
        source.close()


def _say(console: Console, calibration: Calibration, rig: str, report: Path) -> None:
    headline, sentence = HEADLINES[grade(calibration)]
    console.print(f"\n[bold]{headline}.[/bold] {sentence}")
    for finding in findings(calibration):
        console.print(f" {MARKS[finding.grade]} {finding.found}", highlight=False)
        if finding.advice:
            console.print(f"   {finding.advice}", style="bold", highlight=False)
    for pair in calibration.pairs:
        if not pair.used:
            console.print(f"   {pair.name}: {pair.reason}", highlight=False)
    console.print(f"rig: {rig}\nreport: {report}", highlight=False)
