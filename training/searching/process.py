"""Trials in processes of their own on this machine: started, listened to, and gone afterwards.

So many at once as there are workers. Each gets its share of the processor's threads and, where there are several
accelerators, one of them; a process that dies takes nobody along.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from training.searching.trial import TrialSpec  # brings torch, of which whoever waits for a trial needs nothing

GRACE_S = 20  # for trials that were told to end
LAST_WORDS = ("done", "failed", "untracked")

Message = tuple[int, str, Any]
"""Number of the trial, kind, and what it says (:func:`training.searching.trial.run`); of a trial that died without its
last word ``(number, "lost", how it ended)``, of one whose machine is gone ``(number, "cut off", why)``."""

Body = Callable[["TrialSpec", Connection], None]
"""What a trial's process does: it talks as :func:`training.searching.trial.run` does."""


class Workers(Protocol):
    """Where trials run: at most ``size`` of them at once."""

    size: int

    def start(self, spec: "TrialSpec") -> None:
        """Begin the trial; not more than ``size`` may run."""

    def hear(self, timeout: float) -> list[Message]:
        """What trials have said, in the order of their numbers; nothing after ``timeout`` seconds of silence."""

    def answer(self, number: int, go_on: bool) -> None:
        """Whether the trial that reported an epoch is to go on."""

    def close(self) -> None:
        """End all trials that still run; afterwards none of them does."""


@dataclass(frozen=True)
class _Running:
    process: BaseProcess
    connection: Connection
    slot: int


class Processes:
    """:class:`Workers` that are processes of this machine.

    ``accelerators`` are names for ``CUDA_VISIBLE_DEVICES``, see :func:`accelerators`. With one worker a trial finds
    the machine as it is: all threads, all accelerators. ``body`` is what each process runs, by default
    :func:`training.searching.trial.run`.
    """

    def __init__(self, size: int, accelerators: tuple[str, ...] = (), body: Body | None = None):
        self.size, self.accelerators, self.body = size, accelerators, body or _run
        self._running: dict[int, _Running] = {}
        self._context = _forking()

    def start(self, spec: "TrialSpec") -> None:
        slot = min(set(range(self.size)) - {one.slot for one in self._running.values()})
        ours, theirs = self._context.Pipe()
        arguments = self._with_share(spec, slot), theirs
        process = self._context.Process(target=self.body, args=arguments, name=spec.name)
        process.start()
        theirs.close()  # so that its death reads as the end of the pipe
        self._running[spec.number] = _Running(process, ours, slot)

    def _with_share(self, spec: "TrialSpec", slot: int) -> "TrialSpec":
        if self.size == 1:
            return spec
        import torch

        alone = len(self.accelerators) < 2
        return replace(
            spec,
            threads=max(1, torch.get_num_threads() // self.size),
            accelerator="" if alone else self.accelerators[slot % len(self.accelerators)],
        )

    def hear(self, timeout: float) -> list[Message]:
        ready = connection.wait([one.connection for one in self._running.values()], timeout)
        return [self._said(number) for number, one in sorted(self._running.items()) if one.connection in ready]

    def _said(self, number: int) -> Message:
        """The next message of a trial that has something to say, or is gone."""
        one = self._running[number]
        try:
            kind, what = one.connection.recv()
        except (EOFError, OSError):  # its end of the pipe is closed, perhaps in the middle of a message
            self._end([self._running.pop(number)], terminate=False)
            return number, "lost", f"the trial's process ended with {exit_name(one.process.exitcode)}"
        if kind in LAST_WORDS:
            self._end([self._running.pop(number)], terminate=False)
        return number, kind, what

    def answer(self, number: int, go_on: bool) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died just now: the next hear() says so
            self._running[number].connection.send(go_on)

    def close(self) -> None:
        ending = list(self._running.values())
        self._running.clear()
        self._end(ending, terminate=True)

    @staticmethod
    def _end(ending: list[_Running], terminate: bool) -> None:
        """All processes at once: each is gone afterwards, whatever it does."""
        for one in ending:
            one.connection.close()
            if terminate and one.process.is_alive():
                one.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for one in ending:
            one.process.join(max(0.0, deadline - time.monotonic()))
            if one.process.is_alive():
                one.process.kill()
            one.process.join()


def _forking() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # torch, MLflow and what it writes to databases with take seconds to import: once for all trials, not once each.
    context.set_forkserver_preload(["training.searching.trial", "mlflow.store.tracking.sqlalchemy_store"])
    return context


def warm_up() -> None:
    """Begin to import what trials need, in the process that they are forked from, beside what is done before them."""
    _forking()
    # Ctrl-C reaches the whole group, and until that process has imported everything it would die of it aloud.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _run(spec: "TrialSpec", connection: Connection) -> None:
    from training.searching import trial

    trial.run(spec, connection)


def accelerators(device: str) -> tuple[str, ...]:
    """The CUDA devices of this process by their names for ``CUDA_VISIBLE_DEVICES``; none for another ``device``."""
    if device != "cuda":
        return ()
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = tuple(part.strip() for part in visible.split(",") if part.strip())
    return named or tuple(str(number) for number in range(torch.cuda.device_count()))


def exit_name(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}" + (
            " (out of memory? use a smaller batch_size or fewer samples)" if exitcode == -signal.SIGKILL else ""
        )
    return f"exit status {exitcode}"
