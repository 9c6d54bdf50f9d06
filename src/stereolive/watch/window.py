"""A window for live pictures, where there is a display."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray


def has_display() -> bool:
    """Whether a window can be opened; on Linux that takes X or Wayland."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """One window. Escape or q in it means: stop."""

    def __init__(self, title: str) -> None:
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """Show a picture (H, W, 3) BGR; False when the person wants to stop."""
        cv2.imshow(self._title, picture)
        return cv2.waitKey(1) & 0xFF not in (27, ord("q"))

    def close(self) -> None:
        cv2.destroyWindow(self._title)
