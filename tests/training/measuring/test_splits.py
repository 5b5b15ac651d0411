"""Splits: blocks of time, gaps, the same blocks for every sampling of one drive."""

import json
from pathlib import Path

import drives
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recording import preparation, recordings
from recording.drive import Source
from recording.exceptions import InputError
from training.measuring import splits

FPS = 30.0


def evenly(samples: int, seconds: float) -> np.ndarray:
    return np.linspace(0, seconds * FPS, samples).astype(int)


@given(samples=st.integers(150, 1500), seconds=st.floats(150, 1500))
@settings(max_examples=60, deadline=None)
def test_no_training_frame_is_a_near_copy_of_a_held_out_one(samples, seconds):
    frames = evenly(samples, seconds)
    split = splits.blocks(frames, FPS)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        apart = np.abs(frames[getattr(split, one)][:, None] - frames[getattr(split, other)][None])
        assert apart.min() >= splits.MIN_GAP_S * FPS


@given(samples=st.integers(200, 1200), seconds=st.floats(200, 900))
@settings(max_examples=40, deadline=None)
def test_parts_are_disjoint_and_of_a_useful_size(samples, seconds):
    split = splits.blocks(evenly(samples, seconds), FPS)
    together = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(together)) == len(together)
    assert len(split.train) > 0.4 * samples
    assert 0.1 * samples < len(split.test) < 0.2 * samples


def test_every_tenth_of_a_long_drive_has_a_test_block():
    split = splits.blocks(evenly(1000, 600), FPS)
    assert set(split.scenario[split.test]) == set(range(1, 11))
    assert len(np.unique(split.block[split.test])) == 10


def test_blocks_lie_in_time_where_the_rate_changes():
    """A camera that takes 30 pictures a second by day and 10 in the dark: gaps are seconds, not numbers of frames."""
    seconds = np.concatenate([np.arange(0, 120, 1 / 30), np.arange(120, 360, 1 / 10)])
    frames = np.arange(len(seconds))
    fps = (len(seconds) - 1) / seconds[-1]
    split = splits.split("blocks", frames, fps, np.zeros(len(frames), int), 0, seconds)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        apart = np.abs(seconds[getattr(split, one)][:, None] - seconds[getattr(split, other)][None])
        assert apart.min() >= splits.MIN_GAP_S - 1e-6
    late = seconds[split.test] >= 120
    assert np.isclose((late / 10 + ~late / 30).sum(), splits.TEST_SHARE * 360, rtol=0.05)


@given(samples=st.integers(150, 400), seconds=st.floats(150, 900), fps=st.sampled_from([25, 30, 30000 / 1001]))
@settings(max_examples=30, deadline=None)
def test_times_of_a_constant_rate_change_nothing(samples, seconds, fps):
    frames = 7 + np.linspace(0, seconds * fps, samples).astype(int)
    counted, timed = splits.blocks(frames, fps), splits.blocks(frames, fps, (frames / fps).round(6))
    for part in ("train", "validation", "test", "block"):
        np.testing.assert_array_equal(getattr(counted, part), getattr(timed, part))


def test_blocks_do_not_move_with_the_number_of_samples():
    """Versions trained on 300 and on 1000 samples of one drive must not test on each other's training frames."""
    few, many = evenly(300, 600), evenly(1000, 600)
    tested = few[splits.blocks(few, FPS).test]
    trained = many[splits.blocks(many, FPS).train]
    assert np.abs(tested[:, None] - trained[None]).min() >= 0.9 * splits.MIN_GAP_S * FPS


