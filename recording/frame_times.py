"""Which video frame a moment belongs to: a table of frame times, for measurements that carry times and no frames.

Eye trackers write a row with a time for each measurement (Pupil Labs Neon: ``gaze.csv``, ``timestamp [ns]``), and
know nothing of the composite video. ``frame_times.csv`` beside it says when each frame was taken: one row per
frame in the order of the video, ``timestamp [ns]`` on the same clock.
"""

import logging
import re
from pathlib import Path

import numpy as np

from recording import units
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError

log = logging.getLogger("recording.frame_times")

FILE = "frame_times.csv"
COLUMN = "timestamp [ns]"
SPARE = 2
"""So many rows more or fewer than the video has frames are the last ones: recorders are stopped between two frames."""
SHARED = 4
"""More rows of measurements than this that share one time: both eyes do, more are rounded."""


_TIME = re.compile(r"(^|[^a-z])(date|time|timestamp|datetime|clock|seconds?|secs?|s|ms|us|µs|ns|utc)([^a-z]|$)")
"""A word of a column's name by which it holds times, be it the name or the unit."""


def is_time(column: str) -> bool:
    """Whether a column's name says that it holds times: ``time [s]``, ``Timestamp``, ``t_ms``, ``seconds``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower()
    return words.strip() == "t" or bool(_TIME.search(words))


_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNIT = re.compile(rf"[\[(_ ]({'|'.join(_UNITS)})[\])]?\s*$")


def seconds_per_tick(column: str) -> float | None:
    """What one of a column's numbers is worth where its name says that it holds times and in which unit."""
    unit = _UNIT.search(column.lower())
    return _UNITS[unit[1]] if unit and is_time(column) else None


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


def read(path: Path, offset_frames: float = 0.0, frames: int | None = None, unshown: int = 0) -> FrameTimes:
    """The table at ``path``, every time ``offset_frames`` usual distances between frames later than it says.

    :class:`DriveError` when it has no times, they do not rise from frame to frame, or it has another number of rows
    than the video has ``frames`` (None: not known), by more than :data:`SPARE`. ``unshown``: pictures before its first
    frame that cannot be decoded (:class:`recording.beginning.Beginning`); a table may have rows for these, too.
    """
    table = CsvFile(path)
    header = next((header for header in table.headers() if COLUMN in header.plain), None)
    if header is None:
        raise DriveError(f"frame times {path}: no column {COLUMN!r}; write one row per video frame with its time")
    times = np.array([_time(path, header, number, fields) for number, _, fields in table.rows(header)], dtype=np.int64)
    if len(times) < 2:
        raise DriveError(f"frame times {path}: {len(times)} rows; write one row per video frame with its time")
    if frames is not None and unshown:
        times = times[_rows_before(path, len(times), frames, unshown) :]
    if frames is not None and abs(len(times) - frames) > SPARE:
        raise DriveError(
            f"frame times {path}: {len(times)} rows for the {frames} frames of the video; write one row per frame of "
            f"this video, in its order, from its first frame on"
        )
    falling = np.flatnonzero(np.diff(times) <= 0)
    if len(falling):
        here, same = falling[0] + 1, times[falling[0]] == times[falling[0] + 1]
        raise DriveError(
            f"frame times {path}: frame {here} is not later than the one before (both {times[here]}); write all digits "
            f"of each time in whole nanoseconds (spreadsheets round them)"
            if same
            else f"frame times {path}: frame {here} is not later than the one before; "
            f"write the rows in the order of the video"
        )
    return FrameTimes(times + round(offset_frames * float(np.median(np.diff(times)))))


def _rows_before(path: Path, rows: int, frames: int, unshown: int) -> int:
    """How many rows belong to pictures before the first frame: none, or one for each; :class:`DriveError` where the
    count of rows does not tell."""
    without, of_all = abs(rows - frames), abs(rows - frames - unshown)
    if without == of_all or (min(without, of_all) > 0 and max(without, of_all) <= SPARE):
        raise DriveError(
            f"frame times {path}: {rows} rows for a video of {frames} frames that begins with {unshown} pictures that "
            f"cannot be decoded: whether the first rows are theirs is not to be told; write {frames} rows, from the "
            f"first picture on that players show"
        )
    if without < of_all:
        return 0
    log.warning("frame times %s: the first %d rows are of pictures that cannot be decoded", path, unshown)
    return unshown


def check_not_rounded(path: Path, column: str, times: list[tuple[int, str, int]]) -> None:
    """Refuse the times of a labels file, ``(line, text, time)`` of its rows, of which most are rounded to the same
    few: :class:`DriveError`. A spreadsheet that shows 1.69E+18 saves just that."""
    different = len({time for _, _, time in times})
    if len(times) >= 20 and len(times) > SHARED * different:
        line, text, _ = times[0]
        raise DriveError(
            f"labels {path}: {len(times)} rows have only {different} different times ({column!r} is {text[:40]!r} in "
            f"line {line}): they are rounded, as spreadsheets do; give the file as the eye tracker wrote it"
        )


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
