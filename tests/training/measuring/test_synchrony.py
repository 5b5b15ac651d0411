"""Labels that come late or early are found, by how many frames, and nothing is said of labels that are in step."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from recording.trace import SIDE, Rows, Trace, stretches
from training.measuring import synchrony
from training.measuring.synchrony import Answers, Synchrony
from training.sample.rendering import glances

FPS, SECONDS = 30.0, 40.0
NOTHING = np.zeros((0, 2))


def pictures(track: glances.Track, seed: int) -> np.ndarray:
    """A noisy cartoon of the driver, drawn here: a head that turns, irises, lids, light that changes."""
    random = np.random.default_rng(seed)
    wall = cv2.resize(random.integers(40, 160, (12, 12), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    light = 1 + 0.1 * np.sin(track.seconds / 5)
    drawn = np.empty((len(track.seconds), SIDE, SIDE), np.uint8)
    for n, (gaze, head, closed) in enumerate(zip(track.gaze, track.head, track.closed, strict=True)):
        x, y = 48 - 0.08 * head[0], 46 - 0.08 * head[1]
        picture = wall.copy()
        _ellipse(picture, x, y, 19, 25, 170)
        for side in (-1, 1):
            eye, height = x + side * 8 - 0.15 * head[0], 3.2 * (1 - closed)
            if height > 0.3:
                _ellipse(picture, eye, y - 4, 4.5, height, 225)
                _ellipse(picture, eye - 0.1 * (gaze - head)[0], y - 4, 1.8, min(1.8, height), 60)
        drawn[n] = np.clip(picture * light[n] + random.normal(scale=1.0, size=picture.shape), 0, 255)
    return drawn


def _ellipse(picture: np.ndarray, x: float, y: float, wide: float, high: float, grey: int) -> None:
    centre, axes = (round(8 * x), round(8 * y)), (round(8 * wide), round(8 * high))
    cv2.ellipse(picture, centre, axes, 0, 0, 360, grey, -1, cv2.LINE_AA, 3)


@pytest.fixture(scope="module")
def drives() -> list[tuple[glances.Track, np.ndarray]]:
    tracks = [glances.track(SECONDS, FPS, seed) for seed in range(2)]
    return [(track, pictures(track, seed)) for seed, track in enumerate(tracks)]


def late(track: glances.Track, frames: np.ndarray, blinks: bool = True) -> Rows:
    """What a tracker measured, each row by so many ``frames`` (n,) too late."""
    count = len(track.seconds)
    source = np.arange(count) - frames
    there = (source >= 0) & (source < count)
    source = np.clip(source, 0, count - 1)
    angles = track.gaze[source] + np.random.default_rng(1).normal(scale=0.3, size=(count, 2))
    closed = track.blink[source] >= 0
    angles[closed | ~there] = np.nan
    return Rows(np.arange(count), angles, closed & blinks, np.ones(count, bool), blinks, False)


def found(track: glances.Track, seen: np.ndarray, frames: object, **how: bool) -> synchrony.Synchrony:
    rows = late(track, np.broadcast_to(np.asarray(frames, np.int64), len(seen)), **how)
    return synchrony.compare(Trace(rows, np.arange(len(seen)), seen), FPS, NOTHING)


@pytest.mark.parametrize("frames", [-10, 6])
def test_labels_that_are_late_or_early_are_found_within_a_frame(drives, frames):
    told = [found(*drive, frames) for drive in drives]
    assert all(abs(one.offset - frames) <= 1 for one in told if one.agreed)
    loud = next(one for one in told if one.out_of_step)
    assert "OUT OF STEP" in loud.line() and loud.line().endswith(f"label_offset_frames={round(loud.offset)}")
    assert loud.low <= loud.offset <= loud.high


def test_the_advice_counts_the_present_offset_and_names_one_only_where_it_mends():
    late = Synchrony((), True, 2.2, 1.8, 2.6, present=5)
    assert late.line().endswith("correct it with label_offset_frames=7")
    stepped = replace(late, steps=((12.0, 0.0, 6.0),))
    assert stepped.line().endswith("no one offset mends this: find the frames that were dropped there")
    drifting = Synchrony((), True, 0.2, -0.1, 0.5, drift=9.0)
    assert drifting.line().endswith("no one offset mends this: number the rows anew by the times of the frames")


def test_an_offset_that_may_be_large_is_not_called_in_step():
    near = Synchrony((), True, 0.4, -1.0, 2.0)
    assert near.line().startswith("video and labels are in step")
    assert "cannot tell how well they are in step" in replace(near, low=-7.4, high=25.8).line()


@pytest.mark.parametrize("apart", [2, 3])
def test_labels_sparser_than_the_video_are_found_as_well(drives, apart):
    track, seen = drives[0]
    rows = late(track, np.full(len(seen), 6))
    rows = Rows(*(part[::apart] for part in (rows.frame, rows.angles_deg, rows.blink, rows.fixation)), True, False)
    told = synchrony.compare(Trace(rows, np.arange(len(seen)), seen), FPS, NOTHING)
    assert all(sign.is_clear for sign in told.signs)
    assert told.out_of_step and told.offset == pytest.approx(6, abs=1)


def test_nothing_is_said_of_labels_in_step(drives):
    told = [found(*drive, 0) for drive in drives]
    assert not any(one.out_of_step for one in told)
    assert any("are in step" in one.line() for one in told)


def test_a_clock_that_loses_a_two_thousandth_is_found_with_its_drift():
    seconds, lost = 240.0, 5e-4
    track = glances.track(seconds, FPS, 0)
    rows = late(track, np.round(lost * np.arange(len(track.seconds))).astype(np.int64))
    shown = stretches(rows, len(track.seconds))  # as a prepared folder has them: a stretch of each tenth
    part = glances.Track(*(getattr(track, field.name)[shown] for field in fields(track)))
    told = synchrony.compare(Trace(rows, shown, pictures(part, 0)), FPS, NOTHING)
    whole = lost * seconds * FPS
    assert told.offset == pytest.approx(whole / 2, abs=1)
    assert told.drift == pytest.approx(whole, abs=1)
    assert told.out_of_step and "the offset drifts by +" in told.line() and "number the rows anew" in told.line()


def test_labels_of_another_drive_are_no_offset(drives):
    (_, seen), (track, _) = drives[:2]
    told = found(track, seen, 0)
    assert not told.agreed
    assert "cannot tell" in told.line()


def test_without_blinks_one_sign_says_nothing_alone(drives):
    assert not found(*drives[0], 6, blinks=False).agreed


def test_answers_stand_by_the_eyes_with_a_heads_lag_of_doubt(drives):
    track, seen = drives[1]
    frames = np.arange(20, len(seen) - 20, 3)
    rows = late(track, np.full(len(seen), 18), blinks=False)
    answers = {"answers": Answers(frames, track.gaze[frames], frames // 60)}
    told = synchrony.compare(Trace(rows, np.arange(len(seen)), seen), FPS, NOTHING, answers)
    sign = next(one for one in told.signs if one.name == "answers")
    assert sign.offset == pytest.approx(18, abs=0.5)
    assert told.agreed and abs(told.offset - 18) <= 4
    assert told.high - told.low >= 2 * 9  # who follows the head, or leads with it, may be so far off


def test_test_blocks_are_not_looked_at(drives):
    track, seen = drives[0]
    noise = np.random.default_rng(0).integers(0, 255, (300, SIDE, SIDE), np.uint8)
    spoilt = np.concatenate([seen[:600], noise, seen[900:]])
    trace = [Trace(late(track, np.full(len(seen), 5)), np.arange(len(seen)), one) for one in (seen, spoilt)]
    whole, without = (synchrony.compare(one, FPS, np.array([[20.0, 30.0]])) for one in trace)
    assert [sign.offset for sign in whole.signs] == pytest.approx([sign.offset for sign in without.signs], abs=0.2)


def test_a_trace_that_is_too_short_or_empty_cannot_tell(drives):
    track, seen = drives[0]
    short = Trace(late(track, np.zeros(len(seen), np.int64)), np.arange(90), seen[:90])
    assert "cannot tell" in synchrony.compare(short, FPS, NOTHING).line()
    empty = Trace(short.rows, np.zeros(0, np.int64), np.zeros((0, SIDE, SIDE), np.uint8))
    assert "cannot tell" in synchrony.compare(empty, FPS, NOTHING).line()
