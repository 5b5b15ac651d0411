"""The run that ``mlflow run`` makes for a command: it ends with the command, whatever ends that, and when."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import psutil
import pytest

from recording.exceptions import GateRefused
from registry import interruption, lock, project, versions
from registry.interruption import Interruption

ROOT = Path(__file__).parents[2]
STRIKES = """
import os, sys

class Strikes:
    def find_spec(self, name, *_):
        if name == "registry.command_line":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Strikes())
"""
"""A ``sitecustomize`` that sends a command a signal while it imports the first thing that takes a while."""


def _as_at_a_terminal() -> None:
    """Whoever runs the tests in the background has switched these off, which children inherit."""
    for number in interruption.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _started(*words: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_as_at_a_terminal,
    )


@contextmanager
def _promoting() -> Iterator[tuple[subprocess.Popen, str]]:
    """``mlflow run . -e promote -P version=1``, from when it starts the command; and its run."""
    words = ["-e", "promote", "-P", "version=1", "-P", "stage=Staging"]
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with _started("-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *words, PATH=binaries) as process:
        line = next(line for line in process.stdout if "Running command" in line)
        end = time.monotonic() + 60
        while not psutil.Process(process.pid).children():  # MLflow says so just before it does
            assert time.monotonic() < end
        yield process, line.split("run with ID '")[1].split("'")[0]


def _is_ended(process: subprocess.Popen, run_id: str) -> None:
    assert process.stdout.read() == "interrupted\n"  # to its end, which is that of the command
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.data.tags["ended"]) == ("KILLED", "interrupted")
    assert versions.get("gaze-tracker", 1).stage == "None"
    assert not [tag for tag in versions.registered("gaze-tracker").tags if tag.startswith(lock.PREFIX)]


def test_a_promotion_whose_mlflow_run_is_told_to_end_at_once_is_none(make_version: Callable[..., int]) -> None:
    make_version()
    with _promoting() as (process, run_id):
        process.terminate()
        _is_ended(process, run_id)


def test_a_promotion_ends_with_mlflow_run_while_it_waits_for_its_turn(make_version: Callable[..., int]) -> None:
    make_version()
    with _promoting() as (process, run_id):
        with lock.turn("gaze-tracker"):
            end = time.monotonic() + 60
            while len([tag for tag in versions.registered("gaze-tracker").tags if tag.startswith(lock.PREFIX)]) < 2:
                assert time.monotonic() < end
                time.sleep(0.05)
            process.terminate()
            process.wait(60)
            time.sleep(project.POLL_S + 1)
        _is_ended(process, run_id)


def _made_for(entry_point: str, monkeypatch: pytest.MonkeyPatch) -> str:
    run_id = mlflow.MlflowClient().create_run("0", tags={"mlflow.project.entryPoint": entry_point}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


@pytest.mark.parametrize(
    ("raised", "status", "tags"),
    [
        (None, "FINISHED", {}),  # it was through before it heard that `mlflow run` is gone
        (KeyboardInterrupt, "KILLED", {"ended": "interrupted"}),
        (GateRefused("version 1 is\nworse", None), "FAILED", {"error": "version 1 is worse"}),
        (ValueError("a bug"), "FAILED", {"error": "ValueError: a bug"}),
    ],
)
def test_the_run_of_an_entry_point_ends_with_its_command(tracking: str, monkeypatch, raised, status, tags) -> None:
    run_id = _made_for("promote", monkeypatch)
    try:
        with project.ending_run_of("promote"):
            if raised:
                raise raised
    except BaseException as error:
        assert raised and isinstance(error, raised if isinstance(raised, type) else type(raised))
    run = mlflow.get_run(run_id)
    assert run.info.status == status
    assert {key: run.data.tags.get(key) for key in tags} == tags


def test_the_run_of_another_command_is_left_alone(tracking: str, monkeypatch) -> None:
    """A project's own script, inside of whose run a version is promoted; and a run of another database."""
    run_id = _made_for("main", monkeypatch)
    with project.ending_run_of("promote"):
        pass
    assert mlflow.get_run(run_id).info.status == "RUNNING"
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with project.ending_run_of("promote"):
        pass


# Not killed by it, and without a traceback: what it has to end, it ends.
@pytest.mark.parametrize(
    ("number", "words"),
    [
        *((number, ("registry", "promote", "--version", "1")) for number in interruption.SIGNALS),
        (signal.SIGHUP, ("training", "main")),
        (signal.SIGINT, ("serving", "predict")),
    ],
)
def test_a_signal_while_a_command_begins_is_heeded(tracking: str, tmp_path, monkeypatch, number, words) -> None:
    run_id = _made_for(words[1], monkeypatch)
    (tmp_path / "sitecustomize.py").write_text(STRIKES.format(number=int(number)))
    with _started("-m", *words, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") as process:
        assert process.wait(120) == 128 + number
        assert process.stdout.read() == "interrupted\n"
    assert mlflow.get_run(run_id).info.status == ("RUNNING" if words[0] == "serving" else "KILLED")


def test_a_command_of_the_registry_takes_no_second_sigterm_of_its_starter(monkeypatch) -> None:
    from registry.__main__ import handler

    for run_id, interrupted in (("1", False), ("", True)):
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        made: Interruption = handler()
        made.allowed = True
        with pytest.raises(KeyboardInterrupt):
            made(signal.SIGTERM, None)
        made._since -= interruption.SENT_TWICE_S + 1
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                made(signal.SIGTERM, None)
        else:
            made(signal.SIGTERM, None)
