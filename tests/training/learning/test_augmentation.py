"""Pictures as they may come back: other exposure, other place, in half of the draws; little changed in the others."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.learning.augmentation import Augmentation

STILL = {"contrast": 0.0, "gamma": 0.0, "shift": 0.0, "scale": 0.0}


def drawn(augmentation, pictures, seed=0):
    return augmentation.apply(pictures, torch.Generator().manual_seed(seed))


def test_half_of_the_pictures_get_another_exposure_and_the_others_hardly():
    grey = torch.full((2000, 3, 4, 4), 0.3)
    stops = torch.log2(drawn(Augmentation(**STILL), grey)[:, 0, 0, 0] / 0.3)
    assert stops.min() == pytest.approx(-1, abs=0.02) and stops.max() == pytest.approx(1, abs=0.02)
    little = (stops.abs() <= 0.2).float().mean()
    assert little == pytest.approx(0.5 + 0.5 * 0.2, abs=0.04)  # a fifth of those changed far ends near as well
    assert stops.mean() == pytest.approx(0, abs=0.03)


def test_gamma_leaves_black_and_white_and_moves_what_lies_between():
    ramp = torch.linspace(0, 1, 5).repeat(400, 3, 5, 1)
    shown = drawn(Augmentation(**(STILL | {"gamma": 0.4, "exposure": 0.0})), ramp)
    assert shown[..., 0].max() < 0.01 and shown[..., -1].min() > 0.999
    assert shown[..., 2].max() == pytest.approx(0.5 ** (2**-0.4), abs=0.005)
    assert shown[..., 2].min() == pytest.approx(0.5 ** (2**0.4), abs=0.005)


def test_a_face_moves_and_grows_within_the_limits():
    spot = torch.zeros(400, 3, 64, 64)
    spot[:, :, 28:36, 28:36] = 1
    shown = drawn(Augmentation(exposure=0.0, gamma=0.0, contrast=0.0), spot)[:, 0].numpy()
    places = np.array([ndimage.center_of_mass(one) for one in shown]) / 64
    away = np.abs(places - places.mean(axis=0))
    assert 0.07 < away.max() < 0.08 * 1.15 + 0.01
    sides = np.sqrt(shown.sum(axis=(1, 2))) / 8
    assert 1.1 < sides.max() < 1.17 and 1 / 1.17 < sides.min() < 1 / 1.1


def test_the_same_generator_gives_the_same_pictures_within_the_range():
    pictures = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    once, again, other = (drawn(Augmentation(), pictures, seed) for seed in (5, 5, 6))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert once.min() >= 0 and once.max() <= 1 and torch.isfinite(once).all()


def test_a_picture_that_is_not_to_be_changed_is_not():
    pictures = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    shown = drawn(Augmentation(**STILL, exposure=0.0), pictures)
    assert torch.allclose(shown, pictures, atol=1e-3)
