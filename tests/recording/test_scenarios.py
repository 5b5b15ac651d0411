"""Ten equal parts of the time of a drive, one formula for training, registry and app."""

import numpy as np
import pytest

from recording.scenarios import scenarios


def test_ten_equal_parts_from_the_first_frame_to_the_last() -> None:
    assert scenarios(np.arange(700, 800)).tolist() == np.repeat(np.arange(1, 11), 10).tolist()


@pytest.mark.parametrize("frames", [np.arange(0, 101, 10), np.arange(0, 100, 10), np.array([5]), np.array([3, 900])])
def test_frames_at_exact_tenths_have_the_number_that_registered_versions_carry(frames: np.ndarray) -> None:
    span = frames.max() - frames.min() + 1
    registered = (frames - frames.min()) * 10 // span + 1
    assert scenarios(frames).tolist() == registered.tolist()


def test_every_drive_is_divided_by_itself() -> None:
    # The second drive is ten times as long: by frame number alone the first would lie in its first scenario.
    frames, drives = np.concatenate([np.arange(100), np.arange(1000)]), np.repeat([0, 1], [100, 1000])
    numbers = scenarios(frames, drives)
    assert np.bincount(numbers[:100])[1:].tolist() == [10] * 10
    assert np.bincount(numbers[100:])[1:].tolist() == [100] * 10


def test_another_count() -> None:
    assert scenarios(np.arange(9), count=3).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
