"""Registering a sealed package as a new version, and trying beforehand everything that this needs."""

import logging
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.types import ColSpec, DataType, Schema
from mlflow.utils.rest_utils import http_request
from mlflow.utils.uri import is_local_uri

import recording
from recording.exceptions import ContractError, RegistryError
from registry import baseline_errors, card, contract, figures
from registry.addresses import base_name, check_name
from registry.command_line import refusal
from registry.resolving import registry_answers

log = logging.getLogger(__name__)

# Advice on how to write a pyfunc model: its signature is given, and this file is not where a user could heed it.
warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method", category=UserWarning)
warnings.filterwarnings("ignore", message=".*An input example was not provided", category=UserWarning)

LARGEST_BYTES = 46_000_000
"""No less than the largest file of a version: the network's, in float32."""
_ROOM = Path(__file__).parent
_GROUND_FLOOR = Path(recording.__file__).parent
_THROUGH_THE_SERVER = (
    "let the server write them: mlflow server --artifacts-destination FOLDER, and a new experiment (an experiment "
    "keeps the place it was made with)"
)
# What `registry` needs at prediction time; torch is not among it. scikit-image finds the face of `detected` versions.
_REQUIREMENTS = (
    "mlflow",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pandas",
    "pydantic",
    "scikit-image",
    "simplejpeg",
)
_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(DataType.double, "azimuth_deg"), ColSpec(DataType.double, "elevation_deg")]),
)


def check(model_name: str, run_id: str) -> None:
    """Try what :func:`register` will need, before hours of work depend on it; leaves nothing behind.

    The names of the model and of its base, the right to change the ones that exist, and that the artifacts of the run
    ``run_id`` can be written from here, one as large as a model's among them. Raises
    :class:`~recording.exceptions.InputError` or :class:`RegistryError`.
    """
    check_name(model_name)
    with registry_answers():
        for name in (model_name, base_name(model_name)):
            _check_right_to_change(name)
    check_artifacts(run_id, LARGEST_BYTES)


def register(folder: Path, *, model_name: str, run_id: str, description_extra: str = "") -> int:
    """Register a sealed package as a new version of ``model_name``; its number.

    The package is verified, logged into the run ``run_id`` as a pyfunc model from code, and the version is
    created with its tags and its model card in one step, so that none is ever seen half-described.
    Raises :class:`ContractError` when the package breaks its contract or was sealed for another model.
    """
    folder = Path(folder)
    sealed = contract.verify(folder)
    check_name(model_name)
    if sealed.model_name != model_name:
        raise ContractError(f"{folder}: was sealed for model {sealed.model_name!r}, not {model_name!r}; seal it again")
    baselines = baseline_errors.of(contract.VerifiedPackage(folder, sealed))
    client = MlflowClient()
    _ensure_model(client, model_name)
    # Model.log instead of pyfunc.log_model: it takes the run's id, and leaves the caller's active run alone.
    logged = Model.log(
        artifact_path=None,
        flavor=mlflow.pyfunc,
        name="model",
        run_id=run_id,
        python_model=str(_ROOM / "pyfunc_model.py"),
        artifacts={name: (folder / name).absolute().as_uri() for name in (*sealed.file_names, contract.FILE_NAME)},
        code_paths=[str(_GROUND_FLOOR), str(_ROOM)],
        signature=_SIGNATURE,
        pip_requirements=[f"{name}=={installed(name)}" for name in _REQUIREMENTS],
    )
    created = client.create_model_version(
        model_name,
        source=logged.model_uri,
        run_id=run_id,
        tags=figures.tags(sealed, baselines),
        description=card.write(sealed, description_extra, baselines),
        model_id=logged.model_id,
    )
    return int(created.version)


