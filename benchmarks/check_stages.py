"""Time of a check by stage, memory, and size of the base install, on the bundled pairs.

    python benchmarks/check_stages.py [--runtime openvino] [--repeats 20]

For the size to be that of the base install, run it in an environment that has only that (``make demo`` makes one).
Writes results/check_stages.json. Every image is decoded from its file's bytes; pairs without a response are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path

from stereolive import LivenessDetector, Rig, decode_image
from stereolive.demo import bundled_pairs

ROOT = Path(__file__).parent.parent
CORES = 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path)
    arguments.add_argument("--runtime", default="onnxruntime")
    arguments.add_argument("--repeats", type=int, default=20)
    arguments.add_argument("--out", type=Path, default=ROOT / "results" / "check_stages.json")
    given = arguments.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)

    begun = time.perf_counter()
    detector = LivenessDetector(given.model, threads=len(cores), runtime=given.runtime)
    loading_ms = (time.perf_counter() - begun) * 1000
    files = [(e.first.read_bytes(), e.second.read_bytes(), Rig.load(e.rig)) for e in bundled_pairs()]
    times: dict[str, list[float]] = defaultdict(list)
    pairs = 0
    for first_bytes, second_bytes, rig in files:
        first, second = decode_image(first_bytes), decode_image(second_bytes)
        if detector.check(first, second, rig).decision == "no_response":
            continue
        pairs += 1
        for _ in range(given.repeats):
            begun = time.perf_counter()
            first, second = decode_image(first_bytes), decode_image(second_bytes)
            decoded_ms = (time.perf_counter() - begun) * 1000
            verdict = detector.check(first, second, rig)
            times["decode"].append(decoded_ms)
            for stage, ms in verdict.stage_ms:
                times[stage].append(ms)
            times["all"].append(decoded_ms + verdict.time_ms)
    result = {
        "model": detector.model.title,
        "runtime": given.runtime,
        "processor": processor(),
        "cores": len(cores),
        "python": platform.python_version(),
        "pairs": pairs,
        "repeats": given.repeats,
        "median_ms": {stage: round(statistics.median(values), 2) for stage, values in times.items()},
        "loading_ms": round(loading_ms, 1),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "installed_mb": {name: round(size / 1e6, 1) for name, size in sorted(base_install().items())},
    }
    result["installed_mb_all"] = round(sum(base_install().values()) / 1e6, 1)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def base_install() -> dict[str, int]:
    """Bytes of every package that the base install brings, itself included."""
    sizes: dict[str, int] = {}
    waiting = ["stereolive"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # needed on other systems only
        files = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
        sizes[name] = sum(path.stat().st_size for path in files if path.is_file())
        needed = (line for line in distribution.requires or [] if "extra ==" not in line)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in needed]
    package = ROOT / "src" / "stereolive"
    sizes["stereolive"] = max(sizes["stereolive"], sum(p.stat().st_size for p in package.rglob("*") if p.is_file()))
    return sizes


if __name__ == "__main__":
    main()
