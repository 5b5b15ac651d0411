"""How long the final training is."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from training import final
from training.final import planned_epochs
from training.learning import model
from training.learning.finetune import TrialConfig
from training.learning.memory import OutOfMemory


@pytest.mark.parametrize(
    ("best_epoch", "cut_off", "seconds_left", "epochs"),
    [
        (13, False, math.inf, 7),  # half as many epochs as led to the best one
        (12, True, math.inf, 18),  # more: the time had ended that trial
        (1, False, math.inf, 2),  # two at least
        (12, False, 35.5, 3.55),  # as far as the time goes, in parts of epochs too
        (12, False, -5.0, 1),  # however late it is, the samples are to be seen once
    ],
)
def test_the_final_training_is_as_long_as_validation_and_the_time_say(best_epoch, cut_off, seconds_left, epochs):
    assert planned_epochs(best_epoch, 10.0, seconds_left, cut_off=cut_off) == epochs


def test_where_the_time_is_short_for_the_samples_half_an_epoch_is_enough():
    assert planned_epochs(12, 10.0, -5.0, cut_off=False, least=final.LATEST_EPOCHS) == 0.5
    assert planned_epochs(12, 10.0, 8.0, cut_off=False, least=final.LATEST_EPOCHS) == 0.8


def test_a_head_in_closed_form_is_solved_and_has_no_epochs():
    assert final.in_words("base", 2.53, 153) == "2.5 epochs on 153 samples"
    assert final.in_words("ridge", 0.0, 153) == "solved on 153 samples"
    assert final.in_words("ridge", 0, 200, of=200) == "solved on 200 of 200 samples"
    assert final.in_words("base", 0.0, 153) == "none, the base's own head is kept"


def test_a_batch_that_does_not_fit_is_halved_and_the_samples_are_seen_as_often(monkeypatch):
    network, tried = model.build(), []

    def finish(tail, examples, config, steps):
        tried.append((config.batch_size, steps))
        if config.batch_size > 4:
            raise OutOfMemory("too large")

    monkeypatch.setattr(final, "finish", finish)
    monkeypatch.setattr(final.model, "load", lambda path: network)
    monkeypatch.setattr(final, "features", lambda *_: SimpleNamespace(keep_on_device=lambda: None))
    recordings = SimpleNamespace(targets=None)
    job = SimpleNamespace(cache=None, device=None, recordings=recordings, groups=None, share=lambda samples: None)
    samples, config = SimpleNamespace(train=np.arange(160)), TrialConfig("none", "target", 1e-3, 5, batch_size=16)
    final._continued(job, SimpleNamespace(checkpoint=None), samples, config, 2.5)
    assert tried == [(16, 25), (8, 50), (4, 100)]
