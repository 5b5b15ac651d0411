"""How far a drive's features are from those that the base learnt on, and what is said of it."""

import cv2
import numpy as np
import pytest
import torch

from training.learning import batchnorm, model
from training.measuring.familiarity import FOREIGN, KNOWN, Familiarity, distance


def normal(mean: float, variance: float) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.full(4, mean), np.full(4, variance))]


def test_the_same_statistics_are_no_distance_apart_and_none_is_more_than_one():
    assert distance(normal(1, 2), normal(1, 2)) == 0
    assert distance(normal(0, 1), normal(50, 1)) == pytest.approx(1)
    assert distance(normal(0, 0), normal(0, 0)) == 0


def test_it_is_the_hellinger_distance_of_normal_distributions():
    x = np.linspace(-30, 40, 200_001)
    first = np.exp(-((x - 1) ** 2) / 8) / np.sqrt(8 * np.pi)
    second = np.exp(-((x - 3) ** 2) / 18) / np.sqrt(18 * np.pi)
    overlap = np.sum(np.sqrt(first * second)) * (x[1] - x[0])
    assert distance(normal(1, 4), normal(3, 9)) == pytest.approx(np.sqrt(1 - overlap), abs=1e-6)


def test_other_pictures_are_farther_from_what_the_base_knows_than_more_of_its_own():
    torch.manual_seed(0)
    pictures = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 5) for picture in pictures[20:]])
    base = batchnorm.adapt(model.build(), pictures[:20], np.arange(20), torch.device("cpu"))

    def far(others: np.ndarray) -> float:
        seen = model.build()
        seen.load_state_dict(base.state_dict())
        batchnorm.adapt(seen, others, np.arange(len(others)), torch.device("cpu"))
        return distance(batchnorm.statistics(base), batchnorm.statistics(seen))

    assert 4 * far(pictures[20:]) < far(smooth)


@pytest.mark.parametrize(
    ("measured", "says", "foreign"),
    [
        (KNOWN / 2, "like those that the base knows", False),
        ((KNOWN + FOREIGN) / 2, "differ from those that the base knows", False),
        (FOREIGN, "the base does not know such pictures", True),
    ],
)
def test_the_distance_becomes_a_finding(measured, says, foreign):
    found = Familiarity("mine.pth", "what its file does not say", measured)
    assert found.describe().startswith("Base: mine.pth, trained on what its file does not say.")
    assert f"This drive is {measured:.3f} from the features of its training" in found.describe()
    assert says in found.describe()
    assert found.foreign is foreign
