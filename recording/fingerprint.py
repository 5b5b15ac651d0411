"""The fingerprint of a recording: by which its moments are known again in a copy, whatever was done to the file.

Four times a second the driver view is reduced to a tiny grey picture, brightness and contrast taken out. One of them
tells nothing: the same driver in the same car looks much the same all day, and frame n like frame n + 1. How they
*change* over a while does. So stretches are compared and not pictures: of every stretch of one recording its mean
picture and its steady drift are subtracted, and what remains is correlated with every stretch of the other one. Where
a copy shows the same moments the correlation is near 1, however it was trimmed, encoded, rescaled or put into another
container; where two drives of one driver in one car happen to resemble each other it stays far below (``python -m
benchmarks.identity``).
The idea of comparing in time what no single frame tells is that of video fingerprints (Law-To et al., CIVR 2007).

The driver view it is because that is what a model learns from, and all that a folder of pictures holds.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from recording import files
from recording.correlation import FEWEST, QUANTUM, Floats, Grid
from recording.layouts import View

if TYPE_CHECKING:  # servers import this, and need no pandas and no decoder of videos
    from recording.decoding import Deliver
    from recording.prepared import Samples

log = logging.getLogger("recording.fingerprint")

FILE = "fingerprint.npz"
SIDE = 12
"""Pixels on a side of a tiny picture."""
SPACING_S = 0.25
"""From one tiny picture to the next: in less than half of it little moves."""
STRETCH_S = 32.0
"""Length of the stretches that are compared. In half of it two drives can have one large glance each and little else,
and correlate to 0.9; in all of it they stay below 0.5."""
SHORTEST_S = 16.0
"""Of a recording, or a piece of one, that is shorter nothing is known again."""
SAME_SHORTEST = 0.92
"""What :data:`SAME` is for stretches of :data:`SHORTEST_S`, where one of the recordings has no longer ones."""
SAME = 0.75
"""Correlation from which on two stretches show the same moments."""
SAME_PICTURE = 0.03
"""Root mean square difference of two tiny pictures, in contrasts, up to which they are the same picture. Of a frame and
its JPEG it is 0.015 at most, of pictures of two drives of one driver in one car 0.085 at least (docs/benchmarks.md)."""
SPARSEST_S = 60.0
"""Between two pictures, on average: where they are farther apart their times are none, or they tell nothing."""
SAID_FROM_S = 600.0
"""Comparing recordings longer than this takes more than a moment, so it is said."""
_AT_ONCE = 256  # pictures that are compared with all of an hour's: 15 MB
_DARKEST = 8.0  # grey level that is added before the logarithm, so that a sensor's noise in the dark is none


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """n tiny pictures of a recording in their order; none of a recording about which nothing is known.

    ``frames`` (n,) their numbers; ``seconds`` (n,) when they are shown, after the recording's first frame; ``pictures``
    (n, 144) int8. Equal to another one of the same content.
    """

    frames: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0))
    pictures: np.ndarray = field(default_factory=lambda: np.empty((0, SIDE * SIDE), np.int8))

    def __len__(self) -> int:
        return len(self.frames)

    def __post_init__(self) -> None:
        shapes = self.frames.shape, self.seconds.shape, self.pictures.shape
        if shapes != ((len(self),), (len(self),), (len(self), SIDE * SIDE)) or not np.isfinite(self.seconds).all():
            raise ValueError(f"a fingerprint's arrays do not fit together: {shapes}")

    @cached_property
    def _content(self) -> bytes:
        digest = hashlib.sha256()
        for array in self.arrays().values():
            digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def when(self, frames: np.ndarray, fps: float) -> Floats:
        """(m,) when frames of the recording are shown, seconds; ``fps`` is its usual rate, for what lies outside."""
        frames = np.asarray(frames, np.float64)
        if not len(self):
            return np.asarray(frames / fps, np.float64)
        first, last = self.frames[0], self.frames[-1]
        outside = np.minimum(frames - first, 0) / fps + np.maximum(frames - last, 0) / fps
        return np.asarray(np.interp(frames, self.frames, self.seconds) + outside, np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, for a file that holds more than this one."""
        return {"frames": self.frames, "seconds": self.seconds, "pictures": self.pictures}


