"""The measurement of near copies."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import near_copies


def test_holes_reach_every_distance_and_every_frame_is_tested_far_away():
    seconds = np.arange(0.0, 80.0, 0.1)
    far = np.zeros(len(seconds), dtype=bool)
    for step in range(near_copies.STEPS["ridge"]):
        train, test = near_copies.pattern(seconds, step / near_copies.STEPS["ridge"])
        assert abs(len(train) - len(test)) <= 2
        distance = near_copies.nearest(seconds[test], seconds[train])
        assert distance.min() < 0.15
        far[test[distance >= near_copies.FAR_S]] = True
    assert far.all()


def test_a_frame_is_compared_with_itself_far_away():
    # Two frames, one hard (10° far away) and one easy (2°): both are half as wrong near a training frame.
    nan = float("nan")
    distances = np.array([[4.0, 0.1], [0.1, 4.0], [nan, nan]])
    errors = np.array([[10.0, 1.0], [5.0, 2.0], [nan, nan]])
    tests = near_copies.relative(distances, errors)
    assert near_copies.ratio(tests, 0.0, 0.5) == 0.5
    assert near_copies.ratio(tests, 3.0, 5.0) == 1.0
    assert np.isnan(near_copies.ratio(tests, 1.0, 2.0))


def test_a_frame_that_was_never_far_away_says_nothing():
    assert len(near_copies.relative(np.array([[0.1], [1.0]]), np.array([[1.0], [2.0]]))) == 0


def test_tails_are_trained_for_epochs_not_for_so_many_steps(monkeypatch: pytest.MonkeyPatch):
    steps = []
    monkeypatch.setattr(near_copies.model, "cut", lambda *_: (None, None))
    monkeypatch.setattr(near_copies, "finish", lambda tail, examples, config, count: steps.append(count))
    monkeypatch.setattr(near_copies, "predict", lambda *_: None)
    near_copies._fitted(
        None, "layer3", SimpleNamespace(), np.zeros((160, 2)), np.arange(160), np.arange(5), np.arange(160)
    )
    assert steps == [near_copies.EPOCHS * 10]  # batches of 16
