"""Trials that compute nothing, in workers that are none, or in processes that do what a test needs of them."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from training.learning.finetune import Epoch, TrialConfig
from training.searching import trial
from training.searching.process import Message
from training.searching.trial import LAST_WORDS, TrialResult, TrialSpec


@dataclass(frozen=True)
class Described:
    """What stands for a :class:`TrialSpec` where nothing is trained."""

    number: int
    config: TrialConfig
    checkpoint: Path
    seconds_left: float
    state: Path | None = None


described = Described
Script = Callable[[Described], list[tuple[str, object]]]


def epoch(value: float, number: int = 1) -> Epoch:
    return Epoch(number, 0.1, 0.1, value, value, value, seconds=0.0)


def result(value: float, cache_seconds: float = 0.0) -> TrialResult:
    return TrialResult(value, epoch(value), "complete", 1, 16, 1.0, cache_seconds, 0.1)


def done(spec: Described) -> list[tuple[str, object]]:
    """A trial that ends at once; what it found depends on its configuration alone."""
    spec.checkpoint.touch()
    return [("done", result(2 + spec.config.lr * spec.config.epochs + len(spec.config.freeze) / 10))]


class Scripted:
    """Workers whose trials say what ``script`` gives for them; which of the running ones speaks next, ``who`` says."""

    def __init__(self, script: Script = done, size: int = 1, who: Callable[[list[int]], int] = min):
        self.script, self.size, self.who = script, size, who
        self.running: dict[int, list[tuple[str, object]]] = {}
        self.answers: list[tuple[int, bool]] = []
        self.most = 0

    def start(self, spec: TrialSpec) -> None:
        self.running[spec.number] = list(self.script(spec))
        self.most = max(self.most, len(self.running))

    def hear(self, timeout: float) -> list[Message]:
        number = self.who(list(self.running))
        kind, what = self.running[number].pop(0)
        if kind in (*LAST_WORDS, "lost"):
            del self.running[number]
        return [(number, kind, what)]

    def answer(self, number: int, go_on: bool) -> None:
        self.answers.append((number, go_on))

    def close(self) -> None:
        self.running.clear()


# Bodies of real processes, in place of training.searching.trial.run.


def say_share(spec: TrialSpec, connection: Connection) -> None:
    """Say which threads and accelerators the trial has."""
    trial._keep_to_share(spec)
    connection.send(("done", (torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES"))))


def first_one_dies(spec: TrialSpec, connection: Connection) -> None:
    if spec.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    connection.send(("epoch", epoch(3.0)))
    connection.send(("done", connection.recv()))


def heed_nobody(spec: TrialSpec, connection: Connection) -> None:
    """A trial that does not end when it is told to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send(("run", str(os.getpid())))
    time.sleep(600)
