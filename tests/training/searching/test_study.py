"""The study on disk: what resuming accepts and repeats."""

import optuna
import pytest
from optuna.trial import TrialState

from recording.exceptions import InputError
from training.learning.finetune import Epoch
from training.searching.space import SearchSpace
from training.searching.study import Study
from training.searching.trial import TrialResult

IDENTITY = {"data": "a", "seed": 0}


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path, "one", SearchSpace(), IDENTITY)
    yield made
    made.close()


def asked(study: Study) -> optuna.Trial:
    trial = study.study.ask()
    study.space.suggest(trial)
    return trial


def test_a_study_resumes_only_with_the_settings_it_was_begun_with(study, tmp_path):
    study.study.tell(asked(study), 2.0)
    with pytest.raises(InputError, match="run by another process"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY)
    study.close()
    with pytest.raises(InputError, match=r"seed \(0 then, 1 now\)"):
        Study(tmp_path, "one", SearchSpace(), IDENTITY | {"seed": 1})
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY)
    assert again.resumed
    assert len(again.finished()) == 1
    again.close()


def test_a_trial_that_a_kill_left_running_is_tried_again_with_the_same_parameters(study, tmp_path):
    parameters = asked(study).params
    study.close()
    again = Study(tmp_path, "one", SearchSpace(), IDENTITY)
    states = [trial.state for trial in again.study.trials]
    assert states.count(TrialState.RUNNING) == 0
    assert states[0] == TrialState.FAIL
    assert again.finished() == []
    waiting = [trial.system_attrs["fixed_params"] for trial in again.study.trials if trial.state == TrialState.WAITING]
    assert parameters in waiting
    again.close()


def without_training(study: Study, monkeypatch, cache_seconds: float) -> Study:
    """The study, whose trials end at once with a made-up result."""

    def run_one(asked, checkpoint):
        checkpoint.touch()
        best = Epoch(1, 0.1, 0.1, 1.0, 1.0, 2.0, seconds=0.0)
        study._tell(asked, TrialResult(2.0, best, "complete", 1, 16, 1.0, cache_seconds))

    monkeypatch.setattr(study, "_run_one", run_one)
    return study


def only_checkpoint(number, config, checkpoint, seconds_left):
    return checkpoint


def test_a_resumed_study_counts_the_cache_seconds_of_its_own_session(tmp_path, monkeypatch):
    """The job takes them off the seconds of its search, which came out negative."""
    for trials, expected in ((2, 200.0), (3, 100.0), (3, 0.0)):
        study = Study(tmp_path, "one", SearchSpace(trials=trials), IDENTITY)
        found = without_training(study, monkeypatch, cache_seconds=100).run(only_checkpoint)
        study.close()
        assert found.cache_seconds == expected
