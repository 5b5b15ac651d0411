"""The measured angles beside the pictures of a bare folder: ``frame_01234_gt.json`` for ``frame_01234_driver.jpg``.

Keys are read as the names of a CSV's columns are, and so are numbers and units (:mod:`recording.units`).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from recording import files, sample_files, units
from recording.exceptions import InputError

_LIMITS = {"azimuth_deg": units.AZIMUTH_LIMIT_DEG, "elevation_deg": units.ELEVATION_LIMIT_DEG}
ANGLES = tuple(_LIMITS)


class WrongAngle(InputError):
    """An angle that is there and cannot be read: of many such samples one knows what kind they are."""


def scales(folder: Path, pictures: list[Path]) -> dict[str, units.AngleScale]:
    """How the angles of a bare folder are read, by their keys, judged by all of them; refuses radians."""
    angles: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for picture in pictures:
        try:
            fields = files.read_json(_truth(picture))
            azimuth, elevation = keys = _angle_keys(fields, picture)
            pair = _number(fields[azimuth]), _number(fields[elevation])
        except (InputError, ValueError):
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


def row(picture: Path, position: int, scales: dict[str, units.AngleScale]) -> dict[str, Any]:
    """The row of one sample of a bare folder; ``position`` numbers it when its name holds no number."""
    stem, truth = sample_files.stem_of(picture.name), _truth(picture)
    if not truth.is_file():
        raise InputError(f"{truth}: is missing")
    fields = files.read_json(truth)
    numbered = re.search(r"(\d+)$", stem)
    road = picture.with_name(sample_files.picture(stem, "road"))
    values: dict[str, Any] = {
        "frame": int(numbered.group(1)) if numbered else position,
        "driver": picture.name,
        "road": road.name if road.is_file() else "",
    }
    keys = _angle_keys(fields, picture)
    for column, key in zip(ANGLES, keys, strict=True):
        values[column] = _angle(fields[key], f"{truth}: {key}", _LIMITS[column], scales.get(key, units.AngleScale()))
    used = {"frame", *keys}
    return values | {key: value for key, value in fields.items() if key not in used and key not in values}


def _angle_keys(fields: dict[str, Any], picture: Path) -> tuple[str, str]:
    """Under which keys azimuth and elevation stand: named as columns of a CSV are, or without a unit (degrees)."""
    found = []
    for column in ANGLES:
        name = column.removesuffix("_deg")
        keys = [key for key in fields if units.plain_name(key) == name or _said(key)[0] == name]
        if not keys:
            shown = ", ".join(map(str, fields))[:200]
            raise InputError(f"{_truth(picture)}: has none of {column}, {name} [deg], {name}; found {shown}")
        # Ours before others, degrees before radians, the first of equals.
        found.append(min(keys, key=lambda key: (key != column, _said(key)[1] != "deg")))
    return found[0], found[1]


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
    if value is None or value != value or (isinstance(value, str) and units.is_empty(value)):
        raise InputError(problem)
    try:
        degrees = scale.degrees(_number(value))
    except (ValueError, OverflowError):
        raise WrongAngle(problem) from None
    if not abs(degrees) <= limit:
        raise WrongAngle(problem)
    return degrees
