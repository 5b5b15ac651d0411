"""The folder ``work=``: tried before anything is computed, not found out at the end."""

import fcntl
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from recording.exceptions import InputError


def check(work: Path) -> None:
    """Make the folder and try in it what the job needs: a file, a file lock, an SQLite database.

    Raises :class:`InputError` that names the folder and what failed there.
    """
    doing = "make the folder"
    try:
        work.mkdir(parents=True, exist_ok=True)
        doing = "write a file"
        with tempfile.TemporaryDirectory(dir=work, prefix=".try-") as scratch:
            doing = "lock a file"
            with (Path(scratch) / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            doing = "use an SQLite database"
            with closing(sqlite3.connect(Path(scratch) / "try.db")) as database, database:
                database.execute("CREATE TABLE tried (n INTEGER)")
    except (OSError, sqlite3.Error) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise InputError(
            f"work={str(work)!r}: cannot {doing} there ({reason}); give a folder on a local disk that you may write to"
        ) from error
