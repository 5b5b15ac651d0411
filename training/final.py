"""The model that is registered: what the search chose, trained on everything but the test blocks and their own gaps.

The split serves the estimate: samples that validated, and the gaps beside them, have done their work when the search
ends. A trained tail goes on from the chosen trial's weights, at a rate that falls to zero; a head in closed form is
solved again. How long is fixed beforehand by what validation showed: no sample is left to judge it but the test's.
"""

import logging
import math
import time
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from recording.exceptions import GazeError
from training import few_samples
from training.bases import Bases
from training.config import ALL
from training.context import Job
from training.learning import closed_form, model, shrinkage
from training.learning.finetune import Examples, TrialConfig, finish, steps_per_epoch
from training.learning.memory import OutOfMemory
from training.learning.trunk import Dataset, dataset, features
from training.searching.study import SearchResult

log = logging.getLogger(__name__)

MORE_EPOCHS = 0.5  # of those that led to the chosen trial's best epoch
CUT_OFF_EPOCHS = 1.5  # the same, where the time ended that trial: it had not learnt what it could
FEWEST_EPOCHS = 2
LATE_EPOCHS, LATEST_EPOCHS = 1.0, 0.5  # where there is no time for more; the second where it is short for the samples


@dataclass(frozen=True)
class Final:
    """The network to register, and how it was trained in the end."""

    network: nn.Module
    samples: int
    """Samples that it was trained on."""
    epochs: float
    """Passes over them after the search; 0 for a head in closed form."""
    twin: nn.Module | None = None
    """With ``final=all`` what is measured in the network's place: trained in the same way on ``split.final`` alone."""


def train(job: Job, starts: Bases, found: SearchResult, deadline: float) -> Final:
    """The chosen configuration on ``split.final``, and with ``final=all`` then on all samples; ``deadline`` is on
    ``time.monotonic``'s clock.

    However late it is, one epoch is run of each, or half of one where ``timeout`` is short for the samples. Where the
    chosen trial's answers scatter more than gaze, those of the network are drawn towards the mean
    (:mod:`training.learning.shrinkage`). Raises :class:`GazeError` when not even single samples fit into memory.
    """
    config, result = found.config(), found.best.user_attrs["result"]
    parts = [job.split.final, *([np.arange(len(job.recordings))] if job.config.final == ALL else [])]
    nothing = np.array([], dtype=np.int64)
    epochs, learnt = 0.0, bool(result["best"]["number"])
    if not learnt and job.few is not None:
        parts = [few_samples.spread(part, len(job.few)) for part in parts]
    sets = [dataset(job.recordings, job.cache, part, nothing, config.seed) for part in parts]
    if learnt:
        config = replace(config, batch_size=result["batch_size"])
        for samples in sets:
            # Before the time that is left is shared out: behind a frozen trunk these are passes over all samples.
            features(model.load(found.checkpoint), config.freeze, samples, job.cache, job.device)
        epochs = planned_epochs(
            result["best"]["number"],
            result["sample_seconds"] * sum(len(samples.train) for samples in sets),
            deadline - time.monotonic(),
            cut_off=result["ended"] == "timeout",
            least=LATE_EPOCHS if job.few is None else LATEST_EPOCHS,
        )
    networks, kept = [], found.kept()
    if kept != shrinkage.WHOLE:
        log.info("%s", shrinkage.describe(kept))
    for samples in sets:
        log.info(
            "final training: %s, from %s", in_words(config.head, epochs, len(samples.train)), found.checkpoint.stem
        )
        if epochs:
            network, config = _continued(job, found, samples, config, epochs)  # a batch that did not fit, fits neither
        else:
            network = _solved(job, starts, found, samples)
        shrinkage.fold(network.get_submodule("fc"), kept, job.recordings.targets[samples.train].mean(axis=0))
        networks.append(network)
    if len({model.digest(network) for network in networks}) == 1:  # the base's own head: nothing was learnt
        return Final(networks[0], len(sets[0].train), epochs)
    return Final(networks[-1], len(sets[-1].train), epochs, networks[0])


def in_words(head: str, epochs: float, samples: int, of: int | None = None) -> str:
    """How a network was trained in the end: ``1.5 epochs on 153 samples``, ``solved on 153 of 200 samples``.

    ``head`` is the chosen one (:class:`TrialConfig`); ``epochs`` are 0 where it is in closed form, or the base's own.
    """
    if not epochs and head == "base":
        return "none, the base's own head is kept"
    how = f"{epochs:.2g} epochs" if epochs else "solved"
    return f"{how} on {samples}{'' if of is None else f' of {of}'} samples"


def planned_epochs(
    best_epoch: int, epoch_seconds: float, seconds_left: float, *, cut_off: bool, least: float = LATE_EPOCHS
) -> float:
    """Half as many epochs as led to the best one, more than these where that trial was ``cut_off`` by the time; two at
    least. As far as the time goes, in parts of epochs too, but ``least`` in any case."""
    wanted = max(FEWEST_EPOCHS, math.ceil((CUT_OFF_EPOCHS if cut_off else MORE_EPOCHS) * best_epoch))
    if seconds_left == math.inf:
        return wanted
    return max(least, min(wanted, seconds_left / max(epoch_seconds, 1e-6)))


def _solved(job: Job, starts: Bases, found: SearchResult, samples: Dataset) -> nn.Module:
    """The start of the chosen trial, as it would have been had it seen all these samples."""
    config = found.config()
    network = model.load(starts.variants[config.bn].path)
    if config.head != "base":
        pooled = features(network, "backbone", samples, job.cache, job.device)
        targets, train = job.recordings.targets, samples.train
        closed_form.install(config.head, network, pooled, targets, train, job.groups, job.share(train))
    return network


def _continued(
    job: Job, found: SearchResult, samples: Dataset, config: TrialConfig, epochs: float
) -> tuple[nn.Module, TrialConfig]:
    """The network after so many ``epochs`` more, and the configuration with the batch size that fitted."""
    while True:
        network = model.load(found.checkpoint)
        source = features(network, config.freeze, samples, job.cache, job.device)
        source.keep_on_device()
        _, tail = model.cut(network, config.freeze)
        train = samples.train
        steps = round(epochs * steps_per_epoch(len(train), config))
        examples = Examples(source, job.recordings.targets, train, job.groups, share=job.share(train))
        try:
            finish(tail, examples, config, steps)
        except OutOfMemory as error:
            if config.batch_size == 1:
                raise GazeError(f"final training: out of memory with a single sample ({error}); free some") from error
            config = replace(config, batch_size=config.batch_size // 2)
            log.warning("final training: out of memory; again with batches of %d", config.batch_size)
            continue
        return network.cpu().eval(), config
