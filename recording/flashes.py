"""A part of a picture that is like neither the picture before nor the one after, while these two are alike.

Damage in a video whose pictures refer to no other (MJPEG) shows in one picture alone. What moves does not: it is on its
way from where it was to where it will be. A blink that is over within two pictures does, at ten of them a second.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Planes = Sequence[np.ndarray]
"""(h, w) uint8 each: brightness, and colours at their own size."""

_BLOCK = 8
_UNLIKE = 1.5  # times what its neighbours differ by, there or in the next block
_LEVELS, _PATTERN = 2.0, 3.5  # and by so much more: of the mean over a block, of the mean difference within


def has_flash(before: Planes, picture: Planes, after: Planes) -> bool:
    """Whether a block of 8×8 pixels in ``picture`` is there for this one picture; all three are of one size."""
    return any(_differs(*planes) for planes in zip(before, picture, after, strict=True))


def _differs(before: np.ndarray, at: np.ndarray, after: np.ndarray) -> bool:
    height, width = (side - side % _BLOCK for side in at.shape)
    if not (height and width):
        return False
    first, this, last = (plane[:height, :width].astype(np.float32) for plane in (before, at, after))
    off, moved = this - (first + last) / 2, last - first
    mean, mean_moved = _blocks(off), _blocks(moved)
    # A lamp or the exposure changes all of a picture.
    mean, mean_moved = (np.abs(change - np.median(change)) for change in (mean, mean_moved))
    within, within_moved = _blocks(np.abs(off)), _blocks(np.abs(moved))
    return bool(
        (mean > _UNLIKE * _around(mean_moved) + _LEVELS).any()
        or (within > _UNLIKE * _around(within_moved) + _PATTERN).any()
    )


def _blocks(plane: np.ndarray) -> np.ndarray:
    """(h / 8, w / 8) means over blocks."""
    height, width = plane.shape
    return cv2.resize(plane, (width // _BLOCK, height // _BLOCK), interpolation=cv2.INTER_AREA)


def _around(blocks: np.ndarray) -> np.ndarray:
    """The largest of each block and the eight around it."""
    return cv2.dilate(blocks, np.ones((3, 3), np.uint8))
