"""CASIA-SURF: colour, depth and infrared crops of a RealSense SR300, registered, without calibration; attacks are
cut-out prints.

Lists hold ``COLOUR DEPTH INFRARED LABEL``, separated by spaces, such as
``Val/0000/000000-color.jpg Val/0000/000000-depth.jpg Val/0000/000000-ir.jpg 0``.

**Label: 1 is bona fide in ``train_list.txt`` and ``val_private_list.txt``. Other lists of this set, as later releases
carry them, have 0 = live**, so the label that means bona fide must be named for every other list. Depth is 8 bit
without a unit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from stereolive.data.adapters.adaptation import (
    REGISTERED_NOTE,
    RELATIVE_DEPTH_NOTE,
    Adaptation,
    Row,
    finish,
    relative,
    tracked,
)
from stereolive.errors import ManifestError

BONA_FIDE_LABEL = {"train_list.txt": "1", "val_private_list.txt": "1"}
# The number in ``03_en_b.rssdk``, a folder in the paths of the training list.
CUTS = {
    "01": "flat, eyes cut out",
    "02": "bent, eyes cut out",
    "03": "flat, eyes and nose cut out",
    "04": "bent, eyes and nose cut out",
    "05": "flat, eyes, nose and mouth cut out",
    "06": "bent, eyes, nose and mouth cut out",
}


def adapt(
    source: str | Path,
    out: str | Path,
    root: str | Path | None = None,
    bona_fide_label: Literal["0", "1"] | None = None,
) -> Adaptation:
    """Write ``out/manifest.csv`` for the list ``source``, whose paths start at ``root`` (the list's folder); images
    stay where they are.

    Raises ManifestError where the label's meaning is not known, contradicts the list's, or a line has another form.
    """
    source, out = Path(source), Path(out)
    folder = Path(root) if root is not None else source.parent
    bona_fide = bona_fide_value(source, bona_fide_label)
    try:
        lines = source.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"list {source}: cannot be read ({error})") from None
    rows: list[Row] = []
    skipped: list[str] = []
    for number, line in enumerate(tracked(lines, "CASIA-SURF"), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) == 3:
            raise ManifestError(
                f"list {source}, line {number}: has no label; the public validation and test lists cannot train"
            )
        if len(fields) != 4 or fields[3] not in ("0", "1"):
            raise ManifestError(f"list {source}, line {number}: expected COLOUR DEPTH INFRARED LABEL, the label 0 or 1")
        paths = [folder / name for name in fields[:3]]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            skipped.append(f"{missing}: there is no such file")
            continue
        live = fields[3] == bona_fide
        cut = re.search(r"/(0[1-6])_[^/]*rssdk", fields[0])
        subject = re.search(r"/(CLKJ_[^/]+)/", fields[0])
        rows.append(
            {
                "sample_id": Path(fields[0]).with_suffix("").as_posix().replace("/", "_"),
                "first": relative(paths[0], out),
                "second": relative(paths[2], out),
                "depth_relative": relative(paths[1], out),
                "label": "bona_fide" if live else "attack",
                "pai_species": "" if live else "print_cutout",
                "material": "" if live else "paper",
                "subject_id": subject[1] if subject else "",
                "instrument": CUTS[cut[1]] if cut and not live else "",
                "registered": "true",
                "first_spectrum": "visible",
                "second_spectrum": "near_infrared",
            }
        )
    return finish(out, rows, skipped, (REGISTERED_NOTE, RELATIVE_DEPTH_NOTE))


def bona_fide_value(source: Path, named: Literal["0", "1"] | None) -> Literal["0", "1"]:
    """The label that means bona fide in the list ``source``. Raises ManifestError where nothing says so, or two things
    do.
    """
    known = BONA_FIDE_LABEL.get(source.name)
    if known is None and named is None:
        raise ManifestError(
            f"list {source}: the lists of this set differ in what 0 and 1 mean; name the bona fide one: "
            "--bona-fide-label 0 or 1"
        )
    if known is not None and named is not None and known != named:
        raise ManifestError(
            f"list {source}: {known} is bona fide in the list of this name; if yours differs, give it another name"
        )
    return "0" if (known or named) == "0" else "1"
