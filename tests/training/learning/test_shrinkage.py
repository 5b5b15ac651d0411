"""Answers that scatter more than the gaze are drawn towards the mean of the labels; all others stay as they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.learning import model, shrinkage

DEGREE = np.pi / 180


def drawn(gaze_deg: float, error_deg: float, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) answers and targets, radians: of this spread around 10° and −5°, with errors that know nothing of them."""
    rng = np.random.default_rng(seed)
    targets = rng.normal((10, -5), gaze_deg, (n, 2))
    return (targets + rng.normal(scale=error_deg, size=(n, 2))) * DEGREE, targets * DEGREE


def found(answers: np.ndarray, targets: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    return np.array(shrinkage.kept(answers, targets, learnt.mean(axis=0), learnt.std(axis=0)))


@pytest.mark.parametrize("error_deg", [2.0, 4.0, 8.0])
def test_what_is_kept_of_noisy_answers_is_the_share_that_gaze_has_in_them(error_deg):
    answers, targets = drawn(2.0, error_deg)
    share = found(answers, targets, targets)
    assert share == pytest.approx(2.0**2 / (2.0**2 + error_deg**2), abs=0.07)
    fresh, truth = drawn(2.0, error_deg, seed=1)
    mean = targets.mean(axis=0)
    error, constant = np.abs(mean + share * (fresh - mean) - truth).mean(), np.abs(mean - truth).mean()
    assert error < min(constant, np.abs(fresh - truth).mean())  # better than the constant, and than the answers


def test_each_angle_has_a_share_of_its_own():
    answers, targets = drawn(6.0, 0.5)
    answers[:, 0] = drawn(6.0, 12.0)[0][:, 0]
    pitch, yaw = found(answers, targets, targets)
    assert pitch < 0.4 and yaw == 1.0


@given(st.floats(0.0, 1.2), st.integers(0, 1000))
def test_good_answers_stay_as_they_are(error_deg, seed):
    answers, targets = drawn(6.0, error_deg, n=100, seed=seed)
    assert (found(answers, targets, targets) == 1).all()


def test_where_validation_looks_one_way_only_it_does_not_say_what_glances_are_worth():
    learnt = drawn(8.0, 0.0)[1]
    answers, targets = drawn(0.2, 1.5)  # errors of 1.5° while hardly anything moves
    assert (found(answers, targets, learnt) > 0.95).all()
    assert (found(answers, targets, targets) < 0.1).all()  # with labels that never moved there is nothing to lose


def test_an_offset_of_another_driver_does_not_make_glances_smaller():
    answers, targets = drawn(5.0, 1.0)
    assert (found(answers + 8 * DEGREE, targets, targets) == 1).all()


def test_of_a_handful_of_samples_nothing_is_said():
    learnt = drawn(2.0, 0.0)[1]
    few, enough = (drawn(2.0, 8.0, n=n) for n in (shrinkage.FEWEST - 1, shrinkage.FEWEST))
    assert (found(*few, learnt) == 1).all() and (found(*enough, learnt) < 0.9).all()


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_answers_that_are_no_numbers_stay_as_they_are(answer):
    _, targets = drawn(2.0, 0.0)
    assert shrinkage.kept(np.full_like(targets, answer), targets, np.zeros(2), np.ones(2)) == shrinkage.WHOLE
    assert shrinkage.kept(np.zeros_like(targets), targets, np.zeros(2), np.ones(2)) == shrinkage.WHOLE
    assert shrinkage.kept(targets * 5, targets, targets.mean(axis=0), np.zeros(2)) == shrinkage.WHOLE


def test_a_network_answers_so_afterwards_and_to_the_bit_as_before_where_all_is_kept():
    network = model.build().eval()
    pictures, mean = torch.rand(3, 3, 224, 224), np.array([0.1, -0.3])
    with torch.no_grad():
        before = network(pictures)
        shrinkage.fold(network.fc, shrinkage.WHOLE, mean)
        assert torch.equal(network(pictures), before)
        shrinkage.fold(network.fc, (0.25, 1.0), mean)
        after = network(pictures)
    expected = before.clone()
    expected[:, 0] = 0.1 + 0.25 * (before[:, 0] - 0.1)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


def test_it_is_told_in_the_users_names():
    assert shrinkage.describe(shrinkage.WHOLE) == ""
    assert shrinkage.describe((0.4, 1.0)).startswith("elevation: the answers keep 0.40")
    assert "azimuth: the answers keep 0.70" in shrinkage.describe((0.4, 0.7))
