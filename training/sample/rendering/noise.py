"""Hashed value noise: the grain of skin, hair, asphalt and foliage."""

import math

import numba
import numpy as np


@numba.njit(numba.float64(numba.int64, numba.int64, numba.int64), cache=True, nogil=True)
def lattice(x: int, y: int, seed: int) -> float:
    """Pseudo-random value in [0, 1) of a lattice point (integer hash, no state)."""
    h = (x * 374761393 + y * 668265263 + seed * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return (h ^ (h >> 15)) / 4294967296.0


@numba.njit(numba.float64(numba.float64, numba.float64, numba.int64), cache=True, nogil=True)
def value(x: float, y: float, seed: int) -> float:
    """Smooth noise in [0, 1): lattice values blended with Hermite weights."""
    x0, y0 = math.floor(x), math.floor(y)
    i, j = int(x0), int(y0)
    fx, fy = x - x0, y - y0
    fx = fx * fx * (3.0 - 2.0 * fx)
    fy = fy * fy * (3.0 - 2.0 * fy)
    top = lattice(i, j, seed) * (1.0 - fx) + lattice(i + 1, j, seed) * fx
    bottom = lattice(i, j + 1, seed) * (1.0 - fx) + lattice(i + 1, j + 1, seed) * fx
    return top * (1.0 - fy) + bottom * fy


@numba.njit(numba.float64(numba.float64, numba.float64, numba.int64), cache=True, nogil=True)
def fractal(x: float, y: float, seed: int) -> float:
    """Three octaves of :func:`value`, in [0, 1)."""
    return (
        0.57 * value(x, y, seed) + 0.29 * value(2.1 * x, 2.1 * y, seed + 1) + 0.14 * value(4.3 * x, 4.3 * y, seed + 2)
    )


@numba.njit(cache=True, nogil=True)
def field(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """:func:`fractal` at every point of two (h, w) coordinate arrays → (h, w) in [0, 1)."""
    out = np.empty(x.shape)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = fractal(x[row, column], y[row, column], seed)
    return out


@numba.njit(numba.float64(numba.float64, numba.float64, numba.float64), cache=True, nogil=True)
def step(low: float, high: float, x: float) -> float:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)
