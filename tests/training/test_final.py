"""How long the final training is."""

import math

import pytest

from training.final import planned_epochs


@pytest.mark.parametrize(
    ("best_epoch", "seconds_left", "epochs"),
    [
        (13, math.inf, 7),  # half as many as led to the best one
        (1, math.inf, 2),  # two at least
        (12, 35.0, 3),  # as far as the time goes
        (12, -5.0, 1),  # however late it is, the samples are to be seen once
    ],
)
def test_the_final_training_is_as_long_as_validation_and_the_time_say(best_epoch, seconds_left, epochs):
    assert planned_epochs(best_epoch, 10.0, seconds_left) == epochs
