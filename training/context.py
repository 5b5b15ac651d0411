"""What all parts of one run of the main job share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from recording.label_frame import LabelFrame
from recording.recordings import Recordings
from training.checkpoints import Base
from training.config import JobConfig, choose_device
from training.learning.cache import ActivationCache
from training.learning.trunk import Dataset, dataset
from training.measuring import splits
from training.measuring.splits import Split


@dataclass(frozen=True)
class Job:
    """One run of the main job: what was asked for, where it is tracked, and what it works on."""

    config: JobConfig
    study: str
    """Name of the search."""
    run_id: str
    """The parent run in MLflow."""
    base: Base
    recordings: Recordings
    split: Split
    samples: Dataset
    cache: ActivationCache
    label_frames: tuple[LabelFrame, ...]
    """What the angles of each drive count from."""
    few: np.ndarray | None = None
    """Where ``timeout`` is short for the samples: those of the training samples, spread evenly, that whatever takes no
    gradient steps is computed from. ``None``: all of them."""

    @property
    def fitted_on(self) -> np.ndarray:
        """Indices of the training samples that baselines, closed forms and the start of trials are fitted on."""
        return self.split.train if self.few is None else self.few

    @property
    def done_at_first(self) -> float:
        """Of the samples that the search looks at, the share whose activations are made before the first trial."""
        judging = len(self.split.validation)
        return (len(self.fitted_on) + judging) / (len(self.split.train) + judging)

    @property
    def fitted_line(self) -> str:
        """On which samples these are fitted, in words."""
        count, every = len(self.fitted_on), len(self.split.train)
        return "the training samples" if self.few is None else f"{count} of the {every} training samples"

    @property
    def fitted(self) -> Dataset:
        """These, and those that validate."""
        return self.samples if self.few is None else replace(self.samples, train=self.few)

    @property
    def device(self) -> torch.device:
        """Where networks are computed."""
        return torch.device(choose_device(self.config.device))

    @property
    def groups(self) -> np.ndarray:
        """(n,) what stays together when heads in closed form are cross-validated: time blocks, or drivers where several
        train."""
        drivers = self.recordings.driver_index
        several = self.split.name == "by-driver" and len(np.unique(drivers[self.split.train])) > 1
        return drivers if several else self.split.block

    @cached_property
    def everything(self) -> Dataset:
        """All samples of all drives, each with the copies that it has for training: what leaving drivers out reads."""
        nothing = np.array([], dtype=np.int64)
        return dataset(self.recordings, self.cache, np.arange(len(self.recordings)), nothing, self.config.seed)

    def share(self, samples: np.ndarray) -> np.ndarray | None:
        """How often each of these samples is to be drawn, so that every drive counts alike; ``None``: all alike."""
        return splits.balanced(self.recordings.drive_index[samples]) if self.split.name == "by-driver" else None

    @property
    def together(self) -> tuple[str, ...]:
        """The boundaries whose activations are made in one pass, when the first of them is wanted."""
        return tuple(sorted(set(self.config.space().freeze) - {"backbone", "none"}))

    @property
    def work(self) -> Path:
        """Where prepared folders, caches and studies go."""
        return Path(self.config.work)


class Clock:
    """Seconds of each part of the job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside towards the part ``name``."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` (below 0: take them off) towards the part ``name``."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
