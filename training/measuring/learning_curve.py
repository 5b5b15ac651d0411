"""What more data would bring: a power law with a floor through errors measured at several sizes of one training part.

``error(n) = floor + scale · n^(−rate)`` is how errors fall with the number of samples over the range that one drive
spans (Hestness et al. 2017, "Deep learning scaling is predictable, empirically"; Viering and Loog 2022, "The shape of
learning curves: a review"). Intervals come from resampling: what was measured is drawn again with the spread that it
showed between time blocks and between trainings, and every draw is fitted anew. Few blocks and few trainings tell
little of their spread, so the draws are Student's, not normal (see :mod:`registry.intervals`).

Pure mathematics: what was measured comes in as arrays, what may be said goes out.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from registry.intervals import CONFIDENCE, MIN_BLOCKS, Floats, Integers

DRAWS = 2000
RATES = np.linspace(0.05, 1.5, 59)
"""Searched exponents: below, a curve that nobody could tell from a straight line over one drive; above, one that has
reached its floor."""
MIN_SIZES = 3
MIN_SPAN = 4.0
"""The largest size over the smallest: over less, a floor cannot be told from a slow fall."""
FARTHEST = 4.0
"""No forecast beyond so many times the largest size that was measured."""
LITTLE = 0.10
"""Twice the samples do not help where they would surely bring less than this share of the error."""
SOME = 0.02
"""They help where they would surely bring more than this share."""
IMPROBABLE = 0.01
"""The points do not lie on the curve where the resampled ones lie as far from theirs as seldom as this."""


@dataclass(frozen=True)
class Measured:
    """3-D errors of trainings on subsets of growing size, all on the same test samples."""

    sizes: Integers
    """(k,) ascending."""
    errors_deg: tuple[Floats, ...]
    """For each size (trainings, blocks): the mean error of each training in each time block of the test part."""
    weights: Integers
    """(blocks,) test samples of each block."""

    @property
    def trainings(self) -> Integers:
        """(k,) how often each size was trained."""
        return np.array([len(errors) for errors in self.errors_deg])

    @property
    def means(self) -> Floats:
        """(k,) mean error over trainings and test samples."""
        return np.array([errors.mean(axis=0) @ self._shares for errors in self.errors_deg])

    @property
    def spread(self) -> float:
        """Standard deviation of a training's error, as a share of it; all sizes together."""
        return float(np.sqrt(sum(self._deviations()) / max(1, self.freedom)))

    @property
    def freedom(self) -> int:
        """Degrees of freedom behind :attr:`spread`; 0: no size was trained twice."""
        return int((self.trainings - 1).sum())

    def drawn(self, around: Floats, random: np.random.Generator) -> Floats:
        """(DRAWS, k) mean errors that might have been measured, had the truth been ``around`` (k,).

        Other stretches of the drive would have been harder or easier for all sizes alike; other subsets and seeds
        better or worse for each size by itself.
        """
        blocks = len(self.weights)
        by_block = np.array([errors.mean(axis=0) for errors in self.errors_deg])
        apart = (by_block - self.means[:, None]) * self._shares * np.sqrt(blocks / (blocks - 1))
        stretches = random.standard_normal((DRAWS, blocks)) @ apart.T * _student_scale(random, blocks - 1)
        seeds = random.standard_normal((DRAWS, len(self.sizes))) * self.spread / np.sqrt(self.trainings)
        drawn = around + stretches + self.means * seeds * _student_scale(random, self.freedom)
        return np.asarray(np.maximum(drawn, 0.01 * self.means))  # no error is below zero

    @property
    def _shares(self) -> Floats:
        return np.asarray(self.weights / self.weights.sum())

    def _deviations(self) -> list[float]:
        totals = [errors @ self._shares for errors in self.errors_deg]
        return [float(((total / total.mean() - 1) ** 2).sum()) for total in totals]


def _student_scale(random: np.random.Generator, freedom: int) -> Floats:
    """(DRAWS, 1) factors that make normal draws Student's with so many degrees of freedom."""
    return np.asarray(np.sqrt(freedom / random.chisquare(freedom, (DRAWS, 1))))


