"""Decimal commas in a file whose columns are separated by commas: one number is two fields there.

Rows are then too long for the header, unless it names columns that the rows leave out. Both parts are whole numbers,
and the second ones are the decimals of the first: where the whole part goes up by one, they start anew. No other column
beside an angle does. And a column without a name behind whole angles is none.
"""

import re

import numpy as np

from recording import units
from recording.columns import Columns
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError

_WHOLE, _DECIMALS = re.compile(r"\s*[+-]?\d+\s*"), re.compile(r"\d+\s*")
_FIRST_ROWS = 50
_ENOUGH = 40
"""Pairs of rows one after the other."""
_AS_LONG = 0.8
"""Programs leave out the zero at the end of a tenth of the decimals."""
_DIGITS, _MOST_SHARE = 9, 0.25
_SHIFTS = 19
_SMOOTHER = 0.85
"""Numbers that were taken apart move by less than this share of what they do with the decimals of other rows."""


def check(file: CsvFile, header: Header, columns: Columns) -> None:
    """Refuse rows in which a decimal comma makes two fields of one angle: :class:`DriveError`."""
    if header.delimiter != "," or not _may_be_apart(file, header, columns):
        return
    behind = max(columns.azimuth, columns.elevation) + 1
    starts = [at for at in (columns.azimuth, columns.elevation, behind) if at + 1 < len(header.names)]
    pairs: dict[int, list[tuple[str, str]]] = {at: [] for at in starts}
    rows, shown = 0, ""
    for line, text, fields in file.rows(header):
        if fields is None:
            continue
        rows += 1
        shown = shown or f"{text.strip()[:60]!r} in line {line}"
        for at in starts:
            if _WHOLE.fullmatch(fields[at]) and _DECIMALS.fullmatch(fields[at + 1]):
                pairs[at].append((fields[at], fields[at + 1]))
    for at, found in pairs.items():
        is_unnamed = at + 1 >= behind and not header.names[at + 1]
        if len(found) > (1 - units.SHARE) * rows and (is_unnamed or _are_one(found)):
            raise DriveError(
                f"labels {file.path}: angles have decimal commas where commas separate the columns, so that one number "
                f"fills two of them ({shown} under {','.join(header.names)[:80]!r}); put such numbers in quotes, "
                f"separate the columns with semicolons, or write decimal points (for whole angles too: -13.0)"
            )


def _may_be_apart(file: CsvFile, header: Header, columns: Columns) -> bool:
    """Whether the angles of the first rows are whole numbers, as no eye tracker writes them."""
    seen = 0
    for _, _, fields in file.rows(header):
        if fields is None:
            continue
        angles = [fields[at] for at in (columns.azimuth, columns.elevation)]
        if not all(_WHOLE.fullmatch(text) or units.is_empty(text) for text in angles):
            return False
        seen += 1
        if seen == _FIRST_ROWS:
            break
    return seen > 0


def _are_one(pairs: list[tuple[str, str]]) -> bool:
    """Whether the second numbers are decimals of the first: joined they move little, and with those of other rows
    more."""
    whole = np.array([int(one) for one, _ in pairs], dtype=np.float64)
    sign = np.array([-1.0 if one.strip().startswith("-") else 1.0 for one, _ in pairs])
    decimals = np.array([float(f"0.{two.strip()}") for _, two in pairs])
    steps = np.abs(np.diff(whole))
    if (
        (steps <= 1).sum() < _ENOUGH
        or (steps == 1).sum() < units.FEW
        or not _are_even([two.strip() for _, two in pairs])
    ):
        return False

    def moves(shift: int) -> float:
        near = steps <= 1
        if shift:
            near[shift - 1] = False  # where the last row's decimals come before the first's
        return float(np.abs(np.diff(whole + sign * np.roll(decimals, shift)))[near].mean())

    others = [moves(len(pairs) * part // (_SHIFTS + 1)) for part in range(1, _SHIFTS + 1)]
    here = moves(0)
    return here < min(others) and here < _SMOOTHER * float(np.median(others))


def _are_even(decimals: list[str]) -> bool:
    """Whether texts may be decimals: nearly all as long as the longest, and with each digit in front as often."""
    lengths = [len(text) for text in decimals]
    shares = np.bincount([int(text[0]) for text in decimals], minlength=10) / len(decimals)
    as_long = np.mean(np.array(lengths) >= _AS_LONG * max(lengths))
    return bool(as_long > _AS_LONG and (shares > 0).sum() >= _DIGITS and shares.max() < _MOST_SHARE)
