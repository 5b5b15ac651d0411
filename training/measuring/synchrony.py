"""Are video and labels in step? The offset between them, its drift and its steps, from signs of different kinds.

A label that belongs to another frame is wrong at every glance and right in between, so no error points at it. What does
is when things happen (:mod:`training.measuring.events`). The signs:

- ``blinks``: the CSV's own blinks against lids that close in the face (:mod:`training.measuring.blinks`).
- ``eyes``: the jumps of the labels against changes in the picture.
- ``answers``: the labels at each sample's time against what a head on the base's features answers, fitted to other
  parts of the drive; ``base``: against a line through the base's own answers.

Each is a curve over offsets; where it is highest, pictures and labels agree best. Heads lag eyes by up to a quarter of
a second, and some lead them: what follows the head gives an offset that is several frames wrong. Blinks have nothing to
do with the head: where the CSV has them, they give the offset, and another sign must be near. Without them ``eyes``
give it, one of the others must be near, and the interval is as much wider as a head may lag or lead. That lag is much
the same all the time: how the offset *changes* over the drive is read from ``eyes``, which are many more than blinks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.stats import theilslopes

from recording.face import Face
from recording.trace import Trace, per_frame
from registry.intervals import Floats, Integers
from training.measuring import events
from training.measuring.blinks import BLINKS
from training.measuring.blinks import scan as scan_blinks
from training.measuring.events import EYES, Events, Scan

REACH_S, LEAST_REACH = 1.0, 12
"""Offsets are looked for up to this far to either side, in seconds, and in frames at least."""
DRIFT = 1.2e-3
"""Clocks that differ by more than this share are broken."""
RESAMPLES = 200
CLEAR, CLEAR_BLINKS, WIDE_S = 4.0, 5.0, 0.3
"""A sign is clear when its peak is so many deviations above its rest, its interval no wider than so many seconds.
The curve of blinks is of few events and has higher peaks by chance."""
SUPPORT = 3.0
"""At another place than its peak a curve speaks for an offset when it is so many deviations above its rest."""
LEAST_CORRELATION = 0.3
"""Of answers with labels, and of lids with blinks: of another moment it reaches 0.32, with no peak that is clear."""
HEAD_LAG_S = 0.45
"""So much a head may lag behind the eyes or lead them: in large turns that were planned it leads by nearly as much."""
LEAST_FRAMES = 1.5
"""Less is not said: labels are made for whole frames, and blinks are up to a frame off."""
SURELY_FRAMES = 6.0
"""Of labels that may be as many frames off it is not said that they are in step."""
LEAST_DRIFT = 2.0
STEP_GAIN, STEP_FRAMES = 6.0, 2.0
"""Two offsets instead of one must be so many deviations better together, and differ by so many frames."""
PLACES = 10


@dataclass(frozen=True)
class Sign:
    """One sign's curve: ``values`` (k,) at ``offsets`` (k,), in frames by which the labels come too late.

    ``offset`` is where it is highest, ``low``…``high`` its 95 % interval by resampling time blocks; ``height``: by how
    many deviations of the rest the peak stands out.
    """

    name: str
    offsets: Integers
    values: Floats
    offset: float
    low: float
    high: float
    height: float
    wide: float
    """Frames; an interval that is wider says nothing."""
    least: float = CLEAR
    """A lower peak says nothing."""

    @property
    def is_clear(self) -> bool:
        """Whether it says anything by itself."""
        return self.height >= self.least and self.high - self.low <= self.wide

    def speaks_for(self, offset: float, lag: float) -> bool:
        """Whether it is clear and its peak is within ``lag`` of ``offset``, or it is high there, if not highest."""
        near = np.abs(self.offsets - offset) <= lag
        middle, spread = _rest(self.values, self.offsets, self.offset)
        return (self.is_clear and abs(self.offset - offset) <= lag) or bool(
            (self.values[near].max(initial=middle) - middle) / spread >= SUPPORT
        )

    def describe(self) -> str:
        """``eyes +5.1 [+4.9, +5.3]``."""
        return f"{self.name} {_signed(self.offset, self.low, self.high) if self.is_clear else 'cannot tell'}"


@dataclass(frozen=True)
class Answers:
    """What a network says on n samples: ``seen`` (n, p), its answers or the features below them, at ``frame`` (n,);
    ``block`` (n,) time blocks."""

    frame: Integers
    seen: Floats
    block: Integers


@dataclass(frozen=True)
class Synchrony:
    """What was found for one drive. Offsets are frames by which the labels come too late.

    ``agreed``: two signs at least speak for ``offset``, whose interval is ``low``…``high``. ``places``: (second,
    offset) by parts of the drive; ``drift``: frames that the offset gains from start to end, 0 where none is shown;
    ``steps``: (second, offset before, offset after) where frames are missing. ``present``: the offset that the drive
    was prepared with; all of these are what is left after it.
    """

    signs: tuple[Sign, ...]
    agreed: bool = False
    offset: float = 0.0
    low: float = 0.0
    high: float = 0.0
    places: tuple[tuple[float, float], ...] = ()
    drift: float = 0.0
    steps: tuple[tuple[float, float, float], ...] = ()
    present: float = 0.0

    @property
    def out_of_step(self) -> bool:
        """Whether the labels should be shifted, or the recording mended."""
        shifted = abs(self.offset) >= LEAST_FRAMES and (self.low > 0 or self.high < 0)
        return self.agreed and (shifted or bool(self.steps) or bool(self.drift))

    @property
    def is_told(self) -> bool:
        """Whether the offset is known well enough to say that the labels are in step, or are not."""
        return self.out_of_step or (self.agreed and max(-self.low, self.high) <= SURELY_FRAMES)

    def advice(self) -> str:
        """What mends labels that are out of step: one offset only where it is the same all the time."""
        if self.steps:
            return "no one offset mends this: find the frames that were dropped there"
        if self.drift:
            return "no one offset mends this: number the rows anew by the times of the frames"
        return f"correct it with label_offset_frames={round(self.present + self.offset)}"

    def line(self) -> str:
        """One sentence, loud where something is wrong."""
        told = "; ".join(sign.describe() for sign in self.signs) or "the prepared folder has no trace"
        if not self.agreed:
            return f"video and labels: cannot tell whether they are in step ({told})"
        size = _signed(self.offset, self.low, self.high)
        if not self.is_told:
            return f"video and labels: cannot tell how well they are in step, offset {size} frames ({told})"
        if not self.out_of_step:
            return f"video and labels are in step, offset {size} frames ({told})"
        said = [f"VIDEO AND LABELS ARE OUT OF STEP: the labels are late by {size} frames"]
        if self.drift:
            said.append(f"the offset drifts by {self.drift:+z.1f} frames from start to end")
        said += [
            f"at about {at:.0f} s it steps from {before:+z.0f} to {after:+z.0f}" for at, before, after in self.steps
        ]
        return f"{'; '.join(said)} ({told}); {self.advice()}"


def compare(
    trace: Trace,
    fps: float,
    held_out_s: Floats,
    answers: Mapping[str, Answers] | None = None,
    face: Face | None = None,
) -> Synchrony:
    """Compare the trace of a drive with itself, and with what networks answer, by name.

    ``held_out_s`` (m, 2): from which second to which the test blocks go; their frames are not looked at. ``face``: the
    rectangle that the face is in; without one it is looked for in the middle of the view.
    """
    offsets = _offsets(fps)
    extra = tuple(_answered(name, one, trace, offsets, fps) for name, one in (answers or {}).items())
    found = events.from_trace(trace, fps, held_out_s)
    if len(np.unique(found.block)) < 2 * events.FOLDS:
        return Synchrony(extra)
    tried = [(float(rate), events.scan(found, EYES, offsets, float(rate))) for rate in _rates(found)]
    rate, jumps = max(tried, key=lambda one: one[1].curve().max())
    eyes = _sign(EYES, offsets, jumps, fps)
    lag = 1.0 + HEAD_LAG_S * fps
    blinks = None
    if (lids := scan_blinks(trace, fps, held_out_s, offsets, rate, face)) is not None:
        blinks = _sign(BLINKS, offsets, lids, fps, clear=CLEAR_BLINKS)
        blinks = blinks if blinks.values.max() >= LEAST_CORRELATION else replace(blinks, height=0.0)
    signs = ((blinks,) if blinks else ()) + (eyes, *extra)
    if blinks and blinks.is_clear and _agree(blinks, (eyes, *extra), lag):
        leader, slack = blinks, 0.0
    elif not (blinks and blinks.is_clear) and eyes.is_clear and _agree(eyes, extra, 2 * lag):
        leader, slack = eyes, lag
    else:
        return Synchrony(signs)
    pieces = _pieces(jumps, offsets)
    shift = leader.offset - eyes.offset if eyes.is_clear else 0.0
    places = _places(found, jumps, eyes, rate, fps, shift) if eyes.is_clear else ()
    steps = _steps(pieces, found, fps, shift) if eyes.is_clear and not rate else ()
    drift = _drift(places, found, fps) if not steps else 0.0
    low, high = leader.low - slack, leader.high + slack
    return Synchrony(signs, True, leader.offset, low, high, places, drift, steps)


def _agree(leader: Sign, others: tuple[Sign, ...], lag: float) -> bool:
    """Whether another sign speaks for the leader's offset, and no clear one against it."""
    against = [one for one in others if one.is_clear and not one.speaks_for(leader.offset, lag)]
    return not against and any(one.speaks_for(leader.offset, lag) for one in others)


