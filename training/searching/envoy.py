"""The envoy to a Ray cluster: a process of its own that talks to Ray for the command, and that Ray may end.

Ray ends the process that uses it when what it cannot do without is gone: at once and without an exception, or it waits
for a cluster that does not come back. A command that ended so would leave its run RUNNING and say nothing. Here it
hears that its envoy is gone, and ends in order.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import mlflow

from recording.exceptions import GazeError
from recording.fleet import Outcome, Task
from registry.interruption import SIGNALS
from training.searching import cluster, trial
from training.searching.cluster import GO_ON, Cluster
from training.searching.process import Body, Message
from training.searching.slots import Slots
from training.searching.trial import TrialSpec

SILENT_S = 900.0
"""Without an answer of the envoy: then Ray hangs. To bring samples to a node or to look at a busy one takes minutes."""


class Envoy:
    """A cluster, by way of the process that is connected to it.

    ``shared``: whether all nodes see our ``work``. Raises what :class:`~training.searching.cluster.Cluster` does.
    """

    def __init__(self, address: str, work: Path):
        self.address = address
        context = multiprocessing.get_context("spawn")  # the fork server is the trials'
        self._process = ProcessPoolExecutor(1, context, _begin, (mlflow.get_tracking_uri(),))
        self._child = self._started()
        try:
            self.shared: bool = self.ask(_connect, address, work)
        except BaseException:
            self.kill()
            self._process.shutdown()
            raise

    def _started(self) -> BaseProcess | None:
        before = set(multiprocessing.active_children())
        # Ctrl-C reaches the whole group: it would die of it aloud until it is told not to heed it (:func:`_begin`).
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return next(iter(set(multiprocessing.active_children()) - before), None)

    def ask(self, function: Callable[..., Any], *arguments: Any, within_s: float | None = SILENT_S) -> Any:
        """What ``function`` returns in the envoy's process; raises what it raises there.

        :class:`GazeError` when that process is gone, or silent for so long.
        """
        asked = None
        try:
            asked = self._process.submit(function, *arguments)
            return asked.result(within_s)
        except BrokenProcessPool:
            why = "Ray's node on this machine or its head is gone, and Ray has ended what talked to it"
        except TimeoutError:
            if asked is not None and asked.done():  # that of what was asked
                raise
            why = f"Ray does not answer for {within_s:.0f} s"
        self.kill()
        raise GazeError(f"cluster={self.address}: {why}; {GO_ON}")

    def prepare(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """See :meth:`Cluster.prepare`."""
        self.ask(_begin_drives, tasks)
        try:
            while (found := self.ask(_next_drive, within_s=None)) is not None:
                yield found
        except BaseException:  # the envoy may be waiting for a drive: with it, Ray ends those that are prepared
            self.kill()
            raise

    def workers(self, wanted: int, trials: int, device: str, body: Body = trial.run) -> "FarSlots":
        """``wanted`` trials at once (0: as many as fit), of ``trials`` that there are at most."""
        return FarSlots(self, wanted, trials, device, body)

    def kill(self) -> None:
        """End the process at once; Ray ends what it left on the cluster."""
        if self._child is not None:
            self._child.kill()

    def end(self) -> None:
        """Let go of the cluster, with all of ours on it."""
        with suppress(GazeError):
            self.ask(_disconnect)
        self.kill()
        self._process.shutdown()


class FarSlots:
    """:class:`~training.searching.process.Workers` in slots on the nodes of a cluster, by way of the envoy."""

    def __init__(self, envoy: Envoy, wanted: int, trials: int, device: str, body: Body):
        self._envoy = envoy
        self.size: int = envoy.ask(_make_slots, wanted, trials, device, body)

    def start(self, spec: TrialSpec) -> None:
        self._envoy.ask(_slots_do, "start", spec)

    def hear(self, timeout: float) -> list[Message]:
        said: list[Message]
        said, self.size = self._envoy.ask(_slots_do, "hear", timeout)
        return said

    def answer(self, number: int, go_on: bool) -> None:
        self._envoy.ask(_slots_do, "answer", number, go_on)

    def close(self) -> None:
        with suppress(GazeError):  # whoever closes them knows; without their search, trials end by themselves
            self._envoy.ask(_slots_do, "close")


@contextmanager
def connected(address: str, work: Path) -> Iterator[Envoy]:
    """See :func:`training.searching.cluster.connected`."""
    envoy = Envoy(address, work)
    try:
        yield envoy
    finally:
        envoy.end()


# What follows runs in the envoy's process: its pool hands over one call after the other, and what is held stays here.

_held: dict[str, Any] = {}


def _begin(tracking_uri: str) -> None:
    for number in SIGNALS:  # they reach the whole group: the command decides
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    mlflow.set_tracking_uri(tracking_uri)


def _end_with_the_command() -> None:
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)


def _connect(address: str, work: Path) -> bool:
    _held["until the end"] = stack = ExitStack()
    found: Cluster = stack.enter_context(cluster.connected(address, work))
    _held["cluster"] = found
    return found.shared


def _disconnect() -> None:
    if "until the end" in _held:
        _held["until the end"].close()


def _begin_drives(tasks: Sequence[Task]) -> None:
    _held["drives"] = _held["cluster"].prepare(tasks)


def _next_drive() -> tuple[int, Outcome] | None:
    found: tuple[int, Outcome] | None = _held["cluster"].watched(lambda: next(_held["drives"], None))
    return found


def _make_slots(wanted: int, trials: int, device: str, body: Body) -> int:
    there: Cluster = _held["cluster"]
    _held["slots"] = there.watched(lambda: Slots(there, wanted, trials, there.device(device), body))
    return int(_held["slots"].size)


def _slots_do(what: str, *arguments: Any) -> Any:
    slots: Slots = _held["slots"]
    said = _held["cluster"].watched(lambda: getattr(slots, what)(*arguments))
    return (said, slots.size) if what == "hear" else said
