"""Completing a head: what it leaves is added as a linear map of what it reads, and noise is not followed."""

import numpy as np
import pytest
import torch
from torch import nn

from training.learning import closed_form, finetune, progress
from training.learning.answers import pooled, predict
from training.learning.finetune import Examples, TrialConfig

N, WIDTH, HIDDEN = 240, 24, 32
BLOCK = np.arange(N) // 12
TRAIN = np.arange(0, N, 2)


def head(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Dropout(0.4), nn.Linear(HIDDEN, 2))


def inputs(seed: int = 1) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(1, 1, (N, WIDTH)), dtype=torch.float32)


def answers(fc: nn.Sequential, rows: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return fc.eval()(rows).double().numpy()


def test_what_a_head_leaves_is_found_where_it_is_a_linear_map_of_what_it_reads():
    fc, rows = head(), inputs()
    slope = np.random.default_rng(2).normal(0, 0.1, (WIDTH, 2))
    targets = answers(fc, rows) + rows.numpy() @ slope + (0.05, -0.1)
    before = np.abs(answers(fc, rows) - targets).mean()
    closed_form.complete(fc, rows, targets, BLOCK)
    assert np.abs(answers(fc, rows) - targets).mean() < 0.05 * before


def test_the_units_that_make_room_are_made_up_for():
    """All hidden units matter: what the four least of them said is a part of what the ridge finds."""
    fc, rows = head(), inputs()
    with torch.no_grad():
        fc[0].bias.fill_(50.0)  # every unit is a linear map of what it reads
    targets = answers(fc, rows)
    closed_form.complete(fc, rows, targets, BLOCK)
    assert answers(fc, rows) == pytest.approx(targets, abs=1e-3 * np.abs(targets).max())


def test_three_quarters_of_what_only_the_hidden_units_know_are_kept():
    """Training has fitted its own samples: the head leaves nothing of them, and is believed no further than that."""
    fc, rows = head(), inputs()
    with torch.no_grad():
        fc[-1].weight[:, closed_form._least(fc[0], fc[-1]).flatten()] = 0
    targets = answers(fc, rows)
    design = np.column_stack([rows.numpy(), np.ones(N)])
    linear = design @ np.linalg.lstsq(design, targets, rcond=None)[0]
    closed_form.complete(fc, rows, targets, BLOCK)
    assert answers(fc, rows) - targets == pytest.approx(0.25 * (linear - targets), abs=0.005)
    assert np.abs(linear - targets).mean() > 0.04


def test_noise_is_not_followed():
    """Ridge chooses its penalty on blocks that it was not fitted to."""
    fc, rows, noise = head(), inputs(), np.random.default_rng(3)
    with torch.no_grad():
        fc[-1].weight[:, closed_form._least(fc[0], fc[-1]).flatten()] = 0
    good = answers(fc, rows)
    blocks = noise.normal(0, 0.05, (BLOCK.max() + 1, 2))[BLOCK]
    closed_form.complete(fc, rows, good + 0.2 + blocks, BLOCK)
    elsewhere = inputs(7)
    with torch.no_grad():
        moved = answers(fc, elsewhere) - 0.2
    reference = head()
    with torch.no_grad():
        reference[-1].weight[:, closed_form._least(reference[0], reference[-1]).flatten()] = 0
    assert np.abs(moved - answers(reference, elsewhere)).mean() < 0.03


def test_samples_count_as_often_as_they_are_drawn():
    fc, rows = head(), inputs()
    targets = answers(fc, rows)
    first = np.arange(N) < N // 2
    targets[first] += 0.3
    targets[~first] -= 0.3
    share = np.where(first, 1.9, 0.1)
    shuffled = np.random.default_rng(0).permutation(N) // 12
    before = answers(fc, rows)
    closed_form.complete(fc, rows, targets, shuffled, share)
    assert (answers(fc, rows) - before).mean() == pytest.approx(0.27, abs=0.08)


class Pictures:
    """Rows that a layer before the head reads."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.rows = inputs()[:, :, None, None]

    def plain(self, indices):
        return self.rows[indices]

    def drawn(self, indices, generator):
        return self.rows[indices]


def tail() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.Tanh(), nn.Flatten(1), head())


def trained(source) -> tuple[nn.Sequential, np.ndarray]:
    """A network after three steps at a small rate, and what its first layers carried when it began."""
    network = tail()
    targets = pooled(network, source, np.arange(N)).numpy()[:, :2] * 0.3 + 0.4
    config = TrialConfig("none", "target", 1e-5, 1, batch_size=8)
    finetune.finish(network, Examples(source, targets, TRAIN, BLOCK), config, steps=3)
    return network, targets


def test_a_few_steps_are_enough_where_the_layers_before_the_head_carry_the_answer(monkeypatch):
    source, test = Pictures(), np.setdiff1d(np.arange(N), TRAIN)
    network, targets = trained(source)
    error = np.abs(predict(network, source, test) - targets[test]).mean()
    monkeypatch.setattr(finetune._Training, "completed", lambda self, averaged: averaged)
    network, targets = trained(source)
    assert error < 0.1 * np.abs(predict(network, source, test) - targets[test]).mean()


def outcome(source, **options) -> finetune.Outcome:
    targets = pooled(tail(), source, np.arange(N)).numpy()[:, :2] * 0.3 + 0.4
    config = TrialConfig("none", "target", 1e-5, 3, batch_size=8)
    examples = Examples(source, targets, TRAIN, BLOCK, np.setdiff1d(np.arange(N), TRAIN))
    return finetune.finetune(tail(), examples, config, **options)


def test_a_trial_is_judged_by_what_would_be_registered_and_goes_on_from_what_was_trained():
    source = Pictures()
    found, test = outcome(source), np.setdiff1d(np.arange(N), TRAIN)
    assert found.best.number and found.best.angular_error_deg < 0.5 * found.epochs[0].angular_error_deg
    truth = pooled(tail(), source, np.arange(N)).numpy()[:, :2] * 0.3 + 0.4
    errors = []
    for state in (found.completed, found.trained):
        network = tail()
        network.load_state_dict(state)
        errors.append(float(((predict(network, source, test) - truth[test]) ** 2).mean()))
    assert errors[0] == pytest.approx(found.best.val_loss, rel=1e-4)
    assert errors[1] > 4 * errors[0]
    assert {key for key in found.trained if not torch.equal(found.trained[key], found.completed[key])} <= {
        "3.0.weight", "3.0.bias", "3.3.weight", "3.3.bias",
    }  # fmt: skip


def test_a_trial_that_goes_on_elsewhere_has_the_completed_head_of_its_best_epoch(tmp_path):
    source, states = Pictures(), []

    def keep(state) -> None:
        progress.save(tmp_path / f"{len(states)}", state)
        states.append(tmp_path / f"{len(states)}")

    whole = outcome(source, keep=keep)
    again = outcome(source, begun=progress.load(states[-1]))
    assert all(torch.equal(value, again.completed[key]) for key, value in whole.completed.items())
    assert all(torch.equal(value, again.trained[key]) for key, value in whole.trained.items())


def test_the_average_goes_on_without_what_was_completed():
    """From a completed head the layers before it learn less."""
    source, network = Pictures(), tail()
    config = TrialConfig("none", "target", 1e-4, 1, batch_size=4)
    training = finetune._Training(network, Examples(source, np.ones((N, 2)), TRAIN, BLOCK), config, finetune.AS_SHIPPED)
    training.epoch(lambda step: 1.0)
    average = {key: value.clone() for key, value in training.average.state_dict().items()}
    completed = training.completed(training.averaged()).state_dict()
    assert all(torch.equal(average[key], value) for key, value in training.average.state_dict().items())
    assert any(not torch.equal(completed[key], average[f"module.{key}"]) for key in completed)


def test_a_network_that_diverged_is_judged_as_what_it_is():
    source = Pictures()
    source.rows[5] = torch.inf
    with pytest.raises(FloatingPointError, match="diverged"):
        outcome(source)


def test_a_head_that_diverged_behind_sound_layers_is_left_as_it_is():
    source, network = Pictures(), tail()
    with torch.no_grad():
        network[-1][-1].weight[0, 0] = torch.nan
    config = TrialConfig("none", "target", 1e-4, 1, batch_size=4)
    training = finetune._Training(network, Examples(source, np.ones((N, 2)), TRAIN, BLOCK), config, finetune.AS_SHIPPED)
    assert training.completed(network) is network


def test_what_the_head_reads_is_what_the_layers_before_it_answer():
    source, network = Pictures(), tail()
    network.train()
    read, answered = pooled(network, source, np.arange(150)), predict(network, source, np.arange(150))
    with torch.no_grad():
        assert torch.allclose(network[-1](read), torch.tensor(answered).float(), atol=1e-6)
