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
