"""Dependencies point one way, read from the imports themselves.

``types, errors, checks`` <- ``images, rig`` <- ``faces, depth, measures, quality, store, runtime`` <- ``detector`` <-
the rest.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "stereolive"

LEVELS: tuple[tuple[str, ...], ...] = (
    ("types", "errors", "checks"),
    ("images", "rig"),
    ("faces", "depth", "measures", "quality", "store", "runtime"),
    ("detector",),
    ("explain", "picture", "score", "demo", "cli", "__main__", "serve", "watch", "calibrate", "sources", "drift"),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

ALLOWED: dict[str, set[str]] = {
    # Rooms beside that ladder, and which of our modules each may use, but for errors and checks, which all may.
    "data": {"types", "images", "rig", "faces", "depth", "quality", "data"},
    "nets": {"depth", "nets"},
    "train": {
        "types",
        "rig",
        "faces",
        "depth",
        "images",
        "measures",
        "quality",
        "store",
        "runtime",
        "data",
        "nets",
        "train",
    },
    "synth": {"types", "images", "rig", "data", "synth"},
    "evaluate": {"images", "evaluate"},  # it grades anybody's scores, and knows nothing of how ours are made
}
MAY_USE_ROOMS = {"score": {"data"}, "demo": {"data"}, "cli": {"data", "evaluate", "synth", "train"}, "serve": {"data"}}
FOR_ALL = {"errors", "checks"}
TORCH_ROOMS = {"nets", "train", "synth"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE)
        yield (relative.parts[0] if len(relative.parts) > 1 else relative.stem), path


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether it does so as soon as it is imported itself."""
    tree = ast.parse(path.read_text("utf-8"))
    later: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if is_typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            later |= set(ast.walk(node)) - {node}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in later
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "stereolive":
                for alias in node.names:
                    if alias.name != "__version__":
                        yield f"stereolive.{alias.name}", node not in later
            else:
                yield node.module or "", node not in later


def own(names: Iterator[tuple[str, bool]]) -> set[str]:
    parts = (name.split(".") for name, _ in names)
    return {part[1] for part in parts if part[0] == "stereolive" and len(part) > 1}


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_levels(name: str) -> None:
    for room, path in modules():
        if room != name:
            continue
        for target in own(imported(path)) - FOR_ALL - {room}:
            if target in ALLOWED:
                assert target in MAY_USE_ROOMS.get(room, set()), f"{path} uses {target}"
            elif target in LEVEL:
                highest = LEVEL[room] - (0 if LEVEL[room] in (0, 2, len(LEVELS) - 1) else 1)
                assert LEVEL[target] <= highest, f"{path}: {room} uses {target}, which stands above or beside it"
            else:
                assert room in ("cli", "__main__"), f"{path} uses {target}"


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_beside_the_ladder(room: str) -> None:
    for name, path in modules():
        if name == room:
            wrong = own(imported(path)) - FOR_ALL - ALLOWED[room]
            assert not wrong, f"{path} uses {', '.join(sorted(wrong))}"


def test_every_module_has_its_place() -> None:
    rooms = {room for room, _ in modules()} - {"__init__"}
    assert rooms <= set(LEVEL) | set(ALLOWED), sorted(rooms - set(LEVEL) - set(ALLOWED))


def test_torch_stays_in_its_rooms() -> None:
    for room, path in modules():
        if room not in TORCH_ROOMS:
            assert not [name for name, _ in imported(path) if name.split(".")[0] == "torch"], path


def test_the_base_needs_only_the_base() -> None:
    """Whatever else is imported is imported where it is used, so that its absence can be said with the extra's name."""
    base = {"numpy", "cv2", "onnxruntime", "rich", "retinaface"}
    for room, path in modules():
        if room in TORCH_ROOMS or room == "serve":
            continue
        for name, at_once in imported(path):
            top = name.split(".")[0]
            if at_once and top != "stereolive":
                assert top in base or top in sys.stdlib_module_names, f"{path} imports {name} at once"


def test_the_base_install_has_no_torch() -> None:
    project = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}
    assert names and not names & {"torch", "pyyaml", "scipy", "pandas"}
