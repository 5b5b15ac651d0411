"""How wrong a model is on a driver that it has never seen: errors by driver, and an interval over drivers.

Frames of one driver err alike, whatever their number, so each driver counts once: what is told of the next driver
rests on how much the drivers differ. A personal offset – two numbers, from a driver's first frames – is what a user
could have without any training; what it would give is measured on the driver's other frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recording.angles import wrap_deg
from registry.intervals import MIN_BLOCKS, Floats, Integers, Interval, mean_interval
from training.measuring.errors import QUANTITIES, per_sample

OFFSET_FRAMES = 20
"""So many frames of a driver give the personal offset."""


@dataclass(frozen=True)
class DriverErrors:
    """Mean errors on one driver, of models that learnt from others only; degrees, azimuth, elevation and 3-D angle."""

    name: str
    drives: tuple[str, ...]
    samples: int
    model_deg: Floats
    """(3,) on all samples of the driver."""
    others_deg: Mapping[str, float]
    """3-D error of the baselines, by their names; who was left out of the model was left out of these too."""
    offset_deg: Floats | None
    """(2,) the personal offset: what the first :data:`OFFSET_FRAMES` answers lack; ``None`` with no more frames."""
    plain_rest_deg: Floats | None
    """(3,) on the driver's other frames, without the offset …"""
    offset_rest_deg: Floats | None
    """(3,) … and with it."""


@dataclass(frozen=True)
class ByDriver:
    """Errors by driver, of models that have not learnt from what they are measured on.

    ``what``: which error this is, and of which models. ``errors``: mean over drivers and interval, by
    :data:`QUANTITIES`; ``offset``: what the personal offset changes (negative: better), over the drivers that have
    enough frames.
    """

    drivers: tuple[DriverErrors, ...]
    what: str
    errors: Mapping[str, Interval]
    baselines: Mapping[str, Interval]
    """3-D error of the baselines, as ``errors["angular"]`` is the model's."""
    offset: Mapping[str, Interval]

    @property
    def worst(self) -> DriverErrors:
        """The driver with the largest mean 3-D error."""
        return max(self.drivers, key=lambda one: float(one.model_deg[2]))

    def lines(self) -> list[str]:
        """What it comes to, for a terminal and for the report."""
        told = ", ".join(f"{name} {over_drivers(self.errors[name])}" for name in QUANTITIES)
        worst = self.worst
        lines = [
            f"{self.what}, mean over {len(self.drivers)} drivers: {told}",
            f"worst driver: {worst.name}, {worst.model_deg[2]:.2f}° in 3-D angle",
        ]
        if self.offset:
            change = self.offset["angular"]
            answer = change.answer if change.is_told else "too few to tell"
            lines.append(
                f"a personal offset of two numbers, from a driver's first {OFFSET_FRAMES} frames, would change the 3-D "
                f"error by {over_drivers(change, signed=True)}: {answer}"
            )
        return lines

    def metrics(self, prefix: str) -> dict[str, float]:
        """Flat metrics for MLflow: means over drivers, with their intervals where there are enough drivers."""
        flat: dict[str, float] = {}
        for name, interval in self.errors.items():
            flat |= _metrics(f"{prefix}/{name}_error_deg", interval)
        for name, interval in self.offset.items():
            flat |= _metrics(f"{prefix}/offset_{name}_change_deg", interval)
        for name, interval in self.baselines.items():
            flat |= _metrics(f"{prefix}/{name}_angular_error_deg", interval)
        return flat | {f"{prefix}/worst_angular_error_deg": float(self.worst.model_deg[2])}


def over_drivers(interval: Interval, *, signed: bool = False) -> str:
    """``4.20° [3.10–5.30]``, or with too few drivers the mean alone and how many there are."""
    mean = f"{interval.mean:+z.2f}°" if signed else f"{interval.mean:.2f}°"
    if not interval.is_told:
        return f"{mean} [too few to tell: {interval.blocks} of {MIN_BLOCKS} drivers]"
    low = interval.low if signed else max(0.0, interval.low)
    return f"{mean} [{low:+z.2f}, {interval.high:+z.2f}]" if signed else f"{mean} [{low:.2f}–{interval.high:.2f}]"


def folds(drivers: int, wanted: int) -> list[Integers]:
    """The drivers (numbers from 0) that are left out together: each alone, or ``wanted`` parts of them (0: each)."""
    count = drivers if not wanted else min(wanted, drivers)
    return [np.arange(first, drivers, count) for first in range(count)]


def measure(
    names: Sequence[str],
    driver: Integers,
    drives: Mapping[str, tuple[str, ...]],
    answers_deg: Mapping[str, Floats],
    labels_deg: Floats,
    what: str,
) -> ByDriver:
    """From everybody's (n, 2) answers to n samples, the model's under ``model``; ``driver`` (n,) numbers ``names``.

    ``drives``: those of each driver. Samples of a driver are in the order of time; a driver without any is left out.
    """
    errors = {who: per_sample(answers, labels_deg) for who, answers in answers_deg.items()}
    measured = []
    for k, name in enumerate(names):
        mine = np.flatnonzero(driver == k)
        if not len(mine):
            continue
        others = {who: float(found[mine, 2].mean()) for who, found in errors.items() if who != "model"}
        offset, plain, shifted = _personal(answers_deg["model"][mine], labels_deg[mine])
        mean = errors["model"][mine].mean(axis=0)
        measured.append(DriverErrors(name, drives[name], len(mine), mean, others, offset, plain, shifted))
    return ByDriver(
        tuple(measured),
        what,
        {name: mean_interval(errors["model"][:, k], driver) for k, name in enumerate(QUANTITIES)},
        {who: mean_interval(found[:, 2], driver) for who, found in errors.items() if who != "model"},
        _changes(measured),
    )


def _personal(answers_deg: Floats, labels_deg: Floats) -> tuple[Floats | None, Floats | None, Floats | None]:
    """The offset of a driver, and the mean errors on the frames behind it without and with it."""
    if len(labels_deg) <= OFFSET_FRAMES:
        return None, None, None
    lacking = wrap_deg(labels_deg[:OFFSET_FRAMES] - answers_deg[:OFFSET_FRAMES])
    offset = np.asarray(np.median(lacking, axis=0))
    rest, truth = answers_deg[OFFSET_FRAMES:], labels_deg[OFFSET_FRAMES:]
    plain, shifted = (per_sample(answers, truth).mean(axis=0) for answers in (rest, wrap_deg(rest + offset)))
    return offset, plain, shifted


def _changes(measured: list[DriverErrors]) -> dict[str, Interval]:
    known = [
        one.offset_rest_deg - one.plain_rest_deg
        for one in measured
        if one.offset_rest_deg is not None and one.plain_rest_deg is not None
    ]
    if not known:
        return {}
    change, each = np.stack(known), np.arange(len(known))
    return {name: mean_interval(change[:, k], each) for k, name in enumerate(QUANTITIES)}


def _metrics(name: str, interval: Interval) -> dict[str, float]:
    ends = {f"{name}_low": interval.low, f"{name}_high": interval.high} if interval.is_told else {}
    return {name: interval.mean} | ends
