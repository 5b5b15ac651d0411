"""Numbers and units: read where they can be meant in one way only."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recording import units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3.5", -3.5),
        ("\u22123.5", -3.5),
        ("\u20133,5", -3.5),
        (" 3,5 ", 3.5),
        ("\u00a012.25\u00b0", 12.25),
        ("1,5E+01", 15.0),
        ("+2", 2.0),
        ("\u22123", -3.0),
        ("\u20143", -3.0),
        ("\u2212 3,5 deg", -3.5),
        ("12.3\u00ba", 12.3),
        ("-4.5DEG", -4.5),
        ("-4\u200e", -4.0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert units.number(text) == value


@pytest.mark.parametrize(
    "text", ["", "1_000", "(3)", "3-", "1,234.5", "1.234,5", "1,2,3", "0x10", "left", "deg", "3 rad", "12 000", "1_0,5"]
)
def test_what_is_no_number_or_could_be_two(text: str) -> None:
    with pytest.raises(ValueError):
        units.number(text)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("azimuth [deg]", ("azimuth", "deg")),
        ("elevation (deg)", ("elevation", "deg")),
        ("azimuth_deg", ("azimuth", "deg")),
        ("elevation [rad]", ("elevation", "rad")),
        ("azimuth radians", ("azimuth", "rad")),
        ("azimuth", None),
        ("gaze x [px]", None),
        ("azimuth [deg] std", None),
    ],
)
def test_names_of_angle_columns(name: str, says: tuple[str, str] | None) -> None:
    assert units.angle_column(name) == says


def test_a_full_turn_from_zero() -> None:
    around = np.array([-20.0, -10, -5, -3, -2, -1, 0, 4, 30] * 4)
    full = units.angle_scale(around % 360, "deg")
    assert [full.degrees(value) for value in around % 360] == around.tolist()
    assert units.angle_scale(np.radians(around % 360), "rad").full
    for other in (around, around + 30, np.append(np.abs(around), 350.0), np.append(around % 360, [-5.0, 400.0])):
        assert not units.angle_scale(other, "deg").full


def test_radians_that_are_called_degrees() -> None:
    random = np.random.default_rng(0)
    gaze = np.radians(random.normal([3, -4], [13, 6], (200, 2)))
    assert units.radians_called_degrees(*gaze.T)
    assert not units.radians_called_degrees(*np.degrees(gaze).T)
    odd = np.vstack([gaze, [[500.0, -80.0]]])
    assert units.radians_called_degrees(*odd.T), "a single absurd value says nothing about the others"
    assert units.radians_called_degrees(gaze[:, 0], np.degrees(gaze[:, 1])), "one column of the two"
    assert not units.radians_called_degrees(gaze[:, 0], np.degrees(gaze[:, 1]) / 6), "looks ahead, all but still"
    still = np.full(200, 1.0)
    assert not units.radians_called_degrees(still, still), "one value all the time is a test, not a drive"
    assert units.angle_scale(gaze[:, 0], "rad").degrees(math.pi / 2) == pytest.approx(90)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.tuples(st.booleans(), st.booleans()))
def test_radians_of_a_full_turn_from_zero_that_are_called_degrees(seed: int, turned: tuple[bool, bool]) -> None:
    gaze = np.radians(np.random.default_rng(seed).normal([3, -4], [13, 6], (200, 2)))
    written = np.where(turned, gaze % math.tau, gaze).round(4)
    assert units.radians_called_degrees(*written.T)
    assert not units.radians_called_degrees(*np.where(turned, np.degrees(gaze) % 360, np.degrees(gaze)).T)
    assert units.radians_called_degrees(*np.vstack([written, [[500.0, -80.0]]]).T)
    for values, around in zip(written.T, gaze.T, strict=True):  # said to be radians, they are read
        scale = units.angle_scale(values, "rad")
        assert [scale.degrees(value) for value in values] == pytest.approx(np.degrees(around), abs=0.01)


def test_degrees_to_the_right_alone_are_no_radians_of_a_full_turn() -> None:
    random = np.random.default_rng(0)
    right = np.column_stack([random.uniform(0, 6.2, 200), random.normal(-4, 6, 200)])
    assert not units.radians_called_degrees(*right.T)


def test_elevation_alone_in_radians() -> None:
    gaze = np.random.default_rng(0).normal([3, -4], [13, 6], (200, 2))
    assert units.radians_called_degrees(gaze[:, 0], np.radians(gaze[:, 1])) == "move by 39.2 and by only 0.317"
    calm = gaze * [1, 0.1]  # a standard deviation of 0.6°
    assert not units.radians_called_degrees(*calm.T)
    ahead = np.column_stack([gaze[:, 0] / 3, np.radians(gaze[:, 1])])  # too little movement to say
    assert not units.radians_called_degrees(*ahead.T)


@pytest.mark.parametrize("deviation", [(0.75, 0.45), (0.6, 0.4), (0.9, 0.6), (0.5, 0.42)])
def test_degrees_of_a_driver_who_looks_straight_ahead(deviation: tuple[float, float]) -> None:
    looks = np.random.default_rng(0).normal([0.1, -0.2], deviation, (2400, 2))
    assert not units.radians_called_degrees(*looks.T)


@pytest.mark.parametrize(("column", "at"), [(0, 35.0), (0, -22.0), (1, -18.0)])
def test_one_look_that_is_too_far_for_radians(column: int, at: float) -> None:
    random = np.random.default_rng(0)
    looks = random.normal([0.1, -0.1], [0.3, 0.2], (2400, 2))
    assert units.radians_called_degrees(*looks.T)
    alone = looks.copy()
    alone[::240, column] = at + random.normal(0, 0.4, 10)
    assert units.radians_called_degrees(*alone.T), "single values are absurd ones"
    same = looks.copy()
    same[700:710, column] = at
    assert units.radians_called_degrees(*same.T), "one value is what a program writes for none"
    looks[700:710, column] = at + random.normal(0, 0.4, 10)
    assert not units.radians_called_degrees(*looks.T)


def test_looks_into_every_mirror_in_radians_are_radians() -> None:
    looks = np.random.default_rng(0).normal([0, -8], [35, 16], (2400, 2)).clip([-110, -80], [110, 60])
    assert units.radians_called_degrees(*np.radians(looks).T)


def test_a_look_below_zero_in_radians_of_a_full_turn_is_none_that_is_too_far() -> None:
    looks = np.random.default_rng(0).normal([25, 14], [5, 3], (2400, 2)).clip(2, 60)
    looks[700:712] = np.random.default_rng(1).normal(-3, 0.5, (12, 2))
    assert units.radians_called_degrees(*(np.radians(looks) % math.tau).round(4).T)
