"""The folder ``work=``: tried before anything is computed, not found out at the end."""

import fcntl
import os
import shlex
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from recording import files
from recording.exceptions import InputError


def check(work: Path, *written: str) -> None:
    """Make the folder and try in it what the job needs: a file, a file lock, an SQLite database.

    ``written``: folders in it that the job is going to write to; those that are there must let it. Raises
    :class:`InputError` that names the folder and what failed there.
    """
    files.check_links(work)
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
    for name in written:
        _check_inside(work, work / name)


def _check_inside(work: Path, folder: Path) -> None:
    """What an earlier job has left there, as another user perhaps, can be gone on with."""
    files.check_links(folder)
    while not files.is_there(folder) and folder != work:
        folder = folder.parent
    there = [folder]
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        there += [path for path in folder.iterdir() if path.is_file()]
    for path in there:
        refused = not folder.is_dir() or not os.access(path, os.W_OK | os.X_OK if path.is_dir() else os.W_OK)
        if refused and files.is_there(path):  # another job at work there renames and removes its files
            raise InputError(
                f"{path}: cannot be written (made by another user, or in a container as root?); give it to this user "
                f"(`sudo chown -R $(id -u) {shlex.quote(str(work))}`), or choose another work="
            )
