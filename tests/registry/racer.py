"""A real process for the tests: changes stages on command, or dies before its k-th write.

``python racer.py race MODEL`` reads one version number a line and answers one line when its promotion is over.
``python racer.py die MODEL K COMMAND…`` runs ``registry.cli`` and kills itself (SIGKILL) before its K-th write to
the registry; with as many writes as there are, it ends as any command does.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mlflow import MlflowClient

from registry import cli, stages
from registry.exceptions import GazeError

WRITES = (
    "set_registered_model_tag",
    "delete_registered_model_tag",
    "transition_model_version_stage",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "delete_model_version",
)


def race(model_name: str) -> None:
    """Promote whatever version the parent names, until it hangs up."""
    print("ready", flush=True)
    for number in sys.stdin:
        try:
            stages.promote(model_name, number.strip(), why="race")
            print("promoted", flush=True)
        except GazeError as error:
            print(f"{type(error).__name__}: {error}", flush=True)


def die(at: int, command: list[str]) -> None:
    """Run a command of the registry and die before write number ``at`` (1, 2, …)."""
    counted = itertools.count(1)

    def deadly(name: str):
        write = getattr(MlflowClient, name)

        def counting(client, *arguments, **options):
            number = next(counted)
            key = arguments[1] if "tag" in name else ""
            print(f"write {number}: {name} {key}", flush=True)
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(client, *arguments, **options)

        return counting

    for name in WRITES:
        setattr(MlflowClient, name, deadly(name))
    cli.main(command)


if __name__ == "__main__":
    if sys.argv[1] == "race":
        race(sys.argv[2])
    else:
        die(int(sys.argv[2]), sys.argv[3:])
