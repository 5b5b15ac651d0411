"""One reading of a model's stages, and what in it is not as the history says."""

from dataclasses import dataclass
from datetime import UTC, datetime

from recording.exceptions import NoSuchVersion
from registry import history, versions
from registry.addresses import ALIASES
from registry.history import GONE, Line
from registry.versions import Version

STAGES = tuple(ALIASES)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Drift:
    """A stage that is not as the history says: someone changed it in MLflow itself."""

    line: Line
    """The line that ``sync`` will write; ``after`` is what the stage will hold."""
    text: str


@dataclass(frozen=True)
class State:
    """One reading of a model: its versions, aliases and history."""

    model_name: str
    versions: dict[int, Version]
    aliases: dict[str, int]
    lines: list[Line]

    @classmethod
    def read(cls, model_name: str) -> "State":
        """The state now; :class:`NoSuchVersion` when there is no such model."""
        model = versions.registered(model_name)
        found = {version.number: version for version in versions.listed(model)}
        aliases = {alias: int(number) for alias, number in model.aliases.items()}
        return cls(model_name, found, aliases, history.parse(model.tags))

    def get(self, number: int | str) -> Version:
        """The version of that number; :class:`NoSuchVersion` names the existing ones."""
        wanted = versions.parse_number(number)
        if wanted not in self.versions:
            existing = ", ".join(map(str, sorted(self.versions))) or "none"
            raise NoSuchVersion(f"{self.model_name} has no version {wanted}; existing versions: {existing}")
        return self.versions[wanted]

    def holders(self, stage: str) -> list[int]:
        """The versions in a stage, by number; more than one when someone did not archive the previous one."""
        return sorted(number for number, version in self.versions.items() if version.stage == stage)

    def answering(self, stage: str) -> int | None:
        """The version that answers for a stage: its highest, as MLflow resolves it, or else the alias's."""
        holders = self.holders(stage)
        return holders[-1] if holders else self.aliases.get(ALIASES[stage])

    def stage_of(self, number: int) -> str:
        """The stage of a version; ``Deleted`` when there is no such version any more."""
        return self.versions[number].stage if number in self.versions else GONE

    def is_settled(self, number: int | None, stage: str) -> bool:
        """True when ``number`` alone is in the stage, and the alias is on it."""
        return (
            self.holders(stage) == ([] if number is None else [number]) and self.aliases.get(ALIASES[stage]) == number
        )


def drifts(state: State) -> list[Drift]:
    """Where stages and aliases are not as the history says, and which version each stage should hold then.

    What was changed is taken as meant: a newcomer in the stage, else a moved alias, else nothing is left.
    """
    if any(line.outcome is None for line in state.lines):
        return []  # a change is under way or was interrupted; what it did is not drift
    found = []
    for stage, known in reversed(history.expected(state.lines, STAGES).items()):
        if not state.is_settled(known, stage):
            after, text = _meant(state, stage, known)
            subject = after if after is not None else known
            assert subject is not None  # where nothing was expected and nothing is, the stage is settled
            line = Line(
                action="elsewhere",
                version=subject,
                from_stage="None" if after is not None else stage,
                to_stage=stage if after is not None else state.stage_of(subject),
                stage=stage,
                before=known,
                after=after,
                why=text,
                time=_changed_at(state, subject),
                who=history.UNKNOWN_PERSON,
            )
            found.append(Drift(line, text))
    return found


def _meant(state: State, stage: str, known: int | None) -> tuple[int | None, str]:
    """``(version the stage should hold, what happened)`` for a stage that is not as the history says."""
    alias = ALIASES[stage]
    aliased = state.aliases.get(alias)
    holders = state.holders(stage)
    was = f"version {known}" if known is not None else "nothing"
    newcomers = [number for number in holders if number != known]
    if newcomers:
        beside = f", beside {', '.join(f'version {n}' for n in holders if n != newcomers[-1])}" * (len(holders) > 1)
        return newcomers[-1], f"version {newcomers[-1]} was put into {stage}{beside} (the history has {was})"
    if aliased is not None and aliased != known:
        return aliased, f"alias {alias!r} was put on version {aliased} (the history has {was} in {stage})"
    if holders:
        return known, f"alias {alias!r} was taken off version {known}, which is in {stage}"
    if known not in state.versions:
        return None, f"version {known} was deleted while it was in {stage}"
    return None, f"version {known} was taken out of {stage} (to {state.stage_of(known)})"


def _changed_at(state: State, number: int) -> str:
    """When MLflow changed the version, or now, when that is noticed: an alias that moves leaves no time.

    What contradicts the history came after its last line.
    """
    last = max((line.time for line in state.lines), default="")
    updated = f"{state.versions[number].updated:{_TIME}}" if number in state.versions else ""
    return updated if updated > last else f"{datetime.now(UTC):{_TIME}}"
