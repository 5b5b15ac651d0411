"""The report of a curve: a row a size with its interval, and a drawn forecast only where there is one."""

import numpy as np
import pytest
from curves import SIZES, exact

from training.measuring.errors import measure
from training.measuring.learning_curve import forecast
from training.reporting import figures
from training.reporting.learning_curve import CurveReport, SizeErrors, baselines, figure

BLOCK = np.repeat(np.arange(8), 10)
LABELS = np.random.default_rng(0).normal(0, 10, (80, 2))


def off_by(degrees: float):
    return measure(LABELS + np.array([degrees, degrees / 2]), LABELS, BLOCK)


def report(errors: dict[int, float], minutes: float = 1.25) -> CurveReport:
    before = {"base": off_by(20), "constant": off_by(9), "affine": off_by(5)}
    sizes = tuple(SizeErrors(size, size // 2, 3, off_by(error), minutes) for size, error in errors.items())
    told = forecast(exact(errors, repeats=3))
    return CurveReport("a drive", before, sizes, told, ("It helps.", "So much."), "as the search chose", 1.5)


@pytest.fixture(autouse=True)
def closed():
    yield
    figures.close()


def test_the_table_has_what_was_before_and_every_size():
    table = report({n: 40 * n**-0.5 for n in SIZES}).table()
    assert list(table.columns) == ["", "azimuth", "elevation", "3-D angle", "minutes"]
    assert list(table[""])[:4] == [
        "base (before)",
        "constant",
        "affine calibration",
        "125 samples (62 trained on, 3 times)",
    ]
    assert table["azimuth"].iloc[0] == "20.00° [20.00–20.00]"
    assert list(table["minutes"])[2:4] == ["–", "1.2"]
    assert "It helps." in report({n: 40 * n**-0.5 for n in SIZES}).printed()


def test_trainings_of_seconds_do_not_take_no_time():
    assert list(report({n: 40 * n**-0.5 for n in SIZES}, minutes=0.01).table()["minutes"])[3:] == ["< 0.1"] * 4


def test_of_the_calibrations_the_best_one_is_shown():
    errors = {"base": off_by(20), "constant": off_by(9), "calibrated": off_by(6), "affine": off_by(7)}
    assert list(baselines(errors)) == ["base", "constant", "calibrated"]


def test_a_forecast_is_drawn_where_there_is_one_and_not_where_there_is_none():
    told = figure(report({n: 40 * n**-0.5 for n in SIZES})).axes[0]
    assert [tick.get_text() for tick in told.get_xticklabels()] == ["125", "250", "500", "1,000", "2,000", "4,000"]
    assert told.get_xlim()[1] > 4000
    assert "power law with a floor" in told.get_legend_handles_labels()[1]
    assert told.get_legend_handles_labels()[1].count("one training") == 1  # of as many as there are dots
    assert "base (before)" not in told.get_legend_handles_labels()[1]  # 22° would flatten it
    untold = figure(report({100: 8.0, 800: 4.0})).axes[0]
    assert untold.get_xlim()[1] < 1000
    assert "power law with a floor" not in untold.get_legend_handles_labels()[1]
