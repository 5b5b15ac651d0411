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


def doubt(one: str, other: str) -> str:
    """How far errors between angles of these two kinds can be believed, in words; "" where nothing is against it."""
    if {one, other} == {CAR, HEAD}:
        return "THE ERRORS SAY NOTHING"
    if {one, other} == {HEAD, UNKNOWN}:
        return "unless both mean the same, the errors say nothing"
    return ""


def check(asked: str) -> None:
    """Refuse what is no label frame, with :class:`~recording.exceptions.InputError`."""
    if asked not in ASKED:
        raise InputError(f"label_frame={asked!r} is unknown: choose one of {', '.join(ASKED)}")
