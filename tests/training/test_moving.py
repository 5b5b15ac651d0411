"""A project's folder that was moved or copied: its database knows where its files were."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import mlflow
import pytest
import registries
from packages import register_package

from recording.exceptions import InputError, RegistryError
from registry import opening
from training import store, tracking
from training.store import EXPERIMENT

ROOT = Path(__file__).parents[2]
MODEL = "gaze-tracker"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """``enter(folder)``: work there from now on, on the ``mlflow.db`` that is there or is made there."""

    def enter(folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        if not (folder / "mlflow.db").exists():
            registries.lay_out(folder, registries.empty_database())
        stack.enter_context(registries.inside(folder, monkeypatch))
        address = f"sqlite:///{folder}/mlflow.db".replace("%", "%25")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        return folder

    with ExitStack() as stack:
        yield enter


def job() -> str:
    """A command that logs an artifact; the run's id."""
    with tracking.tracked_run("job") as run_id:
        mlflow.log_text("here", "note.txt")
    return run_id


def notes(folder: Path) -> int:
    return len(list(folder.glob("mlruns/**/note.txt")))


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_in_a_copy_a_command_says_that_its_files_go_to_the_first_folder(project, tmp_path, caplog):
    first = project(tmp_path / "first")
    job()
    assert said(caplog) == []
    shutil.copytree(first, tmp_path / "second")
    project(tmp_path / "second")
    job()
    (line,) = said(caplog)
    assert f"keeps its files in {first}/mlruns/1, NOT BESIDE ITS DATABASE {tmp_path}/second/mlflow.db" in line
    assert f"`python -m training.store --moved-from {first}`" in line
    assert (notes(first), notes(tmp_path / "second")) == (2, 1)


def test_after_a_move_a_command_ends_before_it_begins_and_makes_no_folder(project, tmp_path):
    first = project(tmp_path / "first")
    job()
    first.rename(tmp_path / "second")
    project(tmp_path / "second")
    with pytest.raises(RegistryError, match=f"{first}/mlruns is not there; if the project was moved, run `python -m"):
        job()
    assert not first.exists()
    (run, _) = mlflow.search_runs(experiment_names=[EXPERIMENT], output_format="list")
    assert (run.info.status, run.data.tags["error"][:14]) == ("FAILED", "the experiment")


def test_the_folder_of_before_may_be_there_and_empty(project, tmp_path):
    first, second = project(tmp_path / "first"), tmp_path / "second"
    job()
    second.mkdir()
    for inside in list(first.iterdir()):
        inside.rename(second / inside.name)
    project(second)
    with pytest.raises(RegistryError, match="is not there"):
        job()
    assert list(first.iterdir()) == []


# A folder whose name has to be quoted, both ways.
@pytest.mark.parametrize(("before", "after"), [("first", "second"), ("my drive", "50% c"), ("a%20b", "my drive")])
def test_a_database_is_told_where_its_files_are_now(before, after, project, tmp_path, caplog, capsys):
    first = project(tmp_path / before)
    run_id = job()
    mlflow.set_experiment(EXPERIMENT)
    number = register_package(first / "packages")
    first.rename(tmp_path / after)
    second = project(tmp_path / after)
    with pytest.raises(RegistryError, match="folder was moved: `python -m training"):
        opening.verify(MODEL, number)
    store.main(["--moved-from", str(first)])
    assert capsys.readouterr().out.endswith(f" places of files moved from {first} to {second}\n")
    assert opening.verify(MODEL, number).model_name == MODEL
    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}/{number}")
    assert loaded.metadata.signature is not None
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt") == "here"
    job()
    assert said(caplog) == []
    assert notes(second) == 2
    assert register_package(second / "packages") == 2
    assert opening.verify(MODEL, 2).model_name == MODEL
    assert not first.exists()


def test_a_copy_is_told_so_and_the_first_project_stays_what_it_is(project, tmp_path, caplog):
    first = project(tmp_path / "first")
    job()
    shutil.copytree(first, tmp_path / "second")
    second = project(tmp_path / "second")
    store.main(["--moved-from", str(first)])
    job()
    project(first)
    job()
    assert (said(caplog), notes(first), notes(second)) == ([], 2, 2)


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ("elsewhere", r"has no files there; its experiments keep theirs in \S+/first/mlruns/0, \S+/first/mlruns/1$"),
        ("first", r"first/mlruns is still there, and \S+/second/mlruns is not; move or copy it first$"),
        ("second", "is this very folder; give the one where the project was before$"),
    ],
)
def test_a_folder_that_it_was_not_moved_from_is_refused_and_nothing_is_changed(old, says, project, tmp_path):
    first, second = project(tmp_path / "first"), tmp_path / "second"
    job()
    second.mkdir()
    shutil.copy(first / "mlflow.db", second)
    project(second)
    before = (second / "mlflow.db").read_bytes()
    with pytest.raises(InputError, match=says):
        store.main(["--moved-from", str(tmp_path / old)])
    assert (second / "mlflow.db").read_bytes() == before


def test_what_has_no_file_to_change_is_refused(tmp_path):
    for address, says in (("http://127.0.0.1:9", "is for a database that is a file"), ("", "there is no mlflow.db")):
        handed = os.environ | {"MLFLOW_TRACKING_URI": address, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "training.store", "--moved-from", "/old"]
        done = subprocess.run(command, cwd=tmp_path, env=handed, capture_output=True, text=True)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: --moved-from /old: ") and says in line
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_somebody_chose_is_no_news(project, tmp_path, caplog):
    for number, place in enumerate(["disk/artifacts", "disk/mlruns/1", "disk/my drive/mlruns/2", "disk/new/place"]):
        project(tmp_path / f"project{number}")
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=place != "disk/new/place")
        mlflow.create_experiment(EXPERIMENT, (tmp_path / place).as_uri())
        job()
        assert (tmp_path / place).is_dir()
    assert said(caplog) == []


def test_a_database_elsewhere_and_links_are_no_news(project, tmp_path, caplog, monkeypatch):
    # The database on another disk, the files where the jobs are run, or were run first.
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "mlflow.db").write_bytes(registries.empty_database())
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/srv/mlflow.db")
        job()
    assert (notes(tmp_path / "one"), notes(tmp_path / "two")) == (2, 0)
    # A project under two paths.
    real = project(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    with closing(sqlite3.connect(real / "mlflow.db")) as database, database:
        place = f"{tmp_path}/link/mlruns/0"
        database.execute("UPDATE experiments SET artifact_location = ?", [place])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "Default")
    job()
    assert notes(real) == 1
    assert said(caplog) == []
