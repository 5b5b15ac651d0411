"""One label for each frame: what is left out, for which reason, and only where the file gives the evidence."""

from pathlib import Path

import numpy as np
import pytest

from recording import labels

HEADER = "dash_frames,azimuth [deg],elevation [deg]"


def read(tmp_path: Path, rows: list[str], header: str = HEADER, **how: float) -> labels.Labels:
    path = tmp_path / "l.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
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
def test_frames_beside_a_blink_are_left_out_as_far_as_lids_take(tmp_path: Path, fps: float, left_out: range) -> None:
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
