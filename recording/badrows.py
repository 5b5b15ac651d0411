"""Why rows of a labels CSV are dropped, how many for which reason, and when that is too many to go on.

A blink, glasses that are off, blank angles: such rows are normal, however many there are. Rows that are dropped
for how they are *written* – another minus sign, another unit, another separator – are a class: they hold, say, all
looks to the left, and a model of what is left knows only the other side. Programs that could not read such numbers
leave blanks in their place: there one angle is blank beside the other, and a tracker that loses the eyes loses both.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from recording import units
from recording.dialect import Header
from recording.exceptions import DriveError

log = logging.getLogger("recording.badrows")

MALFORMED = "malformed line"
BAD_FRAME = "frame not a number"
NEGATIVE_FRAME = "negative frame"
NO_FRAME = "no frame at that time"
PAST_END = "frame past the end of the video"
BAD_FLAG = "worn neither yes nor no"
NOT_WORN = "not worn"
BLINK = "blink"
BLANK_ANGLE = "blank angle"
BAD_ANGLE = "angle not a number"
ABSURD_ANGLE = "angle out of range"
DUPLICATE = "duplicate frame"
DISAGREE = "measurements of the frame disagree"
BESIDE_BLINK = "beside a blink"
SPIKE = "spike"
MOVING = "within a saccade"
REASONS = (
    MALFORMED,
    BAD_FRAME,
    NEGATIVE_FRAME,
    NO_FRAME,
    PAST_END,
    BAD_FLAG,
    NOT_WORN,
    BLINK,
    BLANK_ANGLE,
    BAD_ANGLE,
    ABSURD_ANGLE,
    DISAGREE,
    BESIDE_BLINK,
    SPIKE,
    MOVING,
    DUPLICATE,
)
"""Why a row is dropped, in the order in which the reasons are tried: each row has one."""

WRITING = {MALFORMED, BAD_FRAME, BAD_FLAG, BAD_ANGLE, ABSURD_ANGLE}
"""Reasons that lie in how a row is written."""
ON_BAD_ROWS = STOP, DROP = ("stop", "drop")
ONE_SIDED_FROM, ONE_SIDED_SHARE = 3, 0.01
"""So many angles of one column that cannot be read make it worth asking whether the others lie on one side."""


class BadRows:
    """The dropped rows of one file, counted by reason; of those that are written wrongly, the first by column."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._header = path, header
        self._counts: Counter[str] = Counter()
        self._classes: Counter[tuple[str, int | None]] = Counter()
        self._first: dict[tuple[str, int | None], tuple[int, str]] = {}
        self._alone: dict[int, list[int]] = {}
        self._lost: list[int] = []

    def add_blank(self, line: int, columns: list[int]) -> None:
        """Note that a row has no value in one or both of the columns of angles."""
        if len(columns) == 1:
            self._alone.setdefault(columns[0], []).append(line)
        else:
            self._lost.append(line)

    def add(self, reason: str, line: int, text: str, column: int | None = None) -> None:
        """Count a row; ``text`` is what is wrong with it: the field of ``column``, or the whole line."""
        self._counts[reason] += 1
        if reason in WRITING and not units.is_empty(text):  # a value that is not there is not written wrongly
            self._classes[reason, column] += 1
            self._first.setdefault((reason, column), (line, text))

    def add_many(self, counts: Mapping[str, int]) -> None:
        """Count rows that are left out for what they say of a frame, not for how they are written."""
        self._counts.update(counts)

    def counts(self) -> dict[str, int]:
        """Reason → count, only reasons that occur, in their order."""
        return {reason: self._counts[reason] for reason in REASONS if self._counts[reason]}

    def check(self, rows: int, kept: Mapping[int | None, pd.Series]) -> None:
        """:class:`DriveError` when a class of rows is lost, with its first one.

        That is: more than 5 % of the rows (and a few at least) for one reason in one column, or some angles of a
        column of which what is ``kept`` (column → values) lies on one side of 0, be they written wrongly or blank where
        the other angle is there.
        """
        for (reason, column), count in self._classes.most_common():
            one_sided = column in kept and leaves_one_side(count, rows, kept[column])
            if one_sided or is_class(count, rows):
                line, text = self._first[reason, column]
                left = ", and what is left lies on one side of 0" if one_sided else ""
                raise DriveError(
                    f"labels {self._path}: {count} of {rows} rows would be dropped ({reason}){left}: "
                    f"{self._example(column, text)} in line {line}; {_REMEDY[reason]}, or go on without these rows "
                    f"with on_bad_rows=drop"
                )
        for column, lines in self._alone.items():
            if column in kept and leaves_one_side(len(lines), rows, kept[column]):
                raise DriveError(
                    f"labels {self._path}: {len(lines)} of {rows} rows have one angle and no "
                    f"{self._header.names[column]!r} (the first in line {lines[0]}), and what is left lies on one side "
                    f"of 0, {BLANKED}, or go on without these rows with on_bad_rows=drop"
                )

    def warn_of_lost_side(self, rows: int, column: int, kept: pd.Series) -> None:
        """Say it when many rows have neither angle and what is ``kept`` of ``column`` lies on one side of 0.

        Eyes that are lost are no fault of the file, and whoever looks to one side only is right: it is only said.
        """
        if leaves_one_side(len(self._lost), rows, kept):
            log.warning(
                "labels %s: %d of %d rows have no angles (the first in line %d), and %r of all others lies on one side "
                "of 0: right of a driver who looked to one side only, wrong %s",
                *(self._path, len(self._lost), rows, self._lost[0], self._header.names[column], BLANKED),
            )

    def _example(self, column: int | None, text: str) -> str:
        shown = repr(text if len(text) <= 80 else text[:80] + "…")
        if column is None:
            return f"{shown} does not fit the {len(self._header.names)} columns of the header"
        return f"{self._header.names[column]!r} is {shown}"


