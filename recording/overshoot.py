"""Whether a JPEG's brightness lies where brightness can: damage that is valid code and yet means no picture.

A decoder clips what it computes to 0 to 255, and so hides that damaged coefficients mean far less or far more. With its
quantisation table divided by a number, the same data decodes to a paler picture in which nothing is clipped. A sound
picture overshoots too, where rounding its coefficients made ripples beside black and white, but not by more than
rounding can: limits follow from the table (ITU-T T.81, A.3.4; measured by ``tests/recording/test_overshoot.py``).
"""

from dataclasses import dataclass

import numpy as np
import simplejpeg

from recording import segments

_DIVISORS = (2, 3, 4, 5, 6)
_DEVIATIONS = 10
"""Ripples of sound pictures reach 7: noise of black and white, text, and contrast times six, at qualities 5 to 100."""


@dataclass(frozen=True)
class _Paler:
    """A JPEG whose luma table was divided by ``divisor``, and how far from grey its sound pixels lie at most."""

    data: bytes
    divisor: int
    limit: float


def is_decodable(data: bytes) -> bool:
    """Whether libjpeg-turbo has nothing to say against a JPEG, and the brightness that it means is possible."""
    paler = _paler(data)
    try:
        brightness = simplejpeg.decode_jpeg(paler.data if paler else data, "GRAY", strict=True)
    except ValueError:
        return False
    if paler is None:
        return True
    furthest = max(127.5 - float(brightness.min()), float(brightness.max()) - 127.5)
    return furthest * paler.divisor <= paler.limit


def _paler(data: bytes) -> _Paler | None:
    """None for a progressive JPEG, and for tables of 16 bits or that are not where they should be."""
    tables, luma = dict[int, int](), None
    for marker, start, end in segments.headers(data):
        if marker == segments.DQT:
            places = range(start, end - 64, 65)
            tables |= {data[place]: place + 1 for place in places}  # of 8 bits: the number alone
        elif marker in (segments.BASELINE, segments.SEQUENTIAL) and start + 9 <= len(data):
            luma = data[start + 8]
    if luma is None or luma not in tables:
        return None
    place = tables[luma]
    table = np.frombuffer(data, np.uint8, 64, place).astype(np.float64)
    if not table.all():
        return None
    rounding = float(np.sqrt((table**2).sum() / 12)) / 8
    best: tuple[float, _Paler] | None = None
    for divisor in _DIVISORS:
        divided = np.maximum(1, np.rint(table / divisor))
        apart = float(np.abs(divided * divisor / table - 1).max())
        limit = 128 + 256 * apart + _DEVIATIONS * rounding
        if best is None or 127.5 * divisor - limit > best[0]:
            paler = data[:place] + divided.astype(np.uint8).tobytes() + data[place + 64 :]
            best = 127.5 * divisor - limit, _Paler(paler, divisor, limit)
    return best[1] if best else None
