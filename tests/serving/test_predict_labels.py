"""``predict --labels`` draws the rows that training would use, read by the same reader."""

from pathlib import Path

import pytest

from recording import frames, labels
from recording.exceptions import DriveError
from recording.frames import Index
from serving import predict
from tests import recordings

HEADER = ["dash_frames", "azimuth [deg]", "elevation [deg]", "worn", "blink id"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Of a video of 60 frames, 30 a second."""
    return frames.scan(recordings.video(tmp_path_factory.mktemp("video") / "v.mp4", 60))


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-16"), (",", "utf-8-sig")])
def test_the_dialects_that_prepare_reads(separator: str, encoding: str, tmp_path: Path, index: Index) -> None:
    decimal = "," if separator == ";" else "."
    rows = [HEADER, *([str(n), f"{n}{decimal}5", "-2", "1", ""] for n in range(30))]
    path = tmp_path / "sensors.csv"
    path.write_text("\n".join(separator.join(row) for row in rows), encoding=encoding)
    assert predict.measured(path, index) == {n: (n + 0.5, -2.0) for n in range(30)}


def test_what_training_leaves_out_is_not_drawn_and_the_count_is_said(
    tmp_path: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sensors.csv"
    rows = [f"{n},{1 if n < 50 else 30},2,{int(n != 10)},{'7' if n in (20, 21) else ''}" for n in range(60)]
    path.write_text("\n".join([",".join(HEADER), *rows]))
    beside, saccade = {17, 18, 19, 22, 23, 24}, {49, 50}
    assert predict.measured(path, index).keys() == set(range(60)) - {10, 20, 21} - beside - saccade
    said = capsys.readouterr().err
    assert "51 of 60 rows are usable; dropped 9: 1 not worn, 2 blink, 6 beside a blink; not drawn: 2 within" in said
    training = labels.read(path, index.frames, seconds=index.seconds)
    assert predict.measured(path, index).keys() == set(training.table["frame"][~training.moving])


def test_rows_that_come_too_late_are_drawn_where_training_takes_them(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "sensors.csv"
    path.write_text("\n".join([",".join(HEADER), *(f"{n},{n / 10},2,1," for n in range(60))]))
    assert predict.measured(path, index, offset_frames=4) == {n - 4: (n / 10, 2.0) for n in range(4, 60)}


def test_a_file_without_the_columns_is_one_line(tmp_path: Path, index: Index) -> None:
    (tmp_path / "sensors.csv").write_text("frame,x\n1,2\n")
    with pytest.raises(DriveError, match=r"no column 'dash_frames', 'azimuth \[deg\]', 'elevation \[deg\]'"):
        predict.measured(tmp_path / "sensors.csv", index)
