"""Ports as the command line takes them, for the pages of ``watch`` and ``serve``."""

from __future__ import annotations

import argparse

HIGHEST_PORT = 65535


def port(text: str) -> int:
    """A port's number; 0 lets the system choose one. Raises argparse.ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {HIGHEST_PORT}, got {text!r}")
    return number