BLANKED = (
    "as where a program could not read how they were written (another minus sign) and left them blank; write all "
    "angles as plain numbers"
)
"""What is to be said of angles that are blank and would lie on the other side."""
_REMEDY = {
    MALFORMED: "write every row with as many fields as the header, decimal commas in quotes",
    BAD_FRAME: "write frame numbers as whole numbers",
    BAD_FLAG: "write 1 or 0, or true or false",
    BAD_ANGLE: "write angles as plain numbers",
    ABSURD_ANGLE: f"write degrees, azimuth within ±{units.AZIMUTH_LIMIT_DEG:g} and elevation within "
    f"±{units.ELEVATION_LIMIT_DEG:g}",
}


def warn_of_lost(path: Path, azimuth: pd.Series, elevation: pd.Series) -> None:
    """Say it when a class of ``path``'s frames looks exactly at one point and nowhere else a tenth as exactly.

    Some trackers write zeros, or -1, 90 or 180, while they have lost the eyes. Targets on a wall are looked at exactly,
    too: then other pairs of angles are as frequent.
    """
    frequent = pd.Series(zip(azimuth, elevation, strict=True)).value_counts().head(2)
    if frequent.empty:
        return
    count, others = int(frequent.iloc[0]), int(frequent.iloc[1:].sum())
    if is_class(count, len(azimuth)) and count > 10 * others:
        log.warning(
            "labels %s: %d of %d frames look at exactly %g, %g, where no other angles are that frequent; if the "
            "tracker writes these when it has lost the eyes, leave the values blank",
            *(path, count, len(azimuth), *frequent.index[0]),
        )


def check_zeros(path: Path, names: tuple[str, str], table: pd.DataFrame, stop: bool) -> None:
    """Refuse, where ``stop``, azimuths of which a whole side was written as 0, else say so; elevations are only said.

    ``names``: as the columns of azimuth and elevation are called in the file; ``table``: a row per frame. Looks to both
    sides are in every drive, but trackers may end at the horizon. :class:`DriveError`.
    """
    angles = table["azimuth_deg"], table["elevation_deg"]
    for name, values, other in zip(names, angles, reversed(angles), strict=True):
        count = zeros_for_a_side(values, other)
        if not count:
            continue
        first = int(table["frame"][values == 0].iloc[0])
        line = (
            f"labels {path}: {name!r} is exactly 0 in {count} of {len(table)} frames (the first is frame {first}), and "
            f"all others lie on one side of 0, {ZEROED}"
        )
        if stop and values is angles[0]:
            raise DriveError(f"{line}, or go on with these zeros as they are with on_bad_rows=drop")
        log.warning("%s; they are used as they are", line)


ZEROED = (
    "as where a program wrote 0 for all numbers of the other side (it cut them off, or could not read them); write all "
    "angles as they were measured"
)
"""What is to be said of angles that are 0 and would lie on the other side."""
ZEROS_TO_OTHERS = 10
"""Exact zeros are a fault only from so many times as many as of any other value on: whole degrees have these, too."""


def zeros_for_a_side(values: pd.Series, other: pd.Series) -> int:
    """How many angles of one column are 0 because all of one side were written so; 0 where that is not to be seen.

    It is where nothing is left on that side, and no other value is nearly as frequent, while the ``other`` angle goes
    on moving: eyes that are lost give zeros in both.
    """
    is_zero = values == 0
    count, rest = int(is_zero.sum()), values[~is_zero]
    if not is_class(count, len(values)) or len(rest) < units.FEW or not ((rest > 0).all() or (rest < 0).all()):
        return 0
    frequent, at_once = (int(column.value_counts().iloc[0]) for column in (rest, other[is_zero]))
    return count if count > ZEROS_TO_OTHERS * frequent and 2 * at_once <= count else 0


def is_class(count: int, rows: int) -> bool:
    """Whether ``count`` of ``rows`` are so many that they are no single faults."""
    return count >= units.FEW and count > units.SHARE * rows


def leaves_one_side(count: int, rows: int, kept: pd.Series) -> bool:
    """Whether with ``count`` of ``rows`` angles a whole side of 0 was lost: what is ``kept`` lies on the other."""
    many = count >= ONE_SIDED_FROM and count > ONE_SIDED_SHARE * rows
    return many and len(kept) >= units.FEW and bool((kept >= 0).all() or (kept <= 0).all())
