"""Which video frame a moment belongs to: a table of frame times, for measurements that carry times and no frames.

Eye trackers write a row with a time for each measurement (Pupil Labs Neon: ``gaze.csv``, ``timestamp [ns]``), and
know nothing of the composite video. ``frame_times.csv`` beside it says when each frame was taken: one row per
frame in the order of the video, ``timestamp [ns]`` on the same clock.
"""

from pathlib import Path

import numpy as np

from recording import units
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError

FILE = "frame_times.csv"
COLUMN = "timestamp [ns]"


class FrameTimes:
    """The times of the frames of one video, (n,) whole nanoseconds, rising.

    A moment belongs to the frame that is nearest in time, and to none when that is farther than half the usual
    distance between two frames.
    """

    def __init__(self, times_ns: np.ndarray) -> None:
        self._times = times_ns
        self._limit = int(np.median(np.diff(times_ns))) // 2 + 1

    def frame(self, time_ns: int) -> int | None:
        """The number of the frame that shows this moment, None when there is none."""
        after = int(np.searchsorted(self._times, time_ns))
        near = [frame for frame in (after - 1, after) if 0 <= frame < len(self._times)]
        best = min(near, key=lambda frame: abs(int(self._times[frame]) - time_ns))
        return best if abs(int(self._times[best]) - time_ns) <= self._limit else None


def read(path: Path, offset_frames: float = 0.0) -> FrameTimes:
    """The table at ``path``, every time ``offset_frames`` usual distances between frames later than it says.

    :class:`DriveError` when it has no times, or they do not rise from frame to frame.
    """
    table = CsvFile(path)
    header = next((header for header in table.headers() if COLUMN in header.plain), None)
    if header is None:
        raise DriveError(f"frame times {path}: no column {COLUMN!r}; write one row per video frame with its time")
    times = np.array([_time(path, header, number, fields) for number, _, fields in table.rows(header)], dtype=np.int64)
    if len(times) < 2:
        raise DriveError(f"frame times {path}: {len(times)} rows; write one row per video frame with its time")
    falling = np.flatnonzero(np.diff(times) <= 0)
    if len(falling):
        raise DriveError(
            f"frame times {path}: frame {falling[0] + 1} is not later than the one before; "
            f"write the rows in the order of the video"
        )
    return FrameTimes(times + round(offset_frames * float(np.median(np.diff(times)))))


def whole(text: str) -> int:
    """A time in whole nanoseconds, which a float cannot hold; :class:`ValueError` for anything else."""
    try:
        return int(text.strip())
    except ValueError:
        return int(units.number(text))


def _time(path: Path, header: Header, number: int, fields: list[str] | None) -> int:
    try:
        if fields is None:
            raise ValueError
        return whole(fields[header.plain.index(COLUMN)])
    except (ValueError, OverflowError):
        raise DriveError(f"frame times {path}: line {number} has no time; write the time of every frame") from None
