"""Every way to change which version is in a stage: one path for all of them.

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
from pathlib import Path

from mlflow import MlflowClient

from recording.exceptions import GateRefused, InputError, NoSuchVersion, RegistryError
from registry import gate, history, lock, opening, versions
from registry.addresses import ALIASES, model_option, parse_stage
from registry.history import GONE, Line
from registry.state import STAGES, Drift, State, drifts
from registry.versions import Version

# How often a change is tried again because someone else's came in between.
_ATTEMPTS = 10

# Stages are this project's contract; MLflow keeps them "for a future major version" to remove, and requirements.txt
# pins the version. Saying so at every promotion would only hide warnings that matter.
warnings.filterwarnings("ignore", message=".*transition_model_version_stage", category=FutureWarning)


@dataclass(frozen=True)
class Change:
    """What a command did: the history's line (``None``: nothing to do), what the gate said, what was repaired."""

    line: Line | None
    outcome: gate.Decision | None = None
    repaired: tuple[str, ...] = ()


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
        with _turn(model_name, repaired) as (state, turn):
            if state.answering(stage) != champion:
                continue  # judged against a champion that no longer is: judge again
            if state.is_settled(challenger.number, stage):
                return Change(None, outcome, tuple(repaired))
            line = _line("promote", state, challenger.number, stage, why, forced=force and _refuses(outcome))
            line = replace(line, gate=outcome.to_json() if outcome else [])
            if outcome is not None and _refuses(outcome) and not force:
                _close(model_name, line, state, "refused")
                raise GateRefused(_refusal(model_name, challenger.number, stage, outcome), outcome)
            return Change(_carry_out(model_name, line, state, turn), outcome, tuple(repaired))
    raise RegistryError(
        f"{model_name}: {stage} changed {_ATTEMPTS} times meanwhile; see `python -m registry history "
        f"{model_option(model_name)}`"
    )


def rollback(model_name: str, stage: str = "Production", *, number: int | str | None = None, why: str = "") -> Change:
    """Put the version back that held the stage before (or ``number``). Its contract is checked, the gate not asked.

    The gate compares with the champion, and a roll-back happens because the champion is bad.
    Raises :class:`NoSuchVersion` when there is none to go back to, :class:`ContractError` when its files changed.
    """
    stage, why = parse_stage(stage), history.check_why(why)
    repaired: list[str] = []
    for _ in range(_ATTEMPTS):
        target = _rollback_target(State.read(model_name), stage, number)
        opening.verify(model_name, target)
        with _turn(model_name, repaired) as (state, turn):
            if _rollback_target(state, stage, number) != target:
                continue
            if state.is_settled(target, stage):
                return Change(None, None, tuple(repaired))
            line = _line("rollback", state, target, stage, why)
            return Change(_carry_out(model_name, line, state, turn), None, tuple(repaired))
    raise RegistryError(
        f"{model_name}: {stage} changed {_ATTEMPTS} times meanwhile; see `python -m registry history "
        f"{model_option(model_name)}`"
    )


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
                f"take it out first: python -m registry demote --version {found.number} "
                f"{model_option(model_name)}"
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
                opening.verify(model_name, drift.line.after)
        with _turn(model_name, repaired) as (state, turn):
            if [drift.text for drift in drifts(state)] != [drift.text for drift in found]:
                continue  # something moved, or was repaired just now: look again
            written = []
            while now := drifts(state):  # one at a time: a version that changed stages is found under both
                _carry_out(model_name, now[0].line, state, turn)
                written.append(now[0])
                state = State.read(model_name)
            return repaired, written
    raise RegistryError(
        f"{model_name}: changed {_ATTEMPTS} times meanwhile; see `python -m registry history "
        f"{model_option(model_name)}`"
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
        if stage is not None and drift.line.stage == stage:
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
) -> gate.Decision | None:
    """The gate's outcome; ``None`` for a stage without one, where only the contract is checked."""
    if stage not in limits.stages:
        opening.verify(state.model_name, challenger.number)
        return None
    with tempfile.TemporaryDirectory() as scratch:
        earlier = [n for n in history.predecessors(state.lines, stage) if n in state.versions]
        former = [state.versions[number] for number in earlier]
        return gate.judge(challenger, state.get(champion) if champion else None, limits, Path(scratch), former)


def _refuses(outcome: gate.Decision | None) -> bool:
    return outcome is not None and not outcome.passed


def _refusal(model_name: str, number: int, stage: str, outcome: gate.Decision) -> str:
    better = "Train a better one"
    if not outcome.champion_opens:
        better = (
            f"Nothing can be compared with version {outcome.champion} in {stage}, whose files are missing or damaged: "
            "put them back where they were"
        )
    return (
        f"{model_name} version {number} is not promoted to {stage}: {outcome.failures()}. {better}, or "
        f'overrule the gate: python -m registry promote --version {number} --stage {stage} --force --why "…" '
        f"{model_option(model_name)}"
    )


def _rollback_target(state: State, stage: str, number: int | str | None) -> int:
    if number is not None:
        return state.get(number).number
    present = state.answering(stage)
    # What someone put there in MLflow itself is not in the history yet; the known holder is then the one before.
    known = history.expected(state.lines, STAGES)[stage]
    earlier = ([known] if known != present else []) + history.predecessors(state.lines, stage)
    for candidate in earlier:
        if candidate in state.versions and candidate != present:
            return candidate
    raise NoSuchVersion(
        f"{state.model_name}: the history knows no earlier version in {stage} that still exists; "
        f"name one: python -m registry rollback --version N {model_option(state.model_name)}"
    )
