"""The error on a driver whom the model has never seen: leave one driver out, over all drivers.

The configuration that the search chose is trained again without each driver (or each fold of drivers), from the base on
and for as long as the registered model was, and answers that driver's samples. Nothing of a driver reaches the model
that is measured on them: BatchNorm statistics, alignment, heads in closed form and baselines are made anew from the
others. Activations behind a boundary whose statistics are the base's own are those of all samples, made once.
"""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError
from registry.intervals import Floats
from training import bases
from training.context import Job
from training.learning import closed_form, model
from training.learning.answers import predict
from training.learning.finetune import Examples, TrialConfig, finish, steps_per_epoch
from training.learning.memory import OutOfMemory
from training.learning.trunk import Dataset, features
from training.measuring import baselines, drivers
from training.measuring.drivers import ByDriver
from training.searching.study import SearchResult

log = logging.getLogger(__name__)


def base_answers(job: Job) -> Floats:
    """(n, 2) degrees: what the base as it is answers to all samples."""
    return bases.answers(job, job.base.network, job.everything, np.arange(len(job.recordings)))


def estimate(job: Job, found: SearchResult, more_epochs: float, base_deg: Floats) -> ByDriver:
    """Train the chosen configuration without each fold of drivers, and measure it on them.

    ``more_epochs``: of the final training. ``base_deg`` are :func:`base_answers`. Raises :class:`GazeError` when the
    memory does not do for what it did for in the search.
    """
    data, result = job.recordings, found.best.user_attrs["result"]
    parts = drivers.folds(len(data.drivers), job.config.folds)
    config = replace(found.config(), batch_size=result["batch_size"])
    epochs = result["best"]["number"] + more_epochs
    samples, driver = job.everything, data.driver_index
    seconds = result["sample_seconds"] * epochs * len(driver) * (len(parts) - 1)
    log.info(
        "leaving out drivers: %d models of %.1f epochs, about %.0f s (folds= bounds it)", len(parts), epochs, seconds
    )
    answers = {"base": base_deg, "model": np.empty_like(base_deg)}
    for left_out in parts:
        test = np.flatnonzero(np.isin(driver, left_out))
        train = np.setdiff1d(np.arange(len(driver)), test)
        split = replace(job.split, train=train, validation=test, test=test, final=train)
        fold = replace(job, split=split, samples=samples, config=replace(job.config, bn=config.bn))
        answers["model"][test] = _answers(fold, samples, config, epochs)
        fitted = baselines.fit(base_deg[train], data.labels_deg[train]).answers(base_deg[test])
        for who, theirs in fitted.items():
            answers.setdefault(who, np.empty_like(base_deg))[test] = theirs
    how = f"{len(parts)} models, each trained without the drivers that it is measured on"
    what = f"error on an unseen driver ({how})"
    return drivers.measure(data.drivers, driver, data.drives_of, answers, data.labels_deg, what)


def _answers(fold: Job, samples: Dataset, config: TrialConfig, epochs: float) -> Floats:
    """(n_test, 2) degrees: what the configuration, trained on the fold's training samples, answers to its test's."""
    train, test, targets = fold.split.train, fold.split.test, fold.recordings.targets
    with tempfile.TemporaryDirectory(dir=fold.work) as scratch:
        network = model.load(bases.prepare(fold, Path(scratch)).variants[config.bn].path)
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
            finish(tail, Examples(source, targets, train, share=fold.share(train)), config, steps)
    except OutOfMemory as error:
        raise GazeError(
            f"leaving out drivers: out of memory ({error}); free some, then go on with the study"
        ) from error
    return pitch_yaw_to_deg(predict(tail, source, test))
