"""An eye tracker's own CSV has times and no frames: they are joined to the video by a table of frame times."""

from pathlib import Path

import numpy as np
import pytest

from recording import drive, labels
from recording.exceptions import DriveError
from tests import recordings

START, STEP = 1_700_000_000_000_000_007, 33_333_333
HEADER = (
    "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn,fixation id,blink id,"
    "azimuth [deg],elevation [deg]"
)


def gaze_csv(path: Path, times: np.ndarray) -> Path:
    rows = [f"s,r,{time},800.1,600.2,1.0,,,{n / 10 - 30},{n % 7 / 10}" for n, time in enumerate(times)]
    path.write_text("\n".join([HEADER, *rows]))
    return path


def frame_csv(folder: Path, times: np.ndarray) -> None:
    (folder / "frame_times.csv").write_text("timestamp [ns]\n" + "\n".join(map(str, times)))


def test_a_raw_export_says_how_rows_are_joined_to_frames(tmp_path: Path) -> None:
    path = gaze_csv(tmp_path / "gaze.csv", START + 5_000_000 * np.arange(50))
    with pytest.raises(DriveError, match=r"joined to video frames by time. Put frame_times\.csv beside it") as caught:
        labels.read(path, 100)
    assert "\n" not in str(caught.value)


# Renamed to frames, seconds would give each row the picture of another moment.
@pytest.mark.parametrize("column", ["time [s]", "Timestamp", "t_ms", "recordingTime", "seconds", "t", "UTC"])
def test_a_column_of_times_is_not_to_be_renamed(tmp_path: Path, column: str) -> None:
    path = tmp_path / "sensors.csv"
    path.write_text(f"{column},azimuth [deg],elevation [deg]\n0.1,1,2\n")
    with pytest.raises(DriveError, match=r"no column 'dash_frames'.* do not rename it, .* frame_times\.csv") as caught:
        labels.read(path, 100)
    assert repr(column) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["frame", "Dash Frames", "fixations", "n", "sometimes"])
def test_a_column_that_may_hold_frames_may_be_renamed(tmp_path: Path, column: str) -> None:
    path = tmp_path / "sensors.csv"
    path.write_text(f"{column},azimuth [deg],elevation [deg]\n0,1,2\n")
    with pytest.raises(DriveError, match=r"no column 'dash_frames'.* rename the columns"):
        labels.read(path, 100)


# Several columns: a count of frames under another name stands beside the times.
def test_beside_times_a_column_of_frames_is_the_one_to_rename(tmp_path: Path) -> None:
    path = tmp_path / "sensors.csv"
    path.write_text("time [s],frame,azimuth [deg],elevation [deg]\n0.1,3,1,2\n")
    with pytest.raises(DriveError, match="rename the columns"):
        labels.read(path, 100)


def test_rows_get_the_nearest_frame(tmp_path: Path) -> None:
    frame_csv(tmp_path, START + STEP * np.arange(30))
    # 200 a second; the first second is before the video, the last after it.
    times = START - 10**9 + 5_000_000 * np.arange(600)
    read = labels.read(gaze_csv(tmp_path / "gaze.csv", times), 30)
    nearest = np.round((times - START) / STEP).astype(int)
    assert read.table["frame"].tolist() == list(range(30))
    assert read.table["azimuth_deg"].tolist() == pytest.approx(
        [np.median(np.flatnonzero(nearest == frame) / 10 - 30) for frame in range(30)]
    )
    assert read.dropped["no frame at that time"] == pytest.approx(400, abs=2)
    assert "frames found by time in frame_times.csv" in read.summary()


def test_rows_found_by_time_are_taken_for_a_part_of_a_frame_earlier(tmp_path: Path) -> None:
    frame_csv(tmp_path, START + STEP * np.arange(30))
    path = gaze_csv(tmp_path / "gaze.csv", START + STEP // 4 + STEP * np.arange(30))
    assert labels.read(path, 30, offset_frames=0.5).table["frame"].tolist() == list(range(30))
    assert labels.read(path, 30, offset_frames=1.5).table["frame"].tolist() == list(range(29))


def test_a_gap_between_frames_has_no_rows(tmp_path: Path) -> None:
    frame_csv(tmp_path, np.delete(START + STEP * np.arange(30), range(10, 20)))
    read = labels.read(gaze_csv(tmp_path / "gaze.csv", START + STEP * np.arange(30)), 20)
    assert read.table["frame"].tolist() == list(range(20))
    assert read.table["azimuth_deg"].tolist() == [n / 10 - 30 for n in [*range(10), *range(20, 30)]]
    assert read.dropped == {"no frame at that time": 10}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("time\n1\n2\n", r"frame_times\.csv: no column 'timestamp \[ns\]'"),
        ("timestamp [ns]\n5\n", "1 rows; write one row per video frame"),
        ("timestamp [ns]\n5\n9\n7\n", "frame 2 is not later than the one before"),
        ("timestamp [ns]\n5\nlate\n", "line 3 has no time"),
        ("timestamp [ns]\n5\n7\n7\n", r"frame 2 is not later than the one before \(both 7\); write all digits"),
    ],
)
def test_a_table_of_frame_times_that_cannot_be_one_is_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "frame_times.csv").write_text(content)
    with pytest.raises(DriveError, match=says):
        labels.read(gaze_csv(tmp_path / "gaze.csv", START + STEP * np.arange(10)))


@pytest.mark.parametrize("rows", [15, 27, 33, 60])
def test_a_table_of_frame_times_of_another_video_is_refused(rows: int, tmp_path: Path) -> None:
    frame_csv(tmp_path, START + STEP * np.arange(rows))
    path = gaze_csv(tmp_path / "gaze.csv", START + STEP * np.arange(30))
    with pytest.raises(
        DriveError, match=rf"frame_times\.csv: {rows} rows for the 30 frames .* from its first frame on"
    ):
        labels.read(path, 30)
    assert len(labels.read(path).table) == min(rows, 30)


@pytest.mark.parametrize("rows", [28, 31, 32])
def test_one_or_two_frame_times_more_or_fewer_are_the_last_ones(rows: int, tmp_path: Path) -> None:
    frame_csv(tmp_path, START + STEP * np.arange(rows))
    read = labels.read(gaze_csv(tmp_path / "gaze.csv", START + STEP * np.arange(30)), 30)
    assert read.table["frame"].tolist() == list(range(min(rows, 30)))


@pytest.mark.parametrize("form", ["{:.2E}", "{:.9E}"])
def test_times_that_a_spreadsheet_rounded_are_refused(form: str, tmp_path: Path) -> None:
    frame_csv(tmp_path, START + STEP * np.arange(30))
    path = gaze_csv(tmp_path / "gaze.csv", np.array([form.format(START + 5_000_000 * k) for k in range(200)]))
    with pytest.raises(
        DriveError, match=r"200 rows have only [12] different times \('timestamp \[ns\]' is '1\.7.*line 2\)"
    ):
        labels.read(path, 30)
    eyes = gaze_csv(tmp_path / "gaze.csv", START + 5_000_000 * (np.arange(200) // 2))
    assert len(labels.read(eyes, 30).table) == 16


def test_the_table_of_frame_times_is_part_of_the_recordings_identity(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 30)
    path = gaze_csv(tmp_path / "gaze.csv", START + STEP * np.arange(30))
    digests = []
    for shift in (0, STEP):
        frame_csv(tmp_path, START + shift + STEP * np.arange(30))
        digests.append(drive.digests(drive.read(drive.Source(video, path, "driver")))[1:])
    assert digests[0][0] != digests[1][0] and digests[0][1] != digests[1][1]
