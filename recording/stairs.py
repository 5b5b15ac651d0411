"""A JPEG that is brighter or darker from one block on: damage that is valid code.

The mean of a block is coded as the difference from the block before (ITU-T T.81, F.1.1.5.1). Where damage changes one
and the data still happens to be read to its end, all that follows in reading order is brighter or darker by the same.
The edge is a stair of a block's height: above the row of the damaged block to its right, below that row to its left.
A JPEG that begins anew with every row of blocks has a bar in its place: as high as a block, from the damaged one to the
right. Edges of what a camera sees do not lie so.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recording.segments import Blocks

_LEAST, _QUANTA = 4.0, 1.5
"""Grey levels; less changes no answer. And so many steps of what the means are coded in: a slope that is coded coarsely
has stairs of one."""
_FEWEST = 4
"""Blocks of the stair on either side, or of a bar; the median of fewer is what one of them shows."""
_BESIDE_BAR = 2  # blocks to its left, at least: what goes through the whole width may be a line of text
_ALIKE, _APART = 0.4, 3.0
"""How far both sides may differ, of their height, and how many times less the same rows have beside them."""
_FEW, _UNEQUAL, _BESIDE = 0.2, 1.5, 2.0
"""But for so many of its blocks a stair has the same height everywhere, within this factor, and the blocks beside it
that many times less."""
_DETAIL, _AS_MUCH = 0.25, 3.0
"""Levels from pixel to pixel on both sides of an edge, at least, and how many times more one side may have: damage
moves what the camera saw, where a box, a caption or a margin takes its place."""
_MOST = 32  # levels that a single pixel counts
_CANDIDATES = 16  # that are looked at closely, the highest: else a picture could be made that takes seconds

Means = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Edges:
    """The edges between rows of blocks."""

    steps: Means
    """(edges, columns of blocks): by how much the picture steps down an edge, beyond the slopes on both sides."""
    above: Means
    """The same shape: how much pixels differ from those above them, on the average, just above the edge."""
    below: Means
    """... and just below it."""

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_]) -> "_Edges":
        return _Edges(self.steps[rows], self.above[rows], self.below[rows])


def has_stair(picture: npt.NDArray[np.uint8], blocks: Blocks | None, component: int = 0) -> bool:
    """Whether ``picture``, (h, w) that ``component`` of a JPEG or (h, w, 3) RGB as it is stored, has such an edge
    between these blocks (:func:`recording.segments.blocks`; None: not to be told)."""
    if blocks is None:
        return False
    edges = _edges(picture, blocks.width, blocks.height)
    rows, columns = edges.steps.shape
    if rows < 2 or columns < 2 * _FEWEST + 1:
        return False
    least = max(_LEAST, _QUANTA * (blocks.quanta[component] if component < len(blocks.quanta) else 0))
    upper, lower = edges[:-1], edges[1:]
    if not blocks.restart:
        return _found(upper, lower, least)
    band, rest = divmod(blocks.restart, columns + (picture.shape[1] % blocks.width > 0))
    if rest:
        return False
    ends = (np.arange(rows - 1) + 2) % band == 0  # the last row of blocks before it begins anew
    return _found(upper[~ends], lower[~ends], least) or _found(upper[ends], lower[ends], least, bar=True)


def _found(upper: _Edges, lower: _Edges, least: float, *, bar: bool = False) -> bool:
    """Whether the ``upper`` edge of a row of blocks steps from some place on by at least so much, and the ``lower`` one
    as much up to there (of a ``bar`` back, and from there on too), and both do not elsewhere."""
    columns = upper.steps.shape[1]
    places = np.arange(_BESIDE_BAR if bar else _FEWEST, columns - _FEWEST + 1)
    back = -lower.steps if bar else lower.steps
    above_left, above = _sides(upper.steps, places)
    below, below_right = _sides(back, places)
    if bar:
        below, below_right = below_right, below
    height = np.minimum(np.abs(above), np.abs(below))
    rest = np.maximum(np.abs(above_left), np.abs(below_right))
    may_be = (above * below > 0) & (height > least) & (np.abs(above - below) < _ALIKE * height)
    may_be &= rest * _APART < height
    found = np.argwhere(may_be)
    for row, at in found[np.argsort(-height[may_be], kind="stable")[:_CANDIDATES]]:
        right = np.arange(columns) >= places[at]
        left = right if bar else ~right
        stair = np.concatenate([upper.steps[row, right], back[row, left]])
        beside = np.concatenate([upper.steps[row, ~right], back[row, ~left]])
        sides = ((upper.above, upper.below, right), (lower.above, lower.below, left))
        if _is_plain(stair, beside) and all(_goes_on(one[row, part], other[row, part]) for one, other, part in sides):
            return True
    return False


def _sides(steps: Means, places: npt.NDArray[np.int_]) -> tuple[Means, Means]:
    """Their means up to each of these places, and from there on."""
    sums = np.concatenate([np.zeros((len(steps), 1)), steps.cumsum(axis=1)], axis=1)
    return sums[:, places] / places, (sums[:, -1:] - sums[:, places]) / (steps.shape[1] - places)


def _is_plain(stair: Means, beside: Means) -> bool:
    """Whether most blocks of the stair have the same step, and most of those beside it nothing like it."""
    least, typical, most = np.quantile(np.abs(stair) * (stair * stair.mean() > 0), (_FEW, 0.5, 1 - _FEW))
    alike = least > typical / _UNEQUAL and most < typical * _UNEQUAL
    return bool(alike and np.quantile(np.abs(beside), 1 - _FEW) * _BESIDE < typical)


def _goes_on(above: Means, below: Means) -> bool:
    """Whether there is detail on both sides of an edge, and about as much."""
    one, other = float(above.mean()), float(below.mean())
    return min(one, other) >= _DETAIL and max(one, other) <= _AS_MUCH * min(one, other)


def _edges(picture: npt.NDArray[np.uint8], width: int, height: int) -> _Edges:
    edges = np.arange(height, picture.shape[0] - 1, height)
    columns = picture.shape[1] // width
    lines = picture[(edges[:, None] + np.arange(-2, 2)).ravel(), : columns * width]
    if not lines.size:
        nothing = np.zeros((0, 0))
        return _Edges(nothing, nothing, nothing)
    grey = lines if lines.ndim == 2 else cv2.cvtColor(lines, cv2.COLOR_RGB2GRAY)
    far, above, below, under = grey.reshape(len(edges), 4, -1).astype(np.int16).transpose(1, 0, 2)
    before, behind = above - far, under - below
    step = (2 * (below - above) - before - behind).clip(-2 * _MOST, 2 * _MOST)  # twice that, in whole numbers

    def means(pixels: npt.NDArray[np.int16]) -> Means:
        found: Means = pixels.reshape(len(edges), columns, width).mean(axis=2, dtype=np.float64)
        return found

    return _Edges(means(step) / 2, means(np.abs(before)), means(np.abs(behind)))
