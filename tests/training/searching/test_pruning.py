"""Who is ended early."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from training.searching.pruning import LearningCurvePruner
from training.searching.space import SearchSpace


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(pruner=LearningCurvePruner())


def completed(study: optuna.Study, values: list[float], freeze: str = "none") -> None:
    """A finished trial with these validation errors by epoch."""
    study.add_trial(
        create_trial(
            params={"freeze": freeze, "bn": "target", "lr": 1e-3, "epochs": len(values)},
            distributions={
                "freeze": CategoricalDistribution(SearchSpace().freeze),
                "bn": CategoricalDistribution(SearchSpace().bn),
                "lr": FloatDistribution(1e-5, 1e-2, log=True),
                "epochs": IntDistribution(1, 30),
            },
            value=min(values),
            intermediate_values=dict(enumerate(values, start=1)),
            state=TrialState.COMPLETE,
        )
    )


def stopped_at(study: optuna.Study, values: list[float], freeze: str = "none") -> int | None:
    """The epoch after which a trial with these errors is ended, None when it may finish."""
    study.enqueue_trial({"freeze": freeze})
    trial = study.ask()
    SearchSpace().suggest(trial)
    for epoch, value in enumerate(values, start=1):
        trial.report(value, epoch)
        if trial.should_prune():
            return epoch
    return None


def test_the_first_trial_is_never_stopped(study):
    assert stopped_at(study, [50.0, 60.0, 70.0, 80.0]) is None


@pytest.mark.parametrize(
    ("values", "epoch"),
    [
        ([30.0, 20.0, 3.7, 2.5], None),  # the warm-up is no reason to end a trial
        ([5.9, 4.5, 4.1], 3),
        ([5.0, 3.9, 3.0, 2.5], None),  # a slower start may still win
        ([5.0, 3.9, 3.8], 3),
        ([4.0, 3.0, 3.0, 2.4, 2.2, 2.25], 6),  # as good as the best one was is not enough late in a trial
        ([4.0, 3.0, 3.0, 2.4, 2.2, 1.9], None),
    ],
)
def test_a_trial_behind_the_best_one_at_the_same_epoch_ends(study, values, epoch):
    completed(study, [4.0, 3.0, 3.0, 2.4, 2.2, 2.0])
    assert stopped_at(study, values) == epoch


def test_epochs_that_the_best_trial_did_not_reach_are_not_compared_with_it(study):
    completed(study, [4.0, 3.0])
    assert stopped_at(study, [4.0, 3.0, 9.0]) is None


def test_a_frozen_backbone_is_no_measure_for_a_trial_that_trains_all_layers(study):
    """Three quick trials in closed form are done before the open one has come out of its warm-up."""
    for _ in range(3):
        completed(study, [4.0, 3.9, 3.9, 3.9, 3.9, 3.9], freeze="backbone")
    assert stopped_at(study, [9.0, 8.0, 5.5, 4.0, 3.0]) is None
    assert stopped_at(study, [9.0, 8.0, 5.5, 4.0, 3.0], freeze="backbone") == 3


def test_half_of_the_trials_alike_being_better_ends_a_trial(study):
    for value in (3.0, 3.1, 3.2):
        completed(study, [4.0, 4.0, 4.0, value])
    assert stopped_at(study, [3.9, 3.9, 3.9, 3.15]) == 4
    assert stopped_at(study, [3.9, 3.9, 3.9, 3.05]) is None


def test_heads_that_had_nothing_to_learn_do_not_make_an_open_trial_hopeless(study):
    """On 75 photographs the trial that would have won began twice as wrong as the solved head, and was ended."""
    for freeze in ("backbone", "backbone", "layer3"):
        completed(study, [28.0, 28.0, 28.0, 28.0, 28.0], freeze=freeze)
    assert stopped_at(study, [53.0, 51.0, 48.0, 45.0, 40.0]) is None


def test_where_few_samples_make_few_steps_the_rules_set_in_later():
    few = optuna.create_study(pruner=LearningCurvePruner(steps=5))
    best = [50.0 - epoch for epoch in range(20)]
    completed(few, best)
    slow = [70.0 - epoch for epoch in range(20)]
    assert stopped_at(few, slow) == 12  # as many steps as three epochs of twenty
