"""The trace of a drive: all that was measured, row by row, and small pictures of the driver in their order.

Samples are single frames, seconds apart. Whether video and labels are in step shows in between: in the moment in which
the eyes jump, and in blinks. So a prepared folder keeps, beside its samples, every readable row of the CSV and, for
stretches of the drive in which the labels move most, a small grey picture of the driver for each frame
(:data:`FILE`). ``training.measuring.synchrony`` compares the two.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from recording import files
from recording.layouts import View

FILE = "trace.npz"
SIDE = 96
"""Pixels on a side of a small picture, whatever the proportions of the driver view: an eye has a few."""
GLIMPSES = 2400
"""So many frames at most get a small picture: 80 s of a usual drive."""
STRETCHES = 10
"""Where a drive has more frames, each tenth of it gives one stretch."""
BLINK_WORTH_DEG = 15.0
"""A blink tells as much as a jump of the eyes by so much."""
SPARSE = 3
"""Rows that are usually more frames apart say nothing of the frames between them."""
JUMP_DEG = 30.0
"""No single step of the labels counts for more: spikes must not choose the stretches."""


@dataclass(frozen=True)
class Rows:
    """The readable rows of a labels CSV, in the order of the file; r of them.

    ``frame`` (r,): the video frame each row belongs to. ``angles_deg`` (r, 2): azimuth and elevation, NaN where the row
    has none or the glasses were off. ``blink`` (r,): within a blink. ``fixation`` (r,): within a fixation, true
    everywhere where the CSV does not say. ``says_blink``, ``says_fixation``: whether it has these columns.
    """

    frame: np.ndarray
    angles_deg: np.ndarray
    blink: np.ndarray
    fixation: np.ndarray
    says_blink: bool
    says_fixation: bool


class Gathered:
    """Rows as they come; ``others``: the kept fields of those that have a label to give (none after the first of a
    frame), None of the others."""

    def __init__(self) -> None:
        self._numbers: list[tuple[int, float, float, bool, bool]] = []
        self.others: list[list[str] | None] = []

    def add(
        self, frame: int, azimuth: float, elevation: float, blink: bool, fixated: bool, others: list[str] | None
    ) -> None:
        """One row that belongs to a frame."""
        self._numbers.append((frame, azimuth, elevation, blink, fixated))
        self.others.append(others)

    def usable(self) -> np.ndarray:
        """(r,) whether each row has a label to give."""
        return np.array([others is not None for others in self.others], dtype=bool)

    def rows(self, says_blink: bool, says_fixation: bool) -> Rows:
        """As arrays; angles of rows without a label are NaN."""
        frame, azimuth, elevation, blink, fixated = (
            np.array([row[k] for row in self._numbers], dtype=kind)
            for k, kind in enumerate((np.int64, np.float64, np.float64, bool, bool))
        )
        angles = np.column_stack([azimuth, elevation])
        angles[~self.usable()] = np.nan
        return Rows(frame, angles, blink, fixated, says_blink, says_fixation)


class Glimpses:
    """The small pictures of the driver, from several threads."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.pictures: dict[int, np.ndarray] = {}

    def take(self, frame: int, brightness: np.ndarray) -> None:
        """Keep the driver view of one composite, (h, w) uint8, as a small picture."""
        view = self.view
        crop = brightness[view.y : view.y + view.h, view.x : view.x + view.w]
        self.pictures[frame] = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The frames, rising, and their pictures."""
        shown = np.array(sorted(self.pictures), dtype=np.int64)
        pictures = [self.pictures[frame] for frame in shown]
        return shown, np.array(pictures, dtype=np.uint8).reshape(-1, SIDE, SIDE)


@dataclass(frozen=True)
class Trace:
    """What :data:`FILE` holds: the ``rows``; ``pictures`` (g, 96, 96) uint8 of the frames ``shown`` (g,), rising."""

    rows: Rows
    shown: np.ndarray
    pictures: np.ndarray

    def write(self, folder: Path) -> None:
        """Put the file into a folder, whole or not at all; the same trace gives the same bytes."""
        rows = self.rows
        arrays = {
            "shown": self.shown,
            "pictures": self.pictures,
            "frame": rows.frame,
            "angles_deg": rows.angles_deg,
            "blink": rows.blink,
            "fixation": rows.fixation,
            "says": np.array([rows.says_blink, rows.says_fixation]),
        }
        files.write_arrays(folder / FILE, arrays)


def read(folder: Path) -> Trace | None:
    """The trace of a prepared folder, None where it has none; :class:`InputError` when the file is damaged."""
    return files.read_arrays(folder / FILE, _trace)


def _trace(stored: dict[str, np.ndarray]) -> Trace:
    says_blink, says_fixation = stored["says"].tolist()
    rows = Rows(stored["frame"], stored["angles_deg"], stored["blink"], stored["fixation"], says_blink, says_fixation)
    shown, pictures = stored["shown"], stored["pictures"]
    if pictures.shape != (len(shown), SIDE, SIDE):
        raise ValueError(f"its pictures are {pictures.shape}, not {(len(shown), SIDE, SIDE)}")
    return Trace(rows, shown, pictures)


def per_frame(rows: Rows, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of so many frames the median angles (frames, 2), NaN where there are none, and whether one of its rows
    is within a blink (frames,). Where rows are sparser than the video, the frames between them are like the nearer."""
    inside = (rows.frame >= 0) & (rows.frame < frames)
    blink = np.zeros(frames, dtype=bool)
    blink[rows.frame[inside & rows.blink]] = True
    medians = pd.DataFrame(rows.angles_deg[inside]).groupby(rows.frame[inside]).median()
    angles = np.full((frames, 2), np.nan)
    angles[medians.index] = medians.to_numpy()
    return _between_rows(angles, blink)


def _between_rows(angles: np.ndarray, blink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Up to half the usual distance of frames with rows around each: a jump then lies in the middle of its gap."""
    named = np.flatnonzero(np.isfinite(angles).all(axis=1) | blink)
    apart = int(np.quantile(np.diff(named), 0.9)) if len(named) > 1 else 1
    if not 1 < apart <= SPARSE:
        return angles, blink
    frames = np.arange(len(angles))
    nearest = named[np.searchsorted((named[:-1] + named[1:]) / 2, frames)]
    known = np.abs(nearest - frames) <= apart // 2
    return np.where(known[:, None], angles[nearest], np.nan), blink[nearest] & known


def stretches(rows: Rows, frames: int) -> np.ndarray:
    """Numbers of the frames that get a small picture, rising: all of a short drive, else one stretch of each tenth,
    where the labels move most."""
    if frames <= GLIMPSES:
        return np.arange(frames)
    angles, blink = per_frame(rows, frames)
    steps = np.nan_to_num(np.abs(np.diff(angles, axis=0, prepend=angles[:1])).sum(axis=1))
    begins = blink & ~np.roll(blink, 1)
    worth = np.concatenate([[0.0], np.cumsum(np.minimum(steps, JUMP_DEG) + BLINK_WORTH_DEG * begins)])
    length = GLIMPSES // STRETCHES
    chosen = []
    for tenth in np.array_split(np.arange(frames), STRETCHES):
        starts = tenth[: len(tenth) - length + 1]
        best = int(starts[np.argmax(worth[starts + length] - worth[starts])])
        chosen.append(np.arange(best, best + length))
    return np.concatenate(chosen)
