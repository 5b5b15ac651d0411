"""Which version is in a stage, and moving versions between stages with the alias kept beside."""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient

from registry import versions
from registry.exceptions import InputError, NoSuchVersion

# The stages that are promoted to, and the alias that moves with each.
ALIASES = {"Staging": "staging", "Production": "production"}

# Stages are this project's contract; MLflow keeps them "for a future major version" to remove, and requirements.txt
# pins the version. Saying so at every promotion would only hide warnings that matter.
warnings.filterwarnings("ignore", message=".*transition_model_version_stage", category=FutureWarning)


@dataclass(frozen=True)
class Resolved:
    """The version that answers for a stage."""

    name: str
    version: int
    stage: str
    since: datetime
    aliases: tuple[str, ...]
    warning: str | None = None


def resolve(model_name: str, *, stage: str = "Production") -> Resolved:
    """The version in a stage: the stage's, and where no version holds it, the alias of that name.

    Where stage and alias name different versions the stage's is taken and ``warning`` names both. One request.
    Raises :class:`NoSuchVersion` that says how to promote one.
    """
    stage = parse_stage(stage)
    model = versions.registered(model_name)
    alias = ALIASES[stage]
    staged = [int(v.version) for v in model.latest_versions if v.current_stage == stage]
    aliased = model.aliases.get(alias)
    if not staged and aliased is None:
        raise NoSuchVersion(_nothing_in(model_name, stage))
    number = max(staged) if staged else int(aliased)
    holder = next((v for v in model.latest_versions if int(v.version) == number), None)
    holder = holder or MlflowClient().get_model_version(model_name, str(number))
    warning = None
    if staged and aliased is not None and int(aliased) != number:
        warning = (
            f"{model_name}: stage {stage} is version {number}, but alias {alias!r} is version {aliased}; "
            f"version {number} is used. `python -m registry sync` brings them together"
        )
    return Resolved(
        name=model_name,
        version=number,
        stage=stage,
        since=datetime.fromtimestamp(holder.last_updated_timestamp / 1000, UTC),
        aliases=tuple(sorted(a for a, v in model.aliases.items() if int(v) == number)),
        warning=warning,
    )


def promote(model_name: str, number: int, stage: str = "Production") -> None:
    """Put a version into a stage, archive the one that held it, move the alias along."""
    stage = parse_stage(stage)
    found = versions.get(model_name, number)
    client = MlflowClient()
    client.transition_model_version_stage(model_name, str(found.number), stage, archive_existing_versions=True)
    client.set_registered_model_alias(model_name, ALIASES[stage], str(found.number))


def parse_stage(stage: str) -> str:
    """A stage as MLflow spells it, from any case; :class:`InputError` names the legal ones."""
    for legal in ALIASES:
        if stage.strip().lower() == legal.lower():
            return legal
    raise InputError(
        f"stage {stage!r} cannot be promoted to: choose {' or '.join(ALIASES)} "
        "(to take a version out of a stage: `python -m registry demote` or `archive`)"
    )


def _nothing_in(model_name: str, stage: str) -> str:
    numbers = [version.number for version in versions.every(model_name)]
    if not numbers:
        return f"{model_name} has no version; train and register one with `mlflow run .`"
    return (
        f"no version of {model_name} is in {stage} (existing versions: {', '.join(map(str, sorted(numbers)))}); "
        f"promote one: python -m registry promote --version {max(numbers)} --stage {stage} --model-name {model_name}"
    )
