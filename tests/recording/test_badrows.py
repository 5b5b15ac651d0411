"""Single bad rows are dropped and counted; a class of rows that is lost for how it is written stops the job."""

from pathlib import Path

import numpy as np
import pytest

from recording import badrows, labels
from recording.exceptions import DriveError, InputError

HEADER = "dash_frames,azimuth [deg],elevation [deg],worn,blink id"


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def good(n: int) -> str:
    return f"{n},{(-1) ** n * (3 + n / 10)},{(-1) ** (n // 2) * 2.5},1,"


CLASSES = {
    "fields": (
        "{n},1,5,2,5,1,",
        r"malformed line.*'3,1,5,2,5,1,' does not fit the 5 columns .* line 5; .*as the header",
    ),
    "frame": ("t{n},1,2,1,", r"frame not a number.*'dash_frames' is 't3' in line 5; write frame numbers as whole"),
    "fraction": ("{n}.5,1,2,1,", r"frame not a number.*'dash_frames' is '3\.5'"),
    "azimuth": ("{n},(5.5),2,1,", r"angle not a number.*'azimuth \[deg\]' is '\(5\.5\)' in line 5; write angles as"),
    "elevation": ("{n},1,up,1,", r"angle not a number.*'elevation \[deg\]' is 'up'"),
    "range": (
        "{n},400,2,1,",
        r"angle out of range.*'azimuth \[deg\]' is '400' in line 5; write degrees, azimuth within",
    ),
}


@pytest.mark.parametrize(("line", "says"), CLASSES.values(), ids=CLASSES)
def test_more_than_one_row_in_twenty_for_one_way_of_writing_stops(line: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [line.format(n=n) if n % 15 == 3 else good(n) for n in range(120)])
    with pytest.raises(
        DriveError, match=rf"l\.csv: 8 of 120 rows would be dropped \({says}.*on_bad_rows=drop"
    ) as caught:
        labels.read(path, 200)
    assert "\n" not in str(caught.value)
    read = labels.read(path, 200, on_bad_rows="drop")
    assert (len(read.table), sum(read.dropped.values())) == (112, 8)


@pytest.mark.parametrize("line", [line for line, _ in CLASSES.values()], ids=CLASSES)
def test_single_faults_are_dropped_and_counted(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [line.format(n=n) if n % 30 == 3 else good(n) for n in range(120)])
    assert len(labels.read(path, 200).table) == 116


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{n},1,2,0,", badrows.NOT_WORN),
        ("{n},1,2,1,17", badrows.BLINK),
        ("{n},,,1,", badrows.BLANK_ANGLE),
        ("{n},nan,NaN,1,", badrows.BAD_ANGLE),
        (",1,2,1,", badrows.BAD_FRAME),
        ("nan,1,2,1,", badrows.BAD_FRAME),
        ("-1,1,2,1,", badrows.NEGATIVE_FRAME),
        ("9999,1,2,1,", badrows.PAST_END),
        ("0,1,2,1,", badrows.DUPLICATE),
    ],
)
def test_what_eye_trackers_leave_out_is_normal_however_much_it_is(line: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [line.format(n=n) if n % 2 else good(n) for n in range(120)])
    read = labels.read(path, 200)
    assert read.dropped == {reason: 60}
    assert len(read.table) == 60


def test_a_few_rows_stop_when_what_is_left_lies_on_one_side(tmp_path: Path) -> None:
    # Three looks to the left in a hundred, in a notation that is not read: 3 %, and all of the left side.
    rows = [f"{n},({n}.5),{(-1) ** n},1," if n in (5, 50, 70) else f"{n},{n / 10},{(-1) ** n},1," for n in range(100)]
    with pytest.raises(
        DriveError, match=r"3 of 100 rows .*, and what is left lies on one side of 0: 'azimuth \[deg\]'"
    ):
        labels.read(write(tmp_path / "l.csv", rows), 200)
    rows[20] = "20,-4,1,1,"
    assert len(labels.read(write(tmp_path / "l.csv", rows), 200).table) == 97


