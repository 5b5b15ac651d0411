"""The study on disk: what resuming accepts and repeats."""

import sqlite3
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import mlflow
import optuna
import pytest
import trials
from optuna.trial import TrialState

from recording.exceptions import InputError
from training.searching.space import SearchSpace
from training.searching.study import Study

IDENTITY = {"data": "a", "seed": 0}


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    yield made
    made.close()


def asked(study: Study) -> optuna.Trial:
    trial = study.study.ask()
    study.space.suggest(trial)
    return trial


def test_a_study_resumes_only_with_the_settings_it_was_begun_with(study, tmp_path):
    study.study.tell(asked(study), 2.0)
    with pytest.raises(InputError, match="run by another process"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    study.close()
    with pytest.raises(InputError, match=r"seed \(0 then, 1 now\)"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY | {"seed": 1}, 1000)
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    assert again.resumed
    assert len(again.finished()) == 1
    again.close()


def test_trials_are_not_compared_with_those_that_were_trained_in_another_way(tmp_path):
    """A study of before heads were completed: its errors are of other models."""
    now = SearchSpace().identity()
    before = {key: value for key, value in now.items() if key != "way of training"}
    Study(tmp_path, "one", SearchSpace(), before, 1000).close()
    with pytest.raises(InputError, match=r"way of training \(None then, 2 now\); use another study name"):
        Study(tmp_path, "one", SearchSpace(), now, 1000)


def test_a_trial_that_a_kill_left_running_is_tried_again_with_the_same_parameters(study, tmp_path):
    parameters = asked(study).params
    study.close()
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    states = [trial.state for trial in again.study.trials]
    assert states.count(TrialState.RUNNING) == 0
    assert states[0] == TrialState.FAIL
    assert again.finished() == []
    waiting = [trial.system_attrs["fixed_params"] for trial in again.study.trials if trial.state == TrialState.WAITING]
    assert parameters in waiting
    again.close()


def test_a_kill_between_two_parameters_takes_no_trial_of_the_opening_away(study, tmp_path):
    study.study.ask().suggest_categorical("freeze", study.space.freeze)
    study.close()
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    waiting = [trial.system_attrs["fixed_params"] for trial in again.study.trials if trial.state == TrialState.WAITING]
    again.close()
    assert [parameters for parameters in SearchSpace().opening(1000) if parameters not in waiting] == []


class _Shared:
    """A database on which the processes of the parent runs ``alive`` work."""

    shared = True

    def __init__(self, *alive: str):
        self.alive = alive

    def is_alive(self, run_id: str) -> bool:
        return run_id in self.alive


def test_runs_of_trials_on_another_machine_are_left_alone(tracking, monkeypatch):
    """Who joins a study, or ends, must not end what others train; of its own nothing runs then."""
    monkeypatch.setattr("training.searching.study.YOUNG_S", -10)
    client = mlflow.MlflowClient()
    parents = {name: client.create_run("0", tags={"study": "one"}).info.run_id for name in ("ours", "other", "dead")}
    children = {
        name: client.create_run("0", tags={"study": "one", "mlflow.parentRunId": run_id}).info.run_id
        for name, run_id in parents.items()
    }
    made = SimpleNamespace(name="one", storage=_Shared(parents["ours"], parents["other"]))
    made._may_run = partial(Study._may_run, made)
    Study.end_orphans(made, parents["ours"])
    states = {name: client.get_run(run_id).info.status for name, run_id in children.items()}
    assert states == {"ours": "KILLED", "other": "RUNNING", "dead": "KILLED"}


def test_weights_from_which_another_machine_may_be_training_on_stay(study):
    """Its time was up, and with what was the best then it is making a version."""
    for number, value in enumerate((3.0, 2.5, 2.0)):
        trial, _, _ = study.propose()
        study.checkpoint(number).touch()
        if number == 0:
            trial.set_user_attr("published", "its run")  # as telling does where machines share the study
        study.tell(trial, trials.result(value), run_id=None)
    study.keep_best_checkpoint()
    assert [study.checkpoint(number).exists() for number in range(3)] == [True, False, True]


def test_a_trial_that_is_cut_off_twice_goes_on_from_where_the_first_one_left_its_state(study, tmp_path):
    first = study.propose()[0]
    study.close()
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    waiting = [trial for trial in again.study.trials if trial.state == TrialState.WAITING]
    for trial in waiting[:-1]:  # the others of the opening come first
        assert "goes_on" not in trial.user_attrs
    number = len(again.study.trials) - 1
    while (second := again.propose()[0]).number < number:
        again.tell_failed(second, "no matter")
    assert second.params == first.params
    assert again.state(second) == tmp_path / "trial-000.state"
    again.close()
    third = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    assert third.study.trials[-1].user_attrs["goes_on"] == 0
    asked = third.propose()[0]
    third.state(asked).touch()
    third.tell_failed(asked, "no matter")
    assert not list(tmp_path.glob("*.state")), "what is over needs no state"
    third.close()


def test_a_study_file_of_another_program_is_left_as_it_is(tmp_path):
    with closing(sqlite3.connect(tmp_path / "study.db")) as other, other:
        other.execute("CREATE TABLE bookmarks (address TEXT)")
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(InputError, match=r"study\.db cannot be used \(is another program's database .*bookmarks"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    assert (tmp_path / "study.db").read_bytes() == before


# SQLAlchemy reads its address as a URL: %20 is a space there, and what follows a ? no longer the path.
@pytest.mark.parametrize("name", ["a%20b", "what?", "50%", "my drive#2"])
def test_a_folder_whose_name_means_something_in_an_address_is_used_as_it_is(tmp_path, name):
    made = Study(tmp_path / name, "one", SearchSpace(), IDENTITY, 1000)
    made.close()
    assert (tmp_path / name / "study.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 30, b"SQLite format 3\0torn"])
def test_a_study_file_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(InputError, match=r"study 'one': .*study\.db cannot be used .*choose another study name"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    (tmp_path / "study.db").unlink()
    Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000).close()  # the lock was given back


@pytest.mark.parametrize("content", [b"", None])
def test_a_search_whose_study_file_is_lost_is_not_begun_anew_over_its_trials(tmp_path, content):
    first = Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    weights = first.checkpoint(0)
    first.close()
    file = tmp_path / "study.db"
    file.unlink() if content is None else file.write_bytes(content)
    Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000).close()  # nothing was run: nothing is lost
    weights.write_bytes(b"weights")
    Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000).close()
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(
        InputError, match=r"study\.db is (empty|gone), and trial-000\.safetensors .*choose another study"
    ):
        Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    assert file.exists() == (content is not None) and weights.read_bytes() == b"weights"
