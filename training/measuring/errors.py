"""How wrong answers are: per-angle and 3-D errors in degrees, with intervals that respect time blocks."""

from dataclasses import asdict, dataclass

import numpy as np

from recording.angles import absolute_errors, angular_errors

QUANTITIES = ("azimuth", "elevation", "angular")
BOOTSTRAP_ROUNDS = 2000


@dataclass(frozen=True)
class Summary:
    """Errors of one quantity, degrees; ``low``…``high`` is the 95 % bootstrap interval of the mean."""

    mean: float
    median: float
    p95: float
    low: float
    high: float


@dataclass(frozen=True)
class Errors:
    """Errors of one model on one set of samples."""

    samples: int
    azimuth: Summary
    elevation: Summary
    angular: Summary

    def metrics(self, prefix: str) -> dict[str, float]:
        """Flat metrics ``prefix/azimuth_error_deg`` … for MLflow; the mean under the plain name."""
        flat = {}
        for quantity in QUANTITIES:
            summary = getattr(self, quantity)
            flat[f"{prefix}/{quantity}_error_deg"] = summary.mean
            for name in ("median", "p95", "low", "high"):
                flat[f"{prefix}/{quantity}_error_deg_{name}"] = getattr(summary, name)
        return flat

    def means(self) -> dict[str, float]:
        """The three mean errors by their metric names."""
        return {f"{quantity}_error_deg": getattr(self, quantity).mean for quantity in QUANTITIES}

    def to_json(self) -> dict:
        return asdict(self)


def per_sample(predicted_deg: np.ndarray, measured_deg: np.ndarray) -> np.ndarray:
    """(n, 2) and (n, 2) ``(azimuth, elevation)`` degrees → (n, 3) errors: azimuth, elevation, angular."""
    return np.column_stack([absolute_errors(predicted_deg, measured_deg), angular_errors(predicted_deg, measured_deg)])


def measure(predicted_deg: np.ndarray, measured_deg: np.ndarray, block: np.ndarray, seed: int = 0) -> Errors:
    """Errors of (n, 2) answers against (n, 2) labels; ``block`` (n,) is the time block of each sample."""
    errors = per_sample(predicted_deg, measured_deg)
    low, high = bootstrap_interval(errors, block, seed)
    summaries = [
        Summary(
            mean=float(errors[:, k].mean()),
            median=float(np.median(errors[:, k])),
            p95=float(np.percentile(errors[:, k], 95)),
            low=float(low[k]),
            high=float(high[k]),
        )
        for k in range(3)
    ]
    return Errors(len(errors), *summaries)


def bootstrap_interval(values: np.ndarray, block: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile-bootstrap interval of the column means of ``values`` (n, k) → two arrays (k,).

    Whole blocks are resampled, not samples: neighbouring frames err alike, and resampling them one by one
    gives intervals that are far too narrow (block bootstrap, Künsch 1989).
    """
    ids = np.unique(block)
    totals = np.stack([values[block == one].sum(axis=0) for one in ids])
    counts = np.array([(block == one).sum() for one in ids])
    drawn = np.random.default_rng(seed).integers(0, len(ids), size=(BOOTSTRAP_ROUNDS, len(ids)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
    return np.percentile(means, 2.5, axis=0), np.percentile(means, 97.5, axis=0)
