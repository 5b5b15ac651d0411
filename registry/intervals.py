"""How certain a mean over a drive is: one interval for training and for the gate.

Frames of one stretch of a drive err alike, so what counts is the number of time blocks, not of frames. Each block
gives one number, its mean, and the interval is Student's t over these numbers. It was chosen by simulation
(``python -m benchmarks.intervals``): over five to ten blocks it covers the truth in 93–97 % of drives, whatever the
blocks' sizes, where the percentile bootstrap of blocks (Künsch 1989) covers 80–90 %. The same reasoning, for clusters
of any kind, is in Ibragimov and Müller 2010, "t-statistic based correlation and heterogeneity robust inference".
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MIN_BLOCKS = 5
"""With fewer time blocks nothing is said: four numbers tell nothing of how much a fifth would differ."""
CONFIDENCE = 0.95

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Answer(StrEnum):
    """What a difference of errors says, in the words that are used everywhere."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"
    TOO_SHORT = "too short to tell"


@dataclass(frozen=True)
class Interval:
    """A mean over time blocks, each counting once, and its confidence interval.

    With fewer than :data:`MIN_BLOCKS` blocks the interval is everything, −∞ to ∞.
    """

    mean: float
    low: float
    high: float
    blocks: int

    @property
    def is_told(self) -> bool:
        """False when there are too few blocks to say how certain the mean is."""
        return self.blocks >= MIN_BLOCKS

    @property
    def answer(self) -> Answer:
        """Of a difference of errors (ours − theirs, so that negative is better): what it says."""
        if not self.is_told:
            return Answer.TOO_SHORT
        return Answer.BETTER if self.high < 0 else Answer.WORSE if self.low > 0 else Answer.CANNOT_TELL

    def describe(self) -> str:
        """``-0.30° [-0.52, -0.08]``, or the mean with the number of blocks where these are too few."""
        if self.is_told:
            return f"{self.mean:+z.2f}° [{self.low:+z.2f}, {self.high:+z.2f}]"
        return f"{self.mean:+z.2f}°, {_counted(self.blocks)} of at least {MIN_BLOCKS}"


def mean_interval(values: Floats, blocks: Integers, confidence: float = CONFIDENCE) -> Interval:
    """The mean of ``values`` (n,) over time blocks and its interval; ``blocks`` (n,) numbers each value's block.

    Raises :class:`ValueError` when there is no value.
    """
    means = block_means(values, blocks)
    if len(means) < MIN_BLOCKS:
        return Interval(float(means.mean()), -np.inf, np.inf, len(means))
    middle, deviation = float(means.mean()), float(means.std(ddof=1))
    reach = _student(len(means) - 1, (1 + confidence) / 2) * deviation / float(np.sqrt(len(means)))
    return Interval(middle, middle - reach, middle + reach, len(means))


def block_means(values: Floats, blocks: Integers) -> Floats:
    """Mean of ``values`` (n,) in each block, in the order of the blocks' numbers."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise ValueError("block_means: there is no value")
    _, block = np.unique(blocks, return_inverse=True)
    return np.bincount(block, weights=values) / np.bincount(block)


def lower_bound_of_one(values: Floats, others: Floats, looks: int) -> float:
    """How large the mean of a few block means ``values`` at least is, one-sided, when it is one of ``looks``.

    A part of the drive with one or two blocks has no spread of its own; that of the ``others`` (block means of the
    rest, without this part, so that an outlier does not hide itself) stands for it. Bonferroni's correction: the
    chance that *any* of the looks lies above its truth is at most (1 − :data:`CONFIDENCE`) / 2.
    −∞ where the others are fewer than :data:`MIN_BLOCKS` − 1.
    """
    if len(others) < MIN_BLOCKS - 1:
        return -np.inf
    share = (1 - CONFIDENCE) / 2 / looks
    spread = float(np.std(others, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - _student(len(others) - 1, 1 - share) * spread


def _student(freedom: int, share: float) -> float:
    """The quantile of Student's t; scipy.special is a tenth of scipy.stats, and a server need not load either."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _counted(blocks: int) -> str:
    return f"{blocks} time block{'s' * (blocks != 1)}"
