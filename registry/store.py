"""Where MLflow's database lies when it is a file, and what MLflow has to be told about it before it is imported."""

import logging
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from recording.exceptions import RegistryError
from registry import database

_SQLITE = "sqlite:///"
_ADDRESS = "MLFLOW_TRACKING_URI"
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
# Of the first tables that MLflow makes: it may have been cut off while it made them.
_TABLES = frozenset({"experiments", "runs", "registered_models"})


def database_file(address: str) -> Path | None:
    """The file of an SQLite address; ``None`` for a server, another database, or one in memory."""
    path = unquote(address.removeprefix(_SQLITE).partition("?")[0])
    return Path(path) if address.startswith(_SQLITE) and path and path != ":memory:" else None


def check(address: str, *, write: bool = False) -> None:
    """:class:`RegistryError` where ``address`` is a file that MLflow cannot use, or ``write`` to; a new one is fine."""
    file = database_file(address)
    if file is None:
        return
    if write and (closed := database.closed(file)):
        raise RegistryError(
            f"{file}: {'it' if closed == file else closed} cannot be written; make it writable, or set "
            "MLFLOW_TRACKING_URI to another database"
        )
    if fault := database.fault(file, _TABLES, thorough=write):
        raise RegistryError(
            f"{file}: {fault}; put a backup in its place, move it away to begin with an empty one, or set "
            "MLFLOW_TRACKING_URI to another"
        )


def settle() -> None:
    """Tell MLflow, before it is imported, what every command of the project wants of it.

    No tracebacks of its own: what they are about is raised as well, and said in one line.
    No bar per fetched file: bars would bury the lines that say what was done. And an address of its database without
    ``%20``: MLflow (3.17) takes its address from the working directory, quoted, and makes the parent folder of the
    quoted path, an empty ``my%20drive`` beside ``my drive``. ``mlflow run`` has made it already when it starts our
    command, so an empty one is removed.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    os.environ.setdefault(_BARS, "false")
    quoted = Path(quote(str(Path.cwd())))
    if os.environ.get(_ADDRESS):
        address = os.environ[_ADDRESS]
    elif quoted == Path.cwd() or list(Path.cwd().glob("mlruns/*/meta.yaml")):
        return  # nothing to quote, or a folder of MLflow's old file store, which MLflow has to find by itself
    else:
        address = _SQLITE + quote(str(Path.cwd() / "mlflow.db"))
    file = database_file(address)
    if file is None or not file.is_absolute() or "?" in address:
        return
    # Only what the database's own driver would unquote stays quoted; of a folder's own name, nothing needs to.
    named = str(file) if file.parent != Path.cwd() or not re.search("[%?]", str(file.parent)) else file.name
    os.environ[_ADDRESS] = _SQLITE + re.sub("[%?]", lambda found: quote(found[0]), named)
    stray = Path(quote(str(file))).parent
    if stray != file.parent and stray.is_dir() and not any(stray.iterdir()):
        stray.rmdir()
