"""Being told to end: SIGTERM, SIGHUP and the end of ``mlflow run`` end a command as Ctrl-C does.

A scheduler sends SIGTERM to the command; ``mlflow run`` that gets it dies and says nothing to the command that it
started, which would go on alone. Nothing here imports MLflow or torch: it is in place before they are.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import psutil

from training import outage

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S = 1.0
PATIENCE_S = 10.0
"""How long a database may take for what it is doing until an interruption no longer waits for it."""
LOOK_AGAIN_S = 0.005
_DATABASES = (
    "sqlalchemy.",
    "optuna.storages._rdb.",
    "mlflow.store.db.",
    "mlflow.store.tracking.sqlalchemy",
    "mlflow.store.model_registry.sqlalchemy",
)
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


class OutsideDatabases:
    """Raises an exception in the main thread, but not while that is at work on a database.

    Neither Optuna nor MLflow roll back for anything that is no :class:`Exception`: raised inside of a transaction,
    :class:`KeyboardInterrupt` leaves it open and the rows or the file locked, and what has to be written about the
    end then waits for a lock that its own process holds. Uses SIGALRM.
    """

    def __init__(self, exception: type[BaseException]) -> None:
        self.exception = exception
        self._until: float | None = None

    def __call__(self, frame: FrameType | None) -> None:
        """From the handler of a signal that came in ``frame``: raise now, or as soon as the database is through."""
        if self._until is None:
            self._until = time.monotonic() + PATIENCE_S
        if time.monotonic() >= self._until or not any(map(_is_of_database, _callers(frame))):
            self._until = None
            raise self.exception
        signal.signal(signal.SIGALRM, lambda _, frame: self(frame))
        signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN_S)


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_of_database(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_DATABASES)


class Interruption:
    """Handler of :data:`SIGNALS`: raises :class:`KeyboardInterrupt` in the main thread, from :meth:`allow` on.

    Before (while modules are imported) a signal is only remembered. After the first one SIGTERM and SIGHUP are
    ignored: whoever sends SIGTERM often sends it twice (``mlflow run`` after Ctrl-C), and ending in order takes
    seconds. A second Ctrl-C still interrupts, at once and wherever it is; the first waits for databases. A tracking
    server is asked once from the first one on.
    """

    def __init__(self) -> None:
        self.received = 0
        self.allowed = False
        self._interrupt = OutsideDatabases(KeyboardInterrupt)

    def install(self) -> None:
        """Handle the signals, but those that were switched off (by ``nohup``, say)."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def allow(self) -> None:
        """Raise from now on, and at once for what came before."""
        self.allowed = True
        if self.received:
            raise KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        outage.ask_once()
        if not self.allowed:
            return
        if self.received == 1:
            self._interrupt(frame)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt


def follow_starter() -> None:
    """Under ``mlflow run``: get SIGTERM when it is gone, however it ended."""
    if not os.environ.get("MLFLOW_RUN_ID"):
        return
    starter = _starter()
    if starter is not None:
        threading.Thread(target=_wait, args=(starter,), name="starter", daemon=True).start()


def is_orphan() -> bool:
    """Whether whoever started this process was gone before it could be followed: the first process has adopted it."""
    adopter = _beyond_shells()
    return adopter is not None and (adopter.pid == 1 or adopter.name() == "systemd") and _starter() is None


def _starter() -> psutil.Process | None:
    """The Python process that started this one, over the shells between; ``None`` where it is another program."""
    process = _beyond_shells()
    return process if process is not None and process.name().startswith(("python", "mlflow")) else None


def _beyond_shells() -> psutil.Process | None:
    return next((process for process in psutil.Process().parents() if process.name() not in _SHELLS), None)


def _wait(process: psutil.Process) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
