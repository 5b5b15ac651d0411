"""The Optuna study over epochs, learning rate, freeze and BatchNorm statistics.

The search asks Optuna for a trial, runs it in a process of its own and listens: every epoch is reported to the
study, which may prune; a trial that fails or is killed is recorded as such and the next one runs. The study
lies in one SQLite file in its own folder, so that the same name resumes it.

Order: the first trials try every freeze choice once, cheapest first, at a middling learning rate, so that the
expensive ones are judged against results that are already there; the last of them, which trains most of the network,
gets the most epochs. Then TPE (Bergstra et al. 2011) chooses.
"""

import fcntl
import json
import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path

import mlflow
import optuna
from mlflow.entities import RunStatus
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from recording.exceptions import GazeError, InputError
from training.learning.finetune import TrialConfig
from training.learning.model import FREEZE_CHOICES
from training.learning.trunk import BN_CHOICES
from training.searching import trial
from training.searching.trial import TrialResult, TrialSpec

log = logging.getLogger(__name__)

FIRST_LR = 3e-4  # of the opening trials, brought into the searched range
PRUNE_AFTER_EPOCHS = 3
# How far behind the best trial at the same epoch a trial may be, from that epoch on. Late in a trial "as good as the
# best one was" is not enough: finishing would only repeat it. Loose early on, when a slow start says
# little. Chosen by hand on learning curves of the rendered sample drive; other drives were not tried.
BEHIND = {1: 1.5, 2: 1.35, 3: 1.25, 6: 1.05, 10: 0.99}
HOPELESS_FACTOR = 1.5
GRACE_S = 20  # for a trial that was told to end


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and how much of it."""

    trials: int = 12
    timeout: float = 0
    """Seconds for the whole search; 0 = none."""
    epochs_min: int = 5
    epochs_max: int = 30
    lr_min: float = 1e-5
    lr_max: float = 1e-2
    freeze: tuple[str, ...] = ("backbone", "layer3", "layer2", "none")
    bn: tuple[str, ...] = ("source", "target")
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "epochs_min", "epochs_max", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.timeout < 0:
            raise InputError(f"timeout={self.timeout:g}: must be 0 (none) or seconds above 0")
        if self.epochs_min > self.epochs_max:
            raise InputError(f"epochs_min={self.epochs_min} is above epochs_max={self.epochs_max}; swap them")
        if not 0 < self.lr_min < float("inf") or not 0 < self.lr_max < float("inf"):
            raise InputError(f"lr_min={self.lr_min:g}, lr_max={self.lr_max:g}: must be above 0")
        if self.lr_min > self.lr_max:
            raise InputError(f"lr_min={self.lr_min:g} is above lr_max={self.lr_max:g}; swap them")
        _legal("freeze", self.freeze, FREEZE_CHOICES)
        _legal("bn", self.bn, BN_CHOICES)

    def suggest(self, trial: optuna.Trial) -> TrialConfig:
        """The configuration that the study proposes for this trial."""
        return TrialConfig(
            freeze=trial.suggest_categorical("freeze", self.freeze),
            bn=trial.suggest_categorical("bn", self.bn),
            lr=trial.suggest_float("lr", self.lr_min, self.lr_max, log=True),
            epochs=trial.suggest_int("epochs", self.epochs_min, self.epochs_max),
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def opening(self) -> list[dict]:
        """Parameters of the first trials: every freeze choice once, cheapest first."""
        cheapest_first = sorted(self.freeze, key=FREEZE_CHOICES.index)
        longest = self.epochs_min + (self.epochs_max - self.epochs_min) // 3
        return [
            {
                "freeze": freeze,
                "bn": "target" if "target" in self.bn else self.bn[0],
                "lr": min(max(FIRST_LR, self.lr_min), self.lr_max),
                "epochs": longest if freeze == cheapest_first[-1] else self.epochs_min,
            }
            for freeze in cheapest_first[: self.trials]
        ]


def _legal(name: str, chosen: tuple[str, ...], choices: tuple[str, ...]) -> None:
    wrong = [one for one in chosen if one not in choices]
    if wrong or not chosen:
        raise InputError(
            f"{name}={','.join(chosen)!r}: {wrong or 'nothing'} is unknown; choose from {','.join(choices)}"
        )
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{name}={','.join(chosen)!r}: a choice is named twice")


@dataclass(frozen=True)
class SearchResult:
    """The best trial and what all of them came to."""

    best: FrozenTrial
    checkpoint: Path
    trials: list[FrozenTrial]
    cache_seconds: float
    study: str

    def config(self) -> TrialConfig:
        return TrialConfig(**self.best.user_attrs["config"])


class Study:
    """A study in its folder: ``study.db``, the best trial's checkpoint, and a lock while somebody runs it.

    ``identity`` is everything that must be the same for results to be comparable; resuming with another one is an
    :class:`InputError` that names what differs.
    """

    def __init__(self, folder: Path, name: str, space: SearchSpace, identity: dict):
        self.folder, self.name, self.space = Path(folder), name, space
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"study {name!r} is being run by another process; wait for it, or choose another name"
            ) from None
        sampler = optuna.samplers.TPESampler(seed=space.seed, n_startup_trials=len(space.opening()) + 2)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=PRUNE_AFTER_EPOCHS)
        self.study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{self.folder / 'study.db'}",
            sampler=sampler,
            pruner=pruner,
            direction="minimize",
            load_if_exists=True,
        )
        try:
            self._check_identity(identity)
        except InputError:
            self.close()
            raise
        self.resumed = bool(self.study.trials)
        self._repair()
        if not self.resumed:
            for parameters in space.opening():
                self.study.enqueue_trial(parameters)

    def _check_identity(self, identity: dict) -> None:
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
            self.study.enqueue_trial(one.params)
            end_run(one.user_attrs.get("run_id"), "KILLED", "cut off by a kill of the search")
        for part in self.folder.glob("*.part"):
            part.unlink()

    def end_orphans(self, run_id: str) -> None:
        """End the parent runs that kills of this study left RUNNING, wherever they struck (even before the search).

        ``run_id`` is the parent run of this process. Nobody else can be running the study: its lock is ours.
        """
        experiment = mlflow.get_run(run_id).info.experiment_id
        query = f"attributes.status = 'RUNNING' and tags.study = '{self.name}'"
        for run in mlflow.MlflowClient().search_runs([experiment], query):
            if run.info.run_id != run_id:
                end_run(run.info.run_id, "KILLED", "cut off by a kill of the search")

    def close(self) -> None:
        """Let others run the study."""
        self._lock.close()

    def finished(self) -> list[FrozenTrial]:
        """Trials that count against ``trials``: complete, pruned, or failed by themselves (not by a kill)."""
        return [
            one
            for one in self.study.get_trials(deepcopy=False)
            if one.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (one.state == TrialState.FAIL and "error" in one.user_attrs)
        ]

    def run(self, spec: Callable[[int, TrialConfig, Path, float], TrialSpec]) -> SearchResult:
        """Run trials until ``trials`` are finished or the time is up; the best one so far.

        ``spec(number, config, checkpoint, seconds_left)`` describes a trial. Raises :class:`GazeError` when no trial
        gave a result, with the reason of the last failure.
        """
        deadline = time.monotonic() + self.space.timeout if self.space.timeout else float("inf")
        done = len(self.finished())
        with tqdm(total=self.space.trials, initial=done, desc="Trials", unit="trial") as progress:
            while len(self.finished()) < self.space.trials and time.monotonic() < deadline:
                asked = self.study.ask()
                config = self.space.suggest(asked)
                asked.set_user_attr("config", asdict(config))
                checkpoint = self._checkpoint(asked.number)
                self._run_one(asked, spec(asked.number, config, checkpoint, deadline - time.monotonic()))
                self._keep_best_checkpoint()
                self._show(progress)
        return self._result()

    def _run_one(self, asked: optuna.Trial, spec: TrialSpec) -> None:
        """One trial in its own process; whatever happens to it ends in the study and in MLflow."""
        said: dict = {}
        try:
            with _process(spec) as (process, connection):
                for kind, what in _messages(process, connection):
                    said[kind] = what
                    if kind == "run":
                        asked.set_user_attr("run_id", what)
                    elif kind == "epoch":
                        asked.report(what.angular_error_deg, what.number)
                        connection.send(not self._should_stop(asked, what.angular_error_deg, what.number))
                exitcode = process.exitcode
        except BaseException:  # Ctrl-C and the like: the study must not show a trial that nobody runs
            self.study.tell(asked, state=TrialState.FAIL)
            self.study.enqueue_trial(asked.params)
            end_run(said.get("run"), "KILLED", "the search was interrupted")
            raise
        if "done" in said:
            self._tell(asked, said["done"])
            return
        line = said.get("failed") or f"the trial's process ended with {_exit_name(exitcode)}"
        asked.set_user_attr("error", line)
        self.study.tell(asked, state=TrialState.FAIL)
        end_run(said.get("run"), "FAILED", line)
        log.warning("%s failed: %s", spec.name, line)

    def _tell(self, asked: optuna.Trial, result: TrialResult) -> None:
        asked.set_user_attr("result", _plain(result))
        # A pruned trial's best epoch is a result too: its checkpoint may even win.
        state = TrialState.PRUNED if result.ended == "pruned" else TrialState.COMPLETE
        self.study.tell(asked, None if state == TrialState.PRUNED else result.value, state=state)

    def _should_stop(self, asked: optuna.Trial, value: float, epoch: int) -> bool:
        """Prune by the median of the trials at the same epoch, behind the best one there, or with it out of reach.

        Out of reach: in the epochs that are left the trial would have to improve by more than any trial here ever
        did from that epoch on (with a margin).
        """
        if self._behind(value, epoch):
            return True
        return epoch >= PRUNE_AFTER_EPOCHS and (asked.should_prune() or self._out_of_reach(value, epoch))

    def _behind(self, value: float, epoch: int) -> bool:
        """Whether the best trial so far was clearly better at this very epoch."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min(complete, key=lambda one: one.value, default=None)
        if best is None or epoch not in best.intermediate_values:
            return False
        allowed = [factor for first, factor in BEHIND.items() if epoch >= first]
        return bool(allowed) and value > allowed[-1] * best.intermediate_values[epoch]

    def _out_of_reach(self, value: float, epoch: int) -> bool:
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        gains = [
            one.intermediate_values[epoch] / one.value
            for one in complete
            if epoch in one.intermediate_values and one.value > 0
        ]
        if len(gains) < 2:
            return False
        return value / (HOPELESS_FACTOR * max(gains)) > min(one.value for one in complete)

    def _checkpoint(self, number: int) -> Path:
        return self.folder / f"trial-{number:03d}.safetensors"

    def _best(self) -> FrozenTrial | None:
        """The trial with the lowest best-epoch error whose checkpoint is there; pruned ones count."""
        there = [
            one
            for one in self.study.get_trials(deepcopy=False)
            if "result" in one.user_attrs and self._checkpoint(one.number).exists()
        ]
        return min(there, key=lambda one: one.user_attrs["result"]["value"], default=None)

    def _keep_best_checkpoint(self) -> None:
        best = self._best()
        for path in self.folder.glob("trial-*.safetensors"):
            if best is None or path != self._checkpoint(best.number):
                path.unlink()

    def _show(self, progress: tqdm) -> None:
        progress.update(len(self.finished()) - progress.n)
        best = self._best()
        if best is not None:
            config = best.user_attrs["config"]
            value = best.user_attrs["result"]["value"]
            progress.set_postfix_str(
                f"best {value:.2f}° ({config['freeze']}, bn={config['bn']}, lr={config['lr']:.1e})"
            )

    def _result(self) -> SearchResult:
        best = self._best()
        trials = self.study.get_trials(deepcopy=False)
        if best is None:
            errors = [one.user_attrs["error"] for one in trials if "error" in one.user_attrs]
            why = f"the last one failed with: {errors[-1]}" if errors else "none reached the end of its first epoch"
            raise GazeError(
                f"study {self.name!r}: no trial gave a result ({why}); give it more time or mend the cause, then "
                f"resume with study={self.name}"
            )
        cache_seconds = sum(one.user_attrs["result"]["cache_seconds"] for one in trials if "result" in one.user_attrs)
        return SearchResult(best, self._checkpoint(best.number), trials, cache_seconds, self.name)


