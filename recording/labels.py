"""The measured gaze angles of a drive: reading the CSV, row by row, with every dropped row counted by reason.

The columns are ``dash_frames`` (frame number in the video, from 0), ``azimuth [deg]`` and ``elevation [deg]``
(azimuth to the driver's right and elevation up are positive); a Pupil Labs export merged with frame numbers has
exactly these, and ``worn`` and ``blink id``. Every other column is kept as it is.

How the file is written down is :mod:`recording.dialect`'s business, numbers and units are :mod:`recording.units`'.
Single bad rows are dropped and counted. A whole class of rows that cannot be read, or is not what its column says,
is another matter: what is left would be another drive, so it is shown and refused (:mod:`recording.badrows`).
"""

import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recording import cleaning, decimal_commas, frame_numbers, frame_times, units
from recording.badrows import (
    ABSURD_ANGLE,
    BAD_ANGLE,
    BAD_FLAG,
    BAD_FRAME,
    BLANK_ANGLE,
    BLINK,
    DISAGREE,
    MALFORMED,
    NEGATIVE_FRAME,
    NO_FRAME,
    NOT_WORN,
    ON_BAD_ROWS,
    PAST_END,
    REASONS,
    STOP,
    BadRows,
    check_zeros,
    is_class,
    warn_of_lost,
)
from recording.columns import RECORDING_ID, Columns, find
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError, InputError
from recording.frame_times import seconds_per_tick
from recording.trace import Gathered, Rows
from recording.units import AZIMUTH_LIMIT_DEG, ELEVATION_LIMIT_DEG, EMPTY

log = logging.getLogger("recording.labels")

__all__ = ["AZIMUTH_LIMIT_DEG", "ELEVATION_LIMIT_DEG", "EMPTY", "ON_BAD_ROWS", "PAST_END", "REASONS", "Labels", "read"]

_GROUPED = re.compile(r"\s*\d{1,3}([.,]\d{3})+\s*")
_FIXED = re.compile(r"\s*\d+[.,]0+\s*")
MOST_OFFSET = 1_000_000
"""Frames; more than a drive has."""


@dataclass(frozen=True)
class Labels:
    """The usable rows of a labels CSV.

    ``table``: ``frame`` (int), ``azimuth_deg``, ``elevation_deg``, then the kept columns; one row per frame,
    sorted by frame. ``rows``: how many rows the file has. ``dropped``: reason → count, only reasons that occur,
    in the order of :data:`REASONS`. ``frames_named``: first and last frame number of rows that were usable or
    lay past the end of the video (None when there is none). ``moving`` (n,): the frames of the table in which the
    eyes jump. ``measured``: all rows whose frame is known. ``notes``: what was read in another way than the
    names of the columns say. ``times_file``: the table that gave the rows their frames, None when they have them.
    ``span``: first and last frame with a usable row, before :mod:`recording.cleaning` leaves frames out; None without.
    """

    table: pd.DataFrame
    moving: np.ndarray
    measured: Rows
    rows: int
    dropped: dict[str, int]
    frames_named: tuple[int, int] | None
    notes: tuple[str, ...] = ()
    times_file: Path | None = None
    span: tuple[int, int] | None = None

    def summary(self) -> str:
        """How many rows are usable, why the others are not, and how they were read, in words."""
        said = f"{len(self.table)} of {self.rows} rows are usable"
        if self.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
            said += f"; dropped {sum(self.dropped.values())}: {reasons}"
        return "; ".join([said, *self.notes])


