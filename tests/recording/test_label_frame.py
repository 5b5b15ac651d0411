"""Angles from the head are recognised, angles from the car are not accused, and what cannot be told is not said."""

import json
import pathlib

import drives
import numpy as np
import pandas as pd
import pytest

from recording import label_frame, prepared
from recording.exceptions import InputError
from recording.label_frame import LabelFrame
from recording.relative_to import CAR, HEAD, UNKNOWN
from recording.trace import Rows
from training.sample import tracker
from training.sample.recipe import Recipe

PLACES = ((3, 160.0), (5, 100.0), (10, 60.0), (15, 60.0), (30, 45.0))
"""Frames a second, and seconds."""
NOTHING = pd.DataFrame({"azimuth_deg": [], "elevation_deg": []})


def drive(number: int, in_head: bool) -> tuple[Rows, float]:
    """What a tracker measures of a drive like no other."""
    random = np.random.default_rng([3, number])
    fps, seconds = PLACES[number % len(PLACES)]
    recipe = Recipe(
        seed=3000 + number,
        seconds=seconds,
        fps=fps,
        tracker_elevation_deg=random.uniform(-10, 5),
        head_share=random.uniform(0.4, 0.8),
        head_lead_s=random.choice([0.0, 0.3]),
        labels_in_head=in_head,
    )
    track = recipe.track()
    angles = tracker.measured_angles(track, recipe)
    angles += random.normal(scale=random.uniform(0.1, 1.2), size=angles.shape)
    angles[track.blink >= 0] = np.nan
    every = np.ones(len(angles), dtype=bool)
    return Rows(np.arange(len(angles)), angles, track.blink >= 0, every, True, False), float(fps)


def test_nineteen_of_twenty_drives_with_angles_from_the_head_are_recognised() -> None:
    found = [label_frame.find(NOTHING, *drive(number, in_head=True)) for number in range(20)]
    assert sum(one.relative_to == HEAD for one in found) >= 19
    assert all(one.relative_to != CAR for one in found)
    assert found[0].is_loud and "THE ANGLES ARE RELATIVE TO THE HEAD" in found[0].line()


def test_none_of_twenty_drives_with_angles_from_the_car_is_accused() -> None:
    found = [label_frame.find(NOTHING, *drive(number, in_head=False)) for number in range(20)]
    assert not any(one.relative_to == HEAD or one.is_loud for one in found)
    assert sum(one.relative_to == CAR for one in found) >= 12


@pytest.mark.parametrize("apart", [2, 5])
def test_rows_sparser_than_the_video_tell_as_well(apart: int) -> None:
    rows, fps = drive(4, in_head=True)
    some = slice(None, None, apart)
    sparse = Rows(rows.frame[some], rows.angles_deg[some], rows.blink[some], rows.fixation[some], True, False)
    assert label_frame.find(NOTHING, sparse, fps).relative_to == HEAD


def test_rows_too_sparse_or_too_few_or_without_a_jump_do_not_tell() -> None:
    rows, fps = drive(4, in_head=True)
    still = Rows(rows.frame, rows.angles_deg * 0.01, rows.blink, rows.fixation, True, False)
    sparse, few = (
        Rows(rows.frame[some], rows.angles_deg[some], rows.blink[some], rows.fixation[some], True, False)
        for some in (slice(None, None, 15), slice(90))
    )
    empty = Rows(*(part[:0] for part in (rows.frame, rows.angles_deg, rows.blink, rows.fixation)), True, False)
    for one in (still, sparse, few, empty, None):
        assert label_frame.find(NOTHING, one, fps) == LabelFrame(UNKNOWN)
    assert LabelFrame().line() == (
        "WHETHER THE ANGLES ARE RELATIVE TO CAR OR HEAD CANNOT BE TOLD; the car is assumed: a longer drive or more "
        "rows a second would show it; say label_frame=car or head if you know"
    )


def test_one_jump_does_not_speak_for_many_of_which_nothing_else_is_known() -> None:
    """A tracker that loses the eyes beside its glances: what goes before and comes after a jump is known of one."""
    angles = np.full((1200, 2), np.nan)
    angles[:600] = np.random.default_rng(0).normal(scale=0.1, size=(600, 2))
    angles[300:600, 0] += 20 - np.minimum(np.arange(300), 10) * 0.6  # 30 % of it taken back, as from the head
    for begins in range(640, 1160, 40):
        angles[begins : begins + 6] = np.repeat([[0.0, 0.0], [20.0, 0.0]], 3, axis=0)
    rows = Rows(np.arange(1200), angles, np.zeros(1200, bool), np.ones(1200, bool), False, False)
    assert label_frame.find(NOTHING, rows, 30.0) == LabelFrame(UNKNOWN)


