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
