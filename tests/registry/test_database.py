"""A database file that MLflow cannot use is one line before MLflow opens it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from recording.exceptions import RegistryError
from registry import database, store

ROOT = Path(__file__).parents[2]


def make_text(file: Path) -> None:
    file.write_text("A letter, and no database at all.\n" * 40)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40_000])


def overwrite(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8192:400_000] = b"\xa5" * (400_000 - 8192)
    file.write_bytes(content)


def make_foreign(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE bookmarks (address TEXT)")


def make_alike(file: Path) -> None:
    """Another program's list of its own runs and experiments."""
    file.unlink()
    with closing(sqlite3.connect(file)) as other, other:
        for table in ("experiments", "runs", "registered_models"):
            other.execute(f"CREATE TABLE {table} (id INTEGER, title TEXT)")


FAULTS = [
    (make_text, "file is not a database; put a backup"),
    (cut, "database disk image is malformed; put a backup"),
    (overwrite, "malformed"),
    (make_foreign, "is another program's database (it has the tables bookmarks); put a backup"),
    (make_alike, "is another program's database (it has the tables experiments, registered_models, runs); put a"),
]


@pytest.mark.parametrize(("spoil", "says"), FAULTS)
def test_a_file_that_is_no_database_of_mlflows_is_one_line_that_names_it(
    spoil, says: str, tmp_path: Path, empty_database: bytes
) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_database)
    store.check(f"sqlite:///{file}", write=True)
    spoil(file)
    before = file.read_bytes()
    with pytest.raises(RegistryError) as raised:
        store.check(f"sqlite:///{file}", write=True)
    assert str(raised.value).startswith(f"{file}: ")
    assert says in str(raised.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", [["registry", "list"], ["serving", "predict", "x.jpg"], ["training.store"]])
def test_every_command_ends_with_that_line(command: list[str], tmp_path: Path, empty_database: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    cut(tmp_path / "mlflow.db")
    (tmp_path / "x.jpg").write_bytes(b"")
    handed = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=handed | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "mlflow.db: database disk image is malformed" in done.stderr


@pytest.mark.parametrize("locked_away", ["mlflow.db", ""])
def test_a_file_that_cannot_be_written_is_named_before_anything_is_written(
    locked_away: str, tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    shut, access = tmp_path / locked_away, os.access
    # Root may write to whatever its mode says.
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut and access(path, mode))
    store.check(f"sqlite:///{tmp_path}/mlflow.db")  # to be read, it will do
    with pytest.raises(RegistryError, match=r"mlflow\.db: .* cannot be written; make it writable, or set MLFLOW"):
        store.check(f"sqlite:///{tmp_path}/mlflow.db", write=True)


def test_a_file_that_another_program_holds_is_left_to_patience(tmp_path: Path, empty_database: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert database.fault(tmp_path / "mlflow.db", {"runs": "run_uuid"}, thorough=True) == ""


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "postgresql://x/y", "sqlite:///not/there/yet.db"])
def test_what_is_no_file_yet_is_left_alone(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store.check(address, write=True)
    assert list(tmp_path.iterdir()) == []


def test_what_mlflow_was_cut_off_in_is_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL, name VARCHAR(250))")
    store.check(f"sqlite:///{file}", write=True)


@pytest.mark.parametrize("command", ["store.check({!r})", "store.check({!r}, write=True)"])
def test_a_folder_that_may_not_be_entered_is_named(
    command: str, tmp_path: Path, empty_database: bytes, as_anybody: Callable
) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "mlflow.db").write_bytes(empty_database)
    (tmp_path / "shut").chmod(0)
    call = command.format(f"sqlite:///{tmp_path}/shut/mlflow.db")
    code = f"from registry import store\ntry: {call}\nexcept Exception as error: print(type(error).__name__, error)"
    said = as_anybody(code)
    (tmp_path / "shut").chmod(0o700)
    assert said.startswith(f"RegistryError {tmp_path}/shut/mlflow.db: ")
    assert "cannot be written" in said if "write" in command else "cannot be looked at (Permission denied)" in said


PATHS = [
    ("mlflow.db", "sqlite:///mlflow.db"),
    ("sqlite:mlflow.db", "sqlite:///mlflow.db"),
    ("sqlite://mlflow.db", "sqlite:///mlflow.db"),
    ("/srv/my drive/50%.sqlite", "'sqlite:////srv/my drive/50%25.sqlite'"),
    ("file:///srv/mlflow.db", "sqlite:////srv/mlflow.db"),
]


@pytest.mark.parametrize(("given", "meant"), PATHS)
def test_a_path_in_place_of_an_address_is_refused_with_what_to_write(given: str, meant: str) -> None:
    with pytest.raises(RegistryError) as raised:
        store.check(given)
    assert str(raised.value) == f"MLFLOW_TRACKING_URI={given}: is a path, not an address; write {meant}"


@pytest.mark.parametrize("address", ["./mlruns", "file:///srv/mlruns", "databricks", "sqlite:///:memory:", "sqlite://"])
def test_what_may_be_an_address_is_left_to_mlflow(address: str) -> None:
    store.check(address)