def read(
    path: Path,
    frames: int | None = None,
    on_bad_rows: str = STOP,
    seconds: np.ndarray | None = None,
    offset_frames: float = 0.0,
    unshown: int = 0,
    assumed: bool = False,
) -> Labels:
    """Read a labels CSV for a video of ``frames`` frames; None: how many there are does not matter.

    Blank lines are not rows. Of several usable rows for one frame (an eye tracker measures faster than the camera) the
    median is taken, and frames are left out as :mod:`recording.cleaning` says; the rules in time only where ``seconds``
    (frames,), when each is shown, are given. ``offset_frames``: by how many frames the rows come too late: the row of
    frame n is taken for frame n − offset. ``unshown``: how many pictures the video has before its first frame that
    cannot be decoded, and so have no number. ``assumed``: the ``seconds`` are of a rate that the video only names, or
    not even that. Raises :class:`InputError` for a fraction of a frame where rows name frames, and :class:`DriveError`
    when the file cannot be read, lacks a column, holds other units than its columns say, or when a whole class of rows
    would be dropped: the last not with ``on_bad_rows="drop"``.
    """
    if on_bad_rows not in ON_BAD_ROWS:
        raise InputError(f"on_bad_rows={on_bad_rows!r} is unknown: choose one of {', '.join(ON_BAD_ROWS)}")
    file = CsvFile(path)
    header, columns = find(file)
    header = decimal_commas.joined(file, header, columns)
    decimal_commas.check(file, header, columns)
    _check_offset(offset_frames, None if columns.frame is None else header.names[columns.frame])
    scales, notes = _scales(file, header, columns, on_bad_rows == STOP)
    if header.row_names:
        notes.append("the first field of each row, which the header does not name, is taken for a name of the row")
    if header.halves:
        notes.append("decimal commas have made two fields of each angle, which are put together again")
    times_file = None
    if columns.frame is None:
        times_file = path.with_name(frame_times.FILE)
        notes.append(f"frames found by time in {times_file.name}")
        _check_times(file, header, columns)
    if offset_frames:
        notes.append(f"rows taken for frames that are {offset_frames:g} earlier")
    grouped = columns.frame is not None and not _has_decimals(file, header, columns.frame)
    times = None if times_file is None else frame_times.read(times_file, offset_frames, frames, unshown)
    judge = _judge(columns, scales, math.inf if frames is None else frames, times, round(offset_frames), grouped)
    used = {columns.frame, columns.azimuth, columns.elevation}
    kept = [(position, name) for position, name in enumerate(header.names) if position not in used]
    bad, found = BadRows(path, header), Gathered()
    named_before: dict[int, list[str]] = {}
    later: list[str] = []  # of all rows of a frame but the first: their text is not wanted, and would fill the memory
    rows, first, last = 0, math.inf, -math.inf
    clock = next(((at, tick) for at, name in enumerate(header.names) if (tick := seconds_per_tick(name))), None)
    clock = None if assumed else clock
    named: list[int] = []
    moments: list[float] = []  # of the rows in ``named``, where a column says when they were measured
    rounded: list[tuple[int, str, int]] = []
    for number, line, fields in file.rows(header):
        rows += 1
        if fields is None:
            bad.add(MALFORMED, number, line)
            continue
        reason, at, frame, azimuth, elevation = judge(fields)
        if reason in (None, PAST_END):
            first, last = min(first, frame), max(last, frame)
        if columns.frame is not None and reason not in NOT_NUMBERED:
            named.append(frame)
            if clock is not None:
                moments.append(_seconds(fields[clock[0]], clock[1]))
            if not fields[columns.frame].isdigit() and frame_numbers.is_rounded(fields[columns.frame]):
                rounded.append((number, fields[columns.frame], frame))
        others: list[str] | None = None
        if reason is None and frame in named_before:
            _check_one_recording(path, header, number, fields, named_before[frame])
            others = later
        elif reason is None:
            named_before[frame] = fields
            others = [fields[position].strip() for position, _ in kept]
        if reason is not None:
            bad.add(reason, number, line if at is None else fields[at], at)
        if reason in (BLANK_ANGLE, BAD_ANGLE) and (blank := _blank(fields, columns)):
            bad.add_blank(number, blank)
        if reason not in NOWHERE:
            fixated = columns.fixation is None or _is_numbered(fields[columns.fixation])
            found.add(frame, azimuth, elevation, reason == BLINK, fixated, others)
    if columns.frame is not None:
        column = header.names[columns.frame]
        _check_numbers(path, column, named, moments, rounded, frames, seconds, on_bad_rows == STOP, unshown)
    measured = found.rows(columns.blink is not None, columns.fixation is not None)
    labelled = cleaning.label_frames(measured, found.usable(), seconds)
    bad.add_many(labelled.dropped)
    table = _table(labelled, found.others, [name for _, name in kept])
    if on_bad_rows == STOP:
        bad.check(rows, {columns.azimuth: table["azimuth_deg"], columns.elevation: table["elevation_deg"]})
        _check_one_drive(path, measured, found.usable(), labelled)
    check_zeros(path, (header.names[columns.azimuth], header.names[columns.elevation]), table, on_bad_rows == STOP)
    bad.warn_of_lost_side(rows, columns.azimuth, table["azimuth_deg"])
    warn_of_lost(path, table["azimuth_deg"], table["elevation_deg"])
    frames_named = (int(first), int(last)) if last >= 0 else None
    labelled_frames = measured.frame[found.usable()]
    span = (int(labelled_frames.min()), int(labelled_frames.max())) if len(labelled_frames) else None
    return Labels(table, labelled.moving, measured, rows, bad.counts(), frames_named, tuple(notes), times_file, span)


