"""Where a model's weights come from: a file, an address in the registry, or the lab base that ships."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from registry import contract, opening, resolving, versions
from registry.addresses import SCHEME, Selector
from registry.holdout import Holdout
from registry.versions import Version
from training.learning import model
from training.sample.sample_drive import BASE_CHECKPOINT


@dataclass(frozen=True)
class Base:
    """The network that fine-tuning starts from, and its name for reports."""

    network: nn.Module
    name: str
    digest: str
    holdout: Holdout | None = None
    """What a registered base has seen; ``None`` for a file whose weights are those of no registered version."""
    trained_on: str = "what its file does not say"
    """For reports."""


LAB_BASE = "lab base of the rendered sample drive"
LAB_PICTURES = "rendered lab faces of this project: 48 people in front of a laptop camera, no photograph"


def load_base(address: str) -> Base:
    """``""`` (the lab base trained on rendered faces that ships with the project), a path, or ``models:/…``.

    A file that holds the weights of a registered version is that version, and has seen what that one has. Raises
    :class:`~recording.exceptions.CheckpointError`, :class:`~recording.exceptions.InputError` or
    :class:`~recording.exceptions.RegistryError` in one line.
    """
    if address.startswith(SCHEME):
        return _registered(address)
    if not address:
        network = model.load(BASE_CHECKPOINT)
        return Base(network, LAB_BASE, model.digest(network), trained_on=LAB_PICTURES)
    network = model.load(Path(address))
    digest = model.digest(network)
    known = versions.with_weights(digest)[:1]
    name = Path(address).name + "".join(f" ({found.model_name} version {found.number})" for found in known)
    return _known(network, name, digest, known[0]) if known else Base(network, name, digest)


def _known(network: nn.Module, name: str, digest: str, version: Version) -> Base:
    with tempfile.TemporaryDirectory() as scratch:
        package = opening.fetch(version.model_name, version.number, version.seal, Path(scratch))
        return Base(network, name, digest, package.holdout(), trained_on(package.contract.training))


def trained_on(stated: dict[str, Any]) -> str:
    """What a contract says that a version learnt from, in words."""
    if "dataset" in stated:
        return f"{stated['dataset']}: persons {stated.get('persons', '?')}, {stated.get('train_samples', '?')} faces"
    if "base" in stated:
        return f"{stated.get('train_samples', '?')} samples of drives, from {stated['base']}"
    return LAB_PICTURES if stated.get("source") == LAB_BASE else Base.trained_on


def _registered(address: str) -> Base:
    """The base behind an address, named by its number: the stage may hold another one by the time of the report."""
    found = resolving.find(Selector.parse(address))
    with tempfile.TemporaryDirectory() as scratch:
        package = opening.fetch(found.model, found.version, found.seal, Path(scratch))
        network = model.from_bytes(package.content(contract.WEIGHTS), f"{address} (version {found.version})")
        kept, learnt = package.holdout(), trained_on(package.contract.training)
    return Base(network, f"{SCHEME}{found.model}/{found.version}", model.digest(network), kept, learnt)
