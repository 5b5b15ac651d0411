"""The measured gaze angles of a drive: reading the CSV, row by row, with every dropped row counted by reason.

The columns are ``dash_frames`` (frame number in the video, from 0), ``azimuth [deg]`` and ``elevation [deg]``
(recording.angles, convention ``dashgaze``); a Pupil Labs export merged with frame numbers has exactly these,
and ``worn`` and ``blink id``. Every other column is kept as it is.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recording.exceptions import DriveError

FRAME, AZIMUTH, ELEVATION = "dash_frames", "azimuth [deg]", "elevation [deg]"
REQUIRED = (FRAME, AZIMUTH, ELEVATION)
WORN, BLINK_ID = FLAGS = ("worn", "blink id")

MALFORMED = "malformed line"
BAD_FRAME = "frame not a number"
NEGATIVE_FRAME = "negative frame"
PAST_END = "frame past the end of the video"
NOT_WORN = "not worn"
BLINK = "blink"
BLANK_ANGLE = "blank angle"
BAD_ANGLE = "angle not a number"
ABSURD_ANGLE = "angle out of range"
DUPLICATE = "duplicate frame"
REASONS = (
    MALFORMED,
    BAD_FRAME,
    NEGATIVE_FRAME,
    PAST_END,
    NOT_WORN,
    BLINK,
    BLANK_ANGLE,
    BAD_ANGLE,
    ABSURD_ANGLE,
    DUPLICATE,
)
"""Why a row is dropped, in the order in which the reasons are tried: each row has one."""

AZIMUTH_LIMIT_DEG, ELEVATION_LIMIT_DEG = 180.0, 90.0
LONGEST_LINE = 1 << 20
DELIMITERS = (",", ";", "\t")
FALSE = {"false", "0", "0.0", "no", "f", "n"}
EMPTY = {"", "nan", "none", "null", "na", "n/a"}


@dataclass(frozen=True)
class Labels:
    """The usable rows of a labels CSV.

    ``table``: ``frame`` (int), ``azimuth_deg``, ``elevation_deg``, then the kept columns; one row per frame,
    sorted by frame. ``rows``: how many rows the file has. ``dropped``: reason → count, only reasons that occur,
    in the order of :data:`REASONS`. ``frames_named``: first and last frame number of rows that were usable or
    lay past the end of the video (None when there is none).
    """

    table: pd.DataFrame
    rows: int
    dropped: dict[str, int]
    frames_named: tuple[int, int] | None

    def summary(self) -> str:
        """How many rows are usable, and why the others are not, in words."""
        said = f"{len(self.table)} of {self.rows} rows are usable"
        if not self.dropped:
            return said
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return f"{said}; dropped {sum(self.dropped.values())}: {reasons}"


def read(path: Path, frames: int | None = None) -> Labels:
    """Read a labels CSV for a video of ``frames`` frames; None: how many there are does not matter.

    Separators ``,``, ``;`` and tab are told apart by the header; with the last two a decimal comma is allowed.
    Blank lines are not rows. Of several usable rows for one frame (an eye tracker measures faster than the
    camera) the first is taken. Raises :class:`DriveError` when the file cannot be read or lacks a column.
    """
    lines = _lines(path)
    delimiter, names, plain = _header(path, next(lines, ""))
    columns = {name: plain.index(name) for name in (*REQUIRED, *FLAGS) if name in plain}
    kept = [(position, name) for position, name in enumerate(names) if plain[position] not in REQUIRED]
    judge = _judge(columns, math.inf if frames is None else frames, decimal_comma=delimiter != ",")
    dropped: Counter[str] = Counter()
    usable: dict[int, tuple[float, float, list[str]]] = {}
    rows, first, last = 0, math.inf, -math.inf
    for line in lines:
        if not line.strip():
            continue
        rows += 1
        fields = _fields(line, delimiter)
        if fields is None or len(fields) != len(names):
            dropped[MALFORMED] += 1
            continue
        reason, frame, azimuth, elevation = judge(fields)
        if reason in (None, PAST_END):
            first, last = min(first, frame), max(last, frame)
        if reason is None and frame in usable:
            reason = DUPLICATE
        if reason is not None:
            dropped[reason] += 1
            continue
        usable[frame] = (azimuth, elevation, [fields[position].strip() for position, _ in kept])
    counts = {reason: dropped[reason] for reason in REASONS if dropped[reason]}
    named = (int(first), int(last)) if last >= 0 else None
    return Labels(_table(usable, [name for _, name in kept]), rows, counts, named)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, without their ends."""
    if not path.exists():
        raise DriveError(f"labels {path}: no such file; give the CSV with the measured gaze angles")
    if not path.is_file():
        raise DriveError(f"labels {path}: is not a file; give the CSV with the measured gaze angles")
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff"):
            with path.open("r", encoding="utf-16", errors="replace", newline=None) as text:
                while line := text.readline(LONGEST_LINE):
                    yield line.rstrip("\r\n")
            return
        with path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE):
                yield _decoded(raw)
    except OSError as error:
        raise DriveError(f"labels {path}: cannot be read ({error.strerror}); check the file and its rights") from None


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        # NUL marks the line as malformed (see _fields) while the header, which may be in another encoding in a
        # column nobody needs, stays readable.
        return raw.decode("cp1252", errors="replace").rstrip("\r\n") + "\0"


