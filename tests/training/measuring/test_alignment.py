"""Labels against the base model: flipped, swapped and shifted labels are recognised, noise is left alone."""

from itertools import product

import numpy as np
import pytest
import torch

from recording.angles import pitch_yaw_to_deg
from training.learning import model
from training.measuring import alignment


def labels_and_base(noise: float = 2.0, n: int = 300):
    random = np.random.default_rng(0)
    labels = random.normal([3, -5], [12, 6], size=(n, 2))
    return labels, labels + random.normal(0, noise, size=(n, 2))


@pytest.mark.parametrize(("swapped", "azimuth", "elevation"), list(product((False, True), (1, -1), (1, -1))))
def test_every_sign_and_swap_is_found(swapped, azimuth, elevation):
    labels, base = labels_and_base()
    base = base * [azimuth, elevation]
    base = base[:, ::-1] if swapped else base
    found = alignment.align(base, labels)
    applied = found.apply(base)
    assert np.abs(applied - labels).mean() < 3
    assert found.changes()[0] == swapped


def test_a_shift_alone_is_no_flip():
    labels, base = labels_and_base()
    found = alignment.align(base - [7, 20], labels)
    assert found.changes() == (False, 1, 1)
    assert found.shift_deg == pytest.approx((7, 20), abs=0.5)
    assert "signs and order agree" in found.describe()


def test_a_base_that_answers_noise_is_taken_as_it_is():
    labels, _ = labels_and_base()
    for seed in range(20):
        noise = np.random.default_rng(seed + 1).normal(0, 10, size=labels.shape)
        found = alignment.align(noise, labels)
        assert found.changes() == (False, 1, 1)
        assert "says little" in found.describe()


def test_a_flip_is_said_loudly():
    labels, base = labels_and_base()
    assert "azimuth looks FLIPPED" in alignment.align(base * [-1, 1], labels).describe()


@pytest.mark.parametrize(("swapped", "azimuth", "elevation"), [(True, -1, 1), (False, 1, -1), (True, 1, 1)])
def test_the_network_adopts_the_hypothesis(swapped, azimuth, elevation):
    """Changing the last layer must do to the answers exactly what the hypothesis says."""
    torch.manual_seed(0)
    network = model.build().eval()
    pictures = torch.rand(4, 3, 224, 224)
    with torch.no_grad():
        before = pitch_yaw_to_deg(network(pictures).numpy())
        found = alignment.Alignment(swapped, azimuth, elevation, (5.0, -12.0), 1.0, 2.0, (0.9, 0.9))
        found.adopt(network)
        after = pitch_yaw_to_deg(network(pictures).numpy())
    assert after == pytest.approx(found.apply(before), abs=1e-4)
