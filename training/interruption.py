"""Being told to end, for what trains. Nothing here imports MLflow, numpy or torch: it is in place before they are."""

import math

from registry.interruption import Interruption, ask_once


def handler() -> Interruption:
    """Of the signals that end a command that trains.

    Deaf for good to a further SIGTERM: ending in order may take long, and when ``mlflow run`` is gone
    :func:`registry.project.follow_starter` sends one more. A tracking server is asked once from the first signal on.
    """
    return Interruption(deaf_s=math.inf, told=ask_once)
