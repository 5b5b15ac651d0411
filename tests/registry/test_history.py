"""The history: append-only lines in tags, ordered, within what every database keeps."""

import json
from collections.abc import Callable

import mlflow
import pytest

from recording.exceptions import InputError
from registry import history
from registry.history import Line

MODEL = "gaze-tracker"
STAGES = ("Staging", "Production")


def line(
    action: str, after: int | None, *, before: int | None = None, stage: str | None = "Production", **more
) -> Line:
    fields = {"version": after or before or 1, "from_stage": "None", "to_stage": stage or "Archived"} | more
    return Line(action=action, stage=stage, before=before, after=after, **({"outcome": "done"} | fields))


def test_lines_come_back_in_order_with_person_and_time(make_version: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ana")
    for number in range(1, 12):  # past ten: tags sort as text
        written = history.begin(MODEL, line("promote", number), history.read(MODEL))
        history.end(MODEL, written, "done")
    found = history.read(MODEL)
    assert [entry.after for entry in found] == list(range(1, 12))
    assert {entry.outcome for entry in found} == {"done"}
    assert found[0].who.startswith("ana@")
    assert found[0].time.endswith("Z")


def test_a_line_is_never_rewritten(make_version: Callable) -> None:
    make_version()
    written = history.begin(MODEL, line("promote", 1), [])
    before = mlflow.MlflowClient().get_registered_model(MODEL).tags
    history.end(MODEL, written, "done")
    after = mlflow.MlflowClient().get_registered_model(MODEL).tags
    assert before.items() <= after.items()
    assert set(after) - set(before) == {f"{written.key}.end"}


def test_two_lines_of_one_number_are_both_kept(make_version: Callable) -> None:
    """Should two writers ever meet in spite of the turn, nothing is lost."""
    make_version()
    history.begin(MODEL, line("promote", 1), [])
    history.begin(MODEL, line("promote", 2), [])
    assert sorted(entry.after for entry in history.read(MODEL)) == [1, 2]


def test_a_line_without_its_end_is_open(make_version: Callable) -> None:
    make_version()
    history.begin(MODEL, line("promote", 1), [])
    assert history.read(MODEL)[0].outcome is None


def test_a_line_fits_what_postgresql_keeps(make_version: Callable) -> None:
    make_version()
    checks = [{"check": f"check {n}", "found": "x" * 300, "limit": "y", "passed": n != 3} for n in range(20)]
    history.begin(MODEL, line("promote", 1, gate=checks, why="w" * history.MAX_WHY), [])
    tags = mlflow.MlflowClient().get_registered_model(MODEL).tags
    assert max(map(len, tags.values())) <= 5000
    kept = history.read(MODEL)[0].gate
    assert [check["passed"] for check in kept] == [n != 3 for n in range(20)]


def test_a_reason_too_long_to_keep_is_refused() -> None:
    assert history.check_why("  two\nlines ") == "two lines"
    with pytest.raises(InputError, match="1000"):
        history.check_why("w" * 1001)


def test_only_lines_that_held_count_for_what_is_expected() -> None:
    lines = [
        line("promote", 1),
        line("promote", 2, outcome="refused"),
        line("promote", 3, outcome="abandoned"),
        line("promote", 4, outcome="finished later"),
        line("promote", 5, outcome=None),
    ]
    assert history.expected(lines, STAGES) == {"Staging": None, "Production": 4}


def test_predecessors_are_a_pile_that_rollbacks_take_from() -> None:
    lines = [line("promote", number) for number in (1, 2, 3)]
    assert history.predecessors(lines, "Production") == [2, 1]
    lines.append(line("rollback", 2))
    assert history.predecessors(lines, "Production") == [1]
    lines.append(line("promote", 4))
    assert history.predecessors(lines, "Production") == [2, 1]
    assert history.predecessors(lines, "Staging") == []


def test_the_person_is_known_even_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setattr(history.getpass, "getuser", nameless)
    assert history.who().startswith("uid ")


FOREIGN = {
    "history.note": "hello",
    "history.2026.autumn": "{}",
    "history.000099.zz": "{}",
    "history.000098.ab12cd34": "[" * 100_000,
    "history.000097.ab12cd34": '{"action": "promote"}',
    "history.x.y.z": "x",
}


@pytest.mark.parametrize("key", FOREIGN)
def test_a_persons_tag_that_begins_as_a_line_is_named_once_and_left_alone(make_version: Callable, key, caplog) -> None:
    history.warn_of_foreign.cache_clear()
    make_version()
    history.end(MODEL, history.begin(MODEL, line("promote", 1), []), "done")
    mlflow.MlflowClient().set_registered_model_tag(MODEL, key, FOREIGN[key][:5000])
    for _ in range(2):
        assert [entry.action for entry in history.read(MODEL)] == ["promote"]
    assert [key in record.message for record in caplog.records].count(True) == 1


def test_a_line_of_a_later_release_is_read(make_version: Callable) -> None:
    make_version()
    key = history.begin(MODEL, line("promote", 1, why="first"), []).key
    client = mlflow.MlflowClient()
    fields = json.loads(client.get_registered_model(MODEL).tags[key]) | {"ticket": "GAZE-12", "number": 77}
    client.set_registered_model_tag(MODEL, key, json.dumps(fields))
    client.set_registered_model_tag(MODEL, f"{key}.end", '{"outcome": "done", "took_s": 3}')
    (found,) = history.read(MODEL)
    assert (found.why, found.number, found.outcome) == ("first", 1, "done")


@pytest.mark.parametrize("end", ["", "[]", "done", '{"time": "now"}'])
def test_a_line_whose_end_says_nothing_is_open(make_version: Callable, end) -> None:
    make_version()
    key = history.begin(MODEL, line("promote", 1), []).key
    mlflow.MlflowClient().set_registered_model_tag(MODEL, f"{key}.end", end)
    assert history.read(MODEL)[0].outcome is None
