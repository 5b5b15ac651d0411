"""Growing subsets of a training part: each holds all smaller ones, and repeats choose different samples."""

from collections.abc import Sequence

import numpy as np

from recording.exceptions import InputError
from registry.intervals import Integers

SPACINGS = ("even", "first")
HALVINGS = 3
"""So many more sizes than one where none are named."""
FEWEST = 16
"""Training samples of the smallest size: one batch."""
_GOLDEN = 0.6180339887498949


def check(sizes: Sequence[int], samples: int) -> None:
    """:class:`InputError` for sizes that are more than the ``samples``, or only one."""
    if sizes and max(sizes) > samples:
        raise InputError(
            f"sizes={max(sizes)}: there are {samples} samples; leave that size out, or ask for more (samples= of "
            "a recording; a folder has to be prepared anew, or filled)"
        )
    if len(sizes) < 2:
        raise InputError(
            f"sizes={','.join(map(str, sizes)) or samples}: a curve needs two sizes at least, better four that double; "
            "leave sizes= away for halvings of what is there, or prepare more samples"
        )


def ladder(asked: tuple[int, ...], samples: int, training: int) -> tuple[int, ...]:
    """The sizes of a curve, ascending: those ``asked``, or halvings of what is there.

    A size counts as ``samples=`` of the main job does: all samples of the drive, of which the split leaves ``training``
    of ``samples`` to be trained on. Raises :class:`InputError` for sizes that are not there, too small or only one.
    """
    halvings = [samples >> k for k in range(HALVINGS + 1)]
    sizes = sorted(asked or (size for size in halvings if share(size, samples, training) >= FEWEST))
    check(sizes, samples)
    small = next((size for size in sizes if share(size, samples, training) < FEWEST), None)
    if small is not None:
        raise InputError(
            f"sizes={small}: {share(small, samples, training)} of them would be trained on, at least {FEWEST} are "
            f"needed: sizes from {-(-FEWEST * samples // training)} on"
        )
    return tuple(sizes)


def share(size: int, samples: int, training: int) -> int:
    """How many training samples a size has where ``training`` of ``samples`` may be trained on."""
    return round(size * training / samples)


def order(count: int, spacing: str, repeat: int, seed: int) -> Integers:
    """(count,) places in the training part, in time: the first m of them are the subset of m samples.

    ``even``: thinned evenly, others in every repeat. Golden-ratio steps leave gaps of at most three lengths, however
    many samples are taken (the three-gap theorem; Świerczkowski 1958). ``first``: the beginning of the drive, the same
    in every repeat.
    """
    if spacing == "first":
        return np.arange(count)
    start = np.random.default_rng([seed, repeat]).random()
    places = (count * ((start + _GOLDEN * np.arange(3 * count)) % 1.0)).astype(np.int64)
    taken, when = np.unique(places, return_index=True)
    assert len(taken) == count, "three steps a place reach every place"
    return np.asarray(taken[np.argsort(when)])
