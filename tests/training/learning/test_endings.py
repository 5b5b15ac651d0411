"""How a fine-tuning ends: early, out of time, diverged, out of memory; and which epoch it keeps."""

import itertools
import math
import time
import types

import numpy as np
import pytest
import torch
from torch import nn

from training.learning import finetune as finetuning
from training.learning.finetune import Examples, Recipe, TrialConfig, finetune
from training.learning.memory import OutOfMemory
from training.learning.time_left import TimeLeft, foreseen
from training.learning.trunk import Features

TRAIN, VALIDATION = np.arange(24), np.arange(24, 32)


def head() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 2)))


def source(scale: float = 1.0) -> Features:
    rows = (np.random.default_rng(0).normal(0, scale, (32, 16))).astype(np.float16)
    return Features(rows, np.arange(32)[None], torch.device("cpu"), None)


def trained(epochs: int = 40, lr: float = 1e-2, rows: Features | None = None, **options):
    # Validation labels have nothing to do with the activations: learning the training labels only makes it worse.
    targets = np.random.default_rng(1).normal(0, 0.3, (32, 2))
    config = TrialConfig("backbone", "source", lr, epochs, batch_size=8)
    return finetune(
        head(), Examples(rows or source(), targets, TRAIN, np.arange(32) // 4, VALIDATION), config, **options
    )


def test_a_trial_that_gets_no_better_stops_early_and_keeps_its_best_epoch():
    outcome = trained()
    errors = [epoch.angular_error_deg for epoch in outcome.epochs]
    assert outcome.ended == "early stop"
    assert outcome.epochs[-1].number < 40
    assert outcome.best.angular_error_deg == min(errors)
    assert min(errors[-finetuning.PATIENCE :]) > min(errors)


def test_a_trial_whose_time_is_up_ends_with_what_it_has():
    outcome = trained(time_left=TimeLeft(time.monotonic()))
    assert outcome.ended == "timeout"
    assert [epoch.number for epoch in outcome.epochs] == [0, 1]  # the start, and what the time left of an epoch
    assert math.isfinite(outcome.best.angular_error_deg)


def test_an_epoch_that_would_not_become_whole_is_not_begun(monkeypatch):
    """Its time is the final training's."""
    ticks = itertools.count()
    monkeypatch.setattr(finetuning, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))
    outcome = trained(time_left=TimeLeft(20.0))
    assert (outcome.ended, outcome.epochs[-1].number) == ("timeout", 2)
    assert next(ticks) < 20


@pytest.mark.parametrize(("to_beat", "last"), [(1e-9, 6), (1e9, 2), (None, 2)])
def test_what_cannot_beat_a_cheap_head_yet_has_the_time_that_is_kept_for_a_final_training(monkeypatch, to_beat, last):
    ticks = itertools.count()
    monkeypatch.setattr(finetuning, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))
    outcome = trained(lr=1e-3, time_left=TimeLeft(20.0, 47.0, to_beat))
    assert (outcome.ended, outcome.epochs[-1].number) == ("timeout", last)


def test_what_is_foreseen_is_half_a_step_better_and_never_worse_and_nothing_after_a_first_step():
    assert foreseen(2.4, 3.0, 2) == pytest.approx(2.1)
    assert foreseen(2.4, 2.3, 2) == 2.4
    assert foreseen(2.4, 6.1, 1) == foreseen(2.4, None, 3) == 2.4


def test_a_trial_that_is_told_to_stop_is_pruned():
    outcome = trained(keep_going=lambda epoch: epoch.number < 2)
    assert outcome.ended == "pruned"
    assert outcome.epochs[-1].number == 2


def test_activations_that_are_no_numbers_are_a_divergence_not_a_result():
    with pytest.raises(FloatingPointError, match=r"diverged: no epoch with a finite error at lr=0\.01"):
        trained(epochs=2, rows=source(scale=math.nan))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_every_way_of_running_out_of_memory_has_one_name(error):
    def criterion(answers, wanted):
        raise error

    with pytest.raises(OutOfMemory, match="allocate"):
        trained(recipe=Recipe(criterion))


def test_another_error_is_not_taken_for_it():
    def criterion(answers, wanted):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        trained(recipe=Recipe(criterion))
