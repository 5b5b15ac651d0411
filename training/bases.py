"""The base in every BatchNorm variant that is searched, its head aligned to the labels."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from torch import nn

from recording import files
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import InputError
from training.context import Job
from training.learning import batchnorm, model
from training.learning.answers import predict
from training.learning.trunk import Dataset, features
from training.measuring.alignment import Alignment, align
from training.measuring.familiarity import Familiarity, Statistics, distance

log = logging.getLogger(__name__)

_ALIKE_DEG = 1e-3  # of answers that are the same but for rounding


@dataclass(frozen=True)
class BaseVariant:
    """The base with one choice of BatchNorm statistics, its head aligned to the labels, on disk."""

    path: Path
    alignment: Alignment


@dataclass(frozen=True)
class Bases:
    """What trials start from."""

    variants: dict[str, BaseVariant]
    """By the choice of ``bn``."""
    answers_deg: np.ndarray
    """(n, 2) what the base as it is answers on the samples of ``job.fitted_on``, degrees."""
    familiarity: Familiarity
    """How far the drive is from what the base was trained on."""


def prepare(job: Job, into: Path) -> Bases:
    """Write the base in every BatchNorm variant searched.

    Only training samples are looked at: statistics and alignment must not see held-out frames. Raises
    :class:`InputError` for a base that answers no number, or the same to every picture.
    """
    space = job.config.space()
    train = job.fitted_on
    labels = job.recordings.labels_deg[train]
    answers_deg = answers(job, job.base.network, job.fitted, train)
    _check(job.base.name, answers_deg)
    as_it_is = align(answers_deg, labels)
    log.info("%s", as_it_is.describe())
    variants, drive = {}, None
    for bn in space.bn:
        variants[bn], network = variant(job, bn, as_it_is, into)
        if bn == "target":
            drive = batchnorm.statistics(network)
    known = Familiarity(job.base.name, job.base.trained_on, _distance(job, drive))
    log.log(logging.WARNING if known.foreign else logging.INFO, "%s", known.describe())
    return Bases(variants, answers_deg, known)


def _check(name: str, answers_deg: np.ndarray) -> None:
    finite = np.isfinite(answers_deg).all(axis=1)
    if not finite.all():
        raise InputError(
            f"base {name}: answers {np.count_nonzero(~finite)} of {len(finite)} pictures with no number (NaN or "
            "infinite), though its weights are numbers; its file is damaged, or it is no trained gaze network: give "
            "another"
        )
    if len(answers_deg) > 1 and np.ptp(answers_deg, axis=0).max() < _ALIKE_DEG:
        azimuth, elevation = answers_deg[0]
        raise InputError(
            f"base {name}: answers {azimuth:.2f}/{elevation:.2f}° to each of the {len(finite)} pictures: it is no "
            "trained gaze network, or the pictures are all the same one; give another base or recording"
        )


def variant(job: Job, bn: str, as_it_is: Alignment, into: Path) -> tuple[BaseVariant, nn.Module]:
    """Write the base with one choice of BatchNorm statistics, and the network that was written; of training samples.

    ``as_it_is``: how the base's own answers to them relate to the labels.
    """
    train, labels = job.fitted_on, job.recordings.labels_deg[job.fitted_on]
    network = model.build()
    network.load_state_dict(job.base.network.state_dict())
    alignment = as_it_is
    if bn == "target":
        batchnorm.adapt(network, job.samples.pictures, train, job.device)
        alignment = align(answers(job, network, job.fitted, train), labels)
        if alignment.changes() != as_it_is.changes():
            log.info("with statistics re-estimated on the drive: %s", alignment.describe())
    return BaseVariant(_aligned(network.cpu(), alignment, into / f"base-{bn}.safetensors"), alignment), network


def _distance(job: Job, drive: list[Statistics] | None) -> float:
    """Of the base's statistics from the ``drive``'s, which are estimated here where no variant has them."""
    if drive is None:
        network = model.build()
        network.load_state_dict(job.base.network.state_dict())
        adapted = batchnorm.adapt(network, job.samples.pictures, job.samples.train, job.device)
        drive = batchnorm.statistics(adapted)
    return distance(batchnorm.statistics(job.base.network), drive)


def answers(job: Job, network: nn.Module, samples: Dataset, indices: np.ndarray) -> np.ndarray:
    """(len(indices), 2) degrees, from the cached pooled activations of ``samples``, of which the ``indices`` are."""
    source = features(network, "backbone", samples, job.cache, job.device)
    _, tail = model.cut(network, "backbone")
    return pitch_yaw_to_deg(predict(tail.to(job.device), source, indices))


def _aligned(network: nn.Module, alignment: Alignment, path: Path) -> Path:
    """Write the network with its head aligned to the labels; whole or not at all."""
    alignment.adopt(network)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    files.write(path, lambda unfinished: safetensors.torch.save_file(state, unfinished))
    return path
