"""Which columns of a labels CSV hold what: found by their names, missing and doubled ones named."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recording import frame_times, units
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError

FRAME, AZIMUTH, ELEVATION = "dash_frames", "azimuth [deg]", "elevation [deg]"
WORN, BLINK_ID = FLAGS = ("worn", "blink id")
RECORDING_ID, FIXATION_ID = "recording id", "fixation id"
_FIRST_ROWS = 50
"""Where none of so many rows has a field more than the header, no other is asked."""


@dataclass(frozen=True)
class Columns:
    """Where in a row the values are, and in which unit the angles are. ``frame`` is None where times stand for it."""

    frame: int | None
    time: int | None
    azimuth: int
    elevation: int
    units: tuple[str, str]
    worn: int | None
    blink: int | None
    fixation: int | None


def find(file: CsvFile) -> tuple[Header, Columns]:
    """The header and where the columns are; :class:`DriveError` says what is missing and what was found."""
    best: Header | None = None
    for header in file.headers():
        columns = _columns(file.path, header)
        if columns is not None:
            _check_same(file, header, columns)
            return (replace(header, row_names=True) if _has_row_names(file, header, columns) else header), columns
        if best is None or (header.line == best.line and len(header.names) > len(best.names)):
            best = header
    path = file.path
    if best is None:
        raise DriveError(f"labels {path}: is empty or begins with a blank line; its first line must name the columns")
    angles = {found[0] for found in map(units.angle_column, best.plain) if found is not None}
    if len(angles) == 2 and frame_times.COLUMN in best.plain:
        raise DriveError(
            f"labels {path}: has times ({frame_times.COLUMN!r}) and no {FRAME!r}, as eye trackers write it: rows are "
            f"joined to video frames by time. Put {frame_times.FILE} beside it, with one row per frame of the video in "
            f"its order and the column {frame_times.COLUMN!r} (same clock), or add {FRAME!r} yourself"
        )
    missing = [name for name, there in ((FRAME, FRAME in best.plain), (AZIMUTH, "azimuth" in angles),
                                        (ELEVATION, "elevation" in angles)) if not there]  # fmt: skip
    shown = ", ".join(repr(name[:40]) for name in best.names[:20])
    remedy = "rename the columns or give another file"
    times = next(filter(frame_times.is_time, best.names), None)
    if missing == [FRAME] and times and not any("frame" in name for name in best.plain):
        remedy = (
            f"{times[:40]!r} holds times, which are no numbers of frames: do not rename it, but add {FRAME!r} with the "
            f"number of the video frame that each row was measured at (from 0), or write the times in whole "
            f"nanoseconds as {frame_times.COLUMN!r} and put {frame_times.FILE} beside it, with the time of each frame "
            f"of the video on the same clock"
        )
    if len(best.names) == 1 and all(name.partition(" ")[0] in best.plain[0] for name in (FRAME, AZIMUTH, ELEVATION)):
        remedy = "write a comma, semicolon, tab or | between the columns"
    raise DriveError(f"labels {path}: no column {', '.join(repr(name) for name in missing)}; found {shown}; {remedy}")


def _columns(path: Path, header: Header) -> Columns | None:
    """The columns that a line names, None when it cannot be the header; twice the same: :class:`DriveError`."""
    plain = header.plain
    found: dict[str, int] = {}
    angle_units: dict[str, str] = {}
    for wanted, exact in (("azimuth", AZIMUTH), ("elevation", ELEVATION)):
        named = {name: units.angle_column(name) for name in plain}
        candidates = [name for name, says in named.items() if says is not None and says[0] == wanted]
        in_degrees = [name for name in candidates if named[name] == (wanted, "deg")] or candidates
        if not in_degrees:
            return None
        name = exact if exact in in_degrees else in_degrees[0]
        says = named[name]
        found[wanted], angle_units[wanted] = plain.index(name), says[1] if says else "deg"
        _check_once(path, header, name, [name])
    for name in (FRAME, *FLAGS, FIXATION_ID):
        if name in plain:
            _check_once(path, header, name, [name])
    frame = plain.index(FRAME) if FRAME in plain else None
    has_times = frame_times.COLUMN in plain and path.with_name(frame_times.FILE).is_file()
    if frame is None and not has_times:
        return None
    flags = (plain.index(name) if name in plain else None for name in (*FLAGS, FIXATION_ID))
    time = plain.index(frame_times.COLUMN) if frame is None else None
    in_units = angle_units["azimuth"], angle_units["elevation"]
    return Columns(frame, time, found["azimuth"], found["elevation"], in_units, *flags)


def _has_row_names(file: CsvFile, header: Header, columns: Columns) -> bool:
    """Whether rows begin with a name that the header lacks, as R's ``write.table`` has them, and end in an empty field.

    Such a row is as wide as one with a separator at its end. But read like that, an angle is a count of frames or
    times, or text; and only read with a name in front, frames are one and the angles are angles.
    """
    at = columns.frame if columns.frame is not None else columns.time
    assert at is not None
    positions, named = (at, columns.azimuth, columns.elevation), replace(header, row_names=True)
    plain, shifted = [], []
    for row, ((_, _, fields), (_, _, others)) in enumerate(zip(file.rows(header), file.rows(named), strict=True)):
        if fields is not None and others is not None:
            plain.append([_number(fields[position]) for position in positions])
            shifted.append([_number(others[position]) for position in positions])
        elif row == _FIRST_ROWS and not plain:
            return False
    if len(plain) < units.FEW:
        return False
    read, with_names = np.array(plain), np.array(shifted)
    angles = with_names[:, 1:]
    there = np.isfinite(angles).mean(axis=0) > 0.5
    is_angle = there & ((np.abs(np.nan_to_num(angles)) <= 360.0).mean(axis=0) > 1 - units.SHARE)
    no_angle = [_counts(values) or not np.isfinite(values).any() for values in read[:, 1:].T]
    return bool(_counts(with_names[:, 0]) and is_angle.all() and any(no_angle))


def _counts(values: np.ndarray) -> bool:
    """Whether values are whole numbers that rise and, but for single faults, never fall: frames or times, no angles."""
    finite = values[np.isfinite(values)]
    if len(finite) < (1 - units.SHARE) * len(values) or len(np.unique(finite)) < units.FEW:
        return False
    return bool((finite == np.round(finite)).all() and (np.diff(finite) < 0).mean() <= units.SHARE)


def _number(text: str) -> float:
    try:
        return units.number(text)
    except ValueError:
        return math.nan


def _check_same(file: CsvFile, header: Header, columns: Columns) -> None:
    """Refuse an angle that has two columns in one unit, spelled differently, of which any row differs."""
    for at in (columns.azimuth, columns.elevation):
        says = units.angle_column(header.plain[at])
        others = [k for k, name in enumerate(header.plain) if k != at and units.angle_column(name) == says]
        for number, _, fields in file.rows(header) if others else ():
            for other in others:
                if fields is None or units.is_empty(fields[other]):
                    continue
                one, two = _number(fields[at]), _number(fields[other])
                if not math.isfinite(one) and not math.isfinite(two):  # no angle in either
                    continue
                if not units.is_same(one, two):
                    raise DriveError(
                        f"labels {file.path}: columns {header.names[at]!r} and {header.names[other]!r} are one angle "
                        f"and differ ({fields[at][:40]!r} and {fields[other][:40]!r} in line {number}); keep one"
                    )


def _check_once(path: Path, header: Header, name: str, same: list[str]) -> None:
    count = sum(header.plain.count(one) for one in same)
    if count > 1:
        raise DriveError(f"labels {path}: column {name!r} occurs {count} times; keep one")
