"""How much each stretch of a recording's tiny pictures looks like one of another's (:mod:`recording.fingerprint`)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 16
"""Pictures that a stretch holds at least."""
LEAST_OVERLAP = 0.75
"""Share of a stretch that the other recording must have for the two to be compared."""
LEAST_CHANGE = 0.02
"""Standard deviation over a stretch, in contrasts of a picture, below which nothing happened in it that could be known
again."""
QUANTUM = 1 / 32
"""Of a tiny picture's values, in its own contrasts: what int8 holds then reaches to 4."""

Floats = NDArray[np.float64]


class Grid:
    """Tiny pictures at equal distances in time: between two a blend, zeros and a mask of 0 far from any."""

    def __init__(self, known: np.ndarray, pictures: np.ndarray, spacing: float) -> None:
        """``known`` (n,): when each of the ``pictures`` (n, 144) int8 is shown; ``spacing``: usually between two."""
        spacing = min(spacing, 1.0)
        self.step, self.start = spacing / 2, float(known[0])
        times = self.start + self.step * np.arange(int((known[-1] - self.start) / self.step) + 2)
        after = np.clip(np.searchsorted(known, times), 1, len(known) - 1)
        share = np.clip((times - known[after - 1]) / np.maximum(known[after] - known[after - 1], 1e-6), 0, 1)
        near = np.minimum(np.abs(known[after] - times), np.abs(known[after - 1] - times)) <= 0.51 * spacing
        self.there, share = near.astype(np.float32), share.astype(np.float32)[:, None]
        between = (1 - share) * pictures[after - 1] + share * pictures[after]
        self.pictures = between * np.float32(QUANTUM) * self.there[:, None]
        self._transform: np.ndarray = np.empty((0, 0), np.complex64)
        self._last: tuple[bytes, list[_Windows]] = b"", []

    def correlate(self, seconds: np.ndarray, pictures: np.ndarray) -> tuple[Floats, Floats]:
        """Correlation of a stretch (w pictures) with the grid at every offset, and these offsets in seconds.

        Of each pair of stretches only moments count that both have; zero where these are fewer than :data:`FEWEST`, or
        nothing changes.
        """
        at = np.round((seconds - seconds[0]) / self.step).astype(np.int64)
        # The stretch may begin before the grid does, and end after it.
        margin = int(at[-1])
        places = len(self.there) + margin
        own = pictures.astype(np.float32) * np.float32(QUANTUM)
        own -= own.mean(axis=0)
        products = np.pad(own @ self.pictures.T, ((0, 0), (margin, margin)))
        crossed = np.zeros(places, np.float32)
        for row, shift in enumerate(at):
            crossed += products[row, shift : shift + places]
        correlation = np.zeros(places)
        for windows in self._windows(at):
            correlation[windows.places] = windows.correlation(own, crossed[windows.places])
        offsets = self.start + self.step * (np.arange(places) - margin) - seconds[0]
        return correlation, np.asarray(offsets, np.float64)

    def _windows(self, at: np.ndarray) -> "list[_Windows]":
        """The grid's stretches with pictures at these steps; at a constant rate one stretch after the other has them
        at the same ones, so the last are kept."""
        if self._last[0] != at.tobytes():
            self._last = at.tobytes(), self._windows_anew(at)
        return self._last[1]

    def _windows_anew(self, at: np.ndarray) -> "list[_Windows]":
        margin = int(at[-1])
        time = ((at - at.mean()) / max(1.0, float(at.std()))).astype(np.float32)
        sums, trends = (self._added_up(at, weights) for weights in (np.ones_like(time), time))
        sizes = np.pad((self.pictures * self.pictures).sum(axis=1), margin)
        theirs = np.lib.stride_tricks.sliding_window_view(sizes, margin + 1)[:, at].sum(axis=1)
        there = np.pad(self.there, margin)
        both = np.lib.stride_tricks.sliding_window_view(there, margin + 1)[:, at]  # (places, w)
        counts = both.sum(axis=1)
        whole = np.flatnonzero(counts == len(at))
        parts = np.flatnonzero((counts < len(at)) & (counts >= max(FEWEST, LEAST_OVERLAP * len(at))))
        of_whole = np.ones((1, len(at)), np.float32)  # one for all of them: most places of most grids
        return [
            _Windows(chosen, time, mask, sums[chosen], trends[chosen], theirs[chosen])
            for chosen, mask in ((whole, of_whole), (parts, both[parts]))
            if len(chosen)
        ]

    def _added_up(self, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(places, 144) weighted sum of the pictures at the steps ``at`` from each place: by Fourier transform, which
        takes a tenth of the time that adding them one by one does."""
        count, margin = len(self.there), int(at[-1])
        if len(self._transform) <= (count + margin) // 2:
            self._transform = np.fft.rfft(self.pictures, 1 << (count + 2 * margin).bit_length(), axis=0)
        size = 2 * (len(self._transform) - 1)
        taken = np.zeros(size, np.float32)
        np.add.at(taken, at, weights)
        added = np.fft.irfft(self._transform * np.fft.rfft(taken).conj()[:, None], size, axis=0)
        return np.concatenate([added[size - margin :], added[:count]])  # places before the grid come round the end


@dataclass(frozen=True, eq=False)
class _Windows:
    """Stretches of a grid, k of them, whose w pictures lie at the same steps from their places."""

    places: np.ndarray
    time: np.ndarray
    """(w,) of the pictures, without a mean."""
    both: np.ndarray
    """(k, w), 0 where the grid has no picture; (1, w) where it is the same for all."""
    sums: np.ndarray
    """(k, 144) the pictures added up."""
    trends: np.ndarray
    """(k, 144) the same, each times its time."""
    theirs: np.ndarray
    """(k,) squares of all values added up."""

    def correlation(self, own: np.ndarray, crossed: np.ndarray) -> Floats:
        """(k,) with a stretch of pictures, (w, 144) without their mean; ``crossed`` (k,): their scalar products."""
        our_sum, our_trend = self.both @ own, self.both @ (self.time[:, None] * own)
        ours = self.both @ (own * own).sum(axis=1)
        # What neither mean nor slope explains: light that fades and a driver who sinks down look the same anywhere.
        number = self.both.sum(axis=1)
        middle = self.both @ self.time / number
        spread = np.maximum(self.both @ (self.time * self.time) - number * middle**2, 1e-3)
        trends = self.trends - middle[:, None] * self.sums
        our_trend -= middle[:, None] * our_sum
        crossed = crossed - _products(our_sum, self.sums) / number - _products(our_trend, trends) / spread
        theirs = self.theirs - _products(self.sums, self.sums) / number - _products(trends, trends) / spread
        ours = ours - _products(our_sum, our_sum) / number - _products(our_trend, our_trend) / spread
        least = LEAST_CHANGE**2 * own.shape[1] * number
        known = (theirs > least) & (ours > least)
        return np.where(known, crossed / np.sqrt(np.maximum(theirs * ours, 1e-9)), 0.0)


def _products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(k,) scalar product of each row with the other's; either may have one row for all."""
    return np.asarray(np.einsum("kp,kp->k", one, other))