@dataclass(frozen=True)
class Curve:
    """One or many power laws with a floor; every field () or (m,)."""

    floor_deg: Floats
    scale_deg: Floats
    rate: Floats

    def at(self, size: float | Floats) -> Floats:
        """The error at a size, degrees; () or (m,) for one size."""
        return np.asarray(self.floor_deg + self.scale_deg * np.asarray(size, dtype=np.float64) ** -self.rate)


def fit(sizes: Integers, errors_deg: Floats, weights: Floats) -> Curve:
    """The curves with the least weighted squared distance to (m, k) errors at (k,) sizes; floor and scale not below 0.

    For a given exponent floor and scale are linear, so they are solved; the exponent is searched in :data:`RATES`.
    """
    powers = np.asarray(sizes, dtype=np.float64)[None, :] ** -RATES[:, None]
    share = weights / weights.sum()
    x, y = powers @ share, errors_deg @ share
    centred = (powers - x[:, None]) * share
    slope = errors_deg @ centred.T / np.maximum((centred * powers).sum(axis=1), np.finfo(float).tiny)  # 0: one size
    without_floor = (errors_deg * share) @ powers.T / (powers**2 @ share)
    floor = y[:, None] - slope * x
    scale = np.where(floor < 0, without_floor, np.maximum(slope, 0.0))
    floor = np.where(floor < 0, 0.0, np.where(slope < 0, y[:, None], floor))
    missed = errors_deg[:, None, :] - floor[:, :, None] - scale[:, :, None] * powers
    best = ((missed**2) @ share).argmin(axis=1)
    rows = np.arange(len(errors_deg))
    return Curve(floor[rows, best], scale[rows, best], RATES[best])


class Outlook(StrEnum):
    """What twice the samples of the same drive would bring."""

    HELPS = "helps"
    WILL_NOT_HELP = "will not help"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Expected:
    """A value read off the curve and its interval."""

    value: float
    low: float
    high: float

    def describe(self, unit: str = "°", digits: int = 2) -> str:
        """``1.45° [1.30–1.62]``."""
        return f"{self.value:,.{digits}f}{unit} [{self.low:,.{digits}f}–{self.high:,.{digits}f}]"


@dataclass(frozen=True)
class Forecast:
    """The fitted curve, what resampling made of it, and what of it deserves to be said."""

    measured: Measured
    curve: Curve
    draws: Curve
    outlook: Outlook
    reason: str
    """Why it cannot be told; empty otherwise."""

    @property
    def largest(self) -> int:
        """The largest size that was measured."""
        return int(self.measured.sizes[-1])

    def at(self, size: float) -> Expected:
        """The error of the next training on so many samples, degrees."""
        # The same numbers for every size: bands of a figure must not jitter.
        noise = np.random.default_rng(1).standard_t(max(1, self.measured.freedom), DRAWS) * self.measured.spread
        return _expected(float(self.curve.at(size)[0]), self.draws.at(size) * np.maximum(1 + noise, 0.0))

    def gain(self) -> Expected:
        """By what share of the error at the largest size twice the samples would lower it."""
        return _gain(self.curve, self.draws, self.largest)

    def needed(self, target_deg: float) -> Expected:
        """Samples for a mean error of ``target_deg``; infinite where the curve's floor is above it."""
        return _expected(float(_size_for(self.curve, target_deg)[0]), _size_for(self.draws, target_deg))


