"""Whose configuration a curve trains with: a registered version's, that of a search, or a short search's own."""

import logging
import tempfile
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import quote

import optuna
from sqlalchemy.exc import SQLAlchemyError

from recording.exceptions import InputError
from registry import opening, resolving
from registry.addresses import Selector
from training import job
from training.bases import Bases
from training.context import Job
from training.learning.finetune import TrialConfig
from training.searching.study import Study

log = logging.getLogger(__name__)

CURVE = "curve"
"""What a study says that it is for, when a curve began it."""


@dataclass(frozen=True)
class Chosen:
    """A configuration, and where it comes from in words."""

    config: TrialConfig
    source: str


def from_version(address: str) -> Chosen:
    """The configuration in the contract of a registered version; :class:`InputError` where it has none (a base)."""
    found = resolving.find(Selector.parse(address))
    with tempfile.TemporaryDirectory() as scratch:
        stated = opening.fetch(found.model, found.version, found.seal, Path(scratch)).contract.training
    name = f"{found.model} version {found.version}"
    wanted = {field.name for field in fields(TrialConfig)}
    try:
        config = TrialConfig(**{key: value for key, value in stated.items() if key in wanted})
    except (TypeError, ValueError) as error:
        raise InputError(
            f"model={address}: the contract of {name} does not say with which configuration it was trained ({error}); "
            "give a version that the main job registered, or study="
        ) from error
    return Chosen(config, name)


def from_study(folder: Path) -> Chosen | None:
    """The best configuration of a search of the main job; ``None`` where there is none or a curve began it.

    Raises :class:`InputError` when the search has no result yet, or its file cannot be read.
    """
    if not (folder / "study.db").is_file():
        return None
    try:
        study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{quote(str(folder / 'study.db'))}")
        trials, identity = study.get_trials(deepcopy=False), study.user_attrs.get("identity", {})
    except (KeyError, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise InputError(
            f"study {folder.name!r}: {folder / 'study.db'} cannot be read ({' '.join(str(error).split())[:200]}); "
            "choose another study, or a new name for a short search"
        ) from error
    if identity.get("for") == CURVE:
        return None
    done = [one for one in trials if "result" in one.user_attrs]
    if not done:
        raise InputError(
            f"study {folder.name!r} has no finished trial yet; wait for it, or give a new name for a short search"
        )
    best = min(done, key=lambda one: one.user_attrs["result"]["value"])
    return Chosen(TrialConfig(**best.user_attrs["config"]), f"trial-{best.number:03d} of study {folder.name}")


def searched(work: Job, starts: Bases, folder: Path) -> Chosen:
    """The best of a short search on all training samples; one of that name that was interrupted is gone on with."""
    space, data = work.config.space().settled(len(work.split.train)), work.recordings
    identity = space.identity() | {"for": CURVE, "data": data.digest[:16], "face": data.cut_in_words()}
    identity |= {"base": work.base.digest[:16], "split": work.split.digest()}
    with closing(Study(folder, work.study, space, identity, len(work.split.train))) as study:
        study.end_orphans(work.run_id)
        log.info(
            "short search %s: up to %d trials; resume an interrupted one with study=%s",
            work.study, space.runs(), work.study,
        )  # fmt: skip
        found = job.search(work, starts, study, space.search_seconds())
    return Chosen(found.config(), f"trial-{found.best.number:03d} of the short search {work.study}")
