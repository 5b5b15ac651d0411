"""``python -m benchmarks.workers``: trials an hour with several workers against one, where trials wait.

What is measured is the search itself: proposing, starting processes, hearing every epoch, writing the study.
``--cluster auto`` measures a Ray cluster that was started with room for as many (``ray start --head --num-cpus=8``).

``--workers 2 --compute`` measures trials that compute, as many for one worker as for several: by turns a ridge head
behind the frozen backbone, trained on, and everything behind layer3. They share the machine's cores, and what that
gains depends on the machine. Base, pictures and activations are there before; MLflow is left out.
"""

import argparse
import tempfile
import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna

from benchmarks.machine import machine
from benchmarks.memory import described
from training.learning.finetune import Epoch, TrialConfig
from training.searching import trial
from training.searching.process import Processes, Workers
from training.searching.search import Describe, Search
from training.searching.space import SearchSpace
from training.searching.study import Study
from training.searching.trial import TrialResult, TrialSpec

if TYPE_CHECKING:
    from training.searching.cluster import Cluster

EPOCHS = 5
TURNS = (
    TrialConfig("backbone", "source", 2e-4, 20, batch_size=16, head="ridge"),
    TrialConfig("layer3", "source", 1e-4, 3, batch_size=16, head="ridge"),
)
"""What trials that compute do, one after the other."""
SAMPLES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="at once, against one (8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a trial waits (10)")
    parser.add_argument("--rounds", type=int, default=4, help="trials of each worker (4)")
    parser.add_argument("--cluster", default="", help="on this Ray cluster: auto or HOST:PORT (on this machine)")
    parser.add_argument("--compute", action="store_true", help="trials that compute, on this machine")
    arguments = parser.parse_args()
    if arguments.compute:
        with tempfile.TemporaryDirectory() as work:
            _compare(arguments.workers, arguments.workers * arguments.rounds, Path(work))
        return
    with tempfile.TemporaryDirectory() as work, _cluster(arguments.cluster, Path(work)) as cluster:
        _measure(arguments, cluster)


def _cluster(address: str, work: Path) -> "AbstractContextManager[Cluster | None]":
    if not address:
        return nullcontext()
    from training.searching.cluster import connected

    return connected(address, work)


def _measure(arguments: argparse.Namespace, cluster: "Cluster | None") -> None:
    _head()
    if cluster is None:
        _search(_workers(1, None), 1, waiting(0.0))  # torch is imported once, by the server that all are forked from
    rates = []
    for workers in (1, arguments.workers):
        trials = workers * arguments.rounds
        with closing(_workers(workers, cluster)) as made:
            if cluster is not None:
                _search(made, workers, waiting(1.0))  # on a cluster, once for every worker
            rates.append(_told(workers, trials, _search(made, trials, waiting(arguments.seconds))))
    print(f"\n{arguments.workers} workers: {rates[1] / rates[0]:.2f} times the trials an hour of one")


def _compare(workers: int, trials: int, work: Path) -> None:
    """The same trials that compute, one at a time and so many at once."""
    _head()
    spec = described(work, SAMPLES)

    def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        return replace(spec, number=number, config=TURNS[number % len(TURNS)], checkpoint=checkpoint)

    with closing(Processes(1, body=compute)) as made:
        _search(made, len(TURNS), describe)  # fills the cache
    rates = []
    for size in (1, workers):
        with closing(Processes(size, body=compute)) as made:
            rates.append(_told(size, trials, _search(made, trials, describe)))
    print(f"\n{workers} workers: {rates[1] / rates[0]:.2f} times the trials an hour of one")


def _head() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"machine: {machine()}\n\n| workers | trials | seconds | trials an hour |\n|---|---|---|---|", flush=True)


def _told(workers: int, trials: int, seconds: float) -> float:
    """Trials an hour."""
    print(f"| {workers} | {trials} | {seconds:.1f} | {3600 * trials / seconds:.0f} |", flush=True)
    return 3600 * trials / seconds


def _workers(number: int, cluster: "Cluster | None") -> Workers:
    if cluster is None:
        return Processes(number, body=wait)
    from benchmarks import workers  # by its name: nodes have another main module
    from training.searching.slots import Slots

    return Slots(cluster, number, number, "cpu", workers.wait)


def _search(workers: Workers, trials: int, describe: Describe) -> float:
    """Seconds of a search for so many trials."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), "measured", SearchSpace(trials=trials), {}, 500)
        with closing(study):
            began = time.monotonic()
            Search(study, workers, describe).run()
            return time.monotonic() - began


def waiting(seconds: float) -> Describe:
    """Trials that wait so long each."""
    nothing = np.array([], dtype=np.int64)

    def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        return TrialSpec(
            number=number,
            config=config,
            base=Path(),
            together=(),
            samples=(),
            faces=(),
            train=nothing,
            validation=nothing,
            block=nothing,
            cache=Path(),
            checkpoint=checkpoint,
            device="cpu",
            tracking_uri="",
            experiment_id="",
            parent_run_id="",
            study="waiting",
            seconds_left=seconds,
        )

    return describe


def compute(spec: TrialSpec, connection: Connection) -> None:
    """A trial that trains as :func:`training.searching.trial.run` does, but for MLflow.

    It is never pruned, so that each search has the same work.
    """
    trial.keep_to_share(spec.threads, spec.accelerator)

    def keep_going(epoch: Epoch) -> bool:
        connection.send(("epoch", epoch))
        connection.recv()
        return True

    began = time.monotonic()
    outcome, batch_size, cache_seconds = trial.train(spec, keep_going)
    best, seconds = outcome.best, time.monotonic() - began
    ended = outcome.ended, len(outcome.epochs), batch_size, seconds, cache_seconds, outcome.sample_seconds
    connection.send(("done", TrialResult(best.angular_error_deg, best, *ended)))


def wait(spec: TrialSpec, connection: Connection) -> None:
    """A trial that waits ``spec.seconds_left`` and reports epochs meanwhile."""
    began = time.monotonic()
    for number in range(EPOCHS):
        time.sleep(max(0.0, spec.seconds_left / EPOCHS))  # below 0: its slot took longer to start
        epoch = Epoch(number, 0.1, 0.1, 1.0, 1.0, 2.0 + 1 / (1 + spec.number), spec.seconds_left / EPOCHS)
        connection.send(("epoch", epoch))
        connection.recv()
    spec.checkpoint.touch()
    result = TrialResult(epoch.angular_error_deg, epoch, "complete", EPOCHS, 16, time.monotonic() - began, 0.0, 0.0)
    connection.send(("done", result))


if __name__ == "__main__":
    main()
