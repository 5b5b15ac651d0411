"""The loop: the start is a candidate, the best epoch is kept, the final training ends at rest."""

import numpy as np
import pytest
import torch
from torch import nn

from training.learning import answers, closed_form, finetune, model, progress
from training.learning.finetune import TrialConfig
from training.learning.time_left import TimeLeft

N = 120
TRAIN, VALIDATION = np.arange(80), np.arange(80, N)
BLOCK = np.arange(N) // 10


class Pooled:
    """Pooled features as a frozen trunk's, of which the targets are a linear map."""

    device = torch.device("cpu")

    def __init__(self):
        rng = np.random.default_rng(0)
        hidden = rng.normal(0, 1, (N, 6))
        rows = np.abs(hidden @ rng.normal(0, 0.3, (6, 512)) + rng.normal(0, 0.02, (N, 512)) + 2)
        self.rows = torch.tensor(rows, dtype=torch.float32)
        self.targets = hidden[:, :2] * 0.2

    def examples(self) -> finetune.Examples:
        return finetune.Examples(self, self.targets, TRAIN, BLOCK, VALIDATION)

    def plain(self, indices):
        return self.rows[indices]

    def drawn(self, indices, generator):
        return self.rows[indices]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return model.build()


def config(head: str, lr: float = 1e-3, epochs: int = 2) -> TrialConfig:
    return TrialConfig("backbone", "source", lr, epochs, head=head)


def test_a_head_in_closed_form_wins_where_the_features_carry_the_answer_linearly(network):
    source = Pooled()
    tail = nn.Sequential(network.fc)
    trained = finetune.finetune(tail, source.examples(), config("base"))
    closed_form.install("ridge", network, source, source.targets, TRAIN, BLOCK)
    solved = finetune.finetune(tail, source.examples(), config("ridge"))
    start = solved.epochs[0]
    assert (start.number, start.train_loss) == (0, None)
    assert start.angular_error_deg < 1.0 < trained.best.angular_error_deg
    assert solved.best.angular_error_deg <= start.angular_error_deg


def test_a_start_that_training_makes_worse_is_what_is_kept(network):
    source = Pooled()
    closed_form.install("ridge", network, source, source.targets, TRAIN, BLOCK)
    tail = nn.Sequential(network.fc)
    before = {key: value.clone() for key, value in tail.state_dict().items()}
    outcome = finetune.finetune(tail, source.examples(), config("ridge", lr=0.5))
    assert outcome.best.number == 0
    assert all(torch.equal(outcome.completed[key], value) for key, value in before.items())


def test_no_hidden_unit_of_a_head_in_closed_form_is_dropped_in_training(network):
    source = Pooled()
    for head, dropout in (("base", finetune.DROPOUT), ("ridge", 0.0)):
        finetune.finetune(nn.Sequential(network.fc), source.examples(), config(head))
        assert network.fc[2].p == dropout


def test_a_trial_stops_early_by_its_trained_epochs_not_by_its_start(network):
    """The start of a closed form is hard to reach at first: an open trunk needs some epochs to pass it."""
    epochs = [finetune.Epoch(0, None, 1, 1, 1, 2.0, 0.1)]
    for number, error in enumerate([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0], start=1):
        epochs.append(finetune.Epoch(number, 1, 1, 1, 1, error, 0.1))
        assert not finetune._stands_still(epochs, finetune.PATIENCE)
    for number in range(8, 8 + finetune.PATIENCE):
        epochs.append(finetune.Epoch(number, 1, 1, 1, 1, 3.5, 0.1))
    assert finetune._stands_still(epochs, finetune.PATIENCE)


def test_the_final_training_learns_and_comes_to_rest(network, monkeypatch):
    source, tail = Pooled(), nn.Sequential(network.fc)
    rates, apply = [], torch.optim.AdamW.step

    def watched(optimizer, *arguments):
        rates.append(optimizer.param_groups[0]["lr"])
        return apply(optimizer, *arguments)

    def error() -> float:
        return float(np.abs(answers.predict(tail, source, TRAIN) - source.targets[TRAIN]).mean())

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    before = error()
    finetune.finish(tail, source.examples(), config("base", lr=3e-3), steps=38)  # 7.6 epochs
    assert error() < 0.5 * before
    assert len(rates) == 38
    assert rates[-1] < 0.03 * 3e-3 < max(rates) / 2


def test_glances_count_by_their_size_where_most_frames_are_the_road_ahead(network):
    """An absolute loss answers the median, which is the road ahead; the squared one the mean."""
    source, tail = Pooled(), nn.Sequential(network.fc)
    source.rows = torch.ones(N, 512)  # nothing tells a glance from the rest
    source.targets = np.zeros((N, 2))
    source.targets[::4] = 0.4
    finetune.finish(tail, source.examples(), config("base"), steps=150)
    assert answers.predict(tail, source, TRAIN) == pytest.approx(0.1, abs=0.03)


def test_a_first_epoch_that_the_time_cuts_off_is_judged_all_the_same(network):
    """Where one epoch takes longer than there is, the weights it has reached may still beat the start."""
    source = Pooled()
    tail = nn.Sequential(network.fc)
    outcome = finetune.finetune(tail, source.examples(), config("base"), time_left=TimeLeft(0.0))
    assert outcome.ended == "timeout"
    assert [epoch.number for epoch in outcome.epochs] == [0, 1]


def test_a_fine_tuning_that_was_cut_off_goes_on_elsewhere_to_the_same_result(network, tmp_path):
    """Weights, their average, the optimiser, the order of samples and dropout: bit for bit."""
    source, heard = Pooled(), []
    given = source.examples(), config("base", epochs=4)
    start = nn.Sequential(network.fc).state_dict()
    start = {key: value.clone() for key, value in start.items()}

    def keep(state: dict) -> None:
        progress.save(tmp_path / f"{len(state['epochs'])}.state", state)

    whole = finetune.finetune(nn.Sequential(network.fc), *given, keep=keep)
    assert len(list(tmp_path.iterdir())) == 4

    other = nn.Sequential(model.build().fc)
    other.load_state_dict(start)
    torch.manual_seed(99)  # another process has drawn other random numbers
    begun = progress.load(tmp_path / "3.state")
    goes_on = finetune.finetune(other, *given, begun=begun, keep_going=lambda epoch: not heard.append(epoch.number))
    assert heard == [0, 1, 2, 3, 4]
    assert [epoch.number for epoch in goes_on.epochs] == [0, 1, 2, 3, 4]
    assert [epoch.val_loss for epoch in goes_on.epochs] == [epoch.val_loss for epoch in whole.epochs]
    assert goes_on.best.number == whole.best.number
    assert all(torch.equal(goes_on.completed[key], value) for key, value in whole.completed.items())
