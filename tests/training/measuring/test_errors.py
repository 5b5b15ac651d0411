"""Errors and their intervals."""

import numpy as np
import pytest

from training.measuring import errors


def test_wrap_around_is_a_small_error():
    measured = errors.measure(np.array([[179.0, 0.0]] * 4), np.array([[-179.0, 0.0]] * 4), np.arange(4))
    assert measured.azimuth.mean == pytest.approx(2.0)
    assert measured.angular.mean == pytest.approx(2.0)


def test_metrics_carry_the_contracted_names():
    measured = errors.measure(np.zeros((6, 2)), np.ones((6, 2)), np.arange(6))
    names = measured.metrics("test")
    assert names["test/azimuth_error_deg"] == pytest.approx(1.0)
    assert {"test/elevation_error_deg", "test/angular_error_deg", "test/azimuth_error_deg_p95"} <= set(names)
    assert {"test/azimuth_error_deg_low", "test/azimuth_error_deg_high", "test/azimuth_error_deg_cells"} <= set(names)


def test_with_few_blocks_there_is_no_interval_and_no_metric_of_one():
    """One test block used to give an interval without width."""
    measured = errors.measure(np.zeros((40, 2)), np.ones((40, 2)), np.arange(40) % 4)
    assert measured.azimuth.low is None and measured.azimuth.high is None
    assert not [name for name in measured.metrics("test") if name.endswith(("_low", "_high"))]
    assert measured.azimuth.describe() == "1.00° [too short]"


def test_the_interval_holds_the_mean_and_is_not_below_zero():
    """One block has nearly all the frames: the mean over frames is its mean, far from the mean over blocks."""
    block = np.repeat(np.arange(6), [500, 1, 1, 1, 1, 1])
    predicted = np.column_stack([np.where(block == 0, 9.0, 0.1), np.zeros(len(block))])
    measured = errors.measure(predicted, np.zeros_like(predicted), block)
    assert measured.azimuth.low == 0
    assert measured.azimuth.low <= measured.azimuth.mean <= measured.azimuth.high


def test_over_gaze_cells_the_road_ahead_counts_once():
    """90 frames ahead answered well, 10 aside answered badly: good over frames, not over directions."""
    labels = np.concatenate([np.full((90, 2), 1.0), np.full((10, 2), 25.0)])
    predicted = labels + np.concatenate([np.full((90, 2), 1.0), np.full((10, 2), 11.0)])
    measured = errors.measure(predicted, labels, np.arange(100) % 10)
    assert measured.azimuth.mean == pytest.approx(2.0)
    assert measured.azimuth.cells == pytest.approx(6.0)
    assert measured.cells == 2


def test_a_cell_is_a_square_in_both_angles():
    labels = np.array([[1, 1], [9, 9], [11, 9], [1, -1], [-1, 1]], dtype=float)
    cells = errors.gaze_cells(labels)
    assert cells[0] == cells[1]
    assert len(set(cells.tolist())) == 4
