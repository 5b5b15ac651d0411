"""The Optuna study: what is tried next, and what was found so far.

It lies in one SQLite file in its own folder, or in a database that several processes work on
(:mod:`training.searching.storage`), so that the same name resumes it.
"""

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from recording.exceptions import GazeError, InputError
from training.learning import shrinkage
from training.learning.finetune import TrialConfig
from training.learning.time_left import foreseen
from training.orphans import end_run
from training.searching.pruning import LearningCurvePruner
from training.searching.space import SearchSpace
from training.searching.storage import MOST_RETRIES, Storage, StudyDatabase, StudyFile
from training.searching.trial import TrialResult

log = logging.getLogger(__name__)

PUBLISHED = "checkpoint"
"""Artifact folder of a trial's run with its weights, where several machines work on one study."""
YOUNG_S = 120
"""A run that began less than this ago may be of a process that has not come to say that it is there."""


@dataclass(frozen=True)
class SearchResult:
    """The best trial and what all of them came to."""

    best: FrozenTrial
    checkpoint: Path
    trials: list[FrozenTrial]
    cache_seconds: float
    """Of this session's search (not of what it resumed), spent on the activation cache: of its time on the clock."""
    study: str

    def config(self) -> TrialConfig:
        return TrialConfig(**self.best.user_attrs["config"])

    def kept(self) -> shrinkage.Kept:
        """What the best trial's answers keep of their distance from the mean; all of it in studies that did not ask."""
        pitch, yaw = self.best.user_attrs["result"]["best"].get("kept", shrinkage.WHOLE)
        return float(pitch), float(yaw)

    def ran(self) -> list[FrozenTrial]:
        """The trials that came to a result or failed; others are only waiting, or were cut off."""
        return [trial for trial in self.trials if {"result", "error"} & trial.user_attrs.keys()]