def _offsets(fps: float) -> Integers:
    reach = max(LEAST_REACH, round(REACH_S * fps))
    return np.arange(-reach, reach + 1)


def _rates(found: Events) -> Floats:
    """The drifts that are tried: so fine that no part of the drive is more than a frame off."""
    half = (found.frame[-1] - found.frame[0]) / 2
    steps = int(DRIFT * half / 2)
    return np.asarray(np.arange(-steps, steps + 1) * 2.0 / half)


def _rest(values: Floats, offsets: Integers, peak: float) -> tuple[float, float]:
    """Median and deviation of a curve away from its peak."""
    far = np.abs(offsets - peak) > max(4, len(offsets) // 10)
    return float(np.median(values[far])), max(float(np.std(values[far])), 1e-9)


def _sign(name: str, offsets: Integers, scan: Scan, fps: float, clear: float = CLEAR) -> Sign:
    values = scan.curve()
    offset = _highest(offsets, values)
    middle, spread = _rest(values, offsets, offset)
    height = float((values.max() - middle) / spread)
    rng, blocks = np.random.default_rng(0), len(scan.product)
    tried = [_highest(offsets, scan.curve(rng.integers(blocks, size=blocks))) for _ in range(RESAMPLES)]
    low, high = np.quantile(tried, [0.025, 0.975]).tolist()
    return Sign(name, offsets, values, offset, min(low, offset), max(high, offset), height, 1.0 + WIDE_S * fps, clear)


def _highest(offsets: Integers, values: Floats) -> float:
    """The place of the peak, between two offsets by the parabola through the three highest."""
    at = int(values.argmax())
    if not 0 < at < len(values) - 1:
        return float(offsets[at])
    left, here, right = values[at - 1 : at + 2]
    return float(offsets[at] + np.clip(0.5 * (right - left) / max(2 * here - left - right, 1e-12), -0.5, 0.5))


def _answered(name: str, answers: Answers, trace: Trace, offsets: Integers, fps: float) -> Sign:
    frames = 1 + int(max(trace.rows.frame.max(initial=0), answers.frame.max(initial=0)))
    angles, _ = per_frame(trace.rows, frames)
    spread = np.nanstd(angles, axis=0) if np.isfinite(angles).any() else np.ones(2)
    labels = {name: angles / np.where(spread > 0, spread, 1.0)}
    found = Events(answers.frame, answers.block, {name: events.standardised(answers.seen)}, labels)
    sign = _sign(name, offsets, events.scan(found, name, offsets), fps)
    # Where one looks changes slowly: the curve is a broad hill, which cannot stand out and must be high itself.
    return replace(sign, height=CLEAR if sign.values.max() >= LEAST_CORRELATION else 0.0)


def _block_seconds(found: Events, fps: float) -> Floats:
    """(blocks,) the middle of each block, seconds."""
    blocks = np.unique(found.block, return_inverse=True)[1]
    return np.asarray(np.bincount(blocks, weights=found.frame) / np.bincount(blocks) / fps)


def _places(
    found: Events, jumps: Scan, eyes: Sign, rate: float, fps: float, shift: float
) -> tuple[tuple[float, float], ...]:
    """(second, offset) by tenths of what is compared, where a peak stands out not far from that of the whole."""
    seconds, middle = _block_seconds(found, fps), float(found.frame.mean()) / fps
    near = np.abs(eyes.offsets - eyes.offset) <= max(4.0, 0.1 * len(eyes.offsets))
    places = []
    for part in np.array_split(np.arange(len(seconds)), PLACES):
        curve = jumps.curve(part)
        rest, spread = _rest(curve, eyes.offsets, eyes.offset)
        if near[curve.argmax()] and (curve.max() - rest) / spread >= SUPPORT:
            at = float(seconds[part].mean())
            places.append((at, _highest(eyes.offsets, curve) + shift + rate * (at - middle) * fps))
    return tuple(places)


def _drift(places: tuple[tuple[float, float], ...], found: Events, fps: float) -> float:
    """Frames gained over the drive by the line of Theil and Sen, 0 where its interval or its size does not show any."""
    if len(places) < 5:
        return 0.0
    at, offset = np.array(places).T
    slope, _, low, high = theilslopes(offset, at, 0.95)
    whole = float(slope * (found.frame[-1] - found.frame[0]) / fps)
    return whole if (low > 0 or high < 0) and abs(whole) >= LEAST_DRIFT else 0.0


def _pieces(jumps: Scan, offsets: Integers) -> list[tuple[int, int, float]]:
    """(first block, block after the last, offset) of stretches with one offset each: cut in two as long as it pays."""
    share = jumps.product / np.sqrt(np.maximum(jumps.predicted.sum(axis=0) * jumps.label.sum(axis=0), 1e-12))
    _, spread = _rest(share.sum(axis=0), offsets, float(offsets[share.sum(axis=0).argmax()]))
    share = (share - np.median(share, axis=1, keepdims=True)) / spread

    def cut(start: int, stop: int) -> list[tuple[int, int, float]]:
        sums = np.concatenate([np.zeros((1, len(offsets))), share[start:stop].cumsum(axis=0)])
        gains = [before.max() + (sums[-1] - before).max() - sums[-1].max() for before in sums[2:-2]]
        whole = [(start, stop, _highest(offsets, sums[-1]))]
        if not gains or max(gains) < STEP_GAIN:
            return whole
        at = 2 + int(np.argmax(gains))
        before, after = sums[at], sums[-1] - sums[at]
        apart = abs(_highest(offsets, before) - _highest(offsets, after)) >= STEP_FRAMES
        standing = min(before.max(), after.max()) >= SUPPORT
        return cut(start, start + at) + cut(start + at, stop) if apart and standing else whole

    return cut(0, len(share))


def _steps(
    pieces: list[tuple[int, int, float]], found: Events, fps: float, shift: float
) -> tuple[tuple[float, float, float], ...]:
    seconds = _block_seconds(found, fps)
    return tuple(
        (float(seconds[after[0] - 1] + seconds[after[0]]) / 2, before[2] + shift, after[2] + shift)
        for before, after in pairwise(pieces)
    )


def _signed(offset: float, low: float, high: float) -> str:
    return f"{offset:+z.1f} [{low:+z.1f}, {high:+z.1f}]"
