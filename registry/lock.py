"""One change at a time to a model's stages, across processes and machines, through MLflow's registry alone.

MLflow has neither transactions over several requests nor compare-and-set, but a tag that was written is seen
by every later read. That is what Lamport's bakery algorithm needs (L. Lamport, "A new solution of Dijkstra's
concurrent programming problem", CACM 17(8), 1974): whoever wants to change something puts up a ticket, a tag
``lock.<id>`` on the registered model, takes a number above all numbers that are up, and waits until no lower
number is. Every ticket is a tag of its own, so taking down a dead one cannot take down another's.

A ticket is dead when its process is gone (on this machine), or when it has not changed for ``LEASE_S`` by the
clock of whoever waits for it. A process that waits renews its ticket; one that works has to be done well
before, and asks :meth:`Turn.check` before every step.
"""

import json
import platform
import random
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from recording import files
from recording.exceptions import RegistryError
from registry import versions
from registry.addresses import model_option
from registry.history import warn_of_foreign, who

PREFIX = "lock."
_KEY = re.compile(r"lock\.[0-9a-f]{12}")
_UNREADABLE = {"number": None, "who": "a ticket that cannot be read", "machine": "", "pid": 0, "started": 0.0, "at": ""}
LEASE_S = 60.0
# A live ticket must never look dead: what it does has to end in half the lease.
_FRESH_S = LEASE_S / 2
_RENEW_S = LEASE_S / 6
_WAIT_S = 300.0
_POLL_S = 0.1


@dataclass
class Turn:
    """The right to change a model's stages, held by this process until the ``with`` block ends."""

    model_name: str
    key: str
    content: dict[str, Any]
    renewed: float

    def check(self) -> None:
        """:class:`RegistryError` when the turn is over: taken down by someone, or so old that it soon may be."""
        if time.monotonic() - self.renewed > _FRESH_S:
            raise RegistryError(
                f"{self.model_name}: the change took over {_FRESH_S:.0f} s and was stopped; run it again"
            )
        if self.key not in versions.registered(self.model_name).tags:
            raise RegistryError(
                f"{self.model_name}: another command took over; run `python -m registry history "
                f"{model_option(self.model_name)}`"
            )

    def put_up(self, **changes: object) -> None:
        """Write the ticket; where that took so long that others may have given it up, take a new number."""
        began = time.monotonic()
        self.content |= changes
        MlflowClient().set_registered_model_tag(self.model_name, self.key, json.dumps(self.content))
        if time.monotonic() - min(began, self.renewed) > _FRESH_S:
            raise _TooSlow
        self.renewed = began

    def take_down(self) -> None:
        """Remove the ticket; it may be gone already."""
        _remove(self.model_name, self.key)


class _TooSlow(Exception):
    """A request took so long that the ticket may have been given up meanwhile."""


@contextmanager
def turn(model_name: str, wait_s: float = _WAIT_S) -> Iterator[Turn]:
    """Wait for the turn to change ``model_name``; :class:`RegistryError` names who has it after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    while True:
        mine = Turn(model_name, f"{PREFIX}{uuid.uuid4().hex[:12]}", _identity(), time.monotonic())
        try:
            try:
                _take_number(mine)
                _await_lower_numbers(mine, deadline)
            except _TooSlow:
                continue
            yield mine
            return
        finally:
            mine.take_down()


def _take_number(mine: Turn) -> None:
    mine.put_up(number=None)  # "choosing": whoever reads this waits for the number
    numbers = [ticket["number"] or 0 for ticket in _tickets(mine.model_name).values()]
    mine.put_up(number=1 + max(numbers, default=0))


def _await_lower_numbers(mine: Turn, deadline: float) -> None:
    seen: dict[str, tuple[dict[str, Any], float]] = {}  # ticket → content, when first seen with that content
    while True:
        tickets = _tickets(mine.model_name)
        if mine.key not in tickets:
            raise _TooSlow
        ahead = {key: ticket for key, ticket in tickets.items() if _before(key, ticket, mine)}
        if not ahead:
            return
        now = time.monotonic()
        for key, ticket in ahead.items():
            if key not in seen or seen[key][0] != ticket:
                seen[key] = (ticket, now)
            if _is_dead(ticket) or now - seen[key][1] > LEASE_S:
                _remove(mine.model_name, key)
        if now > deadline:
            holder = min(ahead.values(), key=lambda ticket: ticket["number"] or 0)
            raise RegistryError(
                f"{mine.model_name}: {holder['who']} (process {holder['pid']}) is changing it since {holder['at']}; "
                "try again when that is done"
            )
        if now - mine.renewed > _RENEW_S:
            mine.put_up(renewals=mine.content["renewals"] + 1)
        time.sleep(_POLL_S * random.uniform(0.5, 1.5))


def _before(key: str, ticket: dict[str, Any], mine: Turn) -> bool:
    if key == mine.key:
        return False
    return ticket["number"] is None or (ticket["number"], key) < (mine.content["number"], mine.key)


def _tickets(model_name: str) -> dict[str, dict[str, Any]]:
    """The tickets that are up.

    One that cannot be read (damaged, or of a later release) may hold the turn: it counts as one that is choosing its
    number, which is waited for until it is dead. A tag that neither is named as a ticket nor reads as one is a
    person's.
    """
    found = {}
    for key, value in versions.registered(model_name).tags.items():
        if key.startswith(PREFIX):
            ticket = _read(value)
            if ticket is None and not _KEY.fullmatch(key):
                warn_of_foreign(key, "the ticket of a command at work")
                continue
            found[key] = ticket or _UNREADABLE | {"content": value}
    return found


def _read(text: str) -> dict[str, Any] | None:
    """The ticket that a tag holds; ``None`` where it is none."""
    try:
        found = files.parse_json(text)
    except ValueError:
        return None
    number = found.get("number", "") if isinstance(found, dict) else ""
    if not isinstance(found, dict) or not _UNREADABLE.keys() <= found.keys():
        return None
    fits = number is None or type(number) is int
    return found if fits and type(found["pid"]) is int and isinstance(found["started"], int | float) else None


def _remove(model_name: str, key: str) -> None:
    try:
        MlflowClient().delete_registered_model_tag(model_name, key)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise


def _identity() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "who": who(),
        "machine": machine(),
        "pid": process.pid,
        "started": process.create_time(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "renewals": 0,
    }


def _is_dead(ticket: dict[str, Any]) -> bool:
    """True when the ticket's process is known to be gone; of another machine's process nothing is known."""
    if ticket["machine"] != machine():
        return False
    try:
        process = psutil.Process(ticket["pid"])
        # A second of tolerance: the start is computed from the boot time, which is adjusted while the machine runs.
        same = abs(process.create_time() - ticket["started"]) < 1.0
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@cache
def machine() -> str:
    """What tells apart machines whose process numbers mean different processes: boot and process namespace."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        return f"{boot.read_text().strip()} {namespace.readlink()}"
    return f"{platform.node()} {uuid.getnode():x}"
