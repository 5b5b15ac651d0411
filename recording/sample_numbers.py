"""Which frame the samples of a bare folder show, by what their names and their files say.

The split into time blocks goes by these numbers, so several samples with one number are never taken in silence.
"""

import re
from collections import Counter
from typing import Any

from recording.sample_files import stem_of

_DIGITS = re.compile(r"\d+")
_LONGEST = 18
"""Digits; a longer number does not fit the table."""


def frames(pictures: list[str], said: list[Any], positions: list[int]) -> tuple[list[int], str]:
    """The frame of each sample, and what is to be said of how it was found, "" where it is certain.

    ``pictures``: names of the driver pictures; ``said``: what each sample's JSON says under ``frame``, None where it
    says nothing; ``positions``: numbers for samples whose names hold none.
    """
    stems = [stem_of(picture) for picture in pictures]
    by_names, doubt = _by_names(stems, positions)
    told = [int(value) for value in said if _is_frame(value)]
    if len(told) < len(stems) or not _is_unique(told):
        return by_names, doubt
    differs = told != by_names and any(map(_DIGITS.search, stems))
    return told, "the numbers under 'frame' in the JSON files are taken, not those of the names" if differs else ""


def _by_names(stems: list[str], positions: list[int]) -> tuple[list[int], str]:
    """The number at the end of each name, or where that tells too little, another; and what is to be said of it."""
    ends = [re.search(r"\d+$", stem) for stem in stems]
    at_end = [int(end[0][-_LONGEST:]) if end else at for end, at in zip(ends, positions, strict=True)]
    places = _varying(stems)
    if not places or (_is_unique(at_end) and any(ends)):
        return at_end, "" if _is_unique(at_end) else _shared(at_end)
    unique = [numbers for numbers in places if _is_unique(numbers)]
    if not unique:
        best = max(reversed(places), key=lambda numbers: len(set(numbers)))
        return best, f"{_shared(best)}, whichever number of the names is taken ({best[0]} in {stems[0]})"
    best = unique[-1]
    return best, f"of several numbers in the names, {best[0]} in {stems[0]} is taken" if len(places) > 1 else ""


def _is_frame(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18 and value == int(value)


def _is_unique(numbers: list[int]) -> bool:
    return len(set(numbers)) == len(numbers)


def _shared(numbers: list[int]) -> str:
    shared = sum(count for count in Counter(numbers).values() if count > 1)
    return f"{shared} of {len(numbers)} samples share a number with another"


def _varying(stems: list[str]) -> list[list[int]]:
    """The numbers in the names at each place at which they differ; none where the names differ in more than numbers."""
    if len({_DIGITS.sub("#", stem) for stem in stems}) != 1:
        return []
    columns = zip(*([int(number[-_LONGEST:]) for number in _DIGITS.findall(stem)] for stem in stems), strict=True)
    return [list(numbers) for numbers in columns if len(set(numbers)) > 1]
