"""How long the final training is."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training import final
from training.final import planned_epochs
from training.learning import model
from training.learning.augmentation import Augmentation
from training.learning.finetune import TrialConfig
from training.learning.memory import OutOfMemory
from training.learning.trunk import Dataset


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


def test_at_the_end_most_pictures_are_changed_a_little(monkeypatch):
    trained_on = []

    def made(recordings, cache, train, validation, seed):
        return Dataset(np.zeros((8, 1)), {}, train, validation, Augmentation(), seed=seed)

    def continued(job, found, samples, config, epochs):
        trained_on.append(samples)

    monkeypatch.setattr(final, "dataset", made)
    monkeypatch.setattr(final, "_continued", continued)
    monkeypatch.setattr(final.model, "load", lambda path: None)
    monkeypatch.setattr(final, "features", lambda *_: None)
    result = {"best": {"number": 4}, "batch_size": 8, "sample_seconds": 0.1, "ended": "complete"}
    found = SimpleNamespace(
        config=lambda: TrialConfig("none", "target", 1e-3, 5),
        best=SimpleNamespace(user_attrs={"result": result}),
        checkpoint=Path("trial-004.safetensors"),
    )
    job = SimpleNamespace(recordings=None, cache=None, device=None, split=SimpleNamespace(final=np.arange(8)))
    final.train(job, SimpleNamespace(), found, math.inf)
    (samples,) = trained_on
    grey = torch.full((400, 3, 4, 4), 0.4)
    usual, closing = (
        (torch.log2(one.apply(grey, torch.Generator().manual_seed(0)).mean(dim=(1, 2, 3)) / 0.4).abs() > 0.35)
        .float()
        .mean()
        for one in (Augmentation(), samples.augmentation)
    )
    assert usual > 0.28 and 0.12 < closing < 0.22
    assert list(samples.train) == list(range(8))
