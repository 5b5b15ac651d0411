"""From a version to its files: download → check against the registered seal → hand out the bytes that were checked.

The one way in which a version is opened, by the server, the gate, ``evaluate`` and ``base=models:/…``. (A version that
MLflow loads as a pyfunc model checks its own folder: :mod:`registry.pyfunc_model`.)
"""

import re
import shutil
import tempfile
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from recording import files
from recording.exceptions import ContractError, RegistryError
from registry import contract, moving, store, versions
from registry.contract import Contract, VerifiedPackage

_REASON = 300  # characters of what MLflow says


def fetch(model_name: str, number: int, seal: str, into: Path) -> VerifiedPackage:
    """Download a version into a folder under ``into`` and check all of it.

    ``seal`` is the seal that the registry has for it (empty: it has none). Beside what
    :func:`registry.contract.verify` checks, the contract must be the very one that was registered. Raises
    :class:`ContractError` that names the version and the file at fault, :class:`RegistryError` when files cannot be
    fetched, :class:`~recording.files.DiskFull` when ``into`` has no room for them. Nothing is written anywhere else.
    """
    folder = _download(model_name, number, Path(into))
    try:
        return VerifiedPackage(folder, contract.verify(folder, seal))
    except ContractError as error:
        # The scratch folder's path tells a user nothing; the version and the file's name do.
        raise ContractError(f"{model_name} version {number}: {str(error).replace(f'{folder}/', '')}") from error


def verify(model_name: str, version: int | str) -> Contract:
    """Fetch a version and check all of it, as :func:`fetch`; its contract."""
    found = versions.get(model_name, version)
    with tempfile.TemporaryDirectory() as scratch:
        return fetch(model_name, found.number, found.seal, Path(scratch)).contract


def read_contract(model_name: str, number: int) -> Contract:
    """The contract of a version, its own seal checked; the other files are neither fetched nor looked at.

    Raises :class:`ContractError`, and :class:`RegistryError` where it cannot be fetched.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return contract.read(_fetched(model_name, number, f"artifacts/{contract.FILE_NAME}", scratch).parent)


def _download(model_name: str, number: int, into: Path) -> Path:
    """The folder under ``into`` that holds the version's files. Nothing is verified yet."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as scratch:
        fetched = _fetched(model_name, number, "artifacts", scratch)
        folder = into / f"version-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*contract.ALL_FILES, contract.FILE_NAME):
            if (fetched / name).is_file():
                shutil.move(fetched / name, folder / name)
    return folder


def _is_ours_full(error: Exception) -> bool:
    """Whether it is this machine's disk that is full: MLflow keeps only the words of what stopped a download.

    What a server says of its own disk stands behind the status of its answer.
    """
    said = re.search(r"(?:^|##### )\[Errno (\d+)\]", " ".join(str(error).split()))
    return said is not None and files.is_full(OSError(int(said[1]), ""))


def _fetched(model_name: str, number: int, path: str, scratch: str) -> Path:
    """Where in ``scratch`` a file or folder of the version's logged model lies now."""
    try:
        # Not models:/NAME/NUMBER: a model registered elsewhere may have a name that means another address.
        stored = mlflow.MlflowClient().get_model_version_download_uri(model_name, str(number))
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{stored}/{path}", dst_path=scratch))
    except (MlflowException, OSError) as error:
        if _is_ours_full(error):
            folder = Path(scratch).parent
            raise files.DiskFull(
                f"disk full: cannot write {model_name} version {number} into {folder}; free some disk space there"
            ) from error
        reason = _reason(error)
        raise RegistryError(
            f"{model_name} version {number}: its files cannot be fetched from "
            f"{versions.get(model_name, number).source} ({reason}); check that the artifact store is reachable "
            f"and the files are still there{_moved()}"
        ) from error


def _moved() -> str:
    """What may be the reason as well, where the database and the files are in a folder."""
    if store.database_file(mlflow.get_tracking_uri()) is None:
        return ""
    return f"; if the project's folder was moved: `{moving.COMMAND} OLD` in the new one, with the path of the old one"


def _reason(error: Exception) -> str:
    """Why files could not be fetched, on one line, without MLflow's frame around it (``##### File … #####``)."""
    said = " ".join(re.sub(r"#{5} File .*? #{5}", "", str(error)).split())
    return said if len(said) <= _REASON else f"{said[: _REASON - 1]}…"
