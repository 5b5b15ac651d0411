"""The error on a driver whom the model has never seen: leave one driver out, over all drivers.

The configuration that the search chose is trained again without each driver (or each fold of drivers), from the base on
and for as long as the registered model was, and answers that driver's samples. Nothing of a driver reaches the model
that is measured on them: BatchNorm statistics, alignment, heads in closed form and baselines are made anew from the
others. Activations behind a boundary whose statistics are the base's own are those of all samples, made once. A
registered base may have learnt from drivers itself: nobody can leave these out, and they are not measured.

What each model answered is kept in the study's folder: a job that was cut off does not train it again. On a cluster the
models are trained in its slots, as trials are, and leave their answers there.
"""

import hashlib
import json
import logging
import math
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import safetensors.torch

from recording import files
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError
from recording.recordings import Recordings
from registry import lineage
from registry.command_line import one_line
from registry.intervals import Floats, Integers
from training import bases, kept_answers
from training.checkpoints import Base
from training.config import JobConfig
from training.context import Job
from training.learning import closed_form, model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, TrialConfig, finish, steps_per_epoch
from training.learning.memory import OutOfMemory
from training.learning.trunk import dataset, features
from training.measuring import baselines, drivers
from training.measuring.alignment import align
from training.measuring.drivers import ByDriver
from training.measuring.splits import MIN_PER_PART, Split
from training.searching import trial
from training.searching.process import Workers
from training.searching.storage import MOST_RETRIES
from training.searching.study import SearchResult

if TYPE_CHECKING:
    from training.searching.envoy import Envoy

log = logging.getLogger(__name__)

LISTEN_S = 5.0

FORMAT = 4
"""Of the answers that are kept, and of how their models are trained (1: LAD's penalties were compared one by one, by
another solver; 2: statistics of all frames; 3: heads stayed as trained); another number: all are trained again."""


def base_answers(job: Job) -> Floats:
    """(n, 2) degrees: what the base as it is answers to all samples."""
    return bases.answers(job, job.base.network, job.everything, np.arange(len(job.recordings)))


def estimate(
    job: Job, found: SearchResult, more_epochs: float, base_deg: Floats, cluster: "Envoy | None" = None
) -> ByDriver | None:
    """Train the chosen configuration without each fold of drivers, and measure it on them; on a ``cluster`` if there
    is one, as many models at once as fit.

    ``more_epochs``: of the final training. ``base_deg`` are :func:`base_answers`. ``None`` where the base has learnt
    from every driver. Raises :class:`GazeError` when the memory does not do for what it did for in the search.
    """
    data, result, driver = job.recordings, found.best.user_attrs["result"], job.recordings.driver_index
    aside = _not_measured(job)
    for number, why in aside.items():
        log.warning("%s: is not measured as an unseen driver (%s)", data.drivers[number], why)
    new = np.array([number for number in range(len(data.drivers)) if number not in aside], dtype=np.int64)
    if not len(new):
        return None
    parts = [new[part] for part in drivers.folds(len(new), job.config.folds)]
    config = replace(found.config(), batch_size=result["batch_size"])
    epochs = result["best"]["number"] + more_epochs
    trained = sum(int((~np.isin(driver, left_out)).sum()) for left_out in parts)
    log.info(
        "leaving out drivers: %d models of %.1f epochs, about %.0f s (folds= bounds it)",
        *(len(parts), epochs, result["sample_seconds"] * epochs * trained + passes_seconds(job, found, len(parts))),
    )
    answers = {"base": base_deg, "model": np.empty_like(base_deg)}
    kept_deg = np.array(found.kept())[::-1]  # azimuth, elevation
    tests = [np.flatnonzero(np.isin(driver, left_out)) for left_out in parts]
    if cluster is not None:
        _train_elsewhere(cluster, job, [(_but(test, driver), test) for test in tests], config, epochs, base_deg)
    for test in tests:
        train = _but(test, driver)
        learnt, mean = _kept_answers(job, train, test, config, epochs, base_deg), data.labels_deg[train].mean(axis=0)
        answers["model"][test] = mean + kept_deg * (learnt - mean)
        fitted = baselines.fit(base_deg[train], data.labels_deg[train]).answers(base_deg[test])
        for who, theirs in fitted.items():
            answers.setdefault(who, np.empty_like(base_deg))[test] = theirs
    what = f"error on an unseen driver ({len(parts)} models, each trained without the drivers that it is measured on)"
    what += "".join(f"; not {data.drivers[number]}: {why}" for number, why in aside.items())
    told = np.flatnonzero(np.isin(driver, new))
    answers = {who: theirs[told] for who, theirs in answers.items()}
    return drivers.measure(data.drivers, driver[told], data.drives_of, answers, data.labels_deg[told], what)


