"""A project's folder that was moved or copied: MLflow keeps where an experiment's files lie as an absolute path.

In a copy, what is registered next would be written into the first folder; after a move, into one that MLflow makes anew
under the old path.
"""

import logging
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mlflow.entities import Experiment
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from recording.exceptions import InputError, RegistryError
from registry import database
from registry.store import database_file

log = logging.getLogger(__name__)

COMMAND = "python -m training.store --moved-from"
_MLRUNS = "mlruns"  # where MLflow, and this software, put the files of an experiment: in the working directory
_PATIENCE_S = 60
# All columns of MLflow's database that name a place of files.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def check(experiment: Experiment, address: str) -> None:
    """Say in one line where an experiment's files go, where they seem to belong to the folder of before.

    :class:`RegistryError` where that folder is gone. Nothing is said of a server, of a database that is no SQLite file,
    or of a place that somebody chose: one that is there, and of which there is no copy here.

    ``address``: MLflow's database.
    """
    file, place = database_file(address), _local(experiment.artifact_location)
    if file is None or place is None:
        return
    file = file.resolve()
    homes = dict.fromkeys((file.parent, Path.cwd().resolve()))
    if any(place.resolve().is_relative_to(home) for home in homes):
        return
    copied = next((before for home in homes if (before := _before(place, home))), None)
    old = copied or (place.parent.parent if place.parent.name == _MLRUNS else None)
    there = place.parent.is_dir()
    if old is None or (there and not copied and not _has_copy_of(file, old)):
        return
    what = f"the experiment {experiment.name} keeps its files in {place}"
    moved = f"run `{COMMAND} {shlex.quote(str(old))}` in the folder where they are now"
    if not there and (copied or not old.is_dir()):
        raise RegistryError(
            f"{what}, and {place.parent} is not there; if the project was moved, {moved}; if not, bring that folder "
            "back (a disk that is not mounted?), or make it"
        )
    log.warning(
        "%s, NOT BESIDE ITS DATABASE %s: what this command makes goes there; if this is a moved or copied project, end "
        "this and %s; if that is meant, nothing is to be done",
        *(what, file, moved),
    )


def _before(place: Path, home: Path) -> Path | None:
    """The folder that ``home`` is a copy of, by a folder of experiments in it that ends as ``place`` does."""
    for kept in range(2, len(place.parts)):
        if home.joinpath(*place.parts[-kept:]).is_dir():
            return Path(*place.parts[:-kept])
    return None


def _has_copy_of(file: Path, old: Path) -> bool:
    """Whether a database of that name lies in the folder too, and is another one."""
    other = old / file.name
    return other.is_file() and file.is_file() and not other.samefile(file)


def _local(address: str | None) -> Path | None:
    """The folder that MLflow takes an address for; ``None`` for one of a server or a store elsewhere."""
    if not address or not is_local_uri(address, is_tracking_or_registry_uri=False):  # type: ignore[no-untyped-call]
        return None
    return Path(local_file_uri_to_path(address))  # type: ignore[no-untyped-call]


def follow(file: Path, old: Path, new: Path) -> int:
    """Write into MLflow's database ``file`` that what lay in the folder ``old`` lies in ``new`` now, all or nothing.

    How many places were changed. The files are not touched. Raises :class:`InputError` where none lies in ``old``, or
    what does is not in ``new``.
    """
    new, was = new.resolve(), {old.absolute(), old.resolve()}
    if new in was:
        raise InputError(f"--moved-from {old}: is this very folder; give the one where the project was before")
    with closing(sqlite3.connect(file, timeout=_PATIENCE_S)) as opened, opened:
        changes = list(_changes(opened, was, new))
        if not changes:
            places = opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
            raise InputError(
                f"--moved-from {old}: {file} has no files there; its experiments keep theirs in "
                f"{', '.join(sorted(str(place) for (place,) in places)[:3])}"
            )
        for table, column, before, after in changes:
            opened.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [after, before])
    return len(changes)


def _changes(opened: sqlite3.Connection, was: set[Path], new: Path) -> Iterator[tuple[str, str, str, str]]:
    """``(table, column, before, after)`` of each place in one of the folders ``was``, which are one."""
    for table, column in _PLACES:
        if not database.has(opened, table, column):
            continue
        for (before,) in opened.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall():
            place = _local(before)
            old = next((folder for folder in was if place is not None and place.is_relative_to(folder)), None)
            if place is None or old is None or place.is_relative_to(new):
                continue
            inside = place.relative_to(old)
            top = inside.parts[:1]
            if old.joinpath(*top).is_dir() and not new.joinpath(*top).is_dir():
                raise InputError(
                    f"--moved-from {old}: {old.joinpath(*top)} is still there, and {new.joinpath(*top)} is not; "
                    "move or copy it first"
                )
            after = new / inside
            quoted = before.startswith("file:") or "%" in str(after)  # MLflow unquotes plain paths as well
            yield table, column, before, after.as_uri() if quoted else str(after)
