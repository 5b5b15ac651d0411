"""One training: killed and resumed it is the same, and it does learn."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from recording.exceptions import InputError
from training.pretraining import fitting
from training.pretraining.faces import Faces
from training.pretraining.fitting import Pictures, Recipe


def people(count: int, each: int) -> list[Faces]:
    """Noise with angles: enough for what does not depend on faces."""
    rng = np.random.default_rng(0)
    return [
        Faces(
            rng.integers(0, 255, (each, 224, 224, 3), dtype=np.uint8),
            rng.uniform(-0.3, 0.3, (each, 2)),
            np.full((each, 2), np.nan),
            np.full((each, 6, 2), np.nan),
        )
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(fitting, "BATCH", 4)
    monkeypatch.setattr(fitting.pretrain, "COARSE", 32)
    monkeypatch.setattr(fitting.pretrain, "FINE_EPOCHS", 0)


def network(seed=1):
    """Tiny, with all that has a state of its own: BatchNorm, dropout, weights."""
    torch.manual_seed(seed)
    eye = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    return nn.Sequential(eye, nn.Flatten(), nn.Dropout(0.4), nn.Linear(16, 2))


def test_killed_after_an_epoch_and_resumed_equals_uninterrupted(tmp_path):
    known, recipe = people(2, 5), Recipe(epochs=3, learning_rate=1e-3, seed=0)
    whole, seen = network(), []
    fitting.fit(whole, known, known[:1], recipe, "cpu", tmp_path / "whole.pt", seen.append)

    def killed(epoch):
        if epoch.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitting.fit(network(), known, known[:1], recipe, "cpu", tmp_path / "killed.pt", killed)
    resumed, heard = network(seed=99), []  # another process has other random numbers
    fitting.fit(resumed, known, known[:1], recipe, "cpu", tmp_path / "killed.pt", heard.append)
    assert [epoch.metrics() for epoch in heard] == [epoch.metrics() for epoch in seen]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"PK\3\4half")
    with pytest.raises(InputError, match=r"x.pt: is damaged or from another version .*delete it"):
        fitting.fit(network(), people(1, 2), people(1, 2), Recipe(1, 1e-3, 0), "cpu", tmp_path / "x.pt")


def test_a_batch_holds_the_samples_asked_for_in_that_order():
    known = people(3, 4)
    pictures, targets = Pictures(known).batch(np.array([9, 0, 5]))
    expected = [(2, 1), (0, 0), (1, 1)]
    assert np.array_equal(pictures.numpy(), np.stack([known[person].pictures[row] for person, row in expected]))
    assert np.allclose(targets, [known[person].gaze[row] for person, row in expected])


def test_no_batch_holds_a_single_sample():
    """BatchNorm cannot tell its spread: 9 samples in batches of 4 are 4 and 5."""
    sizes = [len(targets) for _, targets in batches(people(1, 9))]
    assert sorted(sizes) == [4, 5]


def batches(known):
    return list(fitting._batches(Pictures(known), np.random.default_rng(0), "cpu"))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on one core
def test_processes_that_read_ahead_give_the_same_batches(monkeypatch):
    """As on CUDA: how many there are must not decide about the weights."""
    known = people(2, 5)
    alone = batches(known)
    monkeypatch.setattr(fitting, "_workers", lambda device: 2)
    together = batches(known)
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_cuda_has_several_processes_that_read_ahead_and_the_cpu_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda of: range(16), raising=False)
    assert (fitting._workers("cuda"), fitting._workers("cpu")) == (8, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda of: range(3), raising=False)  # of a scheduler, as cores it gave
    assert fitting._workers("cuda") == 3
