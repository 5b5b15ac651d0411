"""Where a model's weights come from: a file, an address in the registry, or the lab base that ships."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from torch import nn

from recording.exceptions import InputError, NoSuchVersion
from registry import contract, holdout, stages
from registry.holdout import Holdout
from training.learning import model
from training.sample.sample_drive import BASE_CHECKPOINT

SCHEME = "models:/"


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

    Raises :class:`~recording.exceptions.CheckpointError` or :class:`InputError` in one line.
    """
    if not address:
        network, name = model.load(BASE_CHECKPOINT), "lab base of the rendered sample drive"
    elif address.startswith(SCHEME):
        with tempfile.TemporaryDirectory() as scratch:
            folder = fetch(address, Path(scratch))
            network = model.load(folder / contract.WEIGHTS)
            return Base(network, address, model.digest(network), Holdout.read(folder / holdout.FILE_NAME))
    else:
        network, name = model.load(Path(address)), Path(address).name
    return Base(network, name, model.digest(network))


def fetch(address: str, into: Path) -> Path:
    """Download and verify the package at ``models:/name/stage``, ``models:/name/3`` or ``models:/name@alias``.

    A stage is resolved as serving resolves it (stage first, then the alias of that name).
    """
    name, version = locate(address)
    folder = Path(mlflow.artifacts.download_artifacts(f"{SCHEME}{name}/{version}", dst_path=str(into)))
    found = sorted(folder.rglob(contract.FILE_NAME))
    if not found:
        raise InputError(
            f"{address}: has no {contract.FILE_NAME}; only versions registered by this project can be used"
        )
    contract.verify(found[0].parent)
    return found[0].parent


def locate(address: str) -> tuple[str, int]:
    """(model name, version number) of a ``models:/…`` address; :class:`NoSuchVersion` when there is none."""
    name, alias, which = check_address(address)
    if not alias and not which.isdecimal():
        return name, int(stages.resolve(name, stage=which).version)
    client = mlflow.MlflowClient()
    try:
        found = client.get_model_version_by_alias(name, which) if alias else client.get_model_version(name, which)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NoSuchVersion(f"{address}: no such version; see python -m registry list") from error
    return name, int(found.version)


def check_address(address: str) -> tuple[str, bool, str]:
    """(name, whether the rest is an alias, stage, number or alias) of a ``models:/…`` address."""
    rest = address.removeprefix(SCHEME)
    alias = "@" in rest
    name, _, which = rest.rpartition("@") if alias else rest.partition("/")
    if not address.startswith(SCHEME) or not name or not which or "/" in which:
        raise InputError(
            f"{address!r}: not a model address; write models:/gaze-tracker/Production or models:/gaze-tracker/3"
        )
    return name, alias, which


def newest(model_name: str) -> int:
    """The highest version number of a registered model; :class:`NoSuchVersion` when there is none."""
    found = mlflow.MlflowClient().search_model_versions(f"name='{model_name}'")
    if not found:
        raise NoSuchVersion(f"{model_name}: no version is registered")
    return max(int(version.version) for version in found)
