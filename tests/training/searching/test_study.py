"""The study on disk: what resuming accepts and repeats."""

import contextlib
import time
import types

import optuna
import pytest
from optuna.trial import TrialState

from recording.exceptions import InputError, RegistryError
from training.learning.finetune import Epoch
from training.searching.space import SearchSpace
from training.searching.study import Study
from training.searching.trial import TrialResult

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


# SQLAlchemy reads its address as a URL: %20 is a space there, and what follows a ? no longer the path.
@pytest.mark.parametrize("name", ["a%20b", "what?", "50%", "my drive#2"])
def test_a_folder_whose_name_means_something_in_an_address_is_used_as_it_is(tmp_path, name):
    made = Study(tmp_path / name, "one", SearchSpace(), IDENTITY, 1000)
    made.close()
    assert (tmp_path / name / "study.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def without_training(study: Study, monkeypatch, cache_seconds: float) -> Study:
    """The study, whose trials end at once with a made-up result."""

    def run_one(asked, checkpoint):
        checkpoint.touch()
        best = Epoch(1, 0.1, 0.1, 1.0, 1.0, 2.0, seconds=0.0)
        study._tell(asked, TrialResult(2.0, best, "complete", 1, 16, 1.0, cache_seconds, 0.1))

    monkeypatch.setattr(study, "_run_one", run_one)
    return study


def only_checkpoint(number, config, checkpoint, seconds_left):
    return checkpoint


def test_a_resumed_study_counts_the_cache_seconds_of_its_own_session(tmp_path, monkeypatch):
    """The job takes them off the seconds of its search, which came out negative."""
    for trials, expected in ((2, 200.0), (3, 100.0), (3, 0.0)):
        study = Study(tmp_path, "one", SearchSpace(trials=trials), IDENTITY, 1000)
        found = without_training(study, monkeypatch, cache_seconds=100).run(only_checkpoint)
        study.close()
        assert found.cache_seconds == expected


def drawn(folder, monkeypatch, interrupted: bool) -> list[dict]:
    """The parameters of ten trials after each other; the ninth is cut off and resumed, or not."""

    def opened(trials: int) -> Study:
        return without_training(Study(folder, "one", SearchSpace(trials=trials), IDENTITY, 1000), monkeypatch, 0)

    if interrupted:
        study = opened(trials=8)
        study.run(only_checkpoint)
        study.space.suggest(study._draw())  # cut off by a kill
        study.close()
    study = opened(trials=10)
    study.run(only_checkpoint)
    study.close()
    return [trial.params for trial in study.finished()]


def test_a_resumed_search_draws_what_an_uninterrupted_one_does(tmp_path, monkeypatch):
    whole = drawn(tmp_path / "a", monkeypatch, interrupted=False)
    resumed = drawn(tmp_path / "b", monkeypatch, interrupted=True)
    assert len(whole) == 10
    assert resumed == whole
    assert len({str(trial) for trial in whole}) == len(whole), "the same random numbers again and again"


def test_what_is_different_only_once_is_trained_once(tmp_path, monkeypatch):
    point = {"freeze": ("backbone",), "lr_min": 1e-3, "lr_max": 1e-3, "epochs_min": 2}
    for options, runs in (
        ({"bn": ("target",), "epochs_max": 2}, 4),  # as many as there are starts of the head
        ({"bn": ("source", "target"), "epochs_max": 2}, 8),
        ({"bn": ("source", "target"), "epochs_max": 3}, 9),
    ):
        space = SearchSpace(trials=9, **point, **options)
        study = without_training(Study(tmp_path / str(runs), "one", space, IDENTITY, 1000), monkeypatch, 0)
        study.run(only_checkpoint)
        different = {tuple(sorted(trial.params.items())) for trial in study.finished()}
        study.close()
        assert len(different) == len(study.finished()) == space.runs() == runs


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 30, b"SQLite format 3\0torn"])
def test_a_study_file_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(InputError, match=r"study 'one': .*study\.db cannot be used .*choose another study name"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000)
    (tmp_path / "study.db").unlink()
    Study(tmp_path, "one", SearchSpace(), IDENTITY, 1000).close()  # the lock was given back


def test_a_trial_that_mlflow_did_not_hear_is_not_lost(study, monkeypatch):
    """Held for too long, or a server that is away: the search ends, and its trial is tried again when it goes on."""

    @contextlib.contextmanager
    def started(spec):
        yield types.SimpleNamespace(exitcode=0, join=lambda seconds: None), None

    told = [("run", None), ("untracked", "MLflow at sqlite:///mlflow.db: database is locked")]
    monkeypatch.setattr("training.searching.process.started", started)
    monkeypatch.setattr("training.searching.process.messages", lambda process, connection: iter(told))
    with pytest.raises(RegistryError, match="database is locked; then resume with study=one"):
        study.run(lambda number, config, checkpoint, seconds: types.SimpleNamespace(name="trial-000"))
    assert study.finished() == []
    waiting = study.study.get_trials(states=(TrialState.WAITING,))
    assert SearchSpace().opening(1000)[0] in [trial.system_attrs["fixed_params"] for trial in waiting]


def test_a_search_whose_time_is_up_ends_with_what_it_has(tmp_path, monkeypatch):
    study = without_training(Study(tmp_path, "one", SearchSpace(trials=50, timeout=4), IDENTITY, 1000), monkeypatch, 0)
    left = []

    def spec(number, config, checkpoint, seconds_left):
        left.append(seconds_left)
        time.sleep(max(seconds_left, 0) + 0.01)  # a trial that ends when its time is up
        return checkpoint

    found = study.run(spec)
    study.close()
    assert len(found.trials) < 50
    assert len(left) == 1
    assert 0 < left[0] <= 4
