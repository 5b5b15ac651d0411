"""MLflow registries for tests: sqlite in a folder, from a template, in milliseconds."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow
import packages
import pytest

from registry import stages


@contextlib.contextmanager
def fresh(folder: Path, template: bytes, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works on a fresh registry in ``folder``, which is the working directory; yields its address.

    ``template``: an MLflow database with its tables made (fixture ``empty_database``).
    """
    patch.chdir(folder)
    (folder / "mlflow.db").write_bytes(template)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        # The database remembers where it was made; artifacts of a test belong to the test.
        database.execute("UPDATE experiments SET artifact_location = ? || '/mlruns/' || experiment_id", [str(folder)])
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    # `mlflow.set_experiment` sets the second for the whole process, for the next test's database as well; and a global.
    patch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    for variable in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(variable, None)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(None)
    try:
        yield uri
    finally:
        while mlflow.active_run():
            mlflow.end_run()
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        mlflow.set_tracking_uri(None)


@contextlib.contextmanager
def in_production(folder: Path, template: bytes) -> Iterator[str]:
    """A fresh registry (:func:`fresh`) whose version 1 is in Production, for what a whole module shares."""
    with pytest.MonkeyPatch.context() as patch, fresh(folder, template, patch) as uri:
        packages.register_package(folder / "packages")
        stages.promote("gaze-tracker", 1)
        yield uri
