"""The search: keeps its workers busy with the trials that the study proposes, and listens to them.

Every epoch is reported to the study, which may prune; a trial that fails or is killed is recorded as such and the
others go on. With several workers it is a matter of time which results are known when a trial is proposed or judged:
each trial's record says which they were, and together with the seed they determine what was proposed and decided.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from mlflow.exceptions import MlflowException
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from tqdm import tqdm

from recording.exceptions import RegistryError
from registry.interruption import ask_once
from training.learning.finetune import Epoch, TrialConfig
from training.orphans import end_run
from training.searching.process import Message, Workers
from training.searching.study import SearchResult, Study
from training.searching.trial import TrialSpec

log = logging.getLogger(__name__)

LISTEN_S = 5.0  # at most, until the time is looked at again

Describe = Callable[[int, TrialConfig, Path, float], TrialSpec]
"""``(number, config, checkpoint, seconds left)`` → everything that the trial needs."""


@dataclass
class _Running:
    """A trial that runs, as the study knows it, and what was heard of it."""

    asked: optuna.Trial
    known: set[int]
    """Numbers of the trials whose end it was proposed or judged after."""
    may_overrun: bool
    """Whether a head on the frozen backbone was the best when it began."""
    run: str | None = None
    judged: dict[str, list[int]] = field(default_factory=dict)


class Search:
    """Trials of ``study`` on ``workers``, each as ``describe`` says."""

    def __init__(self, study: Study, workers: Workers, describe: Describe):
        self.study, self.workers, self.describe = study, workers, describe
        self._running: dict[int, _Running] = {}
        self._asked_here: set[int] = set()
        self._time_is_up, self._deadline, self._latest = False, math.inf, math.inf

    def run(self, seconds: float = math.inf, at_most: float = math.inf) -> SearchResult:
        """Run trials until ``trials`` are finished or the ``seconds`` are over; the best one so far.

        As long as the best one is a head on the frozen backbone, whose final training takes next to nothing, a trial
        may take ``at_most`` seconds to beat it. When the time has cut a trial off, none is begun in what is left, of
        which the final training makes more than a trial that is cut off too.

        Raises :class:`GazeError` when no trial gave a result, with the reason of the last failure. However this ends,
        no trial runs on, and those that were cut off are tried again when the study is resumed.
        """
        self._deadline, self._latest = time.monotonic() + seconds, time.monotonic() + at_most
        with self.study.readable():
            try:
                self._run()
            except BaseException:  # Ctrl-C and the like: the study must not show a trial that nobody runs
                self._cut_off()
                raise
            return self.study.result(self._asked_here, self.workers.size)

    def _run(self) -> None:
        runs = self.study.space.runs()
        with tqdm(total=runs, initial=len(self.study.finished()), desc="Trials", unit="trial") as progress:
            while True:
                while len(self._running) < self.workers.size and self._begin():
                    pass
                if not self._running and (len(self.study.finished()) >= runs or self._is_over()):
                    return
                self.study.storage.beat([trial.asked for trial in self._running.values()])
                for number, kind, what in self._heard():
                    if self._take(number, kind, what):
                        self.study.keep_best_checkpoint()
                        self.study.show(progress)

    def _is_over(self) -> bool:
        return self._time_is_up or time.monotonic() >= self._deadline

    def _begin(self) -> bool:
        """Start a trial, if there is one to start: not when all have begun, here or elsewhere, or the time is up."""
        proposed = None if self._is_over() else self.study.propose()
        if proposed is None:
            return False
        asked, config, known = proposed
        to_beat, left = self.study.to_beat(), self._deadline - time.monotonic()
        self._running[asked.number] = _Running(asked, known, to_beat is not None)
        self._asked_here.add(asked.number)
        spec = self.describe(asked.number, config, self.study.checkpoint(asked.number), left)
        spec = replace(spec, seconds_at_most=self._latest - time.monotonic(), to_beat=to_beat)
        self.workers.start(replace(spec, state=self.study.state(asked)))
        return True

    def _heard(self) -> list[Message]:
        if not self._running:  # the last ones run elsewhere: they may fail, and be ours to try again
            time.sleep(LISTEN_S)
            return []
        return self.workers.hear(LISTEN_S)

    def _take(self, number: int, kind: str, what: Any) -> bool:
        """Act on what a trial said; whether that was its last word."""
        trial = self._running[number]
        try:
            return self._taken(trial, number, kind, what)
        except UpdateFinishedTrialError:  # no sign of life of ours for too long: somebody tries it again
            log.warning("trial-%03d was given to another process meanwhile", number)
            if kind == "epoch":
                self.workers.answer(number, go_on=False)
            elif kind != "run":
                del self._running[number]
            return False

    def _taken(self, trial: _Running, number: int, kind: str, what: Any) -> bool:
        if kind == "run":
            trial.run = what
            trial.asked.set_user_attr("run_id", what)
            return False
        if kind == "epoch":
            self.workers.answer(number, not self._prunes(trial, what) and not self._is_overdue(trial))
            return False
        if kind == "untracked":  # not the trial's fault: it is tried again, once MLflow answers
            ask_once()  # the trial has waited long enough for all that is to be said now
            raise RegistryError(f"{what}; then resume with study={self.study.name}")
        if kind == "cut off" and self.study.try_elsewhere(trial.asked, what):
            end_run(trial.run, "KILLED", what)
        elif kind == "done":
            self._time_is_up |= what.ended == "timeout"
            self.study.tell(trial.asked, what, trial.run)
        else:
            self.study.tell_failed(trial.asked, what)
            end_run(trial.run, "FAILED", what)
            log.warning("trial-%03d failed: %s", number, what)
        del self._running[number]
        return True

    def _is_overdue(self, trial: _Running) -> bool:
        """Whether it uses up the time that the final training of a trial which has ended meanwhile needs."""
        return trial.may_overrun and time.monotonic() >= self._deadline and self.study.to_beat() is None

    def _prunes(self, trial: _Running, epoch: Epoch) -> bool:
        trial.asked.report(epoch.angular_error_deg, epoch.number)
        new = self.study.complete() - trial.known
        if new:  # since it was proposed, or judged last
            trial.known |= new
            trial.judged[str(epoch.number)] = sorted(new)
            trial.asked.set_user_attr("judged_after", trial.judged)
        return trial.asked.should_prune()

    def _cut_off(self) -> None:
        self.workers.close()
        cut_off = [self._running[number] for number in sorted(self._running)]
        # One that has just been told, here or by whoever missed our sign of life, is not to run twice.
        unfinished = self.study.running()
        for trial in cut_off:
            if trial.asked.number in unfinished:
                self.study.study.tell(trial.asked, state=TrialState.FAIL, skip_if_finished=True)
                self.study.try_again(trial.asked.number)
        with suppress(MlflowException):  # what ended the search counts; resuming the study ends these runs
            for trial in cut_off:
                end_run(trial.run, "KILLED", "the search was interrupted")