class Study:
    """A study, with the best trial's checkpoint in its folder; ``storage`` is where the rest of it is kept.

    ``samples`` is how many are trained on. ``identity`` is everything that must be the same for results to be
    comparable; resuming with another one is an :class:`InputError` that names what differs.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        space: SearchSpace,
        identity: dict[str, Any],
        samples: int,
        database: StudyDatabase | None = None,
    ):
        self.folder, self.name, self.space, self.samples = Path(folder), name, space, samples
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage: Storage = database or StudyFile(self.folder, name)
        try:
            with self.readable(), self.storage.alone():
                self._open(identity)
        except BaseException:
            self.close()
            raise

    def _open(self, identity: dict[str, Any]) -> None:
        self.study = optuna.create_study(
            study_name=self.name,
            storage=self.storage.opened(),
            pruner=LearningCurvePruner(max(1, self.samples // self.space.batch_size)),
            direction="minimize",
            load_if_exists=True,
        )
        self._check_identity(identity)
        self.resumed = bool(self.study.trials)
        self.concluded_before = self.study.user_attrs.get("concluded")
        if not self.storage.shared:
            self._repair()
        planned = [one.system_attrs.get("fixed_params", one.params) for one in self.study.get_trials(deepcopy=False)]
        for parameters in self.space.opening(
            self.samples
        ):  # after an interruption, or with more trials than before: what lacks
            if parameters not in planned:
                self.study.enqueue_trial(parameters)

    def settle(self, name: str, decide: Callable[[], int]) -> int:
        """What was decided when the study began, whoever asks later; 0 where it has results from before there was such
        a decision."""
        with self.readable(), self.storage.alone():
            known = self.study.user_attrs.get(name)
            if known is None:
                known = 0 if self.finished() else decide()
                self.study.set_user_attr(name, known)
            return int(known)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Whatever is wrong with the study's file is one line that names it."""
        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            reason = str(error.__cause__ or error).split("\n")[0]
            raise InputError(
                f"study {self.name!r}: {self.storage.where} cannot be used ({reason}); when another program "
                f"holds it, close that and resume with study={self.name}; when it is damaged, choose another study name"
            ) from error

    def propose(self) -> tuple[optuna.Trial, TrialConfig, set[int]] | None:
        """The next trial, its configuration, and the numbers of the trials whose results it was proposed after;
        ``None`` when all that are to be run have begun.

        What is proposed is determined by the seed, these results, and which trials were running beside; both
        lists stay on the trial (``proposed_after``, ``proposed_beside``). The random numbers depend on how many
        trials that makes, so that a search that was killed and resumed draws what an uninterrupted one does.
        """
        with self.storage.alone():
            self.storage.give_up_lost(self.study)
            trials = self.study.get_trials(deepcopy=False)  # once: what ends between two looks would be in neither
            known = {one.number for one in trials if _is_finished(one)}
            running = {one.number for one in trials if one.state == TrialState.RUNNING}
            if len(known) + len(running) >= self.space.runs():
                return None
            return self._propose(known, running)

    def _propose(self, known: set[int], running: set[int]) -> tuple[optuna.Trial, TrialConfig, set[int]]:
        drawn = int(np.random.SeedSequence([self.space.seed, len(known) + len(running)]).generate_state(1)[0])
        startup = len(self.space.opening(self.samples)) + 2
        self.study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=startup)
        with warnings.catch_warnings():  # Optuna's own loop would give the signs of life; here the search does
            warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
            asked = self.study.ask()
        self.storage.beat([asked], now=True)
        config = self.space.suggest(asked)
        if "goes_on" not in asked.user_attrs:
            asked.set_user_attr("goes_on", asked.number)
        asked.set_user_attr("config", asdict(config))
        asked.set_user_attr("proposed_after", sorted(known))
        asked.set_user_attr("proposed_beside", sorted(running))
        return asked, config, known

    def _check_identity(self, identity: dict[str, Any]) -> None:
        before = self.study.user_attrs.get("identity")
        if before is None:
            self.study.set_user_attr("identity", identity)
            return
        differs = sorted(key for key in identity | before if identity.get(key) != before.get(key))
        if differs:
            told = ", ".join(f"{key} ({before.get(key)} then, {identity.get(key)} now)" for key in differs)
            raise InputError(f"study {self.name!r} was begun with other settings: {told}; use another study name")

    def _repair(self) -> None:
        """After a kill: trials that still say RUNNING failed; what they tried is tried again."""
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            log.warning("study %s: trial %d was cut off by a kill; it is tried again", self.name, one.number)
            self.study.tell(one.number, state=TrialState.FAIL)
            self.try_again(one.number)
            end_run(one.user_attrs.get("run_id"), "KILLED", "cut off by a kill of the search")
        for part in self.folder.glob("*.part"):
            part.unlink()

    def end_orphans(self, run_id: str) -> None:
        """End the runs that kills of this study left RUNNING, wherever they struck (even before the search).

        ``run_id`` is the parent run of this process, of whose trials none runs now. Where others may be running the
        study too, their parent runs, and those of their trials, are left alone.
        """
        experiment = mlflow.get_run(run_id).info.experiment_id
        client = mlflow.MlflowClient()
        # By the parameter: `mlflow run` logs it before our process has started.
        for named in (f"tags.study = '{self.name}'", f"params.study = '{self.name}'"):
            for run in client.search_runs([experiment], f"attributes.status = 'RUNNING' and {named}"):
                parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID, run.info.run_id)
                if run.info.run_id == run_id or (parent != run_id and self._may_run(parent, run.info.start_time)):
                    continue
                end_run(run.info.run_id, "KILLED", "cut off by a kill of the search")

    def _may_run(self, parent: str, began_ms: int) -> bool:
        """Whether the process of that parent run may be running something that began then."""
        young = self.storage.shared and began_ms > (time.time() - YOUNG_S) * 1000
        return young or self.storage.is_alive(parent)

    def close(self) -> None:
        """Let others run the study."""
        self.storage.close()

    def finished(self) -> list[FrozenTrial]:
        """Trials that count against ``trials``: complete, pruned, or failed by themselves (not by a kill)."""
        return [one for one in self.study.get_trials(deepcopy=False) if _is_finished(one)]

    def running(self) -> set[int]:
        """Numbers of the trials that run, wherever."""
        return {one.number for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}

    def complete(self) -> set[int]:
        """Numbers of the trials that others are judged by."""
        return {one.number for one in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}

    def tell_failed(self, asked: optuna.Trial, line: str) -> None:
        """Record why a trial failed by itself."""
        asked.set_user_attr("error", line)
        self.study.tell(asked, state=TrialState.FAIL)
        self.state(asked).unlink(missing_ok=True)

    def tell(self, asked: optuna.Trial, result: TrialResult, run_id: str | None) -> None:
        """Record what a trial came to; of the best one so far, put the weights where others can read them."""
        best, plain = self._best(), _plain(result)
        reported = self.study.get_trials(deepcopy=False)[asked.number].intermediate_values
        if self.storage.shared and run_id and (best is None or _foreseen(plain, reported) < expected(best)):
            mlflow.MlflowClient().log_artifact(run_id, str(self.checkpoint(asked.number)), PUBLISHED)
            asked.set_user_attr("published", run_id)
        asked.set_user_attr("result", plain)
        # A pruned trial's best epoch is a result too: its checkpoint may even win.
        state = TrialState.PRUNED if result.ended == "pruned" else TrialState.COMPLETE
        self.study.tell(asked, None if state == TrialState.PRUNED else result.value, state=state)
        self.state(asked).unlink(missing_ok=True)

    def checkpoint(self, number: int) -> Path:
        """Where the weights of a trial's best epoch are."""
        return self.folder / f"trial-{number:03d}.safetensors"

    def _best(self) -> FrozenTrial | None:
        """The trial with the lowest :func:`expected` error whose checkpoint is there; pruned ones count."""
        there = [
            one
            for one in self.study.get_trials(deepcopy=False)
            if "result" in one.user_attrs and ("published" in one.user_attrs or self.checkpoint(one.number).exists())
        ]
        return min(there, key=expected, default=None)

    def to_beat(self) -> float | None:
        """The error in degrees of the best trial if it trains but a head on the frozen backbone, else ``None``."""
        best = self._best()
        return expected(best) if best and best.user_attrs["config"]["freeze"] == "backbone" else None

    def state(self, asked: optuna.Trial) -> Path:
        """Where a trial leaves what it takes to go on with it: one that is tried again, where it was cut off."""
        return self.folder / f"trial-{asked.user_attrs['goes_on']:03d}.state"

    def try_elsewhere(self, asked: optuna.Trial, why: str) -> bool:
        """Queue a trial whose machine is gone; whether it is tried again, which is done :data:`MOST_RETRIES` times."""
        lost = asked.user_attrs.get("machines_lost", 0) + 1
        if lost > MOST_RETRIES:
            return False
        log.warning("trial-%03d: %s; it is tried again and goes on where it was", asked.number, why)
        self.study.tell(asked, state=TrialState.FAIL)
        self.try_again(asked.number, machines_lost=lost)
        return True

    def try_again(self, number: int, **told: int) -> None:
        """Queue a trial that was cut off; it goes on where it was, if it came so far. ``told`` stays on it."""
        trial = self.study.get_trials(deepcopy=False)[number]
        proposed = "config" in trial.user_attrs  # else the kill struck between two parameters: it is proposed anew
        parameters = trial.params if proposed else trial.system_attrs.get("fixed_params", {})
        self.study.enqueue_trial(parameters, user_attrs=told | {"goes_on": trial.user_attrs.get("goes_on", number)})

    def keep_best_checkpoint(self) -> None:
        """Remove the others; what trials that run have written may be better and not yet told, and from one that was
        the best another machine may be training on."""
        best = self._best()
        were = {one.number for one in self.study.get_trials(deepcopy=False) if "published" in one.user_attrs}
        numbers = self.running() | were | ({best.number} if best else set())
        kept = {self.checkpoint(number) for number in numbers}
        for path in self.folder.glob("trial-*.safetensors"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def show(self, progress: "tqdm[Any]") -> None:
        """Bring the bar up to date."""
        progress.update(len(self.finished()) - progress.n)
        best = self._best()
        if best is not None:
            config = best.user_attrs["config"]
            value = best.user_attrs["result"]["value"]
            progress.set_postfix_str(
                f"best {value:.2f}° ({config['freeze']}, bn={config['bn']}, lr={config['lr']:.1e})"
            )

    def result(self, asked_here: set[int], workers: int) -> SearchResult:
        """What all trials came to; those of ``asked_here`` ran in this session, ``workers`` of them at once.

        Raises :class:`GazeError` when no trial gave a result, with the reason of the last failure.
        """
        best = self._best()
        trials = self.study.get_trials(deepcopy=False)
        if best is None:
            errors = [one.user_attrs["error"] for one in trials if "error" in one.user_attrs]
            why = f"the last one failed with: {errors[-1]}" if errors else "none reached the end of its first epoch"
            raise GazeError(
                f"study {self.name!r}: no trial gave a result ({why}); give it more time or mend the cause, then "
                f"resume with study={self.name}"
            )
        results = [
            one.user_attrs["result"] for one in trials if "result" in one.user_attrs and one.number in asked_here
        ]
        cache_seconds = sum(result["cache_seconds"] for result in results) / workers
        return SearchResult(best, self._fetched(best), trials, cache_seconds, self.name)

    def _fetched(self, best: FrozenTrial) -> Path:
        """The weights of that trial, here."""
        path = self.checkpoint(best.number)
        if not path.exists():
            address = f"runs:/{best.user_attrs['published']}/{PUBLISHED}/{path.name}"
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                Path(mlflow.artifacts.download_artifacts(address, dst_path=scratch)).replace(path)
        return path

    def is_to_be_concluded(self) -> bool:
        """Whether it is for this process to train and register what was found: of those that work on one study, one
        does. Not where another one has done so since we began."""
        return self.storage.leads() and self.study.user_attrs.get("concluded") == self.concluded_before

    def conclude(self, run_id: str) -> None:
        """What was found is registered, by that parent run."""
        self.study.set_user_attr("concluded", run_id)


def expected(trial: FrozenTrial) -> float:
    """The error by which trials are chosen, degrees: that of the best epoch. Of a trial that the time cut off it is
    what can be foreseen: the final training goes on with it, and with a head in closed form, against which it may lose
    by a hair, there is nothing to go on with."""
    return _foreseen(trial.user_attrs["result"], trial.intermediate_values)


def _foreseen(result: dict[str, Any], reported: dict[int, float]) -> float:
    value, best = float(result["value"]), result["best"]["number"]
    return foreseen(value, reported.get(best - 1), best) if result["ended"] == "timeout" else value


def _is_finished(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and "error" in trial.user_attrs
    )


def _plain(result: TrialResult) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(result)))
    return plain
