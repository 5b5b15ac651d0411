"""Promotions that meet, and promotions that die: one Production version, no line of the history lost."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mlflow
import pytest

from recording.exceptions import RegistryError
from registry import history, lock, resolving, stages
from registry.state import State, drifts

RACER = Path(__file__).with_name("racer.py")
MODEL = "gaze-tracker"
ROUNDS = 8


@contextmanager
def racer(*arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, str(RACER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen]:
    with racer("nursery") as process:
        yield process


@pytest.fixture
def killed(nursery: subprocess.Popen, tracking: str) -> Callable[..., list[str]]:
    """``killed(k, "promote", …)``: a command in a process of its own, SIGKILL before write k; the writes it came to."""

    def kill(at: int, *command: str) -> list[str]:
        nursery.stdin.write(json.dumps({"uri": tracking, "at": at, "command": command}) + "\n")
        nursery.stdin.flush()
        answer = json.loads(nursery.stdout.readline())
        assert answer["signal"] == signal.SIGKILL
        assert len(answer["writes"]) == at
        return answer["writes"]

    return kill


def names_of_production() -> set[int]:
    """What MLflow's stage address, the alias and our resolver say; one number when all agree."""
    client = mlflow.MlflowClient()
    by_stage = client.get_latest_versions(MODEL, ["Production"])[0].version
    by_alias = client.get_model_version_by_alias(MODEL, "production").version
    return {int(by_stage), int(by_alias), resolving.resolve(MODEL).version}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*get_latest_versions:FutureWarning")
def test_races_of_two_processes_leave_one_production_version_and_every_line(make_version: Callable) -> None:
    versions = [make_version(bias_deg=(bias, 1), n_holdout=20) for bias in (1, 1.1)]
    with ExitStack() as stack:
        racers = [stack.enter_context(racer("race", MODEL)) for _ in versions]
        assert [process.stdout.readline() for process in racers] == ["ready\n"] * 2
        # Nobody is in Production when a round begins, so both have something to do.
        for number in range(1, ROUNDS + 1):
            for process, version in zip(racers, versions, strict=True):
                process.stdin.write(f"{version}\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in racers] == ["promoted\n"] * 2, f"round {number}"
            state = State.read(MODEL)
            assert len(state.holders("Production")) == 1
            assert len(names_of_production()) == 1
            # The last line of the history is what is in Production.
            assert state.lines[-1].after == state.holders("Production")[0]
            stages.demote(MODEL, state.holders("Production")[0])
    lines = history.read(MODEL)
    assert [line.number for line in lines] == list(range(1, 3 * ROUNDS + 1))  # two promotions and a demotion a round
    assert {line.outcome for line in lines} == {"done"}
    chain = [(line.before, line.after) for line in lines]
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(chain))
    assert not [tag for tag in mlflow.MlflowClient().get_registered_model(MODEL).tags if tag.startswith(lock.PREFIX)]


# Promotion of v2 over v1: (write before which the process dies, what is in Production then, what the history says
# of the line after the repair). docs/registry.md has the same table.
KILLS = [
    (1, "put up the ticket", 1, None),
    (2, "take a number", 1, None),
    (3, "open the line", 1, None),
    (4, "move the stage", 1, "abandoned"),
    (5, "move the alias", 2, "finished later"),
    (6, "close the line", 2, "finished later"),
    (7, "take down the ticket", 2, "done"),
]


@pytest.mark.parametrize(("write", "step", "production", "outcome"), KILLS, ids=[kill[1] for kill in KILLS])
def test_a_promotion_killed_before_any_step_is_repaired_by_sync(
    make_version: Callable, killed: Callable, write: int, step: str, production: int, outcome: str | None
) -> None:
    make_version(bias_deg=(1, 1))
    make_version(bias_deg=(0.5, 0.5))
    stages.promote(MODEL, 1)
    killed(write, "promote", "--version", "2")
    assert resolving.resolve(MODEL).version == production  # whoever serves goes on meanwhile

    repaired, drifted = stages.sync(MODEL)

    assert drifted == []  # what our own command did is never mistaken for someone else's work
    assert bool(repaired) == (outcome in ("abandoned", "finished later"))
    state = State.read(MODEL)
    assert state.is_settled(production, "Production")
    assert [line.outcome for line in state.lines[1:]] == ([outcome] if outcome else [])
    assert not [tag for tag in mlflow.MlflowClient().get_registered_model(MODEL).tags if tag.startswith(lock.PREFIX)]


