"""SQLite files that are held by another program, or new in two processes."""

import errno
import fcntl
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from sqlalchemy import Engine, create_engine, event, text

from recording.exceptions import RegistryError
from training import sqlite, store, tracking

ROOT = Path(__file__).parents[2]

HELD_S = 5.5  # longer than SQLite waits by itself


def test_a_write_waits_for_a_file_that_another_program_holds(tmp_path):
    sqlite.be_patient()
    inside = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(tmp_path / "study.db")) as database:
            database.execute("BEGIN EXCLUSIVE")
            inside.set()
            time.sleep(HELD_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    engine = create_engine(f"sqlite:///{tmp_path / 'study.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE written (n INTEGER)"))
    thread.join()
    engine.dispose()


def test_mlflow_is_as_patient(tracking):
    """MLflow sets 20 s anew in every session; a backup may take longer."""
    sqlite.be_patient()
    waits = []

    def listen(connection, cursor, statement, *_):
        waits.append(cursor.connection.execute("PRAGMA busy_timeout").fetchone()[0])

    event.listen(Engine, "after_cursor_execute", listen)
    try:
        mlflow.MlflowClient().create_run("0")
    finally:
        event.remove(Engine, "after_cursor_execute", listen)
    assert set(waits) == {sqlite.PATIENCE_S * 1000}


def _job(barrier) -> None:
    barrier.wait(60)
    with tracking.tracked_run("job"):
        pass


def _make_train(barrier) -> None:
    barrier.wait(60)
    store.main(None)
    # As `mlflow run --experiment-name` begins, with nobody waiting for anybody.
    assert mlflow.MlflowClient().get_experiment_by_name(store.EXPERIMENT) is not None


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def fresh(request, tmp_path) -> str:
    """The address of a database without tables."""
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path}/mlflow.db"
    return request.getfixturevalue("postgres").create(f"fresh_{uuid.uuid4().hex}")


@pytest.mark.parametrize("begin", [_job, _make_train])
def test_two_jobs_at_once_on_a_fresh_store_both_go_on(begin, fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", fresh)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [context.Process(target=begin, args=(barrier,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "mysql://x/y", "databricks", "mlruns"])
def test_other_stores_need_no_lock(uri):
    with sqlite.alone(uri):
        pass


@pytest.mark.parametrize("name", ["drive", "a%20b", "50% c"])
def test_artifacts_lie_beside_the_database_whatever_the_folder_is_called(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    code = (
        "import mlflow; from training import store; store.main(None); store.set_experiment()\n"
        "with mlflow.start_run(): mlflow.log_text('here', 'note.txt')"
    )
    handed = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    uri = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=handed | uri, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(folder.glob("mlruns/**/note.txt"))) == 1


def test_a_deleted_experiment_is_one_line_with_the_command_that_brings_it_back(tmp_path):
    handed = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    handed |= {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "PYTHONPATH": str(ROOT)}

    def ensure(**variables: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "training.store"]
        return subprocess.run(words, cwd=tmp_path, env=handed | variables, capture_output=True, text=True)

    assert ensure().returncode == 0
    delete = "import mlflow; mlflow.delete_experiment(mlflow.get_experiment_by_name('gaze-finetuning').experiment_id)"
    subprocess.run([sys.executable, "-c", delete], cwd=tmp_path, env=handed, check=True, capture_output=True)
    refused = ensure()
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith(
        "error: the experiment gaze-finetuning was deleted in MLflow; bring it back with `mlflow exp"
    )
    assert ensure(MLFLOW_EXPERIMENT_NAME="another").returncode == 0
    restore = line.partition("`mlflow ")[2].partition("`")[0].split()
    subprocess.run(
        [sys.executable, "-m", "mlflow", *restore], cwd=tmp_path, env=handed, check=True, capture_output=True
    )
    assert ensure().returncode == 0


# NFS without its lock daemon, some network and FUSE file systems.
def test_a_folder_without_file_locks_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(RegistryError, match=rf"^{tmp_path}: .* mlflow\.db cannot be locked there \(No locks .*_URI"),
        sqlite.alone("sqlite:///mlflow.db"),
    ):
        pytest.fail("it is not alone")
