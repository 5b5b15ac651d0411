"""A decimal comma that makes two fields of an angle is seen where columns without a value take up the halves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recording import labels
from recording.exceptions import DriveError

HEADER = "dash_frames,azimuth [deg],elevation [deg]"


def gaze(rows: int, seed: int = 0) -> np.ndarray:
    """(rows, 2) degrees at 30 a second: fixations that drift a little, jumps, a tracker's noise."""
    random = np.random.default_rng(seed)
    fixation = np.cumsum(random.random(rows) < 0.08)
    at = random.normal(scale=(13, 6), size=(fixation[-1] + 1, 2))[fixation]
    return np.clip(at + np.cumsum(random.normal(scale=0.05, size=at.shape), axis=0), -60, 60) + random.normal(
        scale=0.2, size=at.shape
    )


def write(path: Path, header: str, row: Callable[[int, float, float], str], rows: int = 600) -> Path:
    lines = [row(n, azimuth, elevation) for n, (azimuth, elevation) in enumerate(gaze(rows).tolist())]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def comma(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace(".", ",")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"{HEADER},,", lambda n, a, e: f"{n},{comma(a)},{comma(e)}"),
        (f"{HEADER},pupil [mm],note", lambda n, a, e: f"{n},{comma(a)},{comma(e)}"),
        (f"{HEADER},worn,blink id", lambda n, a, e: f"{n},{comma(a, 2)},{comma(e, 2)}"),
        (f"{HEADER},note", lambda n, a, e: f"{n},{a:.0f},{comma(e)}"),
        (f"{HEADER},note", lambda n, a, e: f"{n},{comma(a)},{e:.0f}"),
        (f"{HEADER},note", lambda n, a, e: f"{n},{a:.0f},{round(e, 2)}".replace(".", ",")),
        ("azimuth_deg,elevation_deg,dash_frames,a,b", lambda n, a, e: f"{a},{e},{n}".replace(".", ",")),
    ],
)
@pytest.mark.parametrize("rows", [120, 600])
def test_halves_of_numbers_are_refused(header: str, row: Callable[..., str], rows: int, tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", header, row, rows)
    with pytest.raises(DriveError, match=r"angles have decimal commas .* line 2 under .*put such numbers in quotes"):
        labels.read(path, 600)


def test_a_column_without_a_name_that_takes_up_halves_is_enough(tmp_path: Path) -> None:
    # Rows seconds apart: nothing moves smoothly.
    path = tmp_path / "l.csv"
    angles = np.random.default_rng(0).normal(scale=(13, 6), size=(40, 2)).tolist()
    path.write_text("\n".join([f"{HEADER},,", *(f"{30 * n},{comma(a)},{comma(e)}" for n, (a, e) in enumerate(angles))]))
    with pytest.raises(DriveError, match="angles have decimal commas"):
        labels.read(path, 1200)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (HEADER, lambda n, a, e: f"{n},{a:.0f},{e:.0f}"),
        (HEADER, lambda n, a, e: f"{n},{a:.0f},{abs(e):.0f}"),
        (f"{HEADER},", lambda n, a, e: f"{n},{a:.0f},{e:.0f},"),
        (f"{HEADER},worn,fixation id", lambda n, a, e: f"{n},{a:.0f},{e:.0f},1,{n // 12 + 1}"),
        (f"{HEADER},fixation id,blink id", lambda n, a, e: f"{n},{a:.0f},{abs(e):.0f},{n // 12 + 1},0"),
        (f"{HEADER},confidence", lambda n, a, e: f"{n},{a:.0f},{e:.0f},{int(90 + 9 * np.sin(n / 20))}"),
        (f"{HEADER},x,y", lambda n, a, e: f"{n},{a:.0f},{e:.0f},{800 + 20 * a:.0f},{abs(600 - 20 * e):.0f}"),
        (f"{HEADER},eccentricity", lambda n, a, e: f"{n},{a:.0f},{e:.0f},{np.hypot(a, e):.0f}"),
        (f"{HEADER},target", lambda n, a, e: f"{n},{a:.0f},{e:.0f},{n * 7 // 30 % 10}"),
        (f"{HEADER},ms", lambda n, a, e: f"{n},{a:.0f},{e:.0f},{n * 33 % 1000:03d}"),
        (f"{HEADER},pupil", lambda n, a, e: f'{n},"{comma(a)}","{comma(e)}","{comma(3 + n / 999)}"'),
    ],
)
def test_whole_angles_beside_whole_numbers_are_read(header: str, row: Callable[..., str], tmp_path: Path) -> None:
    assert len(labels.read(write(tmp_path / "l.csv", header, row), 600).table) == 600


