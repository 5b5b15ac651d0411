"""Addresses and names: what is legal is read one way, what is not is refused before anything asks the registry."""

import pytest

from recording.exceptions import InputError
from registry.addresses import MAX_NAME, Selector, check_name


@pytest.mark.parametrize(
    ("address", "selector"),
    [
        ("models:/gaze-tracker/Production", Selector("gaze-tracker", "Production")),
        ("models:/gaze-tracker/staging", Selector("gaze-tracker", "Staging")),
        ("models:/car 7/12", Selector("car 7", version=12)),
        ("models:/gaze-tracker@night", Selector("gaze-tracker", alias="night")),
    ],
)
def test_an_address_names_a_stage_a_number_or_an_alias(address: str, selector: Selector) -> None:
    assert Selector.parse(address) == selector


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("gaze-tracker/3", "not a model address; write models:/gaze-tracker/Production"),
        ("models:/gaze-tracker", "not a model address"),
        ("models:/gaze-tracker/", "not a model address"),
        ("models:/a/b/3", "not a model address"),
        ("models:/gaze-tracker/latest", "'latest' .*choose Staging or Production"),
        ("models:/o'brien/3", 'model name "o\'brien"'),
    ],
)
def test_what_is_no_address_says_how_one_looks(address: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Selector.parse(address)


@pytest.mark.parametrize("name", ["gaze-tracker", "Gaze Tracker 2.1", "été_ü", "x" * MAX_NAME])
def test_names_that_mlflow_can_carry(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "a/b", "a:b", "o'brien", 'a"b', "a\\b", "a@b", "a?b", "a#b", "a%20b", "a\nb", "..", "x" * 251],
)
def test_names_that_mlflow_cannot_search_or_address(name: str) -> None:
    with pytest.raises(InputError, match="model name"):
        check_name(name)
