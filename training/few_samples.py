"""Where ``timeout`` is short for the samples: what takes no gradient steps is computed from some of them.

Baselines, the start of trials and heads in closed form need a pass through the frozen network for each sample, and what
they come to hardly depends on how many hundred samples these are. Learning does, and it is what the time is for.
"""

import logging
import math
from dataclasses import replace

import numpy as np

from registry.intervals import Integers
from training.context import Job
from training.learning.trunk import seconds_a_picture
from training.searching.space import ROOMY_SHARE, SHORT_SHARE, SearchSpace
from training.searching.study import Study

log = logging.getLogger(__name__)

FEWEST = 512
"""Training samples: of a panel of drives and people, heads in closed form of more were hardly better."""
SETTLED = "fitted_on"
"""In the study: on how many samples they are fitted, so that resuming it goes on with the same."""


def chosen(job: Job, study: Study) -> Job:
    """The job, with what is fitted in closed form limited to what its ``timeout`` has room for; says so where it is."""
    count = study.settle(SETTLED, lambda: _affordable(job, study.space))
    train = job.split.train
    if not count or count >= len(train):
        return job
    job = replace(job, few=spread(train, count))
    log.info("baselines and heads in closed form are fitted on %s", job.fitted_line)
    return job


def _affordable(job: Job, space: SearchSpace) -> int:
    everything = len(job.split.train)
    if not space.timeout or everything <= FEWEST:
        return everything
    seconds = seconds_a_picture(job.base.network, job.samples, job.device)
    return affordable(space, seconds, everything, len(job.split.validation))


def affordable(space: SearchSpace, seconds: float, train: int, validation: int) -> int:
    """Of ``train`` samples, how many to fit on, where a pass takes so many ``seconds`` a picture: all of them unless
    activations would take more than is short of the timeout, otherwise what leaves room to learn.

    A power of two times :data:`FEWEST`: two runs that are not quite as fast choose the same.
    """
    passes = len({"source", *space.bn})  # the base as it is, and each variant with its own statistics
    if not space.timeout or seconds * passes * (train + validation) <= SHORT_SHARE * space.timeout:
        return train
    room = ROOMY_SHARE * space.timeout / (seconds * passes) - validation
    doubled = max(0, math.floor(math.log2(max(room, FEWEST) / FEWEST)))
    return min(train, FEWEST << doubled)


def spread(samples: Integers, count: int) -> Integers:
    """``count`` of the ascending ``samples``, evenly."""
    at = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(np.int64)
    return np.asarray(samples[at])
