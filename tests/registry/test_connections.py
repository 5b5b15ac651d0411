"""A database file that another takes the place of while a process has it open."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import registries
from sqlalchemy import Engine, create_engine, text

from recording.exceptions import NoRegistry, RegistryError
from registry import connections, stages, versions
from registry.addresses import Selector
from registry.resolving import find, registry_answers


def _write(file: Path, number: int) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE held (number INTEGER)")
        database.execute("INSERT INTO held VALUES (?)", [number])


@pytest.fixture
def opened(tmp_path: Path):
    """An engine that holds a connection to ``one.db``."""
    connections.follow_files()
    _write(tmp_path / "one.db", 1)
    engine = create_engine(f"sqlite:///{tmp_path / 'one.db'}")
    assert _held(engine) == 1
    yield engine
    engine.dispose()


def _held(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT number FROM held")).scalar_one()


def test_a_file_put_in_the_place_of_another_is_read(tmp_path, opened) -> None:
    _write(tmp_path / "two.db", 2)
    (tmp_path / "one.db").rename(tmp_path / "damaged.db")
    shutil.copyfile(tmp_path / "two.db", tmp_path / "one.db")
    assert [_held(opened), _held(opened)] == [2, 2]


def test_a_file_moved_over_another_is_read(tmp_path, opened) -> None:
    _write(tmp_path / "two.db", 2)
    (tmp_path / "two.db").replace(tmp_path / "one.db")
    assert _held(opened) == 2


def test_a_link_that_leads_elsewhere_is_followed(tmp_path) -> None:
    connections.follow_files()
    for number in (1, 2):
        _write(tmp_path / f"{number}.db", number)
    link = tmp_path / "current.db"
    link.symlink_to("1.db")
    engine = create_engine(f"sqlite:///{link}")
    assert _held(engine) == 1
    link.unlink()
    link.symlink_to("2.db")
    assert _held(engine) == 2
    engine.dispose()


def test_the_same_file_is_not_opened_again(tmp_path, opened) -> None:
    with opened.connect() as connection:
        before = connection.connection.dbapi_connection
    os.link(tmp_path / "one.db", tmp_path / "other-name.db")
    (tmp_path / "one.db").unlink()
    os.link(tmp_path / "other-name.db", tmp_path / "one.db")
    with opened.connect() as connection:
        assert connection.connection.dbapi_connection is before


def test_folders_that_number_their_files_anew_each_time_are_read(tmp_path, opened, monkeypatch) -> None:
    numbers = iter(range(1000))
    monkeypatch.setattr(connections, "_identity", lambda path: (0, next(numbers)))
    assert [_held(opened) for _ in range(3)] == [1, 1, 1]


def test_with_a_write_ahead_log(tmp_path) -> None:
    connections.follow_files()
    for number in (1, 2):
        _write(tmp_path / f"{number}.db", number)
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as database:
            database.execute("PRAGMA journal_mode = WAL")
    engine = create_engine(f"sqlite:///{tmp_path / '1.db'}")
    assert _held(engine) == 1
    (tmp_path / "2.db").replace(tmp_path / "1.db")
    assert _held(engine) == 2
    engine.dispose()


def _in_production() -> int:
    with registry_answers():
        return find(Selector()).version


@pytest.fixture
def replaced(make_version, tmp_path: Path) -> Path:
    """A registry that had version 1 in Production, then version 2; and the file of the former, as a backup."""
    for _ in range(2):
        make_version()
    stages.promote("gaze-tracker", 1, force=True, why="first")
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "backup.db")
    stages.promote("gaze-tracker", 2, force=True, why="second")
    assert _in_production() == 2
    (tmp_path / "mlflow.db").rename(tmp_path / "damaged.db")
    return tmp_path / "mlflow.db"


def test_a_backup_in_the_registrys_place_answers(replaced) -> None:
    shutil.copyfile(replaced.with_name("backup.db"), replaced)
    assert _in_production() == 1
    # MLflow's other store, of runs, goes to the same file.
    run = mlflow.MlflowClient().create_run("0")
    with closing(sqlite3.connect(replaced)) as database:
        assert database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", [run.info.run_id]).fetchall()


def test_an_empty_file_in_the_registrys_place_is_no_registry(replaced) -> None:
    replaced.touch()
    with pytest.raises(NoRegistry, match=r"mlflow\.db is empty"):
        _in_production()
    assert replaced.stat().st_size == 0


def test_a_fresh_registry_in_its_place_has_no_model(replaced, empty_database) -> None:
    registries.lay_out(replaced.parent, empty_database)
    with pytest.raises(RegistryError, match="no registered model is named 'gaze-tracker'"):
        _in_production()


def test_another_programs_file_in_its_place_is_refused(replaced) -> None:
    _write(replaced, 1)
    with pytest.raises(RegistryError, match="another program's database"):
        versions.every("gaze-tracker")
