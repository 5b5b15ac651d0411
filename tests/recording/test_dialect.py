"""A labels CSV is read to the same table however it is written, or refused with the reason."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recording import labels
from recording.exceptions import DriveError

ROWS = 60
GAZE = np.random.default_rng(1).normal([2, -3], [14, 7], (ROWS, 2)).round(3)
NAMES = ["timestamp [ns]", "dash_frames", "azimuth [deg]", "elevation [deg]", "worn", "note"]

dialects = st.fixed_dictionaries(
    {
        "separator": st.sampled_from([",", ";", "\t", "|"]),
        "decimal": st.sampled_from([".", ","]),
        "minus": st.sampled_from(["-", "\u2212", "\u2013", "\u2014", "\ufe63", "("]),
        "after": st.sampled_from(["", "\u00b0", " deg", "\u00a0"]),
        "quotes": st.sampled_from(["none", "numbers", "all"]),
        "line_end": st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]),
        "above": st.sampled_from(["", "sep", "comments", "text", "blank"]),
        "trailing": st.sampled_from(["none", "rows", "both", "header"]),
        "unit": st.sampled_from(["[deg]", "(deg)", "[rad]", "radians called [deg]", "0-360"]),
    }
)


def written(value: float, how: dict[str, str]) -> str:
    """One angle in degrees as the dialect writes it."""
    if "rad" in how["unit"]:
        value = np.radians(value)
    if how["unit"] == "0-360":
        value %= 360.0
    text = f"{abs(value):.6f}".replace(".", how["decimal"]) + how["after"]
    if value >= 0:
        return text
    return f"({text})" if how["minus"] == "(" else how["minus"] + text


def render(how: dict[str, str]) -> str:
    """The whole file as text."""
    unit = {"[deg]": "[deg]", "(deg)": "(deg)", "[rad]": "[rad]"}.get(how["unit"], "[deg]")
    names = [name.replace("[deg]", unit) for name in NAMES]
    rows = [
        [str(10**18 + n), str(n), written(azimuth, how), written(elevation, how), "True", f"Müller {n % 3}"]
        for n, (azimuth, elevation) in enumerate(GAZE)
    ]
    numbers = [2, 3] if how["quotes"] == "numbers" else range(6) if how["quotes"] == "all" else []
    for row in rows:
        for at in numbers:
            row[at] = f'"{row[at]}"'
    lines = [how["separator"].join(row) for row in [names, *rows]]
    if how["trailing"] in ("rows", "both"):
        lines[1:] = [line + how["separator"] for line in lines[1:]]
    if how["trailing"] in ("header", "both"):
        lines[0] += how["separator"]
    above = {
        "": [],
        "sep": [f"sep={how['separator']}"],
        "comments": ["# exported by a tool", "#", "# 3 columns"],
        "text": ["Recording: drive 7", "Driver: B"],
        "blank": ["", " "],
    }[how["above"]]
    return how["line_end"].join([*above, *lines, ""])


def unreadable(how: dict[str, str]) -> bool:
    """Whether the file says something that nobody can be sure of: it has to be refused."""
    splits = how["decimal"] == "," == how["separator"] and how["quotes"] == "none"
    return splits or (how["minus"] == "(" and how["unit"] != "0-360") or how["unit"] == "radians called [deg]"


@settings(max_examples=500, deadline=None)
@given(how=dialects)
def test_dialects_are_read_to_the_same_table_or_refused(
    how: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "dialect.csv"
    # Windows-1252 has no minus sign but the hyphen and the dash.
    encoding = "utf-8" if how["encoding"] == "cp1252" and how["minus"] in "\u2212\ufe63" else how["encoding"]
    path.write_bytes(render(how).encode(encoding))
    if unreadable(how):
        with pytest.raises(DriveError, match=r"rows would be dropped|these are radians|no column") as caught:
            labels.read(path, ROWS)
        assert "\n" not in str(caught.value)
        return
    read = labels.read(path, ROWS)
    assert read.dropped == {}
    assert read.table["frame"].tolist() == list(range(ROWS))
    np.testing.assert_allclose(read.table[["azimuth_deg", "elevation_deg"]], GAZE, atol=1e-4)
    assert set(read.table["note"]) == {"Müller 0", "Müller 1", "Müller 2"}


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name in names:
            packed.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "is an Excel workbook or another ZIP archive, .* save the sheet as CSV"),
        (archive("xl/workbook.xml"), "is an Excel workbook, not a CSV; open it and save the sheet as CSV"),
        (archive("mimetype", "content.xml"), "is an OpenDocument spreadsheet, .* save the sheet as CSV"),
        (archive("sensors.csv"), "ZIP archive, not a CSV; save the sheet as CSV, or unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel workbook"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip, not a CSV; unpack it"),
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer .* git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is an HTML page"),
        (b"\0\0\0\x18ftypmp42", "is a video, not a CSV; give the CSV .*, and the video as video"),
        (b'{"azimuth": 1}', "is JSON, not a CSV; write the table as CSV"),
    ],
)
def test_what_is_no_csv_is_named_for_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_bytes(content)
    with pytest.raises(DriveError, match=says):
        labels.read(tmp_path / "sensors.csv", 100)


def test_a_wide_file_warns_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    header = ",".join(["dash_frames,azimuth [deg],elevation [deg]", *(f"c{n}" for n in range(300))])
    rows = [f"{n},1.5,2," + ",".join(["x"] * 300) for n in range(5)]
    (tmp_path / "l.csv").write_text("\r".join([header, *rows]))
    assert labels.read(tmp_path / "l.csv", 100).table.shape == (5, 303)
    assert not recwarn.list


def test_a_comment_sign_before_the_header_is_no_part_of_its_first_name(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("# dash_frames,azimuth [deg],elevation [deg]\n3,1.5,-2.5\n")
    assert labels.read(tmp_path / "l.csv", 100).table.to_numpy().tolist() == [[3.0, 1.5, -2.5]]


def test_two_empty_fields_too_many_may_be_decimal_commas_that_split_a_number(tmp_path: Path) -> None:
    # 3 | 1,5 | -2,5 | (worn) | (blink): as fields between commas these would be azimuth 1 and elevation 5.
    rows = [f"{n},1,5,-2,5,," for n in range(30)]
    (tmp_path / "l.csv").write_text("\n".join(["dash_frames,azimuth [deg],elevation [deg],worn,blink id", *rows]))
    with pytest.raises(DriveError, match=r"30 of 30 rows would be dropped \(malformed line\)"):
        labels.read(tmp_path / "l.csv", 100)
    for separator in ";\t":
        text = f"dash_frames{separator}azimuth [deg]{separator}elevation [deg]\n3{separator}1,5{separator}-2,5"
        (tmp_path / "l.csv").write_text(text + 3 * separator)
        assert labels.read(tmp_path / "l.csv", 100).table.to_numpy().tolist() == [[3.0, 1.5, -2.5]]


def test_lines_that_a_spreadsheet_put_in_quotes_as_a_whole_are_read(tmp_path: Path) -> None:
    lines = ["dash_frames,azimuth [deg],elevation [deg],note", *(f'{n},1.5,-2,""a, b""' for n in range(30))]
    (tmp_path / "l.csv").write_text("\n".join(f'"{line}"' for line in lines) + "\n")
    read = labels.read(tmp_path / "l.csv", 100)
    assert read.dropped == {}
    assert read.table.iloc[7].tolist() == [7, 1.5, -2.0, "a, b"]


def test_columns_that_only_spaces_separate_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("dash_frames   azimuth_deg   elevation_deg\n  1   2.5   3.5\n")
    with pytest.raises(DriveError, match=r"write a comma, semicolon, tab or \| between the columns"):
        labels.read(tmp_path / "l.csv", 100)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["{k}", '"{k}"', "row{k}"])
@pytest.mark.parametrize("columns", ["{f},{a},{e},", "{a},{e},{f},", "x,{t},{f},{a},{e},{note}", "{f},{e},{a},"])
def test_names_of_rows_without_a_name_in_the_header_shift_nothing(
    separator: str, first: str, columns: str, tmp_path: Path
) -> None:
    gaze = [(frame, (frame * 7 % 40 - 20) / 3, (frame * 11 % 30 - 15) / 4) for frame in range(60)]
    names = {"{f}": "dash_frames", "{a}": "azimuth [deg]", "{e}": "elevation [deg]", "{t}": "timestamp [ns]"}
    header = ",".join(names.get(name, name.strip("{}") or "comment") for name in columns.split(","))
    cells = [
        columns.format(f=f, a=f"{a:.3f}", e=f"{e:.3f}", t=170000 + 33 * f, note="odd" if f % 20 == 9 else "")
        for f, a, e in gaze
    ]
    path = tmp_path / "l.csv"
    named = [f"{first.format(k=k)},{row}" for k, row in enumerate(cells, 1)]
    path.write_text("\n".join([header, *named]).replace(",", separator))
    read = labels.read(path, 100)
    assert "taken for a name of the row" in read.summary()
    ended = tmp_path / "ended.csv"
    ended.write_text("\n".join([header, *(row + "," for row in cells)]).replace(",", separator))
    for table in (read, labels.read(ended, 100)):
        assert table.dropped == {}
        np.testing.assert_allclose(table.table[["frame", "azimuth_deg", "elevation_deg"]], gaze, atol=1e-3)
    assert "name of the row" not in labels.read(ended, 100).summary()


@pytest.mark.parametrize("row", ["{f},{a},2,", "{f},1,{a},", "{f},{a},{f},", "{f},7,2,"])
def test_a_separator_at_the_end_of_rows_makes_no_name_of_the_first_field(row: str, tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for header in ("dash_frames,azimuth [deg],elevation [deg]", "dash_frames,azimuth [deg],elevation [deg],note"):
        rows = [row.format(f=f, a=f // 2) + "," * header.count(",note") for f in range(40)]
        path.write_text("\n".join([header, *rows]))
        assert labels.read(path, 100).table["frame"].tolist() == list(range(40))
