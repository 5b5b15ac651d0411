"""The same registry on a real ``mlflow server`` with basic authentication on PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import packages
import pandas as pd
import pytest
from mlflow.server import get_app_client
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from recording.exceptions import GateRefused, RegistryError
from registry import cli, history, registration, resolving, stages, versions
from registry.command_line import leave
from registry.state import State

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def make(on_server: str, tmp_path: Path) -> Callable[..., int]:
    return lambda **options: packages.register_package(tmp_path / "packages", model_name=on_server, **options)


def names_of_production(model_name: str) -> set[int]:
    client = mlflow.MlflowClient()
    return {
        int(client.get_latest_versions(model_name, ["Production"])[0].version),
        int(client.get_model_version_by_alias(model_name, "production").version),
        resolving.resolve(model_name).version,
    }


def answer(model_name: str) -> float:
    loaded = mlflow.pyfunc.load_model(f"models:/{model_name}/Production")
    return loaded.predict(pd.DataFrame({"image": [packages.picture(0, 0)]}))["azimuth_deg"][0]


def test_the_whole_journey_on_a_real_server(on_server: str, make: Callable) -> None:
    for bias in (3.0, 2.0, 1.0):
        make(bias_deg=(bias, bias))
    stages.promote(on_server, 1)
    assert names_of_production(on_server) == {1}
    stages.promote(on_server, 3)
    assert names_of_production(on_server) == {3}
    assert answer(on_server) == pytest.approx(1.0, abs=0.3)
    with pytest.raises(GateRefused):
        stages.promote(on_server, 2)
    stages.rollback(on_server, why="squints")
    assert names_of_production(on_server) == {1}
    assert answer(on_server) == pytest.approx(3.0, abs=0.3)
    lines = history.read(on_server)
    assert [(line.action, line.outcome) for line in lines] == [
        ("promote", "done"),
        ("promote", "done"),
        ("promote", "refused"),
        ("rollback", "done"),
    ]
    assert all(line.who.startswith("admin@") for line in lines)
    assert versions.get(on_server, 1).description.startswith("Gaze angles of a driver")


def test_a_long_reason_and_a_full_gate_fit_the_database(on_server: str, make: Callable) -> None:
    make(bias_deg=(1, 1))
    make(bias_deg=(9, 9), leaking=True)
    stages.promote(on_server, 1)
    why = "ü" * history.MAX_WHY
    stages.promote(on_server, 2, force=True, why=why)
    assert history.read(on_server)[-1].why == why


def test_races_of_two_processes_on_a_real_server(on_server: str, make: Callable) -> None:
    numbers = [make(bias_deg=(bias, 1), n_holdout=20) for bias in (1, 1.1)]
    racers = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("racer.py")), "race", on_server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in numbers
    ]
    try:
        assert [process.stdout.readline() for process in racers] == ["ready\n"] * 2
        for _ in range(3):
            for process, number in zip(racers, numbers, strict=True):
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in racers] == ["promoted\n"] * 2
            assert len(State.read(on_server).holders("Production")) == 1
            assert len(names_of_production(on_server)) == 1
            stages.demote(on_server, State.read(on_server).holders("Production")[0])
    finally:
        for process in racers:
            process.kill()
            process.communicate()
    lines = history.read(on_server)
    assert [line.number for line in lines] == list(range(1, 10))
    assert {line.outcome for line in lines} == {"done"}


# The server's folder may be made here too: files written there never reach the server, and nobody says so.
def test_artifacts_that_do_not_reach_the_server_are_noticed(
    on_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "on the server"
    experiment = mlflow.MlflowClient().create_experiment(on_server, artifact_location=place.as_uri())
    run_id = mlflow.MlflowClient().create_run(experiment).info.run_id
    registration.check(on_server, run_id)
    monkeypatch.setattr(
        registration, "get_artifact_repository", lambda address: get_artifact_repository((tmp_path / "here").as_uri())
    )
    with pytest.raises(RegistryError, match=r"a folder of the server's: .*stays on this machine.*--artifacts-destin"):
        registration.check(on_server, run_id)
    assert not list((tmp_path / "here").rglob("check-*"))


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What ``python -m registry …`` says when it ends with status 2: one line."""
    capsys.readouterr()  # what came before is not of the command
    with pytest.raises(SystemExit) as left:
        leave(cli.main, [*command])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_wrong_password_is_one_line(
    on_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    assert "MLFLOW_TRACKING_PASSWORD, or check them" in refused(capsys, "list")


def test_who_may_read_only_changes_nothing_and_is_told_so(
    on_server: str, make: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    users = get_app_client("basic-auth", os.environ["MLFLOW_TRACKING_URI"])
    users.create_user("reader", "another-password-for-tests")
    with monkeypatch.context() as reader:
        reader.setenv("MLFLOW_TRACKING_USERNAME", "reader")
        reader.setenv("MLFLOW_TRACKING_PASSWORD", "another-password-for-tests")
        line = refused(capsys, "promote", "--version", "1", "--model-name", on_server)
    assert "Permission denied" in line
    assert State.read(on_server).holders("Production") == []
    assert history.read(on_server) == []


# A name that nobody has registered is everybody's; one that exists takes the right to change it.
def test_whether_one_may_register_is_known_beforehand(
    on_server: str, make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    users = get_app_client("basic-auth", os.environ["MLFLOW_TRACKING_URI"])
    users.create_user("trainer", "another-password-for-tests")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "trainer")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another-password-for-tests")
    experiment = mlflow.MlflowClient().create_experiment("the trainer's")
    run_id = mlflow.MlflowClient().create_run(experiment).info.run_id
    registration.check("the-trainers-model", run_id)
    assert mlflow.MlflowClient().list_artifacts(run_id) == []
    assert versions.made_from("the-trainers-model-base", "b" * 64, "none") is None
    with pytest.raises(RegistryError, match="Permission denied; check the user name and its rights"):
        registration.check(on_server, run_id)
