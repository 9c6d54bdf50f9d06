"""``stereolive adapt SET SOURCE --out FOLDER``: the original files of a data set become a manifest."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from stereolive.data.adapters import casia_surf, cefa, hq_wmca, threedmad, wmca
from stereolive.data.adapters.adaptation import Adaptation


def add_commands(subparsers: Any) -> None:
    """Add ``adapt`` to the command line's subparsers; its handler is ``handler(arguments) -> exit status``."""
    parser = subparsers.add_parser(
        "adapt",
        help="turn the original files of a data set into a manifest",
        description="Turn the original files of a data set into a manifest (and PNG files, where the source is HDF5).",
    )
    sets = parser.add_subparsers(dest="set", metavar="SET", required=True)

    hq = _add(sets, "hq-wmca", "folder with the HDF5 files", _hq_wmca, "HQ-WMCA: calibrated, trains every stage")
    hq.add_argument("--calibration", required=True, metavar="FILE", help="calibration JSON of the rig, in centimetres")
    hq.add_argument(
        "--pair",
        default=hq_wmca.DEFAULT_PAIR,
        metavar="FIRST+SECOND",
        help="streams: color, nir_left_850nm, nir_right_940nm, ... (default: %(default)s)",
    )
    _add_frames(hq)

    surf = _add(sets, "casia-surf", "list file", _casia_surf, "CASIA-SURF: depth -> liveness stage only")
    surf.add_argument("--root", metavar="FOLDER", help="where the list's paths start (default: the list's folder)")
    _add_bona_fide_label(surf)

    ethnic = _add(sets, "cefa", "folder with AF, CA, EA, 3D-Mask, ...", _cefa, "CeFA: depth -> liveness stage only")
    _add_frames(ethnic)

    multi = _add(sets, "wmca", "folder that the protocol's paths start at", _wmca, "WMCA: depth -> liveness stage only")
    multi.add_argument(
        "--protocol", required=True, metavar="CSV", help="protocol with client_id, filepath, group, label"
    )
    _add_bona_fide_label(multi)
    _add_depth_unit(multi)
    _add_frames(multi)

    masks = _add(sets, "3dmad", "folder with the HDF5 files", _threedmad, "3DMAD: it has no second view")
    _add_depth_unit(masks)
    _add_frames(masks)


def _add(
    sets: Any, name: str, source: str, adapt: Callable[[argparse.Namespace], Adaptation], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = sets.add_parser(name, help=summary, description=summary)
    parser.add_argument("source", metavar="SOURCE", help=source)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where manifest.csv and extracted files go")

    def handler(arguments: argparse.Namespace) -> int:
        print(adapt(arguments).text())
        return 0

    parser.set_defaults(handler=handler)
    return parser


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames", type=_count, default=1, metavar="N", help="frames a presentation, evenly spread (default: 1)"
    )


def _add_bona_fide_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bona-fide-label", choices=("0", "1"), help="which number means bona fide, where the source does not tell"
    )


def _add_depth_unit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--depth-unit-mm",
        type=_positive,
        metavar="MM",
        help="millimetres a count of 16-bit depth; the files do not say",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("expected a number above 0")
    return value


def _hq_wmca(arguments: argparse.Namespace) -> Adaptation:
    return hq_wmca.adapt(arguments.source, arguments.out, arguments.calibration, arguments.pair, arguments.frames)


def _casia_surf(arguments: argparse.Namespace) -> Adaptation:
    return casia_surf.adapt(arguments.source, arguments.out, arguments.root, arguments.bona_fide_label)


def _cefa(arguments: argparse.Namespace) -> Adaptation:
    return cefa.adapt(arguments.source, arguments.out, arguments.frames)


def _wmca(arguments: argparse.Namespace) -> Adaptation:
    return wmca.adapt(
        arguments.source,
        arguments.out,
        arguments.protocol,
        arguments.frames,
        arguments.bona_fide_label,
        arguments.depth_unit_mm,
    )


def _threedmad(arguments: argparse.Namespace) -> Adaptation:
    return threedmad.adapt(arguments.source, arguments.out, arguments.frames, arguments.depth_unit_mm)
