"""``stereolive watch`` on a virtual source: a bundled living face, then a covered sensor, then the face again.

    python benchmarks/watch_sheet.py [--out docs/watch.jpg] [--keep DIR]

Every picture is taken anew: the bundled pair, moved a little and with fresh noise. Writes the sheet and prints the
decisions that the command printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from stereolive.cli import main as stereolive
from stereolive.demo import bundled_pairs
from stereolive.images import as_8bit, read_image, write_png

PAIR, PAIRS, COVERED = "living-3", 12, range(5, 8)


def write_pairs(folder: Path) -> Path:
    """The virtual source as files; returns the rig's path."""
    entry = next(entry for entry in bundled_pairs() if entry.sample_id == PAIR)
    rng = np.random.default_rng(2)
    images = [as_8bit(read_image(path)) for path in (entry.first, entry.second)]
    for index in range(PAIRS):
        sway = 3.0 * np.sin(index / 2)
        for view, image in zip(("first", "second"), images, strict=True):
            size = image.shape[1], image.shape[0]
            moved = cv2.warpAffine(image, np.array([[1.0, 0, sway], [0, 1, 0]]), size, borderMode=cv2.BORDER_REFLECT)
            if view == "second" and index in COVERED:
                moved = np.full_like(image, 4)
            taken = np.clip(np.rint(moved + rng.normal(0, 1.5, image.shape)), 0, 255).astype(np.uint8)
            write_png(folder / f"{view}_{index:03d}.png", taken)
    return entry.rig


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/watch.jpg"))
    parser.add_argument("--keep", type=Path, help="write the virtual source there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rig = write_pairs(folder)
        sheet = Path(temporary) / "sheet.png"
        status = stereolive(["watch", str(folder), "--rig", str(rig), "--headless", "--sheet", str(sheet)])
        cv2.imwrite(str(given.out), read_image(sheet), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return status


if __name__ == "__main__":
    sys.exit(main())
