"""Versions of a registered gaze model: register a sealed package, list versions, fetch one back."""

import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import ColSpec, DataType, Schema

import recording
from recording.exceptions import ContractError, InputError, NoSuchVersion, RegistryError
from registry import card, contract

# Advice on how to write a pyfunc model: its signature is given, and this file is not where a user could heed it.
warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method", category=UserWarning)
warnings.filterwarnings("ignore", message=".*An input example was not provided", category=UserWarning)

DEFAULT_MODEL_NAME = "gaze-tracker"

_ROOM = Path(__file__).parent
_GROUND_FLOOR = Path(recording.__file__).parent
# What `registry` needs at prediction time; torch is not among it.
_REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pydantic")
_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(DataType.double, "azimuth_deg"), ColSpec(DataType.double, "elevation_deg")]),
)


@dataclass(frozen=True)
class Version:
    """One version as the registry shows it."""

    model_name: str
    number: int
    stage: str
    """``None``, ``Staging``, ``Production`` or ``Archived``, as MLflow spells it."""
    aliases: tuple[str, ...]
    created: datetime
    updated: datetime
    run_id: str
    source: str
    description: str
    tags: dict[str, str] = field(default_factory=dict)

    def error(self, name: str) -> float | None:
        """A figure from the version's tags, degrees, such as ``azimuth_error_deg``; ``None`` without one."""
        try:
            return float(self.tags[name])
        except (KeyError, ValueError):
            return None


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
    client = MlflowClient()
    _ensure_model(client, model_name)
    # Model.log instead of pyfunc.log_model: it takes the run's id, and leaves the caller's active run alone.
    logged = Model.log(
        artifact_path=None,
        flavor=mlflow.pyfunc,
        name="model",
        run_id=run_id,
        python_model=str(_ROOM / "pyfunc_model.py"),
        artifacts={name: str(folder / name) for name in (*contract.FILES, contract.FILE_NAME)},
        code_paths=[str(_GROUND_FLOOR), str(_ROOM)],
        signature=_SIGNATURE,
        pip_requirements=[f"{name}=={installed(name)}" for name in _REQUIREMENTS],
    )
    created = client.create_model_version(
        model_name,
        source=logged.model_uri,
        run_id=run_id,
        tags=_tags(sealed),
        description=card.write(sealed, description_extra),
        model_id=logged.model_id,
    )
    return int(created.version)


def get(model_name: str, number: int | str) -> Version:
    """The version of that number; :class:`NoSuchVersion` names the existing ones."""
    wanted = parse_number(number)
    found = {version.number: version for version in every(model_name)}
    if wanted not in found:
        numbers = ", ".join(map(str, sorted(found))) or "none"
        raise NoSuchVersion(f"{model_name} has no version {wanted}; existing versions: {numbers}")
    return found[wanted]


def every(model_name: str) -> list[Version]:
    """All versions of a model, newest first; :class:`NoSuchVersion` when there is no such model."""
    return listed(registered(model_name))


def listed(model: RegisteredModel) -> list[Version]:
    """All versions of a model that :func:`registered` gave, newest first."""
    client = MlflowClient()
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{model.name}'", page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            break
    aliases: dict[int, list[str]] = {}
    for alias, number in model.aliases.items():
        aliases.setdefault(int(number), []).append(alias)
    numbered = [_version(entity, aliases.get(int(entity.version), [])) for entity in found]
    return sorted(numbered, key=lambda version: -version.number)


def registered(model_name: str) -> RegisteredModel:
    """MLflow's registered model of that name; :class:`NoSuchVersion` says how to make one."""
    check_name(model_name)
    try:
        return MlflowClient().get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        known = ", ".join(sorted(model.name for model in MlflowClient().search_registered_models())) or "none"
        raise NoSuchVersion(
            f"no registered model is named {model_name!r} at {mlflow.get_registry_uri()} (there: {known}); "
            "train one with `mlflow run .`, or name another with --model-name"
        ) from None


