"""What a model has learnt from: the frames of each recording that it, or one before it, was trained or selected on.

A recording is known again by what it shows (:mod:`recording.fingerprint`), not by its file: a copy that was trimmed or
encoded again, or has another CSV, has another digest and the same moments.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recording import fingerprint
from recording.fingerprint import Fingerprint

if TYPE_CHECKING:  # servers import this, and need no pandas and no detector of faces
    from recording.recordings import Recordings

NEAR_COPY_S = 1.0
"""Frames of one recording closer than this are near copies of each other."""
_ROUNDING_S = 1e-6


@dataclass(frozen=True, eq=False)
class Clock:
    """When frames of a recording are shown, exactly: of a rate that varies a fingerprint knows it to some 0.1 s."""

    frames: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(k,) their numbers, ascending."""
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(k,) after the recording's first frame."""

    def __len__(self) -> int:
        return len(self.frames)

    def corrected(self, frames: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """(m,) the ``seconds`` of ``frames``, in place of them the exact ones where these are known."""
        if not len(self):
            return seconds
        place = np.minimum(np.searchsorted(self.frames, frames), len(self) - 1)
        return np.where(self.frames[place] == frames, self.seconds[place], seconds)


@dataclass(frozen=True, eq=False)
class Footage:
    """m frames of one recording."""

    recording: str
    """sha256 of the recording."""
    fps: float
    frames: np.ndarray
    """(m,) their numbers."""
    moments: Fingerprint = field(default_factory=Fingerprint)
    """Of the whole recording; empty in versions that were registered before it was kept."""
    clock: Clock = field(default_factory=Clock)
    """Of the samples of the recording that are at hand; empty in what was stored with a version."""

    @property
    def seconds(self) -> np.ndarray:
        """(m,) when the frames are shown, after the recording's first one."""
        return self.clock.corrected(self.frames, self.moments.when(self.frames, self.fps))


def of(data: "Recordings", samples: np.ndarray, drive: int) -> Footage:
    """Those of ``samples`` (indices or mask) that are from the recording with that number among ``data``."""
    frames = data.frames[samples][data.drive_index[samples] == drive]
    shown = data.drives[drive].seconds
    timed = np.isfinite(shown)
    clock = Clock(data.frames[data.drive_index == drive][timed], shown[timed])
    return Footage(data.drives[drive].drive, data.drives[drive].fps, frames, data.moments[drive], clock)


def near_copies(footage: Footage, seen: Footage) -> NDArray[np.bool_]:
    """(m,) which frames of ``footage`` are frames of ``seen`` or near copies (within a second), in whatever file."""
    if footage.recording == seen.recording:
        moments, clock = max(footage.moments, seen.moments, key=len), max(footage.clock, seen.clock, key=len)
        # One clock for both: a split leaves exactly a second between its parts.
        footage, seen = (replace(part, moments=moments, clock=clock) for part in (footage, seen))
        there = footage.seconds
    else:
        there = fingerprint.moments_in(seen.moments, footage.moments, footage.seconds)
    return _distance(there, np.sort(seen.seconds)) < NEAR_COPY_S - _ROUNDING_S


def near_pictures(pictures: np.ndarray, seen: Footage) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of tiny pictures (m, 144) whose times are not known: (m,) which are of the recording ``seen`` is of, and which of
    these are frames of ``seen`` or near copies."""
    near = _distance(seen.moments.seconds, np.sort(seen.seconds)) < NEAR_COPY_S - _ROUNDING_S
    return fingerprint.shows(seen.moments, pictures), fingerprint.shows(seen.moments, pictures, near)


def joined(footage: Iterable[Footage]) -> tuple[Footage, ...]:
    """The same frames with each recording once, sorted by its digest; recordings of no frame are left out."""
    known: dict[str, Footage] = {}
    for part in footage:
        before = known.get(part.recording)
        if before is not None:
            moments = max(before.moments, part.moments, key=len)
            clock = max(before.clock, part.clock, key=len)
            part = replace(part, frames=np.union1d(before.frames, part.frames), moments=moments, clock=clock)
        known[part.recording] = part
    return tuple(known[name] for name in sorted(known) if len(known[name].frames))


def _distance(times: np.ndarray, sorted_times: np.ndarray) -> np.ndarray:
    """(m,) from each time to the nearest one of the others; infinite where there is none, or the time is not known."""
    if not len(sorted_times):
        return np.full(len(times), np.inf)
    after = np.clip(np.searchsorted(sorted_times, times), 0, len(sorted_times) - 1)
    nearest = np.minimum(np.abs(sorted_times[after] - times), np.abs(sorted_times[np.maximum(after - 1, 0)] - times))
    return np.where(np.isnan(nearest), np.inf, nearest)
