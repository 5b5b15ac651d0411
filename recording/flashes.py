"""A part of a picture that is like neither the pictures before nor those after, while these are alike.

Damage in a video whose pictures refer to no other (MJPEG) shows in one picture alone. What moves does not: it is on its
way from where it was to where it will be, and a blink is seen in the pictures around it as well.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

Planes = Sequence[np.ndarray]
"""(h, w) uint8 each: brightness, and colours at their own size."""

_BLOCK = 8
_UNLIKE = 1.5  # times what the others differ by from one to the next, there or nearby
_LEVELS, _PATTERN = 2.0, 3.5  # and by so much more: of the mean over a block, of the mean difference within


def has_flash(before: Sequence[Planes], picture: Planes, after: Sequence[Planes]) -> bool:
    """Whether a block of 8×8 pixels in ``picture`` is there for this one picture.

    ``before`` and ``after``: one picture or more each, in the order of time; all of one size.
    """
    for plane, at in enumerate(picture):
        height, width = (side - side % _BLOCK for side in at.shape)
        first, last = ([one[plane][:height, :width].astype(np.float32) for one in side] for side in (before, after))
        if height and width and _differs(first, at[:height, :width].astype(np.float32), last):
            return True
    return False


def _differs(before: list[np.ndarray], at: np.ndarray, after: list[np.ndarray]) -> bool:
    around = [*before, *after]
    off, moved = at - (before[-1] + after[0]) / 2, [later - earlier for earlier, later in pairwise(around)]
    mean, within = _mean(off), _blocks(np.abs(off))
    mean_moved = np.maximum.reduce([_mean(change) for change in moved])
    within_moved = np.maximum.reduce([_blocks(np.abs(change)) for change in moved])
    return bool(
        (mean > _UNLIKE * _around(mean_moved) + _LEVELS).any()
        or (within > _UNLIKE * _around(within_moved) + _PATTERN).any()
    )


def _mean(change: np.ndarray) -> np.ndarray:
    """(h / 8, w / 8) by how much the mean of a block changes, without what all of them do: a lamp, the exposure."""
    means = _blocks(change)
    off: np.ndarray = np.abs(means - np.median(means))
    return off


def _blocks(plane: np.ndarray) -> np.ndarray:
    """(h / 8, w / 8) means over blocks."""
    height, width = plane.shape
    return cv2.resize(plane, (width // _BLOCK, height // _BLOCK), interpolation=cv2.INTER_AREA)


def _around(blocks: np.ndarray) -> np.ndarray:
    """The largest of each block and those up to two away: as far as what moves fast is from one picture to the next."""
    return cv2.dilate(blocks, np.ones((5, 5), np.uint8))
