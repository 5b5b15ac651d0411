"""What ``make demo`` finds in the registry, and does about it; its processes are in tests/e2e."""

import mlflow
import pytest

from registry import stages
from serving import demo


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that it would run, without the interpreter."""
    commands: list[list[str]] = []
    monkeypatch.setattr(demo, "_run", lambda command, env: commands.append(command[2:]))
    return commands


# The server takes a version that only the alias names: it counts as in Production here as well.
@pytest.mark.parametrize("by", ["stage", "alias"])
def test_what_is_in_production_stays_there(tracking, make_version, run, by) -> None:
    make_version()
    make_version()
    if by == "stage":
        stages.promote("gaze-tracker", 1)
    else:
        mlflow.MlflowClient().set_registered_model_alias("gaze-tracker", "production", "1")
    demo._have_production({"MLFLOW_TRACKING_URI": tracking})
    assert run == []


def test_the_newest_is_promoted_where_none_is_there_yet(tracking, make_version, run, monkeypatch) -> None:
    trained: list[int] = []
    monkeypatch.setattr(demo, "_numbers", lambda: trained)
    monkeypatch.setattr(demo, "TRAINING", ["--quick"])
    monkeypatch.setattr(demo, "_run", lambda command, env: run.append(command[2:]) or trained.extend([1, 2]))
    demo._have_production({"MLFLOW_TRACKING_URI": tracking})
    assert run == [
        ["training", "main", "--quick"],
        ["registry", "promote", "--version", "2", "--why", "first one of make demo"],
    ]
