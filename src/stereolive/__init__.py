"""stereolive: face liveness from two cameras.

>>> from stereolive import LivenessDetector, Rig, read_image
>>> detector = LivenessDetector()
>>> verdict = detector.check(read_image("first.png"), read_image("second.png"), Rig.load("rig.json"))
>>> verdict.decision, verdict.score
"""

from stereolive.detector import Analysis, LivenessDetector
from stereolive.errors import (
    ImageError,
    InputError,
    ManifestError,
    MissingExtraError,
    ModelError,
    RigError,
    StereoliveError,
)
from stereolive.images import decode_image, read_image
from stereolive.rig import Camera, Rig
from stereolive.types import DepthInformation, Verdict

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "Camera",
    "DepthInformation",
    "ImageError",
    "InputError",
    "LivenessDetector",
    "ManifestError",
    "MissingExtraError",
    "ModelError",
    "Rig",
    "RigError",
    "StereoliveError",
    "Verdict",
    "decode_image",
    "read_image",
]
