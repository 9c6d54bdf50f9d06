"""One validator a quantity. Each returns the value in its canonical form or raises the error class it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stereolive.errors import InputError

FloatArray = NDArray[np.float64]


def array_of_shape(
    value: ArrayLike, shape: Sequence[int], name: str, error: type[InputError] = InputError
) -> FloatArray:
    """``value`` as finite float64 of exactly ``shape``; read-only, so that frozen objects stay frozen."""
    try:
        given = np.asarray(value)
        # NumPy would read words and True as numbers; whole numbers beyond 64 bits are objects to it.
        array = np.array(given, np.float64) if given.dtype.kind in "iuf" else None
    except (TypeError, ValueError):
        array = None
    if array is None:
        raise error(f"{name}: expected numbers of shape {tuple(shape)}, got {short(value)}")
    if array.shape != tuple(shape):
        raise error(f"{name}: expected shape {tuple(shape)}, got {array.shape}")
    if not np.isfinite(array).all():
        raise error(f"{name}: has values that are not finite")
    array.setflags(write=False)
    return array


def rotation(value: ArrayLike, name: str, error: type[InputError] = InputError) -> FloatArray:
    """A (3, 3) rotation matrix, orthonormal to 1e-3 (files carry rounded numbers) and made exactly so."""
    matrix = array_of_shape(value, (3, 3), name, error)
    if np.abs(matrix).max() > 2 or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix) < 0:
        raise error(f"{name}: is not a rotation (its rows must be orthonormal and its determinant 1)")
    u, _, vt = np.linalg.svd(matrix)
    exact: FloatArray = u @ vt
    exact.setflags(write=False)
    return exact


def camera_matrix(value: ArrayLike, name: str, error: type[InputError] = InputError) -> FloatArray:
    """A (3, 3) camera matrix ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`` in pixels with positive focal lengths."""
    matrix = array_of_shape(value, (3, 3), name, error)
    if not np.allclose(matrix[2], (0, 0, 1)) or abs(matrix[1, 0]) > 1e-9:
        raise error(f"{name}: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    if abs(matrix[0, 1]) > 1e-9:
        raise error(f"{name}: has skew {matrix[0, 1]:g}; OpenCV's camera model has none")
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise error(f"{name}: is singular, focal lengths must be positive (fx {matrix[0, 0]:g}, fy {matrix[1, 1]:g})")
    return matrix


def pixel_count(value: object, name: str, error: type[InputError] = InputError) -> int:
    """An image side of 16 to 16384 pixels."""
    if isinstance(value, bool) or not isinstance(value, int) or not 16 <= value <= 16384:
        raise error(f"{name}: expected a whole number of pixels from 16 to 16384, got {short(value)}")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether parsed JSON is a finite number that fits a float64."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def short(value: object) -> str:
    """A wrong value as a sentence can show it, however long it is."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
