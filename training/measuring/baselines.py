"""What a fine-tuned model must beat: a constant, and calibrations of the base model's answers.

All are fitted on the training samples only. Their names are those of :data:`registry.rule.BASELINES`.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LinearRegression, QuantileRegressor

from registry.intervals import Floats


@dataclass(frozen=True)
class Constant:
    """Always the same answer: the median of the training labels, the constant with the least absolute error."""

    azimuth_deg: float
    elevation_deg: float

    def predict(self, n: int) -> Floats:
        """(n, 2) ``(azimuth, elevation)`` degrees."""
        return np.tile([self.azimuth_deg, self.elevation_deg], (n, 1))


@dataclass(frozen=True)
class Calibration:
    """``angles = base angles · matrix + intercept``, degrees.

    ``matrix`` is (2, 2), from the base's (azimuth, elevation) to the calibrated ones; diagonal where each angle is
    calibrated by itself.
    """

    matrix: Floats
    intercept: Floats

    def predict(self, base_deg: Floats) -> Floats:
        """The base model's (n, 2) answers → calibrated (n, 2) answers, degrees."""
        return np.asarray(np.asarray(base_deg) @ self.matrix + self.intercept)

    def describe(self) -> str:
        """The two formulas, as one would write them into a script."""
        return "; ".join(f"{name} = {self._formula(k)}" for k, name in enumerate(("azimuth", "elevation")))

    def _formula(self, k: int) -> str:
        terms = [
            f"{slope:.4f}·{source}" for slope, source in zip(self.matrix[:, k], ("yaw", "pitch"), strict=True) if slope
        ]
        return f"{' + '.join(terms) or '0'} {'+' if self.intercept[k] >= 0 else '−'} {abs(self.intercept[k]):.4f}"


@dataclass(frozen=True)
class Baselines:
    """All that were fitted on one training part."""

    constant: Constant
    calibration: Calibration
    affine: Calibration

    def answers(self, base_deg: Floats) -> dict[str, Floats]:
        """Every baseline's (n, 2) answers where the base model answers ``base_deg`` (n, 2), by name."""
        return {
            "constant": self.constant.predict(len(base_deg)),
            "calibrated": self.calibration.predict(base_deg),
            "affine": self.affine.predict(base_deg),
        }

    def describe(self) -> str:
        """The formulas of the calibrations."""
        return f"{self.calibration.describe()}. Affine calibration: {self.affine.describe()}"


def fit(base_deg: Floats, labels_deg: Floats) -> Baselines:
    """From the base model's (n, 2) answers to the training samples and their (n, 2) labels, degrees."""
    return Baselines(fit_constant(labels_deg), fit_calibration(base_deg, labels_deg), fit_affine(base_deg, labels_deg))


def fit_constant(labels_deg: Floats) -> Constant:
    """From (n, 2) training labels in degrees."""
    azimuth, elevation = np.median(labels_deg, axis=0)
    return Constant(float(azimuth), float(elevation))


def fit_calibration(base_deg: Floats, labels_deg: Floats) -> Calibration:
    """Ordinary least squares for each angle by itself, as people fit by hand today; (n, 2) and (n, 2), degrees."""
    fits = [LinearRegression().fit(base_deg[:, [k]], labels_deg[:, k]) for k in range(2)]
    return Calibration(np.diag([one.coef_[0] for one in fits]), np.array([one.intercept_ for one in fits]))


def fit_affine(base_deg: Floats, labels_deg: Floats) -> Calibration:
    """Each angle from both of the base's, with the least sum of absolute errors: the error that is reported.

    Least absolute deviations (median regression, Koenker and Bassett 1978) do not let glances pull the line.
    """
    fits = [QuantileRegressor(quantile=0.5, alpha=0.0).fit(base_deg, labels_deg[:, k]) for k in range(2)]
    return Calibration(np.column_stack([one.coef_ for one in fits]), np.array([one.intercept_ for one in fits]))
