"""MLflow's database, in an SQLite file or PostgreSQL, made once, by one process: ``python -m training.store``.

Two programs that find no tables both create them, and one or both of them fail; MLflow has no lock for it. Commands of
this project wait for each other. ``mlflow run`` opens the database before it starts a command, so `make train`
makes the database first.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from recording.exceptions import RegistryError
from registry.command_line import leave
from registry.store import check, database_file
from training import sqlite

EXPERIMENT = "gaze-finetuning"
_DATABASES = ("postgresql", "mysql", "mssql")


def ensure(address: str) -> None:
    """Make the tables and the experiment :data:`EXPERIMENT` where ``address`` is a database without them.

    Several at once wait for each other, on SQLite and PostgreSQL. A no-op for a server, which has made its own. Raises
    :class:`~recording.exceptions.RegistryError` where the file cannot be used, or the experiment was deleted.
    """
    check(address, write=True)
    file = database_file(address)
    if file is None and address.partition(":")[0].partition("+")[0] not in _DATABASES:
        return
    with sqlite.alone(address):
        if file is None or not _is_made(file):
            import mlflow  # takes seconds, and is not needed the next time

            mlflow.set_tracking_uri(address)
            set_experiment()


def set_experiment() -> None:
    """Make :data:`EXPERIMENT` the current one, and before that itself where there is none.

    :class:`~recording.exceptions.RegistryError` where it was deleted: of that name there is no second one.

    MLflow takes the path of this folder for a quoted one: with a ``%`` in it artifacts would go to another folder.
    """
    import mlflow

    runs = Path.cwd() / "mlruns"
    beside = database_file(mlflow.get_tracking_uri()) is not None
    if beside and "%" in str(runs) and mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, f"{runs.as_uri()}/{EXPERIMENT}")
    try:
        mlflow.set_experiment(EXPERIMENT)
    except mlflow.MlflowException as error:
        found = mlflow.get_experiment_by_name(EXPERIMENT)
        if found is None or found.lifecycle_stage != "deleted":
            raise
        raise RegistryError(
            f"the experiment {EXPERIMENT} was deleted in MLflow; bring it back with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or set MLFLOW_EXPERIMENT_NAME to another"
        ) from error


def _is_made(file: Path) -> bool:
    if not file.is_file():
        return False
    with closing(sqlite3.connect(file, timeout=sqlite.PATIENCE_S)) as database:
        try:
            found = "SELECT lifecycle_stage FROM experiments WHERE name = ?"
            stages = [stage for (stage,) in database.execute(found, [EXPERIMENT])]
        except sqlite3.Error:  # no such table yet
            return False
    # Deleted, it is in the way of those alone who mean it.
    elsewhere = any(map(os.environ.get, ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")))
    return bool(stages) and (elsewhere or stages == ["active"])


def main(argv: list[str] | None) -> int:
    """Make what is missing of the database that the environment names, ``mlflow.db`` in this folder by default."""
    sqlite.be_patient()
    ensure(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    return 0


if __name__ == "__main__":
    leave(main)
