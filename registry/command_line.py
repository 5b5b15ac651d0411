"""How every command of the project ends: status 0, or one line and status 2 where the user can mend it."""

import os
import re
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from recording import files, garbage
from recording.exceptions import GazeError
from recording.output import print_in_any_encoding, stand_in_for_closed
from registry import certificate, store
from registry.interruption import Interruption, status
from registry.logins import hide

GRACE_S = 10.0
"""How long a command that was interrupted waits for its threads, when all that it has to do is done."""


def leave(
    main: Callable[[list[str] | None], int], argv: list[str] | None = None, *, early: Interruption | None = None
) -> None:
    """Run ``main(argv)`` and exit: 0 when it returns, 2 with one line on a :class:`GazeError`.

    Ctrl-C (130), SIGTERM (143) and SIGHUP (129) interrupt it, so that it can tidy up. ``early`` handles them
    already, from before this module was imported, and ``main`` allows it.
    """
    stand_in_for_closed()
    print_in_any_encoding()
    store.settle()
    try:
        if early is None:
            interruption = Interruption()
            interruption.install()
            interruption.allow()
        sys.exit(main(argv))
    except GazeError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        with suppress(OSError):  # of SIGHUP: the terminal is gone
            print("interrupted", file=sys.stderr, flush=True)
        _end(status(interrupt))
    except BrokenPipeError:
        # The reader (`| head`) went away: nothing is wrong. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if not (line := _environments(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        garbage.end()


def _end(status: int) -> NoReturn:
    """Exit, soon: a thread of another package that was interrupted while it began would be waited for for ever."""
    last = threading.Timer(GRACE_S, os._exit, [status])
    last.daemon = True
    last.start()
    sys.exit(status)


def _environments(error: Exception) -> str:
    """One line for what is no bug, though no :class:`GazeError`: a full disk, or what MLflow raised; "" for others."""
    if files.is_full(error):
        file = getattr(error, "filename", None)
        return f"disk full{f': cannot write {file}' if file else ''}; free some disk space and run the same again"
    return foreseen(error)


def foreseen(error: BaseException) -> str:
    """One line for what MLflow, its database or an upload to it raised; "" for anything else."""
    requests = sys.modules.get("requests")  # as MLflow's exceptions, see below
    if requests is not None and isinstance(error, requests.exceptions.HTTPError):
        return _upload_problem(error)
    return tracking_problem(error) if _is_trackings(error) else ""


def _upload_problem(error: Any) -> str:
    """One line for the HTTP error of an artifact, which MLflow lets through as it is."""
    import mlflow

    status, address = error.response.status_code, hide(mlflow.get_tracking_uri())
    what = unquote(urlsplit(str(error.response.url)).path.rpartition("/")[2])
    return f"MLflow at {address} refused the artifact {what} (HTTP {status}): {refusal(status, error.response.text)}"


def _is_trackings(error: BaseException) -> bool:
    """Whether MLflow raised it, or let it through as its database's driver did."""
    # Not imported at the top: MLflow takes seconds, and a server is up before it needs it. Whatever raises one of its
    # exceptions has imported it.
    mlflow_exceptions = sys.modules.get("mlflow.exceptions")
    if mlflow_exceptions is not None and isinstance(error, mlflow_exceptions.MlflowException):
        return True
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    return sqlalchemy is not None and isinstance(error, sqlalchemy.DBAPIError)


def one_line(error: BaseException) -> str:
    """The text of ``error`` on one line, without the passwords of the addresses in it."""
    return hide(" ".join(str(error).split()))


def tracking_problem(error: BaseException) -> str:
    """One line for what MLflow raised, with the address it talked to."""
    import mlflow

    address = hide(mlflow.get_tracking_uri())
    where = f"MLflow at {address}"
    text = one_line(error)
    if stopped := _database_problem(text):
        return f"{where}: {stopped}"
    answered = re.search(r"(?:/mlflow/(\S+) )?failed with error code (\d+).*?Response body: '(.*?)'(?: |$)", text)
    if answered:  # it is there, and refuses
        what = f"{answered[1]} " if answered[1] else ""
        return f"{where} refused {what}(HTTP {answered[2]}): {refusal(int(answered[2]), answered[3], address)}"
    if wrong := re.search(r"not in a valid JSON format. Response body: '(.*)'$", text):
        return f"{where} {_no_json(wrong[1])}"
    if given_up := re.search(r"too many (\d+) error responses", text):  # asked again and again, always with that answer
        return f"{where}: {_busy(int(given_up[1]))}"
    if untrusted := certificate.refused(text):
        return f"{where}: {untrusted}"
    if "Max retries exceeded" in text or "Connection refused" in text or "API request to" in text:
        return f"{where} does not answer; start it, or set MLFLOW_TRACKING_URI to the one that runs"
    if text.startswith("PERMISSION_DENIED"):
        return f"{where} refused: {text[:300]}; {_MEANINGS[403]} (to register and to promote: EDIT on the model)"
    return f"{where}: {text[:300]}"


def no_mlflow(address: str) -> str:
    """One line for a server that answers, and not as MLflow does."""
    return f"what answers at {hide(address)} is no MLflow server; set MLFLOW_TRACKING_URI to the address of one"


