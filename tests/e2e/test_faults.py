"""Kills, Ctrl-C and resuming: nothing torn, nothing lost, no run left RUNNING."""

import os
import signal
import time
from pathlib import Path

import drives
import mlflow
import psutil
import pytest
from e2e.commands import ROOT, Place

pytestmark = pytest.mark.slow
LONG = ["--freeze", "layer3", "--bn", "target", "--epochs_min", "25", "--epochs_max", "25"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return drives.prepared_folder(tmp_path_factory.mktemp("data") / "samples", n=150)


def main(folder: Path, *more: str) -> list[str]:
    return ["-m", "training", "main", "--data", str(folder), "--study", "s", *more]


def wait_for(what, process=None, seconds: float = 180):
    """Poll until ``what()`` is true and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        assert process is None or process.poll() is None, f"ended early with {process.returncode}"
        time.sleep(0.1)
    raise TimeoutError("it did not happen in time")


def child_with_epochs(place: Place, epochs: int = 1):
    """A running trial that has finished some epochs."""

    def look():
        for run in place.runs():
            if "mlflow.parentRunId" in run.data.tags and run.info.status == "RUNNING":
                history = mlflow.MlflowClient(place.uri).get_metric_history(run.info.run_id, "val/loss")
                if len(history) >= epochs:
                    return run
        return None

    return look


def trial_process(process) -> psutil.Process:
    """The trial's own process: the youngest descendant of the fork server."""
    return max(psutil.Process(process.pid).children(recursive=True), key=lambda one: one.create_time())


def states(place: Place) -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in place.runs()}


def test_a_killed_trial_is_failed_and_the_search_goes_on(tmp_path, folder):
    place = Place(tmp_path)
    process = place.start(*main(folder, "--trials", "2", "--freeze", "layer3,backbone", *LONG[2:]))

    def second_trial():
        found = child_with_epochs(place)()
        return found if found and found.data.params["freeze"] == "layer3" else None

    killed = wait_for(second_trial, process)
    trial_process(process).kill()
    assert process.wait(300) == 0, (tmp_path / "started.log").read_text()[-3000:]
    after = mlflow.get_run(killed.info.run_id)
    assert after.info.status == "FAILED"
    assert "SIGKILL" in after.data.tags["ended"]
    assert "RUNNING" not in states(place).values()
    assert "registered: gaze-tracker version 1" in (tmp_path / "started.log").read_text()


def test_ctrl_c_and_sigterm_leave_a_study_that_resumes_and_no_running_run(tmp_path, folder):
    place = Place(tmp_path)
    process = place.start(*main(folder, "--trials", "1", *LONG))
    wait_for(child_with_epochs(place), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert set(states(place).values()) == {"KILLED"}

    # A scheduler's SIGTERM for `mlflow run` reaches nobody else; MLflow dies of it without a word to its command.
    parameters = [f"-P{name.removeprefix('--')}={value}" for name, value in zip(LONG[::2], LONG[1::2], strict=True)]
    parameters += [f"-Pdata={folder}", "-Pstudy=s", "-Ptrials=1", f"-Pwork={tmp_path / 'data'}"]
    process = place.start("-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *parameters)
    wait_for(child_with_epochs(place), process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(30)
    _, alive = psutil.wait_procs(family, 60)
    assert not alive
    assert [run.info.status for run in place.runs()] == ["KILLED"] * 4

    done = place.python(*main(folder, "--trials", "1", *LONG))
    assert "registered: gaze-tracker version 1" in done.stdout
    assert "resuming with 0 of 1" in done.stderr


def test_kill_9_in_a_trial_then_the_same_study_keeps_what_was_finished(tmp_path, folder):
    place = Place(tmp_path)
    arguments = main(folder, "--trials", "2", "--freeze", "backbone,layer3", *LONG[2:])
    process = place.start(*arguments)

    def second_trial():
        found = child_with_epochs(place)()
        return found if found and found.data.params["freeze"] == "layer3" else None

    wait_for(second_trial, process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 30)
    assert not alive, "the trial goes on without its search"
    done = place.python(*arguments)
    assert "resuming with 1 of 2 trials finished" in done.stderr
    by_status = sorted(status for name, status in states(place).items())
    assert "RUNNING" not in by_status
    backbone = [
        run
        for run in place.runs()
        if run.data.params.get("freeze") == "backbone" and "mlflow.parentRunId" in run.data.tags
    ]
    assert len(backbone) == 1, "the finished trial was run again"


def test_kill_9_in_the_middle_of_preparing_then_again(tmp_path):
    place = Place(tmp_path)
    video, labels = drives.recording(tmp_path / "recording", seconds=60, fps=8)
    arguments = ["--video", str(video), "--labels", str(labels), "--samples", "300", "--trials", "1"]
    arguments = ["-m", "training", "main", *arguments, "--freeze", "backbone", "--epochs_max", "5", "--study", "s"]
    process = place.start(*arguments)

    def some_samples():
        return len(list((tmp_path / "data").glob("prepared/*/*_gt.json"))) > 20

    wait_for(some_samples, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (prepared,) = (tmp_path / "data" / "prepared").iterdir()
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in prepared.glob("*_gt.json")}
    assert 20 < len(kept) < 300
    done = place.python(*arguments)
    assert "registered: gaze-tracker version 1" in done.stdout
    assert len(list(prepared.glob("*_gt.json"))) == len(list(prepared.glob("*_driver.jpg"))) == 300
    for path, (written, content) in kept.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (written, content), f"{path.name} was written twice"
    assert "RUNNING" not in states(place).values()
