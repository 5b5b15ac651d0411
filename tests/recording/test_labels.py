"""Every row of a labels CSV is used or counted under exactly one reason."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recording import labels
from recording.exceptions import DriveError, InputError

HEADER = "timestamp [ns],dash_frames,azimuth [deg],elevation [deg],worn,blink id"


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,5,1.0,2.0,True", "malformed line"),
        ("1,5,1.0,2.0,True,,extra", "malformed line"),
        ('1,5,"1.0,2.0,True,', "malformed line"),
        ('1,5,"1.0"x,2.0,True,', "malformed line"),
        ("1,5,1.0,\x002.0,True,", "malformed line"),
        ("garbage", "malformed line"),
        ("1,five,1.0,2.0,True,", "frame not a number"),
        ("1,,1.0,2.0,True,", "frame not a number"),
        ("1,5.5,1.0,2.0,True,", "frame not a number"),
        ("1,nan,1.0,2.0,True,", "frame not a number"),
        ("1,inf,1.0,2.0,True,", "frame not a number"),
        ("1,1_0,1.0,2.0,True,", "frame not a number"),
        ("1,-5,1.0,2.0,True,", "negative frame"),
        ("1,100,1.0,2.0,True,", "frame past the end of the video"),
        ("1,1e300,1.0,2.0,True,", "frame past the end of the video"),
        ("1,5,1.0,2.0,False,", "not worn"),
        ("1,5,1.0,2.0,0,", "not worn"),
        ("1,5,1.0,2.0,0.00,", "not worn"),
        ("1,5,1.0,2.0,FALSCH,", "not worn"),
        ("1,5,1.0,2.0,maybe,", "worn neither yes nor no"),
        ('1,"5,000",1.0,2.0,True,', "frame not a number"),
        ("1,5.000,1.0,2.0,True,", "frame not a number"),
        ("1,5,1.0,2.0,True,7", "blink"),
        ("1,5,,2.0,True,", "blank angle"),
        ("1,5,1.0,  ,True,", "blank angle"),
        ("1,5,left,2.0,True,", "angle not a number"),
        ("1,5,1.0,-,True,", "angle not a number"),
        ("1,5,nan,2.0,True,", "angle not a number"),
        ("1,5,1.0,-inf,True,", "angle not a number"),
        ("1,5,180.1,2.0,True,", "angle out of range"),
        ("1,5,1.0,-90.5,True,", "angle out of range"),
        ("1,3,1.0,2.0,True,", "duplicate frame"),
    ],
)
def test_a_bad_row_is_counted_under_its_reason(line: str, reason: str, tmp_path: Path) -> None:
    read = labels.read(write(tmp_path / "l.csv", "1,3,1.0,2.0,True,", line, "1,4,3.0,4.0,True,"), frames=100)
    assert read.dropped == {reason: 1}
    assert read.rows == 3
    assert read.table["frame"].tolist() == [3, 4]
    assert read.table["azimuth_deg"].tolist() == [1.0, 3.0]


def test_a_stray_quote_does_not_swallow_the_lines_after_it(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", '1,0,"1.0,2.0,True,', *(f"1,{n},1.0,2.0,True," for n in range(1, 50)))
    read = labels.read(path, 100)
    assert len(read.table) == 49
    assert read.dropped == {"malformed line": 1}


def test_bytes_that_are_no_text_cost_their_own_line(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(HEADER.encode() + b"\n1,0,1,2,True,\n1,1,\xff\xfe\xfa,2,True,\n1,2,1,2,True,\n")
    read = labels.read(path, 100)
    assert read.dropped == {"angle not a number": 1}  # read as Windows-1252: ÿþú
    assert read.table["frame"].tolist() == [0, 2]


def test_of_several_rows_for_a_frame_the_median_is_taken(tmp_path: Path) -> None:
    # An eye tracker at 200 Hz writes six or seven rows for each frame of a camera at 30.
    rows = ["1,7,9.0,9.0,True,3", "2,7,1.0,2.0,True,", "3,7,1.4,2.2,True,", "4,7,1.2,2.6,True,", "5,7,40,2.1,True,"]
    read = labels.read(write(tmp_path / "l.csv", *rows), 100)
    assert read.table["azimuth_deg"].tolist() == pytest.approx([1.3])  # one value that jumps away does not pull it
    assert read.table["elevation_deg"].tolist() == pytest.approx([2.15])
    assert read.table["timestamp [ns]"].tolist() == ["2"]
    assert read.dropped == {"blink": 1, "duplicate frame": 3}


def test_rows_come_out_in_the_order_of_the_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", *(f"1,{n},1.0,2.0,True," for n in (9, 2, 5)))
    assert labels.read(path, 100).table["frame"].tolist() == [2, 5, 9]


@pytest.mark.parametrize(
    "header",
    [
        "\ufeffdash_frames,azimuth [deg],elevation [deg]",
        " Dash_Frames , AZIMUTH  [deg],Elevation [DEG] ",
        '"dash_frames","azimuth [deg]","elevation [deg]"',
        '"dash_frames" , " azimuth [deg]" ,"elevation [deg]"  ',
    ],
)
def test_names_of_columns_are_read_leniently(header: str, tmp_path: Path) -> None:
    read = labels.read(write(tmp_path / "l.csv", "3,1.5,-2.5", "4.0, 1.5 ,2", header=header), 100)
    assert read.table["frame"].tolist() == [3, 4]
    assert read.table["elevation_deg"].tolist() == [-2.5, 2.0]


@pytest.mark.parametrize(("separator", "row"), [(";", "3;1,5;-2,5"), ("\t", "3\t1.5\t-2.5"), ("\t", "3\t1,5\t-2,5")])
def test_other_separators_and_the_decimal_comma(separator: str, row: str, tmp_path: Path) -> None:
    header = separator.join(["dash_frames", "azimuth [deg]", "elevation [deg]"])
    read = labels.read(write(tmp_path / "l.csv", row, header=header), 100)
    assert read.table.to_numpy().tolist() == [[3.0, 1.5, -2.5]]


def test_windows_line_ends_and_utf_16(tmp_path: Path) -> None:
    text = "dash_frames,azimuth [deg],elevation [deg]\r\n3,1.5,-2.5\r\n\r\n"
    for encoding in ("utf-8", "utf-16"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        read = labels.read(path, 100)
        assert (read.rows, read.dropped, len(read.table)) == (1, {}, 1)


def test_other_columns_are_kept_as_they_are(tmp_path: Path) -> None:
    header = "dash_frames,azimuth [deg],elevation [deg],Fixation ID,note,note,frame"
    read = labels.read(write(tmp_path / "l.csv", "3,1,2,007, hello ,x,y", header=header), 100)
    kept = read.table.iloc[0].to_dict()
    assert kept == {
        "frame": 3,
        "azimuth_deg": 1.0,
        "elevation_deg": 2.0,
        "Fixation ID": "007",
        "note": "hello",
        "note.1": "x",
        "frame.1": "y",
    }


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "1,2", header="dash_frames,pitch")
    with pytest.raises(DriveError, match=r"no column 'azimuth \[deg\]', 'elevation \[deg\]'; found 'dash_frames', 'pi"):
        labels.read(path, 100)


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", header="dash_frames,azimuth [deg],elevation [deg],azimuth [deg]")
    with pytest.raises(DriveError, match="occurs 2 times"):
        labels.read(path, 100)


def test_degrees_that_look_like_radians_are_taken_where_somebody_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gaze = np.random.default_rng(0).normal(0, (0.3, 0.2), (200, 2))
    path = write(
        tmp_path / "l.csv",
        *[f"{n},{azimuth:.3f},{elevation:.3f}" for n, (azimuth, elevation) in enumerate(gaze)],
        header="dash_frames,azimuth [deg],elevation [deg]",
    )
    with pytest.raises(
        DriveError, match=r"these are radians; .* hardly looked anywhere else, go on with on_bad_rows=drop"
    ):
        labels.read(path, 200)
    assert labels.read(path, 200, on_bad_rows="drop").table["azimuth_deg"].abs().max() < 2
    assert "in 200 rows, as radians do; taken as degrees" in caplog.text


def test_an_angle_that_two_columns_hold_differently_is_refused(tmp_path: Path) -> None:
    header = "dash_frames,azimuth [deg],elevation [deg],azimuth_deg"
    rows = [f"{n},{n},1,{n + (n == 7)}.001" for n in range(30)]
    with pytest.raises(
        DriveError, match=r"'azimuth \[deg\]' and 'azimuth_deg' are one .*'7' and '8\.001' in line 9\); keep"
    ):
        labels.read(write(tmp_path / "l.csv", *rows, header=header), 100)
    same = [f"{n},{n},1,{n}.001" for n in range(29)] + ["29,29,1,"]
    assert len(labels.read(write(tmp_path / "l.csv", *same, header=header), 100).table) == 30
    for lost in ("lost", "-nan(ind)"):
        some = [f"{n},{lost},1,{lost}" if n == 9 else f"{n},{n},1,{n}" for n in range(30)]
        read = labels.read(write(tmp_path / "l.csv", *some, header=header), 100)
        assert (len(read.table), read.dropped) == (29, {"angle not a number": 1})
    one = [f"{n},lost,1,{n}" if n == 9 else f"{n},{n},1,{n}" for n in range(30)]
    with pytest.raises(DriveError, match=r"\('lost' and '9' in line 11\)"):
        labels.read(write(tmp_path / "l.csv", *one, header=header), 100)
    radians = [f"{n},{n},1,0.2" for n in range(30)]  # another unit
    header = header.replace("azimuth_deg", "azimuth_rad")
    assert labels.read(write(tmp_path / "l.csv", *radians, header=header), 100).table["azimuth_deg"].iat[29] == 29


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(bytes(range(256)) * 100), "no column"),
        (lambda path: path.write_text("\n\n"), "is empty or begins with a blank line"),
    ],
)
def test_what_is_no_labels_file_is_refused_in_one_line(make, says: str, tmp_path: Path) -> None:
    make(tmp_path / "l.csv")
    with pytest.raises(DriveError, match=says) as caught:
        labels.read(tmp_path / "l.csv", 100)
    assert str(tmp_path / "l.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_below_the_header_break_the_reading(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("labels") / "l.csv"
    path.write_bytes(HEADER.encode() + b"\n" + content)
    read = labels.read(path, 100, on_bad_rows="drop")
    assert read.rows == len(read.table) + sum(read.dropped.values())
    assert set(read.dropped) <= set(labels.REASONS)


@pytest.mark.parametrize("form", ["{}.0", "{}.000", "{:.6f}", '"{},000"'])
def test_frame_numbers_with_a_fraction_of_zeros(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", *(f"1,{form.format(n)},1.0,2.0,True," for n in (8, 9, 12)))
    assert labels.read(path, 100).table["frame"].tolist() == [8, 9, 12]


@pytest.mark.parametrize("written", ["True", "1.0", "1", "yes", "WAHR", "255", "", "nan"])
def test_ways_to_write_that_glasses_were_worn(written: str, tmp_path: Path) -> None:
    read = labels.read(write(tmp_path / "l.csv", *(f"1,{n},1.0,2.0,{written}," for n in range(10))), 100)
    assert len(read.table) == 10


@pytest.mark.parametrize("written", ["", "nan", "0", "0.0", "-1", "-", "False", "<NA>"])
def test_ways_to_write_that_there_is_no_blink(written: str, tmp_path: Path) -> None:
    rows = [f"1,{n},1.0,2.0,True,{7 if n == 3 else written}" for n in range(10)]
    read = labels.read(write(tmp_path / "l.csv", *rows), 100)
    assert read.dropped == {"blink": 1}
    assert 3 not in read.table["frame"].tolist()


def test_a_column_that_says_neither_yes_nor_no_stops(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", *(f"1,{n},1.0,2.0,{'on' if n % 2 else 'lost'}," for n in range(30)))
    with pytest.raises(DriveError, match=r"15 of 30 rows would be dropped .*'worn' is 'lost' in line 2; write 1 or 0"):
        labels.read(path, 100)


def test_two_recordings_that_name_the_same_frames_are_refused(tmp_path: Path) -> None:
    header = "Recording ID,dash_frames,azimuth [deg],elevation [deg]"
    lines = [f"{which},{n},{n}.5,2" for which in "ab" for n in range(4)]
    with pytest.raises(
        DriveError, match=r"two recordings name the same frame .'Recording ID' is 'a', and 'b' in line 6"
    ):
        labels.read(write(tmp_path / "l.csv", *lines, header=header), 100)
    later = [line.replace("b,", "b,1") for line in lines]
    assert len(labels.read(write(tmp_path / "l.csv", *later, header=header), 100).table) == 8


@pytest.mark.parametrize("offset", [0.4, 2.5, float("nan"), float("inf"), -1e300])
def test_an_offset_that_cannot_be_applied_is_refused(offset: float, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", *(f"1,{n},1.0,2.0,True," for n in range(10)))
    with pytest.raises(InputError, match=re.escape(f"label_offset_frames={offset:g}: ")):
        labels.read(path, 100, offset_frames=offset)


def test_the_text_of_the_first_row_of_a_frame_is_kept_and_no_other_held(tmp_path: Path) -> None:
    header = "dash_frames,azimuth [deg],elevation [deg],note"
    rows = (f"{n // 100},1.0,2.0,{n} {'x' * 2000}" for n in range(3000))
    path = write(tmp_path / "l.csv", *rows, header=header)
    tracemalloc.start()
    read = labels.read(path, 100)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [note.split()[0] for note in read.table["note"]] == [str(100 * frame) for frame in range(30)]
    assert held < path.stat().st_size / 2