def _no_json(body: str) -> str:
    if body.lstrip().startswith("<"):
        title = " ".join(re.sub(_MARKUP, " ", body, flags=re.DOTALL).split())[:80]
        return (
            f"answers with an HTML page (a login page or a proxy?){f': {title!r}' if title else ''}; set "
            "MLFLOW_TRACKING_URI to the server's own address, or log in by MLFLOW_TRACKING_USERNAME and _PASSWORD or "
            "MLFLOW_TRACKING_TOKEN"
        )
    return f"is no MLflow server (it answers {body[:60]!r}); set MLFLOW_TRACKING_URI to the address of one"


def _busy(status: int) -> str:
    """What a status means with which a server has answered each time that it was asked."""
    if status == 429:
        return "too many requests (429); try again later, or raise the limit of the server or its proxy"
    if status in (408, 504):
        return f"HTTP {status} from it or a proxy before it: it takes too long; look at its log, and try again"
    return f"HTTP {status} from it or a proxy before it; look at their logs, start it if it is down, and try again"


_MARKUP = r"<(script|style).*?</\1>|<[^>]*>"


def _database_problem(text: str) -> str:
    """What is wrong with MLflow's database, where it is that; without the statement that failed on it."""
    if made := re.search(r"out-of-date database schema \(found version (\w+)", text):
        return _of_another_mlflow(made[1])
    if not (found := re.search(rf"\(({_DRIVERS})\.[\w.]+\) (.*?)(?= \[SQL:| \(Background on|$)", text)):
        return ""
    driver, said = found.groups()
    known = _DATABASE_ADVICE if driver == "sqlite3" else _SERVER_ADVICE
    otherwise = "look at the file" if driver == "sqlite3" else "look at the database and its log"
    advice = next((advice for word, advice in known.items() if word in said), otherwise)
    return f"{said}; {advice}, or set MLFLOW_TRACKING_URI to another"


# As SQLAlchemy names the drivers of the databases that MLflow knows.
_DRIVERS = "sqlite3|psycopg2|psycopg|pg8000|pymysql|MySQLdb|mysql|pyodbc|pymssql"


# What to do about what SQLite says, by a word in it.
_DATABASE_ADVICE = {
    "readonly": "make the file and its folder writable",
    "unable to open": "make the file and its folder writable",
    "locked": "end the program that holds the file, and try again",
    "full": "make room on its disk",
    "malformed": "put a backup in the file's place",
    "not a database": "put a backup in the file's place",
    "no such table": "put a backup in the file's place",
    "no such column": "it is of another MLflow than this one; put a backup in its place",
}

# The same of databases that are servers.
_SERVER_ADVICE = {
    "duplicate key": "another program may have made the same at the same time: run the same again",
    "already exists": "another program may have made the same at the same time: run the same again",
    "lock timeout": "end the program that holds it, and try again",
    "refused": "start it",
    "authentication failed": "check the user and the password in the address",
    "does not exist": "make it (PostgreSQL: createdb)",
    "permission denied": "give this user the right to make tables in it",
}


def _of_another_mlflow(revision: str) -> str:
    """MLflow advises to upgrade its database, which does not help where that is ahead of it."""
    import mlflow

    known = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if list(known.glob(f"{revision}_*.py")):
        return (
            f"its database is of an older MLflow than this one ({mlflow.__version__}); keep a copy of it, then run "
            f"`mlflow db upgrade {shlex.quote(hide(mlflow.get_tracking_uri()))}`"
        )
    return (
        f"its database is of a newer MLflow than this one ({mlflow.__version__}), or another program's (its version "
        f"is {revision}); use the MLflow that made it, or set MLFLOW_TRACKING_URI to another"
    )


# What an HTTP status means here, and what to do about it.
_MEANINGS = {
    400: "it does not understand this request; are its MLflow and this one of the same version?",
    401: "it wants a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or check them",
    403: "check the user name and its rights",
    404: "it knows no such page; MLFLOW_TRACKING_URI must be the server's address alone, not a page of its UI",
    405: "it is no MLflow server, or one of another version; check MLFLOW_TRACKING_URI",
    407: "a proxy wants a login; check HTTP_PROXY and NO_PROXY",
    413: "what is sent is larger than it, or the proxy before it, lets through; raise the proxy's limit (nginx: "
    "client_max_body_size 200m)",
    429: "it has too many requests; try again later",
    502: "the proxy before it does not reach it; start it, or look at their logs",
    507: "its disk is full; make room where it keeps its artifacts",
}


def refusal(status: int, body: str, address: str = "") -> str:
    """Why a server, at ``address``, refused, in its words and ours."""
    said = " ".join(re.sub(_MARKUP, " ", body, flags=re.DOTALL).split())[:200]
    if address and "Invalid Host header" in said:
        host = urlsplit(address).netloc.rpartition("@")[2]
        return (
            f"{said}; it answers only to names that it was started for: start it with "
            f"`mlflow server --allowed-hosts {host} …` (all names, comma-separated), or call it by one of them"
        )
    server_side = "the server has a problem of its own; look at its log, and try again when it is mended"
    meaning = _MEANINGS.get(status, server_side if status >= 500 else "check MLFLOW_TRACKING_URI")
    return f"{said}; {meaning}" if said else meaning
