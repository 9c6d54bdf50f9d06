"""Presentation attack instrument species, and how each is made."""

from __future__ import annotations

from collections.abc import Callable

from stereolive.synth.kit import Built, Kit
from stereolive.synth.masks import build_bust, build_rigid, build_soft_mask
from stereolive.synth.paper_masks import build_funny_glasses, build_paper_mask, build_partial_paper
from stereolive.synth.prints import build_cutout, build_print
from stereolive.synth.screens import build_screen

BUILDERS: dict[str, Callable[[Kit], Built]] = {
    "print_flat": build_print,
    "print_bent": build_print,
    "print_cutout": build_cutout,
    "replay_phone": build_screen,
    "replay_tablet": build_screen,
    "replay_monitor": build_screen,
    "mask_paper": build_paper_mask,
    "mask_silicone": build_soft_mask,
    "mask_latex": build_soft_mask,
    "mask_resin": build_rigid,
    "mask_plaster": build_bust,
    "mannequin_head": build_bust,
    "partial_paper": build_partial_paper,
    "funny_glasses": build_funny_glasses,
}
