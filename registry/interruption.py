"""Being told to end: SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing half written is left.

Nothing here imports MLflow, nor anything else that takes a while: it is in place before that is.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SENT_TWICE_S = 2.0
"""For how long a further SIGTERM belongs to the first one: `timeout` sends it to a command and to its group."""
PATIENCE_S = 10.0
"""How long a database or an import may take for what it is doing until an interruption no longer waits for it."""
LOOK_AGAIN_S = 0.005
ANSWER_S = 5
"""How long a tracking server may take to answer a command that is ending."""
_NOT_WITHIN = (
    "importlib._bootstrap",
    "_frozen_importlib",
    "weakref",
    "sqlalchemy.",
    "optuna.storages._rdb.",
    "mlflow.store.db.",
    "mlflow.store.tracking.sqlalchemy",
    "mlflow.store.model_registry.sqlalchemy",
)


class WhenFree:
    """Raises an exception in the main thread, but not while that is at work on a database, or could not pass it on.

    Neither Optuna nor MLflow roll back for anything that is no :class:`Exception`: raised inside of a transaction,
    :class:`KeyboardInterrupt` leaves it open and the rows or the file locked, and what has to be written about the
    end then waits for a lock that its own process holds. Modules in C that are imported make an :class:`ImportError` of
    it, and what is called when an object goes away (``__del__``) loses it. Uses SIGALRM.
    """

    def __init__(self, exception: Callable[[], BaseException]) -> None:
        self.exception = exception
        self._until: float | None = None

    def __call__(self, frame: FrameType | None) -> None:
        """From the handler of a signal that came in ``frame``: raise now, or as soon as what is begun is through."""
        if self._until is None:
            self._until = time.monotonic() + PATIENCE_S
        if time.monotonic() >= self._until or not any(map(_is_busy, _callers(frame))):
            self._until = None
            raise self.exception()
        signal.signal(signal.SIGALRM, lambda _, frame: self(frame))
        signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN_S)


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_busy(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__del__" or str(frame.f_globals.get("__name__", "")).startswith(_NOT_WITHIN)


class Interruption:
    """Handler of :data:`SIGNALS`: raises :class:`KeyboardInterrupt` in the main thread, from :meth:`allow` on.

    Before, a signal is only remembered. The first one waits for databases and imports. A further SIGTERM or SIGHUP is
    taken for the same one for ``deaf_s`` seconds: whoever sends it often sends it twice, and ending in order takes a
    while. After them, and of Ctrl-C always, another one interrupts at once and wherever it is. ``told`` is called at
    each.
    """

    def __init__(self, deaf_s: float = SENT_TWICE_S, told: Callable[[], object] = lambda: None) -> None:
        self.received = 0
        self.allowed = False
        self._deaf_s = deaf_s
        self._told = told
        self.first: int = signal.SIGINT
        self._since = 0.0

    def install(self) -> None:
        """Handle the signals, but those that were switched off (by ``nohup``, say)."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def allow(self) -> None:
        """Raise from now on, and at once for what came before."""
        self.allowed = True
        if self.received:
            raise KeyboardInterrupt(self.first)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.received == 1:
            self.first, self._since = number, time.monotonic()
        self._told()
        if not self.allowed:
            return
        if self.received == 1:
            WhenFree(partial(KeyboardInterrupt, number))(frame)
        elif number == signal.SIGINT or time.monotonic() > self._since + self._deaf_s:
            raise KeyboardInterrupt(number)


def status(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a command that was interrupted: 128 and the number of the signal; of Ctrl-C, 130."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    return 128 + int(number)


def ask_once() -> None:
    """From now on MLflow is asked once and for :data:`ANSWER_S` seconds: this process ends, or has waited enough."""
    os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_S)}
