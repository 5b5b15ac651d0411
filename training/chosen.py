"""Whose configuration a curve trains with: a registered version's, that of a search, or a short search's own.

A search also says what a main job takes, by what its trials took: what a curve may cost is measured by that.
"""

import logging
import math
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from recording.exceptions import InputError
from registry import opening, resolving
from registry.addresses import Selector
from training import final, job
from training.bases import Bases
from training.config import JobConfig
from training.context import Job
from training.learning.finetune import TrialConfig
from training.searching.storage import reading
from training.searching.study import Study, expected

log = logging.getLogger(__name__)

CURVE = "curve"
"""What a study says that it is for, when a curve began it."""


@dataclass(frozen=True)
class Cost:
    """What a main job takes that finds this configuration, seconds; activations, report and starts left out."""

    trials_seconds: float
    """Of all its trials."""
    sample_seconds: float
    """Of training the configuration, for one sample once."""
    trial_seconds: float
    """Of the trial that found it, ..."""
    trial_epochs: int
    """... in so many epochs with all training samples, each of them judged, and the start too."""
    more_epochs: float
    """Of the final training."""
    spent_seconds: float = 0.0
    """What the curve itself has spent on trials."""

    def main_seconds(self, final_samples: int) -> float:
        """Of the whole job, which goes on training on so many samples in the end."""
        return self.trials_seconds + self.sample_seconds * self.more_epochs * final_samples

    def training_seconds(self, epochs: int, samples: int, all_samples: int) -> float:
        """Of training on so many of ``all_samples``: however few they are, every epoch is judged, and the start too."""
        trained = self.sample_seconds * all_samples * self.trial_epochs
        judging = max(0.0, self.trial_seconds - trained) / (self.trial_epochs + 1)
        return epochs * (self.sample_seconds * samples + judging) + judging


@dataclass(frozen=True)
class Chosen:
    """A configuration, where it comes from in words, and what a main job with it takes, where that is known."""

    config: TrialConfig
    source: str
    cost: Cost | None = None


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


def from_study(folder: Path, database: str = "") -> Chosen | None:
    """The best configuration of a search of the main job, in ``folder`` or the PostgreSQL ``database`` that several
    machines work on; ``None`` where the folder has none or a curve began it.

    Raises :class:`InputError` when the search has no result yet, or cannot be read.
    """
    file = folder / "study.db"
    if not database and not file.is_file():
        return None
    where = make_url(database).render_as_string(hide_password=True) if database else str(file)
    try:
        storage = reading(database) if database else f"sqlite:///{quote(str(file))}"
        study = optuna.load_study(study_name=folder.name, storage=storage)
        trials, identity = study.get_trials(deepcopy=False), study.user_attrs.get("identity", {})
    except (KeyError, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = "it is not there" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise InputError(
            f"study {folder.name!r}: cannot be read in {where} ({reason}); "
            "choose another study, or a new name for a short search"
        ) from error
    if identity.get("for") == CURVE:
        return None
    done = [one for one in trials if "result" in one.user_attrs]
    if not done:
        raise InputError(
            f"study {folder.name!r} has no finished trial yet; wait for it, or give a new name for a short search"
        )
    best = min(done, key=expected)
    source = f"trial-{best.number:03d} of study {folder.name}"
    return Chosen(TrialConfig(**best.user_attrs["config"]), source, cost(trials, best))


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
        found = job.search(work, starts, study, (space.search_seconds(), space.search_seconds()))
    source = f"trial-{found.best.number:03d} of the short search {work.study}"
    main = replace(space, trials=JobConfig.trials).runs()
    return Chosen(found.config(), source, cost(found.trials, found.best, main))


def cost(trials: Sequence[FrozenTrial], best: FrozenTrial, main: int = 0) -> Cost:
    """What a main job takes, by what these ``trials`` took: of its own, or (``main`` trials are what it runs) of a
    short search, which the curve has spent itself."""
    results = [one.user_attrs["result"] for one in trials if "result" in one.user_attrs]
    seconds = sum(one["seconds"] - one["cache_seconds"] for one in results)
    chosen = best.user_attrs["result"]
    number = chosen["best"]["number"]
    more = final.planned_epochs(number, 0, math.inf, cut_off=chosen["ended"] == "timeout") if number else 0.0
    all_trials = seconds * max(1.0, main / len(results))
    spent = seconds if main else 0.0
    took = chosen["seconds"] - chosen["cache_seconds"]
    return Cost(all_trials, chosen["sample_seconds"], took, chosen["epochs"], more, spent)