def _check_offset(frames: float, numbers: str | None) -> None:
    """Refuse an offset that would be said of the drive and not be what was applied; ``numbers``: the frame column."""
    if not abs(frames) < MOST_OFFSET:  # NaN, too
        raise InputError(f"label_offset_frames={frames:g}: must be a number of frames nearer to 0 than {MOST_OFFSET:,}")
    if numbers is not None and frames != round(frames):
        raise InputError(
            f"label_offset_frames={frames:g}: rows that name frames ({numbers!r}) can only be taken for whole frames "
            f"earlier; give {round(frames)} or another whole number"
        )


def _check_times(file: CsvFile, header: Header, columns: Columns) -> None:
    """Refuse times that a program rounded until many rows have the same."""
    at, times = columns.time, []
    assert at is not None
    for number, _, fields in file.rows(header):
        if fields is None:
            continue
        try:
            times.append((number, fields[at], frame_times.whole(fields[at])))
        except (ValueError, OverflowError):
            continue
    frame_times.check_not_rounded(file.path, header.names[at], times)


def _check_numbers(
    path: Path,
    column: str,
    named: list[int],
    moments: list[float],
    rounded: list[tuple[int, str, int]],
    frames: int | None,
    seconds: np.ndarray | None,
    stop: bool,
    unshown: int,
) -> None:
    """Refuse frame numbers that are rounded, those of another clock, or that count pictures which have none."""
    # Of nanoseconds under this name some are no numbers of the table; whatever is so far past the end is alike.
    numbers = np.minimum(np.array(named, dtype=np.float64), 2.0**62).astype(np.int64)
    frame_numbers.check_not_rounded(path, column, rounded, numbers)
    if frames is not None:
        fps = None if seconds is None or len(seconds) < 2 else 1 / float(np.median(np.diff(seconds)))
        if stop:
            frame_numbers.check_start(path, column, numbers, frames, unshown)
        counted = frame_numbers.rate(numbers, np.array(moments)) if moments and fps else None
        is_sure = (
            counted is not None
            and seconds is not None
            and frame_numbers.check_rate(path, column, numbers, counted, seconds, stop)
        )
        frame_numbers.check_clock(path, column, numbers, frames, fps, stop, is_sure)


def _seconds(text: str, tick: float) -> float:
    """A moment; NaN where there is none."""
    try:
        return units.number(text) * tick
    except ValueError:
        return math.nan


NOT_NUMBERED = {BAD_FRAME, NEGATIVE_FRAME, NO_FRAME}
"""Reasons for which a row has no frame number."""
NOWHERE = {BAD_FRAME, NEGATIVE_FRAME, NO_FRAME, PAST_END}
"""Reasons for which a row belongs to no frame of the video."""


def _check_one_recording(path: Path, header: Header, line: int, fields: list[str], before: list[str]) -> None:
    """Two recordings that both name a frame are two drives: the rows of one of them belong to another video."""
    if RECORDING_ID not in header.plain:
        return
    at = header.plain.index(RECORDING_ID)
    here, there = fields[at].strip(), before[at].strip()
    if here != there:
        raise DriveError(
            f"labels {path}: two recordings name the same frame ({header.names[at]!r} is {there[:40]!r}, and "
            f"{here[:40]!r} in line {line}); give the rows of this video alone"
        )


