"""Where MLflow's database lies when it is a file, and what MLflow has to be told about it before it is imported."""

import logging
import os
import re
import shlex
from pathlib import Path
from urllib.parse import quote, unquote

from recording.exceptions import RegistryError
from registry import certificate, database, leftover
from registry.logins import hide

_SQLITE = "sqlite:///"
_ADDRESS = "MLFLOW_TRACKING_URI"
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
_NO_LINKS = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
# Of the first tables that MLflow makes, with a column of each: it may have been cut off while it made them. Its list of
# schema versions is Alembic's, which others use as well.
_TABLES = {"experiments": "artifact_location", "runs": "run_uuid", "registered_models": "last_updated_time"}
_ENDINGS = (".db", ".sqlite", ".sqlite3")


def database_file(address: str) -> Path | None:
    """The file of an SQLite address; ``None`` for a server, another database, or one in memory."""
    path = unquote(address.removeprefix(_SQLITE).partition("?")[0])
    return Path(path) if address.startswith(_SQLITE) and path and path != ":memory:" else None


def check(address: str, *, write: bool = False) -> None:
    """:class:`RegistryError` where ``address`` is a file that MLflow cannot use, or ``write`` to; a new one is fine.

    Or where it is a server to which no secure connection comes about, and waiting would not help.
    """
    if meant := _meant(address):
        raise RegistryError(f"MLFLOW_TRACKING_URI={address}: is a path, not an address; write {shlex.quote(meant)}")
    if address.lower().startswith(("https://", "http://")):
        certificate.check(address)
    file = database_file(address)
    if file is None:
        return
    if write and (closed := database.closed(file)):
        raise RegistryError(
            f"{file}: {'it' if closed == file else closed} cannot be written; make it writable, or set "
            "MLFLOW_TRACKING_URI to another database"
        )
    leftover.check(file)
    if hidden := database.hidden(file):
        raise RegistryError(
            f"{file}: cannot be looked at ({hidden}); give this user the right to enter its folder, or set "
            "MLFLOW_TRACKING_URI to another database"
        )
    if fault := database.fault(file, _TABLES, thorough=write):
        raise RegistryError(
            f"{file}: {fault}; put a backup in its place, move it away to begin with an empty one, or set "
            "MLFLOW_TRACKING_URI to another"
        )


def _meant(address: str) -> str:
    """The address of a database whose path was given without ``sqlite:///``; "" where that is not what was given."""
    path = re.sub("^(file|sqlite):(//)?(?!//)", "", address) if not address.startswith(_SQLITE) else ""
    if "://" in path or not (Path(path).suffix in _ENDINGS or Path(path).is_file()):
        return ""
    return _SQLITE + _quoted(path)


def _quoted(path: str) -> str:
    """Only what the database's own driver would unquote stays quoted."""
    return re.sub("[%?]", lambda found: quote(found[0]), path)


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
    given = os.environ.get(_ADDRESS, "")
    if hide(given) != given:  # MLflow prints a run's link with the password that is in its address
        os.environ.setdefault(_NO_LINKS, "true")
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
    # Of a folder's own name, nothing needs to be quoted.
    named = str(file) if file.parent != Path.cwd() or not re.search("[%?]", str(file.parent)) else file.name
    os.environ[_ADDRESS] = _SQLITE + _quoted(named)
    stray = Path(quote(str(file))).parent
    if stray != file.parent and stray.is_dir() and not any(stray.iterdir()):
        stray.rmdir()
