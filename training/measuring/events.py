"""When do things happen in the pictures, and when do the labels say so? Curves of agreement over offsets.

The labels' events are the jumps of the eyes; what answers to them is how much every part of the driver view changes
from one frame to the next, beyond what the whole of it moves. A ridge from these changes to the events, always judged
on stretches that it was not fitted to, finds by itself where in the picture the eyes are.

A jump of the eyes is over within one or two frames, a turn of the head takes ten: with
the head's own shift and all that is slower than a third of a second taken off, the eyes mostly stand out, but a head
that starts abruptly, before the eyes or behind them, may still be what is seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.ndimage import uniform_filter, uniform_filter1d

from recording.trace import SIDE, Trace, per_frame
from registry.intervals import Floats, Integers

EYES = "eyes"
SLOW_S = 1 / 6
"""Half the time over which is averaged what is taken off pictures and labels."""
PARTS = 16
"""The driver view is cut into so many parts a side."""
JUMP_DEG, LARGE_DEG = 1.5, 20.0
"""Steps of the labels below the first are noise; above the second they tell no more."""
BLOCK_S, FOLDS = 2.0, 6
FASTEST = 4.0
"""Pixels by which a head moves from frame to frame at most: more is a mistake of the correlation."""
PENALTY = 1.0
"""Of the ridge, in units of the weight of one frame."""


_WINDOW = cv2.createHanningWindow((SIDE - 2 * (SIDE // 5),) * 2, cv2.CV_32F)


@dataclass(frozen=True)
class Events:
    """What is compared: n frames of one drive.

    ``frame`` (n,); ``block`` (n,) numbers of time blocks; ``seen``: sign → (n, p) what the pictures show, standardised;
    ``labels``: sign → (frames, k) what the labels say of *all* frames of the drive, NaN where they say nothing.
    """

    frame: Integers
    block: Integers
    seen: Mapping[str, Floats]
    labels: Mapping[str, Floats]


@dataclass(frozen=True)
class Scan:
    """How well labels and pictures agree at L offsets, by time block: sums of predicted · label, predicted² and label².

    All (blocks, L).
    """

    product: Floats
    predicted: Floats
    label: Floats

    def curve(self, blocks: slice | Integers = slice(None)) -> Floats:
        """(L,) correlation over some of the blocks, all by default; a block may be named more than once."""
        product, predicted, label = (part[blocks].sum(axis=0) for part in (self.product, self.predicted, self.label))
        return np.asarray(product / np.sqrt(np.maximum(predicted * label, 1e-12)))


def from_trace(trace: Trace, fps: float, held_out_s: Floats) -> Events:
    """The events of a trace; pictures and labels within ``held_out_s`` (m, 2), seconds from and to, are left out."""
    frames = 1 + int(max(trace.shown.max(initial=-1), trace.rows.frame.max(initial=-1)))
    angles, blink = per_frame(trace.rows, frames)
    slow = max(1, round(SLOW_S * fps))
    labels = {EYES: _without_slow(_jumps(angles, blink), slow)[:, None]}
    seen, kept = _changes(trace, slow)
    seconds = trace.shown / fps
    for start, stop in held_out_s:
        kept[(seconds >= start) & (seconds < stop)] = False
        for values in labels.values():
            values[max(0, int(np.ceil(start * fps))) : max(0, int(np.ceil(stop * fps)))] = np.nan
    shown = trace.shown[kept]
    return Events(shown, (shown / fps // BLOCK_S).astype(np.int64), {EYES: standardised(seen[kept])}, labels)


def standardised(seen: Floats) -> Floats:
    """(n, p) columns of mean 0 and deviation 1, outliers cut at 4; a column that never changes is 0."""
    if not len(seen):
        return seen
    spread = seen.std(axis=0)
    return np.asarray(np.clip((seen - seen.mean(axis=0)) / np.maximum(spread, 1e-3 * spread.max() + 1e-9), -4.0, 4.0))


def scan(events: Events, sign: str, offsets: Integers, drift: float = 0.0) -> Scan:
    """How well the pictures of frame f foretell what the labels say of frame f + offset + drift · (f − middle)."""
    labels = events.labels[sign]
    middle = events.frame.mean()
    at = events.frame[:, None] + np.round(offsets + drift * (events.frame[:, None] - middle)).astype(np.int64)
    inside = (at >= 0) & (at < len(labels))
    wanted = np.where(inside[..., None], labels[np.where(inside, at, 0)], np.nan)
    known: np.ndarray = np.asarray(np.isfinite(wanted).all(axis=2))
    wanted = np.where(known[..., None], wanted, 0.0)
    wanted = (wanted - wanted.sum(axis=0) / np.maximum(known.sum(axis=0), 1)[:, None]) * known[..., None]
    foretold = _foretold(events.seen[sign], wanted.reshape(len(at), -1), events.block).reshape(wanted.shape)
    foretold *= known[..., None]
    sums = ((wanted * foretold), foretold**2, wanted**2)
    blocks = np.unique(events.block, return_inverse=True)[1]
    by_block = [np.zeros((blocks.max() + 1, len(offsets))) for _ in sums]
    for total, part in zip(by_block, sums, strict=True):
        np.add.at(total, blocks, part.sum(axis=2))
    return Scan(*by_block)


def _foretold(seen: Floats, wanted: Floats, block: Integers) -> Floats:
    """Ridge of (n, p) on (n, k), each block foretold by a fit to blocks of other folds."""
    fold = block % FOLDS
    foretold = np.zeros_like(wanted)
    weight = PENALTY * seen.shape[1] * np.eye(seen.shape[1])
    for number in np.unique(fold):
        others = fold != number
        fitted = solve(seen[others].T @ seen[others] + weight, seen[others].T @ wanted[others], assume_a="pos")
        foretold[~others] = seen[~others] @ fitted
    return foretold


def _changes(trace: Trace, slow: int) -> tuple[Floats, NDArray[np.bool_]]:
    """(g, p) how much each part of the picture changed since the frame before, and (g,) where that is known."""
    pictures = evenly_lit(trace)
    known = np.zeros(len(pictures), dtype=bool)
    known[1:] = np.diff(trace.shown) == 1
    grid = np.zeros((len(pictures), PARTS, PARTS))
    side = SIDE // PARTS
    for at in np.flatnonzero(known):
        changed = np.abs(pictures[at] - _moved(pictures[at - 1], pictures[at]))
        grid[at] = np.sqrt(changed.reshape(PARTS, side, PARTS, side).mean(axis=(1, 3)))
    parts = uniform_filter(grid, (1, 3, 3)).reshape(len(grid), PARTS**2)  # heads move: an eye is not always in one part
    for piece in np.split(np.arange(len(parts)), np.flatnonzero(~known)):
        if len(piece) > 1:
            parts[piece[1:]] = _without_slow(parts[piece[1:]], slow)
    return parts, known


def evenly_lit(trace: Trace) -> Floats:
    """The pictures, each as bright as the others on average: a cloud is no movement."""
    pictures = trace.pictures.astype(np.float32)
    return np.asarray(pictures * (100.0 / np.maximum(pictures.mean(axis=(1, 2), keepdims=True), 1.0)))


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A picture shifted as its middle moves up to the next one, by phase correlation (Kuglin and Hines 1975)."""
    middle = slice(SIDE // 5, SIDE - SIDE // 5)
    shift = cv2.phaseCorrelate(before[middle, middle], after[middle, middle], _WINDOW)[0]
    if max(map(abs, shift)) > FASTEST:
        return before
    turn = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    return cv2.warpAffine(before, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _jumps(angles_deg: Floats, blink: np.ndarray) -> Floats:
    """(frames,) how large a jump each frame ends: the root of its size, 0 between jumps and beside blinks."""
    steps = np.nan_to_num(np.abs(np.diff(angles_deg, axis=0, prepend=angles_deg[:1])).sum(axis=1))
    moved = steps[steps > 0]
    noise = 4.0 * float(np.median(moved)) if len(moved) else 0.0
    steps[steps < max(JUMP_DEG, min(noise, 2 * JUMP_DEG))] = 0.0
    beside = np.convolve(blink, np.ones(5), mode="same") > 0
    return np.asarray(np.sqrt(np.minimum(steps, LARGE_DEG)) * ~beside)


def _without_slow(values: Floats, slow: int) -> Floats:
    return np.asarray(values - uniform_filter1d(values, 2 * slow + 1, axis=0, mode="nearest"))