@pytest.fixture(scope="module")
def minute(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A video of 60 s, in which five test blocks have just room, and its labels as a table."""
    folder = tmp_path_factory.mktemp("minute")
    video, _ = drives.recording(folder, seconds=60, share=0.4)
    track = drives.gaze_track(600, 10)
    labels = pd.DataFrame({"dash_frames": range(600), "azimuth [deg]": track[:, 0], "elevation [deg]": track[:, 1]})
    return video, labels


def parts_by_frame(video: Path, labels: pd.DataFrame, samples: int, into: Path, **read) -> dict[int, tuple[str, int]]:
    """Of each sample's frame the part and the time block that it is in."""
    into.mkdir(parents=True)
    labels.to_csv(into / "labels.csv", index=False)
    source = Source(video, into / "labels.csv", **read)
    data = recordings.load((preparation.prepare(source, samples, into / "prepared", face_asked="none"),))
    split = splits.of("blocks", data)
    part = np.full(len(data), "gap", dtype="U10")
    for name in ("train", "validation", "test"):
        part[getattr(split, name)] = name
    return dict(zip(data.frames.tolist(), zip(part.tolist(), split.block.tolist(), strict=True), strict=True))


def test_blocks_do_not_move_with_the_samples_that_are_picked(minute, tmp_path):
    """100 and 200 samples leave out the saccades that the drive begins and ends in, 600 need their rows."""
    video, labels = minute
    labels = labels.assign(**{"fixation id": [np.nan if n < 12 or n >= 585 else 1 + n // 8 for n in range(600)]})
    every = parts_by_frame(video, labels, 600, tmp_path / "600")
    assert (min(every), max(every)) == (0, 599)
    assert len({block for part, block in every.values() if part == "test"}) == 5
    for samples in (100, 200):
        found = parts_by_frame(video, labels, samples, tmp_path / str(samples))
        assert min(found) == 12 and max(found) == 584
        assert found == {frame: every[frame] for frame in found}


def test_blocks_do_not_move_with_rows_that_are_left_out_at_the_ends(minute, tmp_path):
    video, labels = minute
    every = parts_by_frame(video, labels, 600, tmp_path / "whole")
    blank = labels.mask((labels["dash_frames"] < 9) | (labels["dash_frames"] > 588))
    for name, left, read in (
        ("blank", blank.assign(dash_frames=labels["dash_frames"]), {}),
        ("cut off", labels[15:590], {}),
        ("late", labels, {"label_offset_frames": 5.0}),
    ):
        found = parts_by_frame(video, left, 200, tmp_path / name, **read)
        assert found == {frame: every[frame] for frame in found}, name


def test_the_blocks_lie_in_the_part_of_the_film_that_has_labels(minute, tmp_path):
    video, labels = minute
    found = parts_by_frame(video, labels[200:], 200, tmp_path / "late")
    assert min(found) == 200
    alone = splits.blocks(np.array(sorted(found)), 10.0)
    assert [part for part, _ in found.values()].count("test") == len(alone.test)


def test_a_folder_that_does_not_say_how_long_its_drive_is_keeps_the_span_of_its_samples(minute, tmp_path):
    video, labels = minute
    parts_by_frame(video, labels, 200, tmp_path / "new")
    folder = tmp_path / "new" / "prepared"
    said = json.loads((folder / "drive.json").read_text())
    assert said.pop("span") == {"frames": [0, 599], "seconds": [0.0, 59.9]}
    (folder / "drive.json").write_text(json.dumps(said))
    data = recordings.load((folder,))
    assert data.drives[0].span is None
    before = splits.blocks(data.frames, data.drives[0].fps, data.seconds)
    assert splits.of("blocks", data).digest() == before.digest()


@given(samples=st.integers(150, 1500), seconds=st.floats(75, 1500))
@settings(max_examples=40, deadline=None)
def test_the_final_training_takes_all_but_the_test_blocks_and_their_gaps(samples, seconds):
    frames = evenly(samples, seconds)
    split = splits.blocks(frames, FPS)
    assert np.abs(frames[split.final][:, None] - frames[split.test][None]).min() >= splits.MIN_GAP_S * FPS
    assert set(split.train) | set(split.validation) <= set(split.final)
    # What is left out lies in a test block or within a gap of one, and nowhere else.
    left_out = np.setdiff1d(np.arange(samples), split.final)
    apart = np.abs(frames[left_out][:, None] - frames[split.test][None]).min(axis=1)
    assert apart.max() <= splits.GAP_S * FPS + (np.diff(frames).max() if samples > 1 else 0)


def test_of_a_drive_of_80_s_three_quarters_train_the_registered_model():
    # At 30 frames a second, all frames and 800 of them; five test blocks are what an interval needs.
    for samples in (2400, 800):
        split = splits.blocks(evenly(samples, 80), FPS)
        assert len(split.train) > 0.5 * samples
        assert len(split.final) >= 0.75 * samples
        assert len(np.unique(split.block[split.test])) == 5


@pytest.mark.parametrize(("seconds", "blocks"), [(59, 4), (60, 5), (71, 5), (95, 5), (112, 7), (200, 10), (600, 10)])
def test_a_drive_has_enough_test_blocks_for_an_interval_from_a_minute_on(seconds, blocks):
    frames = np.arange(round(seconds * FPS))
    split = splits.blocks(frames, FPS)
    assert len(np.unique(split.block[split.test])) == blocks
    assert len(split.test) > 0.11 * len(frames)


def test_random_split_is_marked_as_leaking_and_depends_on_the_seed():
    one, other = splits.random(evenly(200, 100), 0), splits.random(evenly(200, 100), 1)
    assert one.leaking and "LEAKING" in one.describe()
    assert not np.array_equal(one.test, other.test)
    assert not splits.blocks(evenly(200, 100), FPS).leaking


def test_by_drive_keeps_whole_drives_apart():
    drives = np.repeat([0, 1, 2, 3], 20)
    split = splits.by_drive(np.tile(np.arange(20), 4), drives)
    assert set(drives[split.train]) == {0, 1}
    assert set(drives[split.validation]) == {2}
    assert set(drives[split.test]) == {3}


@pytest.mark.parametrize(
    ("name", "drives", "says"),
    [
        ("blocks", np.repeat([0, 1], 50), "split=by-drive"),
        ("by-drive", np.repeat([0, 1], 50), "at least 3"),
        ("weekly", np.zeros(100, int), "blocks, random, by-drive"),
    ],
)
def test_impossible_splits_say_what_to_do(name, drives, says):
    with pytest.raises(InputError, match=says):
        splits.split(name, np.arange(100) * 30, FPS, drives, 0)


def test_too_short_a_recording_is_refused_by_the_part_that_is_empty():
    with pytest.raises(InputError, match=r"fall into the .* part"):
        splits.blocks(np.arange(20) * 3, FPS)


def test_a_study_is_of_its_split_not_of_its_name():
    frames = np.arange(0, 3000, 3)
    one, same, other = (splits.split("blocks", frames[: 900 + k], 30.0, np.zeros(900 + k, int), 0) for k in (0, 0, 50))
    assert one.digest() == same.digest() != other.digest()
    assert one.digest().startswith("blocks ")


def test_drives_of_one_driver_are_in_one_part_wherever_they_are_in_the_list():
    drives = np.repeat(np.arange(6), 20)
    drivers = np.array([0, 1, 2, 0, 3, 2])[drives]  # the last drive is the third driver's
    found = splits.split("by-driver", np.tile(np.arange(20), 6), 5.0, drives, 0, drivers=drivers)
    parts = {"train": found.train, "validation": found.validation, "test": found.test}
    assert {name: np.unique(drivers[part]).tolist() for name, part in parts.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }
    assert not found.leaking
    assert sorted(found.final) == sorted([*found.train, *found.validation])  # as by-drive
    assert len(np.unique(found.block[found.test])) == 10


def test_of_ten_drivers_two_test_and_two_validate():
    drives = np.repeat(np.arange(10), 5)
    found = splits.by_driver(np.tile(np.arange(5), 10), drives, drives)
    assert np.unique(drives[found.test]).tolist() == [8, 9]
    assert np.unique(drives[found.validation]).tolist() == [6, 7]


def test_what_auto_means():
    assert splits.chosen("auto", 1, 1, listed=True) == splits.chosen("auto", 1, 1, listed=False) == "blocks"
    assert splits.chosen("auto", 3, 3, listed=False) == "blocks"  # data=A,B,C as before: refused with by-drive named
    assert splits.chosen("auto", 6, 4, listed=True) == "by-driver"
    assert splits.chosen("auto", 6, 1, listed=True) == "by-drive"
    assert splits.chosen("by-drive", 6, 4, listed=True) == "by-drive"
    with pytest.raises(InputError, match="by-driver: 1 driver given, at least 3 are needed"):
        splits.chosen("by-driver", 6, 1, listed=True)
    with pytest.raises(InputError, match="by-driver: 2 drivers given"):
        splits.chosen("auto", 6, 2, listed=True)


def test_a_balanced_share_draws_every_drive_equally_often_and_equal_drives_need_none():
    share = splits.balanced(np.array([3, 3, 3, 7]))
    assert share.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert splits.balanced(np.array([3, 7, 7, 3])) is None
