"""Stages: stage, alias and resolver agree after every command, and what others did is found and taken over."""

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import packages
import pandas as pd
import pytest

from recording.exceptions import ContractError, GateRefused, InputError, NoSuchVersion, RegistryError
from registry import history, resolving, stages
from registry.state import State, drifts

MODEL = "gaze-tracker"

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def three(make_version: Callable) -> mlflow.MlflowClient:
    """Three versions, each a bit better than the one before, none in a stage."""
    for bias in (3.0, 2.0, 1.0):
        make_version(bias_deg=(bias, bias))
    return mlflow.MlflowClient()


def answer() -> float:
    """The azimuth that models:/gaze-tracker/Production gives to a driver who looks straight ahead."""
    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}/Production")
    return loaded.predict(pd.DataFrame({"image": [packages.picture(0, 0)]}))["azimuth_deg"][0]


def assert_agreed(version: int, bias: float) -> None:
    client = mlflow.MlflowClient()
    assert resolving.resolve(MODEL).version == version
    assert resolving.resolve(MODEL).warning == ""
    assert [int(v.version) for v in client.get_latest_versions(MODEL, ["Production"])] == [version]
    assert int(client.get_model_version_by_alias(MODEL, "production").version) == version
    assert answer() == pytest.approx(bias, abs=0.3)