BLANKS = ["", "NaN", "null", "-"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("column", ["azimuth", "elevation"])
def test_looks_to_one_side_that_a_program_left_blank_stop(column: str, blank: str, tmp_path: Path) -> None:
    angles = [(n, 20 * np.sin(n / 9), 8 * np.cos(n / 7) - 1) for n in range(120)]
    written = [
        (n, blank, f"{e:.2f}") if column == "azimuth" and a < 0 else (n, f"{a:.2f}", blank if e < 0 else f"{e:.2f}")
        for n, a, e in angles
        if column == "elevation" or a < 0 or e >= 0
    ]
    lost = sum(row[1 if column == "azimuth" else 2] == blank for row in written)
    path = write(tmp_path / "l.csv", [",".join(map(str, row)) + ",1," for row in written])
    with pytest.raises(
        DriveError,
        match=rf"{lost} of {len(written)} rows have one angle and no '{column} \[deg\]' \(the first in line \d+\), and "
        r"what is left lies on one side of 0, .*another minus sign.* on_bad_rows=drop",
    ):
        labels.read(path, 200)
    assert len(labels.read(path, 200, on_bad_rows="drop").table)


def test_blank_angles_on_both_sides_are_normal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"{n},,2,1," if n % 3 == 1 else good(n) for n in range(120)]
    assert len(labels.read(write(tmp_path / "l.csv", rows), 200).table) == 80
    assert not caplog.messages


def test_a_driver_who_looks_to_one_side_and_is_lost_at_times_is_read_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{n},,,1," if n % 5 == 1 else f"{n},{5 + n % 7},{n % 5 - 2},1," for n in range(120)]
    assert len(labels.read(write(tmp_path / "l.csv", rows), 200).table) == 96
    assert "24 of 120 rows have no angles (the first in line 3), and 'azimuth [deg]' of all others" in caplog.text
    caplog.clear()
    below = [f"{n},,,1," if n % 5 == 1 else f"{n},{n % 7 - 3},{-5 - n % 7},1," for n in range(120)]  # as on any road
    assert len(labels.read(write(tmp_path / "l.csv", below), 200).table) == 96
    assert not caplog.messages


def test_an_unknown_choice_is_named_with_the_legal_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="on_bad_rows='skip' is unknown: choose one of stop, drop"):
        labels.read(write(tmp_path / "l.csv", [good(1)]), 200, on_bad_rows="skip")


