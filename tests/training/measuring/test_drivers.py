"""Errors by driver: each counts once, few tell nothing, and what two numbers of a driver would give."""

import numpy as np
import pytest

from registry.intervals import MIN_BLOCKS, mean_interval
from training.measuring import drivers

LABELS = np.random.default_rng(0).uniform([-20, -15], [20, 15], size=(400, 2))


def by_driver(off_deg: dict[str, float], samples: dict[str, int] | None = None) -> drivers.ByDriver:
    """Of answers that are off by so much in elevation, by driver; 40 samples each where nothing else is said."""
    counts = [(samples or {}).get(name, 40) for name in off_deg]
    driver = np.repeat(np.arange(len(off_deg)), counts)
    labels = LABELS[: len(driver)]
    off = np.array(list(off_deg.values()))[driver]
    answers = {
        "model": labels + off[:, None] * [0, 1],
        "constant": np.tile(np.median(labels, axis=0), (len(labels), 1)),
    }
    drives = {name: (f"{name}-1", f"{name}-2") for name in off_deg}
    return drivers.measure(tuple(off_deg), driver, drives, answers, labels, "error on an unseen driver")


def test_every_driver_counts_once_whatever_the_number_of_samples():
    found = by_driver({"A": 1.0, "B": 3.0}, {"A": 300, "B": 30})
    assert found.errors["elevation"].mean == pytest.approx(2.0)
    assert [one.samples for one in found.drivers] == [300, 30]
    assert found.worst.name == "B"
    assert found.drivers[0].drives == ("A-1", "A-2")


def test_the_interval_is_over_drivers_and_few_drivers_are_too_few_to_tell():
    off = {name: 1.0 + k for k, name in enumerate("ABCDE")}
    found = by_driver(off)
    assert found.errors["elevation"] == mean_interval(np.array([1.0, 2, 3, 4, 5]), np.arange(5))
    assert "elevation 3.00° [1.04–4.96]" in found.lines()[0]
    assert found.metrics("unseen_driver")["unseen_driver/elevation_error_deg_high"] == pytest.approx(4.96, abs=0.01)
    del off["E"]
    few = by_driver(off)
    assert f"elevation 2.50° [too few to tell: 4 of {MIN_BLOCKS} drivers]" in few.lines()[0]
    assert "unseen_driver/elevation_error_deg_high" not in few.metrics("unseen_driver")
    assert few.lines()[1] == "worst driver: D, 4.00° in 3-D angle"


def test_a_personal_offset_takes_away_what_is_always_the_same_and_is_measured_on_other_frames():
    found = by_driver({name: 2.0 + k for k, name in enumerate("ABCDE")}, {"E": drivers.OFFSET_FRAMES})
    first, *_, last = found.drivers
    assert first.offset_deg == pytest.approx([0, -2])
    assert first.plain_rest_deg[1] == pytest.approx(2)
    assert first.offset_rest_deg[2] == pytest.approx(0, abs=1e-6)
    assert last.offset_deg is None  # no frame is left to measure it on
    assert found.offset["elevation"].mean == pytest.approx(-3.5)
    assert found.offset["elevation"].blocks == 4
    assert found.lines()[2].endswith("by -3.50° [too few to tell: 4 of 5 drivers]: too few to tell")


def test_an_offset_that_differs_from_frame_to_frame_gives_nothing():
    labels = LABELS[:200]
    noise = np.random.default_rng(1).normal(scale=5, size=labels.shape)
    driver = np.repeat(np.arange(5), 40)
    drives = dict.fromkeys("ABCDE", ("x",))
    found = drivers.measure(tuple("ABCDE"), driver, drives, {"model": labels + noise}, labels, "error")
    assert found.offset["angular"].low < 0 < found.offset["angular"].high
    assert found.lines()[2].endswith("cannot tell")


def test_folds_leave_everybody_out_once():
    assert [part.tolist() for part in drivers.folds(4, 0)] == [[0], [1], [2], [3]]
    assert [part.tolist() for part in drivers.folds(5, 2)] == [[0, 2, 4], [1, 3]]
    assert len(drivers.folds(3, 10)) == 3


def test_a_driver_without_a_sample_is_left_out():
    labels = LABELS[:10]
    found = drivers.measure(("A", "B"), np.ones(10, int), {"A": (), "B": ()}, {"model": labels}, labels, "error")
    assert [one.name for one in found.drivers] == ["B"]
