"""Heads in closed form: solved right, folded exactly."""

import numpy as np
import pytest
import torch

from training.learning import closed_form, model

N = 200
BLOCK = np.arange(N) // 20


@pytest.fixture
def fc():
    torch.manual_seed(0)
    return model.build().fc.eval()


@pytest.fixture(scope="module")
def pooled():
    """(n, 512) features as a network's are: most of them say the same few things."""
    rng = np.random.default_rng(0)
    return np.abs(rng.normal(0, 1, (N, 8)) @ rng.normal(0, 1, (8, 512)) + rng.normal(0, 0.1, (N, 512)) + 20)


def answers(fc, inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return fc(torch.tensor(inputs, dtype=torch.float32)).numpy()


def linear(pooled: np.ndarray) -> np.ndarray:
    """(n, 2) radians: a linear map of a few features."""
    return (pooled[:, :6] - 20) @ np.random.default_rng(1).normal(0, 0.05, (6, 2)) + [0.2, -0.4]


@pytest.mark.parametrize("method", ["affine", "ridge"])
def test_the_folded_network_answers_as_the_head_does(fc, pooled, method):
    inputs = answers(fc, pooled) if method == "affine" else pooled
    head = closed_form.solve(method, inputs, linear(pooled), BLOCK)
    wanted = head.predict(inputs)
    keys = {key: value.shape for key, value in fc.state_dict().items()}
    closed_form.fold(head, fc)
    assert np.abs(answers(fc, pooled) - wanted).max() < 1e-4
    # Also where the linear map goes far beyond what it was fitted on: both signs pass the ReLU.
    far = np.random.default_rng(5).normal(0, 10, (50, 512))
    if method != "affine":
        assert np.allclose(answers(fc, far), head.predict(far), atol=1e-4)
    assert {key: value.shape for key, value in fc.state_dict().items()} == keys


def test_the_other_hidden_units_keep_what_they_compute_and_can_learn_a_say(fc, pooled):
    before = fc[0].weight.detach().clone()
    closed_form.fold(closed_form.solve("ridge", pooled, linear(pooled), BLOCK), fc)
    kept = (fc[0].weight == before).all(dim=1)
    assert int(kept.sum()) == 256 - 4
    fc(torch.tensor(pooled, dtype=torch.float32)).abs().sum().backward()
    assert (fc[3].weight.grad[:, kept] != 0).any()


@pytest.mark.parametrize("method", ["ridge", "lad"])
def test_a_linear_relation_is_found(pooled, method):
    pooled = pooled[:, :64]
    head = closed_form.solve(method, pooled[:150], linear(pooled)[:150], BLOCK[:150])
    wrong = np.abs(head.predict(pooled[150:]) - linear(pooled)[150:]).mean()
    assert wrong < 0.5 * np.abs(linear(pooled)[150:] - np.median(linear(pooled)[:150], axis=0)).mean()


def test_wrong_labels_pull_the_least_absolute_deviations_less_than_the_squares():
    inputs = np.random.default_rng(2).normal(0, 1, (N, 10))
    truth = inputs[:, :2] * 0.1
    spoilt = truth.copy()
    spoilt[::7] += 0.8
    squares, absolute = (closed_form.solve(method, inputs, spoilt, BLOCK) for method in ("ridge", "lad"))
    assert np.abs(absolute.predict(inputs) - truth).mean() < 0.3 * np.abs(squares.predict(inputs) - truth).mean()


def test_features_that_say_nothing_give_nearly_a_constant(pooled):
    noise = np.random.default_rng(3).normal([0.5, -0.2], 0.1, (N, 2))
    said = closed_form.solve("ridge", pooled, noise, BLOCK).predict(pooled)
    assert said.std(axis=0).max() < 0.03
    assert np.allclose(said.mean(axis=0), [0.5, -0.2], atol=0.03)


def test_the_penalty_is_chosen_on_whole_blocks():
    """Within a block every sample is a copy of its neighbours: single samples left out would ask for no penalty."""
    rng = np.random.default_rng(4)
    blocks = np.arange(N) // 10
    inputs = np.repeat(rng.normal(0, 1, (20, 60)), 10, axis=0) + rng.normal(0, 0.01, (N, 60))
    targets = np.repeat(rng.normal(0, 0.1, (20, 2)), 10, axis=0)
    by_block = closed_form.choose_penalties("ridge", inputs, targets, blocks)
    one_by_one = closed_form.choose_penalties("ridge", inputs, targets, np.arange(N) % 10)
    assert min(by_block) > 10 * max(one_by_one)


def test_an_unknown_method_is_named_with_the_known_ones(pooled):
    with pytest.raises(ValueError, match="affine, ridge, lad"):
        closed_form.solve("lasso", pooled, linear(pooled), BLOCK)


@pytest.mark.parametrize("weighted", [False, True])
def test_ridges_of_all_penalties_at_once_are_those_of_each_alone(weighted):
    random = np.random.default_rng(3)
    inputs, targets = random.normal(size=(40, 60)), random.normal(size=(40, 2))  # fewer samples than inputs
    counts = random.uniform(0.2, 3, 40) if weighted else np.ones(40)
    for k, path in enumerate(closed_form._ridge_paths(inputs, targets, counts)):
        for penalty, (slope, intercept) in zip(closed_form.PENALTIES, path, strict=True):
            alone = closed_form.ridge(inputs, targets[:, k], penalty, counts)
            assert np.allclose(slope, alone[0], atol=1e-9), (k, penalty)
            assert intercept == pytest.approx(alone[1], abs=1e-9)


def test_penalties_are_compared_by_what_each_of_them_gives():
    """Each solution goes on from the one before; it is that of its own penalty all the same."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((80, 6))
    target = inputs @ random.standard_normal(6) * 0.1 + random.standard_t(2, 80) * 0.03
    largest = np.abs(target).max()
    path = closed_form._least_absolute_path(inputs, target, np.ones(80))
    for penalty, (slope, intercept) in zip(closed_form.PENALTIES, path, strict=True):
        alone = closed_form.least_absolute(inputs, target, penalty)
        off = inputs @ slope + intercept - inputs @ alone[0] - alone[1]
        assert np.abs(off).max() < 0.08 * largest, penalty
