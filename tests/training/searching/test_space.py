"""The search space: what is tried first, and which spaces are refused."""

import pytest

from recording.exceptions import InputError
from training.searching.space import SearchSpace


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