def _header(path: Path, line: str) -> tuple[str, list[str], list[str]]:
    """The separator, the column names as they are, and the same names in lower case with single spaces."""
    line = line.strip("\0\ufeff")
    if not line.strip():
        raise DriveError(f"labels {path}: is empty or begins with a blank line; its first line must name the columns")
    # The separator that cuts the line into most columns.
    delimiter, names = max(
        ((candidate, _fields(line, candidate) or [line]) for candidate in DELIMITERS), key=lambda found: len(found[1])
    )
    names = [name.strip() for name in names]
    plain = [re.sub(r"\s+", " ", name).lower() for name in names]
    missing = [name for name in REQUIRED if name not in plain]
    if missing:
        shown = ", ".join(repr(name[:40]) for name in names[:20])
        raise DriveError(
            f"labels {path}: no column {', '.join(repr(name) for name in missing)}; found {shown}; "
            f"rename the columns or give another file"
        )
    twice = [name for name in (*REQUIRED, *FLAGS) if plain.count(name) > 1]
    if twice:
        raise DriveError(f"labels {path}: column {twice[0]!r} occurs {plain.count(twice[0])} times; keep one")
    return delimiter, names, plain


def _fields(line: str, delimiter: str) -> list[str] | None:
    """The fields of one line, None when it is malformed. A record is one line: a stray quote costs only its own."""
    if "\0" in line or len(line) >= LONGEST_LINE:
        return None
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def _judge(
    columns: dict[str, int], frames: float, decimal_comma: bool
) -> Callable[[list[str]], tuple[str | None, int, float, float]]:
    """A function from the fields of a row to (reason to drop it or None, frame, azimuth, elevation)."""
    at_frame, at_azimuth, at_elevation = (columns[name] for name in REQUIRED)
    worn, blink = columns.get(WORN), columns.get(BLINK_ID)

    def number(text: str) -> float:
        if "_" in text:  # Python reads 1_000 as a number, nobody else does
            raise ValueError(text)
        return float(text.replace(",", ".") if decimal_comma else text)

    def judge(fields: list[str]) -> tuple[str | None, int, float, float]:
        reason, frame = _frame(fields[at_frame], number, frames)
        if reason is None and worn is not None and fields[worn].strip().lower() in FALSE:
            reason = NOT_WORN
        if reason is None and blink is not None and fields[blink].strip().lower() not in EMPTY:
            reason = BLINK
        if reason is not None:
            return reason, frame, math.nan, math.nan
        reason, azimuth = _angle(fields[at_azimuth], number, AZIMUTH_LIMIT_DEG)
        if reason is not None:
            return reason, frame, math.nan, math.nan
        reason, elevation = _angle(fields[at_elevation], number, ELEVATION_LIMIT_DEG)
        return reason, frame, azimuth, elevation

    return judge


def _frame(text: str, number: Callable[[str], float], frames: float) -> tuple[str | None, int]:
    try:
        value = number(text)
        frame = int(value)
    except (ValueError, OverflowError):  # not a number; NaN; infinite
        return BAD_FRAME, -1
    if frame != value:
        return BAD_FRAME, -1
    if frame < 0:
        return NEGATIVE_FRAME, frame
    return (PAST_END if frame >= frames else None), frame


def _angle(text: str, number: Callable[[str], float], limit_deg: float) -> tuple[str | None, float]:
    if not text.strip():
        return BLANK_ANGLE, math.nan
    try:
        value = number(text)
    except ValueError:
        return BAD_ANGLE, math.nan
    if not math.isfinite(value):
        return BAD_ANGLE, math.nan
    return (ABSURD_ANGLE if abs(value) > limit_deg else None), value


def _table(usable: dict[int, tuple[float, float, list[str]]], kept: list[str]) -> pd.DataFrame:
    frames = sorted(usable)
    table = pd.DataFrame(
        {
            "frame": np.array(frames, dtype=np.int64),
            "azimuth_deg": np.array([usable[frame][0] for frame in frames], dtype=np.float64),
            "elevation_deg": np.array([usable[frame][1] for frame in frames], dtype=np.float64),
        }
    )
    for position, name in enumerate(kept):
        table[_free(name, table)] = pd.Series([usable[frame][2][position] for frame in frames], dtype=object)
    return table


def _free(name: str, table: pd.DataFrame) -> str:
    """``name``, or the first ``name.1``, ``name.2``… that is no column yet (headers repeat names, or lack them)."""
    name = name or "unnamed"
    reserved = {*table.columns, "driver", "road", "camera"}
    if name not in reserved:
        return name
    return next(f"{name}.{n}" for n in range(1, len(reserved) + 2) if f"{name}.{n}" not in reserved)
