"""The two answers that a model must beat."""

import numpy as np
import pytest

from registry.rule import BASELINES
from training.measuring import baselines


def test_calibration_recovers_a_linear_relation():
    base = np.random.default_rng(0).normal(size=(50, 2)) * 10
    labels = base * [0.3, 0.255] + [1.5, 8.4552]
    fit = baselines.fit_calibration(base, labels)
    assert np.diag(fit.matrix) == pytest.approx((0.3, 0.255))
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


def test_the_affine_calibration_mixes_the_angles_and_is_not_pulled_by_glances():
    """A camera that is turned: each angle depends on both of the base's. A tenth of the labels are far off."""
    random = np.random.default_rng(3)
    base = random.normal(size=(200, 2)) * 10
    labels = base @ np.array([[0.9, -0.3], [0.4, 0.8]]) + [2.0, -6.0]
    wild = labels.copy()
    wild[:20] += 60
    assert baselines.fit_affine(base, wild).predict(base)[20:] == pytest.approx(labels[20:], abs=1e-4)
    per_angle = np.abs(baselines.fit_calibration(base, labels).predict(base) - labels).mean()
    assert per_angle > 1.0  # what each angle by itself cannot do


def test_no_line_has_a_smaller_sum_of_absolute_errors():
    random = np.random.default_rng(4)
    base, labels = random.normal(size=(60, 2)) * 10, random.exponential(5, size=(60, 2))
    fit = baselines.fit_affine(base, labels)
    best = np.abs(fit.predict(base) - labels).mean()
    for _ in range(50):
        other = baselines.Calibration(
            fit.matrix + random.normal(0, 0.01, (2, 2)), fit.intercept + random.normal(0, 0.1, 2)
        )
        assert np.abs(other.predict(base) - labels).mean() >= best - 1e-9


def test_all_baselines_answer_by_their_names():
    base, labels = np.random.default_rng(5).normal(size=(2, 40, 2))
    fitted = baselines.fit(base, labels)
    answers = fitted.answers(base[:7])
    assert {name: answer.shape for name, answer in answers.items()} == dict.fromkeys(BASELINES, (7, 2))
    assert "Affine calibration: azimuth = " in fitted.describe()
