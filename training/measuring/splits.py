"""Which samples train, which validate, which test: contiguous blocks of time with gaps between them.

Frames a second apart are near copies, so a random split of one video puts the answers of the test into the
training. The drive is cut into equal stretches; each holds one validation block and one test block, side by
side, and everything else trains. Where the blocks lie depends on the time span of the drive alone – not on a
seed and not on which samples were picked – so versions trained on the same drive were never tested on frames
that another one trained on.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from recording.exceptions import InputError
from recording.prepared import Span
from recording.recordings import Recordings
from recording.scenarios import COUNT, scenarios
from registry.intervals import MIN_BLOCKS

AUTO = "auto"
SPLIT_CHOICES = (AUTO, "blocks", "random", "by-drive", "by-driver")
FEWEST_DRIVERS = 3  # one each to train, to validate and to test; of whole drives as many
DRIVERS_SHARE = 5  # of so many drivers one tests, and one validates
VALIDATION_SHARE = 0.15  # of the time; the same for the test
TEST_SHARE = 0.15  # less in stretches of which test block and gaps would take more than LEFT_OUT_SHARE
LEFT_OUT_SHARE = 0.245  # of the time, from the final training
SHORTEST_TEST_S = 1.8  # however short the stretch
GAP_S = 1.5  # left out beside every block, at most; MIN_GAP_S at least
MIN_GAP_S = 1.0  # what near copies are taken to need: registry.holdout.NEAR_COPY_S
STRETCH_S = 16.0  # as many stretches as there are of these, where that is enough for an interval …
MIN_STRETCH_S = 12.0  # … else of these: shorter stretches would be mostly gaps
MIN_PER_PART = 5
SAME_TIME_S = 1e-3


@dataclass(frozen=True)
class Split:
    """Indices into the samples; every array is sorted.

    ``block`` gives each sample the time block it lies in (samples of a block are correlated: the bootstrap
    resamples blocks) and ``scenario`` the tenth of the drive, 1…10. Samples in no part lie in a gap.

    The parts serve the search and the estimate. ``final`` is what the registered model learns from in the end:
    everything but the test blocks and the gaps beside *these* – validation blocks and their gaps included.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    final: np.ndarray
    block: np.ndarray
    scenario: np.ndarray
    leaking: bool

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            if len(getattr(self, part)) < MIN_PER_PART:
                raise InputError(
                    f"split {self.name}: {len(getattr(self, part))} of {len(self.block)} samples fall into the {part} "
                    f"part, at least {MIN_PER_PART} are needed; prepare more samples or use a longer recording"
                )

    def digest(self) -> str:
        """Name and a digest of which samples train, validate and test."""
        parts = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            parts.update(np.asarray(part, dtype=np.int64).tobytes() + b"|")
        return f"{self.name} {parts.hexdigest()[:12]}"

    def describe(self) -> str:
        """One line for logs and reports; says so where the split leaks."""
        sizes = f"{len(self.train)} train / {len(self.validation)} validation / {len(self.test)} test"
        left_out = len(self.block) - len(self.train) - len(self.validation) - len(self.test)
        gaps = f", {left_out} left out in the gaps" if left_out else ""
        leaking = "; LEAKING: neighbouring frames are on both sides, the test errors are too good" * self.leaking
        return f"split {self.name}: {sizes}{gaps}; {len(self.final)} for the final training{leaking}"


def chosen(name: str, drives: int, drivers: int, listed: bool) -> str:
    """What ``auto`` means: time blocks of one drive; of ``listed`` drives whole drivers; of one, whole drives.

    Raises :class:`InputError` where there are too few drivers for ``by-driver``, named or meant, or where the listed
    drives are too few or too many for the split.
    """
    if name == AUTO:
        name = "blocks" if not listed or drives == 1 else "by-driver" if drivers > 1 else "by-drive"
    if name == "by-driver" and drivers < FEWEST_DRIVERS:
        raise InputError(
            f"split=by-driver: {drivers} driver{'s' * (drivers != 1)} given, at least {FEWEST_DRIVERS} are needed (one "
            "trains, one validates, one tests); add drives of others, or ask for another question with split=by-drive"
        )
    if listed and name == "by-drive" and drives < FEWEST_DRIVERS:
        raise InputError(
            f"split=by-drive: {drives} drive{'s' * (drives != 1)} given, at least {FEWEST_DRIVERS} are needed (one "
            "trains, one validates, one tests); add drives to the list, or give one alone for split=blocks"
        )
    if listed and name in ("blocks", "random") and drives > 1:
        raise InputError(f"split={name}: {drives} drives were given; use split=by-drive or split=by-driver")
    return name


