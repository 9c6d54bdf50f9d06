"""``stereolive watch``: live pairs, fused decisions, recording, drift."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from stereolive.calibrate.auto import estimate_rig
from stereolive.detector import LivenessDetector
from stereolive.drift import DriftThresholds, refined
from stereolive.errors import InputError
from stereolive.quality import limits_from_json
from stereolive.rig import Rig
from stereolive.sources import PairSource, open_source
from stereolive.sources.arguments import add_source_options, source_options
from stereolive.watch.display import Page, describe, picture_of, write_sheet
from stereolive.watch.fusion import FusionRules, Outcome
from stereolive.watch.ports import port
from stereolive.watch.recording import Recorder
from stereolive.watch.sequence import SequenceThresholds
from stereolive.watch.watcher import Moment, Watcher
from stereolive.watch.window import Window, has_display

EXIT_BY_DECISION = {"bona_fide": 0, "attack": 1, "no_response": 3}
SHEET_MOMENTS = 9
AUTO_PAIRS = 20


def add_commands(subparsers: Any) -> None:
    """Register ``watch``."""
    parser = subparsers.add_parser(
        "watch",
        help="live pairs: several of them make one decision",
        description="Judge live pairs. SOURCE is two cameras or files A,B, side-by-side:A, top-bottom:A, a folder of "
        "pairs or realsense:infrared. Decisions are printed as lines; a window opens where there is a display. "
        "Exit status 0, or with "
        "--once that of check: 0 bona fide, 1 attack, 3 no response.",
    )
    parser.add_argument("source", help="where the pairs come from")
    parser.add_argument("--rig", required=True, help="rig file, or auto: estimated from the first faces, uncalibrated")
    parser.add_argument("--model", metavar="DIR", help="model folder (default: the released one)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="decisions as JSON lines")
    parser.add_argument("--once", action="store_true", help="stop after the first decision")
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument("--page", type=port, metavar="PORT", help="show the live picture on a page of this machine")
    parser.add_argument("--sheet", metavar="OUT.png", help="write pictures of the first pairs and of every decision")
    rules = parser.add_argument_group("fusion")
    rules.add_argument(
        "--responses", type=int, default=FusionRules.responses, help="scores a decision takes (%(default)s)"
    )
    rules.add_argument("--window-s", type=float, default=FusionRules.window_s, help="longest attempt (%(default)s)")
    rules.add_argument(
        "--no-responses", type=int, default=FusionRules.no_responses,
        help="attempts without response in a row that count as attack (%(default)s)",
    )  # fmt: skip
    recording = parser.add_argument_group("recording")
    recording.add_argument("--record", metavar="DIR", help="append every pair with a face to DIR/manifest.csv")
    recording.add_argument(
        "--consent", default="", help="how the person agreed to be recorded; nothing is recorded without"
    )
    recording.add_argument("--subject", default="", help="the person's number or pseudonym")
    recording.add_argument("--label", default="", choices=["", "bona_fide", "attack"])
    recording.add_argument("--species", default="", help="the attack's PAI species")
    recording.add_argument("--material", default="", metavar="NAME", help="what the attack's instrument is made of")
    recording.add_argument(
        "--instrument", default="", metavar="ID", help="which print, device or mask it is; one of its own for each"
    )
    recording.add_argument("--illumination", default="")
    add_source_options(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """The command. Raises StereoliveError."""
    console = Console(stderr=True)

    def say(message: str) -> None:
        console.print(message, highlight=False, markup=False, soft_wrap=True)

    rules = FusionRules(responses=arguments.responses, window_s=arguments.window_s, no_responses=arguments.no_responses)
    detector = LivenessDetector(arguments.model, threads=arguments.threads)
    rig, calibrated = _rig(arguments, say)
    recorder = _recorder(arguments, rig)
    source = open_source(arguments.source, source_options(arguments), say)
    quality = detector.model.quality
    watcher = Watcher(
        detector,
        rig,
        rules,
        calibrated=calibrated,
        sequence=limits_from_json(SequenceThresholds, quality.get("sequence", {}), "quality.sequence"),
        drift=limits_from_json(DriftThresholds, quality.get("drift", {}), "quality.drift"),
    )
    session = _Session(arguments, watcher, recorder, say)
    try:
        for moment in watcher.watch(source):
            if not session.take(moment):
                break
    finally:
        source.close()
        session.close()
    return EXIT_BY_DECISION[session.last.decision if session.last else "no_response"] if arguments.once else 0


class _Session:
    """What one run of the command keeps: the last decision, pictures for the sheet, the places to show things."""

    def __init__(self, arguments: argparse.Namespace, watcher: Watcher, recorder: Recorder | None, say: Any) -> None:
        self.last: Outcome | None = None
        self._arguments = arguments
        self._watcher = watcher
        self._recorder = recorder
        self._say = say
        self._pictures: list[Any] = []
        self._said_drift = self._proposed = False
        self._screen: Window | Page | None = None
        if arguments.page is not None:
            self._screen = Page(arguments.page)
            say(f"live picture: {self._screen.address}")
        elif has_display() and not arguments.headless:
            self._screen = Window("stereolive watch")

    def take(self, moment: Moment) -> bool:
        """One pair; False when the run should end."""
        if moment.outcome is not None:
            self.last = moment.outcome
            data = {"time": round(time.time(), 3), **asdict(moment.outcome)}
            print(json.dumps(data) if self._arguments.json else describe(moment.outcome), flush=True)
        if self._recorder is not None and moment.analysis.location is not None:
            self._recorder.add(moment.pair, moment.verdict)
        self._offer_refinement(moment)
        goes_on = True
        if self._screen is not None or self._arguments.sheet:
            picture = picture_of(moment, self._watcher.rig, self.last)
            if len(self._pictures) < SHEET_MOMENTS or moment.outcome is not None:
                self._pictures.append(picture)
            goes_on = self._screen is None or self._screen.show(picture)
        return goes_on and not (self._arguments.once and self.last is not None)

    def _offer_refinement(self, moment: Moment) -> None:
        if moment.drift is None or not moment.drift.drifted or self._proposed:
            return
        if not self._said_drift:
            self._said_drift = True
            self._say(f"rig_drifted: {moment.drift.describe()}; calibrate again")
        if self._arguments.rig == "auto" or not moment.drift.can_refine:
            return
        self._proposed = True
        proposed = Path(self._arguments.rig).with_suffix(".proposed.json")
        refined(self._watcher.rig, moment.drift).save(proposed)
        self._say(f"or accept the proposed rig: stereolive calibrate --accept {proposed} --out {self._arguments.rig}")

    def close(self) -> None:
        if self._screen is not None:
            self._screen.close()
        if self._arguments.sheet and self._pictures:
            write_sheet(self._arguments.sheet, self._pictures)
            self._say(f"sheet: {self._arguments.sheet}")


def _rig(arguments: argparse.Namespace, say: Any) -> tuple[Rig, bool]:
    """The rig, and whether it was calibrated."""
    if arguments.rig != "auto":
        return Rig.load(arguments.rig), True
    source: PairSource = open_source(arguments.source, source_options(arguments), say)
    try:
        pairs = [
            (pair.first, pair.second)
            for pair, _ in zip(source, range(AUTO_PAIRS), strict=False)
            if not pair.unsynchronised
        ]
    finally:
        source.close()
    estimate = estimate_rig(pairs)
    say(f"uncalibrated: {estimate.describe()}")
    return estimate.rig, False


def _recorder(arguments: argparse.Namespace, rig: Rig) -> Recorder | None:
    if not arguments.record:
        if arguments.consent or arguments.subject or arguments.material or arguments.instrument:
            raise InputError("watch: --consent, --subject, --material and --instrument belong to --record DIR")
        return None
    return Recorder(
        arguments.record,
        rig,
        consent=arguments.consent,
        subject_id=arguments.subject,
        label=arguments.label,
        pai_species=arguments.species,
        material=arguments.material,
        instrument_id=arguments.instrument,
        illumination=arguments.illumination,
    )
