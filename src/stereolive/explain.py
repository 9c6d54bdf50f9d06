"""What each reason code means, in a sentence for a person."""

from __future__ import annotations

from stereolive.quality import ADVICE
from stereolive.watch.sequence import ADVICE as SEQUENCE_ADVICE

SIGNS = {
    "views_match": "Both sensors see the same surface.",
    "relief_of_a_face": "The surface has the relief of a face.",
    "size_of_a_face": "The eyes are as far apart as a person's.",
    "face_in_first_only": "Only the first sensor sees a face.",
    "face_in_second_only": "Only the second sensor sees a face.",
    "views_do_not_match": "The two views do not fit together to a surface.",
    "flat": "The surface is as flat as a sheet or a screen.",
    "wrong_size": "The eyes are not as far apart as a person's.",
    "unlike_living_skin": "The shape fits a face, but both spectra together do not look like living skin.",
}
"""Codes of an answer."""

UNREADABLE = {
    "unreadable_first": "The first image cannot be read.",
    "unreadable_second": "The second image cannot be read.",
    "unreadable_rig": "The rig file cannot be read.",
    "does_not_fit_rig": "An image has another size than the rig says.",
    "internal_error": "stereolive failed on this pair; please report it.",
}
"""Codes that only a score file has: ``stereolive check`` ends with an error there."""


def explain(code: str) -> str:
    """One sentence for a reason code."""
    for known in (SIGNS, ADVICE, SEQUENCE_ADVICE, UNREADABLE):
        if code in known:
            return known[code]
    return code.replace("_", " ")
