"""Connections to an SQLite file: one to a file that another has taken the place of is not used again.

SQLAlchemy keeps connections, and a connection keeps the file that it opened. After ``mv mlflow.db old.db; cp backup.db
mlflow.db`` it would read and write the old one for as long as the process lives.
"""

import os
import sqlite3
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

from registry import leftover

_PATH, _OPENED, _NEW = "gaze_path", "gaze_opened", "gaze_new"


def follow_files() -> None:
    """From now on every SQLAlchemy engine of this process (MLflow's) looks at what lies at its file's path, each time
    that it takes a connection; where that is another file than the one that was opened, it opens that one.

    A hard link to the same file is the same file; of a symbolic link, that counts which it leads to. Beside the
    write-ahead log of another one it is not opened: :class:`~recording.exceptions.RegistryError`.
    """
    if not event.contains(Engine, "do_connect", _before_connect):
        event.listen(Engine, "do_connect", _before_connect)
        event.listen(Pool, "connect", _on_connect)
        event.listen(Pool, "checkout", _on_checkout)


def _before_connect(_: Any, record: Any, arguments: list[Any], *__: object) -> None:
    """Note which file lies there before it is opened: one that is put there meanwhile is found by the next look."""
    if record is not None and arguments and isinstance(arguments[0], str | os.PathLike):
        record.info[_PATH] = path = _path(os.fspath(arguments[0]))
        leftover.check(path)
        record.info[_OPENED] = leftover.identity(path)


def _on_connect(connection: Any, record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        record.info.pop(_PATH, None)
    elif path := record.info.get(_PATH):
        record.info[_OPENED] = record.info[_OPENED] or leftover.identity(path)  # the connection has made the file
        record.info[_NEW] = True


def _on_checkout(_: Any, record: Any, __: object) -> None:
    # A new one is taken as it is: some network folders number their files anew each time that they are asked.
    if record.info.pop(_NEW, False) or not (path := record.info.get(_PATH)):
        return
    lies_there = leftover.identity(path)
    # Nothing there: somebody may just be putting another file in its place, and SQLite would make an empty one.
    if lies_there is not None and lies_there != record.info[_OPENED]:
        leftover.check(path, record.info[_OPENED])
        raise DisconnectionError(f"{path} is another file than the one that was opened")


def _path(name: str) -> str:
    """The file of a name as SQLite takes it, which may be an address, ``file:/…?mode=ro``."""
    return unquote(urlsplit(name).path) if name.startswith("file:") else name
