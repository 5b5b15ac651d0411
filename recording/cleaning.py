"""One label for each frame, from all that was measured while it was shown.

Eye trackers measure several times per video frame, blinks and jumps blur what they measure, and single values are
wrong. So of several measurements the median is taken, and a frame is left out where they disagree, beside a blink,
and where one value jumps there and back faster than an eye can. Frames within a saccade are marked: what was measured
in one moment of a frame is not where the eyes pointed in another. Each rule acts only where the file gives the
evidence for it; at a few frames per second neighbours say nothing of each other. How far apart frames are, their own
times say: a recording that paused, or whose rate changes, is judged moment by moment.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from recording.badrows import BESIDE_BLINK, DISAGREE, DUPLICATE, SPIKE
from recording.trace import Rows

DISAGREE_DEG, DISAGREE_SHARE = 2.0, 1 / 3
"""More than this share of a frame's measurements farther than this from their median: they disagree."""
USUAL_TIMES = 4.0
"""A tracker whose measurements always differ is noisy: only so many times as much as usual is a disagreement."""
BLINK_MARGIN_S = 0.1
"""Lids begin to fall before a tracker says that they blink, and are still rising after it."""
DENSE_S = 1 / 20
"""Neighbouring frames that are no farther apart tell whether an eye jumped or a value did."""
ROUNDING_S = 1e-5
"""Times that are counted from a rate differ by less from what they mean."""
SPIKE_DEG, RETURN_DEG = 5.0, 1.5
"""A value so far from both its neighbours, which are no farther than this from each other, is a spike."""
SACCADE_DEG_S = 90.0
"""Eyes that follow something are slower, jumps of more than 3° faster (Bahill, Clark and Stark 1975)."""


@dataclass(frozen=True)
class Labelled:
    """One row per frame that has a label, f of them, sorted.

    ``frame`` (f,), ``angles_deg`` (f, 2); ``row`` (f,): the first of the frame's rows; ``moving`` (f,): the eyes jump
    while it is shown. ``dropped``: how many of the other rows were left out for which reason; ``disagreeing``: the
    frames that were left out because their rows disagree.
    """

    frame: np.ndarray
    angles_deg: np.ndarray
    row: np.ndarray
    moving: np.ndarray
    dropped: Counter[str]
    disagreeing: np.ndarray


def label_frames(rows: Rows, usable: np.ndarray, seconds: np.ndarray | None) -> Labelled:
    """The labels of the frames from the ``usable`` (r,) ones of all ``rows``.

    ``seconds`` (frames,): when each frame of the video is shown; None: rules in time are not asked. The rows of a frame
    that is left out count under its reason once, and as duplicates otherwise.
    """
    at = np.flatnonzero(usable)
    at = at[np.argsort(rows.frame[at], kind="stable")]
    frame, starts = np.unique(rows.frame[at], return_index=True)
    groups = np.split(at, starts[1:]) if len(frame) else []
    angles = np.array([np.median(rows.angles_deg[group], axis=0) for group in groups]).reshape(-1, 2)
    reason = np.full(len(frame), "", dtype=object)
    reason[_disagree(rows.angles_deg, angles, groups)] = DISAGREE
    if seconds is not None:
        reason[(reason == "") & _beside_blink(frame, rows, seconds)] = BESIDE_BLINK
        reason[(reason == "") & _spikes(frame, angles, seconds)] = SPIKE
    moving = _moving(frame, angles, rows, groups, seconds)
    kept = reason == ""
    dropped = Counter(reason[~kept].tolist())
    dropped[DUPLICATE] = len(at) - len(frame)
    first = np.array([group[0] for group in groups], dtype=np.int64)
    return Labelled(frame[kept], angles[kept], first[kept], moving[kept], +dropped, frame[reason == DISAGREE])


Pair = tuple[float, float]


