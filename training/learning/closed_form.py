"""Heads in closed form: the answer as a linear map of what the frozen network sees, solved in a second.

Three methods. ``affine`` maps the base's two answers (a calibration that may also mix and shift the angles); ``ridge``
(Hoerl & Kennard 1970) and ``lad`` (least absolute deviations, by iteratively reweighted ridge; Schlossmacher 1973)
map the 512 pooled features. All of them fit into the network as it is: :func:`fold` writes them into its last layers,
and the registered file has the same keys and shapes as any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from training.learning.trunk import Features

METHODS = ("affine", "ridge", "lad")
PENALTIES = tuple(float(10.0**power) for power in np.arange(-3.0, 3.1, 0.75))
"""Ridge penalties tried, in units of a standardised feature's variance; the last one is all but a constant."""
FOLDS = 5
REWEIGHTINGS = 8
FURTHER_REWEIGHTINGS = 4
"""From the answer of the next smaller penalty on: comparing penalties is nine tenths of the work."""
KEPT_SHARE = 0.75
"""Of a trained head's answers, when it is completed: with all of them the ridge has little to say where training fitted
its own samples, with none it forgets what only the hidden units know (docs/benchmarks.md)."""
SMALLEST_RESIDUAL = np.radians(0.25)  # below it a residual weighs as in least squares: labels are no finer

Solution = tuple[np.ndarray, float]
"""Slope (k,) and intercept of one angle."""


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


def solve(
    method: str, inputs: np.ndarray, targets: np.ndarray, block: np.ndarray, weights: np.ndarray | None = None
) -> LinearHead:
    """The head of this method for (n, k) inputs and (n, 2) targets in radians.

    ``inputs`` are the base's answers for ``affine`` and its pooled features otherwise. ``block`` (n,) is the time
    block of each sample: the penalty is chosen for each angle by cross-validation over whole blocks, as neighbouring
    frames are near copies. ``weights`` (n,): how much each sample counts, all alike for ``None``. Raises
    :class:`ValueError` for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
    inputs = np.asarray(inputs, dtype=np.float64)
    fit = least_absolute if method == "lad" else ridge
    # numpy and scipy bring a BLAS each, whose threads wait for work on the same cores: a single one is twice as fast.
    with threadpool_limits(1, user_api="blas"):
        mean, turn = _axes(inputs)
        coordinates = (inputs - mean) @ turn
        penalties = choose_penalties(method, coordinates, targets, block, weights)
        parts = [fit(coordinates, targets[:, k], penalties[k], weights) for k in range(2)]
    weight = np.stack([turn @ slope for slope, _ in parts])
    return LinearHead(weight, np.array([intercept for _, intercept in parts]) - weight @ mean)


def choose_penalties(
    method: str, inputs: np.ndarray, targets: np.ndarray, block: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """For each angle the one of :data:`PENALTIES` with the least absolute error on blocks that were left out."""
    paths = _least_absolute_paths if method == "lad" else _ridge_paths
    folds = _folds(block)
    counts = np.ones(len(inputs)) if weights is None else weights / weights.mean()
    errors = np.zeros((2, len(PENALTIES)))
    for number in np.unique(folds):
        kept, left_out = folds != number, folds == number
        for k, path in enumerate(paths(inputs[kept], targets[kept], counts[kept])):
            for at, (slope, intercept) in enumerate(path):
                off = np.abs(inputs[left_out] @ slope + intercept - targets[left_out, k])
                errors[k, at] += (counts[left_out] * off).sum()
    best = errors.argmin(axis=1)
    return PENALTIES[best[0]], PENALTIES[best[1]]


def _ridge_paths(inputs: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> Iterator[Iterator[Solution]]:
    """For each angle the solutions for all :data:`PENALTIES`, in their order, from one decomposition."""
    share = counts / counts.sum()
    mean, middle = share @ inputs, share @ targets
    centred = inputs - mean
    size, axes = scipy.linalg.eigh(_gram(centred, share))
    along = axes.T @ (centred.T @ (share[:, None] * (targets - middle)))
    for k in range(targets.shape[1]):
        slopes = (axes @ (along[:, k] / (np.maximum(size, 0) + penalty)) for penalty in PENALTIES)
        yield ((slope, float(middle[k] - slope @ mean)) for slope in slopes)


def _least_absolute_paths(inputs: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> Iterator[Iterator[Solution]]:
    """As :func:`_ridge_paths`."""
    return (_least_absolute_path(inputs, target, counts) for target in targets.T)


def _least_absolute_path(inputs: np.ndarray, target: np.ndarray, counts: np.ndarray) -> Iterator[Solution]:
    """Of one angle; each goes on from the one before."""
    found = least_absolute(inputs, target, PENALTIES[0], counts)
    yield found
    for penalty in PENALTIES[1:]:
        found = _reweighted(inputs, target, penalty, counts, found, FURTHER_REWEIGHTINGS)
        yield found


def ridge(inputs: np.ndarray, target: np.ndarray, penalty: float, weights: np.ndarray | None = None) -> Solution:
    """(k,) slope and intercept with the least weighted mean squared error plus ``penalty`` times the slope's square."""
    share = np.full(len(target), 1 / len(target)) if weights is None else weights / weights.sum()
    mean, middle = share @ inputs, float(share @ target)
    centred = inputs - mean
    gram = _gram(centred, share)
    gram[np.diag_indices_from(gram)] += penalty
    # Half the time of scipy.linalg.solve, which also asks how well the matrix is conditioned.
    slope = scipy.linalg.cho_solve(
        scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True), centred.T @ (share * (target - middle))
    )
    return slope, middle - float(slope @ mean)


