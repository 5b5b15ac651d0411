"""SQLite files that other programs hold for a while, or that two processes meet when they are new."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Engine, event

from recording.exceptions import RegistryError
from registry.store import database_file
from training import postgres

PATIENCE_S = 180
"""How long a write waits for a file that another program holds: a backup or a database browser, say."""


def be_patient() -> None:
    """Let every SQLAlchemy engine of this process (MLflow's, Optuna's) wait up to :data:`PATIENCE_S` for a lock.

    SQLite waits 5 s by itself; MLflow sets 20 s anew in every session.
    """
    if not event.contains(Engine, "connect", _on_connect):
        event.listen(Engine, "connect", _on_connect)
        event.listen(Engine, "before_cursor_execute", _on_statement, retval=True)


def _on_connect(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(_pragma())


def _on_statement(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
    return (_pragma() if statement.startswith("PRAGMA busy_timeout") else statement), parameters


def _pragma() -> str:
    return f"PRAGMA busy_timeout = {PATIENCE_S * 1000}"


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Nobody else is inside with the same ``sqlite:///…`` or PostgreSQL address; no-op for any other address.

    For the first access: two processes that both find no tables both create them, and one of them fails. Raises
    :class:`RegistryError` where the database's folder knows no file locks.
    """
    file = database_file(uri)
    if file is None:
        with postgres.alone(uri):
            yield
        return
    folder = file.parent
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise RegistryError(
                f"{folder.absolute()}: MLflow's database {file.name} cannot be locked there ({error.strerror}); "
                "work in a folder on a local disk, or set MLFLOW_TRACKING_URI to a server, or to sqlite:///FILE on one"
            ) from error
        yield
