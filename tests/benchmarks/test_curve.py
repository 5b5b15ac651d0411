"""The measurement of forecasts: which drives, which labels, and what counts as held."""

from dataclasses import replace

import curves
import drives
import numpy as np

from benchmarks import curve
from recording import recordings
from training.measuring.learning_curve import Outlook
from training.sample.rendering import lab

FLOORED = {62: 4.0, 125: 3.5, 250: 3.25, 500: 3.125}


def test_no_drive_is_chosen_on_and_reported_and_none_shows_a_lab_person():
    parts = [curve.recipes(part) for part in curve.PARTS]
    assert [len(part) for part in parts] == [3, 5]
    everything = [recipe for part in parts for recipe in part]
    for field in ("seed", "driver", "camera_azimuth_deg", "focal"):
        assert len({getattr(recipe, field) for recipe in everything}) == 8, field
    assert {recipe.driver for recipe in everything}.isdisjoint({lab.person_seed(n) for n in range(1000)})
    assert {recipe.light for recipe in parts[1]} == {"day", "night", "tunnels"}


def test_noise_changes_labels_alone(tmp_path):
    data = recordings.load((drives.prepared_folder(tmp_path / "one", n=40),))
    noisy = curve.noisy(data, 4.0, seed=1)
    assert noisy.digest == data.digest
    assert noisy.drives[0].driver_files() == data.drives[0].driver_files()
    added = noisy.labels_deg - data.labels_deg
    assert 3.0 < added.std() < 5.0
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.5
    assert (curve.noisy(data, 4.0, seed=1).labels_deg == noisy.labels_deg).all()


def test_a_forecast_sees_no_size_beyond_those_it_is_made_from_and_is_held_to_what_was_measured():
    right = curve.told(curves.exact(FLOORED | {1000: 3.0625}, repeats=3))
    assert right.forecast.measured.sizes.tolist() == [62, 125, 250, 500]
    assert right.whole.measured.sizes.tolist() == [125, 250, 500, 1000]
    assert (right.measured_deg, right.covered, right.given_up) == (3.0625, True, True)
    wrong = curve.told(curves.exact(FLOORED | {1000: 1.0}, repeats=3))
    assert wrong.forecast.at(1000) == right.forecast.at(1000)
    assert not wrong.covered


def test_the_summary_counts_drives():
    held = curve.told(curves.exact(FLOORED | {1000: 3.0625}, repeats=3))
    silent = replace(held, measured_deg=1.0, forecast=replace(held.forecast, outlook=Outlook.CANNOT_TELL))
    silent = replace(silent, whole=replace(held.whole, outlook=Outlook.HELPS))
    (line,) = filter(None, curve.summary({"with noise": [held, silent]}).split("\n"))
    assert "covers what is measured at 1,000 on 1 of 2 drives (of the 1 on which it is printed: 1)" in line
    assert line.endswith("more of the same will not help, it says on 1 of 2")
