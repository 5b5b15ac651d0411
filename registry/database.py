"""An SQLite file, looked at before MLflow or Optuna opens it.

They print tracebacks over a damaged or locked-away one, and add their tables to one of another program.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from recording.files import is_there

THOROUGH_BYTES = 2**28
"""Up to this size all pages of a file are looked at, in less than a second."""
_SHOWN = 3
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def fault(file: Path, own: Mapping[str, str], *, thorough: bool = False) -> str:
    """Why a program with the tables ``own`` must not open the file; "" where it may, or where there is no file yet.

    ``own``: of each table the column, by which it is told from another program's of the same name. ``thorough``: all of
    the file is looked at, not only whether it is one. A file that another program holds just now is left to the
    patience of whoever opens it.
    """
    if not is_there(file):
        return ""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=0)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if tables and not any(has(database, table, column) for table, column in own.items()):
                return f"is another program's database (it has the tables {', '.join(sorted(tables)[:_SHOWN])})"
            if thorough and file.stat().st_size <= THOROUGH_BYTES:
                (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
                return "" if said == "ok" else "database disk image is malformed"
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        return "" if code is not None and code & 0xFF in _HELD else str(error)
    return ""


def has(database: sqlite3.Connection, table: str, column: str) -> bool:
    """Whether a table is there and has a column of that name."""
    return (column,) in database.execute("SELECT name FROM pragma_table_info(?)", [table]).fetchall()


def hidden(file: Path) -> str:
    """Why it cannot be told whether a file is there: its folder may not be entered, say; "" where it can."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def closed(file: Path) -> Path | None:
    """What of a file, which may not be there yet, cannot be written: itself, or the folder where its journal lies."""
    if is_there(file) and not os.access(file, os.W_OK):
        return file
    folder = next(parent for parent in file.resolve().parents if is_there(parent))
    return None if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else folder
