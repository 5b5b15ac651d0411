"""``python -m benchmarks.workers``: trials an hour with several workers against one, where trials wait.

What is measured is the search itself: proposing, starting processes, hearing every epoch, writing the study. Trials
that compute share a machine's cores, and how much that gains depends on the machine. ``--cluster auto`` measures a Ray
cluster that was started with room for as many (``ray start --head --num-cpus=8``).
"""

import argparse
import tempfile
import time
from contextlib import AbstractContextManager, closing, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna

from benchmarks.machine import machine
from training.learning.finetune import Epoch, TrialConfig
from training.searching.process import Processes, Workers
from training.searching.search import Search
from training.searching.space import SearchSpace
from training.searching.study import Study
from training.searching.trial import TrialResult, TrialSpec

if TYPE_CHECKING:
    from training.searching.cluster import Cluster

EPOCHS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="at once, against one (8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a trial waits (10)")
    parser.add_argument("--rounds", type=int, default=4, help="trials of each worker (4)")
    parser.add_argument("--cluster", default="", help="on this Ray cluster: auto or HOST:PORT (on this machine)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, _cluster(arguments.cluster, Path(work)) as cluster:
        _measure(arguments, cluster)


def _cluster(address: str, work: Path) -> "AbstractContextManager[Cluster | None]":
    if not address:
        return nullcontext()
    from training.searching.cluster import connected

    return connected(address, work)


def _measure(arguments: argparse.Namespace, cluster: "Cluster | None") -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"machine: {machine()}\n\n| workers | trials | seconds | trials an hour |\n|---|---|---|---|")
    if cluster is None:
        _search(_workers(1, None), 1, 0.0)  # torch is imported once, by the server that all processes are forked from
    rates = []
    for workers in (1, arguments.workers):
        trials = workers * arguments.rounds
        with closing(_workers(workers, cluster)) as made:
            if cluster is not None:
                _search(made, workers, 1.0)  # on a cluster, once for every worker
            seconds = _search(made, trials, arguments.seconds)
        rates.append(3600 * trials / seconds)
        print(f"| {workers} | {trials} | {seconds:.1f} | {rates[-1]:.0f} |", flush=True)
    print(f"\n{arguments.workers} workers: {rates[1] / rates[0]:.2f} times the trials an hour of one")


def _workers(number: int, cluster: "Cluster | None") -> Workers:
    if cluster is None:
        return Processes(number, body=wait)
    from benchmarks import workers  # by its name: nodes have another main module
    from training.searching.slots import Slots

    return Slots(cluster, number, number, "cpu", workers.wait)


def _search(workers: Workers, trials: int, seconds: float) -> float:
    """Seconds of a search whose trials wait so long each."""

    def describe(number: int, config: TrialConfig, checkpoint: Path, seconds_left: float) -> TrialSpec:
        nothing = np.array([], dtype=np.int64)
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

    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), "waiting", SearchSpace(trials=trials), {}, 500)
        with closing(study):
            began = time.monotonic()
            Search(study, workers, describe).run()
            return time.monotonic() - began


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
