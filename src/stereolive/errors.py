"""The errors of stereolive.

::

    StereoliveError                 everything that a caller may want to catch; one sentence, no traceback needed
    ├── InputError                  what was handed in cannot be used (also a ValueError)
    │   ├── ImageError              an image file, its bytes or an array
    │   ├── RigError                a rig file or its numbers
    │   ├── ManifestError           a manifest or a score file
    │   └── ModelError              a model folder
    └── MissingExtraError           an optional part is not installed (also an ImportError)
"""

from __future__ import annotations


class StereoliveError(Exception):
    """Base of all errors that stereolive raises on purpose."""


class InputError(StereoliveError, ValueError):
    """What was handed in cannot be used."""


class ImageError(InputError):
    """An image cannot be read or has a form that cannot be used."""


class RigError(InputError):
    """A rig file cannot be read or describes no usable pair of sensors."""


class ManifestError(InputError):
    """A manifest or a score file cannot be read or lacks something."""


class ModelError(InputError):
    """A model folder is incomplete, altered or of another version."""


class MissingExtraError(StereoliveError, ImportError):
    """An optional part is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional part: pip install "stereolive[{extra}]"')
