"""A database file that another takes the place of while a process has it open."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import registries
from sqlalchemy import Engine, create_engine, text

from recording.exceptions import NoRegistry, RegistryError
from registry import connections, leftover, stages, store, versions
from registry.addresses import Selector
from registry.command_line import tracking_problem
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
    monkeypatch.setattr(leftover, "identity", lambda path: (0, next(numbers)))
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


@pytest.fixture
def logged(tmp_path: Path):
    """An engine that holds a connection to ``one.db``, whose newest row is in its log alone; ``backup.db`` is older."""
    connections.follow_files()
    _write(tmp_path / "one.db", 1)
    shutil.copyfile(tmp_path / "one.db", tmp_path / "backup.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'one.db'}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))
        connection.execute(text("UPDATE held SET number = 2"))
        connection.commit()
    assert _held(engine) == 2
    yield engine
    engine.dispose()


def _put_backup(folder: Path) -> bytes:
    (folder / "one.db").rename(folder / "old.db")
    shutil.copyfile(folder / "backup.db", folder / "one.db")
    return (folder / "one.db").read_bytes()


IN_THE_WAY = (
    r"one\.db: was put in the place of another file, whose log one\.db-wal is still there and would overwrite it"
)


def test_a_backup_beside_the_log_of_another_file_is_not_opened(tmp_path, logged) -> None:
    backup = _put_backup(tmp_path)
    for _ in range(2):  # also once the connection that tells it is closed
        with pytest.raises(RegistryError, match=IN_THE_WAY):
            store.check(f"sqlite:///{tmp_path}/one.db")
        with pytest.raises(RegistryError, match=IN_THE_WAY):
            _held(logged)
    assert (tmp_path / "one.db").read_bytes() == backup
    for end in ("-wal", "-shm"):
        (tmp_path / f"one.db{end}").rename(tmp_path / f"old.db{end}")
    assert _held(logged) == 1
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        assert old.execute("SELECT number FROM held").fetchall() == [(2,)]


def test_a_file_that_is_put_back_beside_its_log_is_opened(tmp_path, logged) -> None:
    _put_backup(tmp_path)
    with pytest.raises(RegistryError, match=IN_THE_WAY):
        _held(logged)
    (tmp_path / "old.db").replace(tmp_path / "one.db")
    assert _held(logged) == 2


def test_a_backup_put_there_after_the_log_was_moved_too_is_read(tmp_path, logged) -> None:
    for end in ("", "-wal", "-shm"):
        (tmp_path / f"one.db{end}").rename(tmp_path / f"old.db{end}")
    shutil.copyfile(tmp_path / "backup.db", tmp_path / "one.db")
    leftover.check(tmp_path / "one.db")
    assert _held(logged) == 1


ELSEWHERE = """
import sys
from recording.exceptions import RegistryError
from registry import leftover
try:
    leftover.check(sys.argv[1])
except RegistryError as error:
    print(error)
"""


def test_another_process_sees_whose_log_it_is(tmp_path, logged) -> None:
    def said() -> str:
        return subprocess.check_output([sys.executable, "-c", ELSEWHERE, str(tmp_path / "one.db")], text=True)

    assert said() == ""
    _put_backup(tmp_path)
    assert "one.db: was put in the place of another file" in said()


def test_a_copy_that_its_holder_makes_is_no_fault(tmp_path, logged) -> None:
    """The system takes all locks of a process on a file when it closes the file once."""
    with closing(sqlite3.connect(tmp_path / "backup.db")) as elsewhere:
        elsewhere.execute("PRAGMA journal_mode = WAL")
        elsewhere.execute("UPDATE held SET number = 3")
        shutil.copyfile(tmp_path / "one.db", tmp_path / "copy.db")
        leftover.check(tmp_path / "one.db")


def test_a_log_of_its_own_is_no_fault(tmp_path, logged) -> None:
    file = tmp_path / "one.db"
    (tmp_path / "link.db").symlink_to("one.db")
    with closing(sqlite3.connect(file)) as other, closing(sqlite3.connect(tmp_path / "backup.db")) as elsewhere:
        elsewhere.execute("PRAGMA journal_mode = WAL")
        elsewhere.execute("UPDATE held SET number = 3")
        other.execute("BEGIN")
        for path in (file, tmp_path / "link.db", tmp_path / "backup.db"):
            assert other.execute("SELECT number FROM held").fetchall() == [(2,)]
            leftover.check(path)
    logged.dispose()
    leftover.check(file)
    # One that nobody has open, as a kill leaves it.
    (tmp_path / "one.db-wal").write_bytes(b"")
    (tmp_path / "one.db-shm").write_bytes(b"")
    leftover.check(file)


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


def test_a_backup_beside_the_registrys_log_is_one_line_and_stays_as_it_is(make_version, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    for _ in range(2):
        make_version()
    stages.promote("gaze-tracker", 1, force=True, why="first")
    shutil.copyfile(file, tmp_path / "backup.db")
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    stages.promote("gaze-tracker", 2, force=True, why="second")
    assert _in_production() == 2
    assert file.with_name("mlflow.db-wal").exists()
    file.rename(tmp_path / "old.db")
    shutil.copyfile(tmp_path / "backup.db", file)
    with pytest.raises(RegistryError, match=r"mlflow\.db-wal is still there and would overwrite it; move mlflow"):
        _in_production()
    with pytest.raises(Exception, match=r"mlflow\.db-wal is still there and would overwrite it") as raised:
        mlflow.MlflowClient().create_run("0")  # without a look before it
    assert "mlflow.db-wal and mlflow.db-shm away too, to that file" in one_line_of(raised.value)
    assert file.read_bytes() == (tmp_path / "backup.db").read_bytes()
    for end in ("-wal", "-shm"):
        file.with_name(f"mlflow.db{end}").rename(tmp_path / f"old.db{end}")
    assert _in_production() == 1


def one_line_of(error: BaseException) -> str:
    return tracking_problem(error) if not isinstance(error, RegistryError) else str(error)


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