# The interval may begin at zero or above it: no share of a jump is "-0 %", and none is taken back beyond nothing.
@pytest.mark.parametrize("goes_on", [0.0, 0.2])
def test_of_angles_that_stand_still_nothing_is_taken_back(goes_on: float) -> None:
    angles = np.zeros((1200, 2))
    for number, begins in enumerate(range(40, 1160, 40)):
        angles[begins:, 0] += (20 + goes_on * np.minimum(np.arange(1200 - begins), 10)) * (-1) ** number
    rows = Rows(np.arange(1200), angles, np.zeros(1200, bool), np.ones(1200, bool), False, False)
    found = label_frame.find(NOTHING, rows, 30.0)
    assert found == LabelFrame(CAR, "after jumps of the eyes they stand still (at most 0 % is taken back)")


def scene(n: int = 100, one_to_one: bool = True) -> pd.DataFrame:
    """Samples with the place of the gaze in a scene camera's picture: a wide lens, half a pixel of noise."""
    random = np.random.default_rng(0)
    eye, head = random.normal(scale=(12, 6), size=(n, 2)), random.normal(scale=(8, 3), size=(n, 2))
    pixels = 800 + 900 * np.tan(np.radians(eye)) * [1, -1] + random.normal(scale=0.5, size=(n, 2))
    angles = eye if one_to_one else eye + head
    names = ["azimuth_deg", "elevation_deg", "Gaze x [px]", "gaze y [px]"]
    return pd.DataFrame(np.column_stack([angles, pixels]), columns=names)


def test_gaze_pixels_that_move_with_the_angles_are_a_camera_on_the_head() -> None:
    found = label_frame.find(scene(), None, 30.0)
    assert found.relative_to == HEAD and "gaze pixels" in found.why
    text = scene().astype(str)  # as a prepared folder keeps other columns
    text[["azimuth_deg", "elevation_deg"]] = scene()[["azimuth_deg", "elevation_deg"]]
    assert label_frame.find(text, None, 30.0).relative_to == HEAD


def test_gaze_pixels_that_do_not_give_the_angles_say_nothing() -> None:
    assert label_frame.find(scene(one_to_one=False), None, 30.0).relative_to == UNKNOWN
    assert label_frame.find(scene(20), None, 30.0).relative_to == UNKNOWN
    assert label_frame.find(scene().drop(columns="gaze y [px]"), None, 30.0).relative_to == UNKNOWN


def test_what_is_asked_for_is_taken_and_a_contradiction_said() -> None:
    assert label_frame.find(scene(), None, 30.0, HEAD).why == "label_frame=head says so"
    against = label_frame.find(scene(), None, 30.0, CAR)
    assert against.relative_to == CAR and against.is_loud and "ALTHOUGH gaze pixels" in against.line()
    assert label_frame.find(NOTHING, None, 30.0, CAR) == LabelFrame(CAR, "label_frame=car says so", CAR)
    with pytest.raises(InputError, match="label_frame='world' is unknown: choose one of auto, car, head"):
        label_frame.find(NOTHING, None, 30.0, "world")


def folder(of: pathlib.Path, asked: str) -> prepared.Samples:
    """A prepared folder of which ``prepare`` was told that its angles count from there; bare for "unknown"."""
    made = prepared.load(drives.prepared_folder(of / asked, n=12))
    if asked != UNKNOWN:
        (made.folder / prepared.DRIVE).write_text(json.dumps({"label_frame": {"asked": asked}}))
    return made


def test_drives_of_both_kinds_are_refused_together_unless_one_is_asked_for(tmp_path: pathlib.Path) -> None:
    car, head, unknown = (folder(tmp_path, asked) for asked in (CAR, HEAD, UNKNOWN))
    with pytest.raises(InputError, match=r"are relative to the car .* to the head .* say label_frame=car or head"):
        label_frame.together([car, unknown, head])
    assert [one.relative_to for one in label_frame.together([car, head], HEAD)] == [HEAD, HEAD]
    assert label_frame.common(label_frame.together([head, unknown])) == HEAD
    assert label_frame.common(label_frame.together([car, unknown])) == UNKNOWN
    assert label_frame.common(label_frame.together([car, car])) == CAR