# What can be meant in one way only is read: every row is longer by one field for each angle, and nothing else can be.
@pytest.mark.parametrize("digits", [1, 2, 3])
@pytest.mark.parametrize("rows", [3, 12, 600])
@pytest.mark.parametrize(
    ("header", "row"),
    [
        (HEADER, "{n},{a},{e}"),
        ("elevation [deg],azimuth [deg],dash_frames", "{e},{a},{n}"),
        (f"{HEADER},worn,blink id", "{n},{a},{e},1,"),
        ("recording id,dash_frames,azimuth_deg,worn,elevation_deg", "x,{n},{a},True,{e}"),
    ],
)
def test_both_halves_are_put_together(header: str, row: str, rows: int, digits: int, tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.csv", header, lambda n, a, e: row.format(n=n, a=comma(a, digits), e=comma(e, digits)), rows
    )
    read = labels.read(path, 600)
    plain = write(
        tmp_path / "p.csv", header, lambda n, a, e: row.format(n=n, a=f"{a:.{digits}f}", e=f"{e:.{digits}f}"), rows
    )
    assert read.table.equals(labels.read(plain, 600).table)
    assert "two fields of each angle, which are put together again" in read.summary()


@pytest.mark.parametrize(
    "row",
    [
        lambda n, a, e: f"{n},{comma(a)},{e:.0f}",
        lambda n, a, e: f"{n},{round(a, 1)},{round(e, 1)}".replace(".0,", ",").removesuffix(".0").replace(".", ","),
        lambda n, a, e: f"{n},0,{a:.0f},{comma(e)}",
        lambda n, a, e: f"{n},{comma(a)},{comma(e)}" if n % 5 else f"{n},{a:.1f},{e:.1f}",
    ],
    ids=["one angle", "zeros left out", "decimals of the frame", "points now and then"],
)
def test_rows_that_are_longer_in_more_than_one_way_are_refused(row: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(DriveError, match=r"decimal commas in quotes|decimal commas where commas separate"):
        labels.read(write(tmp_path / "l.csv", HEADER, row), 600)


# Rows seconds apart, or only a few: nothing moves smoothly.
@pytest.mark.parametrize("rows", [6, 20, 39, 300])
@pytest.mark.parametrize(("names", "digits"), [("pupil [mm],note", 2), ("fixation id,x", 2), ("a,b", 1), (",", 1)])
def test_a_shifted_value_is_never_read_in_silence(
    names: str, digits: int, rows: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(5):
        angles = np.random.default_rng(seed).normal(scale=(13, 6), size=(rows, 2)).tolist()
        lines = [f"{30 * n},{comma(a, digits)},{comma(e, digits)}" for n, (a, e) in enumerate(angles)]
        (tmp_path / "l.csv").write_text("\n".join([f"{HEADER},{names}", *lines]))
        caplog.clear()
        try:
            labels.read(tmp_path / "l.csv", 30 * rows)
        except DriveError as error:
            assert "decimal commas" in str(error)
        else:
            assert "had they decimal commas" in caplog.text


def test_rows_of_different_length_before_columns_without_a_name_are_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.csv", f"{HEADER},,", lambda n, a, e: f"{n},{a:.1f},{e:.1f}".replace(".0", "").replace(".", ",")
    )
    with pytest.raises(DriveError, match="angles have decimal commas"):
        labels.read(path, 600)


def test_whole_angles_of_which_some_are_below_zero_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{30 * n},{a},{e},{n},0" for n, (a, e) in enumerate([(0, 0), (-20, 10), (20, -10), (20, 10), (-20, -10)])]
    (tmp_path / "l.csv").write_text("\n".join([f"{HEADER},target,note", *rows]))
    assert len(labels.read(tmp_path / "l.csv", 600).table) == 5
    assert not [line for line in caplog.messages if "decimal" in line]


def test_whole_angles_that_are_all_padded_with_zeros_are_read(tmp_path: Path) -> None:
    angles = [(n % 13 - 6, n % 11 - 5) for n in range(60)]
    rows = [f"{n},{azimuth:+03d},{elevation:+03d}".replace("+0", "0") for n, (azimuth, elevation) in enumerate(angles)]
    path = tmp_path / "l.csv"
    path.write_text("\n".join(["dash_frames,azimuth [deg],elevation [deg]", *rows]) + "\n", encoding="utf-8")
    assert labels.read(path).table[["azimuth_deg", "elevation_deg"]].to_numpy().tolist() == [
        [*map(float, one)] for one in angles
    ]
