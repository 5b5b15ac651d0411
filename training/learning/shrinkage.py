"""Answers drawn towards the mean of the labels where validation shows more noise in them than gaze.

A driver who hardly looks up or down, few samples, a dim picture: then a network's answers in one angle scatter more
than the gaze itself, and the mean of the labels, which needs no picture at all, is nearer to the truth. Between the two
lies something better than both: keep a share of each answer's distance from the mean (shrinkage; Copas 1983,
"Regression, prediction and shrinkage"). Squared loss on the training samples cannot find that share, as the scatter
shows only on samples that were not trained on; the validation samples can.
"""

import numpy as np
import torch
from torch import nn

Kept = tuple[float, float]
"""Shares of the distance from the mean that the answers keep, of pitch and of yaw; 1: as they are."""

WHOLE: Kept = (1.0, 1.0)
MOST_KEPT = 0.9
"""A share above this is one that chance may give, and would change little."""
FEWEST = 25
"""Validation samples; of fewer a share would be chance."""
LEAST_GAIN = 0.05
"""Of the error on the validation samples; for less nothing is changed."""


def kept(answers: np.ndarray, targets: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> Kept:
    """What to keep of (n, 2) ``(pitch, yaw)`` radians, by the (n, 2) targets of samples that were not trained on.

    ``mean`` and ``spread`` (2,): mean and standard deviation of the labels that were trained on. The share that leaves
    the least scatter; but not less than these labels and the scatter found would give, spread² / (spread² + scatter²):
    where the validation samples all look one way, they say nothing of what glances are worth. What all answers are off
    by is no scatter: another driver's offset must not make glances smaller. 1 with fewer than :data:`FEWEST` samples,
    where the answers are not finite, where more than :data:`MOST_KEPT` would be kept, and where the mean absolute error
    would not fall by :data:`LEAST_GAIN`.
    """
    shares = [1.0, 1.0]
    for angle in range(2) if len(answers) >= FEWEST else ():
        from_mean, truth = answers[:, angle] - mean[angle], targets[:, angle] - mean[angle]
        if not (np.isfinite(from_mean).all() and np.ptp(from_mean) > 0 and spread[angle] > 0):
            continue
        best = float(np.mean((from_mean - from_mean.mean()) * truth) / from_mean.var())
        share = max(best, float(spread[angle] ** 2 / (spread[angle] ** 2 + (from_mean - truth).var())))
        before, after = (float(np.abs(part * from_mean - truth).mean()) for part in (1.0, share))
        if share <= MOST_KEPT and after < (1 - LEAST_GAIN) * before:
            shares[angle] = share
    return shares[0], shares[1]


@torch.no_grad()
def fold(fc: nn.Module, share: Kept, mean: np.ndarray) -> None:
    """Let ``fc``, whose last layer answers ``(pitch, yaw)`` in radians, answer so; in place, on whatever device.

    ``mean`` (2,) radians: of the labels that this network was trained on.
    """
    if share == WHOLE:
        return
    assert isinstance(fc, nn.Sequential)
    last = fc[-1]
    assert isinstance(last, nn.Linear)
    factors = last.bias.new_tensor(share)
    last.weight.mul_(factors[:, None])
    last.bias.mul_(factors).add_((1 - factors) * last.bias.new_tensor(mean))


def describe(share: Kept) -> str:
    """In words, "" where the answers are as they are."""
    found = [
        f"{name}: the answers keep {part:.2f} of their distance from the mean of the labels, as validation shows more "
        "noise in them than gaze"
        for name, part in (("elevation", share[0]), ("azimuth", share[1]))
        if part < 1
    ]
    return "; ".join(found)
