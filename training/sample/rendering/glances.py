"""Where a driver looks: fixations on the areas of interest, saccades, pursuit, blinks, and the head that follows.

Shares of the areas and fixation times follow the glance statistics of naturalistic driving studies in outline: most
of the time is spent on the road, mirror and console glances last about a second.
"""

from dataclasses import dataclass

import numpy as np

# Area: share of glances, azimuth and elevation of its centre (degrees, right and up positive), spread of the places
# looked at in it, and how long a glance lasts (seconds, mean).
AREAS = {
    "road": (0.50, 0.5, -0.5, 6.0, 2.0, 2.6),
    "left mirror": (0.09, -28.0, -6.5, 1.8, 1.2, 1.2),
    "right mirror": (0.05, 33.0, -6.0, 1.8, 1.2, 1.2),
    "rear-view mirror": (0.10, 23.0, 8.5, 2.0, 1.3, 1.0),
    "console": (0.09, 21.0, -16.0, 2.8, 2.2, 1.4),
    "cluster": (0.14, 0.5, -13.5, 2.8, 1.6, 1.0),
    "left shoulder": (0.015, -46.0, -5.0, 3.0, 2.0, 0.9),
    "right shoulder": (0.015, 46.0, -5.0, 3.0, 2.0, 0.9),
}
HEAD_SHARE = 0.62  # of a large glance that the head takes over
_SMALL_SHARE, _VERTICAL_SHARE = 0.38 / HEAD_SHARE, 0.45 / HEAD_SHARE  # of that: in small glances, in elevation
_RATE = 100  # simulation steps per second
_SACCADE = 0.05  # seconds


@dataclass(frozen=True)
class Track:
    """One row per frame. ``gaze`` and ``head`` (n, 2) azimuth, elevation in degrees (car frame); ``roll`` (n,)
    degrees; ``shift`` (n, 3) mm; ``closed`` (n,) lids, 0…1; ``fixation`` and ``blink`` (n,) ids, −1 outside."""

    seconds: np.ndarray
    gaze: np.ndarray
    head: np.ndarray
    roll: np.ndarray
    shift: np.ndarray
    closed: np.ndarray
    fixation: np.ndarray
    blink: np.ndarray


def track(
    seconds: float,
    fps: float,
    seed: int,
    *,
    head_share: float = HEAD_SHARE,
    head_lead_s: float = 0.0,
    at_s: np.ndarray | None = None,
) -> Track:
    """The gaze track of a drive of that length, sampled ``fps`` times a second; the same seed gives the same one.

    ``head_share``: how much of a large glance the head takes over, of a small one proportionally less.
    ``head_lead_s``: by how much earlier than otherwise it turns. ``at_s`` (n,): the seconds of the samples, where
    they are not those of the frames; outside the drive as at its ends.
    """
    rng = np.random.default_rng([seed, 1])
    steps = int(np.ceil(seconds * _RATE)) + 1
    time = np.arange(steps) / _RATE
    gaze, fixation = _gaze(rng, time)
    ahead = np.minimum(np.arange(steps) + round(head_lead_s * _RATE), steps - 1)
    head = _head(rng, gaze[ahead], head_share)
    closed, blink = _blinks(rng, time)
    when = np.arange(round(seconds * fps)) / fps if at_s is None else at_s
    at = np.clip(np.round(when * _RATE).astype(int), 0, steps - 1)
    sway = np.stack([_wander(rng, steps, 4.0) * size for size in (7.0, 4.0, 9.0)], axis=1)
    roll = _wander(rng, steps, 3.0) * 2.0 - 0.06 * head[:, 0]
    return Track(when, gaze[at], head[at], roll[at], sway[at], closed[at], fixation[at], blink[at])


def _gaze(rng: np.random.Generator, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) gaze and (n,) fixation ids: places held with slow drift, joined by saccades."""
    names = list(AREAS)
    shares = np.array([AREAS[name][0] for name in names])
    gaze = np.zeros((len(time), 2))
    fixation = np.full(len(time), -1)
    start, count, previous, area = 0.0, 0, np.zeros(2), "road"
    while start < time[-1]:
        # After a glance away the eyes come back to the road more often than not.
        back = area != "road" and rng.random() < 0.45
        area = "road" if back else names[rng.choice(len(names), p=shares / shares.sum())]
        _, azimuth, elevation, wide, high, mean = AREAS[area]
        left = mean * rng.gamma(4.0, 0.25)
        middle = np.array([azimuth + wide * rng.normal(), elevation + high * rng.normal()])
        while left > 0:  # a glance is one fixation or several
            held = min(left, 0.25 + rng.gamma(2.0, 0.25))
            place = middle + rng.normal(size=2) * np.array([1.3, 0.8])
            drift = rng.normal(size=2) * np.array([1.6, 0.4]) * (area == "road")  # pursuit, degrees a second
            rows = (time >= start) & (time < start + held)
            since = time[rows] - start
            blend = np.clip(since / _SACCADE, 0.0, 1.0)[:, None]
            blend = blend * blend * (3.0 - 2.0 * blend)
            gaze[rows] = previous * (1 - blend) + (place + drift * since[:, None]) * blend
            fixation[rows] = np.where(since < _SACCADE, -1, count)
            previous = place + drift * held
            start, left, count = start + held, left - held, count + 1
    gaze[-1] = gaze[-2]
    return gaze, fixation


def _head(rng: np.random.Generator, gaze: np.ndarray, large_share: float) -> np.ndarray:
    """(n, 2) head azimuth and elevation: it takes over part of a large glance, a quarter of a second late."""
    share = np.where(np.abs(gaze[:, :1]) > 12.0, large_share, _SMALL_SHARE * large_share)
    wanted = np.column_stack([gaze[:, 0] * share[:, 0], gaze[:, 1] * (_VERTICAL_SHARE * large_share) - 1.0])
    wanted[:, 0] += 3.5 * _wander(rng, len(gaze), 5.0)
    wanted[:, 1] += 2.5 * _wander(rng, len(gaze), 6.0)
    head = np.empty_like(wanted)
    here, speed = wanted[0].copy(), np.zeros(2)
    for i, there in enumerate(wanted):  # critically damped
        speed += (144.0 * (there - here) - 24.0 * speed) / _RATE
        here = here + speed / _RATE
        head[i] = here
    return head


def _blinks(rng: np.random.Generator, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how far the lids are closed and (n,) blink ids: a blink of a quarter second every four."""
    closed, blink = np.zeros(len(time)), np.full(len(time), -1)
    start, count = rng.uniform(1.0, 3.0), 0
    while start < time[-1]:
        length = rng.uniform(0.2, 0.32)
        rows = (time >= start) & (time < start + length)
        closed[rows] = np.clip(np.sin(np.pi * (time[rows] - start) / length) * 1.5, 0.0, 1.0)
        blink[rows] = count
        start, count = start + length + 0.8 + rng.gamma(2.0, 1.8), count + 1
    return closed, blink


def _wander(rng: np.random.Generator, steps: int, period: float) -> np.ndarray:
    """(n,) smooth random walk of unit deviation in about ``period`` seconds."""
    knots = rng.normal(size=int(steps / (_RATE * period)) + 4)
    at = np.arange(steps) / (_RATE * period) + 1.0
    i = at.astype(int)
    f = at - i
    f = f * f * (3.0 - 2.0 * f)
    return (knots[i] * (1 - f) + knots[i + 1] * f) / 0.85
