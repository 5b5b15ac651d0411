"""Numbers and angles as people write them: minus and decimal signs, degrees and radians, 0–360°.

What can be meant in one way only is read. Whether the numbers of a whole column are the unit that its name says
can only be seen from all of them: :func:`survey`.
"""

import math
import re
from dataclasses import dataclass

import numpy as np

AZIMUTH_LIMIT_DEG, ELEVATION_LIMIT_DEG = 180.0, 90.0
EMPTY = {"", "nan", "none", "null", "na", "n/a", "#n/a", "-nan"}
"""How programs write a value that is not there."""
ABSENT = EMPTY | {"-", "--", "---", "n.a.", "<na>", "nil", "(null)", "#nv", "#null!"}
"""The same with what people and spreadsheets write."""
TRUE = {"true", "yes", "t", "y", "on", "wahr", "ja", "vrai", "oui", "verdadero", "vero"}
FALSE = {"false", "no", "f", "n", "off", "falsch", "nein", "faux", "non", "falso"}
"""Spreadsheets write truth in the language of their user."""
FEW = 5
"""Fewer rows than this are single faults and say nothing about a column."""
SHARE = 0.05
MOVING_DEG = 8.0
"""Who moves the eyes up and down by so much also moves them aside."""
ASIDE_DEG, ASIDE_TO_UP = 30.0, 60.0
"""Who moves the eyes aside by so much does not keep them on one height within a 60th of it: half a degree."""
WIDEST_RAD = (2.4, 1.2)
"""From left to right and from top to bottom nobody looks farther than this, but for one look in ten: 137° and 69°."""
STEADY_DEG = 5.0
"""From one row of a look to the next the angles are this near each other at most."""
ROUNDED = 0.01
"""Two columns of one angle may be rounded differently, by no more than this."""
TURN_RAD = math.tau + 1e-3
"""A full turn, rounded up."""

_MINUS = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\u2796\ufe58\ufe63\uff0d", "-"))
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2009\u202f\ufeff\u200b\u200e\u200f\u202a\u202c\u2060\u2066\u2069", " "))
_DEGREES = re.compile(r"(?<=[\d.,\s])(°|º|˚|deg|degree|degrees)$", re.IGNORECASE)
_COLUMN = re.compile(r"(azimuth|elevation)[ _]*[\[(]?(deg|degree|degrees|°|rad|radian|radians)[\])]?")


def number(text: str) -> float:
    """A decimal number; :class:`ValueError` for anything else.

    Any of Unicode's minus signs, and a decimal comma where there is no point: ``−3,5`` is -3.5. A degree sign or
    ``deg`` may follow. Thousands are not grouped: ``1,234`` is 1.234.
    """
    try:
        if "_" not in text:  # Python reads 1_000 as a number, nobody else does
            return float(text)
    except ValueError:
        text = _DEGREES.sub("", text.translate(_MINUS).translate(_SPACES).strip())
        if "," in text and "." not in text:
            text = text.replace(",", ".", 1)
        return float(re.sub(r"^([+-])\s+(?=[\d.])", r"\1", text))  # "− 3.5"
    raise ValueError(text)


def truth(text: str) -> bool | None:
    """What a column that says yes or no says: words, or a number that is 0 or not; None where it is neither."""
    word = text.strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    try:
        value = number(word)
    except ValueError:
        return None
    return bool(value) if math.isfinite(value) else None


def is_same(one: float, other: float) -> bool:
    """Whether two numbers are the same angle, but for how they were rounded."""
    return abs(one - other) <= ROUNDED


def is_empty(text: str) -> bool:
    """Whether a field holds no value."""
    word = text.strip().lower()
    return word in ABSENT or word.translate(_MINUS) in ABSENT


def plain_name(name: str) -> str:
    """The name of a column in lower case, without quotes of its own and with single spaces."""
    return " ".join(name.translate(_SPACES).strip().strip("'\"`").lower().split())


def angle_column(plain: str) -> tuple[str, str] | None:
    """``(azimuth or elevation, deg or rad)`` that the plain name of a column says, None for any other column."""
    found = _COLUMN.fullmatch(plain)
    return None if found is None else (found.group(1), "rad" if found.group(2).startswith("rad") else "deg")


