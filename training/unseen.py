"""The error on a driver whom the model has never seen: leave one driver out, over all drivers.

The configuration that the search chose is trained again without each driver (or each fold of drivers), from the base on
and for as long as the registered model was, and answers that driver's samples. Nothing of a driver reaches the model
that is measured on them: BatchNorm statistics, alignment, heads in closed form and baselines are made anew from the
others. Activations behind a boundary whose statistics are the base's own are those of all samples, made once. A
registered base may have learnt from drivers itself: nobody can leave these out, and they are not measured.

What each model answered is kept in the study's folder: a job that was cut off does not train it again.
"""

import hashlib
import json
import logging
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from recording import files
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError
from registry import lineage
from registry.intervals import Floats, Integers
from training import bases
from training.context import Job
from training.learning import closed_form, model
from training.learning.answers import predict
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, TrialConfig, finish, steps_per_epoch
from training.learning.memory import OutOfMemory
from training.learning.trunk import features
from training.measuring import baselines, drivers
from training.measuring.alignment import align
from training.measuring.drivers import ByDriver
from training.measuring.splits import MIN_PER_PART
from training.searching.study import SearchResult

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the answers that are kept, and of how their models are trained; another number: all are trained again."""


def base_answers(job: Job) -> Floats:
    """(n, 2) degrees: what the base as it is answers to all samples."""
    return bases.answers(job, job.base.network, job.everything, np.arange(len(job.recordings)))


def estimate(job: Job, found: SearchResult, more_epochs: float, base_deg: Floats) -> ByDriver | None:
    """Train the chosen configuration without each fold of drivers, and measure it on them.

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
        *(len(parts), epochs, result["sample_seconds"] * epochs * trained),
    )
    answers = {"base": base_deg, "model": np.empty_like(base_deg)}
    for left_out in parts:
        test = np.flatnonzero(np.isin(driver, left_out))
        train = np.setdiff1d(np.arange(len(driver)), test)
        answers["model"][test] = _kept_answers(job, train, test, config, epochs, base_deg)
        fitted = baselines.fit(base_deg[train], data.labels_deg[train]).answers(base_deg[test])
        for who, theirs in fitted.items():
            answers.setdefault(who, np.empty_like(base_deg))[test] = theirs
    what = f"error on an unseen driver ({len(parts)} models, each trained without the drivers that it is measured on)"
    what += "".join(f"; not {data.drivers[number]}: {why}" for number, why in aside.items())
    told = np.flatnonzero(np.isin(driver, new))
    answers = {who: theirs[told] for who, theirs in answers.items()}
    return drivers.measure(data.drivers, driver[told], data.drives_of, answers, data.labels_deg[told], what)


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
    file = job.work / "studies" / job.study / "unseen" / f"{_key(job, train, test, config, epochs)}.json"
    if file.is_file():
        try:
            known = np.array(json.loads(file.read_text())["answers_deg"], dtype=np.float64).reshape(len(test), 2)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s: cannot be read (%s); this model is trained again", file, error)
        else:
            log.info("leaving out drivers: a model is known from before (%s)", file)
            return known
    answers = _answers(job, train, test, config, epochs, base_deg)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(file, json.dumps({"answers_deg": answers.tolist()}))
    return answers


def _key(job: Job, train: Integers, test: Integers, config: TrialConfig, epochs: float) -> str:
    """Of everything that a model and its answers depend on."""
    data = job.recordings
    made_of = {
        "format": FORMAT, "data": data.digest, "face": data.cut_in_words(), "base": job.base.digest,
        "seed": job.config.seed, "config": asdict(config), "steps": round(epochs * steps_per_epoch(len(train), config)),
    }  # fmt: skip
    seen = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    for indices in (train, test, job.groups):
        seen.update(np.asarray(indices, dtype=np.int64).tobytes() + b"|")
    return seen.hexdigest()[:24]


def _answers(job: Job, train: Integers, test: Integers, config: TrialConfig, epochs: float, base_deg: Floats) -> Floats:
    """(n_test, 2) degrees: what the configuration, trained on the ``train`` samples, answers to the ``test`` samples.

    The activations of one model are let go before the next one's are made: together they may be more than fits.
    """
    split = replace(job.split, train=train, validation=test, test=test, final=train)
    with closing(ActivationCache(job.cache.folder, job.cache.limit_bytes)) as cache:
        fold = replace(job, split=split, samples=job.everything, cache=cache)
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
            finish(tail, Examples(source, targets, train, share=fold.share(train)), config, steps)
    except OutOfMemory as error:
        raise GazeError(
            f"leaving out drivers: out of memory ({error}); free some, then go on with the study"
        ) from error
    return pitch_yaw_to_deg(predict(tail, source, test))
