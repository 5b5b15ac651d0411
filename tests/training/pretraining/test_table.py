"""The figure of persons: what stands in it can be read."""

import numpy as np
import pytest

from training.pretraining import job, table
from training.pretraining.table import Judged
from training.reporting import figures


@pytest.mark.parametrize("persons", [1, 15])
@pytest.mark.parametrize("layout", job.LAYOUTS)
def test_the_title_lies_within_the_figure(persons, layout):
    gaze = np.random.default_rng(0).normal(size=(4, 2)) / 5
    judged = {f"p{number:02d}": Judged(gaze + 0.1, gaze, gaze.mean(axis=0)) for number in range(persons)}
    drawn = table.figure(table.per_person(judged), job.caption(layout))
    drawn.draw_without_rendering()
    (title,) = [text for text in drawn.axes[0].get_children() if "not trained on" in getattr(text, "get_text", str)()]
    extent = title.get_window_extent()
    figures.close()
    assert drawn.bbox.x0 <= extent.x0
    assert extent.x1 <= drawn.bbox.x1