def zeros_in(rows: list[str], folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    labels.read(write(folder / "l.csv", rows), 200)
    return [message for message in caplog.messages if "exactly 0, 0" in message]


def test_zeros_in_place_of_lost_eyes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = [f"{n},0.0,0,1," if n % 4 == 1 else f"{n},{3 - n / 7},{n / 9},1," for n in range(120)]
    said = zeros_in(lost, tmp_path, caplog)
    assert len(said) == 1
    assert "30 of 120 frames look at exactly 0, 0" in said[0]
    few = [good(n) if n % 4 == 1 and n > 20 else row for n, row in enumerate(lost)]
    assert not zeros_in(few, tmp_path, caplog)
    for lost_at in ("-1", "90"):
        elsewhere = [row.replace(",0.0,0,", f",{lost_at},{lost_at},") for row in lost]
        caplog.clear()
        labels.read(write(tmp_path / "l.csv", elsewhere), 200)
        assert [f"30 of 120 frames look at exactly {lost_at}, {lost_at}," in said for said in caplog.messages] == [True]
    targets = [f"{n},{n % 3 * 10},{n % 2 * 10},1," for n in range(120)]
    assert not zeros_in(targets, tmp_path, caplog)


def gaze(count: int, decimals: int = 3) -> np.ndarray:
    """(count, 2) looks to all sides, degrees, rounded."""
    return np.random.default_rng(0).normal([2, -4], [13, 6], (count, 2)).round(decimals)


def angles(path: Path, looks: np.ndarray) -> Path:
    return write(path, [f"{n},{azimuth:g},{elevation:g},1," for n, (azimuth, elevation) in enumerate(looks)])


@pytest.mark.parametrize("decimals", [0, 1, 3])
@pytest.mark.parametrize("cut", [np.maximum, np.minimum])
def test_looks_to_one_side_that_a_program_wrote_as_zeros_stop(
    cut: np.ufunc, decimals: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looks = gaze(900, decimals)
    looks[:, 0] = cut(looks[:, 0], 0)
    path, zeros = angles(tmp_path / "l.csv", looks), int((looks[:, 0] == 0).sum())
    with pytest.raises(
        DriveError,
        match=rf"'azimuth \[deg\]' is exactly 0 in {zeros} of 900 frames \(the first is frame \d+\), and all others "
        r"lie on one side of 0, .*as they are with on_bad_rows=drop",
    ):
        labels.read(path, 900)
    assert len(labels.read(path, 900, on_bad_rows="drop").table) == 900
    assert "they are used as they are" in caplog.text


def test_elevations_that_end_at_the_horizon_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    looks = gaze(900)
    looks[:, 1] = np.minimum(looks[:, 1], 0)
    assert len(labels.read(angles(tmp_path / "l.csv", looks), 900).table) == 900
    assert "'elevation [deg]' is exactly 0 in" in caplog.text


def test_angles_of_one_sign_with_zeros_among_them_are_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    looks = gaze(900)
    right = np.abs(looks)
    few = np.where(np.arange(900)[:, None] % 40 == 0, 0.0, right * [1, -1])
    whole = np.round(right * [1, -1])  # whole degrees
    narrow = np.column_stack([np.round(np.abs(looks[:, 0]) / 6), looks[:, 1]])  # hardly ever aside
    both = np.where(np.arange(900)[:, None] % 3 == 0, 0.0, looks)  # zeros, and looks to both sides
    targets = np.column_stack([np.arange(900) % 4 * 10, looks[:, 1]])
    ahead = np.where(np.arange(900)[:, None] % 3, [0.0, -2.0], right * [1, -1])  # one label for all looks ahead
    for name, sound in dict(few=few, whole=whole, narrow=narrow, both=both, targets=targets, ahead=ahead).items():
        caplog.clear()
        assert len(labels.read(angles(tmp_path / f"{name}.csv", sound), 900).table) == 900
        assert "side of 0" not in caplog.text, name


def drives(count: int) -> list[list[str]]:
    """The rows of several drives that name the same frames."""
    gaze = np.random.default_rng(0).normal(scale=(13, 6), size=(count, 120, 2))
    return [[f"{n},{a:.2f},{e:.2f},1," for n, (a, e) in enumerate(drive)] for drive in gaze]


@pytest.mark.parametrize("count", [2, 3])
def test_drives_below_each_other_stop(count: int, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [row for drive in drives(count) for row in drive])
    with pytest.raises(
        DriveError, match=r"of 120 frames are named in separate places .*\(frame \d+ looks at .* and at .* video alone"
    ):
        labels.read(path, 200)
    assert len(labels.read(path, 200, on_bad_rows="drop").table)


def test_drives_sorted_into_each_other_stop(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [row for pair in zip(*drives(2), strict=True) for row in pair])
    with pytest.raises(
        DriveError, match=r"of the 120 frames with several rows have rows that disagree \(such as frame"
    ):
        labels.read(path, 200)


@pytest.mark.parametrize(("rate", "fps"), [(60, 30), (200, 30), (200, 3), (60, 3), (6, 3)])
@pytest.mark.parametrize("eyes", [1, 2])
def test_jumps_of_the_eyes_between_the_rows_of_a_frame_are_no_second_drive(
    rate: int, fps: int, eyes: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    time = np.arange(120 * rate // fps) / rate
    fixation = np.cumsum(random.random(len(time)) < 2.5 / rate)
    gaze = random.normal(scale=(13, 6), size=(fixation[-1] + 1, 2))[fixation]
    rows = []
    for _ in range(eyes):
        noisy = gaze + random.normal(scale=0.5, size=gaze.shape)
        rows += [f"{int(t * fps)},{a:.2f},{e:.2f},1," for t, (a, e) in zip(time, noisy, strict=True)]
    assert len(labels.read(write(tmp_path / "l.csv", rows), 200, seconds=np.arange(200) / fps).table) > 30
