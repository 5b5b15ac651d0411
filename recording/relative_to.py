"""What angles count from, in words: the car or the head. :mod:`recording.label_frame` finds out which."""

from typing import Final, Literal

from recording.exceptions import InputError

Kind = Literal["car", "head", "unknown"]
CAR: Final = "car"
HEAD: Final = "head"
UNKNOWN: Final = "unknown"
AUTO: Final = "auto"
ASKED = (AUTO, CAR, HEAD)
WORDS = {CAR: "the car", HEAD: "the head", UNKNOWN: "the car (not verified)"}


def check(asked: str) -> None:
    """Refuse what is no label frame, with :class:`~recording.exceptions.InputError`."""
    if asked not in ASKED:
        raise InputError(f"label_frame={asked!r} is unknown: choose one of {', '.join(ASKED)}")
