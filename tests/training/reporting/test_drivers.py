"""Tables and figures by driver."""

import io

import matplotlib.pyplot as plt
import numpy as np

from training.measuring import drivers
from training.reporting import drivers as shown


def test_names_are_shown_as_they_are_written_and_the_worst_comes_first():
    names = ("A$_$", "<b>Ben</b>")
    labels = np.random.default_rng(0).uniform([-20, -15], [20, 15], (60, 2))
    driver = np.repeat([0, 1], 30)
    off = np.array([1.0, 4.0])[driver, None] * [0, 1]
    found = drivers.measure(
        names, driver, {name: ("x",) for name in names}, {"model": labels + off}, labels, "error $^$"
    )
    figure = shown.figure(found)
    figure.savefig(io.BytesIO(), format="png")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["<b>Ben</b>\nn=30", "A$_$\nn=30"]
    plt.close(figure)
    assert "&lt;b&gt;Ben" in shown.section(found)
    assert "<b>" not in shown.section(found)
    assert shown.table(found)["driver"].tolist() == ["<b>Ben</b>", "A$_$"]
