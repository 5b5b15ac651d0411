"""When do lids close in the pictures, and when does the CSV say so? A curve of agreement over offsets.

Lids have nothing to do with where the head goes, so they give the offset without a bias. In the face, cut out where it
is (:mod:`training.measuring.face_track`), lids that close change the same pixels every time; which ones, and whether
they get brighter or darker, a ridge finds that is judged on stretches that it was not fitted to (:func:`events.scan`).
What is compared are steps: the mean of some frames less that of as many before; light and slow turns make none.
"""

import numpy as np
from numpy.typing import NDArray

from recording.face import Face
from recording.trace import Trace, per_frame
from registry.intervals import Floats, Integers
from training.measuring import events, face_track
from training.measuring.events import Events, Scan

BLINKS = "blinks"
MIN_BLINKS = 3
STEP_S = 1 / 15
"""Lids close and open within so much."""


def observe(trace: Trace, fps: float, held_out_s: Floats, face: Face | None) -> Events | None:
    """Steps of the face's pixels, and of the CSV's blinks; None with too few blinks or pictures.

    Pictures and labels within ``held_out_s`` (m, 2) seconds are left out; ``face`` is the drive's rectangle.
    """
    if not trace.rows.says_blink or not len(trace.shown):
        return None
    frames = 1 + int(max(trace.shown.max(), trace.rows.frame.max(initial=-1)))
    blink = per_frame(trace.rows, frames)[1]
    free = _outside(frames, fps, held_out_s)
    looked = free[trace.shown]
    shown, there = trace.shown[looked], np.zeros(frames, dtype=bool)
    there[shown] = True
    at = _middles(blink & there)
    if len(at) < MIN_BLINKS:
        return None
    length = max(1, round(STEP_S * fps))
    labels = _steps(blink.astype(np.float64)[:, None], length)
    labels[~_throughout(free, length)] = np.nan
    kept = _throughout(there, length)[shown]
    seen = _steps(face_track.cut_out(trace.pictures[looked], shown, face), length)[kept]
    shown = shown[kept]
    block = np.searchsorted((at[1:] + at[:-1]) / 2, shown)  # each holds a blink, so no resampling is without any
    if len(np.unique(block)) < MIN_BLINKS:
        return None
    return Events(shown, block, {BLINKS: seen / max(float(seen.std()), 1e-9)}, {BLINKS: labels})


def scan(
    trace: Trace, fps: float, held_out_s: Floats, offsets: Integers, drift: float = 0.0, face: Face | None = None
) -> Scan | None:
    """How well lids foretell the CSV's blinks at ``offsets`` (L,), one row a blink and the time around it; None with
    too few. ``drift`` as in :func:`events.scan`, the rest as in :func:`observe`."""
    found = observe(trace, fps, held_out_s, face)
    return None if found is None else events.scan(found, BLINKS, offsets, drift)


def _middles(blink: NDArray[np.bool_]) -> Floats:
    """The frame in the middle of each blink."""
    edges = np.diff(np.concatenate([[0], blink.astype(int), [0]]))
    return np.asarray((np.flatnonzero(edges > 0) + np.flatnonzero(edges < 0) - 1) / 2)


def _outside(frames: int, fps: float, held_out_s: Floats) -> NDArray[np.bool_]:
    """(frames,) whether each frame is looked at."""
    seconds, free = np.arange(frames) / fps, np.ones(frames, dtype=bool)
    for start, stop in held_out_s:
        free[(seconds >= start) & (seconds < stop)] = False
    return free


def _steps(values: Floats, length: int) -> Floats:
    """(n, p) of each row, the mean of ``length`` rows from it on less that of as many before, 0 at the ends."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    steps = np.zeros_like(values)
    steps[length : len(values) - length + 1] = (
        sums[2 * length :] - 2 * sums[length:-length] + sums[: -2 * length]
    ) / length
    return steps


def _throughout(free: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """(n,) whether all rows that the step of a row counts are free."""
    window = np.convolve(free.astype(int), np.ones(2 * length, dtype=int))[2 * length - 1 :]  # ends: not free
    whole = np.zeros(len(free), dtype=bool)
    whole[length:] = (window == 2 * length)[: len(free) - length]
    return whole