def test_the_next_promotion_repairs_as_well_and_says_so(make_version: Callable, killed: Callable) -> None:
    for bias in (1.0, 0.9, 0.8):
        make_version(bias_deg=(bias, bias))
    stages.promote(MODEL, 1)
    killed(5, "promote", "--version", "2")

    change = stages.promote(MODEL, 3)

    assert len(change.repaired) == 1
    assert "promote of version 2" in change.repaired[0]
    assert [(line.before, line.after, line.outcome) for line in history.read(MODEL)] == [
        (None, 1, "done"),
        (1, 2, "finished later"),
        (2, 3, "done"),
    ]
    assert State.read(MODEL).is_settled(3, "Production")


@pytest.mark.parametrize(
    ("write", "command", "stage", "outcome"),
    [
        (4, ["demote", "--version", "1"], "Production", "abandoned"),
        (5, ["demote", "--version", "1"], "None", "finished later"),
        (6, ["demote", "--version", "1"], "None", "finished later"),
        (4, ["delete", "--version", "2"], "None", "abandoned"),
        (5, ["delete", "--version", "2"], "Deleted", "finished later"),
    ],
)
def test_other_changes_are_repaired_the_same_way(
    make_version: Callable, killed: Callable, write: int, command: list[str], stage: str, outcome: str
) -> None:
    make_version()
    make_version()
    stages.promote(MODEL, 1)
    killed(write, *command)
    stages.sync(MODEL)
    state = State.read(MODEL)
    assert state.stage_of(int(command[-1])) == stage
    assert state.lines[-1].outcome == outcome
    assert drifts(state) == []


def test_a_living_holder_is_waited_for_and_named(make_version: Callable) -> None:
    make_version()
    with lock.turn(MODEL), pytest.raises(RegistryError, match=f"process {os.getpid()}.*try again"):  # noqa: SIM117
        with lock.turn(MODEL, wait_s=0.3):
            pytest.fail("two turns at once")


def test_a_ticket_of_a_dead_process_is_taken_down_at_once(make_version: Callable) -> None:
    make_version()
    client = mlflow.MlflowClient()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ticket = lock._identity() | {"pid": dead.pid, "number": 1}
    client.set_registered_model_tag(MODEL, "lock.dead", json.dumps(ticket))
    with lock.turn(MODEL, wait_s=5) as turn:
        turn.check()
    assert "lock.dead" not in client.get_registered_model(MODEL).tags


def test_a_ticket_of_another_machine_is_dead_when_it_stays_unchanged(
    make_version: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()
    client = mlflow.MlflowClient()
    ticket = lock._identity() | {"machine": "elsewhere", "number": None}
    client.set_registered_model_tag(MODEL, "lock.far", json.dumps(ticket))
    with pytest.raises(RegistryError, match="try again"), lock.turn(MODEL, wait_s=0.5):
        pytest.fail("a ticket that may be alive was passed over")
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    with lock.turn(MODEL, wait_s=10):
        assert "lock.far" not in client.get_registered_model(MODEL).tags


@pytest.mark.parametrize("value", ["someone", "{}", "[1]", '{"number": 1}'])
def test_a_persons_tag_that_begins_as_a_ticket_is_left_alone(make_version: Callable, value: str) -> None:
    make_version()
    client = mlflow.MlflowClient()
    client.set_registered_model_tag(MODEL, "lock.me", value)
    with lock.turn(MODEL, wait_s=5) as turn:
        turn.check()
    assert client.get_registered_model(MODEL).tags["lock.me"] == value


def test_a_ticket_that_cannot_be_read_is_waited_for_as_one_of_another_machine(
    make_version: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()
    client = mlflow.MlflowClient()
    key = "lock.0123456789ab"
    client.set_registered_model_tag(MODEL, key, '{"number": "3 of 7"}')
    with pytest.raises(RegistryError, match="cannot be read"), lock.turn(MODEL, wait_s=0.5):
        pytest.fail("a ticket that may be alive was passed over")
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    with lock.turn(MODEL, wait_s=10):
        assert key not in client.get_registered_model(MODEL).tags


def test_a_holder_that_lost_its_ticket_stops_before_the_next_step(make_version: Callable) -> None:
    make_version()
    with lock.turn(MODEL) as turn:
        mlflow.MlflowClient().delete_registered_model_tag(MODEL, turn.key)
        with pytest.raises(RegistryError, match="another command took over"):
            turn.check()


def test_a_holder_that_took_too_long_stops_before_the_next_step(
    make_version: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version()
    with lock.turn(MODEL) as turn:
        monkeypatch.setattr(lock, "_FRESH_S", 0.0)
        with pytest.raises(RegistryError, match="run it again"):
            turn.check()
