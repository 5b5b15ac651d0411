"""Kills, Ctrl-C and resuming: nothing torn, nothing lost, no run left RUNNING."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import drives
import mlflow
import psutil
import pytest
from e2e.commands import ROOT, Place

from recording import preparation
from recording.drive import Source
from training import cli

pytestmark = pytest.mark.slow
LONG = ["--bn", "target", "--epochs_min", "8", "--epochs_max", "8"]
"""An epoch after layer3 takes half a second: whoever sees the first one has time to strike before the eighth."""


def wait_for(what, process=None, seconds: float = 300, every: float = 0.3):
    """Poll until ``what()`` is true and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        assert process is None or process.poll() is None, f"ended early with {process.returncode}"
        time.sleep(every)
    raise TimeoutError("it did not happen in time")


def in_layer3(place: Place) -> Callable[[], mlflow.entities.Run | None]:
    """Whether the trial after layer3 is running and has finished an epoch."""

    def look():
        for run in place.runs():
            if run.info.status == "RUNNING" and run.data.params.get("freeze") == "layer3":
                history = mlflow.MlflowClient(place.uri).get_metric_history(run.info.run_id, "val/loss")
                if len(history) > 1:  # the first is the start
                    return run
        return None

    return look


def states(place: Place) -> list[str]:
    return [run.info.status for run in place.runs()]


@pytest.mark.timeout(1200)  # five jobs, each of which is waited for: two minutes alone, many more on a busy machine
def test_whatever_ends_the_job_the_same_study_goes_on_where_it_was(tmp_path, capsys):
    """Killed while it prepares, Ctrl-C, a scheduler's SIGTERM, killed while it searches; in the end a version."""
    place = Place(tmp_path)
    video, labels = drives.recording(tmp_path / "recording", seconds=40, fps=8)
    given = ["--video", str(video), "--labels", str(labels), "--samples", "120", "--study", "s", "--trials", "2"]
    given += ["--freeze", "backbone,layer3", *LONG]
    command = ["-m", "training", "main", *given]

    # The part of it that prepares, as a command: it does not import for seconds what trains.
    folder = preparation.place(tmp_path / "data", Source(video, labels), 120)
    process = place.start("-m", "training", "prepare", *given[:6], "--out", str(folder))
    samples = wait_for(lambda: _some(tmp_path, 10), process, every=0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in _samples(tmp_path)}
    assert len(samples) <= len(kept) < 120, "it was not killed in the middle"

    process = place.start(*command)
    wait_for(in_layer3(place), process)
    assert len(_samples(tmp_path)) == len(list(tmp_path.glob("data/prepared/*/*_driver.jpg"))) == 120
    for path, (written, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (written, content), f"{path.name} was written twice"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    # The parent and the trial; the trial before it was finished.
    assert sorted(states(place)) == ["FINISHED", "KILLED", "KILLED"]

    # A scheduler's SIGTERM for `mlflow run` reaches nobody else; MLflow dies of it without a word to its command.
    parameters = [f"-P{name.removeprefix('--')}={value}" for name, value in zip(given[::2], given[1::2], strict=True)]
    project = ["-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *parameters]
    process = place.start(*project, f"-Pwork={tmp_path / 'data'}")
    wait_for(in_layer3(place), process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(30)
    _, alive = psutil.wait_procs(family, 120)
    assert not alive
    assert sorted(states(place)) == ["FINISHED"] + ["KILLED"] * 4

    process = place.start(*command)
    wait_for(in_layer3(place), process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 30)
    assert not alive, "the trial goes on without its search"

    with place.inside():  # nothing strikes any more: no process of its own has to import everything again
        assert cli.main(["main", *given]) == 0
    said = capsys.readouterr()
    assert "resuming with 1 of 2 trials finished" in said.err
    assert "registered: gaze-tracker version 1" in said.out
    assert "RUNNING" not in states(place)
    trials = [run for run in place.runs() if "mlflow.parentRunId" in run.data.tags]
    assert sorted((run.data.params["freeze"], run.info.status) for run in trials) == [
        ("backbone", "FINISHED"),  # the finished trial was not run again
        ("layer3", "FINISHED"),
        *[("layer3", "KILLED")] * 3,
    ]


def _samples(place: Path) -> list[Path]:
    return list(place.glob("data/prepared/*/*_gt.json"))


def _some(place: Path, number: int) -> list[Path] | None:
    found = _samples(place)
    return found if len(found) > number else None
