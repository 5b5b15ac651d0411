"""A Ray cluster of the tests' own: nodes that are processes of this machine, small and quiet, and gone afterwards."""

import gc
import importlib.util
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import databases
import psutil
import pytest

ROOT = Path(__file__).parent.parent
STORE_BYTES = 100 * 2**20
QUIET = {
    "RAY_usage_stats_enabled": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # what else runs on this machine is no reason to end a trial
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",  # a killed node refuses at once; a busy one has ten seconds each time
    "RAY_raylet_start_wait_time_s": "180",
}


@contextmanager
def _careless() -> Iterator[None]:
    """Ray, when it starts or ends a process, leaves /dev/null and its handle of the process to garbage collection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()  # here, and not in the middle of a test


class Nodes:
    """A head without room for trials, and two nodes with two processors each."""

    @_careless()
    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False},
        )
        self.address = self._cluster.address
        self._nodes: dict[str, Any] = {}
        for _ in range(2):
            self.add()

    @_careless()
    def add(self) -> str:
        """One more node; its id."""
        made = self._cluster.add_node(num_cpus=2, memory=8 * 2**30, object_store_memory=STORE_BYTES)
        self._nodes[made.node_id] = made
        return str(made.node_id)

    def kill(self, node: str) -> None:
        """kill -9 of a node's own process; those of its workers end by themselves."""
        (raylet,) = self._nodes.pop(node).all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """kill -9 of everything that is Ray's, on all nodes at once; processes that trials run in are none of it."""
        session = Path(self._cluster.head_node.get_session_dir_path()).name
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                words = process.cmdline()
                if words[0].startswith("ray::") or any(session in word for word in words):
                    process.kill()

    @_careless()
    def end(self) -> None:
        self._cluster.shutdown()


@contextmanager
def nodes() -> Iterator[Nodes]:
    """Skips the test where Ray is not installed; leaves no process of the cluster, whatever happens."""
    if importlib.util.find_spec("ray") is None:
        databases.absent("Ray")
    before = set(psutil.Process().children(recursive=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUIET | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}).items():
            patch.setenv(name, value)
        made = None
        try:
            made = Nodes()
            yield made
        finally:
            if made is not None:
                made.end()
            left = set(psutil.Process().children(recursive=True)) - before
            for process in left:
                with suppress(psutil.Error):  # it ends just now
                    if "ray" in " ".join(process.cmdline()):
                        process.kill()


def gone(pid: int, within_s: float = 60.0) -> bool:
    """Whether a process ends within so many seconds."""
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
