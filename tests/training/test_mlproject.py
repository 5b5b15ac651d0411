"""The entry points of the MLproject, as MLflow turns them into commands; ``main`` and ``evaluate`` have journeys."""

import shlex
from pathlib import Path

import drives
import mlflow
import pytest
from mlflow.projects import _project_spec

import registry.cli
from registry import resolving
from training import cli
from training.sample import pretrain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_id(tracking, monkeypatch) -> str:
    """The run that MLflow makes before it starts the command."""
    run_id = mlflow.MlflowClient().create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def command(entry: str, **parameters: object) -> list[str]:
    """The words behind ``python -m``, as a shell reads them."""
    point = _project_spec.load_project(str(ROOT)).get_entry_point(entry)
    given = {name: str(value) for name, value in parameters.items()}
    python, module, *words = shlex.split(point.compute_command(given, storage_dir=None))
    assert (python, module) == ("python", "-m")
    return words


def test_prepare_makes_a_folder_and_says_so_on_its_run(run_id, tmp_path):
    video, labels = drives.recording(tmp_path / "my drive", seconds=4, fps=5)
    name, *words = command("prepare", video=video, labels=labels, samples=6, out=tmp_path / "pre pared")
    assert name == "training"
    assert cli.main(words) == 0
    assert len(list((tmp_path / "pre pared").glob("*_driver.jpg"))) == 6
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "prepare")
    assert "drive.json" in [artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run_id)]


def test_promote_puts_a_version_into_production(make_version, monkeypatch):
    make_version()
    name, *words = command("promote", version=1)
    assert name == "registry"
    assert registry.cli.main(words) == 0
    assert resolving.resolve("gaze-tracker").version == 1


def test_pretrain_reaches_the_training_of_the_base(run_id, tmp_path, monkeypatch, capsys):
    """Which itself is in tests/training/sample."""
    asked = []
    errors = {"held_out/azimuth_error_deg": 3.3, "held_out/elevation_error_deg": 2.9, "seconds": 60.0}
    monkeypatch.setattr(pretrain, "pretrain", lambda *arguments: asked.append(arguments) or errors)
    name, *words = command("pretrain", images=40, epochs=2, out=tmp_path / "base.safetensors", device="cpu")
    assert name == "training"
    assert cli.main(words) == 0
    assert asked == [(40, 2, 0, tmp_path / "base.safetensors", "cpu")]
    assert "azimuth 3.3°" in capsys.readouterr().out
    assert mlflow.get_run(run_id).info.status == "FINISHED"


def test_the_command_of_a_dead_mlflow_run_ends_its_run(run_id, monkeypatch, tmp_path):
    monkeypatch.setattr("registry.project.is_orphan", lambda: True)
    mlflow.MlflowClient().set_tag(run_id, "mlflow.project.entryPoint", "main")
    with pytest.raises(KeyboardInterrupt):
        cli.main(["main", "--data", str(tmp_path / "never-looked-at")])
    assert mlflow.get_run(run_id).info.status == "KILLED"


def test_an_empty_run_id_is_none(tracking, monkeypatch, tmp_path):
    """It named experiment 0; a run of one's own lies in the project's experiment."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    with pytest.raises(cli.InputError, match="nowhere"):
        cli.main(["main", "--data", str(tmp_path / "nowhere")])
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert mlflow.get_experiment(run.info.experiment_id).name == "gaze-finetuning"
