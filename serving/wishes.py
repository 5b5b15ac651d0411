"""What a request wishes beside its pictures: it is followed, or the request is refused by the wish's name."""

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import QueryParams

from serving.crops import CHOICES
from serving.limits import Refused

CROP = "crop"
DEFAULT = "driver"
SIGNATURE = "signature_name"


def crop(said: Iterable[Any]) -> str:
    """What the pictures show, of all that a request says about it; :class:`Refused` (422) where that differs."""
    values = list(said)
    for value in values:
        if value not in CHOICES:
            raise _refused(f"{CROP} is {str(value)[:40]!r}; choose {', '.join(CHOICES[:-1])} or {CHOICES[-1]}")
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise _refused(f"{CROP} is said to be {' and '.join(different)}; say one, and send the others by themselves")
    return different[0] if different else DEFAULT


def in_address(given: QueryParams, known: tuple[str, ...] = (CROP,)) -> list[str]:
    """Every ``crop`` of the address; :class:`Refused` (422) for a parameter that is not among ``known``."""
    for name in given:
        if name not in known:
            what = f"the parameter {name[:40]!r}"
            raise not_followed(what, known) if known else not_in_invocations(what, name)
    return given.getlist(CROP)


def not_followed(what: str, known: tuple[str, ...] = (CROP,)) -> Refused:
    """The refusal of something said that nothing here reads."""
    return _refused(f"{what} is not read, only {' and '.join(known)}")


def not_in_invocations(what: str, name: str) -> Refused:
    """The refusal of a wish, called ``name``, that ``/invocations`` does not read."""
    if name == CROP:
        return _refused(f"{what} is not read: /invocations takes driver views; for others ask /v1/gaze with {CROP}=…")
    if name == SIGNATURE:
        return _refused(f"{what} is TensorFlow Serving's: there is one signature here; leave the key out")
    return _refused(f"{what} is not read by /invocations; leave it out")


def _refused(message: str) -> Refused:
    return Refused(422, message, reason="parameter")
