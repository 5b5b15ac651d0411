"""``python -m benchmarks.search``: trials and searches against the old recipe, on the rendered sample drive.

Three claims, both sides in one run on the same 500 samples:

1. a ``freeze=backbone`` trial of 15 epochs, with the cache filled and with filling it;
2. ``freeze=none``: images a second in training, and the error after the same epochs, over ``--repeats`` seeds (one
   seed after so few epochs says little: a fifth of a degree this way or that);
3. a 12-trial search over all freeze choices against two old runs with all layers.

The old recipe's epochs cost the same one after the other: ``--old-epochs`` of them are run and the time is
scaled to 15 (``--old-epochs 15`` runs them all).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import old_recipe
from benchmarks.machine import machine
from recording import preparation, recordings
from recording.drive import Source
from recording.recordings import Recordings
from training.learning import model
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, TrialConfig, finetune
from training.learning.trunk import Features, dataset, features
from training.measuring import splits
from training.measuring.splits import Split
from training.sample import sample_drive

EPOCHS = 15
SAMPLES = 500
ROOT = Path(__file__).parent.parent


def main() -> None:
    arguments = _arguments()
    work = Path(arguments.work)
    video, labels = sample_drive.render(work / "sample-drive")
    folder = preparation.prepare(Source(video, labels), SAMPLES, work / "prepared" / f"sample-drive-{SAMPLES}")
    data = recordings.load((folder,))
    split = splits.of("blocks", data)
    print(f"machine: {machine()}")
    print(f"{len(split.train)} training and {len(split.validation)} validation samples of {SAMPLES}\n")
    rows: list[tuple[str, float, float, float]] = []

    seeds = range(arguments.repeats)
    frozen, _ = _old(data, split, arguments.old_epochs, frozen=True)
    olds = [_old(data, split, arguments.old_epochs, frozen=False, seed=seed) for seed in seeds]
    all_layers = float(np.median([seconds for seconds, _ in olds]))

    with tempfile.TemporaryDirectory(dir=work) as scratch:
        cache = ActivationCache(Path(scratch))
        used = dataset(data, cache, split.train, split.validation, 0)
        began = time.perf_counter()
        source = features(_base(), "backbone", used, cache, torch.device("cpu"))
        fill = time.perf_counter() - began
        times = [_ours(source, data, split, "backbone", EPOCHS)[0] for _ in range(arguments.repeats)]
        rows.append(("backbone trial, cache filled", frozen, *_middle(times)))
        seconds, spread = _middle(times)
        rows.append(("backbone trial, filling included", frozen, seconds + fill, spread))

        source = features(_base(), "none", used, cache, torch.device("cpu"))
        fitted = [_ours(source, data, split, "none", arguments.old_epochs, seed) for seed in seeds]
        times = [seconds for seconds, _ in fitted]
        old = all_layers * arguments.old_epochs / EPOCHS
        rows.append((f"freeze=none, {arguments.old_epochs} epochs", old, *_middle(times)))
        cache.close()

    if arguments.with_search:
        rows.append(("12-trial search against two full runs", 2 * all_layers, _search(folder, work), 0.0))

    print(f"| {'claim':38s} | old recipe s | ours s | spread s | ratio |")
    print(f"|{'-' * 40}|---|---|---|---|")
    for name, old, ours, spread in rows:
        print(f"| {name:38s} | {old:8.1f} | {ours:8.2f} | {spread:.2f} | {old / ours:.1f}× |")
    print(f"\nfreeze=none, mean of both angles' errors after {arguments.old_epochs} epochs, held-out blocks:")
    for name, results in (("old", olds), ("ours", fitted)):
        errors = [error for _, error in results]
        print(f"{name} {np.mean(errors):.2f}° ({min(errors):.2f} to {max(errors):.2f}, {len(errors)} seeds)")


def _middle(times: list[float]) -> tuple[float, float]:
    """Median and spread."""
    return float(np.median(times)), float(np.ptp(times))


def _base() -> torch.nn.Module:
    return model.load(sample_drive.BASE_CHECKPOINT)


def _old(data: Recordings, split: Split, epochs: int, frozen: bool, seed: int = 0) -> tuple[float, float]:
    """Seconds for 15 epochs of the old recipe (scaled from ``epochs``), and its validation error."""
    torch.manual_seed(seed)
    seconds, error = old_recipe.train(_base(), data, split.train, split.validation, epochs, frozen)
    return seconds * EPOCHS / epochs, error


def _ours(
    source: Features, data: Recordings, split: Split, freeze: str, epochs: int, seed: int = 0
) -> tuple[float, float]:
    """Seconds of one fine-tuning without early stopping, and its error in the old recipe's measure."""
    _, tail = model.cut(_base(), freeze)
    began = time.perf_counter()
    config = TrialConfig(freeze, "source", 1e-3, epochs, seed=seed)
    outcome = finetune(tail, Examples(source, data.targets, split.train, split.block, split.validation), config)
    seconds = (time.perf_counter() - began) * epochs / outcome.epochs[-1].number
    return seconds, (outcome.best.azimuth_error_deg + outcome.best.elevation_error_deg) / 2


def _search(folder: Path, work: Path) -> float:
    """Seconds of the default search at 15 epochs, cache and report included, in a process of its own."""
    place = Path(tempfile.mkdtemp(dir=work))
    command = ["main", "--data", str(folder.resolve()), "--epochs_min", str(EPOCHS), "--epochs_max", str(EPOCHS)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{place.resolve() / 'mlflow.db'}"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "training", *command, "--work", "data"], cwd=place, env=env, check=True)
    seconds = time.perf_counter() - began
    shutil.rmtree(place)
    return seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="data", help="where the sample drive lies (data)")
    parser.add_argument("--old-epochs", type=int, default=2, help="epochs of the old recipe to run (2)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="repetitions of the short trial; seeds of freeze=none (3)"
    )
    parser.add_argument("--with-search", action="store_true", help="also the 12-trial search (minutes)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