def tiny(picture: np.ndarray) -> np.ndarray:
    """(144,) int8 of a driver picture, (h, w, 3) uint8 in any order of colours: logarithm, no mean, unit contrast."""
    # In two steps: whole grey levels are quick for the many pixels of the first, too coarse for the few of the other.
    first = cv2.resize(picture, (8 * SIDE, 8 * SIDE), interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)
    small = np.log(cv2.resize(first, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() + _DARKEST)
    small -= small.mean()
    contrast = max(float(small.std()), 1e-3)
    return np.asarray(np.clip(np.round(small / contrast / QUANTUM), -127, 127), np.int8)


class Recorder:
    """Makes the fingerprint of a recording whose pictures come in any order, from several threads."""

    def __init__(self, seconds: np.ndarray, driver: View, samples: Sequence[int]) -> None:
        """``seconds`` (n,): when each frame of the video is shown; ``driver``: the driver view; ``samples``: the frames
        that matter, from the first to the last of which there is a fingerprint."""
        self.seconds, self.driver = np.asarray(seconds), driver
        self.frames: frozenset[int] = frozenset(self._one_per_spacing(samples) if len(samples) else ())
        """The frames that it needs."""
        self._tiny: dict[int, np.ndarray] = {}

    def _one_per_spacing(self, samples: Sequence[int]) -> list[int]:
        steps = np.floor(self.seconds / SPACING_S + 1e-6)
        first, last = self.seconds[min(samples)], self.seconds[max(samples)]
        near = (self.seconds >= first - SPACING_S) & (self.seconds <= last + SPACING_S)
        return [int(frame) for frame in np.flatnonzero((np.diff(steps, prepend=-1.0) > 0) & near)]

    def take(self, frame: int, picture: np.ndarray) -> None:
        """Look at the composite picture of a frame, (h, w, 3) uint8."""
        if frame in self.frames:
            view = self.driver
            self._tiny[frame] = tiny(picture[view.y : view.y + view.h, view.x : view.x + view.w])

    def before(self, deliver: "Deliver", frames: frozenset[int]) -> "Deliver":
        """Look at every picture first, and hand on those of ``frames``."""

        def both(frame: int, picture: np.ndarray) -> None:
            self.take(frame, picture)
            if frame in frames:
                deliver(frame, picture)

        return both

    def fingerprint(self) -> Fingerprint:
        """Of the frames that were taken."""
        numbers = np.array(sorted(self._tiny), dtype=np.int64)
        pictures = np.array([self._tiny[number] for number in numbers], np.int8).reshape(len(numbers), SIDE * SIDE)
        return Fingerprint(numbers, self.seconds[numbers], pictures)


def write(folder: Path, fingerprint: Fingerprint) -> None:
    """Put a fingerprint into a prepared folder, whole or not at all; the same one gives the same bytes."""
    files.write_arrays(folder / FILE, fingerprint.arrays())


def read(folder: Path) -> Fingerprint | None:
    """The fingerprint in a prepared folder, None without one; :class:`InputError` when the file is damaged."""
    return files.read_arrays(folder / FILE, lambda stored: Fingerprint(**stored))


def of(samples: "Samples") -> Fingerprint:
    """The fingerprint that a prepared folder holds; of one that holds none, and of a bare one, that of its pictures."""
    # Here: it reads tables with pandas, which whoever only compares fingerprints does not load.
    from recording import prepared

    kept = read(samples.folder)
    if kept is not None:
        return kept
    whole = replace(samples, chosen=None)  # the driver view, not the face in it
    batches = prepared.iterate_pictures(whole, np.arange(len(whole.table)), 32)  # all at once would take gigabytes
    pictures = [tiny(picture) for batch in batches for picture in batch]
    return Fingerprint(samples.table["frame"].to_numpy(np.int64), samples.seconds, np.stack(pictures))


def shows(known: Fingerprint, pictures: np.ndarray, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """(m,) which of the tiny ``pictures`` (m, 144) are a picture of a recording, whenever they were shown.

    ``among`` (n,): which of the recording's pictures count; all for ``None``. For pictures whose times are not known; a
    recording has many more frames than its fingerprint has pictures, so of most of its frames nothing is known. Nor of
    pictures that are all of one brightness, which any recording may have.
    """
    theirs = (known.pictures if among is None else known.pictures[among]).astype(np.float32)
    limit = theirs.shape[1] * (SAME_PICTURE / QUANTUM) ** 2
    same = np.zeros(len(pictures), dtype=bool)
    for start in range(0, len(pictures) if len(theirs) else 0, _AT_ONCE):
        ours = pictures[start : start + _AT_ONCE].astype(np.float32)
        sizes = (ours * ours).sum(axis=1)
        apart = sizes[:, None] - 2 * ours @ theirs.T + (theirs * theirs).sum(axis=1)
        same[start : start + _AT_ONCE] = (apart.min(axis=1) <= limit) & (sizes > 0)
    return same


def moments_in(known: Fingerprint, found_in: Fingerprint, seconds: np.ndarray) -> Floats:
    """(m,) when the moments at ``seconds`` of the recording ``found_in`` are shown in the recording ``known``.

    NaN where they are not known there. A moment counts as known when the stretch around it is, or one so near that what
    lies between cannot have been told apart.
    """
    seconds = np.asarray(seconds, np.float64)
    there = np.full(len(seconds), np.nan)
    if not len(known) or not len(found_in):
        return there
    distance = np.full(len(seconds), np.inf)
    for start, end, offset in _same_stretches(found_in, known):
        away = np.maximum(np.maximum(start - seconds, seconds - end), 0.0)
        mapped = seconds + offset
        inside = (mapped >= known.seconds[0] - SPACING_S) & (mapped <= known.seconds[-1] + SPACING_S)
        nearer = (away < distance) & (away <= STRETCH_S) & inside
        there[nearer], distance[nearer] = mapped[nearer], away[nearer]
    return there


@lru_cache(maxsize=256)  # 20 s for two drives of an hour, and a gate asks for the same two again and again
def _same_stretches(one: Fingerprint, other: Fingerprint) -> list[tuple[float, float, float]]:
    """Stretches of ``one`` that ``other`` shows as well: start, end, and what to add for the time in ``other``."""
    # The one with fewer pictures is cut into stretches: for each of its pictures the other has one nearby.
    if _spacing(one) < _spacing(other):
        return [(start + offset, end + offset, -offset) for start, end, offset in _same_stretches(other, one)]
    short = max(0.0, STRETCH_S - min(_length(one), _length(other))) / (STRETCH_S - SHORTEST_S)
    same = SAME + short * (SAME_SHORTEST - SAME)
    return [place for correlation, place in _best_matches(one, other) if correlation >= same]


def correlations(one: Fingerprint, other: Fingerprint) -> Floats:
    """Of each stretch of ``one`` the highest correlation with one of ``other``: what :data:`SAME` is held against."""
    return np.array([correlation for correlation, _ in _best_matches(one, other)])


def _best_matches(one: Fingerprint, other: Fingerprint) -> list[tuple[float, tuple[float, float, float]]]:
    """Of each stretch of ``one`` the highest correlation, start and end, and what to add for the time in ``other``."""
    if any(_length(each) > SPARSEST_S * len(each) for each in (one, other)):
        return []  # a bare folder whose pictures have times for numbers, or one such name: the grid would have no end
    if min(_length(one), _length(other)) > SAID_FROM_S:
        lengths = ", ".join(f"{_length(each) / 60:.0f} min" for each in (one, other))
        log.info("looking for moments that two long recordings (%s) have in common", lengths)
    grid = Grid(other.seconds, other.pictures, _spacing(other))
    found = []
    for chosen in _stretches(one.seconds, min(STRETCH_S, _length(one), _length(other))):
        correlation, offsets = grid.correlate(one.seconds[chosen], one.pictures[chosen])
        best, times = int(np.argmax(correlation)), one.seconds[chosen]
        found.append((float(correlation[best]), (float(times[0]), float(times[-1]), float(offsets[best]))))
    return found


def _length(fingerprint: Fingerprint) -> float:
    """From the first moment to the last, seconds."""
    return float(fingerprint.seconds[-1] - fingerprint.seconds[0])


def _spacing(fingerprint: Fingerprint) -> float:
    """Seconds from picture to picture; infinite for a single one. Over eight of them: single ones alternate."""
    over = min(8, len(fingerprint) - 1)
    seconds = fingerprint.seconds
    return float(np.median(seconds[over:] - seconds[:-over])) / over if over > 0 else np.inf


def _stretches(seconds: np.ndarray, length: float) -> list[np.ndarray]:
    """Indices of overlapping stretches of that length that cover a recording; none where they would be too short."""
    chosen: list[np.ndarray] = []
    start, count = 0, len(seconds)
    while count - start >= FEWEST and length >= SHORTEST_S:
        end = max(int(np.searchsorted(seconds, seconds[start] + length)), start + FEWEST)
        if end >= count:  # the last one ends with the recording, and is as long as the others
            first = int(np.searchsorted(seconds, seconds[-1] - length))
            return [*chosen, np.arange(max(0, min(first, count - FEWEST)), count)]
        chosen.append(np.arange(start, end))
        start += max(1, (end - start) // 2)
    return chosen
