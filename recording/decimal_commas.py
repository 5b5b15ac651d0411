"""Decimal commas in a file whose columns are separated by commas: one number is two fields there.

Rows are then too long for the header, unless it names columns that the rows leave out.

Too long by one field for each angle: both are put together again, where no other column can have decimals
(:func:`joined`). As long as the header: refused (:func:`check`). Both parts are whole numbers then, and the second ones
are the decimals of the first: they have no sign, begin with a zero now and then, which whole numbers do not, and where
the whole part goes up by one, they start anew. No other column beside an angle is like that. And a column without a
name behind whole angles is none.
"""

import logging
import re
from dataclasses import replace

import numpy as np

from recording import frame_times, units
from recording.columns import BLINK_ID, FIXATION_ID, FRAME, RECORDING_ID, WORN, Columns
from recording.dialect import CsvFile, Header
from recording.exceptions import DriveError

log = logging.getLogger("recording.decimal_commas")

_WITHOUT_DECIMALS = {FRAME, WORN, BLINK_ID, FIXATION_ID, RECORDING_ID, frame_times.COLUMN, "section id"}
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


def joined(file: CsvFile, header: Header, columns: Columns) -> Header:
    """The header for rows in which each angle takes up two fields, where that can be meant in one way only: rows are
    longer by two, no other column can have decimals, and no angle has a point. Any other header as it is."""
    angles = columns.azimuth, columns.elevation
    others = [name for at, name in enumerate(header.plain) if at not in angles]
    first = (fields for _, (_, _, fields) in zip(range(_FIRST_ROWS), file.rows(header), strict=False))
    if header.delimiter != "," or header.row_names or not _WITHOUT_DECIMALS.issuperset(others) or None not in first:
        return header
    as_halves = replace(header, halves=angles)
    whole, together, against = 0, 0, 0
    whole_parts: set[str] = set()
    for (_, _, plain), (_, _, fields) in zip(file.rows(header), file.rows(as_halves), strict=True):
        if plain is None and fields is not None:
            together += 1
            whole_parts.add(fields[columns.azimuth].partition(".")[0].lstrip("+-"))
        elif fields is None or not all(_WHOLE.fullmatch(fields[at]) or units.is_empty(fields[at]) for at in angles):
            against += 1
        else:
            whole += any(not units.is_empty(fields[at]) for at in angles)
    is_clear = together > whole and against <= units.SHARE * (together + against)
    # Where the first number is always the same, the comma may be that of another column: "12,0" for a frame.
    return as_halves if is_clear and len(whole_parts) > 1 else header


def check(file: CsvFile, header: Header, columns: Columns) -> None:
    """Refuse rows in which a decimal comma makes two fields of one angle: :class:`DriveError`."""
    if header.delimiter != "," or not _may_be_apart(file, header, columns):
        return
    behind = max(columns.azimuth, columns.elevation) + 1
    unnamed = [at for at in range(behind, len(header.names)) if not header.names[at]]
    starts = [at for at in (columns.azimuth, columns.elevation, behind) if at + 1 < len(header.names)]
    pairs: dict[int, list[tuple[str, str]]] = {at: [] for at in starts}
    rows, beyond, shown = 0, 0, ""
    for line, text, fields in file.rows(header):
        if fields is None:
            continue
        rows += 1
        shown = shown or f"{text.strip()[:60]!r} in line {line}"
        beyond += any(_WHOLE.fullmatch(fields[at]) for at in unnamed)
        for at in starts:
            if _WHOLE.fullmatch(fields[at]) and _DECIMALS.fullmatch(fields[at + 1]):
                pairs[at].append((fields[at], fields[at + 1]))
    usual = {at: found for at, found in pairs.items() if len(found) > (1 - units.SHARE) * rows}
    first, second = sorted((columns.azimuth, columns.elevation))
    beside = usual.get(first, []) if second == first + 1 else []
    are_apart = beyond > units.SHARE * rows or _have_zeros(beside) or any(map(_are_one, usual.values()))
    if not are_apart and beside and _are_as_long(beside):
        then = usual.get(behind, [])
        are_apart = _are_as_long(then) and any(one.strip().startswith("-") for one, _ in then)
        if not are_apart and (then or second in usual):
            log.warning(
                "labels %s: all angles are whole numbers, and none in %r is below 0 (%s): had they decimal commas, "
                "which separate the columns here, all would be wrong; check that no number fills two columns",
                *(file.path, header.names[second], shown),
            )
    if are_apart:
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


def _have_zeros(pairs: list[tuple[str, str]]) -> bool:
    """Whether second numbers begin with a zero, as decimals do and whole angles do not: ``05``. Where first ones do,
    all are written so."""
    first, second = (any(map(_is_padded, numbers)) for numbers in zip(*pairs, strict=True)) if pairs else (False, False)
    return second and not first


def _is_padded(number: str) -> bool:
    digits = number.strip().lstrip("+-")
    return len(digits) > 1 and digits.startswith("0")


def _are_as_long(pairs: list[tuple[str, str]]) -> bool:
    """Whether nearly all second numbers have as many digits as the longest."""
    lengths = np.array([len(two.strip()) for _, two in pairs])
    return len(pairs) > 0 and float(np.mean(lengths == lengths.max())) > _AS_LONG


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
