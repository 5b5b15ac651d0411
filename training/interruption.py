"""Being told to end, for what trains: by a signal, or by the end of the ``mlflow run`` that started it.

A scheduler sends SIGTERM to the command; ``mlflow run`` that gets it dies and says nothing to the command that it
started, which would go on alone. Nothing here imports MLflow or torch: it is in place before they are.
"""

import math
import os
import signal
import threading
import time

import psutil

from registry.interruption import Interruption
from training import outage

POLL_S = 1.0
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


def handler() -> Interruption:
    """Of the signals that end a command that trains.

    Deaf for good to a further SIGTERM: ending in order may take long, and when ``mlflow run`` is gone
    :func:`follow_starter` sends one more. A tracking server is asked once from the first signal on.
    """
    return Interruption(deaf_s=math.inf, told=outage.ask_once)


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