def end_run(run_id: str | None, status: str, why: str) -> None:
    """End an MLflow run that still says RUNNING because its process is gone."""
    if run_id is None:
        return
    client = mlflow.MlflowClient()
    if RunStatus.from_string(client.get_run(run_id).info.status) == RunStatus.RUNNING:
        client.set_tag(run_id, "ended", why[:4000])
        client.set_terminated(run_id, status)


@contextmanager
def _process(spec: TrialSpec) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    """The trial's process and our end of its pipe; however this ends, the process is gone afterwards."""
    context = multiprocessing.get_context("forkserver")
    # torch and MLflow take seconds to import: once for all trials, not once each.
    context.set_forkserver_preload(["training.searching.trial"])
    ours, theirs = context.Pipe()
    process = context.Process(target=trial.run, args=(spec, theirs), name=spec.name)
    process.start()
    theirs.close()  # so that its death reads as the end of the pipe
    try:
        yield process, ours
    finally:
        ours.close()
        if process.is_alive():
            process.terminate()
            process.join(GRACE_S)
        if process.is_alive():
            process.kill()
        process.join()


def _messages(process: multiprocessing.process.BaseProcess, connection: Connection) -> Iterator[tuple[str, object]]:
    """What the trial says, until its last word or its death."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            break
        yield message
        if message[0] in ("done", "failed"):
            break
    process.join(GRACE_S)


def _exit_name(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}" + (
            " (out of memory? use a smaller batch_size or fewer samples)" if exitcode == -signal.SIGKILL else ""
        )
    return f"exit status {exitcode}"


def _plain(result: TrialResult) -> dict:
    return json.loads(json.dumps(asdict(result)))


def space_identity(space: SearchSpace) -> dict:
    """The part of a search space that must not change between a study and its resumption."""
    free = {"trials", "timeout"}
    return {field.name: _jsonable(getattr(space, field.name)) for field in fields(space) if field.name not in free}


def _jsonable(value):
    return list(value) if isinstance(value, tuple) else value
