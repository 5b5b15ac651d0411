"""Heads in closed form: the answer as a linear map of what the frozen network sees, solved in a second.

Three methods. ``affine`` maps the base's two answers (a calibration that may also mix and shift the angles); ``ridge``
(Hoerl & Kennard 1970) and ``lad`` (least absolute deviations, by iteratively reweighted ridge; Schlossmacher 1973)
map the 512 pooled features. All of them fit into the network as it is: :func:`fold` writes them into its last layers,
and the registered file has the same keys and shapes as any other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

METHODS = ("affine", "ridge", "lad")
PENALTIES = tuple(float(10.0**power) for power in np.arange(-3.0, 3.1, 0.75))
"""Ridge penalties tried, in units of a standardised feature's variance; the last one is all but a constant."""
FOLDS = 5
REWEIGHTINGS = 8
SMALLEST_RESIDUAL = np.radians(0.25)  # below it a residual weighs as in least squares: labels are no finer


@dataclass(frozen=True)
class LinearHead:
    """``answers = inputs @ weight.T + bias``: (pitch, yaw) radians of k inputs."""

    weight: np.ndarray
    """(2, k)."""
    bias: np.ndarray
    """(2,)."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n, k) inputs → (n, 2) ``(pitch, yaw)`` radians."""
        answers: np.ndarray = inputs @ self.weight.T + self.bias
        return answers


def solve(method: str, inputs: np.ndarray, targets: np.ndarray, block: np.ndarray) -> LinearHead:
    """The head of this method for (n, k) inputs and (n, 2) targets in radians.

    ``inputs`` are the base's answers for ``affine`` and its pooled features otherwise. ``block`` (n,) is the time
    block of each sample: the penalty is chosen for each angle by cross-validation over whole blocks, as neighbouring
    frames are near copies. Raises :class:`ValueError` for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
    inputs = np.asarray(inputs, dtype=np.float64)
    penalties = choose_penalties(method, inputs, targets, block)
    fit = least_absolute if method == "lad" else ridge
    parts = [fit(inputs, targets[:, k], penalties[k]) for k in range(2)]
    return LinearHead(np.stack([slope for slope, _ in parts]), np.array([intercept for _, intercept in parts]))


def choose_penalties(method: str, inputs: np.ndarray, targets: np.ndarray, block: np.ndarray) -> tuple[float, float]:
    """For each angle the one of :data:`PENALTIES` with the least absolute error on blocks that were left out."""
    path = _least_absolute_path if method == "lad" else _ridge_path
    folds = _folds(block)
    errors = np.zeros((len(PENALTIES), 2))
    for fold_number in np.unique(folds):
        kept, left_out = folds != fold_number, folds == fold_number
        for at, answers in enumerate(path(inputs[kept], targets[kept], inputs[left_out])):
            errors[at] += np.abs(answers - targets[left_out]).sum(axis=0)
    best = errors.argmin(axis=0)
    return PENALTIES[best[0]], PENALTIES[best[1]]


def ridge(
    inputs: np.ndarray, target: np.ndarray, penalty: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """(k,) weights and intercept that minimise the weighted squared error plus ``penalty`` on standardised weights."""
    share = np.full(len(target), 1 / len(target)) if weights is None else weights / weights.sum()
    mean, scale = share @ inputs, _scale(inputs)
    standard = (inputs - mean) / scale
    middle = float(share @ target)
    gram = standard.T @ (standard * share[:, None]) + penalty * np.eye(inputs.shape[1])
    slope = np.linalg.solve(gram, standard.T @ (share * (target - middle))) / scale
    return slope, middle - float(slope @ mean)


def least_absolute(inputs: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """As :func:`ridge`, for the absolute error: an outlier (a blink, a wrong label) pulls no harder than any sample."""
    slope, intercept = ridge(inputs, target, penalty)
    for _ in range(REWEIGHTINGS):
        residual = np.abs(inputs @ slope + intercept - target)
        slope, intercept = ridge(inputs, target, penalty, 1 / np.maximum(residual, SMALLEST_RESIDUAL))
    return slope, intercept


@torch.no_grad()
def fold(head: LinearHead, fc: nn.Sequential) -> None:
    """Write the head into ``fc = Linear(k, h), ReLU, Dropout, Linear(h, 2)``, in place and exactly.

    A head with two inputs maps the answers of ``fc``: it goes into the last layer. One with k inputs maps what ``fc``
    reads: per angle two hidden units carry +w·x and −w·x, and relu(a) − relu(−a) = a. They take the places of the
    hidden units that mattered least; the others keep what they compute and start with no say, so that training can
    give them one.
    """
    first, last = fc[0], fc[-1]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    weight, bias = (torch.tensor(part, dtype=torch.float64) for part in (head.weight, head.bias))
    if head.weight.shape[1] == 2:
        mixed = weight @ last.weight.double()
        shift = weight @ last.bias.double() + bias
        last.weight.copy_(mixed)
        last.bias.copy_(shift)
        return
    usual = first.weight.norm(dim=1).mean().double()
    matters = last.weight.norm(dim=0) * first.weight.norm(dim=1)
    units = matters.argsort(stable=True)[:4].view(2, 2)
    last.weight.zero_()
    last.bias.copy_(bias)
    for angle, pair in enumerate(units):
        # As large as its neighbours: one learning rate serves all units.
        size = (usual / weight[angle].norm().clamp_min(1e-12)).item()
        for unit, sign in zip(pair, (1.0, -1.0), strict=True):
            first.weight[unit] = sign * size * weight[angle]
            first.bias[unit] = 0.0
            last.weight[angle, unit] = sign / size


def _scale(inputs: np.ndarray) -> np.ndarray:
    spread: np.ndarray = inputs.std(axis=0)
    # A feature that hardly moves would be blown up to the size of the others by its noise.
    floor: np.ndarray = np.maximum(spread, 0.05 * spread.max() + 1e-12)
    return floor


def _folds(block: np.ndarray) -> np.ndarray:
    """(n,) fold of each sample: whole blocks, neighbours together; single samples where there is one block only."""
    ids, place = np.unique(block, return_inverse=True)
    if len(ids) < 2:
        ids, place = np.arange(len(block)), np.arange(len(block))
    folds: np.ndarray = place * min(FOLDS, len(ids)) // len(ids)
    return folds


def _ridge_path(inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """The answers (m, 2) for ``asked`` (m, k) of the ridge fit under every penalty, from one decomposition."""
    mean, scale, middle = inputs.mean(axis=0), _scale(inputs), targets.mean(axis=0)
    standard = (inputs - mean) / scale / np.sqrt(len(inputs))
    left, size, right = np.linalg.svd(standard, full_matrices=False)
    wanted = left.T @ (targets - middle) / np.sqrt(len(inputs))
    turned = ((asked - mean) / scale) @ right.T
    return [turned @ ((size / (size**2 + penalty))[:, None] * wanted) + middle for penalty in PENALTIES]


def _least_absolute_path(inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """As :func:`_ridge_path`, for :func:`least_absolute`."""
    answers = []
    for penalty in PENALTIES:
        parts = [least_absolute(inputs, targets[:, k], penalty) for k in range(2)]
        answers.append(np.column_stack([asked @ slope + intercept for slope, intercept in parts]))
    return answers
