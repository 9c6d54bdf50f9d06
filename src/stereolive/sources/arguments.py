"""The command line options that every command with a source shares."""

from __future__ import annotations

import argparse
import re

from stereolive.errors import InputError
from stereolive.sources import MAX_SKEW_MS, SourceOptions
from stereolive.sources.frames import PIXEL_FORMATS


def add_source_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("cameras")
    group.add_argument("--frame-size", metavar="WxH", help="ask the cameras for this size")
    group.add_argument("--fps", type=float, help="ask the cameras for this rate")
    group.add_argument("--first-format", choices=PIXEL_FORMATS, help="raw format of the first camera")
    group.add_argument("--second-format", choices=PIXEL_FORMATS, help="raw format of the second camera")
    group.add_argument(
        "--max-skew-ms",
        type=float,
        default=MAX_SKEW_MS,
        help="pairs further apart in time are refused (default %(default)g)",
    )


def source_options(arguments: argparse.Namespace) -> SourceOptions:
    """The options from parsed arguments. Raises InputError."""
    size = None
    if arguments.frame_size:
        match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", arguments.frame_size.lower())
        if match is None:
            raise InputError(f"frame size: expected WIDTHxHEIGHT such as 640x480, got {arguments.frame_size!r}")
        size = int(match[1]), int(match[2])
    if arguments.max_skew_ms <= 0:
        raise InputError("max skew: expected more than 0 ms")
    return SourceOptions(size, arguments.fps, arguments.first_format, arguments.second_format, arguments.max_skew_ms)
