"""What a fine-tuned model must beat: a constant, and the linear calibration of the base model's answers.

Both are fitted on the training samples only.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LinearRegression


@dataclass(frozen=True)
class Constant:
    """Always the same answer: the median of the training labels, the constant with the least absolute error."""

    azimuth_deg: float
    elevation_deg: float

    def predict(self, n: int) -> np.ndarray:
        """(n, 2) ``(azimuth, elevation)`` degrees."""
        return np.tile([self.azimuth_deg, self.elevation_deg], (n, 1))


@dataclass(frozen=True)
class Calibration:
    """``angle = slope · base angle + intercept`` for each angle, as people fit by hand today."""

    slope: tuple[float, float]
    intercept: tuple[float, float]

    def predict(self, base_deg: np.ndarray) -> np.ndarray:
        """The base model's (n, 2) answers → calibrated (n, 2) answers, degrees."""
        return np.asarray(base_deg) * np.array(self.slope) + np.array(self.intercept)

    def describe(self) -> str:
        """The two formulas, as one would write them into a script."""
        return "; ".join(
            f"{name} = {slope:.4f}·{source} {'+' if intercept >= 0 else '−'} {abs(intercept):.4f}"
            for name, source, slope, intercept in zip(
                ("azimuth", "elevation"), ("yaw", "pitch"), self.slope, self.intercept, strict=True
            )
        )


def fit_constant(labels_deg: np.ndarray) -> Constant:
    """From (n, 2) training labels in degrees."""
    return Constant(*(float(value) for value in np.median(labels_deg, axis=0)))


def fit_calibration(base_deg: np.ndarray, labels_deg: np.ndarray) -> Calibration:
    """Ordinary least squares per angle, from the base model's (n, 2) answers and (n, 2) labels, degrees."""
    fits = [LinearRegression().fit(base_deg[:, [k]], labels_deg[:, k]) for k in range(2)]
    return Calibration(tuple(float(fit.coef_[0]) for fit in fits), tuple(float(fit.intercept_) for fit in fits))
