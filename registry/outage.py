"""A tracking server that does not answer: said early, and not waited for by a command that is ending.

MLflow asks for four minutes before it gives up, and says nothing meanwhile: a server that is started again in between
costs a job no more than that. Importing this does not import MLflow.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from registry.command_line import tracking_problem
from registry.logins import hide

log = logging.getLogger(__name__)

FIRST_ANSWER_S = 15
"""How long a server may take for each attempt to ask it the first thing, which is a small one."""
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def announce() -> None:
    """From now on one line says that MLflow does not answer, each time that it has to be asked again."""
    asked_again = logging.getLogger("urllib3.util.retry")
    asked_again.setLevel(logging.DEBUG)  # where urllib3 says it of refused connections and of a proxy's 502 alike
    asked_again.addFilter(_say)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the same in its own words


def _say(record: logging.LogRecord) -> bool:
    """Say in our words, once for a request, what urllib3 notes at each attempt; its own words are for nobody."""
    url, retries = cast(tuple[object, ...], record.args or ("", None))
    history: tuple[Any, ...] = getattr(retries, "history", ())  # urllib3.util.retry.RequestHistory, MLflow's business
    # An idle connection that the server has closed is only found out by asking: that is no outage.
    counted = history[1:] if history and type(history[0].error).__name__ == "ProtocolError" else history
    if "/mlflow" in str(url) and len(counted) == 1:
        import mlflow

        status = counted[0].status
        said = f"answers HTTP {status}" if status else "does not answer"
        log.warning("MLflow at %s %s; waiting for it", hide(mlflow.get_tracking_uri()), said)
    return False


@contextmanager
def asked_first() -> Iterator[None]:
    """In here an attempt takes :data:`FIRST_ANSWER_S`, where the user has not said how long; there are no fewer.

    A server that takes connections and answers none would be waited for two minutes before a line says so. What comes
    later may take that long: an upload, say.
    """
    if os.environ.get(_TIMEOUT):
        yield
        return
    os.environ[_TIMEOUT] = str(FIRST_ANSWER_S)
    try:
        yield
    finally:
        if os.environ[_TIMEOUT] == str(FIRST_ANSWER_S):  # not told to end meanwhile
            del os.environ[_TIMEOUT]


def attempt(end: Callable[[], object], run_id: str, then: str = "a study ends it when it is resumed") -> None:
    """Call ``end``, which ends that run; a line says so, and what ends it ``then``, where MLflow does not take it.

    It does not raise then: what ends the command counts more.
    """
    from mlflow.exceptions import MlflowException

    try:
        end()
    except MlflowException as error:
        problem = tracking_problem(error)
        log.warning("run %s still says RUNNING: %s; %s", run_id, problem, then)
