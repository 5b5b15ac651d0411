"""How long the final training is."""

import math

import pytest

from training.final import planned_steps


@pytest.mark.parametrize(
    ("best_epoch", "cut_off", "seconds_left", "steps"),
    [
        (13, False, math.inf, 70),  # half as many epochs as led to the best one
        (12, True, math.inf, 180),  # more: the time had ended that trial
        (1, False, math.inf, 20),  # two at least
        (12, False, 35.5, 35),  # as far as the time goes, to the step
        (12, False, -5.0, 10),  # however late it is, the samples are to be seen once
    ],
)
def test_the_final_training_is_as_long_as_validation_and_the_time_say(best_epoch, cut_off, seconds_left, steps):
    assert planned_steps(best_epoch, 10, 1.0, seconds_left, cut_off=cut_off) == steps
