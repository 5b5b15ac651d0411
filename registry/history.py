"""Who moved which version where, when and why: an append-only record inside the registry.

Every line is a tag of its own on the registered model, written before the change begins and never rewritten;
a second tag closes it. So the record lives and is backed up with MLflow's database, and a line without its
closing tag is a change that was interrupted.

    history.000012.ab12cd34       {"time": …, "who": …, "action": "promote", "version": 3, …}
    history.000012.ab12cd34.end   {"outcome": "done", "time": …, "who": …}
"""

import getpass
import json
import logging
import os
import platform
import re
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from mlflow import MlflowClient
from pydantic import TypeAdapter

from recording.exceptions import InputError
from registry import versions

log = logging.getLogger(__name__)

PREFIX = "history."
_END = ".end"
# PostgreSQL keeps 5,000 characters of a registered model's tag.
_MAX_TAG = 5000
MAX_WHY = 1000

UNKNOWN_PERSON = "unknown (changed in MLflow itself)"
GONE = "Deleted"

_KEY = re.compile(r"history\.(\d+)\.([^.]+)")

# Outcomes after which the change holds.
HELD = ("done", "finished later")


@dataclass(frozen=True)
class Line:
    """One change, tried or made. ``before`` and ``after`` are the version in ``stage``; ``None``: none was."""

    action: str
    """``promote``, ``rollback``, ``demote``, ``archive``, ``delete``, ``elsewhere`` (someone used MLflow itself)."""
    version: int
    from_stage: str
    to_stage: str
    stage: str | None
    before: int | None
    after: int | None
    why: str = ""
    forced: bool = False
    gate: list[dict[str, Any]] = field(default_factory=list)
    time: str = ""
    who: str = ""
    number: int = 0
    id: str = ""
    outcome: str | None = None
    """``done``, ``finished later``, ``abandoned``, ``refused``; ``None`` while open."""

    @property
    def key(self) -> str:
        """The line's tag; zero-padded, so that tags sort by time."""
        return f"{PREFIX}{self.number:06d}.{self.id}"

    @property
    def gate_said(self) -> str:
        """What the gate came to, the failed checks by name; empty where it was not asked."""
        failed = [str(check.get("check")) for check in self.gate if not check.get("passed")]
        return f"gate failed: {', '.join(failed)}" if failed else "gate passed" if self.gate else ""


@dataclass(frozen=True)
class _Ending:
    outcome: str


_LINE, _ENDING = TypeAdapter(Line), TypeAdapter(_Ending)


def who() -> str:
    """The person at this machine: MLflow's user name where one is set, else the system's, and the host."""
    try:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # a user number without a name, as in containers
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node()}"


def check_why(why: str) -> str:
    """The reason on one line; :class:`InputError` when it is too long to be kept."""
    why = " ".join(why.split())
    if len(why) > MAX_WHY:
        raise InputError(f"--why has {len(why)} characters; the history keeps {MAX_WHY}")
    return why


def read(model_name: str) -> list[Line]:
    """All lines, oldest first."""
    return parse(versions.registered(model_name).tags)


def parse(tags: dict[str, str]) -> list[Line]:
    """The lines among a registered model's tags, oldest first; other tags are left alone.

    So are those that begin as a line's do and are none, which a person has made: the log names each of them once. Of a
    line that a later release wrote, the fields that are known here are read.
    """
    lines = []
    for key, value in sorted(tags.items()):
        if not key.startswith(PREFIX) or key.endswith(_END):
            continue
        named = _KEY.fullmatch(key)
        try:
            if not named:
                raise ValueError("is not named as its lines are")
            line = _LINE.validate_json(value)
        except ValueError:
            warn_of_foreign(key, "a line of the history")
            continue
        outcome = _outcome(key + _END, tags.get(key + _END))
        lines.append(replace(line, number=int(named[1]), id=named[2], outcome=outcome))
    return lines


def _outcome(key: str, value: str | None) -> str | None:
    """How the closing tag ``key`` says that a line has ended; one that says nothing leaves it open."""
    if value is None:
        return None
    try:
        return _ENDING.validate_json(value).outcome
    except ValueError:
        warn_of_foreign(key, "the end of a line of the history")
        return None


@cache
def warn_of_foreign(key: str, what: str) -> None:
    """Say once that the model's tag ``key``, named as if it were ``what``, is not."""
    log.warning("the model's tag %r is not %s and is left alone; give it another name, in MLflow's page", key, what)


def begin(model_name: str, line: Line, after: list[Line]) -> Line:
    """Append ``line`` behind the lines ``after``; as it is written, with number, time and person.

    Call it with the turn held (:mod:`registry.lock`), or numbers are given twice (no line is lost even then).
    """
    fields = asdict(line)
    for derived in ("number", "id", "outcome"):
        del fields[derived]
    fields |= {"time": line.time or _now(), "who": line.who or who()}
    number = 1 + max((earlier.number for earlier in after), default=0)
    written = Line(**fields, number=number, id=uuid.uuid4().hex[:8])
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    if len(text) > _MAX_TAG:  # many failed checks with long reasons: their details are also in the command's output
        fields["gate"] = [{k: v for k, v in check.items() if k in ("check", "passed")} for check in line.gate]
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    MlflowClient().set_registered_model_tag(model_name, written.key, text)
    return written


def end(model_name: str, line: Line, outcome: str) -> None:
    """Close a line: ``done``, ``finished later``, ``abandoned`` or ``refused``."""
    closing = {"outcome": outcome, "time": _now(), "who": who()}
    MlflowClient().set_registered_model_tag(model_name, line.key + _END, json.dumps(closing))


def expected(lines: list[Line], stages: tuple[str, ...]) -> dict[str, int | None]:
    """Which version each stage holds if nobody but our commands has touched it since."""
    holders: dict[str, int | None] = dict.fromkeys(stages)
    for line in lines:
        if line.outcome not in HELD:
            continue
        for stage in stages:
            if holders[stage] == line.version:
                holders[stage] = None
        if line.stage is not None:
            holders[line.stage] = line.after
    return holders


def predecessors(lines: list[Line], stage: str) -> list[int]:
    """The versions that ``stage`` held before its present one, latest first: what a roll-back can go to.

    A roll-back takes the versions that it leaves off the pile, so that two roll-backs in a row go back two.
    """
    pile: list[int] = []
    present: int | None = None
    for line in lines:
        if line.outcome not in HELD:
            continue
        if line.stage == stage:
            if line.action == "rollback" and line.after in pile:
                while pile[-1] != line.after:
                    pile.pop()
            elif line.after is not None and pile[-1:] != [line.after]:
                pile.append(line.after)
            present = line.after
        elif line.version == present:
            present = None
    return [version for version in dict.fromkeys(reversed(pile)) if version != present]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
