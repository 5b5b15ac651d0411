"""Which version is in a stage, and every way to change that: one path for all of them.

A change is made with the turn held (:mod:`registry.lock`), in steps that each leave a state the next command
understands: open a line in the history → move the stage (MLflow archives the previous holder in the same
transaction) → move the alias → close the line. A line left open is a change that was interrupted; whoever has
the turn next finishes it when the stage had moved, and abandons it when nothing had.
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient

from recording.exceptions import GateRefused, InputError, NoSuchVersion, RegistryError
from registry import gate, history, lock, versions
from registry.history import GONE, Line
from registry.versions import Version

# The stages that are promoted to, and the alias that moves with each.
ALIASES = {"Staging": "staging", "Production": "production"}
_STAGES = tuple(ALIASES)

# How often a change is tried again because someone else's came in between.
_ATTEMPTS = 10

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


@dataclass(frozen=True)
class Change:
    """What a command did: the history's line (``None``: nothing to do), what the gate said, what was repaired."""

    line: Line | None
    outcome: gate.Outcome | None = None
    repaired: tuple[str, ...] = ()


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
            f"version {number} is used. `python -m registry sync --model-name {model_name}` brings them together"
        )
    return Resolved(
        name=model_name,
        version=number,
        stage=stage,
        since=datetime.fromtimestamp(holder.last_updated_timestamp / 1000, UTC),
        aliases=tuple(sorted(a for a, v in model.aliases.items() if int(v) == number)),
        warning=warning,
    )


def promote(
    model_name: str,
    number: int | str,
    stage: str = "Production",
    *,
    why: str = "",
    force: bool = False,
    dry_run: bool = False,
    limits: gate.Configuration | None = None,
) -> Change:
    """Put a version into a stage if it keeps its contract and the gate agrees; archive the previous holder.

    ``force`` overrides the gate (never the contract) and needs ``why``; the history says so. ``dry_run`` only
    asks the gate. Raises :class:`GateRefused`, :class:`ContractError`, :class:`NoSuchVersion`.
    """
    stage, why, limits = parse_stage(stage), history.check_why(why), limits or gate.configure()
    if force and not why:
        raise InputError('--force needs a reason for the history: --why "…"')
    repaired: list[str] = []
    for _ in range(_ATTEMPTS):
        state = State.read(model_name)
        challenger, champion = state.get(number), state.answering(stage)
        outcome = _ask_gate(state, challenger, champion, stage, limits)
        if dry_run:
            return Change(None, outcome)
        refused = outcome is not None and not outcome.passed
        with _turn(model_name, repaired) as (state, turn):
            if state.answering(stage) != champion:
                continue  # judged against a champion that no longer is: judge again
            if state.is_settled(challenger.number, stage):
                return Change(None, outcome, tuple(repaired))
            line = _line("promote", state, challenger.number, stage, why, forced=force and refused)
            line = replace(line, gate=outcome.to_json() if outcome else [])
            if refused and not force:
                _close(model_name, line, state, "refused")
                raise GateRefused(_refusal(model_name, challenger.number, stage, outcome), outcome)
            return Change(_carry_out(model_name, line, state, turn), outcome, tuple(repaired))
    raise RegistryError(f"{model_name}: {stage} changed {_ATTEMPTS} times meanwhile; see `python -m registry history`")


def rollback(model_name: str, stage: str = "Production", *, number: int | str | None = None, why: str = "") -> Change:
    """Put the version back that held the stage before (or ``number``). Its contract is checked, the gate not asked.

    The gate compares with the champion, and a roll-back happens because the champion is bad.
    Raises :class:`NoSuchVersion` when there is none to go back to, :class:`ContractError` when its files changed.
    """
    stage, why = parse_stage(stage), history.check_why(why)
    repaired: list[str] = []
    for _ in range(_ATTEMPTS):
        target = _rollback_target(State.read(model_name), stage, number)
        versions.verify(model_name, target)
        with _turn(model_name, repaired) as (state, turn):
            if _rollback_target(state, stage, number) != target:
                continue
            if state.is_settled(target, stage):
                return Change(None, None, tuple(repaired))
            line = _line("rollback", state, target, stage, why)
            return Change(_carry_out(model_name, line, state, turn), None, tuple(repaired))
    raise RegistryError(f"{model_name}: {stage} changed {_ATTEMPTS} times meanwhile; see `python -m registry history`")


def demote(model_name: str, number: int | str, *, why: str = "") -> Change:
    """Take a version out of its stage, back to none."""
    return _move_out("demote", model_name, number, "None", why)


def archive(model_name: str, number: int | str, *, why: str = "") -> Change:
    """Move a version to Archived, out of whatever stage it is in."""
    return _move_out("archive", model_name, number, "Archived", why)


