"""``predict --labels`` draws the rows that training would use, read by the same reader."""

from pathlib import Path

import pytest

from recording import labels
from recording.exceptions import DriveError
from serving import predict

HEADER = ["dash_frames", "azimuth [deg]", "elevation [deg]", "worn", "blink id"]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-16"), (",", "utf-8-sig")])
def test_the_dialects_that_prepare_reads(separator: str, encoding: str, tmp_path: Path) -> None:
    decimal = "," if separator == ";" else "."
    rows = [HEADER, *([str(n), f"{n}{decimal}5", "-2", "1", ""] for n in range(30))]
    path = tmp_path / "sensors.csv"
    path.write_text("\n".join(separator.join(row) for row in rows), encoding=encoding)
    assert predict.measured(path) == {n: (n + 0.5, -2.0) for n in range(30)}


def test_blinks_and_glasses_off_are_not_drawn_and_the_count_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sensors.csv"
    rows = [f"{n},1,2,{int(n % 3 != 1)},{'7' if n % 3 == 2 else ''}" for n in range(30)]
    path.write_text("\n".join([",".join(HEADER), *rows]))
    assert sorted(predict.measured(path)) == list(range(0, 30, 3))
    assert "10 of 30 rows are usable; dropped 20: 10 not worn, 10 blink" in capsys.readouterr().err
    assert predict.measured(path).keys() == set(labels.read(path, 30).table["frame"])


def test_a_file_without_the_columns_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_text("frame,x\n1,2\n")
    with pytest.raises(DriveError, match=r"no column 'dash_frames', 'azimuth \[deg\]', 'elevation \[deg\]'"):
        predict.measured(tmp_path / "sensors.csv")
