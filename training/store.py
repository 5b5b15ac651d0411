"""MLflow's database, in an SQLite file or PostgreSQL, made once, by one process: ``python -m training.store``.

Two programs that find no tables both create them, and one or both of them fail; MLflow has no lock for it. Commands of
this project wait for each other. ``mlflow run`` opens the database before it starts a command, so `make train`
makes the database first. ``--moved-from OLD`` tells the database where its files are when a project's folder was moved.
"""

import argparse
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from recording.exceptions import RegistryError
from recording.files import given_path
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


def follow(address: str, old: Path) -> None:
    """Tell a database that its files, which lay in the folder ``old``, lie in this one; prints what was changed.

    Raises :class:`RegistryError` where the database is no file, or none is there, and
    :class:`~recording.exceptions.InputError` where nothing of it was in ``old``.
    """
    file = database_file(address)
    if file is None:
        raise RegistryError(
            f"--moved-from {old}: is for a database that is a file, and MLFLOW_TRACKING_URI names another kind; how "
            "the places in that are changed: docs/registry.md"
        )
    if not file.is_file():
        raise RegistryError(f"--moved-from {old}: there is no {file}; go to the folder of the project")
    check(address, write=True)
    from registry import moving  # MLflow, see above

    with sqlite.alone(address):
        changed = moving.follow(file, old, Path.cwd())
    print(f"{file}: {changed} place{'s' * (changed != 1)} of files moved from {old} to {Path.cwd()}")


def main(argv: list[str] | None) -> int:
    """Make what is missing of the database that the environment names, ``mlflow.db`` in this folder by default."""
    parser = argparse.ArgumentParser(
        prog="python -m training.store", description="Make what is missing of MLflow's database."
    )
    parser.add_argument(
        "--moved-from",
        type=given_path,
        metavar="OLD",
        help="tell the database instead that its files, which lay in the folder OLD, lie in this one now",
    )
    moved_from = parser.parse_args(argv or []).moved_from
    sqlite.be_patient()
    address = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if moved_from:
        follow(address, moved_from)
    else:
        ensure(address)
    return 0


if __name__ == "__main__":
    leave(main, sys.argv[1:])
