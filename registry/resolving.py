"""From a stage, an alias or a number to the version that answers for it: asked once, the same for everybody."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from recording.exceptions import NoSuchVersion, RegistryError
from registry import versions
from registry.addresses import ALIASES, Found, Selector, check_readable, model_option, parse_stage
from registry.command_line import tracking_problem

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def find(selector: Selector) -> Found:
    """The version that ``selector`` names now; :class:`NoSuchVersion` says what there is or how to get one."""
    if selector.version or selector.alias:
        return _named(selector)
    return resolve(selector.model, stage=selector.stage)


def resolve(model_name: str, *, stage: str = "Production") -> Found:
    """The version in a stage: the stage's, and where no version holds it, the alias of that name.

    Where stage and alias name different versions the stage's is taken and ``warning`` names both; it names an alias
    in other letters, too, which nobody follows. One request.
    Raises :class:`NoSuchVersion` that says how to promote one.
    """
    stage = parse_stage(stage)
    model = versions.registered(model_name)
    alias = ALIASES[stage]
    staged = [int(v.version) for v in model.latest_versions if v.current_stage == stage]
    aliased = model.aliases.get(alias)
    if not staged and aliased is None:
        raise NoSuchVersion(_nothing_in(model_name, stage) + _in_other_letters(model.aliases, alias, None))
    # With two versions in one stage the highest answers, as in MLflow itself.
    number = max(staged) if staged else int(aliased)
    holder = next((v for v in model.latest_versions if int(v.version) == number), None)
    holder = holder or MlflowClient().get_model_version(model_name, str(number))
    warning = ""
    if staged and aliased is not None and int(aliased) != number:
        warning = (
            f"{model_name}: stage {stage} is version {number}, but alias {alias!r} is version {aliased}; "
            f"version {number} is used. `python -m registry sync {model_option(model_name)}` brings them "
            "together"
        )
    if misspelt := _in_other_letters(model.aliases, alias, number):
        warning = f"{warning or f'{model_name}: stage {stage} is version {number}'}{misspelt}"
    since = datetime.fromtimestamp((holder.last_updated_timestamp or 0) / 1000, UTC).isoformat(timespec="seconds")
    return _found(holder, stage, since, warning)


def _in_other_letters(aliases: dict[str, str], alias: str, number: int | None) -> str:
    """What to say of an alias that differs in capitals alone from the one of a stage, and names another version than
    ``number``; "" where there is none."""
    for name, version in aliases.items():
        if name != alias and name.casefold() == alias and int(version) != number:
            return f"; alias {name!r} is on version {version}, but the stage's alias is {alias!r}: put that one there"
    return ""


@contextmanager
def registry_answers() -> Iterator[None]:
    """Turn what MLflow and the network raise into a one-line :class:`RegistryError`."""
    try:
        yield
    except MlflowException as error:
        raise RegistryError(tracking_problem(error)) from error
    except OSError as error:
        raise RegistryError(f"the registry's files cannot be read ({error.strerror or error})") from error


def _named(selector: Selector) -> Found:
    check_readable(selector.model)
    versions.check_store()
    client = MlflowClient()
    try:
        if selector.version:
            entry = client.get_model_version(selector.model, str(selector.version))
        else:
            entry = client.get_model_version_by_alias(selector.model, selector.alias)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise NoSuchVersion(
            f"model {selector.model} has no {selector}; see what there is with "
            f"`python -m registry list {model_option(selector.model)}`"
        ) from error
    return _found(entry, f"@{selector.alias}" if selector.alias else "")


def _found(entry: ModelVersion, label: str, since: str = "", warning: str = "") -> Found:
    return Found(
        version=int(entry.version),
        label=label,
        since=since,
        identity=f"{entry.source} {entry.creation_timestamp}",
        warning=warning,
        model=entry.name,
        seal=entry.tags.get(versions.SEAL_TAG, ""),
    )


def _nothing_in(model_name: str, stage: str) -> str:
    numbers = [version.number for version in versions.every(model_name)]
    if not numbers:
        return f"{model_name} has no version; train and register one with `mlflow run .`"
    return (
        f"no version of {model_name} is in {stage} (existing versions: {', '.join(map(str, sorted(numbers)))}); "
        f"promote one: python -m registry promote --version {max(numbers)} --stage {stage} "
        f"{model_option(model_name)}"
    )
