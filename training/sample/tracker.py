"""The CSV that an eye tracker would have written of a rendered drive, blemishes included."""

import csv
import io

import numpy as np

from recording import angles
from training.sample.recipe import Recipe
from training.sample.rendering import glances
from training.sample.scene import head_pose

NAME = "rendered sample drive"
COLUMNS = (
    "section id", "recording id", "timestamp [ns]", "dash_frames", "worn", "fixation id", "blink id",
    "azimuth [deg]", "elevation [deg]",
)  # fmt: skip


def measured_angles(track: glances.Track, recipe: Recipe) -> np.ndarray:
    """(n, 2) azimuth and elevation, degrees, from the eye tracker's zero, without noise."""
    gaze = in_head(track) if recipe.labels_in_head else track.gaze
    measured: np.ndarray = gaze - np.array([recipe.tracker_azimuth_deg, recipe.tracker_elevation_deg])
    return measured


def in_head(track: glances.Track) -> np.ndarray:
    """(n, 2) azimuth and elevation of the gaze in the coordinates of the head, degrees."""
    gaze = angles.vectors(track.gaze)
    turned = [direction @ head_pose(track, number).matrix() for number, direction in enumerate(gaze)]
    return angles.from_vectors(np.array(turned))


def labels_text(recipe: Recipe) -> str:
    """The CSV of a drive: one row per frame, with the blemishes of real exports.

    Some angles are blank, the tracker is taken off once, one row is there twice, one frame number is a word, one
    line has too many fields and a few rows lie past the end of the video.
    """
    rng = np.random.default_rng([recipe.seed, 2])
    track = recipe.labelled_track()
    count = len(track.seconds)
    measured = measured_angles(track, recipe) + rng.normal(size=(count, 2)) * recipe.tracker_noise_deg
    blank = rng.random(count) < 0.012
    off = int(0.4 * count)
    shown = np.arange(count) / recipe.fps
    rows = [
        _row(track, n, shown[n], measured[n], bool(blank[n]), off <= n < off + max(1, count // 200))
        for n in range(count)
    ]
    rows += [[*row[:3], str(count + k), *row[4:]] for k, row in enumerate(rows[:6])]
    rows.insert(count // 4, rows[count // 4])
    word = list(rows[count // 3])
    word[COLUMNS.index("dash_frames")] = "dropped"
    rows.insert(count // 3, word)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows):
        if number == count // 2:
            text.write(",".join(row) + ",,,restarted,\n")
        writer.writerow(row)
    return text.getvalue()


def _row(
    track: glances.Track, number: int, shown_s: float, measured: np.ndarray, blank: bool, taken_off: bool
) -> list[str]:
    blink, fixation = int(track.blink[number]), int(track.fixation[number])
    return [
        "rendered",
        NAME,
        str(round(shown_s * 1e9)),
        str(number),
        "0" if taken_off else "1",
        "" if fixation < 0 else str(fixation + 1),
        "" if blink < 0 else str(blink + 1),
        *(("", "") if blank else (f"{angle:.4f}" for angle in measured)),
    ]
