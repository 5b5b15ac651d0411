"""Trials in slots on the nodes of a Ray cluster: :class:`Slots` is to a cluster what ``Processes`` is to a machine.

The search and its study stay here. A slot is an actor with a trial's share of its node; the trial itself is a process
that the slot starts and waits for, so that one that dies is told from a node that is gone.
"""

import hashlib
import logging
import os
import pickle
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorUnschedulableError,
    ObjectStoreFullError,
    OutOfDiskError,
    RayActorError,
    RayTaskError,
)

from recording import files
from recording.exceptions import GazeError
from training.searching import nodes, trial
from training.searching.cluster import Cluster, on_node
from training.searching.nodes import CHECKPOINT, STATE, Parcel, Slot
from training.searching.process import GRACE_S, LAST_WORDS, Body, Message
from training.searching.trial import TrialSpec

log = logging.getLogger(__name__)

LOOK_S = 20.0
"""Between two looks at which nodes are there."""
SAID_S = 60.0
"""After so long it is said that a slot is waited for."""


@dataclass
class _Slot:
    """A slot as the search knows it."""

    actor: Any
    node: str
    pending: Any
    """What it was asked last, and has not answered; ``None`` when it is its turn to be told something."""
    place: Path | None = None
    """Its node's folder for caches and copies, once it is there."""
    spec: TrialSpec | None = None
    """Of the trial that it runs, with paths as they are here."""


