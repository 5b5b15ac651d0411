"""Errors and their intervals."""

import numpy as np
import pytest

from training.measuring import errors


def test_wrap_around_is_a_small_error():
    measured = errors.measure(np.array([[179.0, 0.0]] * 4), np.array([[-179.0, 0.0]] * 4), np.arange(4))
    assert measured.azimuth.mean == pytest.approx(2.0)
    assert measured.angular.mean == pytest.approx(2.0)


def test_interval_resamples_blocks_not_samples():
    """100 copies of 5 values know no more than the 5 values."""
    random = np.random.default_rng(0)
    five = np.abs(random.normal(0, 3, size=(5, 1)))
    low, high = errors.bootstrap_interval(np.repeat(five, 100, axis=0), np.repeat(np.arange(5), 100))
    low_single, high_single = errors.bootstrap_interval(np.repeat(five, 100, axis=0), np.arange(500))
    assert high - low > 5 * (high_single - low_single)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        values = random.normal(4.0, 1.0, size=(30, 1)).repeat(4, axis=0)
        low, high = errors.bootstrap_interval(values, np.arange(30).repeat(4))
        covered += bool(low[0] <= 4.0 <= high[0])
    assert covered >= 85


def test_metrics_carry_the_contracted_names():
    measured = errors.measure(np.zeros((6, 2)), np.ones((6, 2)), np.arange(6))
    names = measured.metrics("test")
    assert names["test/azimuth_error_deg"] == pytest.approx(1.0)
    assert {"test/elevation_error_deg", "test/angular_error_deg", "test/azimuth_error_deg_p95"} <= set(names)
