"""A Ray cluster: connected to and looked at before anything is computed; who fits where; tasks on it.

Ray is imported here and in :mod:`training.searching.slots`, and these are imported when ``cluster=`` is given.
"""

import logging
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import mlflow
import ray
from ray.exceptions import GetTimeoutError, RayError, RaySystemError, RpcError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recording import fleet
from recording.exceptions import GazeError, InputError
from recording.fleet import Outcome, Task
from registry.logins import hide
from training.searching import nodes
from training.searching.nodes import About
from training.searching.shares import Node, Share, share
from training.searching.storage import MOST_RETRIES

log = logging.getLogger(__name__)

CONNECT_S = 10.0
ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
ANSWER_S = 60.0
ASK_S = 120.0  # for the first process on a node that looks at it: on a busy one that takes a while
LOST_S = 40.0
"""Without an answer of the head, or of this machine's own node: after 60 s Ray ends the process, without a word."""
LOOK_S = 1.0  # between two looks whether these are there, at least
LISTEN_S = 5.0
DRIVES_EACH = 8
"""Prepared by a process, until another one takes its place: it takes seconds to start, and holds on to memory."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOST = (ConnectionError, RpcError, RaySystemError)
"""What Ray raises where it has noticed itself that what it talks to is gone."""
GO_ON = "start it again, and go on with study=NAME"
Found = TypeVar("Found")


def on_node(node: str) -> dict[str, Any]:
    """Ray's option for something that is to run on that node and no other."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class Cluster:
    """A cluster that we are connected to, whose nodes are looked at. ``shared``: whether all of them see our ``work``.

    Raises :class:`InputError`, one line, for the first node that does not fit.
    """

    def __init__(self, address: str, work: Path):
        self.address, self.work, self.gone = address, work.absolute(), False
        self._lifelines = lifelines(address)
        self._answered = dict.fromkeys(self._lifelines, time.monotonic())
        self._looked = 0.0
        self._ours = nodes.about(self.work, "")
        there = alive()
        self._fit = dict.fromkeys((node.id for node in there), True)
        said = self._said(there)
        self.shared = self._is_shared(there, said)
        for node, one in zip(there, said, strict=True):
            self._check(node, one)
        how = "seen by all" if self.shared else "this machine's; what they need is copied to them"
        log.info("cluster %s: %d nodes; work=%s is %s", address, len(there), work, how)

    def check(self, *, now: bool = False) -> None:
        """Raises :class:`GazeError` where what this process cannot do without is gone: Ray itself would wait.

        It is looked for from time to time, or ``now``.
        """
        if not now and time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        for name, place in self._lifelines.items():
            try:
                socket.create_connection(place, CONNECT_S).close()
                self._answered[name] = time.monotonic()
            except OSError as error:
                if isinstance(error, ConnectionRefusedError) or time.monotonic() - self._answered[name] > LOST_S:
                    self.gone = True
                    raise GazeError(
                        f"cluster={self.address}: {name} is gone ({error.strerror or error}); {GO_ON}"
                    ) from None

    def watched(self, act: Callable[[], Found]) -> Found:
        """What ``act`` returns. Raises :class:`GazeError` where it failed because the cluster is gone."""
        try:
            return act()
        except GazeError:
            raise
        except Exception as error:
            self.check(now=True)
            if isinstance(error, LOST):
                self.gone = True
                reason = str(error).strip().split("\n")[0]
                raise GazeError(f"cluster={self.address}: the connection to it is lost ({reason}); {GO_ON}") from error
            raise

    def nodes(self) -> list[Node]:
        """The nodes that are there and fit: those that came later are looked at, and left alone where they do not."""
        there = alive()
        for node in there:
            if node.id not in self._fit:
                try:
                    self._check(node, *self._said([node]))
                    self._fit[node.id] = True
                except InputError as error:
                    log.warning("%s; it is left alone", error)
                    self._fit[node.id] = False
        return [node for node in there if self._fit[node.id]]

    def _said(self, there: Sequence[Node]) -> list[About]:
        """What the nodes say of themselves, all asked at once. Raises :class:`InputError` where one cannot."""
        tracking = mlflow.get_tracking_uri()
        with tempfile.NamedTemporaryFile(dir=self.work, prefix=".cluster-") as token:
            remote = ray.remote(num_cpus=0)(nodes.about)
            asked = [remote.options(**on_node(node.id)).remote(Path(token.name), tracking) for node in there]
            return [self._answer(node, one) for node, one in zip(there, asked, strict=True)]

    def _answer(self, node: Node, asked: Any) -> About:
        try:
            said: About = ray.get(asked, timeout=ASK_S)
        except GetTimeoutError:
            raise InputError(
                f"{self._name(node)} does not answer within {ASK_S:.0f} s; end its Ray, or wait until it is less busy"
            ) from None
        except RayError as error:
            reason = str(error).strip().split("\n")[-1]
            raise InputError(
                f"{self._name(node)} cannot run this project's code ({reason}); start Ray there in the project's "
                "environment, with PYTHONPATH set to its folder"
            ) from error
        return said

    def _name(self, node: Node) -> str:
        return f"cluster={self.address}: node {node.host} ({node.address})"

    def _is_shared(self, there: Sequence[Node], said: Sequence[About]) -> bool:
        """Whether the nodes on other machines see our folder: all or none of them."""
        away = [(node, one) for node, one in zip(there, said, strict=True) if one.host != self._ours.host]
        blind = [node for node, one in away if not one.sees_work]
        if blind and len(blind) < len(away):
            raise InputError(
                f"{self._name(blind[0])} does not see work={self.work}, which others do; mount it there, or give a "
                "folder that is this machine's alone"
            )
        check_tracking(self.address, mlflow.get_tracking_uri(), {node.host for node, _ in away})
        return not blind

    def _check(self, node: Node, said: About) -> None:
        """Raises :class:`InputError` where a node differs from this machine."""
        for name, version in self._ours.versions.items():
            if said.versions[name] != version:
                raise InputError(
                    f"{self._name(node)} has {name} {said.versions[name]}, this machine {version}; install the same "
                    "there: pip install -r requirements/training.txt -r requirements/cluster.txt"
                )
        if said.code != self._ours.code:
            raise InputError(f"{self._name(node)} has other code of this project; check out the same commit there")
        if said.unreachable:
            raise InputError(
                f"{self._name(node)} cannot reach MLflow at {hide(mlflow.get_tracking_uri())} ({said.unreachable}); "
                "give an address that all nodes reach"
            )
        if self.shared and not said.sees_work:
            raise InputError(f"{self._name(node)} does not see work={self.work}; mount it there")

    def shares(self, path: Path) -> bool:
        """Whether all nodes see this path as we do."""
        return self.shared and path.is_relative_to(self.work)

    def device(self, asked: str) -> str:
        """What trials compute on: ``cuda`` where a node has GPUs and nothing else was asked for."""
        return "cuda" if asked in ("auto", "cuda") and any(node.gpus for node in self.nodes()) else "cpu"

    def share(self, wanted: int, at_most: int, device: str) -> Share:
        """What each of ``wanted`` trials (0: as many as fit, of ``at_most``) gets."""
        try:
            return share(self.nodes(), wanted, at_most, int(device == "cuda"))
        except InputError as error:
            raise InputError(f"cluster={self.address}: {error}") from None

    def prepare(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        """(number, outcome) of every drive, as they come: each a task of its own. For ``work`` that all nodes share."""
        each = self.share(0, len(tasks), "cpu")
        remote = ray.remote(max_calls=DRIVES_EACH, max_retries=MOST_RETRIES)(fleet.prepare_one).options(
            **each.resources()
        )
        asked = {remote.remote(replace(task, threads=each.cpus)): number for number, task in enumerate(tasks)}
        try:
            while asked:
                self.check()
                done, _ = ray.wait(list(asked), timeout=LISTEN_S)
                for ready in done:
                    number = asked.pop(ready)
                    yield number, _outcome(ready, tasks[number])
        finally:
            for reference in () if self.gone else asked:
                ray.cancel(reference, force=True)


def _outcome(reference: Any, task: Task) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except RayError as error:
        reason = str(error).strip().split("\n")[0]
        return Outcome(task.entry, error=f"its preparation was lost ({reason}); the same command continues it")
    return outcome


@contextmanager
def connected(address: str, work: Path) -> Iterator[Cluster]:
    """The cluster at ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; let go afterwards, with all of ours on it.

    Raises :class:`InputError`, one line, when it is not there or does not suit.
    """
    _knock(address)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        # Not even errors: of a node that is gone Ray shows a page of its log, and we say it in a line.
        ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cluster={address}: cannot be used ({reason}); see docs/machines.md") from error
    finally:
        for number, handler in handlers.items():  # Ray puts its own in place of those that end the command in order
            signal.signal(number, handler)
    cluster = None
    try:
        cluster = Cluster(address, work)
        yield cluster
    finally:
        if cluster is None or not cluster.gone:
            ray.shutdown()


def check_tracking(address: str, tracking_uri: str, others: set[str]) -> None:
    """Raises :class:`InputError` where MLflow's store is a file here and nodes are on ``others`` machines."""
    if others and urlsplit(tracking_uri).scheme in ("", "file", "sqlite"):
        raise InputError(
            f"cluster={address}: node {min(others)} cannot reach MLflow's store {tracking_uri}, which is this "
            "machine's; start a server (docs/machines.md) and set MLFLOW_TRACKING_URI to it"
        )


def _place(address: str) -> tuple[str, int] | None:
    """Host and port of an address; ``None`` where it has none, as ``auto``."""
    named = re.fullmatch(r"(?:ray://)?([^/:]+|\[[0-9a-fA-F:]+\]):(\d+)", address)
    return None if named is None else (named[1].strip("[]"), int(named[2]))


def _knock(address: str) -> None:
    """Ray itself waits for minutes for a cluster that is not there, and longer where something else answers."""
    named = _place(address)
    if named is None:
        return
    try:
        socket.create_connection(named, CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cluster={address}: nobody answers there ({reason}); start the head node (docs/machines.md), or check the "
            "address"
        ) from None
    if address.startswith("ray://"):
        return
    try:  # in a process of its own, which can be ended
        subprocess.run([sys.executable, "-c", ASK, address], capture_output=True, check=True, timeout=ANSWER_S)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise InputError(
            f"cluster={address}: what answers there is no head node of Ray; give the port of ray start --head (6379)"
        ) from None


def lifelines(address: str) -> dict[str, tuple[str, int]]:
    """Where what a search cannot do without answers: the node that it is part of, and the cluster's head."""
    if address.startswith("ray://"):
        place = _place(address)
        return {"Ray's client server": place} if place else {}
    about = ray.get_runtime_context()
    here = next(one for one in ray.nodes() if one["NodeID"] == about.get_node_id())
    own = str(here["NodeManagerAddress"]), int(here["NodeManagerPort"])
    head = _place(about.gcs_address)
    return {"Ray's node on this machine": own} | ({"Ray's head node": head} if head else {})


def alive() -> list[Node]:
    """The nodes that are there."""
    return [
        Node(
            id=str(one["NodeID"]),
            host=str(one["NodeManagerHostname"]),
            address=str(one["NodeManagerAddress"]),
            cpus=int(one["Resources"].get("CPU", 0)),
            gpus=int(one["Resources"].get("GPU", 0)),
            memory=int(one["Resources"].get("memory", 0)),
        )
        for one in ray.nodes()
        if one["Alive"]
    ]
