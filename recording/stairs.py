"""A JPEG that is brighter or darker from one block on: damage that is valid code.

The mean of a block is coded as the difference from the block before (ITU-T T.81, F.1.1.5.1). Where damage changes one
and the data still happens to be read to its end, all that follows in reading order is brighter or darker by the same.
The edge is a stair of a block's height: above the row of the damaged block to its right, below that row to its left.
A JPEG that begins anew with every row of blocks has a bar in its place: as high as a block, from the damaged one to the
right. Edges of what a camera sees do not lie so.
"""

import cv2
import numpy as np
import numpy.typing as npt

from recording.segments import Blocks

_LEAST = 4.0
"""Grey levels. Less changes no answer, and sound pictures have stairs of up to 3."""
_FEWEST = 4
"""Blocks of the stair on either side, or of a bar; the median of fewer is what one of them shows."""
_BESIDE_BAR = 2  # blocks to its left, at least: what goes through the whole width may be a line of text
_ALIKE, _APART = 0.4, 3.0
"""How far both sides may differ, of their height, and how many times less the same rows have beside them."""
_FEW, _UNEQUAL, _BESIDE = 0.2, 1.5, 2.0
"""But for so many of its blocks a stair has the same height everywhere, within this factor, and the blocks beside it
that many times less."""
_MOST = 32.0  # that a single pixel counts


def has_stair(picture: npt.NDArray[np.uint8], blocks: Blocks | None) -> bool:
    """Whether ``picture``, (h, w) luma or (h, w, 3) RGB as it is stored, has such an edge between these blocks
    (:func:`recording.segments.blocks`; None: not to be told)."""
    if blocks is None:
        return False
    steps = _steps(picture, blocks.width, blocks.height)
    rows, columns = steps.shape
    if rows < 2 or columns < 2 * _FEWEST + 1:
        return False
    upper, lower = steps[:-1], steps[1:]
    if not blocks.restart:
        return _found(upper, lower)
    band, rest = divmod(blocks.restart, columns + (picture.shape[1] % blocks.width > 0))
    if rest:
        return False
    ends = (np.arange(rows - 1) + 2) % band == 0  # the last row of blocks before it begins anew
    return _found(upper[~ends], lower[~ends]) or _found(upper[ends], -lower[ends], same_side=True)


def _found(upper: npt.NDArray[np.float64], lower: npt.NDArray[np.float64], *, same_side: bool = False) -> bool:
    """Whether the ``upper`` edge of a row of blocks steps from some place on, and the ``lower`` one as much up to
    there (or, ``same_side``, from there on too), and both do not elsewhere."""
    columns = upper.shape[1]
    places = np.arange(_BESIDE_BAR if same_side else _FEWEST, columns - _FEWEST + 1)
    above_left, above = _sides(upper, places)
    below, below_right = _sides(lower, places)
    if same_side:
        below, below_right = below_right, below
    height = np.minimum(np.abs(above), np.abs(below))
    rest = np.maximum(np.abs(above_left), np.abs(below_right))
    may_be = (above * below > 0) & (height > _LEAST) & (np.abs(above - below) < _ALIKE * height)
    may_be &= rest * _APART < height
    for row, at in np.argwhere(may_be):
        right = np.arange(columns) >= places[at]
        left = right if same_side else ~right
        stair = np.concatenate([upper[row, right], lower[row, left]])
        beside = np.concatenate([upper[row, ~right], lower[row, ~left]])
        if _is_plain(stair, beside):
            return True
    return False


def _sides(steps: npt.NDArray[np.float64], places: npt.NDArray[np.int_]) -> tuple[npt.NDArray[np.float64], ...]:
    """Their means up to each of these places, and from there on."""
    sums = np.concatenate([np.zeros((len(steps), 1)), steps.cumsum(axis=1)], axis=1)
    return sums[:, places] / places, (sums[:, -1:] - sums[:, places]) / (steps.shape[1] - places)


def _is_plain(stair: npt.NDArray[np.float64], beside: npt.NDArray[np.float64]) -> bool:
    """Whether most blocks of the stair have the same step, and most of those beside it nothing like it."""
    least, typical, most = np.quantile(np.abs(stair) * (stair * stair.mean() > 0), (_FEW, 0.5, 1 - _FEW))
    alike = least > typical / _UNEQUAL and most < typical * _UNEQUAL
    return bool(alike and np.quantile(np.abs(beside), 1 - _FEW) * _BESIDE < typical)


def _steps(picture: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.float64]:
    """(rows of blocks − 1, columns of blocks): by how much the picture steps between a block and the one above, beyond
    the slopes on both sides."""
    edges = np.arange(height, picture.shape[0] - 1, height)
    columns = picture.shape[1] // width
    lines = picture[(edges[:, None] + np.arange(-2, 2)).ravel(), : columns * width]
    if not lines.size:
        return np.zeros((0, 0))
    grey = lines if lines.ndim == 2 else cv2.cvtColor(lines, cv2.COLOR_RGB2GRAY)
    far, above, below, under = grey.reshape(len(edges), 4, -1).astype(np.float32).transpose(1, 0, 2)
    step = (below - above - (above - far + under - below) / 2).clip(-_MOST, _MOST)
    means: npt.NDArray[np.float64] = step.reshape(len(edges), columns, width).mean(axis=2, dtype=np.float64)
    return means
