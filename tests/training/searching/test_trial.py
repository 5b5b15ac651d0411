"""A trial by itself: what stays fixed, and what it does when memory is short."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from training.learning import finetune, model
from training.learning.augmentation import Augmentation
from training.learning.finetune import Epoch, TrialConfig
from training.learning.memory import OutOfMemory
from training.learning.trunk import Dataset
from training.searching import trial
from training.searching.trial import TrialSpec

N = 8


@pytest.fixture
def spec(tmp_path, monkeypatch) -> TrialSpec:
    """A trial on eight made-up pictures."""
    torch.manual_seed(0)
    safetensors.torch.save_file(model.build().state_dict(), tmp_path / "base.safetensors")
    pictures = np.random.default_rng(0).integers(0, 255, (N, 224, 224, 3), dtype=np.uint8)
    train, validation = np.arange(5), np.arange(5, N)
    used = Dataset(pictures, {"test": 1}, train, validation, Augmentation())
    drive = SimpleNamespace(cut_to=lambda faces: drive, targets=np.random.default_rng(1).normal(0, 0.2, (N, 2)))
    monkeypatch.setattr(trial.recordings, "load", lambda folders: drive)
    monkeypatch.setattr(trial, "dataset", lambda *_: used)
    return TrialSpec(
        number=0,
        config=TrialConfig("layer3", "source", 1e-3, 1, batch_size=5),
        base=tmp_path / "base.safetensors",
        together=("layer3",),
        samples=(),
        faces=(),
        train=train,
        validation=validation,
        block=np.arange(N),
        cache=tmp_path / "cache",
        checkpoint=tmp_path / "trial.safetensors",
        device="cpu",
        tracking_uri="",
        experiment_id="0",
        parent_run_id="",
        study="one",
    )


def test_frozen_means_frozen_statistics_too(spec):
    trial.train(spec)
    before, after = (safetensors.torch.load_file(path) for path in (spec.base, spec.checkpoint))
    trains = {key for key in before if key.startswith(("layer4", "fc"))}
    assert {key for key in before if not torch.equal(before[key], after[key])} <= trains
    moved = [key for key in trains if not torch.equal(before[key], after[key])]
    assert any(key.endswith("running_mean") for key in moved)
    assert any(key.startswith("fc") for key in moved)


def test_what_a_trial_leaves_has_the_head_as_it_was_trained(spec, monkeypatch):
    """The final training goes on from it; what was judged has another head."""
    monkeypatch.setattr(
        finetune, "_best", lambda epochs: epochs[-1] if epochs else None
    )  # the start may be better on made-up pictures
    outcome, *_ = trial.train(spec)
    tail = model.cut(model.load(spec.checkpoint), "layer3")[1].state_dict()
    assert outcome.best.number == 1
    assert all(torch.equal(tail[key], value) for key, value in outcome.trained.items())
    assert any(not torch.equal(tail[key], value) for key, value in outcome.completed.items())


def test_a_trial_that_was_cut_off_goes_on_after_the_last_epoch_that_was_kept(spec, monkeypatch, tmp_path):
    """Killed in its third epoch; the first two are heard again, from what was kept, and not computed again."""
    monkeypatch.setattr(trial, "KEEP_S", 0.0)
    spec = replace(spec, config=replace(spec.config, epochs=3), state=tmp_path / "trial-000.state")

    def cut_off(epoch: Epoch) -> bool:
        if epoch.number == 3:
            raise KeyboardInterrupt
        heard.append(epoch)
        return True

    heard: list[Epoch] = []
    with pytest.raises(KeyboardInterrupt):
        trial.train(spec, cut_off)
    again: list[Epoch] = []
    outcome, *_ = trial.train(spec, lambda epoch: not again.append(epoch))
    assert [epoch.number for epoch in again] == [0, 1, 2, 3]
    assert again[:3] == heard, "computed again: the seconds differ"
    assert outcome.epochs == again


def test_out_of_memory_halves_the_batch_down_to_one_and_says_so(spec, monkeypatch, capsys):
    tried = []

    def short_of_memory(*arguments, **options):
        config = next(given for given in arguments if isinstance(given, TrialConfig))
        tried.append(config.batch_size)
        raise OutOfMemory("can't allocate memory")

    monkeypatch.setattr(trial, "finetune", short_of_memory)
    with pytest.raises(OutOfMemory):
        trial.train(spec)
    assert tried == [5, 2, 1]
    assert "out of memory with batches of 5 (can't allocate memory); again with 2" in capsys.readouterr().out


def test_the_batch_that_fitted_is_told(spec, monkeypatch):
    real = trial.finetune

    def room_for_three(*arguments, **options):
        config = next(given for given in arguments if isinstance(given, TrialConfig))
        if config.batch_size > 3:
            raise OutOfMemory("can't allocate memory")
        return real(*arguments, **options)

    monkeypatch.setattr(trial, "finetune", room_for_three)
    outcome, batch_size, _ = trial.train(spec)
    assert batch_size == 2
    assert outcome.ended == "complete"


def test_the_cache_is_let_go_when_a_trial_fails(spec, monkeypatch):
    closed = []
    real = trial.ActivationCache.close
    monkeypatch.setattr(trial.ActivationCache, "close", lambda self: (closed.append(1), real(self)))
    monkeypatch.setattr(trial, "finetune", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trial.train(spec)
    assert closed