def test_stage_alias_and_resolver_name_the_same_version_all_the_way(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    assert_agreed(1, 3.0)
    stages.promote(MODEL, 2)
    assert_agreed(2, 2.0)
    stages.promote(MODEL, 3)
    assert_agreed(3, 1.0)
    assert State.read(MODEL).versions[2].stage == "Archived"
    stages.rollback(MODEL)
    assert_agreed(2, 2.0)
    stages.rollback(MODEL)  # two roll-backs go back two
    assert_agreed(1, 3.0)
    with pytest.raises(NoSuchVersion, match="no earlier version"):
        stages.rollback(MODEL)


def test_rollback_from_three_to_one_answers_as_one(three: mlflow.MlflowClient) -> None:
    # MLflow alone would answer as 3: the highest number in the stage wins.
    stages.promote(MODEL, 1)
    stages.promote(MODEL, 3)
    change = stages.rollback(MODEL, number=1, why="3 squints in the tunnel")
    assert_agreed(1, 3.0)
    assert (change.line.before, change.line.after, change.line.why) == (3, 1, "3 squints in the tunnel")


def test_rollback_checks_the_contract_of_what_it_brings_back(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    stages.promote(MODEL, 3)
    three.set_model_version_tag(MODEL, "1", "contract_seal", "0" * 64)
    with pytest.raises(ContractError, match="version 1"):
        stages.rollback(MODEL)
    assert resolving.resolve(MODEL).version == 3


def test_rollback_passes_over_deleted_versions(three: mlflow.MlflowClient) -> None:
    for number in (1, 2, 3):
        stages.promote(MODEL, number)
    stages.delete(MODEL, 2)
    assert stages.rollback(MODEL).line.after == 1


def test_rollback_after_a_demotion_brings_the_demoted_back(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    stages.promote(MODEL, 2)
    stages.demote(MODEL, 2)
    assert stages.rollback(MODEL).line.after == 2


def test_nothing_in_the_stage_says_how_to_promote(three: mlflow.MlflowClient) -> None:
    with pytest.raises(NoSuchVersion, match=r"existing versions: 1, 2, 3.*promote --version 3 --stage Production"):
        resolving.resolve(MODEL)


def test_no_such_model_says_how_to_make_one(tracking: str) -> None:
    with pytest.raises(NoSuchVersion, match=r"no registered model is named 'gaze-tracker'.*mlflow run \."):
        resolving.resolve(MODEL)


def test_promoting_what_is_there_already_does_nothing(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    assert stages.promote(MODEL, 1).line is None
    assert len(history.read(MODEL)) == 1


def test_from_staging_to_production_leaves_staging_empty(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 2, "staging")  # any case
    assert resolving.resolve(MODEL, stage="STAGING").version == 2
    stages.promote(MODEL, 2)
    state = State.read(MODEL)
    assert state.is_settled(2, "Production")
    assert state.is_settled(None, "Staging")
    assert drifts(state) == []


@pytest.mark.parametrize("stage", ["Archived", "None", "live", ""])
def test_other_stages_cannot_be_promoted_to(three: mlflow.MlflowClient, stage: str) -> None:
    with pytest.raises(InputError, match="choose Staging or Production"):
        stages.promote(MODEL, 1, stage)


@pytest.mark.parametrize("number", ["three", "0", "-1", "1.5", ""])
def test_what_is_no_version_number_is_refused(three: mlflow.MlflowClient, number: str) -> None:
    with pytest.raises(NoSuchVersion, match="not a version number"):
        stages.promote(MODEL, number)


def test_a_version_that_is_not_there_names_the_ones_that_are(three: mlflow.MlflowClient) -> None:
    with pytest.raises(NoSuchVersion, match="no version 9; existing versions: 1, 2, 3"):
        stages.promote(MODEL, 9)


def test_demote_and_archive_take_the_alias_along(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    stages.demote(MODEL, 1)
    assert State.read(MODEL).is_settled(None, "Production")
    stages.promote(MODEL, 1)
    stages.archive(MODEL, 1)
    state = State.read(MODEL)
    assert state.versions[1].stage == "Archived"
    assert state.is_settled(None, "Production")
    assert stages.archive(MODEL, 1).line is None  # already
    assert [line.action for line in history.read(MODEL)] == ["promote", "demote", "promote", "archive"]


def test_a_version_in_a_stage_is_not_deleted(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    with pytest.raises(RegistryError, match=r"in Production and alias 'production'.*demote --version 1"):
        stages.delete(MODEL, 1)
    stages.delete(MODEL, 2)
    assert sorted(State.read(MODEL).versions) == [1, 3]
    assert history.read(MODEL)[-1].to_stage == "Deleted"


def test_a_production_version_deleted_elsewhere_is_detected(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    stages.promote(MODEL, 3)
    three.delete_model_version(MODEL, "3")  # MLflow says nothing
    assert [drift.text for drift in drifts(State.read(MODEL))] == ["version 3 was deleted while it was in Production"]
    stages.sync(MODEL)
    line = history.read(MODEL)[-1]
    assert (line.action, line.before, line.after, line.to_stage) == ("elsewhere", 3, None, "Deleted")
    assert drifts(State.read(MODEL)) == []
    assert stages.rollback(MODEL).line.after == 1


def test_an_alias_set_where_no_version_is_staged_is_followed_and_taken_over(three: mlflow.MlflowClient) -> None:
    three.set_registered_model_alias(MODEL, "production", "2")
    assert resolving.resolve(MODEL).version == 2
    stages.sync(MODEL)
    assert_agreed(2, 2.0)
    line = history.read(MODEL)[-1]
    assert (line.action, line.who, line.after) == ("elsewhere", history.UNKNOWN_PERSON, 2)


def test_where_alias_and_stage_disagree_the_stage_answers_with_a_warning_that_names_both(
    three: mlflow.MlflowClient,
) -> None:
    stages.promote(MODEL, 1)
    three.set_registered_model_alias(MODEL, "production", "3")
    found = resolving.resolve(MODEL)
    assert found.version == 1
    assert "version 1" in found.warning
    assert "version 3" in found.warning
    stages.sync(MODEL)  # the alias is what was moved since: that was meant
    assert_agreed(3, 1.0)


def test_an_alias_in_other_letters_is_named_as_nobody_follows_it(make_version: Callable[..., int]) -> None:
    make_version(), make_version()
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(MODEL, "Production", "2")
    with pytest.raises(
        NoSuchVersion, match=r"; alias 'Production' is on version 2, but the stage's alias is 'production'"
    ):
        resolving.resolve(MODEL)
    client.set_registered_model_alias(MODEL, "production", "1")
    found = resolving.resolve(MODEL)
    assert found.version == 1
    assert found.warning.startswith(f"{MODEL}: stage Production is version 1; alias 'Production' is on version 2, but")
    client.set_registered_model_alias(MODEL, "Production", "1")
    assert resolving.resolve(MODEL).warning == ""


def test_a_second_version_put_into_production_without_archiving_is_what_was_meant(three: mlflow.MlflowClient) -> None:
    """MLflow goes on answering as the higher number; sync makes the newcomer the only one."""
    stages.promote(MODEL, 3)
    three.transition_model_version_stage(MODEL, "1", "Production", archive_existing_versions=False)
    assert resolving.resolve(MODEL).version == 3  # as MLflow itself
    stages.sync(MODEL)
    assert_agreed(1, 3.0)


def test_a_stage_taken_away_elsewhere_takes_the_alias_along(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 2)
    three.transition_model_version_stage(MODEL, "2", "Archived")
    stages.sync(MODEL)
    assert State.read(MODEL).is_settled(None, "Production")
    assert history.read(MODEL)[-1].why == "version 2 was taken out of Production (to Archived)"


def test_an_alias_taken_off_is_put_back(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 2)
    three.delete_registered_model_alias(MODEL, "production")
    stages.sync(MODEL)
    assert_agreed(2, 2.0)


@pytest.mark.parametrize(("start", "end"), [("Staging", "Production"), ("Production", "Staging")])
def test_a_version_moved_between_stages_elsewhere_is_followed(three: mlflow.MlflowClient, start: str, end: str) -> None:
    stages.promote(MODEL, 2, start)
    three.transition_model_version_stage(MODEL, "2", end)
    stages.sync(MODEL)
    state = State.read(MODEL)
    assert state.is_settled(2, end)
    assert state.is_settled(None, start)
    assert drifts(state) == []


def test_sync_does_not_follow_to_a_version_that_breaks_its_contract(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    three.set_model_version_tag(MODEL, "3", "contract_seal", "0" * 64)
    three.set_registered_model_alias(MODEL, "production", "3")
    with pytest.raises(ContractError, match="version 3"):
        stages.sync(MODEL)
    assert resolving.resolve(MODEL).version == 1
    assert drifts(State.read(MODEL))  # still to be seen


def test_sync_dry_run_only_tells(three: mlflow.MlflowClient) -> None:
    three.set_registered_model_alias(MODEL, "production", "3")
    _, found = stages.sync(MODEL, dry_run=True)
    assert [drift.line.after for drift in found] == [3]
    assert State.read(MODEL).holders("Production") == []


def test_what_was_done_elsewhere_is_written_down_before_a_promotion_overtakes_it(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    three.transition_model_version_stage(MODEL, "2", "Production", archive_existing_versions=True)
    stages.promote(MODEL, 3)
    assert [(line.action, line.before, line.after) for line in history.read(MODEL)] == [
        ("promote", None, 1),
        ("elsewhere", 1, 2),
        ("promote", 2, 3),
    ]
    assert_agreed(3, 1.0)


def test_other_aliases_are_left_alone(three: mlflow.MlflowClient) -> None:
    three.set_registered_model_alias(MODEL, "night", "1")
    stages.promote(MODEL, 1)
    stages.promote(MODEL, 3)
    stages.delete(MODEL, 2)
    stages.sync(MODEL)
    assert mlflow.MlflowClient().get_registered_model(MODEL).aliases["night"] in (1, "1")


def test_the_history_survives_a_renamed_model(three: mlflow.MlflowClient) -> None:
    stages.promote(MODEL, 1)
    three.rename_registered_model(MODEL, "car-7")
    assert [line.after for line in history.read("car-7")] == [1]


def test_names_that_mlflow_cannot_search_are_refused(tracking: str) -> None:
    with pytest.raises(InputError, match="model name"):
        resolving.resolve("o'brien")


def test_a_moved_alias_is_not_said_to_have_moved_before_the_line_that_it_contradicts(make_version: Callable) -> None:
    for _ in range(2):
        make_version()
    stages.promote("gaze-tracker", 2, force=True, why="the better one")
    (last,) = history.read("gaze-tracker")
    mlflow.MlflowClient().set_registered_model_alias("gaze-tracker", "production", "1")
    (drift,) = drifts(State.read("gaze-tracker"))
    assert drift.line.after == 1
    assert drift.line.time >= last.time


def test_a_champion_whose_files_are_gone_is_what_is_to_be_mended(make_version: Callable, tmp_path: Path) -> None:
    for _ in range(2):
        make_version()
    stages.promote("gaze-tracker", 1, force=True, why="first")
    stored = mlflow.MlflowClient().get_model_version_download_uri("gaze-tracker", "1")
    shutil.rmtree(Path(stored.removeprefix("file://")) / "artifacts")
    with pytest.raises(GateRefused, match=r"version 1 in Production, whose files are missing .*put them back") as said:
        stages.promote("gaze-tracker", 2)
    assert "Train a better one" not in str(said.value)
    assert "####" not in str(said.value)
