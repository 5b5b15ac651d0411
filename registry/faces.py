"""The face rectangle that a version reads on the pictures of a drive: one answer for `evaluate`, `predict` and the app.

A version whose contract has a rectangle, or reads the whole driver view, does so everywhere. Where the face has to be
found (`detected`), a rectangle that was given by hand for a prepared drive counts; else the face is looked for, with
the room that the contract asks for.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from recording import detection
from recording.exceptions import InputError
from recording.face import Choice
from recording.pictures import Picture
from recording.prepared import Samples
from registry.crop import Crop

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Shown(Generic[T]):
    """What a version is shown of one drive.

    ``name``: what messages call it; ``pictures``: all of them, in order; ``read`` makes a picture of the driver view
    (h, w, 3) of one; ``chosen``: what is known of the face already.
    """

    name: str
    pictures: Sequence[T]
    read: Callable[[T], Picture]
    chosen: Choice | None = None

    @classmethod
    def of(cls, drive: Samples) -> "Shown[Path]":
        """The samples of a prepared or bare folder."""
        return Shown(str(drive.folder), drive.driver_files(), detection.read, drive.chosen)


def settle(
    promised: Crop, drives: Sequence[Shown[T]], advice: str, second: Callable[[str, Choice], object] | None = None
) -> list[Crop]:
    """For each drive a contract's promise, with the rectangle that is read there.

    ``second`` is told of a drive that shows two faces, by its name, in place of the log. Raises :class:`InputError`
    where a face is needed and not found; ``advice`` says what to do then.
    """
    if not promised.detected:
        return [promised] * len(drives)
    chosen = choose(promised, drives, second)
    return [settled(promised, *one, advice) for one in zip(drives, chosen, strict=True)]


def choose(
    promised: Crop, drives: Sequence[Shown[T]], second: Callable[[str, Choice], object] | None = None
) -> list[Choice]:
    """For each drive the face rectangle of a version that has to find it, and how it came about, which is logged, or
    ``second`` is told where there are two faces.

    A drive that shows too few faces has that of the others, where some of its pictures show one there.
    """
    own = [_own(promised, drive) for drive in drives]
    faces = [one.face for one in own if one.face is not None]
    chosen = [
        detection.own_or_borrowed(one, drive.pictures, drive.read, faces)
        for drive, one in zip(drives, own, strict=True)
    ]
    for drive, one in zip(drives, chosen, strict=True):
        if second is not None and one.two_faces:
            second(drive.name, one)
        elif one.face is not None:
            log.log(logging.WARNING if one.is_loud else logging.INFO, "%s: %s", drive.name, one.describe())
    return chosen


def settled(promised: Crop, drive: Shown[T], chosen: Choice, advice: str) -> Crop:
    """A contract's promise with what :func:`choose` found on a drive; :class:`InputError` where that is no face."""
    if chosen.face is None:
        raise InputError(
            f"{drive.name}: the {chosen.looked_at} pictures looked at do not agree on a face, and this version needs "
            f"one (it was trained on drives with the face in different places); {advice}"
        )
    return promised.settled(chosen.face)


def _own(promised: Crop, drive: Shown[T]) -> Choice:
    if drive.chosen is not None and drive.chosen.given:
        return drive.chosen
    return detection.search(drive.pictures, drive.read, promised.room)