def delete(model_name: str, number: int | str, *, why: str = "") -> Change:
    """Delete a version for good; :class:`RegistryError` while it is in a stage or has an alias."""
    repaired: list[str] = []
    with _turn(model_name, repaired) as (state, turn):
        found = state.get(number)
        where = [f"in {found.stage}"] * (found.stage in ALIASES)
        where += [f"alias {alias!r}" for alias in found.aliases if alias in ALIASES.values()]
        if where:
            raise RegistryError(
                f"{model_name} version {found.number} is {' and '.join(where)}: it is in use and not deleted; "
                f"take it out first: python -m registry demote --version {found.number} --model-name {model_name}"
            )
        line = _line("delete", state, found.number, GONE, history.check_why(why))
        return Change(_carry_out(model_name, line, state, turn), None, tuple(repaired))


def sync(model_name: str, *, dry_run: bool = False) -> tuple[list[str], list[Drift]]:
    """Finish what was interrupted, write down what was changed in MLflow itself, bring stage and alias together.

    Returns what was repaired and what was found. A version that breaks its contract is not followed:
    :class:`ContractError` names it, and the drift stays visible.
    """
    if dry_run:
        return [], drifts(State.read(model_name))
    repaired: list[str] = []
    for _ in range(_ATTEMPTS):
        found = drifts(State.read(model_name))
        for drift in found:
            if drift.line.after is not None:
                versions.verify(model_name, drift.line.after)
        with _turn(model_name, repaired) as (state, turn):
            if [drift.text for drift in drifts(state)] != [drift.text for drift in found]:
                continue  # something moved, or was repaired just now: look again
            written = []
            while now := drifts(state):  # one at a time: a version that changed stages is found under both
                _carry_out(model_name, now[0].line, state, turn)
                written.append(now[0])
                state = State.read(model_name)
            return repaired, written
    raise RegistryError(f"{model_name}: changed {_ATTEMPTS} times meanwhile; see `python -m registry history`")


def drifts(state: State) -> list[Drift]:
    """Where stages and aliases are not as the history says, and which version each stage should hold then.

    What was changed is taken as meant: a newcomer in the stage, else a moved alias, else nothing is left.
    """
    if any(line.outcome is None for line in state.lines):
        return []  # a change is under way or was interrupted; what it did is not drift
    found = []
    for stage, known in reversed(history.expected(state.lines, _STAGES).items()):
        if not state.is_settled(known, stage):
            after, text = _meant(state, stage, known)
            subject = after if after is not None else known
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


def parse_stage(stage: str) -> str:
    """A stage as MLflow spells it, from any case; :class:`InputError` names the legal ones."""
    for legal in ALIASES:
        if stage.strip().lower() == legal.lower():
            return legal
    raise InputError(
        f"stage {stage!r} cannot be promoted to: choose {' or '.join(ALIASES)} "
        "(to take a version out of a stage: `python -m registry demote` or `archive`)"
    )


# ---- one change, step by step


@contextmanager
def _turn(model_name: str, repaired: list[str]) -> Iterator[tuple[State, lock.Turn]]:
    """The turn to change the model, and its state after whatever was interrupted has been repaired."""
    with lock.turn(model_name) as held:
        state = State.read(model_name)
        interrupted = [line for line in state.lines if line.outcome is None]
        for line in interrupted:
            repaired.append(_repair(model_name, line, state, held))
        yield (State.read(model_name) if interrupted else state), held


def _carry_out(model_name: str, line: Line, state: State, turn: lock.Turn) -> Line:
    """Open the line, do what it says, close it."""
    if line.action != "elsewhere":
        state = _record_elsewhere(model_name, line.stage, state, turn)
    turn.check()
    line = history.begin(model_name, line, state.lines)
    _apply(model_name, line, turn)
    history.end(model_name, line, "done")
    return replace(line, outcome="done")


def _record_elsewhere(model_name: str, stage: str | None, state: State, turn: lock.Turn) -> State:
    """Write down what someone did in MLflow itself to a stage that is about to change again; the state after it.

    The version that answers for the stage stays the one that does: what was meant no longer matters.
    """
    for drift in drifts(state):
        if drift.line.stage == stage:
            answering = state.answering(stage)
            line = drift.line
            if answering is not None:
                line = replace(line, version=answering, to_stage=stage, after=answering)
            _carry_out(model_name, line, state, turn)
            state = State.read(model_name)
    return state


