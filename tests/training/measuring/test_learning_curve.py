"""What a curve says of drives whose truth is known: intervals cover it, floors are seen, and nothing is made up."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from curves import FALLING, SIZES, exact

from training.measuring import learning_curve
from training.measuring.learning_curve import DRAWS, Forecast, Measured, Outlook, fit, forecast

WITHOUT_FLOOR = {"n^-0.35": lambda n: 20 * n**-0.35, "n^-0.5": lambda n: 40 * n**-0.5}
WITH_FLOOR = {"3 + 60/n": lambda n: 3 + 60 / n, "3 + 15 n^-0.7": lambda n: 3 + 15 * n**-0.7}
TRUTHS = WITHOUT_FLOOR | WITH_FLOOR
DRIVES = 25


def drive(
    random: np.random.Generator, truth: Callable[[float], float], sizes=SIZES, repeats=3, blocks=10, chance=0.04
) -> Measured:
    """Some blocks are harder for all sizes, some for one of them; some trainings are lucky (``chance``)."""
    hard = np.exp(0.35 * random.standard_normal(blocks) - 0.06)
    errors = []
    for size in sizes:
        harder = 1 + 0.08 * random.standard_normal(blocks)
        lucky = 1 + chance * random.standard_normal((repeats, 1))
        noise = 1 + 0.08 * random.standard_normal((repeats, blocks))
        errors.append(np.abs(truth(size) * hard * harder * lucky * noise))
    return Measured(np.array(sizes), tuple(errors), random.integers(8, 22, blocks))


@cache
def said(name: str) -> list[Forecast]:
    """What is said of :data:`DRIVES` drives with that truth."""
    random = np.random.default_rng(5)
    return [forecast(drive(random, TRUTHS[name])) for _ in range(DRIVES)]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """A quarter of them: enough to see a share of drives."""
    monkeypatch.setattr(learning_curve, "DRAWS", DRAWS // 4)


@pytest.mark.parametrize("name", TRUTHS)
def test_the_forecast_covers_the_truth_on_at_least_four_of_five_drives(name):
    truth = TRUTHS[name]
    expected = [one.at(2 * SIZES[-1]) for one in said(name)]
    assert sum(one.low <= truth(2 * SIZES[-1]) <= one.high for one in expected) >= 0.8 * DRIVES
    # And is not wide enough to cover anything: the blocks' spread asks for about half of this.
    assert np.median([one.high - one.low for one in expected]) < truth(2 * SIZES[-1])


@pytest.mark.parametrize("name", WITH_FLOOR)
def test_a_floor_is_said_to_be_one_on_at_least_four_of_five_drives(name):
    outlooks = Counter(one.outlook for one in said(name))
    assert outlooks[Outlook.WILL_NOT_HELP] >= 0.8 * DRIVES, outlooks
    assert outlooks[Outlook.HELPS] <= 0.05 * DRIVES, outlooks


@pytest.mark.parametrize("name", WITHOUT_FLOOR)
def test_without_a_floor_more_data_is_given_up_on_at_most_one_of_five_drives(name):
    outlooks = Counter(one.outlook for one in said(name))
    assert outlooks[Outlook.WILL_NOT_HELP] <= 0.2 * DRIVES, outlooks
    assert outlooks[Outlook.HELPS] >= 0.8 * DRIVES, outlooks


@pytest.mark.parametrize(
    ("floor", "scale", "rate"), [(0.0, 20.0, 0.3), (2.0, 40.0, 0.5), (1.0, 100.0, 1.0), (4.0, 0.0, 0.5)]
)
def test_points_on_a_curve_give_that_curve(floor, scale, rate):
    sizes = np.array([60, 125, 250, 500, 1000])
    errors = floor + scale * sizes**-rate
    curve = fit(sizes, errors[None], np.ones(5))
    assert curve.at(2000)[0] == pytest.approx(floor + scale * 2000**-rate, rel=0.01)
    if scale:
        assert curve.floor_deg[0] == pytest.approx(floor, abs=0.1)


def test_many_curves_are_fitted_as_each_by_itself():
    random = np.random.default_rng(0)
    errors = np.sort(random.uniform(1, 9, (40, 4)))[:, ::-1]
    weights = random.uniform(1, 2, 4)
    together = fit(np.array(SIZES), errors, weights)
    for k, one in enumerate(errors):
        alone = fit(np.array(SIZES), one[None], weights)
        assert alone.floor_deg[0] == pytest.approx(together.floor_deg[k])
        assert alone.rate[0] == together.rate[k]
    assert (together.floor_deg >= 0).all() and (together.scale_deg >= 0).all()


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (exact({100: 8.0}), "1 size was measured"),
        (exact({100: 8.0, 800: 4.0}), "2 sizes were measured"),
        (exact({500: 8.0, 700: 7.0, 1000: 6.0}), "less than 4 times"),
        (exact(FALLING, repeats=1), "trained once"),
        (exact(FALLING, blocks=4), "4 test blocks"),
        (exact({100: 4.0, 200: 4.0, 400: 4.0, 800: 5.0}), "the error rises from 4.00° at 100 samples to 5.00° at 800"),
        (exact({50: 8.0, 100: 7.9, 200: 5.0, 400: 4.9, 800: 3.0}), "do not lie on a curve"),
        (exact({100: 8.0, 200: 7.0, 400: 6.2, 800: 5.8}, repeats=3, chance=0.2), "anything from"),
    ],
)
def test_what_cannot_be_told_says_why(measured, reason):
    told = forecast(measured)
    assert told.outlook == Outlook.CANNOT_TELL
    assert reason in told.reason


def test_the_samples_for_a_target_lie_where_the_curve_meets_it():
    told = forecast(exact({n: 40 * n**-0.5 for n in SIZES}, repeats=3))
    needed = told.needed(1.0)
    assert needed.value == pytest.approx(1600, rel=0.02)
    assert needed.low < 1600 < needed.high
    floored = forecast(exact({n: 3 + 60 / n for n in SIZES}, repeats=3))
    assert floored.needed(1.0).value == np.inf


def test_the_same_measurements_say_the_same():
    measured = drive(np.random.default_rng(2), WITHOUT_FLOOR["n^-0.5"])
    assert forecast(measured).at(2000) == forecast(measured).at(2000)