def passes_seconds(job: Job, found: SearchResult, models: int) -> float:
    """What the passes through the frozen trunk take that ``models`` models need before they are trained.

    By the longest that a trial of the search had to wait for its activations, which is when they were made. With
    statistics of the drive each model has a trunk of its own, and one more pass for these; with the base's own one pass
    serves all of them.
    """
    results = [one.user_attrs["result"] for one in found.trials if "result" in one.user_attrs]
    waited = max((result["cache_seconds"] for result in results), default=0.0)
    picture = waited / (len(job.split.train) + len(job.split.validation))
    return picture * len(job.recordings.drive_index) * (2 * models if found.config().bn == "target" else 1)


def _but(test: Integers, driver: Integers) -> Integers:
    return np.setdiff1d(np.arange(len(driver)), test)


def _not_measured(job: Job) -> dict[int, str]:
    """The drivers, by number, who cannot be left out, and why: the base has seen samples of a drive of theirs, or near
    copies; or there are too few of them for any figure."""
    data, before = job.recordings, job.base.holdout
    few = np.flatnonzero(np.bincount(data.driver_index) < MIN_PER_PART)
    found = {int(number): f"fewer than {MIN_PER_PART} samples" for number in few}
    for drive in range(len(data.drives)) if before is not None else ():
        mine = data.drive_index == drive
        number = int(data.driver_index[mine][0])
        if number not in found and before is not None and before.saw(lineage.of(data, mine, drive)).any():
            found[number] = "the base has learnt from them"
    return dict(sorted(found.items()))


def _kept_answers(
    job: Job, train: Integers, test: Integers, config: TrialConfig, epochs: float, base_deg: Floats
) -> Floats:
    """:func:`_answers`, from the study's folder where the same model was trained before."""
    file = _file(job, train, test, config, epochs)
    if file.is_file():
        try:
            known, _ = kept_answers.read(file, len(test))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s: cannot be read (%s); this model is trained again", file, error)
        else:
            log.info("leaving out drivers: the answers of a model are there (%s)", file)
            return known
    answers = _answers(job, train, test, config, epochs, base_deg)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept_answers.write(file, answers)
    return answers


def _file(job: Job, train: Integers, test: Integers, config: TrialConfig, epochs: float) -> Path:
    """Where answers are kept, by everything that a model and its answers depend on."""
    data = job.recordings
    made_of = {
        "format": FORMAT, "data": data.digest, "face": data.cut_in_words(), "base": job.base.digest,
        "seed": job.config.seed, "config": asdict(config), "steps": round(epochs * steps_per_epoch(len(train), config)),
        "changes": job.everything.changes,
    }  # fmt: skip
    seen = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    for indices in (train, test, job.groups):
        seen.update(np.asarray(indices, dtype=np.int64).tobytes() + b"|")
    return job.work / "studies" / job.study / "unseen" / f"{seen.hexdigest()[:24]}.json"


def _answers(job: Job, train: Integers, test: Integers, config: TrialConfig, epochs: float, base_deg: Floats) -> Floats:
    """(n_test, 2) degrees: what the configuration, trained on the ``train`` samples, answers to the ``test`` samples.

    The activations of one model are let go before the next one's are made: together they may be more than fits.
    """
    split = replace(job.split, train=train, validation=test, test=test, final=train)
    with closing(ActivationCache(job.cache.folder, job.cache.limit_bytes)) as cache:
        fold = replace(job, split=split, samples=job.everything, cache=cache, few=None)
        return _trained(fold, config, epochs, base_deg)


def _trained(fold: Job, config: TrialConfig, epochs: float, base_deg: Floats) -> Floats:
    """The same, of a job whose split leaves out the drivers."""
    train, test, targets, samples = fold.split.train, fold.split.test, fold.recordings.targets, fold.samples
    as_it_is = align(base_deg[train], fold.recordings.labels_deg[train])
    with tempfile.TemporaryDirectory(dir=fold.work) as scratch:
        network = model.load(bases.variant(fold, config.bn, as_it_is, Path(scratch))[0].path)
    if config.head != "base":
        pooled = features(network, "backbone", samples, fold.cache, fold.device)
        closed_form.install(config.head, network, pooled, targets, train, fold.groups, fold.share(train))
    source = features(network, config.freeze, samples, fold.cache, fold.device)
    _, tail = model.cut(network, config.freeze)
    tail.to(fold.device)
    steps = round(epochs * steps_per_epoch(len(train), config))
    try:
        if steps:
            source.keep_on_device()
            finish(tail, Examples(source, targets, train, fold.groups, share=fold.share(train)), config, steps)
    except OutOfMemory as error:
        raise GazeError(
            f"leaving out drivers: out of memory ({error}); free some, then go on with the study"
        ) from error
    return pitch_yaw_to_deg(predict(tail, source, test))


