"""The write-ahead log of an SQLite file that was moved away, beside the one that was put in its place.

SQLite tells by the name alone which log is a file's. With ``journal_mode=WAL``, after ``mv mlflow.db old.db; cp
backup.db mlflow.db`` while somebody has the old one open, whoever opens the new one would read the old log's pages in
it, and write them into it when it is closed. It is told by the locks and open files of who has the log open: on
Linux, of processes that this one may see. Importing this imports neither MLflow nor SQLAlchemy.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from recording.exceptions import RegistryError

Identity = tuple[int, int]

_LOCKS = Path("/proc/locks")
_AGAIN_S = 0.05
# Where SQLite's locks lie: who has a log open holds this byte of its -shm, and these of the database all the time.
_OPEN = range(128, 129)
_SHARED = range(0x40000002, 0x40000002 + 510)

_known: dict[str, tuple[Identity, Identity | None]] = {}


def identity(path: str | Path) -> Identity | None:
    """What tells a file from another at the same path; ``None`` where there is none, or none can be seen."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check(file: str | Path, owner: Identity | None = None) -> None:
    """:class:`RegistryError` where a log beside ``file`` is another file's; to be asked before it is opened.

    ``owner``: the file that was open at this path and is about to be closed. With it the locks go; what they told is
    known from then on, until the log is moved away or the owner is back.
    """
    path = str(Path(file).resolve())  # a log lies beside the file that a link leads to
    log, lies_there = identity(f"{path}-wal"), identity(path)
    if log is None or lies_there is None or not _holds_pages(f"{path}-wal"):
        return
    before = _known.get(path)
    if before and (before[0] != log or before[1] == lies_there):
        _known.pop(path, None)
    if path not in _known and not _stays_anothers(path):
        return
    if owner:
        _known[path] = log, owner
    name = Path(path).name
    raise RegistryError(
        f"{path}: was put in the place of another file, whose log {name}-wal is still there and would overwrite it; "
        f"move {name}-wal and {name}-shm away too, to that file"
    )


def _holds_pages(log: str) -> bool:
    try:
        return Path(log).stat().st_size > 0
    except OSError:
        return False


def _stays_anothers(path: str) -> bool:
    """Looked at twice: the list of locks is not of one moment."""
    if not _is_anothers(path):
        return False
    time.sleep(_AGAIN_S)
    return _is_anothers(path)


def _is_anothers(path: str) -> bool:
    """Whether a process has the log of ``path`` open and not the file itself, but another one."""
    file, memory = identity(path), identity(f"{path}-shm")
    if memory is None:
        return False
    logs: dict[str, set[Identity]] = defaultdict(set)
    files: dict[str, set[Identity]] = defaultdict(set)
    for process, locked, first, last in _locks():
        for kind, part in ((logs, _OPEN), (files, _SHARED)):
            if first < part.stop and last >= part.start:
                kind[process].add(locked)
    return any(
        memory in held and files[process] and file not in files[process] and not _has_open(process, file)
        for process, held in logs.items()
    )


def _has_open(process: str, file: Identity | None) -> bool:
    """Whether a process has a file open, or that cannot be seen: a copy that it made of the file took its locks."""
    try:
        return any(identity(one) == file for one in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return True


def _locks() -> Iterator[tuple[str, Identity, int, float]]:
    """Process, file, first and last byte of each lock that is held; none where the system does not list them."""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX":  # others, and who waits for one, are not SQLite's
            major, minor, number = words[5].split(":")
            last = float("inf") if words[7] == "EOF" else int(words[7])
            yield words[4], (os.makedev(int(major, 16), int(minor, 16)), int(number)), int(words[6]), last
