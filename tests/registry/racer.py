"""A real process for the tests: changes stages on command, or dies before its k-th write.

``python racer.py race MODEL`` reads one version number a line and answers one line when its promotion is over.
``python racer.py nursery`` reads JSON lines ``{"uri", "at", "command"}``; for each it forks a child that runs the
command of ``registry.cli`` and kills itself (SIGKILL) before its ``at``-th write to the registry. It answers a JSON
line with the child's signal and the writes it came to. Forking saves importing MLflow, and what it writes to databases
with, for every kill.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import mlflow
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from mlflow import MlflowClient

from recording.exceptions import GazeError
from registry import cli, stages

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


def nursery() -> None:
    """Fork a child for every line and report how it died; nothing here has opened a database before."""
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            mlflow.set_tracking_uri(request["uri"])
            try:
                die(request["at"], request["command"], writing)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as writes:
            told = writes.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"signal": os.WTERMSIG(status), "writes": told}), flush=True)


def die(at: int, command: list[str], report: int) -> None:
    """Run a command of the registry and die before write number ``at`` (1, 2, …); writes go to the pipe ``report``."""
    counted = itertools.count(1)

    def deadly(name: str):
        write = getattr(MlflowClient, name)

        def counting(client, *arguments, **options):
            number = next(counted)
            key = arguments[1] if "tag" in name else ""
            os.write(report, f"{name} {key}\n".encode())
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(client, *arguments, **options)

        return counting

    for name in WRITES:
        setattr(MlflowClient, name, deadly(name))
    with contextlib.redirect_stdout(sys.stderr):
        cli.main(command)


if __name__ == "__main__":
    if sys.argv[1] == "race":
        race(sys.argv[2])
    else:
        nursery()
