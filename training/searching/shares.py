"""What the machines of a cluster have, and the share of one that each trial gets."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recording.exceptions import InputError

log = logging.getLogger(__name__)

MEMORY = 2 * 2**30
"""Of a trial, bytes: what Ray keeps free for it. Behind a frozen backbone it needs a quarter of that."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, and what it has for us."""

    id: str
    host: str
    address: str
    cpus: int
    gpus: int
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class Share:
    """What a trial gets of its node."""

    cpus: int
    gpus: int
    memory: int = MEMORY

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPU" if self.gpus else ""
        return f"{self.cpus} CPU{gpus}, {self.memory / 2**30:.0f} GiB"

    def fits(self, node: Node) -> int:
        """How often it fits on a node."""
        per_gpu = [node.gpus // self.gpus] if self.gpus else []
        return min(node.cpus // self.cpus, node.memory // self.memory, *per_gpu)

    def resources(self) -> dict[str, Any]:
        """For Ray."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory}


def share(there: Sequence[Node], wanted: int, at_most: int, gpus: int) -> Share:
    """The largest share with which ``wanted`` trials fit at once; without a wish, as many as fit and there are.

    Raises :class:`InputError` where not a single one fits.
    """
    least = Share(1, gpus)
    fit = sum(map(least.fits, there))
    if not fit:
        raise InputError(f"no node has room for a trial ({least}); give the nodes more, or do without the cluster")
    if fit < wanted:
        log.warning("workers=%d: only %d fit at once", wanted, fit)
    size = min(fit, wanted or at_most)
    cpus = max(cpus for cpus in range(1, max(node.cpus for node in there) + 1) if _fit(there, cpus, gpus) >= size)
    return Share(cpus, gpus)


def _fit(there: Sequence[Node], cpus: int, gpus: int) -> int:
    return sum(map(Share(cpus, gpus).fits, there))
