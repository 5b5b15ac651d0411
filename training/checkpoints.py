"""Where a model's weights come from: a file, an address in the registry, or the lab base that ships."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from registry import contract, opening, resolving
from registry.addresses import SCHEME, Selector
from registry.holdout import Holdout
from training.learning import model
from training.sample.sample_drive import BASE_CHECKPOINT


@dataclass(frozen=True)
class Base:
    """The network that fine-tuning starts from, and its name for reports."""

    network: nn.Module
    name: str
    digest: str
    holdout: Holdout | None = None
    """What a registered base has seen; ``None`` for a file."""


def load_base(address: str) -> Base:
    """``""`` (the lab base trained on rendered faces that ships with the project), a path, or ``models:/…``.

    Raises :class:`~recording.exceptions.CheckpointError`, :class:`~recording.exceptions.InputError` or
    :class:`~recording.exceptions.RegistryError` in one line.
    """
    if address.startswith(SCHEME):
        return _registered(address)
    path = Path(address) if address else BASE_CHECKPOINT
    network = model.load(path)
    return Base(network, path.name if address else "lab base of the rendered sample drive", model.digest(network))


def _registered(address: str) -> Base:
    """The base behind an address, named by its number: the stage may hold another one by the time of the report."""
    found = resolving.find(Selector.parse(address))
    with tempfile.TemporaryDirectory() as scratch:
        package = opening.fetch(found.model, found.version, found.seal, Path(scratch))
        network = model.from_bytes(package.content(contract.WEIGHTS), f"{address} (version {found.version})")
        kept = package.holdout()
    return Base(network, f"{SCHEME}{found.model}/{found.version}", model.digest(network), kept)
