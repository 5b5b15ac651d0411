"""Answers that are kept between runs: as they were written, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training import kept_answers

ANSWERS = np.array([[1.5, -2.25], [0.1, 0.2], [-90.0, 30.0]])


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    kept_answers.write(tmp_path / "a.json", ANSWERS, epochs=3, ended="all epochs")
    answers, said = kept_answers.read(tmp_path / "a.json", 3)
    assert np.array_equal(answers, ANSWERS) and said == {"epochs": 3, "ended": "all epochs"}


def _digit(text: str) -> str:
    return text.replace("-2.25", "-7.25")


def _deep(_: str) -> str:
    return "[" * 100_000


def _without_sum(_: str) -> str:
    return json.dumps({"answers_deg": ANSWERS.tolist()})


@pytest.mark.parametrize("damage", [_digit, _deep, _without_sum, lambda text: text[:-9], lambda _: "null"])
def test_a_file_that_is_not_as_written_is_none(damage: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    kept_answers.write(path, ANSWERS, epochs=3)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=r"damaged|nested|delimiter|Unterminated|Expecting"):
        kept_answers.read(path, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308, 181.0])
def test_what_is_no_angle_is_none(value: float, tmp_path: Path) -> None:
    kept_answers.write(tmp_path / "a.json", np.where(ANSWERS == 0.1, value, ANSWERS))
    with pytest.raises(ValueError, match="holds no angles of 3 samples"):
        kept_answers.read(tmp_path / "a.json", 3)


def test_other_samples_are_none(tmp_path: Path) -> None:
    kept_answers.write(tmp_path / "a.json", ANSWERS.ravel())
    with pytest.raises(ValueError, match="holds no angles of 3 samples"):
        kept_answers.read(tmp_path / "a.json", 3)
