"""The search space: what is tried first, and which spaces are refused."""

import optuna
import pytest

from recording.exceptions import InputError
from training.learning.model import FREEZE_CHOICES
from training.searching.space import SearchSpace


def test_closed_forms_open_and_the_choice_that_trains_most_comes_next_with_the_most_epochs():
    opening = SearchSpace(freeze=("none", "layer2", "backbone", "layer3")).opening(1000)
    assert [one["freeze"] for one in opening] == ["backbone"] * 4 + ["none", "layer2", "layer3"]
    assert [(one["head"], one["bn"]) for one in opening[:4]] == [
        ("ridge", "target"),
        ("ridge", "source"),
        ("lad", "target"),
        ("affine", "target"),
    ]
    assert [one["epochs"] for one in opening] == [5, 5, 5, 5, 13, 5, 5]
    assert not any("head" in one for one in opening[4:]), "only a frozen backbone keeps what a solved head reads"


@pytest.mark.parametrize(("samples", "epochs"), [(1000, 13), (300, 22), (75, 30)])
def test_with_few_samples_the_choice_that_trains_most_gets_more_epochs(samples, epochs):
    opening = SearchSpace().opening(samples)
    assert [one["epochs"] for one in opening if one["freeze"] == "none"] == [epochs]


def test_few_samples_get_small_batches_unless_a_size_was_asked_for():
    sizes = [SearchSpace(batch_size=0).settled(samples).batch_size for samples in (5, 799, 800, 5000)]
    assert sizes == [8, 8, 16, 16]
    assert [SearchSpace(batch_size=32).settled(samples).batch_size for samples in (5, 5000)] == [32, 32]


def test_the_opening_stays_within_the_searched_ranges():
    (only,) = SearchSpace(
        freeze=("layer3",), bn=("source",), lr_min=1e-3, lr_max=1e-2, epochs_min=7, epochs_max=7
    ).opening(1000)
    assert only == {"freeze": "layer3", "bn": "source", "lr_layer3": 1e-3, "epochs": 7}
    assert len(SearchSpace(trials=2).opening(1000)) == 2
    two = SearchSpace(trials=2, freeze=("layer3", "backbone")).opening(1000)
    assert [one["freeze"] for one in two] == ["backbone", "layer3"]  # few trials: fewer heads
    frozen = SearchSpace(freeze=("backbone",), bn=("source",)).opening(1000)
    assert [one["head"] for one in frozen] == ["ridge", "lad", "affine"]


def test_each_freeze_choice_searches_its_part_of_the_learning_rates():
    space = SearchSpace()
    low, high = space.learning_rates("backbone")
    assert (low, high) == (1e-4, 1e-2)
    assert space.learning_rates("none") == (5e-5, 1e-3)
    assert SearchSpace(lr_min=2e-4, lr_max=4e-4).learning_rates("none") == (2e-4, 4e-4)
    # What the user asks for counts where the two do not meet.
    assert SearchSpace(lr_min=1e-5, lr_max=2e-5).learning_rates("backbone") == (1e-5, 2e-5)


@pytest.mark.parametrize("freeze", ["backbone", "none"])
def test_what_is_suggested_lies_in_the_range_of_its_freeze_choice(freeze):
    space = SearchSpace(freeze=(freeze,))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    low, high = space.learning_rates(freeze)
    rates = [space.suggest(study.ask()).lr for _ in range(20)]
    assert low <= min(rates) and max(rates) <= high


def test_the_search_leaves_time_for_the_final_training():
    assert SearchSpace(timeout=100).search_seconds() == pytest.approx(55)
    assert SearchSpace().search_seconds() == float("inf")


def test_activations_are_part_of_the_time_and_leave_some_of_it_for_a_result():
    assert SearchSpace(timeout=100).seconds_left(40) == 60
    assert SearchSpace(timeout=100).search_seconds(40) == pytest.approx(33)
    assert SearchSpace(timeout=100).search_seconds_at_most(40) == pytest.approx(51)
    assert SearchSpace(timeout=100).seconds_left(500) == 25
    assert SearchSpace().seconds_left(500) == float("inf")


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


@pytest.mark.parametrize("freeze", FREEZE_CHOICES)
def test_every_freeze_choice_opens_and_is_searched(freeze):
    space = SearchSpace(freeze=(freeze,), trials=6)
    rates = {trial[f"lr_{freeze}"] for trial in space.opening(1000)}
    low, high = space.learning_rates(freeze)
    assert all(low <= rate <= high for rate in rates)


def test_a_freeze_choice_that_has_no_range_of_its_own_searches_all(monkeypatch):
    """A further choice is a line in learning.model alone."""
    monkeypatch.setattr("training.searching.space.FREEZE_CHOICES", (*FREEZE_CHOICES, "stem"))
    space = SearchSpace(freeze=("backbone", "stem"), trials=8, lr_min=1e-4, lr_max=1e-3)
    assert space.learning_rates("stem") == (1e-4, 1e-3)
    monkeypatch.setattr("training.searching.space.FREEZE_CHOICES", ("backbone", "stem", "none"))
    assert [trial["lr_stem"] for trial in space.opening(1000) if "lr_stem" in trial] == [3e-4]


@pytest.mark.parametrize(
    ("timeout", "spent", "said"),
    [
        (300, 271, "timeout=1100 usually comes to a better model, and so do about 450 samples in the same time"),
        (60, 30, "timeout=120 usually comes to a better model, and so do about 820 samples in the same time"),
        (2, 14, "little is left to learn in; timeout=56 usually comes to a better model"),
        (300, 120, ""),
        (0, 5000, ""),
    ],
)
def test_a_timeout_that_goes_on_activations_is_said_with_what_would_do(timeout, spent, said):
    line = SearchSpace(timeout=timeout).too_short(spent, 1638)
    assert said in line
    assert bool(said) == bool(line)
    assert not said or line.startswith(f"timeout={timeout} IS SHORT FOR 1638 SAMPLES: {spent} s ")
    assert ("samples in the same time" in line) == (bool(said) and timeout > 2)


def test_where_only_some_activations_were_made_the_advice_is_what_all_of_them_would_have_led_to():
    line = SearchSpace(timeout=300).too_short(271 / 4, 1638, done=0.25)
    assert line.startswith("timeout=300 IS SHORT FOR 1638 SAMPLES: 271 s are what passes of all of them through")
    assert "timeout=1100 usually comes to a better model, and so do about 450 samples in the same time" in line
