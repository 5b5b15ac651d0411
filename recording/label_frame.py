"""Relative to what do the labels count, the car or the head? Glasses with a scene camera measure from the head.

A model learns either, but its answers then mean something else. What shows it, in this order:

- Gaze pixels of a scene camera beside the angles, which they follow one to one: the camera is on the head.
- What follows a jump of the eyes. The head comes after (or goes ahead), and the eyes turn back by as much while it
  moves, so that they stay on what they look at: the vestibulo-ocular reflex. Angles from the head show that, slow and
  against the jump; angles from the car stand still. Where heads do not move, both are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from recording import files, trace
from recording.exceptions import InputError
from recording.prepared import DRIVE, Samples
from recording.relative_to import AUTO, CAR, HEAD, UNKNOWN, WORDS, Kind, check
from recording.trace import Rows

PIXELS = ("gaze x [px]", "gaze y [px]")
"""What exports of scene cameras call the place in their picture."""
LEAST_PIXELS = 40
"""Samples with pixels and angles."""
ONE_TO_ONE = 0.1
"""Of how far angles usually are from their middle: what a smooth map from pixels leaves of them."""

LEAST_RATE = 2.5
"""Rows a second; when they are sparser, the head is there before the next one."""
JUMP_S, AFTER_S = 0.09, 0.33
"""A jump of the eyes is over in the first; a head has made most of its way in the second."""
JUMP_DEG, NOISE_TIMES = 6.0, 5.0
"""A jump is as large as that, and so many times the usual step."""
DENSE = 12.0
"""Rows a second from which on the row next to a jump is not looked at: its noise would be in both measures."""
LEAST_JUMPS = 10
"""Of which it is known what went before, and as many of which it is known what came after."""
BACK, SURELY = -0.09, -0.05
"""So much of a jump is taken back, its 95 % interval ends below the second: angles from the head."""
STANDS = -0.12
"""The interval begins above it: angles from the car."""
RESAMPLES = 400
HELPS = "a longer drive or more rows a second would show it; say label_frame=car or head if you know"
"""What to do where nothing is found."""


@dataclass(frozen=True)
class LabelFrame:
    """What the angles of a drive count from, ``car``, ``head`` or ``unknown``, and what says so."""

    relative_to: str = UNKNOWN
    why: str = ""
    asked: str = AUTO

    def __post_init__(self) -> None:
        check(self.asked)

    @property
    def is_loud(self) -> bool:
        """Whether a person should read it."""
        return self.relative_to == HEAD or "ALTHOUGH" in self.why

    def line(self) -> str:
        """One sentence, loud for angles from the head."""
        why = f": {self.why}" if self.why else ""
        if self.relative_to == HEAD:
            return f"THE ANGLES ARE RELATIVE TO THE HEAD, not to the car, as the answers of a model of them are{why}"
        if self.relative_to == UNKNOWN:
            return f"WHETHER THE ANGLES ARE RELATIVE TO CAR OR HEAD CANNOT BE TOLD; the car is assumed: {HELPS}"
        return f"the angles count as relative to {WORDS[self.relative_to]}{why}"

    def to_json(self) -> dict[str, str]:
        """For ``drive.json``."""
        return {"relative_to": self.relative_to, "why": self.why, "asked": self.asked}


def together(drives: Sequence[Samples], asked: str = AUTO) -> tuple[LabelFrame, ...]:
    """The label frame of each drive; :class:`InputError` where one is shown to count from the head, another from the
    car: a model of both would mean neither."""
    found = tuple(of(drive, asked) for drive in drives)
    first = {one.relative_to: (drive.name, one.why) for drive, one in reversed(list(zip(drives, found, strict=True)))}
    if CAR in first and HEAD in first:
        (car, why_car), (head, why_head) = first[CAR], first[HEAD]
        raise InputError(
            f"data: the angles of {car} are relative to the car ({why_car}), those of {head} to the head ({why_head}): "
            f"train on drives of one kind, or say label_frame={CAR} or {HEAD} for all of them"
        )
    return found


def common(frames: Sequence[LabelFrame]) -> Kind:
    """What a model of drives with these label frames answers in: the head where one is from there, the car where all
    are."""
    kinds = {one.relative_to for one in frames}
    return HEAD if HEAD in kinds else CAR if kinds == {CAR} else UNKNOWN


def of(drive: Samples, asked: str = AUTO) -> LabelFrame:
    """The label frame of a prepared folder: what was asked for, else what its table and its trace show."""
    kept, about = trace.read(drive.folder), drive.folder / DRIVE
    if asked == AUTO and about.is_file():
        asked = files.read_json(about).get("label_frame", {}).get("asked", AUTO)
    return find(drive.table, kept.rows if kept else None, drive.fps, asked)


def find(table: pd.DataFrame, rows: Rows | None, fps: float, asked: str = AUTO) -> LabelFrame:
    """The label frame of samples (``azimuth_deg``, ``elevation_deg`` and what was kept of the CSV) and measured rows.

    ``asked`` other than ``auto`` is taken, and a contradiction said.
    """
    check(asked)
    found = _by_pixels(table) or (_by_jumps(rows, fps) if rows is not None else None) or LabelFrame()
    if asked == AUTO:
        return found
    if found.relative_to in (UNKNOWN, asked):
        return LabelFrame(asked, f"label_frame={asked} says so", asked)
    return LabelFrame(asked, f"label_frame={asked} says so, ALTHOUGH {found.why}", asked)


def _by_pixels(table: pd.DataFrame) -> LabelFrame | None:
    """Whether a cubic map from gaze pixels leaves next to nothing of the angles."""
    names = {str(name).strip().lower(): name for name in table}
    if not all(name in names for name in PIXELS):
        return None
    pixels = np.column_stack([pd.to_numeric(table[names[name]], errors="coerce") for name in PIXELS]).astype(float)
    angles = table[["azimuth_deg", "elevation_deg"]].to_numpy(float)
    known = np.isfinite(pixels).all(axis=1)
    pixels, angles = pixels[known], angles[known]
    if len(angles) < LEAST_PIXELS or (np.ptp(pixels, axis=0) == 0).any():
        return None
    x, y = ((pixels - np.median(pixels, axis=0)) / pixels.std(axis=0)).T
    terms = np.column_stack([x**i * y**j for i in range(4) for j in range(4 - i)])
    left = angles - terms @ np.linalg.lstsq(terms, angles, rcond=None)[0]
    usual = np.median(np.abs(angles - np.median(angles, axis=0)), axis=0)
    if (np.median(np.abs(left), axis=0) > ONE_TO_ONE * usual).any():
        return None
    return LabelFrame(HEAD, "gaze pixels of a scene camera move with the angles, one to one")


def _by_jumps(rows: Rows, fps: float) -> LabelFrame | None:
    """How much of each jump is taken back slowly, before and after it; None where too little moves to tell."""
    jumps = _jumps(*_evenly(rows, fps))
    if np.isfinite(jumps[:, :2]).sum(axis=0).min() < LEAST_JUMPS:  # before and after: one must not speak for all
        return None
    rng = np.random.default_rng(0)
    back = _taken_back(jumps)
    tried = [_taken_back(jumps[rng.integers(len(jumps), size=len(jumps))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(tried, [0.025, 0.975])
    if back < BACK and high < SURELY:
        size = f"{-100 * back:.0f} % [{-100 * high:.0f}–{-100 * low:.0f} %] of each jump of the eyes"
        return LabelFrame(HEAD, f"{size} is slowly taken back, as eyes do in a head that turns")
    if low > STANDS:
        return LabelFrame(
            CAR, f"after jumps of the eyes they stand still (at most {max(0.0, -100 * low):.0f} % is taken back)"
        )
    return None


def _evenly(rows: Rows, fps: float) -> tuple[np.ndarray, float]:
    """(n, 2) angles at equal distances, NaN where there are none, and how many of them a second has."""
    measured = np.isfinite(rows.angles_deg).all(axis=1) & (rows.frame >= 0)
    frame, angles = rows.frame[measured], rows.angles_deg[measured]
    named = np.unique(frame)
    if len(named) < 2:
        return np.full((0, 2), np.nan), fps
    apart = int(np.median(np.diff(named)))
    place = (frame - named[0]) // apart
    medians = pd.DataFrame(angles).groupby(place).median()
    even = np.full((int(place.max()) + 1, 2), np.nan)
    even[medians.index] = medians.to_numpy()
    return even, fps / apart


def _jumps(angles: np.ndarray, rate: float) -> np.ndarray:
    """(jumps, 3): which share of each the angles go along with it slowly before and after it, and its size, degrees."""
    step, after = max(1, round(JUMP_S * rate)), max(1, round(AFTER_S * rate))
    count, beside = len(angles), int(rate >= DENSE)
    edge = step + beside + after
    if rate < LEAST_RATE or count <= edge:
        return np.zeros((0, 3))
    wide = np.pad(angles, ((edge, edge), (0, 0)), constant_values=np.nan)
    jump = wide[edge + step : edge + step + count] - wide[edge : edge + count]
    size = np.hypot(*jump.T)
    least = max(JUMP_DEG, NOISE_TIMES * float(np.median(size[np.isfinite(size)]))) if np.isfinite(size).any() else 0.0
    size = np.nan_to_num(size)
    highest = sliding_window_view(np.pad(size, step), 2 * step + 1).argmax(axis=1) == step
    at = np.flatnonzero(highest & (size >= least) & (size > 0))
    start, stop = edge + at - beside, edge + at + step + beside
    moved = wide[start] - wide[start - after], wide[stop + after] - wide[stop]
    before, behind = ((one * jump[at]).sum(axis=1) / size[at] ** 2 for one in moved)
    return np.column_stack([before, behind, size[at]])


def _taken_back(jumps: np.ndarray) -> float:
    """The median shares before and after, weighted by the jumps' sizes, together: below 0 where they are taken back."""
    return sum(_weighted_median(jumps[:, side], jumps[:, 2]) for side in (0, 1))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    order = order[np.isfinite(values[order])]
    if not len(order):
        return float("nan")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
