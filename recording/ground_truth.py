"""The measured angles beside the pictures of a bare folder: ``frame_01234_gt.json`` for ``frame_01234_driver.jpg``.

Keys are read as the names of a CSV's columns are, and so are numbers and units (:mod:`recording.units`).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from recording import files, sample_files, units
from recording.exceptions import InputError

_LIMITS = {"azimuth_deg": units.AZIMUTH_LIMIT_DEG, "elevation_deg": units.ELEVATION_LIMIT_DEG}
ANGLES = tuple(_LIMITS)


class WrongAngle(InputError):
    """An angle that is there and cannot be read: of many such samples one knows what kind they are."""


class BlankAngle(InputError):
    """An angle, ``column``, that is not there beside the other, which is."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def scales(folder: Path, pictures: list[Path]) -> dict[str, units.AngleScale]:
    """How the angles of a bare folder are read, by their keys, judged by all of them; refuses radians."""
    angles: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for picture in pictures:
        try:
            fields = files.read_json(_truth(picture))
            azimuth, elevation = keys = _angle_keys(fields)
            pair = _number(fields[azimuth]), _number(fields[elevation])
        except (InputError, ValueError, LookupError, OverflowError):
            continue
        if np.isfinite(pair).all():
            angles.setdefault(keys, []).append(pair)
    read: dict[str, units.AngleScale] = {}
    for keys, found in angles.items():
        pairs = np.array(found, dtype=np.float64)
        said = [_said(key)[1] for key in keys]
        seen = units.radians_called_degrees(*pairs.T) if said == ["deg", "deg"] else None
        if seen is not None:
            raise InputError(
                f"samples folder {folder}: {keys[0]!r} and {keys[1]!r} {seen} in {len(pairs)} samples: these are "
                f"radians; write degrees, or call what holds radians 'azimuth_rad' and 'elevation_rad'"
            )
        read |= {key: units.angle_scale(values, unit) for key, values, unit in zip(keys, pairs.T, said, strict=True)}
    return read


def _truth(picture: Path) -> Path:
    return picture.with_name(sample_files.truth(sample_files.stem_of(picture.name)))


def row(picture: Path, road: str, scales: dict[str, units.AngleScale]) -> dict[str, Any]:
    """The row of one sample of a bare folder; ``road``: the name of its other picture, "" where there is none.

    Its ``frame`` is what the file says, None where it says nothing. Raises :class:`WrongAngle`, :class:`BlankAngle`, or
    :class:`InputError` where the file is missing or damaged, or has no angles.
    """
    truth = _truth(picture)
    if not truth.is_file():
        raise InputError(f"{truth}: is missing")
    fields = files.read_json(truth)
    keys = _angle_keys(fields)
    _check_there(fields, keys, truth)
    values: dict[str, Any] = {"frame": fields.get("frame"), "driver": picture.name, "road": road}
    for column, key in zip(ANGLES, keys, strict=True):
        values[column] = _angle(fields[key], f"{truth}: {key}", _LIMITS[column], scales.get(key, units.AngleScale()))
    for key in keys:
        _check_same(fields, key, truth)
    used = {"frame", *keys}
    return values | {key: value for key, value in fields.items() if key not in used and key not in values}


def _angle_keys(fields: dict[str, Any]) -> tuple[str, str]:
    """Under which keys azimuth and elevation stand: named as columns of a CSV are, or without a unit (degrees).

    "" for one that is not there.
    """
    found = []
    for column in ANGLES:
        name = column.removesuffix("_deg")
        keys = [key for key in fields if units.plain_name(key) == name or _said(key)[0] == name]
        # Ours before others, degrees before radians, the first of equals.
        found.append(min(keys, key=lambda key: (key != column, _said(key)[1] != "deg"), default=""))
    return found[0], found[1]


def _check_there(fields: dict[str, Any], keys: tuple[str, str], truth: Path) -> None:
    """Refuse a sample that lacks an angle, or both."""
    blank = [column for column, key in zip(ANGLES, keys, strict=True) if not key or _is_blank(fields[key])]
    if not blank:
        return
    column, key = blank[0], keys[ANGLES.index(blank[0])]
    name, shown = column.removesuffix("_deg"), ", ".join(map(str, fields))[:200]
    if key:
        problem = f"{truth}: {key} is {fields[key]!r}, not an angle within ±{_LIMITS[column]:g} degrees"
    else:
        problem = f"{truth}: has none of {column}, {name} [deg], {name}; found {shown}"
    if len(blank) == 1 and _is_number(fields[keys[1 - ANGLES.index(column)]]):
        raise BlankAngle(problem, column)
    raise InputError(problem)


def _is_blank(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and units.is_empty(value))


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(_number(value))
    except (ValueError, OverflowError):
        return False


def _check_same(fields: dict[str, Any], key: str, truth: Path) -> None:
    """Refuse an angle that stands there twice in one unit, spelled differently, with two values."""
    for other in fields:
        if other == key or _said(other) != _said(key) or not _said(key)[0]:
            continue
        values = fields[key], fields[other]
        if not _is_blank(values[1]) and not (
            all(map(_is_number, values)) and units.is_same(_number(values[0]), _number(values[1]))
        ):
            raise WrongAngle(
                f"{truth}: {key!r} is {fields[key]!r} and {other!r} is {fields[other]!r}: keep one of them"
            )


def _said(key: str) -> tuple[str, str]:
    """The angle and the unit that a key says; a unit that it does not say is degrees."""
    return units.angle_column(units.plain_name(key)) or ("", "deg")


def _number(value: Any) -> float:
    """A number, or text that is one (:func:`recording.units.number`); :class:`ValueError` otherwise."""
    if isinstance(value, str):
        return units.number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    return float(value)


def _angle(value: Any, what: str, limit: float, scale: units.AngleScale) -> float:
    problem = f"{what} is {value!r}, not an angle within ±{limit:g} degrees"
    try:
        degrees = scale.degrees(_number(value))
    except (ValueError, OverflowError):
        raise WrongAngle(problem) from None
    if not abs(degrees) <= limit:
        raise WrongAngle(problem)
    return degrees
