"""Persons are held out, never pictures."""

import pytest

from recording.exceptions import InputError
from training.pretraining.splits import Fold, folds

NAMES = ("p00", "p01", "p02", "p03")


def test_without_a_word_the_last_person_is_held_out():
    assert folds(NAMES, "", False) == (Fold(("p00", "p01", "p02"), ("p03",)),)


def test_several_persons_are_held_out_together():
    (fold,) = folds(NAMES, "p03, p01", False)
    assert fold == Fold(("p00", "p02"), ("p01", "p03"))
    assert fold.name == "p01+p03"


def test_everybody_is_held_out_once_and_the_registered_one_comes_first():
    found = folds(NAMES, "p01", True)
    assert [fold.held_out for fold in found] == [("p01",), ("p00",), ("p02",), ("p03",)]
    assert all(sorted(fold.train + fold.held_out) == list(NAMES) for fold in found)


@pytest.mark.parametrize(
    ("held_out", "everybody", "named"),
    [
        ("p14", False, r"held_out=p14: p14 is not among the persons that can be used \(p00, p01, p02, p03\)"),
        (",".join(NAMES), False, "those are all persons"),
        ("p00,p01", True, "each person is left out once"),
    ],
)
def test_impossible_splits_are_named(held_out, everybody, named):
    with pytest.raises(InputError, match=named):
        folds(NAMES, held_out, everybody)
