"""The study's own decisions: what is tried first, who is stopped, what resuming accepts."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from recording.exceptions import InputError
from training.searching.study import SearchSpace, Study

IDENTITY = {"data": "a", "seed": 0}


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path, "one", SearchSpace(), IDENTITY)
    yield made
    made.close()


def completed(study: Study, values: list[float]) -> None:
    """A finished trial with these validation errors by epoch."""
    study.study.add_trial(
        create_trial(
            params={"freeze": "none", "bn": "target", "lr": 1e-3, "epochs": len(values)},
            distributions={
                "freeze": CategoricalDistribution(study.space.freeze),
                "bn": CategoricalDistribution(study.space.bn),
                "lr": FloatDistribution(1e-5, 1e-2, log=True),
                "epochs": IntDistribution(1, 30),
            },
            value=min(values),
            intermediate_values=dict(enumerate(values, start=1)),
            state=TrialState.COMPLETE,
        )
    )


def asked(study: Study) -> optuna.Trial:
    trial = study.study.ask()
    study.space.suggest(trial)
    return trial


def stopped_at(study: Study, values: list[float]) -> int | None:
    """The epoch after which a trial with these errors is ended, None when it may finish."""
    trial = asked(study)
    for epoch, value in enumerate(values, start=1):
        trial.report(value, epoch)
        if study._should_stop(trial, value, epoch):
            return epoch
    return None


def test_every_freeze_choice_opens_once_cheapest_first_and_the_last_gets_the_most_epochs():
    opening = SearchSpace(freeze=("none", "layer2", "backbone", "layer3")).opening()
    assert [one["freeze"] for one in opening] == ["backbone", "layer3", "layer2", "none"]
    assert [one["epochs"] for one in opening] == [5, 5, 5, 13]


def test_the_opening_stays_within_the_searched_ranges():
    (only,) = SearchSpace(
        freeze=("layer3",), bn=("source",), lr_min=1e-3, lr_max=1e-2, epochs_min=7, epochs_max=7
    ).opening()
    assert only == {"freeze": "layer3", "bn": "source", "lr": 1e-3, "epochs": 7}
    assert len(SearchSpace(trials=2).opening()) == 2


def test_the_first_trial_is_never_stopped(study):
    assert stopped_at(study, [50.0, 60.0, 70.0, 80.0]) is None


@pytest.mark.parametrize(
    ("values", "epoch"),
    [
        ([6.1, 5.0], 1),  # half as bad again after one epoch
        ([5.9, 4.5], 2),
        ([5.0, 3.9, 3.0, 2.5], None),  # a slower start may still win
        ([5.0, 3.9, 3.8], 3),
        ([4.0, 3.0, 3.0, 2.4, 2.2, 2.12], 6),  # as good as the best one was is not enough late in a trial
        ([4.0, 3.0, 3.0, 2.4, 2.2, 1.9], None),
    ],
)
def test_a_trial_behind_the_best_one_at_the_same_epoch_ends(study, values, epoch):
    completed(study, [4.0, 3.0, 3.0, 2.4, 2.2, 2.0])
    assert stopped_at(study, values) == epoch


def test_epochs_that_the_best_trial_did_not_reach_are_not_compared_with_it(study):
    completed(study, [4.0, 3.0])
    assert stopped_at(study, [4.0, 3.0, 9.0]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"epochs_min": 9, "epochs_max": 3}, "epochs_min=9 is above epochs_max=3"),
        ({"lr_min": 1e-2, "lr_max": 1e-3}, "lr_min=0.01 is above lr_max=0.001"),
        ({"lr_min": 0.0}, "above 0"),
        ({"freeze": ("layer9",)}, "'layer9'.*choose from backbone"),
        ({"freeze": ()}, "choose from backbone"),
        ({"bn": ("target", "target")}, "named twice"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        SearchSpace(**options)


def test_a_study_resumes_only_with_the_settings_it_was_begun_with(study, tmp_path):
    completed(study, [3.0, 2.0])
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