def _check_one_drive(path: Path, rows: Rows, usable: np.ndarray, labelled: cleaning.Labelled) -> None:
    """Refuse rows of two drives one below the other, or sorted into each other: what is left of them is chance."""
    twice = cleaning.passages_disagree(rows, usable)
    frames = len(np.unique(rows.frame[usable]))
    if is_class(len(twice), frames):
        (frame, one, other), count = twice[0], len(twice)
        looks = " and at ".join(f"{azimuth:g}, {elevation:g}" for azimuth, elevation in (one, other))
        said = (
            f"{count} of {frames} frames are named in separate places of the file by rows that disagree (frame {frame} "
        )
        said += f"looks at {looks})"
    else:
        several = int((np.unique(rows.frame[usable], return_counts=True)[1] > 1).sum())
        count = labelled.dropped[DISAGREE]
        if not is_class(count, frames) or count <= several / 2:
            return
        said = f"{count} of the {several} frames with several rows have rows that disagree (such as frame "
        said += f"{labelled.disagreeing[0]})"
    raise DriveError(
        f"labels {path}: {said}, as where two drives are in one file; give the rows of this video alone, or go on with "
        f"what is left with on_bad_rows=drop"
    )


def _scales(
    file: CsvFile, header: Header, columns: Columns, stop: bool
) -> tuple[tuple[units.AngleScale, units.AngleScale], list[str]]:
    """How both angles are read, judged by all their numbers, and notes about it.

    Radians that are called degrees are refused where ``stop``, else said.
    """
    numbers = np.array(list(_numbers(file, header, columns)), dtype=np.float64).reshape(-1, 2)
    seen = units.radians_called_degrees(*numbers.T) if columns.units == ("deg", "deg") else None
    scales, notes = [], []
    if seen is not None and stop:
        raise DriveError(
            f"labels {file.path}: {header.names[columns.azimuth]!r} and {header.names[columns.elevation]!r} {seen} in "
            f"{len(numbers)} rows: these are radians; call columns that hold radians 'azimuth [rad]' and "
            f"'elevation [rad]', or write degrees; where they are degrees, of a driver who hardly looked anywhere "
            f"else, go on with on_bad_rows=drop, which takes them as degrees"
        )
    if seen is not None:
        log.warning("labels %s: angles %s in %d rows, as radians do; taken as degrees", file.path, seen, len(numbers))
    for values, unit, at in zip(numbers.T, columns.units, (columns.azimuth, columns.elevation), strict=True):
        scales.append(units.angle_scale(values, unit) if len(values) else units.AngleScale())
        if scales[-1].full:
            notes.append(f"{header.names[at]!r} counts from 0 to 360: above 180 is read as negative")
        if unit == "rad":
            notes.append(f"{header.names[at]!r} is turned into degrees")
    return (scales[0], scales[1]), notes


def _numbers(file: CsvFile, header: Header, columns: Columns) -> Iterator[tuple[float, float]]:
    """The finite pairs of angles as they are written."""
    for _, _, fields in file.rows(header):
        if fields is None:
            continue
        try:
            pair = units.number(fields[columns.azimuth]), units.number(fields[columns.elevation])
        except ValueError:
            continue
        if math.isfinite(pair[0]) and math.isfinite(pair[1]):
            yield pair


Verdict = tuple[str | None, int | None, int, float, float]
"""Reason to drop the row or None, the column at fault or None, frame, azimuth, elevation."""


def _has_decimals(file: CsvFile, header: Header, at: int) -> bool:
    """Whether every frame number is written with a fraction of zeros: then ``12.000`` is 12."""
    texts = (fields[at] for _, _, fields in file.rows(header) if fields is not None and not units.is_empty(fields[at]))
    return all(map(_FIXED.fullmatch, texts))


