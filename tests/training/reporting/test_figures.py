"""The pictures of a report show what the figures say, and no more."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from training.measuring.errors import measure
from training.reporting import figures


@pytest.mark.parametrize(("blocks", "error_bars"), [(10, 6), (4, 0)])
def test_error_bars_only_where_there_are_blocks_enough(blocks, error_bars):
    labels = np.random.default_rng(0).normal(size=(80, 2)) * 10
    answers = {"constant": np.zeros((80, 2)), "model": labels + 1}
    figure = figures.before_after(
        {name: measure(answer, labels, np.arange(80) % blocks) for name, answer in answers.items()}, "a drive"
    )
    (axis,) = figure.axes
    assert len([found for found in axis.collections if isinstance(found, LineCollection)]) == error_bars
    assert len(axis.texts) == 6  # every bar has its mean
    figures.close()


def test_gaze_begins_where_the_eyes_of_each_picture_are() -> None:
    """It began on the forehead of every driver whose face was not in the middle of the view."""
    ground, eyes = np.full((200, 160, 3), 90, np.uint8), [(0.3, 0.4), (0.7, 0.6)]
    still = np.zeros((2, 2))
    figure = figures.scenario_sheet([ground, ground], eyes, still, np.full((2, 2), 20.0), ["1", "2"])
    for axis, (across, down) in zip(figure.axes, eyes, strict=False):
        shown = np.asarray(axis.images[0].get_array())
        height, width = shown.shape[:2]
        rows, columns = np.nonzero((shown != 90).any(axis=2))
        assert columns.max() == pytest.approx(across * width, abs=8)  # to the driver's right: left in the picture
        assert rows.max() == pytest.approx(down * height, abs=8)
    figures.close()
