"""``python -m registry``: see :mod:`registry.cli`."""

import math
import os
import sys
from functools import partial

from registry.interruption import SENT_TWICE_S, Interruption, ask_once


def handler() -> Interruption:
    """Of the signals that end a command of the registry.

    Deaf for good to a further SIGTERM where ``mlflow run`` started it, as what trains is: ``mlflow run`` causes one.
    """
    return Interruption(deaf_s=math.inf if os.environ.get("MLFLOW_RUN_ID") else SENT_TWICE_S, told=ask_once)


def main(interruption: Interruption, argv: list[str] | None) -> int:
    """The command line, in a process that ends in order when it is told to, with the run of ``mlflow run``."""
    from contextlib import nullcontext

    from recording import garbage
    from registry import project

    project.follow_starter()
    command = (sys.argv[1:] if argv is None else argv)[:1]
    with project.ending_run_of("promote") if command == ["promote"] else nullcontext():
        garbage.rest()
        from registry import cli  # takes seconds: signals are remembered until it is there

        garbage.resume()
        interruption.allow()
        return cli.main(argv)


if __name__ == "__main__":
    begun = handler()
    begun.install()  # before anything else is imported: what a signal ends from here on, it ends in order
    from registry.command_line import leave

    leave(partial(main, begun), early=begun)
