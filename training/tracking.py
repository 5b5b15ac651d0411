"""The MLflow run of a command: opened, described, and ended with the right status."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, ErrorCode

from recording.exceptions import GazeError, RegistryError
from recording.recordings import Recordings
from registry import moving, outage, project, store
from registry.command_line import foreseen, no_mlflow, one_line
from registry.interruption import ask_once
from training import sqlite
from training.store import EXPERIMENT, set_experiment


@contextmanager
def tracked_run(name: str, resume: str = "") -> Iterator[str]:
    """The run that ``mlflow run`` made, or a new one; ends FINISHED, FAILED (tag ``error``) or KILLED (Ctrl-C).

    Where MLflow cannot be told of a failure or of Ctrl-C, that is a line in the log, and the exception goes on; what
    MLflow itself has refused goes on as a :class:`RegistryError` that says with which parameter, ``resume``, the same
    is gone on with. Where its files would go to the folder that the project was in before, a line says so, or
    :class:`RegistryError` where that is gone.
    """
    inside = project.inside_project()
    store.check(mlflow.get_tracking_uri(), write=True)
    with sqlite.alone(mlflow.get_tracking_uri()):
        _check_server()
        if not inside and not any(map(os.environ.get, ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"))):
            set_experiment()
        run = mlflow.start_run() if inside else mlflow.start_run(run_name=name)
    if inside:
        mlflow.set_tag("mlflow.runName", name)
    try:
        if inside and project.was_started_here(run) and project.is_orphan():
            raise KeyboardInterrupt  # `mlflow run` was told to end before this process could notice
        moving.check(mlflow.get_experiment(run.info.experiment_id), mlflow.get_tracking_uri())
        yield run.info.run_id
    except GazeError as error:
        end_active_run("FAILED", error=one_line(error)[:4900])
        raise
    except KeyboardInterrupt:
        end_active_run("KILLED", ended="interrupted")
        raise
    except BaseException as error:
        problem = foreseen(error)
        if problem:
            ask_once()
        end_active_run("FAILED", error=(problem or f"{type(error).__name__}: {one_line(error)}")[:4900])
        if problem and resume:
            raise RegistryError(f"{problem}; then {resume} goes on with what is done") from error
        raise
    mlflow.end_run("FINISHED")


def _check_server() -> None:
    """:class:`RegistryError` where something else than MLflow answers: it would take any JSON for its own."""
    address = mlflow.get_tracking_uri()
    if not address.lower().startswith(("http://", "https://")):
        return
    try:
        with outage.asked_first():
            found = mlflow.get_experiment_by_name(EXPERIMENT)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(PERMISSION_DENIED):
            return  # MLflow it is, and the run may be meant for an experiment that this user may see
        raise
    if found is not None and not found.name:
        raise RegistryError(no_mlflow(address))


def end_active_run(status: str, **tags: str) -> None:
    """End the innermost run that is open in this process, and tag it; a line says where MLflow does not take that."""
    run = mlflow.active_run()
    if run is not None:
        outage.attempt(lambda: _end(run.info.run_id, status, tags), run.info.run_id)


def _end(run_id: str, status: str, tags: Mapping[str, str]) -> None:
    mlflow.end_run(status)  # first: a run that stays open is ended again, as FINISHED, when Python exits
    for key, value in tags.items():
        mlflow.MlflowClient().set_tag(run_id, key, value)


def log_parameters(parameters: Mapping[str, Any]) -> None:
    """Log parameters; those of an MLproject are already there (as the strings given)."""
    run = mlflow.active_run()
    there = run.data.params if run else {}
    mlflow.log_params({key: value for key, value in parameters.items() if key not in there})


def log_dataset(data: Recordings, source: str) -> None:
    """Every drive as an input of the run, with its digest; ``source`` says what kind of recording it is."""
    for drive in data.drives:
        table = drive.table[["frame", "driver", "azimuth_deg", "elevation_deg"]]
        dataset = from_pandas(
            table, source=str(drive.folder), name=f"{source}: {drive.folder.name}", digest=drive.digest[:36]
        )
        mlflow.log_input(dataset, context="training")
    mlflow.set_tag("data_digest", data.digest)


def git_commit() -> str:
    """The commit of this code, with ``+`` when the working tree differs; ``unknown`` outside a repository."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