def of(name: str, data: Recordings, seed: int = 0) -> Split:
    """The split of that name (not ``auto``) over the samples of ``data``; :class:`InputError` as :func:`split`."""
    span = data.drives[0].span if len(data.drives) == 1 else None
    return split(name, data.frames, data.drives[0].fps, data.drive_index, seed, data.seconds, data.driver_index, span)


def split(
    name: str,
    frames: np.ndarray,
    fps: float,
    drives: np.ndarray,
    seed: int,
    seconds: np.ndarray | None = None,
    drivers: np.ndarray | None = None,
    span: Span | None = None,
) -> Split:
    """The split of that name over samples with these frame numbers and drive indices (both (n,), int).

    ``seconds``: (n,) when the samples were shown, where the rate is not constant (see :func:`blocks`); ``drivers``:
    (n,) who drives, for ``by-driver``; ``span``: the time that the drive takes, for ``blocks``.

    Raises :class:`InputError` for an unknown name or when a part would be empty.
    """
    several = len(np.unique(drives)) > 1
    if name == "by-driver" and drivers is not None:
        return by_driver(frames, drives, drivers)
    if name == "by-drive":
        return by_drive(frames, drives)
    if several:
        raise InputError(f"split={name}: several drives were given; use split=by-drive")
    if name == "blocks":
        return blocks(frames, fps, seconds, span)
    if name == "random":
        return random(frames, seed)
    raise InputError(f"split={name!r} is unknown: choose one of {', '.join(SPLIT_CHOICES)}")