def download(model_name: str, version: int | str, into: Path) -> Path:
    """Fetch the package of a version: the folder under ``into`` that holds its files. Nothing is verified yet."""
    found = get(model_name, version)
    with tempfile.TemporaryDirectory() as scratch:
        uri = f"models:/{model_name}/{found.number}/artifacts"
        try:
            fetched = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch)
        except (MlflowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RegistryError(
                f"{model_name} version {found.number}: its files cannot be fetched from {found.source} ({reason}); "
                "check that the artifact store is reachable and the files are still there"
            ) from error
        folder = Path(into) / f"{model_name}-{found.number}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*contract.FILES, contract.FILE_NAME):
            if (Path(fetched) / name).is_file():
                shutil.move(Path(fetched) / name, folder / name)
    return folder


def verify(model_name: str, version: int | str) -> contract.Contract:
    """Fetch a version and check all of it; :class:`ContractError` names the file at fault.

    Beside what :func:`registry.contract.verify` checks, the contract must be the very one that was registered.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = download(model_name, version, Path(scratch))
        return verify_fetched(get(model_name, version), folder)


def verify_fetched(version: Version, folder: Path) -> contract.Contract:
    """As :func:`verify`, for a folder that :func:`download` made."""
    try:
        sealed = contract.verify(folder)
    except ContractError as error:
        # The scratch folder's path tells a user nothing; the version and the file's name do.
        raise ContractError(
            f"{version.model_name} version {version.number}: {str(error).replace(f'{folder}/', '')}"
        ) from error
    if version.tags.get("contract_seal", sealed.seal) != sealed.seal:
        raise ContractError(
            f"{version.model_name} version {version.number}: {contract.FILE_NAME} is not the one that was registered "
            "(another seal); the package was replaced, register the model again"
        )
    return sealed


def parse_number(number: int | str) -> int:
    """A version number typed by a user; :class:`NoSuchVersion` when it is no positive whole number."""
    text = str(number).strip().removeprefix("v")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise NoSuchVersion(f"version {number!r} is not a version number; give one like 3 (`python -m registry list`)")
    return int(text)


def check_name(model_name: str) -> None:
    """:class:`InputError` for a model name that MLflow's search or addresses cannot carry."""
    if not model_name or any(character in model_name for character in "/:'\"\\"):
        raise InputError(f"model name {model_name!r} is empty or has one of / : ' \" \\ in it; choose another")


def _ensure_model(client: MlflowClient, model_name: str) -> None:
    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _tags(sealed: contract.Contract) -> dict[str, str]:
    """What a person filters and compares versions by in MLflow's table."""
    tags = {
        "split": sealed.errors.split,
        "leaking": str(sealed.errors.leaking).lower(),
        "rendered_sample_drive": str(sealed.rendered_sample_drive).lower(),
        "contract_version": str(sealed.contract_version),
        "contract_seal": sealed.seal,
        "test_samples": str(sealed.errors.samples),
    }
    for whose in ("model", "base", "constant", "calibrated"):
        errors = getattr(sealed.errors, whose)
        if errors is not None:
            prefix = "" if whose == "model" else f"{whose}_"
            tags |= {f"{prefix}{name}": f"{value:.3f}" for name, value in errors.model_dump().items()}
    tags |= {f"digest.{name}": digest for name, digest in sealed.digests.model_dump().items()}
    return tags | {f"sha256.{name}": digest for name, digest in sealed.files.items()}


def _version(entity: ModelVersion, aliases: list[str]) -> Version:
    return Version(
        model_name=entity.name,
        number=int(entity.version),
        stage=entity.current_stage or "None",
        aliases=tuple(sorted(aliases)),
        created=_time(entity.creation_timestamp),
        updated=_time(entity.last_updated_timestamp),
        run_id=entity.run_id or "",
        source=entity.source or "",
        description=entity.description or "",
        tags=dict(entity.tags),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
