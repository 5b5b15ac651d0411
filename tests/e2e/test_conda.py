"""Plain ``mlflow run . -P …`` goes through conda; here through a stand-in (:mod:`e2e.standin_conda`)."""

import shutil
import subprocess

import pytest
from e2e import standin_conda
from e2e.commands import ROOT, SYSTEM_PATH, Place, parent_of

pytestmark = pytest.mark.slow


def test_the_main_job_runs_in_the_environment_that_conda_makes_of_the_file(journey, tmp_path):
    assert parent_of(journey).data.tags["mlflow.project.env"] == "conda"
    conda = journey.folder / "conda"
    (made,) = (conda / "envs").iterdir()
    assert (conda / "calls.log").read_text().splitlines() == [
        "--help",
        "--help",  # of the program that makes environments, conda as well
        "env list --json",
        f"env create -n {made.name} --file {ROOT / 'conda.yaml'}",
        f"activate {made.name}",
    ]
    # Where the run found its packages: in no other Python that it could have started.
    others = shutil.which("python", path=SYSTEM_PATH)
    assert others is None or subprocess.run([others, "-c", "import mlflow"], capture_output=True).returncode != 0

    # The second run finds the environment and makes none. A refused parameter is enough to see it.
    again = Place(tmp_path).mlflow_run("-P", "samples=abc", conda=conda)
    assert again.returncode == 1
    assert "error: samples='abc': must be a whole number" in again.stderr
    assert len([line for line in (conda / "calls.log").read_text().splitlines() if "env create" in line]) == 1


def test_a_pin_that_is_not_to_be_had_stops_the_run_before_it_starts(tmp_path):
    """The stand-in does read the file: without this it would accept any."""
    place, log = Place(tmp_path), standin_conda.install(tmp_path / "conda")
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "MLproject", project)
    (project / "conda.yaml").write_text((ROOT / "conda.yaml").read_text().replace("numpy==", "numpy==9"))
    done = place.mlflow_run(project=project, conda=tmp_path / "conda")
    assert done.returncode != 0
    assert "numpy==9" in done.stderr
    assert "activate" not in log.read_text()


def test_without_conda_mlflow_says_so(tmp_path):
    """What the README's troubleshooting answers."""
    done = Place(tmp_path).mlflow_run(conda=tmp_path / "no-conda")
    assert done.returncode == 1
    assert "Could not find Conda executable" in done.stderr