def passages_disagree(rows: Rows, usable: np.ndarray) -> list[tuple[int, Pair, Pair]]:
    """Frames that the file names in several places which disagree, with the angles of two such places.

    A tracker's rows of one frame follow each other, and jumps of the eyes lie between them; a second passage of rows
    is another drive, or another eye, which agrees. Passages are compared by their medians, :data:`DISAGREE_DEG` to
    either side or, of a noisy tracker, as much as usual within a passage.
    """
    at = np.flatnonzero(usable)
    passage = np.concatenate([[0], np.cumsum(np.diff(rows.frame) != 0)])[at] if len(at) else at
    starts = np.flatnonzero(np.diff(passage, prepend=-1))
    parts = np.split(rows.angles_deg[at], starts[1:])
    noise = [np.median(np.abs(part - np.median(part, axis=0)).max(axis=1)) for part in parts if len(part) > 2]
    limit = 2 * max(DISAGREE_DEG, USUAL_TIMES * float(np.median(noise or [0.0])))
    places: dict[int, list[np.ndarray]] = {}
    for frame, part in zip(rows.frame[at][starts].tolist(), parts, strict=False):
        places.setdefault(frame, []).append(np.median(part, axis=0))
    found: list[tuple[int, Pair, Pair]] = []
    for frame, medians in places.items():
        other = max(medians, key=lambda median: float(np.abs(median - medians[0]).max()))
        if np.abs(other - medians[0]).max() > limit:
            one = medians[0]
            found.append((frame, (float(one[0]), float(one[1])), (float(other[0]), float(other[1]))))
    return found


def _disagree(measured: np.ndarray, medians: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    away = [np.abs(measured[group] - median).max(axis=1) for group, median in zip(groups, medians, strict=True)]
    usual = np.median([np.median(one) for one in away if len(one) > 2] or [0.0])
    limit = max(DISAGREE_DEG, USUAL_TIMES * float(usual))
    return np.array([(one > limit).mean() > DISAGREE_SHARE for one in away], dtype=bool)


def _beside_blink(frame: np.ndarray, rows: Rows, seconds: np.ndarray) -> np.ndarray:
    blinks = np.unique(rows.frame[rows.blink & (rows.frame >= 0) & (rows.frame < len(seconds))])
    if not len(blinks):
        return np.zeros(len(frame), dtype=bool)
    after = np.searchsorted(blinks, frame)
    near = [np.abs(seconds[blinks[np.clip(after - step, 0, len(blinks) - 1)]] - seconds[frame]) for step in (0, 1)]
    return np.asarray(np.minimum(*near) <= BLINK_MARGIN_S + ROUNDING_S)


def _dense(frame: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(f - 1,) whether each frame and the next are neighbours that say something of each other."""
    return np.asarray((np.diff(frame) == 1) & (np.diff(seconds[frame]) <= DENSE_S + ROUNDING_S))


def _spikes(frame: np.ndarray, angles: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    found = np.zeros(len(frame), dtype=bool)
    if len(frame) < 3:
        return found
    before, here, after = angles[:-2], angles[1:-1], angles[2:]
    beside = _dense(frame, seconds)
    dense = beside[:-1] & beside[1:]
    away = np.abs(here - (before + after) / 2).max(axis=1) > SPIKE_DEG
    back = np.abs(after - before).max(axis=1) < RETURN_DEG
    found[1:-1] = dense & away & back
    return found


def _moving(
    frame: np.ndarray, angles: np.ndarray, rows: Rows, groups: list[np.ndarray], seconds: np.ndarray | None
) -> np.ndarray:
    """By the tracker's own fixations where most rows have one, else by speed where frames are dense."""
    if rows.says_fixation:
        inside = np.array([rows.fixation[group].mean() for group in groups])
        return inside < 0.5 if len(inside) and inside.mean() > 0.5 else np.zeros(len(frame), dtype=bool)
    moving = np.zeros(len(frame), dtype=bool)
    if seconds is None or len(frame) < 2:
        return moving
    apart = np.diff(seconds[frame])
    # Recorders that stamp pictures as they come may write two moments for one: no eye is fast within that.
    apart = np.maximum(apart, np.median(np.diff(seconds)) / 2)
    fast = _dense(frame, seconds) & (np.abs(np.diff(angles, axis=0)).max(axis=1) > SACCADE_DEG_S * apart)
    moving[1:] |= fast
    moving[:-1] |= fast
    return moving
