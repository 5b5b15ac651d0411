"""When do the lids close? The offset at which all blinks of the CSV show the same in the pictures: two spots.

A blink is over in a quarter of a second, and only lids do that: in the pictures of its time, less those of as long
before and behind, light and turning head mostly cancel out, and both eyes stand out as small spots. Of each pair of
blinks it is asked how much the one looks like the other, moved by as much as a head moves. They are too few to learn
from (a drive of 40 s has eight), but at the right offset all pairs agree, and at any other next to none.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.signal.windows import triang

from recording.trace import SIDE, Trace, per_frame
from registry.intervals import Floats, Integers
from training.measuring import events
from training.measuring.events import Scan

BLINKS = "blinks"
MIN_BLINKS, MOST_BLINKS = 4, 60
"""Every pair is compared at every offset: of more, as in a column that flickers, so many that are spread evenly."""
PIXELS, PADDED = SIDE // 2, 64
"""On a side of what is compared: an eye still has two or three. Padded for the Fourier transform."""
SPOT, AROUND = 0.7, 2.5
"""Deviations in pixels of what is kept of a picture's details and what is taken off around them."""
USUAL, MOST = 3.0, 8.0
"""Changes below so many of a pixel's usual ones are none, above the second they count no more."""
BLUR = 1.1
MOVED = 5
"""Pixels by which a head is elsewhere at the next blink."""


def scan(trace: Trace, fps: float, held_out_s: Floats, offsets: Integers, drift: float = 0.0) -> Scan | None:
    """How much the blinks look alike when pictures are ``offsets`` (L,) frames before the labels; None with too few.

    As many rows as blinks are looked at: sums over pairs with the others. ``drift`` as in :func:`events.scan`. Pictures
    and blinks within ``held_out_s`` (m, 2) seconds are left out.
    """
    if not trace.rows.says_blink or not len(trace.shown):
        return None
    frames = 1 + int(max(trace.shown.max(), trace.rows.frame.max(initial=-1)))
    free = _outside(frames, fps, held_out_s)
    begins, ends = _blinks(per_frame(trace.rows, frames)[1], free)
    if len(begins) < MIN_BLINKS:
        return None
    length = max(1, int(np.median(ends - begins)))
    first, spots = _spots(trace, free, length)
    if not len(first):
        return None
    place = np.full(frames, -1)
    place[first] = np.arange(len(first))
    starts = (begins + ends - length) // 2
    shift = offsets + drift * (starts[:, None] - trace.shown.mean())
    at = starts[:, None] - np.round(shift).astype(np.int64)
    rows = np.where((at >= 0) & (at < frames), place[np.clip(at, 0, frames - 1)], -1)
    if len(rows) > MOST_BLINKS:
        seen = np.flatnonzero((rows >= 0).any(axis=1))
        rows = rows[seen[np.unique(np.linspace(0, len(seen) - 1, MOST_BLINKS).astype(int))]] if len(seen) else rows[:0]
    waves = np.fft.rfft2(spots, (PADDED, PADDED)).astype(np.complex64)
    alike, pairs = (np.zeros(rows.shape) for _ in range(2))
    for column, known in enumerate(rows.T):
        there = np.flatnonzero(known >= 0)
        if len(there) >= MIN_BLINKS:
            alike[there, column] = _alike(waves[known[there]])
            pairs[there, column] = len(there) - 1
    # A blink is still half there some frames off: where the middle of that is tells it better than the highest place.
    alike, pairs = (correlate1d(sums, triang(2 * (length // 2) + 1), mode="constant") for sums in (alike, pairs))
    return Scan(alike, pairs, pairs)


def _outside(frames: int, fps: float, held_out_s: Floats) -> NDArray[np.bool_]:
    seconds, free = np.arange(frames) / fps, np.ones(frames, dtype=bool)
    for start, stop in held_out_s:
        free[(seconds >= start) & (seconds < stop)] = False
    return free


def _blinks(blink: NDArray[np.bool_], free: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """The first frame of each blink and the one behind its last."""
    edges = np.diff(np.concatenate([[0], blink.astype(int), [0]]))
    begins, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    looked_at = [bool(free[begin:end].all()) for begin, end in zip(begins, ends, strict=True)]
    return begins[looked_at], ends[looked_at]


def _spots(trace: Trace, free: NDArray[np.bool_], length: int) -> tuple[Integers, NDArray[np.float32]]:
    """What comes and goes within ``length`` frames: their first ones (m,), and (m, PIXELS, PIXELS) of norm 1."""
    used = free[trace.shown]
    shown, pictures = trace.shown[used], events.evenly_lit(trace)[used]
    small = pictures.reshape(len(pictures), PIXELS, 2, PIXELS, 2).mean(axis=(2, 4))
    first, changed = [], []
    for piece in np.split(np.arange(len(shown)), 1 + np.flatnonzero(np.diff(shown) != 1)):
        if len(piece) >= 3 * length:
            sums = np.concatenate([np.zeros((1, PIXELS, PIXELS)), small[piece].cumsum(axis=0, dtype=np.float64)])
            means = (sums[length:] - sums[:-length]) / length
            changed.append(means[length:-length] - (means[: -2 * length] + means[2 * length :]) / 2)
            first.append(shown[piece[length : length + len(changed[-1])]])
    if not first:
        return np.empty(0, np.int64), np.empty((0, PIXELS, PIXELS), np.float32)
    seen = np.concatenate(changed)
    seen = gaussian_filter(seen, (0, SPOT, SPOT)) - gaussian_filter(seen, (0, AROUND, AROUND))
    usual = gaussian_filter(np.sqrt((seen**2).mean(axis=0)), 1.0)
    times = np.clip(seen / np.maximum(usual, np.quantile(usual, 0.3) + 1e-9), -MOST, MOST)
    spots = gaussian_filter(np.sign(times) * np.maximum(np.abs(times) - USUAL, 0.0), (0, BLUR, BLUR))
    size = np.sqrt((spots**2).sum(axis=(1, 2), keepdims=True))
    return np.concatenate(first), (spots / np.maximum(size, 1e-6)).astype(np.float32)


def _alike(waves: NDArray[np.complex64]) -> Floats:
    """(k,) of each of k pictures, given their transforms, the sum over the others of the highest correlation."""
    one, other = np.triu_indices(len(waves), 1)
    crossed = np.fft.irfft2(waves[one] * waves[other].conj(), (PADDED, PADDED))
    near = np.arange(-MOVED, MOVED + 1)
    highest = crossed[:, near[:, None], near].max(axis=(1, 2))
    return np.asarray(np.bincount(one, highest, len(waves)) + np.bincount(other, highest, len(waves)), np.float64)
