"""The two answers that a model must beat."""

import numpy as np
import pytest

from training.measuring import baselines


def test_calibration_recovers_a_linear_relation():
    base = np.random.default_rng(0).normal(size=(50, 2)) * 10
    labels = base * [0.3, 0.255] + [1.5, 8.4552]
    fit = baselines.fit_calibration(base, labels)
    assert fit.slope == pytest.approx((0.3, 0.255))
    assert fit.predict(base) == pytest.approx(labels)
    assert "elevation = 0.2550·pitch + 8.4552" in fit.describe()


def test_the_constant_is_the_best_constant_for_absolute_errors():
    labels = np.random.default_rng(1).exponential(5, size=(101, 2))
    constant = baselines.fit_constant(labels)
    best = np.abs(labels - constant.predict(101)).mean(axis=0)
    for other in np.linspace(0, 20, 41):
        assert (np.abs(labels - other).mean(axis=0) >= best - 1e-9).all()


def test_calibrating_answers_that_say_nothing_is_answering_the_mean():
    labels = np.random.default_rng(2).normal(4, 5, size=(40, 2))
    fit = baselines.fit_calibration(np.full((40, 2), 17.0), labels)
    assert fit.predict(np.full((3, 2), 17.0)) == pytest.approx(np.tile(labels.mean(axis=0), (3, 1)))
