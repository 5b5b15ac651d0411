"""Subsets that hold all smaller ones, thinned evenly or from the beginning; sizes that are there."""

import numpy as np
import pytest

from recording.exceptions import InputError
from training.measuring import subsets


@pytest.mark.parametrize("count", [16, 17, 100, 612])
def test_thinned_subsets_are_nested_even_and_others_in_each_repeat(count):
    orders = [subsets.order(count, "even", repeat, seed=3) for repeat in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(count))  # so its beginnings are nested
        for taken in (count // 8, count // 4, count // 2):
            gaps = np.diff(np.sort(order[:taken])) if taken > 2 else np.array([1])
            assert gaps.max() <= np.ceil(2.7 * count / taken)
    assert len({tuple(np.sort(order[: count // 2])) for order in orders}) == 3
    assert np.array_equal(orders[0], subsets.order(count, "even", 0, seed=3))


def test_the_first_samples_are_the_first():
    assert np.array_equal(subsets.order(9, "first", 2, seed=1)[:4], [0, 1, 2, 3])


def test_without_sizes_there_are_halvings_of_what_is_there():
    assert subsets.ladder((), 1000, 612) == (125, 250, 500, 1000)
    assert subsets.ladder((), 100, 61) == (50, 100)  # below, there is not one batch


@pytest.mark.parametrize(
    ("asked", "samples", "says"),
    [
        ((500, 2000), 1000, "sizes=2000: there are 1000 samples"),
        ((500,), 1000, "sizes=500: a curve needs two sizes"),
        ((10, 500), 1000, "sizes=10: 6 of them would be trained on, at least 16 are needed: sizes from 27 on"),
        ((), 20, "sizes=20: "),
    ],
)
def test_sizes_that_make_no_curve_are_refused(asked, samples, says):
    with pytest.raises(InputError) as error:
        subsets.ladder(asked, samples, round(0.61 * samples))
    assert says in str(error.value)
