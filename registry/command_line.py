"""How every command of the project ends: status 0, or one line and status 2 where the user can mend it."""

import os
import re
import sys
from collections.abc import Callable

from recording.exceptions import GazeError


def leave(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> None:
    """Run ``main(argv)`` and exit: 0 when it returns, 2 with one line on a :class:`GazeError`, 130 on Ctrl-C."""
    try:
        sys.exit(main(argv))
    except GazeError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) went away: nothing is wrong. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        # Not imported at the top: MLflow takes seconds, and a server is up before it needs it. Whatever raises
        # one of its exceptions has imported it.
        mlflow_exceptions = sys.modules.get("mlflow.exceptions")
        if mlflow_exceptions is None or not isinstance(error, mlflow_exceptions.MlflowException):
            raise
        print(f"error: {tracking_problem(error)}", file=sys.stderr)
        sys.exit(2)


def one_line(error: BaseException) -> str:
    """The text of ``error`` on one line."""
    return " ".join(str(error).split())


def tracking_problem(error: Exception) -> str:
    """One line for what MLflow raised, with the address it talked to."""
    import mlflow

    where = f"MLflow at {mlflow.get_tracking_uri()}"
    text = one_line(error)
    answered = re.search(r"failed with error code (\d+).*?Response body: '(.*?)'", text)
    if answered:  # it is there, and refuses: a login that is wrong or may not do this
        return f"{where} refused (HTTP {answered[1]}): {answered[2][:200]}; check the user name and its rights"
    if "Max retries exceeded" in text or "Connection refused" in text or "API request to" in text:
        return f"{where} does not answer; start it, or set MLFLOW_TRACKING_URI to the one that runs"
    return f"{where}: {text[:300]}"
