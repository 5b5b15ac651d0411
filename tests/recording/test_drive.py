"""A drive is a video and the labels that belong to it; samples are spread evenly over what is usable."""

import json
from pathlib import Path

import numpy as np
import pytest

from recording import drive as drives
from recording.exceptions import DriveError, InputError
from tests import recordings


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.video(tmp_path_factory.mktemp("drive") / "v.mp4", 120, recordings.COMPOSITE)


def read(video: Path, tmp_path: Path, rows, more=()) -> drives.Drive:
    return drives.read(drives.Source(video, recordings.labels(tmp_path / "l.csv", rows, more)))


def test_samples_are_evenly_spaced_over_usable_rows_with_first_and_last(video: Path, tmp_path: Path) -> None:
    rows = [n for n in range(120) if not 40 <= n < 80]  # a gap in the labels is no gap in the samples
    drive = read(video, tmp_path, rows)
    picked = drives.pick(drive, 9)["frame"].tolist()
    assert picked[0] == 0
    assert picked[-1] == 119
    assert set(np.diff([rows.index(frame) for frame in picked])) <= {9, 10, 11}
    assert drives.pick(drive, 80)["frame"].tolist() == rows
    assert drives.pick(drive, 1000)["frame"].tolist() == rows


def test_one_sample_is_the_first(video: Path, tmp_path: Path) -> None:
    assert drives.pick(read(video, tmp_path, range(5, 120)), 1)["frame"].tolist() == [5]


@pytest.mark.parametrize("samples", [0, -3, "0", "abc", "1.5", "", None, 2.5])
def test_samples_that_are_no_positive_number_are_refused(samples: object) -> None:
    with pytest.raises(InputError, match="samples="):
        drives.sample_count(samples)


@pytest.mark.parametrize("samples", [500, "500", " 500 "])
def test_samples_may_come_as_text(samples: object) -> None:
    assert drives.sample_count(samples) == 500


def test_labels_of_another_video_are_told_by_their_frames(video: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=r"no overlap: .*l\.csv name frames 120 to 129, .*v\.mp4 has frames 0 to 119"):
        read(video, tmp_path, range(120, 130))


def test_labels_without_a_usable_row_say_why(video: Path, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=r"none of 3 rows is usable \(1 not worn, 2 blank angle\)"):
        read(video, tmp_path, [], ["1,1,,2,True,", "1,2,,2,True,", "1,3,1,2,False,"])
    with pytest.raises(DriveError, match="has no rows below its header"):
        read(video, tmp_path, [])


def test_a_video_whose_size_fits_no_layout_is_named(tmp_path: Path) -> None:
    square = recordings.video(tmp_path / "square.mp4", 3, (128, 128))
    with pytest.raises(InputError, match=r"square\.mp4: 128x128 pixels fit no variant of layout dashgaze"):
        read(square, tmp_path, range(3))


def test_only_a_video_with_the_mark_beside_it_is_the_rendered_one(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 3, recordings.COMPOSITE)
    drive = read(video, tmp_path, range(3))
    assert (drive.rendered, drive.name) == (False, "v")
    (tmp_path / "rendered.json").write_text(json.dumps({}))
    drive = read(video, tmp_path, range(3))
    assert (drive.rendered, drive.name) == (True, "rendered sample drive")


def test_the_recording_is_known_by_its_content(video: Path, tmp_path: Path) -> None:
    first = drives.digests(read(video, tmp_path, range(120)))
    copy = tmp_path / "other.mp4"
    copy.write_bytes(video.read_bytes())
    assert drives.digests(drives.read(drives.Source(copy, recordings.labels(tmp_path / "m.csv", range(120))))) == first
    assert drives.digests(read(video, tmp_path, range(119)))[2] != first[2]


def test_rows_beside_a_blink_are_left_out_by_the_times_of_the_pictures(tmp_path: Path) -> None:
    """Of a recording that paused for an hour as many as of one that did not: its mean rate says nothing."""
    blinks = [f"{1000 + 33 * frame},{frame},0,0,True,1" for frame in (20, 80)]
    rows = [frame for frame in range(120) if frame not in (20, 80)]
    dropped = {}
    for name, pause in (("steady", 0), ("paused", 3_600_000)):
        times = [33 * frame + pause * (frame >= 50) for frame in range(120)]
        film = recordings.video(tmp_path / f"{name}.mkv", 120, recordings.COMPOSITE, times_ms=times)
        dropped[name] = read(film, tmp_path, rows, blinks).labels.dropped
    assert dropped["paused"] == dropped["steady"]
    assert dropped["steady"]["beside a blink"] > 4
