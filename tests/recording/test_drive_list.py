"""The list of drives: what is read, and that whatever is wrong with it is one line before anything is computed."""

from pathlib import Path

import pytest

from recording import drive_list
from recording.exceptions import InputError

HEADER = "video,labels,driver,name\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for drive in ("a", "b", "c"):
        (tmp_path / drive).mkdir()
        for file in ("drive.mp4", "sensors.csv"):
            (tmp_path / drive / file).touch()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "drives.csv"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as error:
        drive_list.read(write(folder, text))
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"drives={folder / 'drives.csv'}: ")
    return line


def test_paths_are_relative_to_the_list_and_every_drive_gets_a_name_of_its_own(folder, monkeypatch):
    (folder / "ready").mkdir()
    text = "video;labels;data;driver;name;face;label_offset_frames\n"
    text += "a/drive.mp4;a/sensors.csv;;Anna;;;\n\nb/drive.mp4;b/sensors.csv;;Ben;;1,2,300,300;5\n"
    text += ";;ready;Anna;;;\nc/drive.mp4;c/sensors.csv;;Cem;night;none;\n"
    monkeypatch.chdir("/")
    found = drive_list.read(write(folder, text))
    assert [entry.name for entry in found] == ["a-drive", "b-drive", "ready", "night"]
    assert [entry.line for entry in found] == [2, 4, 5, 6]
    assert found[0].video == folder / "a" / "drive.mp4"
    assert found[2].files == (folder / "ready",)
    assert (found[1].face, found[1].label_offset_frames) == ("1,2,300,300", 5.0)
    assert drive_list.drivers(found) == ("Anna", "Ben", "Cem")


def test_a_layout_that_is_a_file_beside_the_list_is_found_and_a_name_stays_one(folder):
    (folder / "mine.yaml").write_text("{width: 64, height: 64, views: {driver: {x: 0, y: 0, w: 64, h: 64}}}")
    text = "video,labels,driver,layout\na/drive.mp4,a/sensors.csv,A,mine.yaml\nb/drive.mp4,b/sensors.csv,B,driver\n"
    one, other = drive_list.read(write(folder, text))
    assert (one.layout, other.layout) == (str(folder / "mine.yaml"), "driver")


WRONG = {
    "": "is empty",
    "\n": "is empty",
    HEADER: "lists no drives",
    "video,labels,driver,vehicle\na,b,c,d\n": "column 'vehicle' is unknown; columns are video, labels, data, driver",
    "video,labels,driver,driver\na,b,c,d\n": "column 'driver' is there twice",
    "video,labels\na,b\n": "needed are driver, and video with labels or data",
    "video,driver\na,b\n": "needed are driver, and video with labels or data",
    HEADER + "a/drive.mp4,a/sensors.csv,Anna\n": "line 2 has 3 fields, the header has 4",
    HEADER + "a/drive.mp4,a/sensors.csv, ,\n": "line 2: names no driver",
    HEADER + "a/drive.mp4,,Anna,\n": "line 2: give video and labels, or data",
    HEADER + "a/drive.mp4,a/sensors.csv,Anna,x\nb/drive.mp4,b/sensors.csv,Ben,x\n": "the name 'x' (lines 2, 3)",
    HEADER + "a/drive.mp4,a/sensors.csv,A,\na/../a/drive.mp4,b/sensors.csv,B,\n": "lines 2 and 3 name the same",
    "video,labels,driver,face\na/drive.mp4,a/sensors.csv,A,\"1,2,3\"\n": "line 2: face='1,2,3': choose auto",
    "video,labels,driver,label_offset_frames\na/drive.mp4,a/sensors.csv,A,inf\n": "label_offset_frames='inf' is not a",
    "data,driver,label_offset_frames\na,A,3\n": "line 2: layout and label_offset_frames act when",
    # The drives of the lines below would be part of a name, and lost without a word.
    HEADER + 'a/drive.mp4,a/sensors.csv,Anna,"wet\nb/drive.mp4,b/sensors.csv,Ben,\n': "a quote in line 2 is not closed",
    HEADER + '\na/drive.mp4,a/sensors.csv,Anna,"wet\nb/drive.mp4,b/sensors.csv,Ben,x"\n': "a quote in line 3 is not",
    HEADER + 'a/drive.mp4,a/sensors.csv,Anna,"' + "x" * 200_000 + '"\n': "a quote in line 2 is not closed",
    "video,labels,driver,layout\na/drive.mp4,a/sensors.csv,A,van.yaml\n": "line 2: layout 'van.yaml' is neither",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_list_is_one_line_that_names_the_place(folder, text):
    assert WRONG[text] in refused(folder, text)


def test_all_missing_files_are_said_at_once_and_the_first_are_named(folder):
    rows = "".join(f"{drive}/film.mp4,{drive}/sensors.csv,{drive},\n" for drive in "abcdefg")
    line = refused(folder, HEADER + rows)
    assert f"not there: line 2: {folder / 'a' / 'film.mp4'}, line 3" in line
    assert "and 6 more" in line  # seven films and four CSVs


@pytest.mark.parametrize("other", ["anna", "Anna ", "ANNA", "An-na", "Ａnna"])
def test_a_driver_in_two_spellings_is_refused_and_both_are_shown(folder, other):
    text = HEADER + f'a/drive.mp4,a/sensors.csv,Anna,\nb/drive.mp4,b/sensors.csv,"{other}",\n'
    line = refused(folder, text)
    assert f"driver 'Anna' (line 2) and driver {other!r} (line 3) look like one person in two spellings" in line


def test_a_leading_tilde_is_the_home_folder_as_a_shell_would_have_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "van.yaml").write_text("width: 64\nheight: 48\nviews: {driver: {x: 0, y: 0, w: 64, h: 48}}\n")
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "drives.csv"
    path.write_text(
        "video,labels,data,driver,layout\n~/a/drive.mp4,~/a/sensors.csv,,Anna,~/van.yaml\n,,~/b,Ben,\n",
        encoding="utf-8",
    )
    one, other = drive_list.read(path)
    assert one.files == (folder / "a" / "drive.mp4", folder / "a" / "sensors.csv")
    assert (one.layout, other.data) == (str(folder / "van.yaml"), folder / "b")


def test_names_are_taken_as_they_are_written(folder):
    """With a mark of its byte order, Windows' ends of lines, quotes, commas and spaces, in any script."""
    text = '"video","labels","driver","name"\r\na/drive.mp4, a/sensors.csv,"राम, ""R""",wet  road\r\n'
    text += "b/drive.mp4,b/sensors.csv,रमा,\r\n"
    path = folder / "drives.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    one, other = drive_list.read(path)
    assert (one.driver, one.name, other.driver) == ('राम, "R"', "wet  road", "रमा")


def test_a_list_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv: cannot be read \(No such file"):
        drive_list.read(tmp_path / "absent.csv")
    (tmp_path / "film.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not UTF-8 text"):
        drive_list.read(tmp_path / "film.csv")
