"""What the main job costs as samples grow, and the memory it takes.

    python -m benchmarks.cost

1. **Time**: the main job of 12 trials behind the frozen backbone on 250 … 4,000 samples of a 6,000-frame recording, its
   parts as the parent run logs them, beside *one* forward pass of the same samples through the network, measured in the
   same run. Every job starts without a cache. Also drawn as a figure.

   The cache holds more pictures than there are samples: each training sample also in an augmented copy, all of them for
   both BatchNorm choices; and the statistics of one choice are taken from the training samples. So its cost is also
   given in passes a *picture*: 1 would be that every one of them goes through the network once, at no other cost.
2. **Memory**: the main job at 2,000 samples, once through every freeze choice, the whole network included: the sum over
   its processes, watched five times a second. RSS counts pages that processes share, and pages of the memory-mapped
   cache that the system may take back at any time, once per process; PSS counts what is shared once.

The recording is the moving noise of ``benchmarks.extraction``: what is measured is cost, not accuracy.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import psutil
import torch
from matplotlib.figure import Figure

from benchmarks import extraction
from benchmarks.machine import machine
from recording import preparation, recordings
from recording.drive import Source
from training.learning import model, pictures
from training.learning.augmentation import Augmentation
from training.learning.batchnorm import BN_CHOICES
from training.learning.cache import ActivationCache
from training.learning.precision import reduced_precision
from training.learning.trunk import Dataset
from training.measuring import splits
from training.sample import sample_drive

ROOT = Path(__file__).parent.parent
FRAMES = 6000
PARTS = ("prepare", "cache", "labels", "trials", "final", "report")
BATCH = 32
MEMORY_SAMPLES = 2000


@dataclass(frozen=True)
class Cost:
    """Seconds of each part of a job, and what one forward pass of its samples takes."""

    samples: int
    parts: dict[str, float]
    forward: float
    pictures: int
    """What has to go through the network to fill the cache."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def main() -> None:
    given = _arguments()
    print(f"machine: {machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="cost-") as scratch:
        folder = Path(scratch)
        labels = extraction.labels(folder / "labels.csv", FRAMES)
        video = folder / "drive.mp4"
        extraction.render(video, FRAMES, 30)
        recording = ["--video", str(video), "--labels", str(labels)]
        costs = [_cost(folder / str(count), recording, video, labels, count) for count in given.samples]
        _print(costs)
        if given.figure:
            _draw(costs, given.figure)
            print(f"figure: {given.figure}\n")
        _memory(folder / "memory", recording)


def _cost(place: Path, recording: list[str], video: Path, labels: Path, count: int) -> Cost:
    run, _ = _job(place, [*recording, "--samples", str(count), "--freeze", "backbone"], watch=False)
    parts = {name: run.data.metrics[f"seconds/{name}"] for name in PARTS}
    folder = preparation.prepare(Source(video, labels), count, place / "prepared")
    data = recordings.load((folder,))
    return Cost(count, parts, _forward(data, place / "cache"), _cached(data))


def _cached(data: recordings.Recordings) -> int:
    """How many pictures go through the network: every cached copy, and the training samples for their statistics."""
    split = splits.of("blocks", data)
    used = Dataset(np.empty((len(data), 0)), {}, split.train, split.validation, Augmentation())
    return len(BN_CHOICES) * sum(len(indices) for _, indices in used.passes()) + len(split.train)


def _forward(data: recordings.Recordings, folder: Path) -> float:
    """Seconds of one pass of all samples through the network, as fast as the trunk runs here."""
    cache = ActivationCache(folder)
    crops = pictures.array(data, cache)
    network = model.load(sample_drive.BASE_CHECKPOINT)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    with torch.inference_mode(), reduced_precision(torch.device("cpu")):
        for warm_up in (True, False):
            began = time.perf_counter()
            for at in range(0, BATCH if warm_up else len(crops), BATCH):
                batch = torch.from_numpy(np.array(crops[at : at + BATCH])).permute(0, 3, 1, 2)
                network(batch.float().div_(255).contiguous(memory_format=torch.channels_last))
    cache.close()
    return time.perf_counter() - began


def _memory(place: Path, recording: list[str]) -> None:
    once = ["--trials", "4", "--epochs_min", "2", "--epochs_max", "2", "--samples", str(MEMORY_SAMPLES)]
    run, peak = _job(place, [*recording, *once], watch=True)
    seconds = sum(run.data.metrics[f"seconds/{name}"] for name in PARTS)
    print(f"## Memory of the main job at {MEMORY_SAMPLES} samples, every freeze choice once ({seconds:.0f} s)\n")
    print("| sum over all processes | peak |\n|---|---|")
    for what, size in peak.items():
        print(f"| {what} | {size / 1e9:.2f} GB |")


def _job(place: Path, more: list[str], *, watch: bool) -> tuple[mlflow.entities.Run, dict[str, int]]:
    """The main job in processes of its own; its parent run and the peak of its memory."""
    place.mkdir()
    uri = f"sqlite:///{place / 'mlflow.db'}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
    with (place / "job.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "training", "main", *more], cwd=place, env=env, stdout=log, stderr=log
        )
        peak: dict[str, int] = {}
        if watch:
            threading.Thread(target=_watch, args=(process.pid, peak), daemon=True).start()
        if process.wait():
            raise SystemExit((place / "job.log").read_text()[-3000:])
    mlflow.set_tracking_uri(uri)
    (run,) = [
        run
        for run in mlflow.search_runs(search_all_experiments=True, output_format="list")
        if "verdict" in run.data.tags
    ]
    return run, peak


def _watch(pid: int, peak: dict[str, int]) -> None:
    """Keep the highest sums over the process and its descendants in ``peak``."""
    while True:
        with contextlib.suppress(psutil.Error):
            tree = psutil.Process(pid)
            totals = {"RSS": 0, "PSS": 0, "private (USS)": 0}
            for one in [tree, *tree.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    about = one.memory_full_info()
                    for name, size in zip(totals, (about.rss, about.pss, about.uss), strict=True):
                        totals[name] += size
            for name, size in totals.items():
                peak[name] = max(peak.get(name, 0), size)
        time.sleep(0.2)


def _print(costs: list[Cost]) -> None:
    print("## Main job, 12 trials behind the frozen backbone, no cache from before\n")
    more = " | all s | one forward pass s | pictures to cache |"
    print("| samples | " + " | ".join(f"{name} s" for name in PARTS) + more)
    print("|---|" + "---|" * (len(PARTS) + 3))
    for cost in costs:
        row = " | ".join(f"{cost.parts[name]:.1f}" for name in PARTS)
        print(f"| {cost.samples} | {row} | {cost.total:.1f} | {cost.forward:.1f} | {cost.pictures} |")
    if len(costs) < 2:
        return
    counts = np.array([cost.samples for cost in costs])
    print("\n| part | ms a sample (slope) | fixed s | in forward passes | R² |\n|---|---|---|---|---|")
    forward = np.polyfit(counts, [cost.forward for cost in costs], 1)[0]
    for name in (*PARTS, "all"):
        seconds = np.array([cost.total if name == "all" else cost.parts[name] for cost in costs])
        slope, start = np.polyfit(counts, seconds, 1)
        spread = ((seconds - seconds.mean()) ** 2).sum()
        explained = 1 - ((seconds - slope * counts - start) ** 2).sum() / spread
        print(f"| {name} | {slope * 1000:.1f} | {start:.1f} | {slope / forward:.2f} | {explained:.3f} |")
    print(f"| one forward pass | {forward * 1000:.1f} | | 1 | |\n")
    cache = np.polyfit([cost.pictures for cost in costs], [cost.parts["cache"] for cost in costs], 1)[0]
    print(f"The cache costs {cache * 1000:.1f} ms a picture: {cache / forward:.2f} forward passes.\n", flush=True)


def _draw(costs: list[Cost], path: Path) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    counts = [cost.samples for cost in costs]
    axes.stackplot(counts, *([cost.parts[name] for cost in costs] for name in PARTS), labels=PARTS, alpha=0.85)
    axes.plot(counts, [cost.forward for cost in costs], "k--", marker="o", label="one forward pass of the samples")
    once = [cost.parts["prepare"] + cost.forward / cost.samples * cost.pictures for cost in costs]
    axes.plot(counts, once, "k:", marker=".", label="prepare, and every picture to cache forward once")
    axes.set_xlabel("samples")
    axes.set_ylabel("seconds")
    axes.set_title("Main job: 12 trials behind the frozen backbone, no cache from before")
    axes.set_xlim(0, max(counts))
    axes.set_ylim(0)
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000], help="sizes of the job")
    parser.add_argument("--figure", type=Path, help="write the figure here (PNG)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