def _check_right_to_change(model_name: str) -> None:
    """Whether this user may change the model; a model that is not there yet belongs to whoever registers first."""
    client, key = MlflowClient(), f"check.{uuid.uuid4().hex[:12]}"
    try:
        client.get_registered_model(model_name)
    except MlflowException as error:
        # A server with logins may refuse to say of a name whether it is there: only registering will tell.
        if error.error_code in (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(PERMISSION_DENIED)):
            return
        raise
    client.set_registered_model_tag(model_name, key, "whether a version may be registered")
    client.delete_registered_model_tag(model_name, key)


def check_artifacts(run_id: str, largest: int = 0) -> None:
    """Write a small artifact where those of the run go, and remove it; :class:`RegistryError` when that fails.

    ``largest``: bytes of the largest file that is to follow. Where artifacts go through a server or a proxy, which may
    have limits, one of that size is written as well.
    """
    with registry_answers():
        address = MlflowClient().get_run(run_id).info.artifact_uri
    repository = get_artifact_repository(address)
    with _written(repository, address, largest=0) as name:
        arrived = _has_arrived(run_id, address, name)
    if not arrived:
        raise RegistryError(
            f"artifacts of this run belong in {address}, a folder of the server's: what is written there from here "
            f"stays on this machine, where the server does not find it; share that folder, or {_THROUGH_THE_SERVER}"
        )
    if largest and isinstance(repository, HttpArtifactRepository):
        with _written(repository, address, largest):
            pass


@contextmanager
def _written(repository: ArtifactRepository, address: str, largest: int) -> Iterator[str]:
    """The name of an artifact of so many bytes, or a few, that is written for the time of the block."""
    name = f"check-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_text("whether artifacts can be written\n")
        if largest:
            os.truncate(file, largest)  # takes no room here
        try:
            repository.log_artifact(str(file))  # type: ignore[no-untyped-call]
        except Exception as error:  # every kind of store has its own exceptions
            raise RegistryError(_unwritten(error, address, largest)) from error
    try:
        yield name
    finally:
        try:
            repository.delete_artifacts(name)  # type: ignore[no-untyped-call]
        except Exception as error:  # may write and not delete: all that is needed
            log.info("the artifact %s/%s, written to see whether one can be, stays (%s)", address, name, error)


def _unwritten(error: Exception, address: str, largest: int) -> str:
    """Why an artifact, of ``largest`` bytes where a small one went through, could not be written, and what to do."""
    what = f"a file of {largest / 1e6:.0f} MB, as a model has," if largest else "what is written there"
    answer: Any = getattr(error, "response", None)  # an HTTPError of the library that MLflow uploads with has one
    if hasattr(answer, "status_code") and answer.status_code not in (401, 403):
        status = f"artifacts of this run belong in {address}: {what} is refused (HTTP {answer.status_code})"
        return f"{status}: {refusal(answer.status_code, answer.text)}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if largest:
        return (
            f"artifacts of this run belong in {address}: small files can be written, {what} cannot ({reason}); look "
            "for a limit of the server or of a proxy before it, of size (nginx: client_max_body_size 200m) or of time"
        )
    return (
        f"artifacts of this run belong in {address}, which cannot be written from here ({reason}); give this "
        f"user the right to, or {_THROUGH_THE_SERVER}"
    )


def _has_arrived(run_id: str, address: str, name: str) -> bool:
    """Whether the server finds what was written to a folder: the same path may be another folder on its machine.

    True where there is no server, the address is no folder, or the server does not say.
    """
    store = _get_store()  # type: ignore[no-untyped-call]
    if not isinstance(store, RestStore) or not is_local_uri(address):  # type: ignore[no-untyped-call]
        return True
    listing = store.get_host_creds(), "/api/2.0/mlflow/artifacts/list", "GET"
    answer = http_request(*listing, params={"run_id": run_id})  # type: ignore[no-untyped-call]
    if answer.status_code != 200:
        return True
    return any(file["path"] == name for file in answer.json().get("files", []))


def _ensure_model(client: MlflowClient, model_name: str) -> None:
    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
