"""Frame numbers that number something else than the frames of the video, or are rounded, are shown by their pattern."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from recording import labels
from recording.exceptions import DriveError
from tests import recordings


def write(path: Path, numbers: Iterable[object]) -> Path:
    rows = (f"{number},{','.join(map(str, recordings.angles(row)))}" for row, number in enumerate(numbers))
    path.write_text("\n".join(["dash_frames,azimuth [deg],elevation [deg]", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ([round(n * 1000 / 30) for n in range(120)], r"0 to 3967 of a video of 120 .* 33 apart, as .* milliseconds"),
        ([5 * n for n in range(800)], "usually 5 apart, as where they count milliseconds"),
        ([round(n * 1e6 / 30) for n in range(120)], "as where they count microseconds"),
        ([n * 33_333_333 for n in range(120)], "as where they count nanoseconds"),
        ([2 * n for n in range(120)], r"0 to 238 of .* 50% of the numbers .* a film with 2 times as many frames"),
        ([2 * n for n in range(5, 115) if n % 9], "a film with 2 times as many frames"),
    ],
    ids=["milliseconds", "milliseconds of a tracker", "microseconds", "nanoseconds", "60 fps", "60 fps with gaps"],
)
def test_numbers_of_another_clock_are_refused(numbers: list[int], says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", numbers)
    with pytest.raises(DriveError, match=says) as caught:
        labels.read(path, 120, seconds=np.arange(120) / 30)
    assert "\n" not in str(caught.value)
    assert len(labels.read(path, 120, "drop", np.arange(120) / 30).table)


@pytest.mark.parametrize(
    ("numbers", "usable"),
    [
        (range(0, 120, 2), 60),
        (range(0, 120, 33), 4),
        (range(0, 140, 2), 60),
        (range(140), 120),
        ([n for n in range(130) for _ in range(7)], 120),
        ([n for n in range(100) if n % 5], 80),
    ],
    ids=["every 2nd", "every 33rd", "every 2nd, goes on", "goes on", "200 Hz, goes on", "gaps"],
)
def test_sparse_numbers_and_those_that_go_on_after_the_video_are_read_without_a_word(
    numbers: Iterable[int], usable: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read = labels.read(write(tmp_path / "l.csv", numbers), 120)
    assert len(read.table) == usable
    assert not caplog.messages


def test_one_number_for_each_frame_that_skips_some_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels.read(write(tmp_path / "l.csv", [int(n * 30 / 25) for n in range(500)]), 500)
    assert "written at another rate of frames" in caplog.text


@pytest.mark.parametrize("numbers", [range(240), range(0, 600, 2)], ids=["every", "every 2nd"])
def test_a_video_that_was_cut_at_its_end_is_read_and_said(
    numbers: range, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read = labels.read(write(tmp_path / "l.csv", numbers), 120, seconds=np.arange(120) / 30)
    assert len(read.table) == len(range(0, 120, numbers.step))
    assert "past its end and left out, which is right where the video was cut there" in caplog.text


def test_numbers_from_one_are_said_with_the_offset_that_sets_them_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "l.csv", range(1, 121))
    assert len(labels.read(path, 120).table) == 119
    assert "names frames 1 to 120 of a video of 120 (0 to 119): numbered from 1?" in caplog.text
    assert "label_offset_frames=1 sets it right" in caplog.text
    caplog.clear()
    table = labels.read(path, 120, offset_frames=1).table
    assert not caplog.messages
    assert table[["azimuth_deg", "elevation_deg"]].to_numpy().tolist() == [[*recordings.angles(n)] for n in range(120)]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([f"{n:.2E}" for n in range(1000, 1500)], "500 frame numbers are rounded .*'1.00E.03' in line 2"),
        ([f"{n:.2E}".replace(".", ",").join('""') for n in range(1000, 1500)], "'1,00E.03'"),
        ([f"{n:.5g}" for n in range(99_000, 101_000)], "1000 frame numbers are rounded .*'1e.05' in line 1002"),
        ([f"{n:.1E}" for n in range(900)], "'1.0E.02' in line 102"),
    ],
)
def test_rounded_frame_numbers_are_refused(numbers: list[str], shown: str, tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=shown):
        labels.read(write(tmp_path / "l.csv", numbers), 200_000)


@pytest.mark.parametrize(
    "numbers",
    [
        [f"{n:.18e}" for n in range(1000, 1500)],
        [f"{n:.3E}" for n in range(1000, 1500)],
        ["1e+05" if n == 100_000 else n for n in range(99_900, 100_100) for _ in range(7)],
        ["1e+05", "2e+05", 300_000],
    ],
    ids=["NumPy", "enough digits", "R", "few"],
)
def test_powers_of_ten_that_are_exact_are_read(numbers: list[object], tmp_path: Path) -> None:
    read = labels.read(write(tmp_path / "l.csv", numbers), 400_000)
    assert read.table["frame"].tolist() == sorted({int(float(number)) for number in numbers})


def timed(
    path: Path, numbers: np.ndarray, times: np.ndarray, column: str = "timestamp [ns]", tick: float = 1e-9
) -> Path:
    random = np.random.default_rng(0)
    rows = [
        f"{number},{round(17e8 / tick + time / tick)},{azimuth:.2f},{azimuth / 3:.2f}"
        for number, time, azimuth in zip(numbers, times, np.cumsum(random.normal(0, 0.4, len(times))), strict=True)
    ]
    path.write_text("\n".join([f"dash_frames,{column},azimuth [deg],elevation [deg]", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("column", "tick"), [("timestamp [ns]", 1e-9), ("time [ms]", 1e-3)])
@pytest.mark.parametrize(
    ("hertz", "counted", "shown"),
    [(200, 60, 30), (50, 60, 30), (200, 30, 60), (200, 30, 25), (200, 50, 60), (30, 25, 30)],
)
def test_numbers_of_a_film_with_another_rate_are_known_by_their_times(
    hertz: int, counted: int, shown: int, column: str, tick: float, tmp_path: Path
) -> None:
    times = np.arange(40 * hertz) / hertz
    path = timed(tmp_path / "l.csv", (times * counted).astype(int), times, column, tick)
    seconds = np.arange(40 * shown) / shown
    with pytest.raises(DriveError, match=f"counts {counted}.* frames a second, .* the video shows {shown}") as caught:
        labels.read(path, len(seconds), seconds=seconds)
    assert "\n" not in str(caught.value)
    assert len(labels.read(path, len(seconds), "drop", seconds).table)


@pytest.mark.parametrize(
    ("hertz", "counted", "lasts", "shown", "length"),
    [
        (200, 30, 40, 30, 1200),
        (200, 30, 80, 30, 1200),
        (200, 30, 20, 30, 1200),
        (200, 30000 / 1001, 40, 30, 1200),
        (200, 60, 40, 30, 2400),
        (200, 30, 40, 25, 1200),
        (200, 60, 20, 30, 2400),
    ],
    ids=["the video's", "goes on", "ends early", "29.97", "slow motion", "header says 25", "slow motion, ends early"],
)
def test_numbers_of_the_video_are_read_whatever_their_times(
    hertz: int, counted: float, lasts: int, shown: int, length: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = np.arange(lasts * hertz) / hertz
    path = timed(tmp_path / "l.csv", (times * counted).astype(int), times)
    read = labels.read(path, length, seconds=np.arange(length) / shown)
    assert len(read.table) == min(length, int(times[-1] * counted) + 1)
    assert "wrong pictures" not in caplog.text


@pytest.mark.parametrize(
    ("counted", "shown", "rows"),
    [(30, 25, 160), (30, 25, 170), (30, 25, 180), (30, 25, 190), (25, 30, 140), (25, 30, 130), (25, 30, 120)],
)
def test_a_rate_that_a_video_only_names_refuses_no_labels(counted: int, shown: int, rows: int, tmp_path: Path) -> None:
    """150 pictures: a dump of a stream, or a file whose writer was told another rate than the camera's."""
    times = np.arange(rows) / counted
    path = timed(tmp_path / "l.csv", np.arange(rows), times)
    seconds = np.arange(150) / shown
    assert len(labels.read(path, 150, seconds=seconds, assumed=True).table) == min(rows, 150)
    if abs(rows / 150 / (counted / shown) - 1) > 0.05:
        assert len(labels.read(path, 150, seconds=seconds).table) == min(rows, 150)
    elif rows > 150:
        with pytest.raises(DriveError, match="those of a film with another rate"):
            labels.read(path, 150, seconds=seconds)