def _judge(
    columns: Columns,
    scales: tuple[units.AngleScale, units.AngleScale],
    frames: float,
    times: frame_times.FrameTimes | None,
    offset: int,
    grouped: bool,
) -> Callable[[list[str]], Verdict]:
    """A function from the fields of a row to its verdict. ``grouped``: frame numbers may have separated thousands."""
    worn, blink = columns.worn, columns.blink

    def judge(fields: list[str]) -> Verdict:
        at = columns.frame if columns.frame is not None else columns.time
        assert at is not None
        text = fields[at]
        if times is not None:
            reason, frame = _frame_at(text, times, frames)
        elif grouped and _GROUPED.fullmatch(text):  # "12,000" is 12 here and 12000 there
            reason, frame = BAD_FRAME, -1
        else:
            reason, frame = _frame(text, frames, offset)
        if reason is None and worn is not None and not units.is_empty(fields[worn]):
            said = units.truth(fields[worn])
            reason, at = (BAD_FLAG, worn) if said is None else (None if said else NOT_WORN, at)
        if reason is None and blink is not None and _is_numbered(fields[blink]):
            reason = BLINK
        if reason is not None:
            return reason, at, frame, math.nan, math.nan
        reason, azimuth = _angle(fields[columns.azimuth], scales[0], AZIMUTH_LIMIT_DEG)
        if reason is not None:
            return reason, columns.azimuth, frame, math.nan, math.nan
        reason, elevation = _angle(fields[columns.elevation], scales[1], ELEVATION_LIMIT_DEG)
        return reason, columns.elevation, frame, azimuth, elevation

    return judge


def _blank(fields: list[str], columns: Columns) -> list[int]:
    """The columns of angles in which a row has no value; of one that has text in the other they say nothing."""
    both = (columns.azimuth, columns.elevation)
    blank = [column for column in both if units.is_empty(fields[column])]
    return blank if len(blank) == 2 or all(_is_number(fields[column]) for column in both if column not in blank) else []


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(units.number(text))
    except ValueError:
        return False


def _is_numbered(text: str) -> bool:
    """Trackers count blinks and fixations from 1 and write nothing between them, which tables then fill with 0, -1 or
    false."""
    if units.is_empty(text):
        return False
    try:
        return units.number(text) > 0
    except ValueError:
        return units.truth(text) is not False


def _frame(text: str, frames: float, offset: int) -> tuple[str | None, int]:
    try:
        value = units.number(text)
        frame = int(value)
    except (ValueError, OverflowError):  # not a number; NaN; infinite
        return BAD_FRAME, -1
    if frame != value:
        return BAD_FRAME, -1
    if frame >= 0 > frame - offset:
        return NO_FRAME, frame - offset
    frame -= offset if frame >= 0 else 0
    if frame < 0:
        return NEGATIVE_FRAME, frame
    return (PAST_END if frame >= frames else None), frame


def _frame_at(text: str, times: frame_times.FrameTimes, frames: float) -> tuple[str | None, int]:
    try:
        frame = times.frame(frame_times.whole(text))
    except (ValueError, OverflowError):
        return BAD_FRAME, -1
    if frame is None:
        return NO_FRAME, -1
    return (PAST_END if frame >= frames else None), frame


def _angle(text: str, scale: units.AngleScale, limit_deg: float) -> tuple[str | None, float]:
    if not text.strip():
        return BLANK_ANGLE, math.nan
    try:
        value = scale.degrees(units.number(text))
    except ValueError:
        return BAD_ANGLE, math.nan
    if not math.isfinite(value):
        return BAD_ANGLE, math.nan
    return (ABSURD_ANGLE if abs(value) > limit_deg else None), value


def _table(labelled: cleaning.Labelled, others: list[list[str] | None], kept: list[str]) -> pd.DataFrame:
    columns: dict[str, np.ndarray | pd.Series] = {
        "frame": labelled.frame.astype(np.int64),
        "azimuth_deg": labelled.angles_deg[:, 0],
        "elevation_deg": labelled.angles_deg[:, 1],
    }
    rows = [others[row] or [] for row in labelled.row]
    for position, name in enumerate(kept):
        columns[_free(name, columns)] = pd.Series([fields[position] for fields in rows], dtype=object)
    return pd.DataFrame(columns)


def _free(name: str, taken: dict[str, np.ndarray | pd.Series]) -> str:
    """``name``, or the first ``name.1``, ``name.2``… that is no column yet (headers repeat names, or lack them)."""
    name = name or "unnamed"
    reserved = {*taken, "driver", "road", "camera", "time_s"}  # names that samples.csv needs for itself
    if name not in reserved:
        return name
    return next(f"{name}.{n}" for n in range(1, len(reserved) + 2) if f"{name}.{n}" not in reserved)
