"""One training of a curve: on a subset of the training part, from activations that all trainings share.

Each is a child run in MLflow and, when it is done, a small file with its answers: the same training is not run twice,
whether the curve was interrupted or is asked for again with more sizes.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from torch import nn

from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError
from registry.intervals import Floats, Integers
from training import kept_answers, tracking
from training.bases import Bases
from training.context import Job
from training.learning import closed_form, model, shrinkage
from training.learning.answers import predict
from training.learning.finetune import Epoch, Examples, Outcome, TrialConfig, finetune
from training.learning.memory import OutOfMemory
from training.learning.trunk import Features, features
from training.measuring.alignment import align
from training.measuring.errors import MeasuredErrors, measure
from training.searching.space import ENOUGH_PICTURES

log = logging.getLogger(__name__)

FORMAT = 4
"""Of the files that are kept, and of how a tail is trained (1: by the absolute error; 2: from statistics of all
frames; 3: heads stayed as trained); another number means that everything is trained again."""


@dataclass(frozen=True)
class Plan:
    """One training that is wanted."""

    size: int
    """As samples= of the main job counts."""
    repeat: int
    train: Integers
    """Indices of the samples that it is trained on, ascending."""
    config: TrialConfig

    @property
    def name(self) -> str:
        """Of its child run."""
        return f"size-{self.size:05d}-{self.repeat}"


@dataclass(frozen=True)
class Point:
    """One training that was done."""

    plan: Plan
    answers_deg: Floats
    """(n_test, 2) degrees."""
    seconds: float
    epochs: int
    ended: str


def planned_epochs(config: TrialConfig, samples: int, all_samples: int, most: int) -> int:
    """Epochs for a subset: it sees as many pictures as all samples together would give, up to those that are enough,
    in no more epochs than ``most`` (or the configuration's own). As the search does it."""
    wanted = math.ceil(min(ENOUGH_PICTURES, config.epochs * all_samples) / samples)
    return max(config.epochs, min(wanted, most))


class Trainings:
    """Trains on subsets of one job's training part with one configuration; what is done is kept in ``folder``."""

    def __init__(self, job: Job, starts: Bases, config: TrialConfig, folder: Path, tag: str):
        self.job, self.folder, self.config, self.tag = job, folder, config, tag
        self._base = starts.variants[config.bn].path
        self._answers_deg = starts.answers_deg

    def known(self, plan: Plan) -> Point | None:
        """What a training came to that was done before; ``None`` where there is no whole file of it."""
        path = self._file(plan)
        if not path.is_file():
            return None
        try:
            answers, kept = kept_answers.read(path, len(self.job.split.test))
            return Point(plan, answers, float(kept["seconds"]), int(kept["epochs"]), str(kept["ended"]))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s: cannot be read (%s); %s is trained again", path, error, plan.name)
            return None

    def run(self, plan: Plan) -> Point | None:
        """Train and test, on a child run of its own; ``None`` where it diverged, which is logged.

        Raises :class:`GazeError` when not even single samples fit into memory.
        """
        with self._child(plan):
            began = time.monotonic()
            outcome, network = self._train(plan)
            answers = pitch_yaw_to_deg(predict(self._tail(network), self._tested, self.job.split.test))
            point = Point(plan, answers, time.monotonic() - began, outcome.epochs[-1].number, outcome.ended)
            self._keep(point)
            self._log(point)
            return point
        return None

    def log_known(self, point: Point) -> None:
        """A child run for a training that was done before."""
        with self._child(point.plan):
            mlflow.set_tag("measured", "before, by the same training")
            self._log(point)

    def errors(self, point: Point) -> MeasuredErrors:
        """Of one training on the test samples."""
        split, labels = self.job.split, self.job.recordings.labels_deg
        return measure(point.answers_deg, labels[split.test], split.block[split.test])

    @contextmanager
    def _child(self, plan: Plan) -> Iterator[None]:
        tags = {"curve": self.tag, "size": str(plan.size), "repeat": str(plan.repeat)}
        mlflow.start_run(run_name=plan.name, nested=True, parent_run_id=self.job.run_id, tags=tags)
        try:
            mlflow.log_params(asdict(plan.config) | {"size": plan.size, "trained_on": len(plan.train)})
            yield
        except KeyboardInterrupt:
            tracking.end_active_run("KILLED", ended="interrupted")
            raise
        except FloatingPointError as error:  # one training that diverged must not end the curve
            mlflow.set_tags({"ended": "failed", "error": str(error)})
            mlflow.end_run("FAILED")
            log.warning("%s failed: %s", plan.name, error)
        except BaseException as error:
            line = " ".join(f"{type(error).__name__}: {error}".split())[:4000]
            tracking.end_active_run("FAILED", ended="failed", error=line)
            raise
        else:
            mlflow.end_run("FINISHED")

    def _log(self, point: Point) -> None:
        mlflow.log_metrics(self.errors(point).metrics("test") | {"seconds": point.seconds, "epochs": point.epochs})
        mlflow.set_tag("ended", point.ended)

    def _train(self, plan: Plan) -> tuple[Outcome, nn.Module]:
        """The best epoch and the network with its weights; out of memory halves the batch, as in a trial."""
        config, targets = plan.config, self.job.recordings.targets
        while True:
            network = self._start(plan)
            tail = self._tail(network)
            try:
                split = self.job.split
                examples = Examples(self._source, targets, plan.train, split.block, split.validation)
                outcome = finetune(tail, examples, config, keep_going=_told)
            except OutOfMemory as error:
                if config.batch_size == 1:
                    raise GazeError(f"{plan.name}: out of memory with a single sample ({error}); free some") from error
                config = replace(config, batch_size=config.batch_size // 2)
                log.warning("%s: out of memory; again with batches of %d", plan.name, config.batch_size)
                continue
            tail.load_state_dict(outcome.completed)  # shares its modules with the network
            shrinkage.fold(network.get_submodule("fc"), outcome.best.kept, targets[plan.train].mean(axis=0))
            return outcome, network

    def _start(self, plan: Plan) -> nn.Module:
        """The base, its head aligned to the labels of the subset alone, or solved on it: others are not known yet."""
        network, data = model.load(self._base), self.job.recordings
        last, as_it_was = network.get_submodule("fc.3"), self.job.base.network.get_submodule("fc.3")
        last.load_state_dict(as_it_was.state_dict())
        rows = np.searchsorted(self.job.split.train, plan.train)
        align(self._known_answers[rows], data.labels_deg[plan.train]).adopt(network)
        if plan.config.head != "base":
            closed_form.install(plan.config.head, network, self._pooled, data.targets, plan.train, self.job.split.block)
        return network

    def _tail(self, network: nn.Module) -> nn.Sequential:
        tail: nn.Sequential = model.cut(network, self.config.freeze)[1].to(self.job.device)
        return tail

    @cached_property
    def _known_answers(self) -> Floats:
        """(n_train, 2) degrees: what the base answers, with the BatchNorm statistics that are trained from."""
        if self.config.bn == "source":
            return self._answers_deg
        network = model.load(self._base)
        network.get_submodule("fc.3").load_state_dict(self.job.base.network.get_submodule("fc.3").state_dict())
        tail = model.cut(network, "backbone")[1].to(self.job.device)
        return np.asarray(pitch_yaw_to_deg(predict(tail, self._pooled, self.job.split.train)))

    @cached_property
    def _source(self) -> Features:
        """Activations of all training and validation samples, made once: a subset is a choice of rows."""
        source = features(model.load(self._base), self.config.freeze, self.job.samples, self.job.cache, self.job.device)
        source.keep_on_device()
        return source

    @cached_property
    def _pooled(self) -> Features:
        return features(model.load(self._base), "backbone", self.job.samples, self.job.cache, self.job.device)

    @cached_property
    def _tested(self) -> Features:
        """Activations of the test samples, which nothing is trained on."""
        nothing = np.array([], dtype=np.int64)
        tested = replace(self.job.samples, train=nothing, validation=self.job.split.test, augmentation=None)
        return features(model.load(self._base), self.config.freeze, tested, self.job.cache, self.job.device)

    def _keep(self, point: Point) -> None:
        kept_answers.write(
            self._file(point.plan),
            point.answers_deg.round(5),
            size=point.plan.size,
            repeat=point.plan.repeat,
            seconds=point.seconds,
            epochs=point.epochs,
            ended=point.ended,
        )

    def _file(self, plan: Plan) -> Path:
        made_of: dict[str, Any] = {"format": FORMAT, "config": asdict(plan.config), "changes": self.job.samples.changes}
        seen = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode() + plan.train.astype(np.int64).tobytes())
        return self.folder / f"{seen.hexdigest()[:24]}.json"


def _told(epoch: Epoch) -> bool:
    """Every epoch goes to the child run; none ends the training."""
    mlflow.log_metrics(epoch.metrics(), step=epoch.number)
    return True
