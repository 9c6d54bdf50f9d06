"""Which files of a folder belong together."""

from __future__ import annotations

import re
from pathlib import Path

from stereolive.sources.captures import SourceError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"}
VIEW_WORDS = (
    ("first", "second"),
    ("left", "right"),
    ("visible", "near_infrared"),
    ("visible", "nir"),
    ("color", "infrared"),
    ("colour", "infrared"),
    ("color", "ir"),
    ("rgb", "nir"),
    ("rgb", "ir"),
    ("vis", "nir"),
    ("vis", "ir"),
    ("cam0", "cam1"),
)
"""Words that tell the two views apart, in file names or as names of two folders."""


def pair_files(folder: str | Path) -> list[tuple[str, Path, Path]]:
    """Pairs (name, first, second) of a folder, sorted by name: ``left01.png`` with ``right01.png``, or
    ``rgb/01.png`` with ``ir/01.png``.

    Raises SourceError where no pair of words from ``VIEW_WORDS`` fits at least one pair of files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"source {folder}: no such folder")
    for first_word, second_word in VIEW_WORDS:
        found = _pairs_by_words(folder, first_word, second_word)
        if found:
            return found
    words = "; ".join(f"{a} and {b}" for a, b in VIEW_WORDS[:4])
    raise SourceError(
        f"source {folder}: no pairs of images found; name the files or two folders by the view "
        f"({words}), alike in all else"
    )


def _pairs_by_words(folder: Path, first_word: str, second_word: str) -> list[tuple[str, Path, Path]]:
    folders = {entry.name.lower(): entry for entry in folder.iterdir() if entry.is_dir()}
    if first_word in folders and second_word in folders:
        firsts = {path.stem: path for path in _images(folders[first_word])}
        seconds = {path.stem: path for path in _images(folders[second_word])}
        return [(name, firsts[name], seconds[name]) for name in sorted(firsts.keys() & seconds.keys())]
    firsts, seconds = _named(folder, first_word), _named(folder, second_word)
    return [
        (name.strip("_-. ") or "pair", firsts[name], seconds[name]) for name in sorted(firsts.keys() & seconds.keys())
    ]


def _named(folder: Path, word: str) -> dict[str, Path]:
    """Images whose name holds the view's word, by the name without it. Letters must not go on beside it: ``ir`` is
    not in ``first``."""
    pattern = re.compile(rf"(?<![a-z]){re.escape(word)}(?![a-z])", re.IGNORECASE)
    named = {}
    for path in _images(folder):
        rest, count = pattern.subn("", path.stem)
        if count == 1:
            named[rest] = path
    return named


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
