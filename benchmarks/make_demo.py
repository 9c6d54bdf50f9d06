"""Choose the bundled pairs from rendered test presentations and write them into the package.

    stereolive synth runs/demo --samples 300 --seed 20 --splits test --bona-fide-share 0.45
    python benchmarks/make_demo.py runs/demo/manifest.csv

The choice follows a rule and looks at no verdict: living faces from the lightest to the darkest skin group and an
instrument of every species, lights taken in turn, only nearer than 700 mm and with the face well inside both pictures,
each before a visible and a near-infrared sensor, with enough light. One living face by near-infrared alone is among
them: there ``no_response`` is right, since the visible sensor sees nothing.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2

from stereolive.data.manifest import BONA_FIDE, COLUMNS, Manifest, Presentation, write_rows
from stereolive.images import as_8bit, read_image
from stereolive.rig import Rig

TARGET = Path(__file__).parent.parent / "src" / "stereolive" / "demo_pairs"
SPECIES = ("print_flat", "print_bent", "replay_phone", "replay_monitor", "mask_paper", "mask_silicone", "mask_resin")
DARK = "night_nir_only"
LIVING, MAX_BYTES, FARTHEST_MM, EDGE_SHARE = 7, 6_000_000, 700.0, 0.04
NAMES = {"print_flat": "print", "print_bent": "bent-print", "replay_phone": "phone", "replay_monitor": "monitor"}
FURTHER = ("expected", "skin_group", "split", "head_source", "instrument_id", "source_sample_id")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("--out", type=Path, default=TARGET)
    given = arguments.parse_args()
    manifest = Manifest.read(given.manifest)
    usable = [entry for entry in manifest if entry.further.get("split") == "test" and is_well_placed(entry)]
    chosen = choose(usable)
    missing = sorted(set(SPECIES) - {entry.species for entry in chosen})
    if missing or sum(entry.label == BONA_FIDE for entry in chosen) < LIVING:
        raise SystemExit(f"too few presentations to choose from (lacking: {', '.join(missing) or 'living faces'})")
    if given.out.exists():
        shutil.rmtree(given.out)
    write(chosen, given.out)
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    for entry in chosen:
        print(
            entry.sample_id, entry.species, entry.illumination, f"skin {entry.further['skin_group']}", expected(entry)
        )
    print(f"{len(chosen)} pairs, {size / 1e6:.2f} MB in {given.out}")
    if size > MAX_BYTES:
        raise SystemExit(f"larger than {MAX_BYTES / 1e6:.0f} MB")


def is_well_placed(entry: Presentation) -> bool:
    """Near enough, and the face (as the renderer knows it) not at the border of either picture."""
    if float(entry.further["distance_mm"]) > FARTHEST_MM:
        return False
    rig = Rig.load(entry.rig)
    for view, camera in (("first", rig.first), ("second", rig.second)):
        x, y, width, height = (float(value) for value in entry.further[f"face_{view}"].split())
        edge_x, edge_y = EDGE_SHARE * camera.width, EDGE_SHARE * camera.height
        if x < edge_x or y < edge_y or x + width > camera.width - edge_x or y + height > camera.height - edge_y:
            return False
    return True


def choose(usable: list[Presentation]) -> list[Presentation]:
    """By the rule above; the same for the same manifest."""
    by_two_spectra = [entry for entry in usable if entry.further["first_spectrum"] != entry.further["second_spectrum"]]
    living = [entry for entry in by_two_spectra if entry.label == BONA_FIDE]
    lit = [entry for entry in living if entry.illumination != DARK]
    groups = sorted({entry.further["skin_group"] for entry in lit})
    chosen: list[Presentation] = []
    for turn in range(LIVING - 1):
        group = groups[round(turn * (len(groups) - 1) / (LIVING - 2))]
        chosen += next_of([entry for entry in lit if entry.further["skin_group"] == group], chosen)
    chosen += next_of([entry for entry in living if entry.illumination == DARK], chosen)
    for species in SPECIES:
        chosen += next_of([e for e in by_two_spectra if e.species == species and e.illumination != DARK], chosen)
    return chosen


def next_of(pool: Iterable[Presentation], chosen: list[Presentation]) -> list[Presentation]:
    """The one whose light, rig and subject were taken least so far, the first among equals."""
    lights = Counter((entry.label, entry.illumination) for entry in chosen)
    rigs = Counter(entry.rig.name[0] for entry in chosen)
    subjects = Counter(entry.subject_id for entry in chosen)
    left = [entry for entry in pool if entry not in chosen]
    return sorted(
        left,
        key=lambda entry: (
            subjects[entry.subject_id],
            lights[entry.label, entry.illumination],
            rigs[entry.rig.name[0]],
            entry.sample_id,
        ),
    )[:1]


def expected(entry: Presentation) -> str:
    return "no_response" if entry.label == BONA_FIDE and entry.illumination == DARK else str(entry.label)


def write(chosen: list[Presentation], out: Path) -> None:
    """Copy images and rigs. PNG becomes JPEG of high quality, or six megabytes would not hold the pairs."""
    (out / "rigs").mkdir(parents=True)
    rows = []
    counts: Counter[str] = Counter()
    for entry in chosen:
        kind = "living" if entry.label == BONA_FIDE else NAMES.get(entry.species, entry.species.replace("_", "-"))
        counts[kind] += 1
        name = f"{kind}-{counts[kind]}"
        paths = {}
        for view, source in (("first", entry.first), ("second", entry.second)):
            target = out / f"{name}-{view}.jpg"
            if source.suffix == ".jpg":
                shutil.copyfile(source, target)
            else:
                quality = [cv2.IMWRITE_JPEG_QUALITY, 96, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
                cv2.imwrite(str(target), as_8bit(read_image(source)), quality)
            paths[view] = target.name
        shutil.copyfile(entry.rig, out / "rigs" / entry.rig.name)
        rows.append(
            {
                **{column: getattr(entry, column) or "" for column in COLUMNS},
                **{column: entry.further.get(column, "") for column in FURTHER},
                **paths,
                "sample_id": name,
                "rig": f"rigs/{entry.rig.name}",
                "depth": "",
                "surface": "",
                "expected": expected(entry),
                "source_sample_id": entry.sample_id,
            }
        )
    write_rows(out / "manifest.csv", rows, [*COLUMNS, *FURTHER])


if __name__ == "__main__":
    main()
