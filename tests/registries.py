"""MLflow registries for tests: sqlite in a folder, empty or with versions in it, from a template, in milliseconds."""

import contextlib
import functools
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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
def in_production(folder: Path, template: bytes, **options: object) -> Iterator[str]:
    """A fresh registry (:func:`fresh`) whose version 1, of these ``options``, is in Production, for what a whole module
    shares."""
    with pytest.MonkeyPatch.context() as patch, fresh(folder, template, patch) as uri:
        packages.register_package(folder / "packages", **options)
        stages.promote("gaze-tracker", 1)
        yield uri


@dataclass(frozen=True)
class Snapshot:
    """A registry after its last version was registered, which came out as ``number``; with that one's artifacts."""

    folder: Path
    place: Path
    """Where that registry was: artifacts have absolute addresses."""
    number: int


Options = tuple[tuple[str, object], ...]


class Snapshots:
    """What registering gave in fresh registries, by the options of all that was registered: most tests begin alike.

    Copying takes a tenth of what registering does. Each test gets a copy of its own, artifacts too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[tuple[Options, ...], Snapshot] = {}

    def known(self, registered: tuple[Options, ...]) -> Snapshot | None:
        return self._kept.get(registered)

    def keep(self, registered: tuple[Options, ...], place: Path, number: int, before: set[Path]) -> None:
        """Copy the registry in ``place``, whose artifacts but those in ``before`` are of the last version."""
        folder = self._folder / str(len(self._kept))
        for file in artifacts(place) - before:
            copy(place / file, folder / file)
        copy(place / "mlflow.db", folder / "mlflow.db")
        self._kept[registered] = Snapshot(folder, place, number)


def restore(snapshot: Snapshot, place: Path) -> None:
    """Make the registry in ``place``, which has all versions but the last one, what it was after that one."""
    for file in artifacts(snapshot.folder):
        copy(snapshot.folder / file, place / file)
        if file.name == "MLmodel":
            text = (place / file).read_text()
            (place / file).write_text(text.replace(str(snapshot.place), str(place)))
    with (
        contextlib.closing(sqlite3.connect(snapshot.folder / "mlflow.db")) as kept,
        contextlib.closing(sqlite3.connect(place / "mlflow.db")) as database,
    ):
        kept.backup(database)  # whoever has it open sees that it changed
        _move(database, str(snapshot.place), str(place))


def _move(database: sqlite3.Connection, old: str, new: str) -> None:
    """Rewrite a folder's path wherever it stands in the database."""
    with database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                if "CHAR" in kind or "TEXT" in kind:
                    change = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
                    database.execute(change, [old, new, old])


def artifacts(place: Path) -> set[Path]:
    """All files under ``mlruns``, relative to the registry's folder."""
    return {file.relative_to(place) for file in (place / "mlruns").rglob("*") if file.is_file()}


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


class Registrar:
    """Registers tiny packages (:func:`packages.register_package`) in a fresh registry; call it."""

    def __init__(self, place: Path, snapshots: Snapshots) -> None:
        self._place, self._snapshots = place, snapshots
        self._registered: tuple[Options, ...] | None = ()
        """``None`` when something else has happened in the registry."""
        self._left = self._state()

    def __call__(self, **options: object) -> int:
        """A new version's number."""
        if self._registered is not None:
            alike = is_plain(options) and self._state() == self._left
            self._registered = (*self._registered, tuple(sorted(options.items()))) if alike else None
        if self._registered is None:
            return packages.register_package(self._place / "packages", **options)
        if known := self._snapshots.known(self._registered):
            restore(known, self._place)
            number = known.number
        else:
            before = artifacts(self._place)
            number = packages.register_package(self._place / "packages", **options)
            self._snapshots.keep(self._registered, self._place, number, before)
        self._left = self._state()
        return number

    def _state(self) -> tuple[str, dict[Path, int]]:
        """What the registry holds: the database's bytes, and when each artifact was written."""
        written = {file: (self._place / file).stat().st_mtime_ns for file in artifacts(self._place)}
        return hashlib.sha256((self._place / "mlflow.db").read_bytes()).hexdigest(), written


def is_plain(options: dict[str, object]) -> bool:
    """Whether options can be compared with others: no arrays in them, nothing that may change."""
    parts = [part for value in options.values() for part in (value if isinstance(value, tuple) else (value,))]
    return all(isinstance(part, str | int | float | None) for part in parts)
