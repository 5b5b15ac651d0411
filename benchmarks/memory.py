"""``python -m benchmarks.memory``: the memory of a trial's process while samples stream through a frozen backbone.

Each line is a process of its own that does what a trial does: reads a prepared folder, resizes its pictures into the
cache, sends them through the backbone, solves a ridge head and trains on. Samples are hard links to a few pictures:
what they show decides nothing about memory. ``--pooled`` takes the means of picture parts in the backbone's place:
what a pass of 32 pictures needs is then missing, and is what the first line, with the network, has more than it.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch

from benchmarks.machine import machine, memory
from training.learning import model, trunk
from training.learning.finetune import TrialConfig
from training.searching import trial
from training.searching.trial import TrialSpec

PICTURES = 64
LOOK_S = 0.05
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="1000,5000,50000", help="numbers of samples (1000,5000,50000)")
    parser.add_argument("--pooled", action="store_true", help="picture parts in the backbone's place")
    parser.add_argument("--work", type=Path, help="folder for pictures and cache: 155 KB a sample (a temporary one)")
    arguments = parser.parse_args()
    print(f"machine: {machine()}\n")
    print("| samples | backbone | cache | seconds | own memory MiB | from files MiB |\n|---|---|---|---|---|---|")
    for number in map(int, arguments.samples.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            spec = described(Path(work), number)
            for cache in ("empty", "filled"):
                seconds, own, mapped = _measured(spec, arguments.pooled)
                how = "pooled" if arguments.pooled else "ResNet18"
                print(f"| {number} | {how} | {cache} | {seconds:.0f} | {own:.0f} | {mapped:.0f} |", flush=True)


def described(work: Path, number: int) -> TrialSpec:
    """A trial with a ridge head on so many samples, which are made; four of five train."""
    _samples(work / "drive", number)
    torch.manual_seed(0)
    safetensors.torch.save_file(model.build().state_dict(), work / "base.safetensors")
    indices = np.arange(number)
    return TrialSpec(
        number=0,
        config=TrialConfig("backbone", "source", 1e-4, 1, batch_size=64, head="ridge"),
        base=work / "base.safetensors",
        together=(),
        samples=(work / "drive",),
        faces=(None,),
        train=indices[indices % 5 > 0],
        validation=indices[indices % 5 == 0],
        block=indices // 100,
        cache=work / "cache",
        checkpoint=work / "best.safetensors",
        device="cpu",
        tracking_uri="",
        experiment_id="",
        parent_run_id="",
        study="memory",
    )


def _samples(folder: Path, number: int) -> None:
    """A folder of samples as users have them: the same few pictures and angles again and again."""
    (folder / "made").mkdir(parents=True)
    random = np.random.default_rng(0)
    for one in range(min(PICTURES, number)):
        blotches = random.integers(0, 255, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "made" / f"{one}.jpg"), cv2.resize(blotches, (224, 224)))
        azimuth, elevation = random.uniform((-30, -20), (30, 20))
        (folder / "made" / f"{one}.json").write_text(
            json.dumps({"azimuth_deg": round(azimuth, 3), "elevation_deg": round(elevation, 3)})
        )
    for sample in range(number):
        for kind, ending in (("driver.jpg", "jpg"), ("gt.json", "json")):
            os.link(folder / "made" / f"{sample % PICTURES}.{ending}", folder / f"frame_{sample:07d}_{kind}")


def _measured(spec: TrialSpec, pooled: bool) -> tuple[float, float, float]:
    """Seconds, and the most that the trial's process had in memory: its own and mapped, MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(spec, pooled, theirs))
    process.start()
    theirs.close()
    seconds, own, mapped = ours.recv()
    process.join()
    return seconds, own / MIB, mapped / MIB


def _run(spec: TrialSpec, pooled: bool, connection: Connection) -> None:
    if pooled:
        trunk._stages = _parts
    most, over = {"RssAnon": 0, "RssFile": 0}, threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            most.update({kind: max(known, memory(kind)) for kind, known in most.items()})

    looking = threading.Thread(target=look)
    looking.start()
    began = time.monotonic()
    try:
        trial.train(spec)
    finally:
        over.set()
        looking.join()
    connection.send((time.monotonic() - began, most["RssAnon"], most["RssFile"]))


def _parts(stages: Sequence[torch.nn.Module], batch: torch.Tensor) -> list[torch.Tensor]:
    """(n, 512): means of parts of the pictures."""
    parts = torch.nn.functional.adaptive_avg_pool2d(batch, (16, 16)).flatten(1)
    return [parts[:, :512].half()]


if __name__ == "__main__":
    main()
