"""Which frame the samples of a bare folder show, by what their names and their files say.

The split into time blocks goes by these numbers, so several samples with one number are never taken in silence.
"""

import re
from collections import Counter
from typing import Any

from recording import units
from recording.sample_files import stem_of

_DIGITS = re.compile(r"\d+")
_SIGNED = re.compile(r"[-+]?\d+")
_LONGEST = 18
"""Digits; a longer number does not fit the table."""


def frames(pictures: list[str], said: list[Any], positions: list[int]) -> tuple[list[int], str]:
    """The frame of each sample, and what is to be said of how it was found, "" where it is certain.

    ``pictures``: names of the driver pictures; ``said``: what each sample's JSON says under ``frame``, None where it
    says nothing; ``positions``: numbers for samples whose names hold none.
    """
    stems = [stem_of(picture) for picture in pictures]
    by_names, doubt = _by_names(stems, positions)
    told = [_frame(value) for value in said]
    there = [number for number in told if number is not None]
    if len(there) == len(stems) and _is_unique(there):
        differs = there != by_names and any(map(_DIGITS.search, stems))
        return there, "the numbers under 'frame' in the JSON files are taken, not those of the names" if differs else ""
    if all(number in (None, name) for number, name in zip(told, by_names, strict=True)):
        return by_names, doubt
    why = f"{len(there)} of {len(stems)} have one" if _is_unique(there) else _shared(there)
    not_taken = f"the numbers under 'frame' in the JSON files are not taken ({why})"
    return by_names, f"{not_taken}; {doubt}" if doubt else not_taken


def _by_names(stems: list[str], positions: list[int]) -> tuple[list[int], str]:
    """The number at the end of each name, or where that tells too little, another; and what is to be said of it."""
    ends = [re.search(r"\d+$", stem) for stem in stems]
    at_end = [int(end[0][-_LONGEST:]) if end else at for end, at in zip(ends, positions, strict=True)]
    places = _varying(stems)
    if places and at_end not in places and any(ends):
        at_end = places[-1]  # those at the end are decimals, or the same everywhere
    if not places:
        return at_end, _counted(ends) if _is_unique(at_end) else _shared(at_end)
    if _is_unique(at_end) and any(ends):
        return at_end, _among(places, at_end, stems)
    unique = [numbers for numbers in places if _is_unique(numbers)]
    if not unique:
        best = max(reversed(places), key=lambda numbers: len(set(numbers)))
        return best, f"{_shared(best)}, whichever number of the names is taken ({best[0]} in {stems[0]})"
    return unique[-1], _among(places, unique[-1], stems)


def _counted(ends: list[re.Match[str] | None]) -> str:
    """What is to be said where samples have the number of their place in the folder, for their names end in none."""
    without = ends.count(None)
    if not without or len(ends) == 1:
        return ""
    return f"{without} of {len(ends)} names end in no number, and their place in the folder is taken"


def _among(places: list[list[int]], taken: list[int], stems: list[str]) -> str:
    """What is to be said of the one that is ``taken`` of several numbers that differ from name to name."""
    if len(places) == 1:
        return ""
    line = f"of several numbers in the names, {taken[0]} in {stems[0]} is taken"
    by_all = sorted(range(len(stems)), key=lambda sample: [numbers[sample] for numbers in places])
    in_order = [taken[sample] for sample in by_all]
    if in_order == sorted(in_order):
        return line
    return f"{line}, by which the samples come in another order than by all of them, as by a part of a time"


def _frame(value: Any) -> int | None:
    """The number that a JSON says, also as text; None where it says none that a frame may have."""
    if isinstance(value, bool):
        return None
    try:
        number = int(value) if isinstance(value, int) else units.number(str(value))
    except ValueError:
        return None
    return int(number) if 0 <= number < 10**_LONGEST and number == int(number) else None


def _is_unique(numbers: list[int]) -> bool:
    return len(set(numbers)) == len(numbers)


def _shared(numbers: list[int]) -> str:
    shared = sum(count for count in Counter(numbers).values() if count > 1)
    return f"{shared} of {len(numbers)} samples share a number with another"


def _varying(stems: list[str]) -> list[list[int]]:
    """The numbers in the names at each place at which they differ; none where the names differ in more than numbers and
    signs. Decimals are part of the number before their point, where that differs, too."""
    if len({_SIGNED.sub("#", stem) for stem in stems}) != 1:
        return []
    columns = list(zip(*([int(number[-_LONGEST:]) for number in _DIGITS.findall(stem)] for stem in stems), strict=True))
    differ = [len(set(numbers)) > 1 for numbers in columns]
    texts = _SIGNED.split(stems[0])  # what stands before each number
    decimals = [at > 0 and texts[at] == "." and differ[at - 1] for at in range(len(columns))]
    # A number that stands there twice is one.
    return [list(numbers) for numbers in dict.fromkeys(_of(columns, differ, decimals))]


def _of(columns: list[tuple[int, ...]], differ: list[bool], decimals: list[bool]) -> list[tuple[int, ...]]:
    """The columns that differ and are no decimals."""
    return [numbers for numbers, one, other in zip(columns, differ, decimals, strict=True) if one and not other]
