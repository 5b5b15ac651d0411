"""Correlating stretches: what the quick sums give is what one place after the other does."""

import numpy as np

from recording.correlation import FEWEST, LEAST_OVERLAP, Grid


def test_correlation_is_that_of_what_mean_and_slope_do_not_explain() -> None:
    random = np.random.default_rng(0)
    walk = 4 * np.cumsum(random.normal(size=(240, 144)), axis=0)
    pictures = np.clip(walk, -127, 127).astype(np.int8)
    seconds = 0.25 * np.arange(240) + random.uniform(0, 0.05, 240)
    known = np.r_[0:100, 120:200]  # with a hole
    grid = Grid(seconds[known], pictures[known], 0.25)
    for chosen in (np.r_[150:214], np.r_[20:60:2]):  # beyond its end, and within at other steps
        own, at = pictures[chosen] / 32, np.round((seconds[chosen] - seconds[chosen[0]]) / grid.step).astype(int)
        correlation, offsets = grid.correlate(seconds[chosen], pictures[chosen])
        expected = np.zeros(len(offsets))
        for place in range(len(offsets)):
            there = place - at[-1] + at
            both = (there >= 0) & (there < len(grid.there))
            both[both] = grid.there[there[both]] > 0
            if both.sum() >= max(FEWEST, LEAST_OVERLAP * len(at)):
                steady = np.column_stack([np.ones(both.sum()), at[both]])
                left = [
                    values - steady @ np.linalg.lstsq(steady, values, rcond=None)[0]
                    for values in (own[both], grid.pictures[there[both]].astype(float))
                ]
                expected[place] = (left[0] * left[1]).sum() / np.sqrt((left[0] ** 2).sum() * (left[1] ** 2).sum())
        np.testing.assert_allclose(correlation, expected, atol=1e-4)
        assert correlation.max() > 0.9
        assert abs(offsets[correlation.argmax()]) <= grid.step
