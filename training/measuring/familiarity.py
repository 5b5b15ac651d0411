"""Does the base know such pictures? How far the features of a drive lie from those that the base learnt on.

Every BatchNorm layer remembers mean and variance of each of its channels over the pictures that the base was trained
on. The same two over the drive's pictures are estimated anyway (``bn=target``). How much the two normal distributions
overlap, channel by channel, needs no picture of the base's training set.
"""

from dataclasses import dataclass

import numpy as np

from registry.intervals import Floats

Statistics = tuple[Floats, Floats]
"""(c,) means and (c,) variances of one layer's channels."""
_LEAST_VARIANCE = 1e-5  # BatchNorm's own epsilon: a channel that never moves has none

OWN_KIND, PHOTOGRAPHS = (0.010, 0.024), (0.046, 0.068)
"""Distances from the lab base, measured (docs/benchmarks.md): its own kind of pictures, bright and dark, of people that
it has not seen; photographs."""
KNOWN, FOREIGN = 0.030, 0.040
"""Up to the first the pictures are like those that the base knows, from the second on it does not know them."""


@dataclass(frozen=True)
class Familiarity:
    """The base, what it was trained on, and how far this drive is from that."""

    name: str
    trained_on: str
    distance: float
    """0: features are distributed as in training; 1: the distributions have nothing in common; noise has 0.13."""

    @property
    def foreign(self) -> bool:
        """Whether the base does not know such pictures."""
        return self.distance >= FOREIGN

    @property
    def finding(self) -> str:
        """What the distance says, in words."""
        if self.foreign:
            return "the base does not know such pictures"
        if self.distance > KNOWN:
            return "the pictures differ from those that the base knows"
        return "the pictures are like those that the base knows"

    def describe(self) -> str:
        """One line: which base, trained on what, how far the drive is."""
        return (
            f"Base: {self.name}, trained on {self.trained_on}. This drive is {self.distance:.3f} from the features "
            f"of its training: {self.finding} (the lab base: {_range(*OWN_KIND)} for its own kind of pictures, "
            f"{_range(*PHOTOGRAPHS)} for photographs)"
        )


def _range(low: float, high: float) -> str:
    return f"{low:.3f}–{high:.3f}"


def distance(base: list[Statistics], drive: list[Statistics]) -> float:
    """Hellinger distance between the channels' normal distributions, mean over a layer's channels and over layers.

    Bounded by 1, so that no single channel that hardly moved in training decides alone. Statistics are estimated layer
    by layer, each on what the layers before normalised with theirs: brightness counts in the first layer only.
    """
    layers = [
        float(np.sqrt(np.maximum(1 - _overlap(*one, *other), 0.0)).mean())
        for one, other in zip(base, drive, strict=True)
    ]
    return float(np.mean(layers))


def _overlap(mean: Floats, variance: Floats, other_mean: Floats, other_variance: Floats) -> Floats:
    """(c,) Bhattacharyya coefficients of normal distributions."""
    first, second = (np.maximum(one, _LEAST_VARIANCE) for one in (variance, other_variance))
    both = first + second
    apart = np.exp(-((np.asarray(mean) - other_mean) ** 2) / (4 * both))
    return np.asarray(np.sqrt(2 * np.sqrt(first * second) / both) * apart)
