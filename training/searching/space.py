"""What is searched: epochs, learning rate, freeze and BatchNorm statistics, and the trials that open the search.

The first trials try every freeze choice once, cheapest first, at a middling learning rate, so that the expensive
ones are judged against results that are already there; the last of them, which trains most of the network, gets the
most epochs. Then TPE (Bergstra et al. 2011) chooses.
"""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna

from recording.exceptions import InputError
from training.learning.batchnorm import BN_CHOICES
from training.learning.finetune import TrialConfig
from training.learning.model import FREEZE_CHOICES

FIRST_LR = 3e-4  # of the opening trials, brought into the searched range


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
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed}: must be from 0 to {2**32 - 1}")
        _check_choices("freeze", self.freeze, FREEZE_CHOICES)
        _check_choices("bn", self.bn, BN_CHOICES)

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

    def points(self) -> list[dict[str, Any]] | None:
        """All different parameters of a trial; ``None`` where the learning rate is searched: without number."""
        if self.lr_min < self.lr_max:
            return None
        epochs = range(self.epochs_min, self.epochs_max + 1)
        chosen = itertools.product(self.freeze, self.bn, [self.lr_min], epochs)
        return [dict(zip(("freeze", "bn", "lr", "epochs"), point, strict=True)) for point in chosen]

    def runs(self) -> int:
        """How many trials are run: ``trials``, or fewer where there are not that many different ones."""
        points = self.points()
        return self.trials if points is None else min(self.trials, len(points))

    def opening(self) -> list[dict[str, Any]]:
        """Parameters of the first trials: every freeze choice once, cheapest first.

        Where there are few different trials, all of them that are to be run, so that none is run twice.
        """
        first, points = self._every_freeze_once(), self.points()
        if points is not None and len(points) <= 2 * self.trials:
            rest = [point for point in points if point not in first]
            first += [rest[k] for k in np.random.default_rng(self.seed).permutation(len(rest))]
        return first[: self.trials]

    def _every_freeze_once(self) -> list[dict[str, Any]]:
        cheapest_first = sorted(self.freeze, key=FREEZE_CHOICES.index)
        longest = self.epochs_min + (self.epochs_max - self.epochs_min) // 3
        return [
            {
                "freeze": freeze,
                "bn": "target" if "target" in self.bn else self.bn[0],
                "lr": min(max(FIRST_LR, self.lr_min), self.lr_max),
                "epochs": longest if freeze == cheapest_first[-1] else self.epochs_min,
            }
            for freeze in cheapest_first
        ]

    def identity(self) -> dict[str, Any]:
        """The part that must not change between a study and its resumption, as JSON keeps it."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("trials", "timeout")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _check_choices(name: str, chosen: tuple[str, ...], choices: tuple[str, ...]) -> None:
    wrong = [one for one in chosen if one not in choices]
    if wrong or not chosen:
        raise InputError(
            f"{name}={','.join(chosen)!r}: {wrong or 'nothing'} is unknown; choose from {','.join(choices)}"
        )
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{name}={','.join(chosen)!r}: a choice is named twice")