class Slots:
    """:class:`~training.searching.process.Workers` on a cluster: ``wanted`` trials at once, or as many as fit.

    ``trials`` is how many there are to run at most; ``device`` what each computes on; ``body`` what each process runs.
    """

    def __init__(self, cluster: Cluster, wanted: int, trials: int, device: str, body: Body = trial.run):
        self.cluster, self.device, self.body = cluster, device, body
        self.share = cluster.share(wanted, trials, device)
        self.size, self._wanted = 0, wanted or trials
        self._slots: list[_Slot] = []
        self._waiting: list[tuple[TrialSpec, float]] = []
        self._parts: dict[Path, tuple[str, Any]] = {}
        self._looked = self._said = 0.0
        self._look()
        log.info("cluster %s: %d trials at once, each with %s", cluster.address, self.size, self.share)

    def start(self, spec: TrialSpec) -> None:
        self._waiting.append((spec, time.monotonic()))
        self._begin_waiting()

    def hear(self, timeout: float) -> list[Message]:
        self.cluster.check()
        self._look()
        self._begin_waiting()
        asked = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        ready, _ = ray.wait(list(asked), timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        heard = [message for answer in ready for message in self._heard(asked[answer])]
        return sorted(heard, key=lambda message: message[0])

    def answer(self, number: int, go_on: bool) -> None:
        for slot in self._slots:
            if slot.spec is not None and slot.spec.number == number:
                slot.pending = slot.actor.answer.remote(number, go_on)

    def close(self) -> None:
        ending, self._slots, self._waiting = self._slots, [], []
        gone = self.cluster.gone
        told = [slot.actor.close.remote(gone) for slot in ending if gone or slot.spec is not None]
        if told:
            ray.wait(told, num_returns=len(told), timeout=GRACE_S + 2 * nodes.POLL_S)
        for slot in () if gone else ending:
            ray.kill(slot.actor)

    def _look(self) -> None:
        """See which nodes are there, from time to time, and have as many slots as are wanted and fit."""
        if self._slots and time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        room = {node.id: self.share.fits(node) for node in self.cluster.nodes()}
        self.size = min(self._wanted, sum(room.values()))
        if not self.size:
            raise GazeError(f"cluster {self.cluster.address}: no node is left on which a trial fits ({self.share})")
        for slot in self._slots:
            if slot.node in room:
                room[slot.node] -= 1
        while len(self._slots) < self.size:
            node = max(room, key=lambda one: room[one])
            room[node] -= 1
            self._slots.append(self._new(node))

    def _new(self, node: str) -> _Slot:
        environment = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
        environment.pop("MLFLOW_RUN_ID", None)
        made = ray.remote(Slot).options(**self.share.resources(), **on_node(node))
        actor: Any = made.remote(environment, node)
        return _Slot(actor, node, actor.settle.remote())

    def _begin_waiting(self) -> None:
        for slot in self._slots:
            if self._waiting and slot.place is not None and slot.spec is None:
                spec, since = self._waiting.pop(0)
                waited = time.monotonic() - since
                left, at_most = spec.seconds_left - waited, spec.seconds_at_most - waited
                self._begin(slot, replace(spec, seconds_left=left, seconds_at_most=at_most))
        if self._waiting and time.monotonic() - max(self._said, self._waiting[0][1]) > SAID_S:
            log.warning("cluster %s: waiting for a node with %s free", self.cluster.address, self.share)
            self._said = time.monotonic()

    def _begin(self, slot: _Slot, spec: TrialSpec) -> None:
        assert slot.place is not None
        ours = replace(spec, checkpoint=spec.checkpoint.absolute(), state=spec.state and spec.state.absolute())
        there, parts = self._there(ours, slot.place)
        watched = {}
        if not self.cluster.shared:
            there = replace(there, checkpoint=slot.place / ours.checkpoint.name)
            watched[CHECKPOINT] = there.checkpoint
            if ours.state is not None:
                there = replace(there, state=slot.place / ours.state.name)
                watched[STATE] = slot.place / ours.state.name
        given = {STATE: ours.state.read_bytes()} if STATE in watched and ours.state and ours.state.exists() else {}
        parcel = Parcel(spec.number, spec.name, pickle.dumps((self.body, there)))
        slot.spec, slot.pending = ours, slot.actor.start.remote(parcel, watched, given, parts)

    def _there(self, spec: TrialSpec, place: Path) -> tuple[TrialSpec, dict[str, Any]]:
        """The trial as its node sees it; and what has to be brought there, by digest."""
        parts: dict[str, Any] = {}

        def there(path: Path) -> Path:
            path = path.absolute()
            if self.cluster.shares(path):
                return path
            digest, reference = self._part(path)
            parts[digest] = [reference]  # in a list, Ray hands the reference over and not what it refers to
            copy = place / "parts" / digest
            return copy if path.is_dir() else copy / path.name

        spec = replace(
            spec,
            base=there(spec.base),
            samples=tuple(map(there, spec.samples)),
            cache=place / "cache",
            device=self.device,
            threads=self.share.cpus,
        )
        return spec, parts

    def _part(self, path: Path) -> tuple[str, Any]:
        """Digest of a file or folder, and the reference to it in Ray's store, where it is put once."""
        if path not in self._parts:
            content = nodes.pack(path)
            try:
                self._parts[path] = hashlib.sha256(content).hexdigest(), ray.put(content)
            except (ObjectStoreFullError, OutOfDiskError) as error:
                raise GazeError(
                    f"cluster {self.cluster.address}: no room in Ray's object store for {path} "
                    f"({len(content) / 2**20:.0f} MiB); start Ray with a larger --object-store-memory, or give a work= "
                    "that all nodes see"
                ) from error
        return self._parts[path]

    def _heard(self, slot: _Slot) -> list[Message]:
        """What a slot has answered; it is asked again, unless its trial waits for an answer or has ended."""
        answer, slot.pending = slot.pending, None
        try:
            said = ray.get(answer)
        except (RayActorError, ActorUnschedulableError) as error:  # the second: its node was gone before it began
            return self._gone(slot, str(error))
        except RayTaskError as error:
            raise error.cause from None
        if slot.spec is None:
            slot.place = said
            return []
        kind, what, new = said
        number = slot.spec.number
        for name, content in new.items():
            path = slot.spec.checkpoint if name == CHECKPOINT else slot.spec.state
            assert path is not None
            files.write_bytes(path, content)
        if kind in (*LAST_WORDS, "lost"):
            slot.spec = None
        elif kind != "epoch":
            slot.pending = slot.actor.hear.remote()
        return [] if kind is None else [(number, kind, what if kind == "lost" else pickle.loads(what))]

    def _gone(self, slot: _Slot, why: str) -> list[Message]:
        """A slot has ended: another one takes its place, where there is room."""
        self.cluster.check(now=True)
        self._slots.remove(slot)
        self._looked = 0.0
        node_is_there = any(node.id == slot.node for node in self.cluster.nodes())
        reason = why.strip().split("\n")[-1].strip()
        if slot.place is None and node_is_there:
            raise GazeError(f"cluster {self.cluster.address}: a slot for trials cannot be started ({reason})")
        log.warning("cluster %s: a %s is gone (%s)", self.cluster.address, "slot" if node_is_there else "node", reason)
        return [] if slot.spec is None else [(slot.spec.number, "cut off", f"its node is gone ({reason})")]
