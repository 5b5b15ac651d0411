"""BatchNorm statistics: AdaBN over pictures of the drive, precise statistics for a tail in training."""

import numpy as np
import pytest
import torch
from torch import nn

from training.learning import batchnorm, precision
from training.learning.answers import refresh_statistics

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)


def body(channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4))


def per_channel(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3))


def test_adapting_takes_the_statistics_of_the_given_frames_and_nothing_else():
    network = body(3)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    # A drift over the drive: statistics of neighbouring frames alone would be far from those of all.
    crops = np.random.default_rng(0).integers(0, 120, (192, 8, 8, 3), dtype=np.uint8)
    crops += np.linspace(0, 120, len(crops)).astype(np.uint8)[:, None, None, None]
    chosen = np.arange(0, 192, 2)
    crops[1::2] = 255  # held-out frames: must not be looked at
    batchnorm.adapt(network, crops, chosen, CPU)
    assert not network.training
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        answers = network(torch.from_numpy(crops[chosen]).permute(0, 3, 1, 2).float() / 255)
    mean, variance = per_channel(answers)
    assert mean.abs().max() < 0.05
    assert (variance - 1).abs().max() < 0.15


def test_of_a_long_drive_enough_frames_are_looked_at_spread_over_all_of_it():
    network, looked_at = body(3), []
    network.register_forward_pre_hook(lambda _, given: looked_at.append(given[0].mean(dim=(1, 2, 3)) * 255))
    count = 8 * batchnorm.ENOUGH
    crops = np.broadcast_to(np.linspace(0, 250, count).astype(np.uint8)[:, None, None, None], (count, 8, 8, 3))
    batchnorm.adapt(network, crops, np.arange(count), CPU)
    seen = np.sort(torch.cat(looked_at).round().int().numpy())
    assert len(seen) == batchnorm.ENOUGH
    assert (seen[0], seen[-1]) == (0, 250)
    assert np.diff(seen).max() <= 2


class Rows:
    """A tail's inputs, as finetune gets them."""

    device = CPU

    def __init__(self, rows: torch.Tensor):
        self.rows = rows

    def plain(self, indices: np.ndarray) -> torch.Tensor:
        return self.rows[torch.from_numpy(indices)]


def test_statistics_of_a_tail_are_those_of_its_training_samples_not_a_lagging_average():
    rows = torch.randn(100, 5, 6, 6, generator=torch.Generator().manual_seed(1)) * 3 + 2
    tail = nn.Sequential(*body(5), nn.Identity())
    tail.train()
    with torch.no_grad():
        tail(rows[:8])  # one step of a running average: a tenth of the way
    lagging = per_channel(tail.eval()(rows[:60]))[0].abs().max()
    refresh_statistics(tail, Rows(rows), np.arange(60))
    mean, variance = per_channel(tail(rows[:60]))
    assert lagging > 0.5
    assert mean.abs().max() < 1e-3
    assert (variance - 1).abs().max() < 0.05
