"""``python -m benchmarks.near_copies``: how much too good a frame's error is when training frames lie close to it.

A drive is cut into periods: some seconds train, as many are a hole that tests, so that frames of the hole lie at all
distances in time from the nearest training frame. The pattern is moved along the drive in steps; each frame is then
tested at several distances by models that learnt from equally many frames, and its error at each distance is compared
with *its own* error far from all training frames (:data:`FAR_S`). A ratio of 1 means: no near copies left.

Two kinds of model: ``ridge``, a head in closed form on pooled features, and ``layer3``, the stages behind it trained
by gradient steps. Drives are those of the accuracy panel; some are there to choose a gap on, others to confirm it. The
last table is what splits do: the ratio over test blocks of :data:`BLOCK_S` behind a gap, and what share of an 80 s
drive at 30 frames a second is left to train the registered model.
"""

import argparse
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import panel
from benchmarks.machine import machine
from recording.angles import pitch_yaw_to_deg
from training.learning import batchnorm, closed_form, model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, TrialConfig, finish, steps_per_epoch
from training.learning.trunk import Dataset, Features, dataset, features
from training.measuring import splits
from training.measuring.errors import per_sample
from training.sample import sample_drive

CPU = torch.device("cpu")
HOLE_S = 10.0  # as long as what trains between two holes
FAR_S = 3.0
EDGES_S = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
GAPS_S = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5)
BLOCK_S = 2.0  # a test block of an 80 s drive
STEPS = {"ridge": 20, "layer3": 5}
EPOCHS, RATE = 6, 5e-4


def main() -> None:
    given = _arguments()
    work = Path(given.work)
    print(f"machine: {machine()}\n")
    for method in given.methods.split(","):
        found = {name: _measured(name, method, given.samples, work) for name in given.drives.split(",")}
        print(_by_distance(method, found), flush=True)
        print(_by_gap(method, found), flush=True)


def _measured(name: str, method: str, samples: int, work: Path) -> np.ndarray:
    """What :func:`relative` says of every test of a frame of this drive."""
    drive = panel.rendered(name, samples, work)
    data, _ = drive.load()
    seconds = data.frames / data.drives[0].fps
    everything = np.arange(len(data))
    cache = ActivationCache(work / "cache")
    views = dataset(data, cache, everything, np.array([], dtype=np.int64), 0)
    views = Dataset(views.pictures, views.key, everything, views.validation)  # not augmented
    network = model.load(sample_drive.BASE_CHECKPOINT)
    batchnorm.adapt(network, views.pictures, everything, CPU)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    freeze = "backbone" if method == "ridge" else method
    source = features(network, freeze, views, cache, CPU)
    distances, errors = [], []
    for step in range(STEPS[method]):
        train, test = pattern(seconds, step / STEPS[method])
        network.load_state_dict(weights)
        answers = _fitted(network, method, source, data.targets, train, test, seconds)
        distance, error = np.full(len(data), np.nan), np.full(len(data), np.nan)
        distance[test] = nearest(seconds[test], seconds[train])
        error[test] = per_sample(pitch_yaw_to_deg(answers), data.labels_deg[test])[:, 2]
        distances.append(distance)
        errors.append(error)
    cache.close()
    return relative(np.array(distances), np.array(errors))


def pattern(seconds: np.ndarray, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices that train and that test: alternating stretches of :data:`HOLE_S`, moved by ``shift`` of a period."""
    place = (seconds / (2 * HOLE_S) + shift) % 1.0
    return np.flatnonzero(place < 0.5), np.flatnonzero(place >= 0.5)


def nearest(tested_s: np.ndarray, trained_s: np.ndarray) -> np.ndarray:
    """(n,) seconds from each tested frame to the nearest trained one; both sorted."""
    at = np.searchsorted(trained_s, tested_s)
    before = np.abs(tested_s - trained_s[np.maximum(at - 1, 0)])
    after = np.abs(trained_s[np.minimum(at, len(trained_s) - 1)] - tested_s)
    nearest_s: np.ndarray = np.minimum(before, after)
    return nearest_s


def relative(distances: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(steps, n) distances and errors, NaN where a frame was not tested → (m, 3): of every test of a frame that was
    also tested far away its distance, its error, and the frame's mean error far away."""
    far = np.where(distances >= FAR_S, errors, np.nan)
    known = np.isfinite(far).any(axis=0)
    own = np.full(errors.shape[1], np.nan)
    own[known] = np.nanmean(far[:, known], axis=0)
    rows, frames = np.nonzero(np.isfinite(distances) & known)
    return np.column_stack([distances[rows, frames], errors[rows, frames], own[frames]])


def ratio(tests: np.ndarray, low_s: float, high_s: float) -> float:
    """Mean error of the tests at these distances over the same frames' mean error far away; NaN where there is none."""
    chosen = tests[(tests[:, 0] >= low_s) & (tests[:, 0] < high_s)]
    return float(chosen[:, 1].mean() / chosen[:, 2].mean()) if len(chosen) else float("nan")


def _fitted(
    network: torch.nn.Module,
    method: str,
    source: Features,
    targets: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seconds: np.ndarray,
) -> np.ndarray:
    """The (n, 2) answers, pitch and yaw in radians, to the tested frames."""
    tail = model.cut(network, "backbone" if method == "ridge" else method)[1]
    block = (seconds // 5).astype(int)
    if method == "ridge":
        closed_form.install("ridge", network, source, targets, train, block)
    else:
        config = TrialConfig(method, "target", RATE, EPOCHS)
        finish(tail, Examples(source, targets, train, block), config, EPOCHS * steps_per_epoch(len(train), config))
    return predict(tail, source, test)


def _by_distance(method: str, found: dict[str, np.ndarray]) -> str:
    bins = pairwise(EDGES_S)
    rows = [(f"{low:g}–{high:g} s", [ratio(tests, low, high) for tests in found.values()]) for low, high in bins]
    return _table(f"{method}: error over the same frames' error {FAR_S:g} s away and more", "distance", found, rows)


def _by_gap(method: str, found: dict[str, np.ndarray]) -> str:
    """What a test block shows whose frames lie from the gap to half the block further away."""
    rows = []
    for gap in GAPS_S:
        left = 1 - (BLOCK_S + 2 * gap) / (80.0 / (80.0 // splits.MIN_STRETCH_S))
        cells = [ratio(tests, gap, gap + BLOCK_S / 2) for tests in found.values()]
        rows.append((f"{gap:g} s ({100 * left:.0f} % left to train)", cells))
    return _table(f"{method}: test blocks of {BLOCK_S:g} s behind a gap", "gap", found, rows)


def _table(title: str, corner: str, drives: Iterable[str], rows: list[tuple[str, list[float]]]) -> str:
    names = list(drives)
    lines = [f"## {title}", "", f"| {corner} | {' | '.join(names)} | mean |", "|---" * (len(names) + 2) + "|"]
    lines += [f"| {name} | {' | '.join(f'{c:.2f}' for c in cells)} | {np.nanmean(cells):.2f} |" for name, cells in rows]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Errors by the distance in time from the nearest training frame.")
    parser.add_argument("--drives", default="cluster-close,webcam", help="of the accuracy panel")
    parser.add_argument("--methods", default="ridge,layer3", help=f"some of {', '.join(STEPS)}")
    parser.add_argument("--samples", type=int, default=2000, help="frames of a drive, evenly spaced (2000)")
    parser.add_argument("--work", default="data/accuracy", help="where drives go (data/accuracy)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
