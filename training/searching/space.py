"""What is searched: epochs, learning rate, freeze, BatchNorm statistics and where the head starts; the opening trials.

The search opens with heads in closed form on the frozen backbone, which take seconds and are hard to beat by training a
head alone; then comes the choice that trains most of the network, because it wins most often and must not be what the
time runs out on; then the choices between. Then TPE (Bergstra et al. 2011) chooses.
"""

import itertools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna

from recording.exceptions import InputError
from training.learning.batchnorm import BN_CHOICES
from training.learning.finetune import HEAD_CHOICES, TrialConfig
from training.learning.model import FREEZE_CHOICES

LEARNING_RATES = {
    "backbone": (1e-4, 1e-2),
    "layer3": (1e-4, 3e-3),
    "layer2": (1e-4, 2e-3),
    "layer1": (5e-5, 1e-3),
    "none": (5e-5, 1e-3),
}
"""What each freeze choice searches of ``lr_min`` to ``lr_max``: the fewer layers learn, the more of it they bear. A
choice that is not named searches all of it."""
HEADS = {"backbone": HEAD_CHOICES}
"""Where the head may start, by freeze choice; at the base's (aligned) where nothing is named: once layers before it
learn, a solved head first gets far worse and does not make up for it (docs/benchmarks.md)."""
TRAINING = 2
"""Of how trials are trained (1, not written down: heads stayed as trained): others are not compared with them."""
ENOUGH_PICTURES = 6400
"""Seen by the trial that trains most of the network: with few samples, so many more epochs."""
USUAL_BATCH, SMALL_BATCH, FEW_SAMPLES = 16, 8, 800
"""Samples a step, and with fewer than these to train on: they make few steps, and steps are what they need
(docs/benchmarks.md)."""
SEARCH_SHARE = 0.55
"""Of the time for trials and final training, what the trials may take."""
MOST_SHARE = 0.85
"""The same, to beat a head on the frozen backbone, whose final training is a pass over what was kept back."""
LEAST_SHARE = 0.25
"""Of ``timeout``, what trials and final training have however long the activations took: a job that computed for so
long is to have a result."""
SHORT_SHARE = 0.4
"""Of ``timeout``, what activations may take without a word: beyond that, fewer samples come to a better model. In five
minutes, of which activations took 90 %, 1,638 photographs came to 36°, and 500 of them to 21° (docs/benchmarks.md)."""
ROOMY_SHARE = 0.25
"""What they take where the time suits the samples."""
WORTHWHILE_SAMPLES = 200
"""Fewer are not recommended to anybody: too few of them are held out to tell whether a model is better."""
USUAL_LR = 3e-4
FIRST_LR = {"backbone": 2e-4, "layer3": 5e-4}
"""Of the opening trials where :data:`USUAL_LR` is not the best, brought into the searched range like that one."""


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and how much of it."""

    trials: int = 12
    timeout: float = 0
    """Seconds for activations, trials and final training; 0 = none."""
    epochs_min: int = 5
    epochs_max: int = 30
    lr_min: float = 1e-5
    lr_max: float = 1e-2
    freeze: tuple[str, ...] = ("backbone", "layer3", "layer2", "none")
    bn: tuple[str, ...] = ("source", "target")
    batch_size: int = USUAL_BATCH
    """Samples a step; 0: to be chosen by how many there are to train on, with :meth:`settled`."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "epochs_min", "epochs_max"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.batch_size < 0:
            raise InputError(f"batch_size={self.batch_size}: must be 0 (chosen by the samples) or at least 1")
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

    def settled(self, samples: int) -> "SearchSpace":
        """With the batch size for so many ``samples`` to train on, where none was asked for."""
        chosen = SMALL_BATCH if samples < FEW_SAMPLES else USUAL_BATCH
        return replace(self, batch_size=self.batch_size or chosen)

    def seconds_left(self, spent: float) -> float:
        """Of ``timeout``, for the trials and the final training after ``spent`` seconds."""
        return max(self.timeout - spent, LEAST_SHARE * self.timeout) if self.timeout else math.inf

    def search_seconds(self, spent: float = 0.0) -> float:
        """Of these, what the trials may take: the rest trains the chosen one on all samples."""
        return SEARCH_SHARE * self.seconds_left(spent)

    def search_seconds_at_most(self, spent: float = 0.0) -> float:
        """What they may take as long as a head on the frozen backbone is the best."""
        return MOST_SHARE * self.seconds_left(spent)

    def too_short(self, spent: float, samples: int, done: float = 1.0) -> str:
        """What to do about a ``timeout`` of which the activations of so many ``samples`` took ``spent`` seconds, or of
        the share ``done`` of them; empty where all of them leave enough."""
        spent /= done
        if not self.timeout or spent <= SHORT_SHARE * self.timeout:
            return ""
        fewer, longer = _rounded(samples * ROOMY_SHARE * self.timeout / spent), _rounded(spent / ROOMY_SHARE)
        advice = f"timeout={longer} usually comes to a better model"
        if fewer >= WORTHWHILE_SAMPLES:
            advice += f", and so do about {fewer} samples in the same time"
        return (
            f"timeout={self.timeout:g} IS SHORT FOR {samples} SAMPLES: {spent:.0f} s {_WENT_BY[done < 1]}, and little "
            f"is left to learn in; {advice}"
        )

    def learning_rates(self, freeze: str) -> tuple[float, float]:
        """The searched range of that freeze choice; the whole one where the two do not meet."""
        low, high = LEARNING_RATES.get(freeze, (self.lr_min, self.lr_max))
        low, high = max(low, self.lr_min), min(high, self.lr_max)
        return (low, high) if low <= high else (self.lr_min, self.lr_max)

    def suggest(self, trial: optuna.Trial) -> TrialConfig:
        """The configuration that the study proposes for this trial."""
        freeze = trial.suggest_categorical("freeze", self.freeze)
        return TrialConfig(
            freeze=freeze,
            bn=trial.suggest_categorical("bn", self.bn),
            head=trial.suggest_categorical("head", HEADS[freeze]) if freeze in HEADS else "base",
            # A parameter for each choice: one that is named alike for all would mix what suits one with another.
            lr=trial.suggest_float(f"lr_{freeze}", *self.learning_rates(freeze), log=True),
            epochs=trial.suggest_int("epochs", self.epochs_min, self.epochs_max),
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def points(self) -> list[dict[str, Any]] | None:
        """All different parameters of a trial; ``None`` where the learning rate is searched: without number."""
        rates = {freeze: self.learning_rates(freeze) for freeze in self.freeze}
        if any(low < high for low, high in rates.values()):
            return None
        epochs = range(self.epochs_min, self.epochs_max + 1)
        return [
            self._parameters(freeze, bn, head, rates[freeze][0], number)
            for freeze, bn, number in itertools.product(self.freeze, self.bn, epochs)
            for head in HEADS.get(freeze, ("base",))
        ]

    def runs(self) -> int:
        """How many trials are run: ``trials``, or fewer where there are not that many different ones."""
        points = self.points()
        return self.trials if points is None else min(self.trials, len(points))

    def opening(self, samples: int) -> list[dict[str, Any]]:
        """Parameters of the first trials: closed forms, then most of the network for longest, then the others.

        ``samples`` are trained on. Where there are few different trials, all of them that are to be run, so that none
        is run twice.
        """
        first, points = self._first_trials(samples), self.points()
        if points is not None and len(points) <= 2 * self.trials:
            rest = [point for point in points if point not in first]
            first += [rest[k] for k in np.random.default_rng(self.seed).permutation(len(rest))]
        return first[: self.trials]

    def _first_trials(self, samples: int) -> list[dict[str, Any]]:
        cheapest_first = sorted(self.freeze, key=FREEZE_CHOICES.index)
        target = "target" if "target" in self.bn else self.bn[0]
        enough = math.ceil(ENOUGH_PICTURES / samples)
        longest = min(max(enough, self.epochs_min + (self.epochs_max - self.epochs_min) // 3), self.epochs_max)
        trials, others = [], cheapest_first
        if cheapest_first[0] == "backbone":
            heads = [("ridge", bn) for bn in sorted(self.bn, key=target.__ne__)] + [("lad", target), ("affine", target)]
            heads = heads[: max(1, self.trials - len(cheapest_first) + 1)]  # every freeze choice has its turn
            trials = [self._first("backbone", bn, head, self.epochs_min) for head, bn in heads]
            others = cheapest_first[1:]
        for freeze in reversed(others):
            epochs = longest if freeze == others[-1] else self.epochs_min
            trials.append(self._first(freeze, target, "base", epochs))
        return trials

    def _first(self, freeze: str, bn: str, head: str, epochs: int) -> dict[str, Any]:
        low, high = self.learning_rates(freeze)
        return self._parameters(freeze, bn, head, min(max(FIRST_LR.get(freeze, USUAL_LR), low), high), epochs)

    @staticmethod
    def _parameters(freeze: str, bn: str, head: str, lr: float, epochs: int) -> dict[str, Any]:
        """As :meth:`suggest` asks for them."""
        started = {"head": head} if freeze in HEADS else {}
        return {"freeze": freeze, "bn": bn, **started, f"lr_{freeze}": lr, "epochs": epochs}

    def identity(self) -> dict[str, Any]:
        """The part that must not change between a study and its resumption, as JSON keeps it."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("trials", "timeout")}
        kept["heads"] = {freeze: list(heads) for freeze, heads in HEADS.items()}
        kept["way of training"] = TRAINING
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


_WENT_BY = ("went by before the first trial", "are what passes of all of them through the network would take")


def _rounded(number: float) -> int:
    """To two digits."""
    return int(float(f"{number:.1e}"))


def _check_choices(name: str, chosen: tuple[str, ...], choices: tuple[str, ...]) -> None:
    wrong = [one for one in chosen if one not in choices]
    if wrong or not chosen:
        raise InputError(
            f"{name}={','.join(chosen)!r}: {wrong or 'nothing'} is unknown; choose from {','.join(choices)}"
        )
    if len(set(chosen)) != len(chosen):
        raise InputError(f"{name}={','.join(chosen)!r}: a choice is named twice")
