"""Several drives through to a version: whole drives train, validate and test."""

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path

import drives
import mlflow
import numpy as np
import pytest
import registries
import trials

from recording import detection
from registry import comparison, gate, opening, versions
from training import cli, job
from training.searching.process import Processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drives")
    return [drives.prepared_folder(folder / name, n=24, seed=seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def said(three, empty_database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the job said that found no more than one of its trials: the other one was killed. The registry is there."""
    with pytest.MonkeyPatch.context() as patch, registries.fresh(tmp_path_factory.mktemp("job"), empty_database, patch):
        patch.setattr(job, "Processes", functools.partial(Processes, body=trials.layer3_dies))
        arguments = ["--data", ",".join(map(str, three)), "--split", "by-drive", "--trials", "2"]
        arguments += ["--freeze", "layer3,backbone", "--bn", "source", "--epochs_min", "1", "--epochs_max", "1"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert cli.main(["main", *arguments]) == 0
        yield printed.getvalue()


def test_by_drive_goes_through_to_a_version_that_was_tested_on_the_last_drive(said, three, tmp_path):
    (version,) = versions.every("gaze-tracker")
    package = opening.fetch(version.model_name, version.number, version.seal, tmp_path / "package")
    errors, kept = package.contract.errors, package.holdout()
    assert (errors.split, errors.leaking, errors.samples) == ("by-drive", False, 24)
    assert kept.names == sorted(path.name for path in three[2].glob("*_driver.jpg"))
    assert len(np.unique(kept.blocks)) == 10  # the tenths of the last drive
    assert not len(kept.trained_frames)  # none of its frames
    assert sorted(len(part.frames) for part in kept.elsewhere) == [24, 24]  # and those of the two others are known
    # The drawn face is in another place in each drive: each was cut by its own rectangle, and serving has to find it.
    assert package.contract.crop.face == "detected"
    assert package.contract.crop.room >= 1 + 2 * detection.MARGIN
    assert kept.face is not None
    assert set(kept.baselines_deg) == {"constant", "calibrated", "affine"}

    # What the last lines said of it is what the gate says.
    opened = comparison.open_package(version, tmp_path / "opened")
    failed = [check for check in gate.on_its_own(opened, gate.configure()) if not check.passed]
    assert ("NOT GOOD ENOUGH" in said) == bool(failed)
    assert all(check.describe() in said for check in failed)


def test_a_killed_trial_costs_only_itself(said):
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    children = {run.data.params["freeze"]: run for run in runs if run.info.run_name.startswith("trial-")}
    assert {freeze: run.info.status for freeze, run in children.items()} == {"layer3": "FAILED", "backbone": "FINISHED"}
    assert "SIGKILL" in children["layer3"].data.tags["ended"]
    assert "train/loss" in children["layer3"].data.metrics, "it was killed before its first epoch"
    assert "RUNNING" not in {run.info.status for run in runs}
    assert "1 failed" in said


def test_with_final_all_the_labels_of_the_drive_that_tests_are_looked_at_too(said, three):
    """It is learnt from in the end, as the one that validates always is; before, nothing of it may be looked at."""
    arguments = ["--data", ",".join(map(str, three)), "--split", "by-drive", "--trials", "1", "--freeze", "backbone"]
    arguments += ["--bn", "source", "--epochs_min", "1", "--epochs_max", "1", "--final", "all"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["main", *arguments]) == 0
    (newest, before) = sorted(versions.every("gaze-tracker"), key=lambda version: -version.number)
    looked_at = [mlflow.get_run(version.run_id).data.tags["labels"] for version in (before, newest)]
    assert [("b: " in line, "c: " in line) for line in looked_at] == [(True, False), (True, True)]
