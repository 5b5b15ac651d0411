"""Trials that compute nothing, in workers that are none, or in processes that do what a test needs of them."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import torch

from recording import files
from training.learning.finetune import Epoch, TrialConfig
from training.searching import trial
from training.searching.process import LAST_WORDS, Message
from training.searching.trial import TrialResult, TrialSpec


@dataclass(frozen=True)
class Described:
    """What stands for a :class:`TrialSpec` where nothing is trained."""

    number: int
    config: TrialConfig
    checkpoint: Path
    seconds_left: float
    seconds_at_most: float = math.inf
    to_beat: float | None = None
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
        if kind in (*LAST_WORDS, "lost", "cut off"):
            del self.running[number]
        return [(number, kind, what)]

    def answer(self, number: int, go_on: bool) -> None:
        self.answers.append((number, go_on))

    def close(self) -> None:
        self.running.clear()


# Bodies of real processes, in place of training.searching.trial.run.


def say_share(spec: TrialSpec, connection: Connection) -> None:
    """Say which threads and accelerators the trial has."""
    trial.keep_to_share(spec.threads, spec.accelerator)
    connection.send(("done", (torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES"))))


def say_imported(spec: TrialSpec, connection: Connection) -> None:
    """Which modules are there before the trial begins."""
    connection.send(("done", set(sys.modules)))


def first_one_dies(spec: TrialSpec, connection: Connection) -> None:
    if spec.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    connection.send(("epoch", epoch(3.0)))
    connection.send(("done", connection.recv()))


def layer3_dies(spec: TrialSpec, connection: Connection) -> None:
    """A real trial; killed, as for want of memory, with its first epoch behind it if it trains what is after layer3."""
    trial.run(spec, cast(Connection, _Mortal(connection, 2)) if spec.config.freeze == "layer3" else connection)


class _Mortal:
    """An end of a pipe whose process is killed where it is told for the so many-th time whether the trial goes on."""

    def __init__(self, connection: Connection, epochs: int):
        self.connection, self.epochs = connection, epochs  # the first is the start
        self.send = connection.send
        self.said: list[bool] = []

    def recv(self) -> bool:
        self.said.append(self.connection.recv())
        if len(self.said) == self.epochs:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.said[-1]


def heed_nobody(spec: TrialSpec, connection: Connection) -> None:
    """A trial that does not end when it is told to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send(("run", str(os.getpid())))
    time.sleep(600)


# And on the nodes of a cluster.

EPOCHS = 4


def say_where(spec: TrialSpec, connection: Connection) -> None:
    """Say what the trial finds on its node."""
    trial.keep_to_share(spec.threads, spec.accelerator)
    there = [file.read_bytes() for file in (spec.base, *sorted(spec.samples[0].iterdir()))]
    spec.checkpoint.write_bytes(b"weights")
    where = {
        "place": spec.cache.parent,
        "threads": torch.get_num_threads(),
        "ray": "ray" in sys.modules,
        "there": there,
    }
    connection.send(("done", where))


def count(spec: TrialSpec, connection: Connection) -> None:
    """Count epochs, go on from the state, and note in ``tracking_uri`` which were counted where."""
    begun = int(spec.state.read_text()) if spec.state.exists() else 0
    connection.send(("run", None))
    for number in range(1, EPOCHS + 1):
        if number > begun:
            time.sleep(0.3)
            with Path(spec.tracking_uri).open("a") as notes:
                notes.write(f"{spec.state.name} {number} {spec.cache.parent.name} {os.getpid()}\n")
        connection.send(("epoch", epoch(5.0 - number, number)))
        connection.recv()
        if number > begun:
            files.write_text(spec.state, str(number))
            time.sleep(1.5)  # long enough for the state to be fetched: an epoch takes longer than that
    spec.checkpoint.touch()
    connection.send(("done", result(2.0 + spec.number)))


def train_but_die(spec: TrialSpec, connection: Connection) -> None:
    """A real trial; the third one is killed as soon as it has told of an epoch."""
    trial.run(spec, cast(Connection, _Mortal(connection, 1)) if spec.number == 2 else connection)


def stay(spec: TrialSpec, connection: Connection) -> None:
    """Run on until the search is gone, as a trial in the middle of a long epoch."""
    threading.Thread(target=trial.end_with_the_search, daemon=True).start()
    files.write_text(Path(spec.tracking_uri) / str(spec.number), str(os.getpid()))
    connection.send(("run", None))
    time.sleep(600)
