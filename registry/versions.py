"""Versions of a registered gaze model, as the registry lists them."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from recording.exceptions import NoRegistry, NoSuchVersion, RegistryError
from recording.face import NONE
from registry import connections, database, store
from registry.addresses import check_readable
from registry.command_line import no_mlflow
from registry.logins import hide

# The tag that repeats the contract's seal: a whole package put in the place of another is found by it.
SEAL_TAG = "contract_seal"
# The face rectangle that it reads, in the contract's words.
FACE_TAG = "face"
# Of a version that was trained on all samples: its errors are its twin's.
TWIN_TAG = "twin"
WEIGHTS_TAG = "digest.weights"
# The calibration that the verdict held it against, by its name in the tags of its errors.
BEST_CALIBRATION_TAG = "best_calibration"


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

    @property
    def seal(self) -> str:
        """The seal of its contract at registration; empty for a version without that tag."""
        return self.tags.get(SEAL_TAG, "")

    @property
    def best_calibration(self) -> str:
        """The calibration that is hardest to beat, as in ``affine_azimuth_error_deg``; of versions that were registered
        before all of them were told, the linear one."""
        return self.tags.get(BEST_CALIBRATION_TAG, "calibrated")

    def error(self, name: str) -> float | None:
        """A figure from the version's tags, degrees, such as ``azimuth_error_deg``; ``None`` without one."""
        try:
            figure = float(self.tags[name])
        except (KeyError, ValueError):
            return None
        return figure if math.isfinite(figure) else None


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
    aliases: dict[int, list[str]] = {}
    for alias, number in model.aliases.items():
        aliases.setdefault(int(number), []).append(alias)
    return _numbered(model.name, aliases)


def _numbered(model_name: str, aliases: dict[int, list[str]]) -> list[Version]:
    """The versions that a search for the name finds, newest first, with the aliases given by number."""
    client = MlflowClient()
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{model_name}'", page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            break
    numbered = [_version(entity, aliases.get(int(entity.version), [])) for entity in found]
    return sorted(numbered, key=lambda version: -version.number)


def made_from(model_name: str, base_digest: str, face: str) -> Version | None:
    """The newest version of a model that came from the base with that digest and reads the same face rectangle.

    ``face``: in the contract's words. ``None`` where there is none, where there is no such model, or this user may not
    look at one of that name.
    """
    check_readable(model_name)
    check_store()
    for version in _numbered(model_name, {}):
        if (version.tags.get("digest.base"), version.tags.get(FACE_TAG, NONE)) == (base_digest, face):
            return version
    return None


def with_weights(digest: str) -> list[Version]:
    """The versions of any model that have these weights, oldest first; ``digest`` is what the contract calls so."""
    try:
        check_store()
    except NoSuchVersion:
        return []
    found = MlflowClient().search_model_versions(f"tags.`{WEIGHTS_TAG}` = '{digest}'")
    return sorted((_version(entity, []) for entity in found), key=lambda version: version.created)


def ancestors(version: Version) -> list[Version]:
    """The registered versions that this one was fine-tuned on from, the nearest first, where they still exist."""
    found: list[Version] = []
    known, base = {version.tags.get(WEIGHTS_TAG, "")}, version.tags.get("digest.base", "")
    while base and base not in known:
        known.add(base)
        with_it = with_weights(base)
        found += with_it[:1]
        base = with_it[0].tags.get("digest.base", "") if with_it else ""
    return found


def registered(model_name: str) -> RegisteredModel:
    """MLflow's registered model of that name; :class:`NoSuchVersion` says how to make one."""
    check_readable(model_name)
    check_store()
    try:
        found = MlflowClient().get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        known = ", ".join(sorted(model.name for model in MlflowClient().search_registered_models())) or "none"
        raise NoSuchVersion(
            f"no registered model is named {model_name!r} at {hide(mlflow.get_registry_uri())} (there: {known}); "
            "train one with `mlflow run .`, or name another with --model-name"
        ) from None
    if not found.name:  # MLflow's client takes any JSON, and an empty answer, for a model without one
        raise RegistryError(no_mlflow(mlflow.get_registry_uri()))
    return found


def check_store() -> None:
    """:class:`NoRegistry` where the registry is a database file that is not there or empty, :class:`RegistryError`
    where that is none of MLflow's.

    MLflow would make an empty one, of which nobody knows later whose it is. A file that was put in the place of the one
    that this process has asked before is the one that is asked from now on.
    """
    connections.follow_files()
    address = mlflow.get_registry_uri()
    file = store.database_file(address)
    if file is not None and (missing := _missing(file)):
        raise NoRegistry(
            f"there is no registry: {file} {missing}; train a model with `mlflow run .` in this folder, go to the "
            "folder of the one that is wanted, or set MLFLOW_TRACKING_URI"
        )
    store.check(address)


def _missing(file: Path) -> str:
    """Why a file holds no registry; "" where it may."""
    if database.hidden(file):
        return ""
    if not file.exists():
        return "does not exist"
    return "is empty" if file.is_file() and not file.stat().st_size else ""


def parse_number(number: int | str) -> int:
    """A version number typed by a user; :class:`NoSuchVersion` when it is no positive whole number."""
    text = str(number).strip().removeprefix("v")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise NoSuchVersion(f"version {number!r} is not a version number; give one like 3 (`python -m registry list`)")
    return int(text)


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


def _time(milliseconds: int | None) -> datetime:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)
