"""The CSV of a rendered drive."""

import csv
import io

import numpy as np
import pytest

from recording import angles, badrows, labels
from training.sample import tracker
from training.sample.recipe import Recipe
from training.sample.rendering.camera import rotation


def _angles(recipe: Recipe) -> np.ndarray:
    """(n, 2) angles by frame; NaN where the row is blank."""
    found = np.full((round(recipe.seconds * recipe.fps), 2), np.nan)
    for row in csv.reader(io.StringIO(tracker.labels_text(recipe))):
        if len(row) == len(tracker.COLUMNS) and row[3].isdigit() and row[7] and int(row[3]) < len(found):
            found[int(row[3])] = [float(row[7]), float(row[8])]
    return found


def test_labels_have_the_blemishes_of_real_exports(tmp_path):
    # Each of them must be there for the reader of recordings to be exercised by the default job.
    path, recipe = tmp_path / "drive.csv", Recipe()
    path.write_text(tracker.labels_text(recipe))
    read = labels.read(path, round(recipe.seconds * recipe.fps))
    reasons = {
        labels.MALFORMED, labels.BAD_FRAME, labels.PAST_END, labels.NOT_WORN, labels.BLINK, labels.BLANK_ANGLE,
        badrows.DUPLICATE,
    }  # fmt: skip
    assert reasons <= set(read.dropped)
    assert len(read.table) >= 1000  # enough for the samples=1000 of the README


def test_measured_angles_are_those_of_the_track():
    # The tracker's noise is a fraction of a degree, unbiased, as the CSV counts, from the tracker's own zero.
    recipe = Recipe(seconds=60.0, tracker_azimuth_deg=3.0)
    error = _angles(recipe) - (recipe.track().gaze - [3.0, -8.0])
    assert np.nanmean(np.abs(error)) < 3 * recipe.tracker_noise_deg
    assert np.abs(np.nanmean(error, axis=0)).max() < recipe.tracker_noise_deg


@pytest.mark.parametrize(("lag", "drift", "first", "last"), [(5.0, 0.0, 5, 5), (-3.0, 0.0, -3, -3), (0.0, 0.005, 0, 8)])
def test_late_labels_are_those_of_earlier_frames(lag, drift, first, last):
    # 60 s at 25 frames a second: half a percent of drift is 7.5 frames at the end.
    kept = {"seconds": 60.0, "fps": 25, "tracker_noise_deg": 0.0}
    right, late = _angles(Recipe(**kept)), _angles(Recipe(**kept, label_lag=lag, label_drift=drift))

    def lag_in(part: slice) -> int:
        return min(range(-12, 13), key=lambda by: np.nanmedian(np.abs(late - np.roll(right, by, axis=0))[part]))

    assert lag_in(slice(20, 320)) == pytest.approx(first, abs=1 if drift else 0)
    assert lag_in(slice(-320, -20)) == pytest.approx(last, abs=1 if drift else 0)


def test_angles_in_the_head_turn_back_into_those_of_the_car():
    recipe = Recipe(seconds=20.0, labels_in_head=True, tracker_noise_deg=0.0)
    track = recipe.track()
    inside = tracker.in_head(track)
    for n in range(0, len(inside), 7):
        turned = rotation(*track.head[n], track.roll[n]) @ angles.vectors(inside[n : n + 1])[0]
        np.testing.assert_allclose(angles.from_vectors(turned[None])[0], track.gaze[n], atol=1e-6)
    zero = np.array([0.0, recipe.tracker_elevation_deg])
    np.testing.assert_allclose(_angles(recipe), np.where(np.isnan(_angles(recipe)), np.nan, inside - zero), atol=1e-4)
    assert np.abs(inside).mean() < 0.7 * np.abs(track.gaze).mean()  # the head takes over the rest
