"""What names a version: a model and a stage, an alias or a number, as options or as a ``models:/…`` address.

Pure values; MLflow, which takes seconds to import, is only needed to ask (:mod:`registry.resolving`).
"""

import re
import shlex
from dataclasses import dataclass

from recording.exceptions import InputError

SCHEME = "models:/"
DEFAULT_MODEL_NAME = "gaze-tracker"

# The stages that are promoted to, and the alias that moves with each.
ALIASES = {"Staging": "staging", "Production": "production"}

# MLflow's databases keep 256 characters of a model name, and ``-base`` is added for the model's base.
MAX_NAME = 250
# Names that MLflow takes and other places do not: these mean something else in an address …
_AMBIGUOUS = re.compile(r"[?#%@]")
# … and these in MLflow's search; `/` and `:` it takes nowhere.
_UNSEARCHABLE = re.compile(r"""[/:'"`\\\x00-\x1f\x7f]""")


@dataclass(frozen=True)
class Selector:
    """Which version is wanted: the one in a stage, the one behind an alias, or a fixed number."""

    model: str = DEFAULT_MODEL_NAME
    stage: str = "Production"
    alias: str = ""
    version: int = 0

    @classmethod
    def parse(cls, address: str) -> "Selector":
        """What ``models:/NAME/STAGE``, ``models:/NAME/3`` or ``models:/NAME@ALIAS`` names.

        Raises :class:`InputError` for anything else, with an example of what to write.
        """
        name, separator, which = _split(address.removeprefix(SCHEME))
        if not address.startswith(SCHEME) or not name or not which or "/" in which:
            raise InputError(
                f"{address!r}: not a model address; write models:/gaze-tracker/Production, models:/gaze-tracker/3 or "
                "models:/gaze-tracker@alias"
            )
        check_name(name)
        if separator == "@":
            return cls(name, alias=which)
        if which.isascii() and which.isdigit():
            return cls(name, version=int(which))
        return cls(name, parse_stage(which))

    @property
    def label(self) -> str:
        """The ``label`` of the version that this finds: the stage, ``@alias``, or empty for a number."""
        if self.version:
            return ""
        return f"@{self.alias}" if self.alias else parse_stage(self.stage)

    def names(self, found: "Found") -> bool:
        """Whether ``found`` is what the registry once answered to this selector, and not to another of the model."""
        return found.label == self.label and (not self.version or found.version == self.version)

    def __str__(self) -> str:
        if self.version:
            return f"version {self.version}"
        return f"alias {self.alias}" if self.alias else f"stage {self.stage}"


@dataclass(frozen=True)
class Found:
    """The version that a selector names now, as the registry answered once."""

    version: int
    label: str
    """What selects it: the stage's name, ``@alias``, or empty for a fixed version."""
    since: str
    """ISO 8601 time of the promotion, empty where the registry does not know."""
    identity: str
    """Changes when the same number is another model (registered again after the name was deleted)."""
    warning: str = ""
    """What the registry found odd (stage and alias that disagree), for the log."""
    model: str = ""
    seal: str = ""
    """The seal that the contract had at registration; empty for a version without that tag."""


def model_option(model_name: str) -> str:
    """The option with which a command in a message acts on this model, and on no other."""
    return f"--model-name {shlex.quote(model_name)}"


def parse_stage(stage: str) -> str:
    """A stage as MLflow spells it, from any case; :class:`InputError` names the legal ones."""
    for legal in ALIASES:
        if stage.strip().lower() == legal.lower():
            return legal
    raise InputError(
        f"stage {stage!r} is none that answers or is promoted to: choose {' or '.join(ALIASES)} "
        "(to take a version out of a stage: `python -m registry demote` or `archive`)"
    )


def check_name(model_name: str) -> None:
    """:class:`InputError` for a name that a model must not get: MLflow's search, addresses or databases would fail."""
    wrong = _AMBIGUOUS.search(model_name)
    if wrong:
        raise InputError(
            f"model name {model_name!r} has {wrong[0]!r} in it, which means something else in an address; use "
            "letters, digits, '-', '_', '.' and spaces"
        )
    check_readable(model_name)


def check_readable(model_name: str) -> None:
    """:class:`InputError` for a name by which MLflow cannot find a model; wider than :func:`check_name`.

    A model that got its name elsewhere is read under it. What is refused here has to be renamed first.
    """
    wrong = _UNSEARCHABLE.search(model_name)
    if wrong:
        raise InputError(
            f"model name {model_name!r} has {wrong[0]!r} in it, which MLflow's search cannot carry; use letters, "
            "digits, '-', '_', '.' and spaces (a model that has such a name: MlflowClient().rename_registered_model)"
        )
    if not model_name or model_name != model_name.strip() or set(model_name) == {"."}:
        raise InputError(
            f"model name {model_name!r} is empty, only dots, or begins or ends with a space; choose another"
        )
    if len(model_name) > MAX_NAME:
        raise InputError(
            f"model name {model_name[:40]!r}… has {len(model_name)} characters; at most {MAX_NAME} are kept"
        )


def base_name(model_name: str) -> str:
    """The registered model that holds the checkpoint before fine-tuning."""
    return f"{model_name}-base"


def _split(rest: str) -> tuple[str, str, str]:
    """``(name, separator, which)`` of what follows the scheme."""
    return rest.rpartition("@") if "@" in rest else rest.partition("/")
