"""The process of a trial, as the search sees it: started, listened to, and gone afterwards."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from training.searching import trial
from training.searching.trial import TrialSpec

GRACE_S = 20  # for a trial that was told to end


@contextmanager
def started(spec: TrialSpec) -> Iterator[tuple[BaseProcess, Connection]]:
    """The trial's process and our end of its pipe; however this ends, the process is gone afterwards."""
    context = multiprocessing.get_context("forkserver")
    # torch and MLflow take seconds to import: once for all trials, not once each.
    context.set_forkserver_preload(["training.searching.trial"])
    ours, theirs = context.Pipe()
    process = context.Process(target=trial.run, args=(spec, theirs), name=spec.name)
    process.start()
    theirs.close()  # so that its death reads as the end of the pipe
    try:
        yield process, ours
    finally:
        ours.close()
        if process.is_alive():
            process.terminate()
            process.join(GRACE_S)
        if process.is_alive():
            process.kill()
        process.join()


def messages(process: BaseProcess, connection: Connection) -> Iterator[tuple[str, Any]]:
    """What the trial says (:func:`training.searching.trial.run`), until its last word or its death."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            break
        yield message
        if message[0] in ("done", "failed", "untracked"):
            break
    process.join(GRACE_S)


def exit_name(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}" + (
            " (out of memory? use a smaller batch_size or fewer samples)" if exitcode == -signal.SIGKILL else ""
        )
    return f"exit status {exitcode}"
