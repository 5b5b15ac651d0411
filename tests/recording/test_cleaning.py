"""One label for each frame: what is left out, for which reason, and only where the file gives the evidence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recording import labels

HEADER = "dash_frames,azimuth [deg],elevation [deg]"


def read(tmp_path: Path, rows: list[str], header: str = HEADER, fps: float | None = None, **how: Any) -> labels.Labels:
    """``fps``: of a film with a constant rate."""
    path = tmp_path / "l.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    if fps is not None:
        how["seconds"] = np.arange(1000) / fps
    return labels.read(path, 1000, **how)


def test_a_frame_whose_measurements_disagree_is_left_out(tmp_path: Path) -> None:
    steady = [f"{frame},{1 + 0.1 * k},2" for frame in (4, 6) for k in range(6)]
    jump = [f"5,{azimuth},2" for azimuth in (1, 1, 8, 15, 22, 22)]
    found = read(tmp_path, [*steady, *jump])
    assert found.table["frame"].tolist() == [4, 6]
    assert found.dropped == {"measurements of the frame disagree": 1, "duplicate frame": 15}


def test_a_noisy_tracker_does_not_always_disagree_with_itself(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(scale=4.0, size=(100, 6))
    found = read(tmp_path, [f"{frame},{value:.2f},2" for frame, six in enumerate(noise) for value in six])
    assert len(found.table) > 95


@pytest.mark.parametrize(("fps", "left_out"), [(30.0, range(47, 57)), (3.0, range(50, 54)), (None, range(50, 54))])
def test_frames_beside_a_blink_are_left_out_as_far_as_lids_take(
    tmp_path: Path, fps: float | None, left_out: range
) -> None:
    rows = [f"{frame},1,2,{7 if 50 <= frame < 54 else ''}" for frame in range(100)]
    found = read(tmp_path, rows, HEADER + ",blink id", fps=fps)
    assert sorted(set(range(100)) - set(found.table["frame"])) == list(left_out)
    assert found.dropped == {"blink": 4} | ({"beside a blink": 6} if fps == 30 else {})


@pytest.mark.parametrize(("fps", "spikes"), [(30.0, {"spike": 1}), (3.0, {})])
def test_a_value_that_jumps_there_and_back_is_left_out_where_an_eye_cannot(
    tmp_path: Path, fps: float, spikes: dict[str, int]
) -> None:
    azimuth = np.repeat([0.0, 20.0], 20)  # a saccade, which stays
    azimuth[10] = 25.0
    found = read(tmp_path, [f"{frame},{value},2" for frame, value in enumerate(azimuth)], fps=fps)
    assert found.dropped == spikes


def test_frames_in_saccades_are_marked_by_the_trackers_fixations(tmp_path: Path) -> None:
    rows = [f"{frame},{frame},2,{'' if frame in (30, 31) else 1 + frame // 31}" for frame in range(60)]
    found = read(tmp_path, rows, HEADER + ",fixation id", fps=30.0)
    assert np.flatnonzero(found.moving).tolist() == [30, 31]
    no_column_filled = [row.rsplit(",", 1)[0] + "," for row in rows]
    assert not read(tmp_path, no_column_filled, HEADER + ",fixation id", fps=3.0).moving.any()


@pytest.mark.parametrize(("fps", "moving"), [(30.0, [19, 20]), (3.0, [])])
def test_frames_in_saccades_are_marked_by_speed_where_frames_are_dense(
    tmp_path: Path, fps: float, moving: list[int]
) -> None:
    azimuth = np.repeat([0.0, 20.0], 20) + 0.5 * np.arange(40)  # pursuit of 15° a second, and one jump
    found = read(tmp_path, [f"{frame},{value},2" for frame, value in enumerate(azimuth)], fps=fps)
    assert np.flatnonzero(found.moving).tolist() == moving


def test_rows_that_come_late_are_taken_for_earlier_frames(tmp_path: Path) -> None:
    found = read(tmp_path, [f"{frame},{frame},2" for frame in range(20)], offset_frames=5.0)
    assert found.table["frame"].tolist() == list(range(15))
    assert found.table["azimuth_deg"].tolist() == list(range(5, 20))
    assert found.dropped == {"no frame at that time": 5}


def rows_with_everything(count: int) -> list[str]:
    """Blinks, single wrong values and jumps that stay, in a film of so many frames."""
    blink = {frame: 1 + frame // 50 for frame in range(count) if 20 <= frame % 50 < 24}
    azimuth = [20.0 * (frame // 50 % 2) + 9 * (frame % 50 == 35) for frame in range(count)]
    return [f"{frame},{azimuth[frame]},2,{blink.get(frame, '')}" for frame in range(count)]


def test_a_pause_of_the_recording_switches_no_rule_off(tmp_path: Path) -> None:
    steady = np.arange(1000) / 30
    paused = steady + 180.0 * (np.arange(1000) >= 300)
    rows, header = rows_with_everything(600), HEADER + ",blink id"
    usual, found = (read(tmp_path, rows, header, seconds=seconds) for seconds in (steady, paused))
    assert usual.dropped == {"blink": 48, "beside a blink": 72, "spike": 12}
    assert found.dropped == usual.dropped
    # The jump from 299 to 300 took three minutes.
    assert set(np.flatnonzero(usual.moving)) - set(np.flatnonzero(found.moving)) == set(
        np.flatnonzero(usual.table["frame"].isin([299, 300]))
    )
    assert usual.moving.sum() == 46


def test_where_the_rate_changes_frames_are_judged_by_their_own_times(tmp_path: Path) -> None:
    # 30 a second in the light, 5 in the dark: there a tenth of a second is no whole frame, and neighbours say nothing.
    seconds = np.cumsum([0.0, *np.where(np.arange(999) < 300, 1 / 30, 1 / 5)])
    found = read(tmp_path, rows_with_everything(600), HEADER + ",blink id", seconds=seconds)
    assert found.dropped == {"blink": 48, "beside a blink": 36, "spike": 6}
    assert found.table["frame"][found.moving].max() == 300


def test_pictures_that_were_stamped_together_are_no_jump(tmp_path: Path) -> None:
    azimuth = 0.4 * (np.arange(60) % 2)
    seconds = np.arange(1000) / 30
    seconds[31::10] = seconds[30:999:10] + 0.001
    found = read(tmp_path, [f"{frame},{value},2" for frame, value in enumerate(azimuth)], seconds=seconds)
    assert not found.moving.any()
