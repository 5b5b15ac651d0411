"""The run that ``mlflow run`` made for a command that it started: watched from inside of it, and ended with it.

A scheduler sends SIGTERM to ``mlflow run``, which dies of it and says nothing to the command that it started: that
would go on alone, and its run would say RUNNING for ever. Importing this does not import MLflow.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from recording.exceptions import GazeError
from registry import outage
from registry.logins import hide

if TYPE_CHECKING:
    from mlflow.entities import Run

POLL_S = 1.0
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


def inside_project() -> bool:
    """Whether ``mlflow run`` started this process and made its run already."""
    if not os.environ.get("MLFLOW_RUN_ID"):
        os.environ.pop("MLFLOW_RUN_ID", None)  # set to nothing it would mean a run without a name to MLflow
        return False
    return True


def follow_starter() -> None:
    """Under ``mlflow run``: get SIGTERM when it is gone, however it ended."""
    if not inside_project():
        return
    starter = _starter()
    if starter is not None:
        threading.Thread(target=_wait, args=(starter,), name="starter", daemon=True).start()


def is_orphan() -> bool:
    """Whether whoever started this process was gone before it could be followed: the first process has adopted it."""
    adopter = _beyond_shells()
    return adopter is not None and (adopter.pid == 1 or adopter.name() == "systemd") and _starter() is None


def was_started_here(run: "Run") -> bool:
    """Whether ``mlflow run`` made the run, to start its command on this machine and not in a container."""
    from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT, MLFLOW_PROJECT_ENV

    return MLFLOW_PROJECT_ENTRY_POINT in run.data.tags and run.data.tags.get(MLFLOW_PROJECT_ENV) != "docker"


@contextmanager
def ending_run_of(entry_point: str) -> Iterator[None]:
    """Around a command that has no run but the one that ``mlflow run`` made for this entry point, if it did.

    That ends with the command: FINISHED, FAILED (tag ``error``) or KILLED. Raises KeyboardInterrupt where
    ``mlflow run`` was gone before this process could notice.
    """
    if not inside_project():
        yield
        return
    run_id = os.environ["MLFLOW_RUN_ID"]
    status, why = "FINISHED", ""
    try:
        if is_orphan() and (run := _run_of(entry_point, run_id)) and was_started_here(run):
            raise KeyboardInterrupt
        yield
    except KeyboardInterrupt:
        status, why = "KILLED", "interrupted"
        raise
    except Exception as error:
        text = str(error) if isinstance(error, GazeError) else f"{type(error).__name__}: {error}"
        status, why = "FAILED", text
        raise
    finally:
        outage.attempt(lambda: _end_if_of(entry_point, run_id, status, why), run_id, "end it in MLflow")


def _end_if_of(entry_point: str, run_id: str, status: str, why: str) -> None:
    if _run_of(entry_point, run_id):
        _end(run_id, status, why)


def _run_of(entry_point: str, run_id: str) -> "Run | None":
    """That run, where it was made for this entry point; one that the environment names may be another command's."""
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
    from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

    try:
        run = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise
    return run if run.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT) == entry_point else None


def end_unstarted(status: str, why: str) -> None:
    """End the run of ``mlflow run`` when a command ends before it has taken it up."""
    if inside_project():
        run_id = os.environ["MLFLOW_RUN_ID"]
        outage.attempt(lambda: _end(run_id, status, why), run_id)


def _end(run_id: str, status: str, why: str) -> None:
    import mlflow

    line = hide(" ".join(why.split()))[:4900]
    if line:
        mlflow.MlflowClient().set_tag(run_id, "error" if status == "FAILED" else "ended", line)
    end_run(run_id, status, line)


def end_run(run_id: str | None, status: str, why: str) -> None:
    """End an MLflow run that still says RUNNING because its process is gone; ``why`` becomes its tag ``ended``."""
    import mlflow
    from mlflow.entities import RunStatus

    if run_id is None:
        return
    client = mlflow.MlflowClient()
    if RunStatus.from_string(client.get_run(run_id).info.status) == RunStatus.RUNNING:
        if why:
            client.set_tag(run_id, "ended", why[:4000])
        client.set_terminated(run_id, status)


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
