"""Trials in processes of this machine: what each gets of it, and that nobody stays or takes others along."""

import os
import signal
import time

import psutil
import pytest
import torch
import trials

from training.learning.finetune import TrialConfig
from training.searching import process
from training.searching.process import Processes, accelerators
from training.searching.trial import TrialSpec


def spec(number: int) -> TrialSpec:
    """A trial of nothing."""
    given = dict.fromkeys(TrialSpec.__dataclass_fields__)
    config = TrialConfig("backbone", "source", 1e-3, 1)
    return TrialSpec(**given | {"number": number, "config": config, "threads": 0, "accelerator": ""})


@pytest.fixture
def workers(request):
    """Processes that run a body of :mod:`trials`."""
    body, size, *devices = request.param
    made = Processes(size, *devices, body=body)
    yield made
    made.close()


def last_words(workers: Processes, trials_: int) -> dict[int, tuple[str, object]]:
    said, deadline = {}, time.monotonic() + 300
    while len(said) < trials_ and time.monotonic() < deadline:
        for number, kind, what in workers.hear(1):
            if kind == "epoch":
                workers.answer(number, True)
            else:
                said[number] = kind, what
    return said


@pytest.mark.parametrize("workers", [(trials.say_share, 2, ("4", "GPU-b"))], indirect=True)
def test_every_worker_has_an_accelerator_of_its_own_and_its_share_of_the_threads(workers, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    workers.start(spec(0))
    workers.start(spec(1))
    shares = {what for _, what in last_words(workers, 2).values()}
    assert shares == {(3, "4"), (3, "GPU-b")}
    workers.start(spec(2))
    assert last_words(workers, 1) == {2: ("done", (3, "4"))}, "a place that came free was not given again"


@pytest.mark.parametrize("workers", [(trials.say_share, 1, ("4", "5"))], indirect=True)
def test_a_single_worker_finds_the_machine_as_it_is(workers):
    workers.start(spec(0))
    (said,) = last_words(workers, 1).values()
    assert said == ("done", (torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")))


@pytest.mark.parametrize("workers", [(trials.say_imported, 1)], indirect=True)
def test_what_takes_seconds_to_import_is_there_when_a_trial_begins(workers):
    """MLflow imports what it writes to a database with when it first does so: a second of each trial."""
    workers.start(spec(0))
    ((_, there),) = last_words(workers, 1).values()
    assert {"torch", "mlflow.store.tracking.sqlalchemy_store"} <= there


@pytest.mark.parametrize("workers", [(trials.first_one_dies, 2)], indirect=True)
def test_a_trial_that_dies_takes_nobody_along(workers):
    workers.start(spec(0))
    workers.start(spec(1))
    said = last_words(workers, 2)
    assert said[0][0] == "lost"
    assert "signal SIGKILL" in said[0][1]
    assert said[1] == ("done", True)


@pytest.mark.parametrize("workers", [(trials.heed_nobody, 3)], indirect=True)
def test_trials_that_do_not_heed_the_end_are_ended_together(workers, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 2.0)
    for number in range(3):
        workers.start(spec(number))
    pids = [int(what) for _, what in last_words(workers, 3).values()]
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 5.0, "each had a grace of its own"
    assert not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize(
    ("device", "visible", "expected"), [("cuda", "2, 3", ("2", "3")), ("cuda", None, ("0", "1")), ("cpu", "2", ())]
)
def test_accelerators_are_those_that_this_process_may_use(monkeypatch, device, visible, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert accelerators(device) == expected


def test_a_ctrl_c_while_trials_imports_begin_does_not_reach_them(monkeypatch):
    """It goes to the whole group, and a process that imports would die of it with a page of its own."""
    blocked = []
    monkeypatch.setattr(
        process.forkserver, "ensure_running", lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    )
    process.warm_up()
    assert signal.SIGINT in blocked[0]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