def forecast(measured: Measured, seed: int = 0) -> Forecast:
    """Fit, resample and judge; the same ``measured`` and ``seed`` give the same forecast.

    Where it cannot be told, ``reason`` says why and the curve is still there to be drawn, if there are two sizes.
    """
    weights = measured.trainings / measured.means**2
    curve = fit(measured.sizes, measured.means[None], weights)
    short = _too_little(measured)
    if short:
        return Forecast(measured, curve, curve, Outlook.CANNOT_TELL, short)
    random = np.random.default_rng(seed)
    drawn = measured.drawn(measured.means, random)
    draws = fit(measured.sizes, drawn, weights)
    reason = _rising(measured, drawn) or _off_the_curve(measured, curve, weights, random)
    outlook = Outlook.CANNOT_TELL
    if not reason:
        gain = _gain(curve, draws, int(measured.sizes[-1]))
        if gain.high < LITTLE:
            outlook = Outlook.WILL_NOT_HELP
        elif gain.low > SOME:
            outlook = Outlook.HELPS
        else:
            reason = (
                f"twice the samples may lower the error by anything from {max(0.0, gain.low):.0%} to {gain.high:.0%}; "
                "more repeats, or a smaller smallest size, would narrow it"
            )
    return Forecast(measured, curve, draws, outlook, reason)


def _too_little(measured: Measured) -> str:
    """Why nothing can be said before anything is fitted; "" where there is enough."""
    sizes, blocks = measured.sizes, len(measured.weights)
    if len(sizes) < MIN_SIZES:
        return f"{len(sizes)} size{' was' if len(sizes) == 1 else 's were'} measured, a floor shows from {MIN_SIZES} on"
    if sizes[-1] < MIN_SPAN * sizes[0]:
        return f"the sizes go from {sizes[0]:,} to {sizes[-1]:,}, less than {MIN_SPAN:.0f} times: give smaller ones too"
    if not measured.freedom:
        return "every size was trained once, so nobody knows how much chance does; give repeats=3"
    if blocks < MIN_BLOCKS:
        return f"the drive has {blocks} test blocks, and {MIN_BLOCKS} are needed to say how certain an error is"
    return ""


def _rising(measured: Measured, drawn: Floats) -> str:
    """Whether a larger size is surely worse than a smaller one: then more is not better for another reason."""
    pairs = list(combinations(range(len(measured.sizes)), 2))
    for small, large in pairs:
        if np.quantile(drawn[:, large] - drawn[:, small], (1 - CONFIDENCE) / len(pairs)) > 0:
            return (
                f"the error rises from {measured.means[small]:.2f}° at {measured.sizes[small]:,} samples to "
                f"{measured.means[large]:.2f}° at {measured.sizes[large]:,}: what was added differs from what is "
                "tested, its labels are worse, or the training is too short for it"
            )
    return ""


def _off_the_curve(measured: Measured, curve: Curve, weights: Floats, random: np.random.Generator) -> str:
    """Whether the points lie farther from the curve than chance puts them."""
    on_it = curve.at(measured.sizes.astype(np.float64))
    drawn = measured.drawn(on_it, random)
    again = fit(measured.sizes, drawn, weights)
    resampled = again.floor_deg[:, None] + again.scale_deg[:, None] * measured.sizes ** -again.rate[:, None]
    chance = ((drawn - resampled) ** 2) @ weights
    found = ((measured.means - on_it) ** 2) @ weights
    if float((chance >= found).mean()) >= IMPROBABLE:
        return ""
    worst = int(np.abs(measured.means / on_it - 1).argmax())
    return (
        f"the points do not lie on a curve: {measured.means[worst]:.2f}° was measured at {measured.sizes[worst]:,} "
        f"samples where the others ask for {on_it[worst]:.2f}°"
    )


def _gain(curve: Curve, draws: Curve, largest: int) -> Expected:
    value = 1 - float(curve.at(2 * largest)[0] / curve.at(largest)[0])
    return _expected(value, 1 - draws.at(2 * largest) / draws.at(largest))


def _size_for(curve: Curve, target_deg: float) -> Floats:
    above = target_deg - curve.floor_deg
    with np.errstate(divide="ignore", over="ignore"):
        sizes = (curve.scale_deg / np.where(above > 0, above, np.nan)) ** (1 / curve.rate)
    return np.asarray(np.where(above > 0, sizes, np.inf))


def _expected(value: float, drawn: Floats) -> Expected:
    """The interval of :data:`~registry.intervals.CONFIDENCE`, widened to hold the value where the draws lean away."""
    # By order statistics: sizes may be infinite, and nothing lies between a number and that.
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="closest_observation")
    return Expected(value, min(float(low), value), max(float(high), value))