def blocks(frames: np.ndarray, fps: float, seconds: np.ndarray | None = None, span: Span | None = None) -> Split:
    """Contiguous validation and test blocks spread over the drive, a gap beside each.

    Times are ``seconds`` (n,), or the numbers of the ``frames`` over the usual rate ``fps`` where those say the same.
    The drive takes the time of its ``span``, which holds all samples; of a drive whose span is not known, the time from
    the first sample to the last.

    Each of up to ten stretches looks like ``train | gap | block | gap | block | gap | train``; where the blocks
    lie in the stretch, and which of them tests, changes from stretch to stretch so that no rhythm of the drive
    can line up with it.
    """
    frames = np.asarray(frames)
    seconds, lasts = _since_the_start(frames, fps, seconds, span)
    stretches = int(np.clip(lasts // STRETCH_S, np.clip(lasts // MIN_STRETCH_S, 1, MIN_BLOCKS), COUNT))
    length = lasts / stretches
    gap = min(max(MIN_GAP_S, 0.03 * length), GAP_S)
    tested = min(TEST_SHARE * length, max(LEFT_OUT_SHARE * length - 2 * gap, SHORTEST_TEST_S))
    width = {"validation": VALIDATION_SHARE * length, "test": tested}
    part = np.full(len(frames), "train", dtype="U10")
    final = np.ones(len(frames), dtype=bool)
    block = np.zeros(len(frames), dtype=np.int64)
    for k in range(stretches):
        group = sum(width.values()) + 3 * gap
        # Golden-ratio steps spread the offsets evenly over [0, 1) for any number of stretches.
        start = k * length + ((k * 0.618034 + 0.5) % 1.0) * max(0.0, length - group)
        order = ("validation", "test") if k % 2 else ("test", "validation")
        at = start + gap
        inside = (seconds >= start) & (seconds < start + group)
        part[inside] = "gap"
        block[(seconds >= k * length) & (seconds < start)] = 4 * k
        block[(seconds >= start + group) & (seconds < (k + 1) * length)] = 4 * k + 3
        for position, which in enumerate(order):
            chosen = (seconds >= at) & (seconds < at + width[which])
            part[chosen] = which
            block[chosen] = 4 * k + 1 + position
            if which == "test":
                final[(seconds >= at - gap) & (seconds < at + width[which] + gap)] = False
            at += width[which] + gap
    return _split("blocks", part, block, scenarios(frames), final=final, leaking=False)


def _since_the_start(
    frames: np.ndarray, fps: float, seconds: np.ndarray | None, span: Span | None
) -> tuple[np.ndarray, float]:
    """(n,) when the samples are shown, seconds after the drive's start, and how long the drive lasts."""
    shown = frames / fps if seconds is None else np.asarray(seconds)
    if span is None:
        span = Span((int(frames.min()), int(frames.max())), (float(shown.min()), float(shown.max())))
    numbers, times = np.append(frames, span.frames), np.append(shown, span.seconds)
    counted, measured = (numbers - span.frames[0]) / fps, times - span.seconds[0]
    # Rounding must not move a block: versions of one drive share their test blocks, whatever wrote their times down.
    since = counted if np.allclose(measured, counted, rtol=0, atol=SAME_TIME_S) else measured
    return since[:-2], float(since.max()) + 1.0 / fps


def random(frames: np.ndarray, seed: int) -> Split:
    """The old protocol: 70/15/15 at random. Leaks, and says so wherever its numbers appear."""
    frames = np.asarray(frames)
    order = np.random.default_rng(seed).permutation(len(frames))
    part = np.full(len(frames), "train", dtype="U10")
    held_out = round(TEST_SHARE * len(frames))
    part[order[:held_out]] = "test"
    part[order[held_out : 2 * held_out]] = "validation"
    tenth = scenarios(frames)
    return _split("random", part, tenth, tenth, final=part != "test", leaking=True)


def by_drive(frames: np.ndarray, drives: np.ndarray) -> Split:
    """Whole drives: the last one tests, the one before it validates, the others train."""
    frames, drives = np.asarray(frames), np.asarray(drives)
    last = int(drives.max())
    if last < 2:
        raise InputError(
            f"split=by-drive: {last + 1} drive given, at least 3 are needed; "
            "give data=FOLDER1,FOLDER2,FOLDER3 (the last one tests, the one before it validates)"
        )
    part = np.where(drives == last, "test", np.where(drives == last - 1, "validation", "train"))
    tenth = scenarios(frames, drives)
    return _split("by-drive", part, drives * COUNT + tenth, tenth, final=part != "test", leaking=False)


def by_driver(frames: np.ndarray, drives: np.ndarray, drivers: np.ndarray) -> Split:
    """Whole drivers: the last fifth of them tests, the fifth before validates, the others train; one each at least.

    All drives of a driver are in one part. Raises :class:`InputError` with fewer than three drivers.
    """
    frames, drives, drivers = np.asarray(frames), np.asarray(drives), np.asarray(drivers)
    count = int(drivers.max()) + 1
    chosen("by-driver", 0, count, listed=True)
    held_out = max(1, count // DRIVERS_SHARE)
    part = np.where(
        drivers >= count - held_out, "test", np.where(drivers >= count - 2 * held_out, "validation", "train")
    )
    tenth = scenarios(frames, drives)
    return _split("by-driver", part, drives * COUNT + tenth, tenth, final=part != "test", leaking=False)


def balanced(drives: np.ndarray) -> np.ndarray | None:
    """(n,) chance of each sample to be drawn, so that every one of these ``drives`` (n,) is drawn from equally often.

    ``None`` where all have the same number of samples.
    """
    _, place, count = np.unique(drives, return_inverse=True, return_counts=True)
    return None if len(set(count)) == 1 else 1.0 / (len(count) * count[place])


def _split(
    name: str, part: np.ndarray, block: np.ndarray, scenario: np.ndarray, *, final: np.ndarray, leaking: bool
) -> Split:
    train, validation, test = (np.flatnonzero(part == which) for which in ("train", "validation", "test"))
    return Split(name, train, validation, test, np.flatnonzero(final), block, scenario, leaking)
