"""How wrong answers are: per-angle and 3-D errors in degrees, with intervals that respect time blocks."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recording.angles import absolute_errors, angular_errors
from registry.intervals import Floats, Integers, block_means, mean_interval

QUANTITIES = ("azimuth", "elevation", "angular")
CELL_DEG = 10.0
"""Side of a gaze cell. Half of a drive is the road ahead; over cells, each direction counts once."""


@dataclass(frozen=True)
class Summary:
    """Errors of one quantity, degrees.

    ``low``…``high`` is the 95 % interval of the mean over time blocks, ``None`` where there are too few blocks to
    tell. ``cells`` is the mean over gaze cells of ``CELL_DEG``.
    """

    mean: float
    median: float
    p95: float
    low: float | None
    high: float | None
    cells: float

    def describe(self) -> str:
        """``1.49° [1.07–1.92]``, or ``1.49° [too short]``."""
        return f"{self.mean:.2f}° [{self.interval()}]"

    def interval(self) -> str:
        """``1.07–1.92``, or ``too short`` where there is none."""
        return "too short" if self.low is None else f"{self.low:.2f}–{self.high:.2f}"


@dataclass(frozen=True)
class MeasuredErrors:
    """Errors of one model on one set of samples."""

    samples: int
    blocks: int
    cells: int
    azimuth: Summary
    elevation: Summary
    angular: Summary

    def metrics(self, prefix: str) -> dict[str, float]:
        """Flat metrics ``prefix/azimuth_error_deg`` … for MLflow; the mean under the plain name.

        ``…_low`` and ``…_high`` are left out where there are too few time blocks for an interval.
        """
        flat: dict[str, float] = {}
        for quantity in QUANTITIES:
            figures = asdict(self.summary(quantity))
            name = f"{prefix}/{quantity}_error_deg"
            flat[name] = figures.pop("mean")
            flat |= {f"{name}_{figure}": value for figure, value in figures.items() if value is not None}
        return flat

    def means(self) -> dict[str, float]:
        """The three mean errors by their metric names."""
        return {f"{quantity}_error_deg": self.summary(quantity).mean for quantity in QUANTITIES}

    def summary(self, quantity: str) -> Summary:
        """Of one of ``QUANTITIES``."""
        return {"azimuth": self.azimuth, "elevation": self.elevation, "angular": self.angular}[quantity]

    def to_json(self) -> dict[str, Any]:
        """As nested dictionaries."""
        return asdict(self)


def per_sample(predicted_deg: Floats, measured_deg: Floats) -> Floats:
    """(n, 2) and (n, 2) ``(azimuth, elevation)`` degrees → (n, 3) errors: azimuth, elevation, angular."""
    return np.column_stack([absolute_errors(predicted_deg, measured_deg), angular_errors(predicted_deg, measured_deg)])


def measure(predicted_deg: Floats, measured_deg: Floats, block: Integers) -> MeasuredErrors:
    """Errors of (n, 2) answers against (n, 2) labels; ``block`` (n,) is the time block of each sample."""
    return summarise(per_sample(predicted_deg, measured_deg), measured_deg, block)


def summarise(errors: Floats, measured_deg: Floats, block: Integers) -> MeasuredErrors:
    """As :func:`measure`, of (n, 3) errors that are there already: the mean ones of several trainings, say."""
    cell = gaze_cells(measured_deg)
    azimuth, elevation, angular = (_summary(errors[:, k], block, cell) for k in range(3))
    return MeasuredErrors(len(errors), len(np.unique(block)), len(np.unique(cell)), azimuth, elevation, angular)


def gaze_cells(measured_deg: Floats, side_deg: float = CELL_DEG) -> Integers:
    """The gaze cell of each of (n, 2) measured directions, as numbers; cells are squares in azimuth and elevation."""
    corners = np.floor(np.asarray(measured_deg) / side_deg)
    cell: NDArray[np.int64] = np.unique(corners, axis=0, return_inverse=True)[1].reshape(-1)
    return cell


def _summary(errors: Floats, block: Integers, cell: Integers) -> Summary:
    mean = float(errors.mean())
    interval = mean_interval(errors, block)
    # Every block counts once in the interval, every frame in the mean: where the blocks' sizes differ much, the
    # interval is widened to hold the mean that stands beside it. No error is below zero.
    return Summary(
        mean=mean,
        median=float(np.median(errors)),
        p95=float(np.percentile(errors, 95)),
        low=max(0.0, min(interval.low, mean)) if interval.is_told else None,
        high=max(interval.high, mean) if interval.is_told else None,
        cells=float(block_means(errors, cell).mean()),
    )
