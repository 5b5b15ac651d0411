"""MLflow registries for tests: sqlite in a folder, from a template, in milliseconds."""

import contextlib
import functools
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import databases
import mlflow
import packages
import pytest

from registry import stages


@functools.cache
def empty_database() -> bytes:
    """An MLflow database with its tables made: migrating a fresh one takes seconds, copying it none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
        return path.read_bytes()


def lay_out(folder: Path, template: bytes) -> None:
    """An empty registry in ``folder``: its artifacts lie there as well, and not where the template was made."""
    (folder / "mlflow.db").write_bytes(template)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? || '/mlruns/' || experiment_id", [str(folder)])


@contextlib.contextmanager
def fresh(folder: Path, template: bytes, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works on a fresh registry in ``folder``, which is the working directory; yields its address.

    ``template``: an MLflow database with its tables made (:func:`empty_database`).
    """
    lay_out(folder, template)
    with inside(folder, patch) as uri:
        yield uri


@contextlib.contextmanager
def inside(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works in ``folder``, on the registry that is there; yields its address."""
    patch.chdir(folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with _on(uri, patch):
        yield uri


@contextlib.contextmanager
def _on(uri: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    # `mlflow.set_experiment` sets the second for the whole process, for the next test's database as well; and a global.
    patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(variable, None)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(None)
    try:
        yield
    finally:
        while mlflow.active_run():
            mlflow.end_run()
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        mlflow.set_tracking_uri(None)


@contextlib.contextmanager
def served(folder: Path, database: str, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works on an ``mlflow server`` on that database, which is given up afterwards; yields its address."""
    port, log = databases.free_port(), folder / "mlflow.log"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    try:
        uri = f"http://127.0.0.1:{port}"
        databases.wait_for_answer(f"{uri}/health", server, log)
        with _on(uri, patch):
            yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@contextlib.contextmanager
def in_production(folder: Path, template: bytes) -> Iterator[str]:
    """A fresh registry (:func:`fresh`) whose version 1 is in Production, for what a whole module shares."""
    with pytest.MonkeyPatch.context() as patch, fresh(folder, template, patch) as uri:
        packages.register_package(folder / "packages")
        stages.promote("gaze-tracker", 1)
        yield uri
