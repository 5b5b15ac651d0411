"""Plain ``mlflow run . -P …`` goes through conda; here through a stand-in (:mod:`e2e.standin_conda`)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import drives
import pytest
from e2e import standin_conda
from e2e.commands import ROOT, Place, parent_of

pytestmark = pytest.mark.slow

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Without the tests' own environment: what is not found there must come from conda's."""


def mlflow_run(place: Place, project: Path, *parameters: str, home: Path | None) -> subprocess.CompletedProcess[str]:
    """``mlflow run PROJECT …`` as the README has it, with or without a conda."""
    environment = place.env | {"PATH": SYSTEM_PATH, "PYTHONPATH": ""}
    environment.pop("CONDA_EXE", None)
    environment.pop("PYTEST_CURRENT_TEST", None)
    if home:
        environment["MLFLOW_CONDA_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(project), "--experiment-name", "conda", *parameters],
        cwd=place.folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_the_main_job_runs_in_the_environment_that_conda_makes_of_the_file(tmp_path):
    """On what users have today: *_driver.jpg and *_gt.json, no table, no drive.json."""
    place, log = Place(tmp_path), standin_conda.install(tmp_path / "conda")
    data = drives.prepared_folder(tmp_path / "samples", n=90, fps=3)
    layout = tmp_path / "mine.yaml"
    layout.write_text("width: 1280\nheight: 400\nviews: {driver: {x: 640, y: 20, w: 320, h: 360}}\n")
    parameters = ["-P", f"data={data}", "-P", f"layout={layout}", "-P", f"work={tmp_path / 'data'}"]
    parameters += ["-P", "trials=1", "-P", "freeze=backbone", "-P", "epochs_max=5", "-P", "bn=source"]
    parameters += ["-P", "face=none"]
    done = mlflow_run(place, ROOT, *parameters, home=tmp_path / "conda")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert parent_of(place).data.tags["mlflow.project.env"] == "conda"
    # Such a folder does not say where its pictures lay: what layout= says goes into the contract.
    crops = [json.loads(path.read_text())["crop"] for path in tmp_path.glob("mlruns/**/contract.json")]
    rectangle = {"width": 1280, "height": 400, "x": 640, "y": 20, "w": 320, "h": 360}
    assert len(crops) == 2  # of the base and of the model
    assert all((crop["layout"], crop["rectangles"]) == ("mine.yaml", [rectangle]) for crop in crops)
    (made,) = (tmp_path / "conda" / "envs").iterdir()
    assert log.read_text().splitlines() == [
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
    again = mlflow_run(place, ROOT, "-P", "samples=abc", home=tmp_path / "conda")
    assert again.returncode == 1
    assert "error: samples='abc': must be a whole number" in again.stderr
    assert len([line for line in log.read_text().splitlines() if line.startswith("env create")]) == 1


def test_a_pin_that_is_not_to_be_had_stops_the_run_before_it_starts(tmp_path):
    """The stand-in does read the file: without this it would accept any."""
    place, log = Place(tmp_path), standin_conda.install(tmp_path / "conda")
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "MLproject", project)
    (project / "conda.yaml").write_text((ROOT / "conda.yaml").read_text().replace("numpy==", "numpy==9"))
    done = mlflow_run(place, project, home=tmp_path / "conda")
    assert done.returncode != 0
    assert "numpy==9" in done.stderr
    assert "activate" not in log.read_text()


def test_without_conda_mlflow_says_so(tmp_path):
    """What the README's troubleshooting answers."""
    done = mlflow_run(Place(tmp_path), ROOT, home=tmp_path / "no-conda")
    assert done.returncode == 1
    assert "Could not find Conda executable" in done.stderr