@dataclass(frozen=True)
class Fold:
    """A model to be trained elsewhere: by value or by address, in the fields that a slot sees to as in a trial's."""

    number: int
    asked: JobConfig
    study: str
    recordings: Recordings
    split: Split
    config: TrialConfig
    epochs: float
    base_deg: Floats
    base: Path
    """The base as it is."""
    samples: tuple[Path, ...]
    """Where the folders of the recordings are."""
    cache: Path
    checkpoint: Path
    """Where its answers go."""
    device: str
    threads: int = 0
    accelerator: str = ""
    state: Path | None = None
    """None: what a model costs that has to be trained again is minutes."""
    seconds_left: float = math.inf
    seconds_at_most: float = math.inf

    @property
    def name(self) -> str:
        return f"fold-{self.number:03d}"

    def job(self, cache: ActivationCache) -> Job:
        """As on the machine that asks, with what lies elsewhere here."""
        asked = replace(self.asked, device=self.device, work=str(self.cache.parent))
        folders = zip(self.recordings.drives, self.samples, strict=True)
        data = replace(self.recordings, drives=tuple(replace(drive, folder=folder) for drive, folder in folders))
        base = Base(model.load(self.base), "", "")
        nothing = np.array([], dtype=np.int64)
        samples = dataset(data, cache, np.arange(len(data)), nothing, asked.seed)
        return Job(asked, self.study, "", base, data, self.split, samples, cache, ())


def _train_elsewhere(
    cluster: "Envoy",
    job: Job,
    parts: Sequence[tuple[Integers, Integers]],
    config: TrialConfig,
    epochs: float,
    base_deg: Floats,
) -> None:
    """Have the models trained that are not known, so that what they answer is; ``parts``: (train, test) of each."""
    kept = [_file(job, train, test, config, epochs) for train, test in parts]
    wanted = [(file, *part) for file, part in zip(kept, parts, strict=True) if not file.is_file()]
    if not wanted:
        return
    kept[0].parent.mkdir(parents=True, exist_ok=True)
    base = kept[0].parent / "base.safetensors"
    state = {key: value.cpu().contiguous() for key, value in job.base.network.state_dict().items()}
    files.write(base, lambda unfinished: safetensors.torch.save_file(state, unfinished))
    folds = [
        Fold(
            number=number,
            asked=job.config,
            study=job.study,
            recordings=job.recordings,
            split=replace(job.split, train=train, validation=test, test=test, final=train),
            config=config,
            epochs=epochs,
            base_deg=base_deg,
            base=base,
            samples=job.recordings.folders,
            cache=job.cache.folder,
            checkpoint=file,
            device=job.device.type,
        )
        for number, (file, train, test) in enumerate(wanted)
    ]
    try:
        with closing(cluster.workers(job.config.workers, len(folds), job.config.device, cast(Any, answer))) as workers:
            _await(workers, folds, job.study)
    finally:
        base.unlink()


def _await(workers: Workers, folds: Sequence[Fold], study: str) -> None:
    """Until all have answered; one whose node is gone is trained again elsewhere, as often as a trial is."""
    waiting, running, lost = list(folds)[::-1], set[int](), Counter[int]()
    while waiting or running:
        while waiting and len(running) < workers.size:
            fold = waiting.pop()
            running.add(fold.number)
            workers.start(cast(Any, fold))
        for number, kind, what in workers.hear(LISTEN_S):
            running.remove(number)
            lost[number] += 1
            if kind == "cut off" and lost[number] <= MOST_RETRIES:
                log.warning("%s: %s; it is trained again", folds[number].name, what)
                waiting.append(folds[number])
            elif kind != "done":
                raise GazeError(f"leaving out drivers: {what}; mend the cause, then go on with study={study}")


def answer(fold: Fold, connection: Connection) -> None:
    """Body of a fold's process: train its model and keep what it answers. Sends ``("done", None)`` or ``("failed",
    line)``."""
    threading.Thread(target=trial.end_with_the_search, name="search", daemon=True).start()
    trial.keep_to_share(fold.threads, fold.accelerator)
    try:
        with closing(ActivationCache(fold.cache)) as cache:
            job = fold.job(cache)
            split = fold.split
            answers = _answers(job, split.train, split.test, fold.config, fold.epochs, fold.base_deg)
        kept_answers.write(fold.checkpoint, answers)
    except Exception as error:  # told where the others are waited for
        connection.send(("failed", f"{type(error).__name__}: {one_line(error)}"))
    else:
        connection.send(("done", None))
