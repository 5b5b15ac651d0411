"""Whether the frame numbers of a labels CSV number the frames of its video.

A number that is rounded, or counts milliseconds or the frames of another film, gives its row the picture of another
moment. Rows past the end of the video show it, by how far apart the numbers are.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recording import units
from recording.exceptions import DriveError

log = logging.getLogger("recording.frame_numbers")

_POWER = re.compile(r"\s*\d+(?:[.,](\d*))?[eE]\+?(\d+)\s*")
ENOUGH = 20
"""Fewer different numbers show no pattern."""
ENOUGH_S = 2.0
"""Nor do fewer seconds."""
SAID_SHARE = 0.2
"""Of the different numbers past the end: more than what recorders run on after the camera."""
SAME = 0.03
"""By so much, as a share, numbers end from where those of a film with another rate would."""
NEAR, CLOSE = 0.15, 0.05
"""By so much, as shares, rows and video may begin and end apart for their lengths to be the same, and to be just so."""
ALIKE = 0.01
"""As many different numbers as frames, but for this share, and they go on past the end: one for each, spread wider."""
LAST_APART = 2
"""By so many rows tables end before their video, or behind it, whose rows are one for each picture."""
CLOCKS = ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))
"""Ticks a second."""


def is_rounded(text: str) -> bool:
    """Whether a number is written with a power of ten and too few digits for its last one: ``1.00E+03``."""
    if "e" not in text and "E" not in text:
        return False
    power = _POWER.fullmatch(text)
    return power is not None and int(power[2]) > len(power[1] or "")


def check_not_rounded(path: Path, column: str, rounded: Sequence[tuple[int, str, int]], frames: np.ndarray) -> None:
    """Refuse frame numbers that a program rounded: :class:`DriveError`.

    ``rounded``: ``(line, text, frame)`` of the rows of which :func:`is_rounded` says so; ``frames`` (n,): all numbers.
    One among others is just that number: R writes 100000 as ``1e+05``.
    """
    among = {frame for _, _, frame in rounded}
    if len(among) < units.FEW:
        return
    others = len(np.unique(frames[(frames >= min(among)) & (frames <= max(among))])) - len(among)
    if others < len(among):
        line, text, _ = rounded[0]
        raise DriveError(
            f"labels {path}: {len(rounded)} frame numbers are rounded ({column!r} is {text.strip()[:40]!r} in line "
            f"{line}), so that several frames have one number; write all their digits, without a power of ten"
        )


def check_start(path: Path, column: str, named: np.ndarray, frames: int, unshown: int) -> None:
    """Refuse numbers (n,) that count the ``unshown`` pictures before the first of the ``frames`` of a video, which
    cannot be decoded: they end as far past the end of the video as these are many. :class:`DriveError`."""
    last = int(named.max(initial=-1))
    if unshown and abs(last - (frames + unshown - 1)) <= min(LAST_APART, unshown // 4):
        raise DriveError(
            f"labels {path}: {column!r} goes up to {last} in a video of {frames} frames (0 to {frames - 1}) that "
            f"begins with {unshown} pictures that cannot be decoded and have no number: the numbers seem to count "
            f"these, so that every row has the picture {unshown} later than its own; set that right with "
            f"label_offset_frames={unshown}, or go on with the rows as they are with on_bad_rows=drop"
        )


def rate(named: np.ndarray, times: np.ndarray) -> float | None:
    """How many frames a second numbers (n,) count that were measured at ``times`` (n,), in seconds; None where that
    does not tell: fewer than :data:`ENOUGH`, less than :data:`ENOUGH_S`, or numbers that do not rise with time."""
    known = np.isfinite(times)
    order = np.argsort(times[known], kind="stable")
    at, number = times[known][order], named[known][order].astype(np.float64)
    if len(np.unique(number)) < ENOUGH or at[-1] - at[0] < ENOUGH_S:
        return None
    slope, start = np.polyfit(at - at[0], number, 1)
    apart = np.abs(start + slope * (at - at[0]) - number)
    is_line = slope > 0 and np.median(apart) < CLOSE / 5 * (number.max() - number.min())
    return float(slope) if is_line else None


def check_rate(path: Path, column: str, named: np.ndarray, counted: float, seconds: np.ndarray, stop: bool) -> bool:
    """Refuse, where ``stop``, numbers (n,) that count the frames of a film with another rate of as many seconds as this
    one: :class:`DriveError`. ``counted``: numbers a second (:func:`rate`); ``seconds`` (frames,): when each frame of
    the video is shown, by its own times. Returns whether they count at the video's rate.

    A video that plays slower or faster than it was taken has another rate, too, but just as many frames as numbers; or
    more, or fewer, where the one ended before the other. Only numbers that end where the film does are another's.
    """
    shown = (len(seconds) - 1) / float(seconds[-1])
    faster, longer = counted / shown, (int(named.max()) + 1) / len(seconds)
    if abs(faster - 1) < CLOSE:
        return True
    if stop and abs(longer / faster - 1) < SAME and abs(longer - 1) > CLOSE:
        raise DriveError(
            f"labels {path}: {column!r} counts {counted:.3g} frames a second, by the times beside it, up to "
            f"{int(named.max())}, and the video shows {shown:.3g} a second and has {len(seconds)}: the numbers are "
            f"those of a film with another rate; write the number of each row's picture in this video, or go on with "
            f"on_bad_rows=drop"
        )
    return False


def check_clock(
    path: Path, column: str, named: np.ndarray, frames: int, fps: float | None, stop: bool, is_sure: bool = False
) -> None:
    """Refuse, where ``stop``, numbers (n,) that count something else than the ``frames`` of the video, or say so.

    Rows of a recording that goes on after the video are one frame apart, or as far apart as they are measured; those of
    another clock are so far apart as they are past the end. ``is_sure``: the rows' times say that the numbers count at
    the video's rate. :class:`DriveError`.
    """
    numbers = np.unique(named)
    past = float((numbers >= frames).mean()) if len(numbers) else 0.0
    if len(numbers) < ENOUGH or past in (0.0, 1.0):
        return
    first, last, step = int(numbers[0]), int(numbers[-1]), float(np.median(np.diff(numbers)))
    names = f"labels {path}: {column!r} names frames {first} to {last} of a video of {frames} (0 to {frames - 1})"
    what = "" if is_sure else _other_clock(last + 1, step, frames, fps)
    if what and past > units.SHARE and stop:
        raise DriveError(
            f"{names}: {past:.0%} of the numbers are past its end, and they are usually {step:g} apart, as where "
            f"{what}; write the number of each row's picture in this video, or go on with those inside with "
            f"on_bad_rows=drop"
        )
    behind = last - (frames - 1)
    if step == 1 and first == behind and len(numbers) > (1 - units.SHARE) * frames:
        log.warning(
            "%s: numbered from %d? Then every row has the picture %d later than its own, and "
            "label_offset_frames=%d sets it right",
            *(names, first, behind, behind),
        )
    elif is_sure and past > SAID_SHARE:
        log.warning("%s: %.0f%% of the numbers are past its end and left out", names, 100 * past)
    elif not is_sure and (past > SAID_SHARE or (past > units.SHARE and abs(len(numbers) / frames - 1) < ALIKE)):
        log.warning(
            "%s: %.0f%% of the numbers are past its end and left out, which is right where the video was cut there; "
            "where it was written at another rate of frames, or the numbers count another clock, all rows have wrong "
            "pictures",
            *(names, 100 * past),
        )


def _other_clock(length: int, step: float, frames: int, fps: float | None) -> str:
    """What numbers that are usually ``step`` apart and span ``length`` count, "" where they may be the video's own."""
    if step <= 1:
        return ""
    for ticks, called in CLOCKS if fps else ():
        each = ticks / fps if fps else 0.0
        if abs(step - each) < 1 or abs(length / frames / each - 1) < CLOSE:
            return f"they count {called}"
    if abs(length / frames / step - 1) < NEAR:
        return f"they count a film with {step:g} times as many frames"
    return ""
