"""What a reader hands over of one person: pictures as the network reads them, gaze, and what conventions show in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recording import preprocess
from recording.badrows import is_class
from recording.exceptions import InputError
from recording.pictures import Picture
from training.pretraining.normalisation import Floats

MALFORMED = "malformed line"
NOT_FINITE = "label not a number"
IMPOSSIBLE = "label out of range"
DAMAGED = "damaged picture"
OTHER_SIZE = "picture of another size"
BLANK = "blank picture"
NOT_THERE = "picture not there"
REASONS = (MALFORMED, NOT_FINITE, IMPOSSIBLE, NOT_THERE, DAMAGED, OTHER_SIZE, BLANK)
"""Why a sample is left out, in the order in which the reasons are tried: each has one."""
INCOMPLETE = {NOT_THERE}
"""Reasons that say that not all was copied, not that something is wrong with what was."""


class LeftOut:
    """The samples of one person that cannot be used, counted by reason; of each reason the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, what: str) -> None:
        """Count one; ``what`` names it, and the value that is wrong where there is one."""
        self.counts[reason] += 1
        self._first.setdefault(reason, what)

    def check(self, name: str, samples: int) -> None:
        """:class:`InputError` where one reason takes more than 5 % of the ``samples``: they are no single faults.

        Of an incomplete copy only where it takes all of them.
        """
        for reason, count in self.counts.most_common():
            if (count == samples) if reason in INCOMPLETE else is_class(count, samples):
                raise InputError(
                    f"{name}: {count} of {samples} samples would be left out ({reason}): {self._first[reason]}; "
                    "copy or unpack this part of the data set again"
                )


@dataclass(frozen=True, eq=False)
class Faces:
    """n normalised faces of one person."""

    pictures: Picture
    """(n, 224, 224, 3) uint8 RGB."""
    gaze: Floats
    """(n, 2) ``(pitch, yaw)`` of the gaze in the virtual camera's frame, radians."""
    head: Floats
    """(n, 2) the same of where the head points; NaN where the layout does not say."""
    landmarks: Floats
    """(n, 6, 2) eye corners from the image's left to its right, then mouth corners, in pixels of the normalised picture
    of 448; NaN where the layout does not say."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason → how many samples of this person were left out."""

    def __len__(self) -> int:
        return len(self.gaze)


@dataclass(frozen=True, eq=False)
class Face:
    """One of :class:`Faces`."""

    picture: Picture
    gaze: Floats
    head: Floats
    landmarks: Floats


def gathered(faces: Sequence[Face], left_out: LeftOut) -> Faces:
    """All of one person together."""
    n, side = len(faces), preprocess.INPUT_SIZE
    return Faces(
        np.stack([face.picture for face in faces]) if n else np.empty((0, side, side, 3), np.uint8),
        np.array([face.gaze for face in faces], dtype=np.float64).reshape(n, 2),
        np.array([face.head for face in faces], dtype=np.float64).reshape(n, 2),
        np.array([face.landmarks for face in faces], dtype=np.float64).reshape(n, 6, 2),
        {reason: left_out.counts[reason] for reason in REASONS if left_out.counts[reason]},
    )


def is_blank(picture: Picture) -> bool:
    """Whether a picture shows nothing: what a decoder or a half-copied file leaves."""
    return bool(picture.std() < 2.0)