def _gram(centred: np.ndarray, share: np.ndarray) -> np.ndarray:
    weighted = centred * np.sqrt(share)[:, None]
    gram: np.ndarray = weighted.T @ weighted  # symmetric as it is written, which halves the work
    return gram


def least_absolute(
    inputs: np.ndarray, target: np.ndarray, penalty: float, weights: np.ndarray | None = None
) -> Solution:
    """As :func:`ridge`, for the absolute error: an outlier (a blink, a wrong label) pulls no harder than any sample."""
    counts = np.ones(len(target)) if weights is None else weights
    return _reweighted(inputs, target, penalty, counts, ridge(inputs, target, penalty, counts), REWEIGHTINGS)


def _reweighted(
    inputs: np.ndarray, target: np.ndarray, penalty: float, counts: np.ndarray, found: Solution, times: int
) -> Solution:
    """``times`` ridges, each with the weights that make the last one's squares absolute values."""
    slope, intercept = found
    for _ in range(times):
        residual = np.abs(inputs @ slope + intercept - target)
        slope, intercept = ridge(inputs, target, penalty, counts / np.maximum(residual, SMALLEST_RESIDUAL))
    return slope, intercept


def install(
    method: str,
    network: nn.Module,
    source: Features,
    targets: np.ndarray,
    train: np.ndarray,
    block: np.ndarray,
    share: np.ndarray | None = None,
) -> None:
    """Solve the head on the ``train`` samples and fold it into ``network.fc``, in place.

    ``source`` gives the pooled features of this very network (behind ``freeze=backbone``); ``targets`` (n, 2) radians
    and ``block`` (n,) are for all samples; ``share`` (n_train,): how much each counts, all alike for ``None``.
    """
    fc = network.fc
    assert isinstance(fc, nn.Sequential)
    with torch.no_grad():
        pooled = torch.cat([source.plain(part).cpu() for part in np.array_split(train, max(1, len(train) // 256))])
        inputs = fc.cpu().eval()(pooled) if method == "affine" else pooled
    fold(solve(method, inputs.numpy(), targets[train], block[train], share), fc)


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
    units = _least(first, last)
    last.weight.zero_()
    last.bias.zero_()
    _add(weight, bias, first, last, units)


@torch.no_grad()
def complete(
    fc: nn.Sequential, pooled: torch.Tensor, targets: np.ndarray, block: np.ndarray, share: np.ndarray | None = None
) -> None:
    """Keep three quarters of what ``fc = Linear(k, h), ReLU, Dropout, Linear(h, 2)`` answers, add the ridge of what
    that leaves; in place.

    A head that was trained for a few hundred steps is far from the best one on the features that it reads, which these
    steps have changed; what is missing is a linear map of them, or nearly. It takes the places of the four hidden units
    that matter least; what these said is part of what is left. ``pooled`` (n, k) are what ``fc`` reads, ``targets``
    (n, 2) radians, ``block`` (n,) and ``share`` (n,) as for :func:`solve`, which follows what shows on blocks that were
    left out and no more.
    """
    first, last = fc[0], fc[-1]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    units = _least(first, last)
    last.weight[:, units.flatten()] = 0
    last.weight.mul_(KEPT_SHARE)
    last.bias.mul_(KEPT_SHARE)
    left = targets - fc.eval()(pooled).double().numpy()
    head = solve("ridge", pooled.numpy(), left, block, share)
    weight, bias = (torch.tensor(part, dtype=torch.float64) for part in (head.weight, head.bias))
    _add(weight, bias, first, last, units)


def _least(first: nn.Linear, last: nn.Linear) -> torch.Tensor:
    """(2, 2) indices of the four hidden units that matter least, a pair for each angle."""
    matters: torch.Tensor = last.weight.norm(dim=0) * first.weight.norm(dim=1)
    return matters.argsort(stable=True)[:4].view(2, 2)


def _add(weight: torch.Tensor, bias: torch.Tensor, first: nn.Linear, last: nn.Linear, units: torch.Tensor) -> None:
    """Let ``units``, which have no say, add the linear map with these (2, k) and (2,) to the answers."""
    usual = first.weight.norm(dim=1).mean().double()
    last.bias.add_(bias)
    for angle, pair in enumerate(units):
        # As large as its neighbours: one learning rate serves all units.
        size = (usual / weight[angle].norm().clamp_min(1e-12)).item()
        for unit, sign in zip(pair, (1.0, -1.0), strict=True):
            first.weight[unit] = sign * size * weight[angle]
            first.bias[unit] = 0.0
            last.weight[angle, unit] = sign / size


def _axes(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (k,) and turn (k, r): ``(inputs - mean) @ turn`` are the standardised inputs along their principal axes.

    Axes that the penalties would suppress anyway are left out: 512 pooled features of one drive have few others, and
    every sum below is that much smaller.
    """
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    # A feature that hardly moves would be blown up to the size of the others by its noise.
    scale = np.maximum(spread, 0.05 * spread.max() + 1e-12)
    _, size, axes = np.linalg.svd((inputs - mean) / scale / np.sqrt(len(inputs)), full_matrices=False)
    kept = size**2 > 0.01 * PENALTIES[0]
    return mean, axes[kept].T / scale[:, None]


def _folds(block: np.ndarray) -> np.ndarray:
    """(n,) fold of each sample: whole blocks, neighbours together; single samples where there is one block only."""
    ids, place = np.unique(block, return_inverse=True)
    if len(ids) < 2:
        ids, place = np.arange(len(block)), np.arange(len(block))
    folds: np.ndarray = place * min(FOLDS, len(ids)) // len(ids)
    return folds
