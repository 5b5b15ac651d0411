"""Two sides that take turns: what is printed of them."""

import pytest

from benchmarks import against


def test_the_first_turns_do_not_count_and_ratios_are_those_of_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    def side(name: str, seconds: list[float]) -> against.Turn:
        left = iter(seconds)

        def turn() -> float:
            said.append(name)
            return next(left)

        return turn

    turns = {"before": side("before", [99, 10, 20, 10]), "now": side("now", [1, 11, 20, 9])}
    against._print("reading", turns, 3)
    assert capsys.readouterr().out == "| reading | 10.00 s | 11.00 s | 1.000 | 0.900 to 1.100 |\n"
    assert said == ["before", "now"] * 4


def test_processor_seconds_are_those_of_the_command_alone() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    assert against._spent(against.ROOT, "-c", busy) >= 0.3
    with pytest.raises(SystemExit, match="failed in"):
        against._spent(against.ROOT, "-c", "raise ValueError")
