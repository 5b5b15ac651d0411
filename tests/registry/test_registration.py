"""What registration needs is tried before hours of work depend on it."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import packages
import pytest
from mlflow.exceptions import RestException

from recording.exceptions import InputError, RegistryError
from registry import cli, registration, versions

MODEL = "gaze-tracker"


@pytest.fixture
def run_id(tracking: str) -> str:
    with mlflow.start_run() as run:
        return str(run.info.run_id)


def test_all_well_leaves_nothing_behind(make_version: Callable, run_id: str) -> None:
    make_version()
    before = versions.registered(MODEL).tags
    registration.check(MODEL, run_id)
    assert versions.registered(MODEL).tags == before
    assert mlflow.MlflowClient().list_artifacts(run_id) == []
    assert [model.name for model in mlflow.MlflowClient().search_registered_models()] == [MODEL]


def test_a_name_that_cannot_be_registered_is_refused(run_id: str) -> None:
    with pytest.raises(InputError, match="o'brien"):
        registration.check("o'brien", run_id)


# A server with a folder of its own as the artifact root: the client is told the server's path.
def test_artifacts_that_only_the_server_can_write_are_named_with_the_way_out(tracking: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    experiment = mlflow.MlflowClient().create_experiment("x", artifact_location=str(tmp_path / "file" / "mlruns"))
    run = mlflow.MlflowClient().create_run(experiment)
    with pytest.raises(RegistryError, match=r"file/mlruns\S+, which cannot be written .*--artifacts-destination"):
        registration.check(MODEL, run.info.run_id)


def test_who_may_not_change_the_model_is_told_so(
    make_version: Callable, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()

    def refuse(*_: object) -> None:
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_tag", refuse)
    with pytest.raises(RegistryError, match="Permission denied"):
        registration.check(MODEL, run_id)


# MLflow takes a path for an address and would unquote it: after search and training, nothing to register was found.
@pytest.mark.parametrize("name", ["a%20b", "50%", "what?", "a#b"])
def test_a_package_is_registered_out_of_any_folder(name: str, run_id: str, tmp_path: Path) -> None:
    packages.make_package(tmp_path / name)
    assert registration.register(tmp_path / name, model_name=MODEL, run_id=run_id) == 1
    assert versions.get(MODEL, 1).number == 1


def test_the_calibration_that_the_verdict_is_reached_against_is_in_tags_card_and_list(
    make_version: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the affine one: only the constant and the linear one were told, which this model beats."""
    kept = packages.make_holdout()
    kept.baselines_deg["affine"] = kept.labels_deg + 0.5
    make_version(holdout=kept, bias_deg=(1, 1))
    make_version(bias_deg=(1, 1))
    first, second = versions.get(MODEL, 1), versions.get(MODEL, 2)
    assert (first.best_calibration, second.best_calibration) == ("affine", "calibrated")
    for angle in ("azimuth", "elevation"):
        assert first.error(f"affine_{angle}_error_deg") == pytest.approx(0.5)
    # What was there keeps its name and its value.
    for name in ("calibrated_azimuth_error_deg", "constant_angular_error_deg", "base_elevation_error_deg"):
        assert first.tags[name] == second.tags[name]
    assert "| affine calibration of the base (the best: the one to beat) | 0.50° | 0.50° |" in first.description
    assert "| linear calibration of the base | " in first.description
    assert "| linear calibration of the base (the best: the one to beat) | " in second.description
    cli.main(["list"])
    newer, older = capsys.readouterr().out.splitlines()[-2:]
    assert "0.50° / 0.50° (affine)" in older and "° (linear)" in newer


def test_a_version_that_does_not_say_which_calibration_is_best_shows_the_linear_one(make_version: Callable) -> None:
    make_version(holdout=packages.make_holdout(baselines=False))
    version = versions.get(MODEL, 1)
    assert versions.BEST_CALIBRATION_TAG not in version.tags and version.best_calibration == "calibrated"
    assert version.error("calibrated_azimuth_error_deg") is not None