def _apply(model_name: str, line: Line, turn: lock.Turn) -> None:
    """The steps of a line; doing them again does no harm."""
    client, number = MlflowClient(), str(line.version)
    turn.check()
    if line.to_stage == GONE:
        if line.action == "delete":
            client.delete_model_version(model_name, number)
    elif line.to_stage in ALIASES:
        client.transition_model_version_stage(model_name, number, line.to_stage, archive_existing_versions=True)
        turn.check()
        client.set_registered_model_alias(model_name, ALIASES[line.to_stage], number)
    else:
        client.transition_model_version_stage(model_name, number, line.to_stage)
    _drop_aliases(client, model_name, line, turn)


def _drop_aliases(client: MlflowClient, model_name: str, line: Line, turn: lock.Turn) -> None:
    """Take the aliases of stages that the line's version has left."""
    left = [alias for stage, alias in ALIASES.items() if stage != line.to_stage]
    for alias, holder in versions.registered(model_name).aliases.items():
        if alias in left and int(holder) == line.version:
            turn.check()
            client.delete_registered_model_alias(model_name, alias)


def _repair(model_name: str, line: Line, state: State, turn: lock.Turn) -> str:
    """Finish an interrupted line when its stage had moved, abandon it when nothing had; says which."""
    what = f"{line.action} of version {line.version} to {line.to_stage} ({line.who}, {line.time}) was interrupted"
    if state.stage_of(line.version) == line.to_stage:
        if line.to_stage != GONE:
            _apply(model_name, line, turn)
        history.end(model_name, line, "finished later")
        return f"{what}; it is finished now"
    history.end(model_name, line, "abandoned")
    return f"{what} before it changed anything; run it again if it is still wanted"


def _close(model_name: str, line: Line, state: State, outcome: str) -> None:
    """Write a line that needs no steps."""
    history.end(model_name, history.begin(model_name, line, state.lines), outcome)


def _line(action: str, state: State, number: int, to_stage: str, why: str, forced: bool = False) -> Line:
    from_stage = state.stage_of(number)
    stage = to_stage if to_stage in ALIASES else from_stage if from_stage in ALIASES else None
    before = state.answering(stage) if stage else None
    return Line(
        action=action,
        version=number,
        from_stage=from_stage,
        to_stage=to_stage,
        stage=stage,
        before=before,
        after=number if to_stage in ALIASES else None,
        why=why,
        forced=forced,
    )


def _move_out(action: str, model_name: str, number: int | str, to_stage: str, why: str) -> Change:
    why = history.check_why(why)
    repaired: list[str] = []
    with _turn(model_name, repaired) as (state, turn):
        found = state.get(number)
        if found.stage == to_stage and not set(found.aliases) & set(ALIASES.values()):
            return Change(None, None, tuple(repaired))
        line = _line(action, state, found.number, to_stage, why)
        return Change(_carry_out(model_name, line, state, turn), None, tuple(repaired))


def _ask_gate(
    state: State, challenger: Version, champion: int | None, stage: str, limits: gate.Configuration
) -> gate.Outcome | None:
    """The gate's outcome; ``None`` for a stage without one, where only the contract is checked."""
    if stage not in limits.stages:
        versions.verify(state.model_name, challenger.number)
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return gate.judge(challenger, state.get(champion) if champion else None, limits, Path(scratch))


def _refusal(model_name: str, number: int, stage: str, outcome: gate.Outcome) -> str:
    return (
        f"{model_name} version {number} is not promoted to {stage}: {outcome.failures()}. Train a better one, or "
        f'overrule the gate: python -m registry promote --version {number} --stage {stage} --force --why "…"'
    )


def _rollback_target(state: State, stage: str, number: int | str | None) -> int:
    if number is not None:
        return state.get(number).number
    present = state.answering(stage)
    # What someone put there in MLflow itself is not in the history yet; the known holder is then the one before.
    known = history.expected(state.lines, _STAGES)[stage]
    earlier = ([known] if known != present else []) + history.predecessors(state.lines, stage)
    for candidate in earlier:
        if candidate in state.versions and candidate != present:
            return candidate
    raise NoSuchVersion(
        f"{state.model_name}: the history knows no earlier version in {stage} that still exists; "
        f"name one: python -m registry rollback --version N --model-name {state.model_name}"
    )


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
    updated = state.versions[number].updated if number in state.versions else datetime.now(UTC)
    return updated.strftime("%Y-%m-%dT%H:%M:%SZ")


def _nothing_in(model_name: str, stage: str) -> str:
    numbers = [version.number for version in versions.every(model_name)]
    if not numbers:
        return f"{model_name} has no version; train and register one with `mlflow run .`"
    return (
        f"no version of {model_name} is in {stage} (existing versions: {', '.join(map(str, sorted(numbers)))}); "
        f"promote one: python -m registry promote --version {max(numbers)} --stage {stage} --model-name {model_name}"
    )
