"""The rendered sample drive as files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from recording import drive, labels, layouts
from recording.exceptions import InputError
from training.sample import sample_drive
from training.sample.rendering import glances

SECONDS = 4.0


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> tuple[Path, Path]:
    return sample_drive.render(tmp_path_factory.mktemp("drive"), seed=3, seconds=SECONDS)


def _pictures(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_video_has_the_dashgaze_layout(rendered):
    pictures = _pictures(rendered[0])
    assert len(pictures) == round(SECONDS * sample_drive.FPS)
    height, width, _ = pictures[0].shape
    views = layouts.views_for("dashgaze", width, height)
    assert set(views) == {"driver", "road", "camera"}
    for view in views.values():  # every view shows something
        assert pictures[0][view.y : view.y + view.h, view.x : view.x + view.w].std() > 15


def test_frame_of_a_row_is_the_picture_of_that_row(rendered):
    # What the file holds as frame n is what the scene draws for row n of the track (up to compression).
    scene = sample_drive.Scene(seed=3, seconds=SECONDS)
    pictures = _pictures(rendered[0])
    for number in (0, len(pictures) // 2, len(pictures) - 1):
        drawn = scene.frame(number).astype(float)
        errors = [np.abs(picture - drawn).mean() for picture in pictures]
        assert int(np.argmin(errors)) == number
        assert errors[number] < 6.0


def test_second_call_finds_the_drive(rendered):
    before = [path.stat().st_mtime_ns for path in rendered]
    again = sample_drive.render(rendered[0].parent.parent, seed=3, seconds=SECONDS)
    assert again == rendered
    assert [path.stat().st_mtime_ns for path in again] == before


def test_same_seed_same_drive_other_seed_other_drive(rendered, tmp_path):
    again = sample_drive.render(tmp_path, seed=3, seconds=SECONDS)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in rendered]
    # As drawn too, by any number of threads.
    scenes = [sample_drive.Scene(seed=3, seconds=SECONDS) for _ in range(2)]
    drawn = [scenes[0].frame(5), list(sample_drive._frames(scenes[1]))[5]]
    assert np.array_equal(*drawn)
    other = glances.track(SECONDS, sample_drive.FPS, seed=4)
    assert sample_drive.labels_text(other, 4) != rendered[1].read_text()


def test_drive_is_marked_as_rendered(rendered):
    mark = json.loads((rendered[0].parent / sample_drive.MARK).read_text())
    assert mark["name"] == "rendered sample drive"
    assert mark["seed"] == 3
    assert drive.read(*rendered).rendered


def test_labels_have_the_blemishes_of_real_exports(tmp_path):
    # Each of them must be there for the reader of recordings to be exercised by the default job.
    path = tmp_path / "drive.csv"
    frames = round(sample_drive.SECONDS * sample_drive.FPS)
    path.write_text(sample_drive.labels_text(glances.track(sample_drive.SECONDS, sample_drive.FPS, 0), 0))
    read = labels.read(path, frames)
    reasons = {
        labels.MALFORMED, labels.BAD_FRAME, labels.PAST_END, labels.NOT_WORN, labels.BLINK, labels.BLANK_ANGLE,
        labels.DUPLICATE,
    }  # fmt: skip
    assert reasons <= set(read.dropped)
    assert len(read.table) >= 1000  # enough for the samples=1000 of the README


def test_measured_angles_are_those_of_the_track():
    # The tracker's noise is a fraction of a degree, unbiased, in the convention of the CSV.
    track = glances.track(60.0, sample_drive.FPS, 0)
    rows = [line.split(",") for line in sample_drive.labels_text(track, 0).splitlines()[1:]]
    whole = [row for row in rows if len(row) == len(sample_drive.COLUMNS) and row[3].isdigit() and row[7]]
    whole = [row for row in whole if int(row[3]) < len(track.seconds)]
    error = np.array([[float(row[7]), float(row[8])] - track.gaze[int(row[3])] for row in whole])
    error[:, 1] += sample_drive.TRACKER_TILT_DEG  # elevation counts from the tracker's own zero
    assert np.abs(error).mean() < 3 * sample_drive.TRACKER_NOISE_DEG
    assert np.abs(error.mean(axis=0)).max() < sample_drive.TRACKER_NOISE_DEG


def test_killed_rendering_leaves_no_drive(tmp_path):
    # kill -9 in the middle: the folder of the drive must not exist, and the next call renders it whole.
    code = (
        "from pathlib import Path; from training.sample import sample_drive; "
        f"sample_drive.render(Path({str(tmp_path)!r}), 0, 600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob(".partial-*/sample_drive.mp4")):
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".partial-*"))
    assert not list(tmp_path.glob("sample-drive-*"))
    video, _ = sample_drive.render(tmp_path, seed=1, seconds=2.0)
    assert len(_pictures(video)) == 2 * sample_drive.FPS


@pytest.mark.parametrize("seconds", [0.0, -3.0, 1e6, float("nan")])
def test_impossible_length_is_refused(tmp_path, seconds):
    with pytest.raises(InputError, match="seconds"):
        sample_drive.render(tmp_path, seconds=seconds)


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        sample_drive.render(tmp_path / "file" / "drive", seconds=2.0)