@dataclass(frozen=True)
class AngleScale:
    """Angles of one column → degrees around 0. ``factor``: degrees per unit; ``full``: 0–360° instead of ±180°."""

    factor: float = 1.0
    full: bool = False

    def degrees(self, value: float) -> float:
        """The value in degrees."""
        degrees = value * self.factor
        return degrees - 360.0 if self.full and 180.0 < degrees <= math.degrees(TURN_RAD) else degrees


def angle_scale(values: np.ndarray, unit: str) -> AngleScale:
    """How the (n,) finite values of one column are read, ``unit`` being ``deg`` or ``rad``.

    A column that has no negative value, and more than a few beyond 180° of which none is beyond 360°, counts a
    full turn from 0: 350 is -10.
    """
    factor = math.degrees(1.0) if unit == "rad" else 1.0
    degrees = np.asarray(values, dtype=np.float64) * factor
    beyond = int((degrees > AZIMUTH_LIMIT_DEG).sum())
    is_full = (
        beyond >= FEW
        and beyond > 0.01 * len(degrees)
        and degrees.min() >= 0
        and degrees.max() <= math.degrees(TURN_RAD)
    )
    return AngleScale(factor, bool(is_full))


def radians_called_degrees(azimuth: np.ndarray, elevation: np.ndarray) -> str | None:
    """By what (n,) and (n,) values that are called degrees show that they, or one of the two, are radians; else None.

    A driver who never looks farther than 1.6° to a side, and not up or down either or else by many degrees, in a
    recording with movement in it, is none: the mirrors alone are tens of degrees apart. Nor is one who looks tens of
    degrees to the sides and all the while up and down by less than any eye tracker's own error. Radians may count a
    full turn from 0. Who looks straight ahead nearly always is told by what would be too far apart for radians, or by
    single looks that are: several rows in the order (n,) of the file that go on from one to the next.
    """
    if len(azimuth) < 20 or min(len(np.unique(azimuth)), len(np.unique(elevation))) < 10:
        return None
    around = np.stack([_around_zero(azimuth), _around_zero(elevation)])
    sizes = np.abs(around)
    high = np.quantile(sizes, 0.95, axis=1)
    aside, up = spread = np.diff(np.quantile(around, (0.05, 0.95), axis=1), axis=0)[0]
    is_far = np.array([_has_looks_beyond_a_turn(values) for values in around])
    within = (high <= math.pi / 2) & (spread <= WIDEST_RAD) & ~is_far
    most = np.quantile(sizes, 0.99, axis=1, method="lower")  # a few absurd values are in every file
    other = (within[1] and most[1] <= math.pi / 2) or up > MOVING_DEG
    if within[0] and most[0] <= math.pi and other:
        turn = " (counted from 0 to 6.28)" if (around[0] != azimuth).any() else ""
        return f"are hardly ever farther from 0 than {high[0]:.3g} and {high[1]:.3g}{turn}"
    if aside > ASIDE_DEG and up * ASIDE_TO_UP < aside and most[1] <= math.pi / 2 and not is_far[1]:
        return f"move by {aside:.3g} and by only {up:.3g}"
    return None


def _has_looks_beyond_a_turn(values: np.ndarray) -> bool:
    """Whether several values are farther from 0 than radians of a full turn and follow one another as measurements do.

    Absurd values stand alone, or are one and the same.
    """
    beyond = (np.abs(values) > TURN_RAD) & (np.abs(values) <= AZIMUTH_LIMIT_DEG)
    steps = np.abs(np.diff(values))
    return int((beyond[1:] & beyond[:-1] & (steps > 0) & (steps <= STEADY_DEG)).sum()) >= FEW


def _around_zero(values: np.ndarray) -> np.ndarray:
    """Radians of a full turn from 0, by the signs of :func:`angle_scale`, around 0; anything else as it is."""
    low, high = np.quantile(values, 0.01, method="higher"), np.quantile(values, 0.99, method="lower")
    usual = values[(values >= low) & (values <= high)]
    if high > TURN_RAD or not angle_scale(usual, "rad").full:
        return values
    return np.where((values > math.pi) & (values <= TURN_RAD), values - math.tau, values)
