"""One fine-tuning: train the tail behind the freeze boundary, keep the best epoch.

The loop is written out in :func:`finetune`. Its choices (``python -m benchmarks.recipe`` compares them with
their alternatives; docs/benchmarks.md says which of them were measured so far):

- Squared loss on the angles. With half of a drive looking at the road ahead, an absolute loss learns that half and is
  late for the glances: at equal arithmetic a rendered webcam drive had 4.8° with it and 2.8° with the square, 75
  photographs of a real face 18.5° and 15.2°. Blinks and spikes, which a square would follow, are left out of the
  labels before (:mod:`recording.cleaning`).
- AdamW, a short warm-up, then a *constant* learning rate, validated with an exponential moving average of the
  weights. The average does what a decaying rate does, but epoch 5 of a 10-epoch trial and epoch 5 of a 30-epoch
  trial are the same thing, so trials can be compared epoch by epoch and pruned fairly.
- The start itself is judged first, as epoch 0: a head in closed form (:mod:`training.learning.closed_form`) is a
  candidate as it is, and training from it can only add to it.
- Dropout of the head at 0.1 while fine-tuning (the network is built with 0.4, for people it has not seen): with one
  driver and a few hundred frames, 0.4 pulls large angles towards the middle. None behind a head in closed form, which
  answers through four hidden units: dropping one would drop the answer.
- What is registered goes on from the best trial on all samples that may be trained on, at a rate that falls to zero
  (:func:`finish`): the average does much of what a falling rate does, not all of it.
- Before each validation the tail's BatchNorm statistics are re-estimated for the averaged weights, and the head is
  completed: a ridge of what it leaves, on features that its few hundred steps have changed faster than it could follow
  (:func:`training.learning.closed_form.complete`). Training goes on without that: from a completed head the layers
  before it learnt less (docs/benchmarks.md).
- With every epoch it is told what of the answers would be worth keeping, where they scatter more than gaze does
  (:mod:`training.learning.shrinkage`); trials are compared without that.
- Pictures have their full size from the first step on: smaller ones at first, three times as many steps in the same
  time, made gaze worse on a rendered drive (eyes are small; docs/benchmarks.md).
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from recording.angles import pitch_yaw_to_deg
from training.learning import closed_form, memory, progress, shrinkage
from training.learning.answers import forward, pooled, predict, refresh_statistics
from training.learning.batchnorm import BN_CHOICES
from training.learning.model import FREEZE_CHOICES
from training.learning.time_left import UNLIMITED, TimeLeft, foreseen
from training.learning.trunk import Features
from training.measuring.errors import per_sample

HEAD_CHOICES = ("base", *closed_form.METHODS)
WARM_UP_STEPS = 20
WEIGHT_DECAY = 1e-4
DROPOUT = 0.1
GRADIENT_NORM = 1.0  # a single odd batch of 16 cannot throw a trial off
COMPLETING_SAMPLES = 512  # of the training samples, that the head is completed on
PATIENCE = 5  # epochs without a better validation error before a trial stops early; with few samples more
PATIENT_STEPS = 60


@dataclass(frozen=True)
class TrialConfig:
    """Everything that distinguishes one trial from another."""

    freeze: str
    """What stays fixed: everything up to and including this stage."""
    bn: str
    """Whose BatchNorm statistics the base has: ``source`` or ``target``."""
    lr: float
    """AdamW's learning rate after the warm-up."""
    epochs: int
    """At most; early stopping may end before."""
    batch_size: int = 16
    seed: int = 0
    head: str = "base"
    """Where the head starts: the base's own, or one of the closed forms."""

    def __post_init__(self) -> None:
        if self.head not in HEAD_CHOICES:
            raise ValueError(f"head={self.head!r}: choose one of {', '.join(HEAD_CHOICES)}")
        if self.freeze not in FREEZE_CHOICES:
            raise ValueError(f"freeze={self.freeze!r}: choose one of {', '.join(FREEZE_CHOICES)}")
        if self.bn not in BN_CHOICES:
            raise ValueError(f"bn={self.bn!r}: choose one of {', '.join(BN_CHOICES)}")
        if self.lr <= 0 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"lr={self.lr}, epochs={self.epochs}, batch_size={self.batch_size}: must be positive")


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed; errors on the validation samples, degrees."""

    number: int
    """0 is the start, before any training."""
    train_loss: float | None
    """None for the start."""
    val_loss: float
    """The same loss on the validation samples, squared radians."""
    azimuth_error_deg: float
    elevation_error_deg: float
    angular_error_deg: float
    seconds: float
    kept: shrinkage.Kept = shrinkage.WHOLE
    """What of the answers is worth keeping, by the validation samples; the errors above are those of all of it."""

    def metrics(self) -> dict[str, float]:
        """By the metric names of the run."""
        trained = {} if self.train_loss is None else {"train/loss": self.train_loss}
        return trained | {
            "val/loss": self.val_loss,
            "val/azimuth_error_deg": self.azimuth_error_deg,
            "val/elevation_error_deg": self.elevation_error_deg,
            "val/angular_error_deg": self.angular_error_deg,
        }


@dataclass(frozen=True)
class Outcome:
    """The best epoch (not the last) of a fine-tuning, and why it ended."""

    best: Epoch
    trained: dict[str, torch.Tensor]
    """Its weights: what training goes on from."""
    completed: dict[str, torch.Tensor]
    """The same with the head completed behind layers that were trained: what was judged."""
    epochs: list[Epoch]
    ended: str  # "complete", "early stop", "pruned", "timeout"
    sample_seconds: float
    """What training took for a sample, on the average."""


@dataclass(frozen=True)
class Examples:
    """What a tail learns from, and what it is judged on."""

    source: Features
    """Answers what reaches the tail, of any sample."""
    targets: np.ndarray
    """(n, 2) ``(pitch, yaw)`` radians of all samples."""
    train: np.ndarray
    """(n_train,) indices of the samples that are trained on."""
    block: np.ndarray
    """(n,) time block (or driver) of every sample: the ridge that completes a head is cross-validated over them."""
    validation: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))
    """(n_validation,) indices of those that judge; none where nothing does."""
    share: np.ndarray | None = None
    """(n_train,) how often each is drawn; ``None``: once an epoch."""


@dataclass(frozen=True)
class Recipe:
    """The choices of the loop that :mod:`benchmarks.recipe` compares with others; everybody else takes these."""

    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.mse_loss
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW
    dropout: float = DROPOUT


AS_SHIPPED = Recipe()


def finetune(
    tail: nn.Sequential,
    examples: Examples,
    config: TrialConfig,
    *,
    keep_going: Callable[[Epoch], bool] = lambda epoch: True,
    time_left: TimeLeft = UNLIMITED,
    begun: progress.State | None = None,
    keep: Callable[[progress.State], None] = lambda state: None,
    recipe: Recipe = AS_SHIPPED,
) -> Outcome:
    """Train ``tail`` (changed in place) on the training samples; judge it on the validation samples.

    ``keep_going`` hears every epoch and may end the trial; ``time_left`` is looked at after every step. After every
    epoch ``keep`` gets what it takes to go on from there, to be written at once; given as ``begun``, it comes to the
    same result as without the interruption, and ``keep_going`` hears the epochs till then again. Raises
    :class:`memory.OutOfMemory` when the batch does not fit, :class:`FloatingPointError` when no epoch has a finite
    error.
    """
    training = _Training(tail, examples, config, recipe)
    patience = max(PATIENCE, math.ceil(PATIENT_STEPS / training.steps_per_epoch))
    best, best_state, ended = None, None, "complete"
    epochs: list[Epoch] = []
    if begun is not None:
        told, best_state = progress.restore(training, begun)
        epochs = [Epoch(**one) for one in told]
        best = _best(epochs)
        for epoch in epochs:
            keep_going(epoch)
    with memory.named():
        for number in range(len(epochs), config.epochs + 1):
            began, loss, deadline = time.monotonic(), None, time_left.until(_foreseen(epochs))
            if number > 1 and began + epochs[-1].seconds > deadline:
                ended = "timeout"
                break  # the epoch would not become whole: its time is the final training's
            if number:
                loss = training.epoch(_warming_up, deadline)
                if training.out_of_time and number > 1:
                    ended = "timeout"
                    break  # the epoch is not whole; what is known so far stands (of a first one: better than nothing)
            averaged = training.averaged() if number else tail
            judged = training.completed(averaged) if number else tail
            epoch = _judge(judged, examples, recipe, number, loss, began)
            epochs.append(epoch)
            if _best(epochs) is epoch:
                best, best_state = epoch, deepcopy((averaged.state_dict(), judged[-1].state_dict()))
            if training.out_of_time:
                ended = "timeout"
                break
            if not keep_going(epoch):
                ended = "pruned"
                break
            if _stands_still(epochs, patience):
                ended = "early stop"
                break
            if number:
                keep(progress.state(training, [asdict(one) for one in epochs], best_state))
    if best is None or best_state is None:
        raise FloatingPointError(f"diverged: no epoch with a finite error at lr={config.lr:g}")
    trained, head = ({key: value.cpu() for key, value in part.items()} for part in best_state)
    completed = trained | {f"{len(tail) - 1}.{key}": value for key, value in head.items()}
    return Outcome(best, trained, completed, epochs, ended, training.seconds / max(1, training.seen))


def finish(tail: nn.Sequential, examples: Examples, config: TrialConfig, steps: int) -> None:
    """Train ``tail`` on for ``steps`` (in place) at a rate that falls from ``config.lr`` to zero; nothing judges it.

    For what was chosen already: those that validated may be among the training samples. Raises
    :class:`memory.OutOfMemory`.
    """
    training = _Training(tail, examples, config, AS_SHIPPED)
    with memory.named():
        while training.step < steps:
            training.epoch(lambda step: _warming_up(step) * (1 - step / steps), last_step=steps)
        whole = training.completed(training.averaged()).state_dict()
    tail.load_state_dict(whole)


def steps_per_epoch(samples: int, config: TrialConfig) -> int:
    """Batches of a pass over so many samples: near-equal ones, none smaller than ``config.batch_size``."""
    return max(1, samples // config.batch_size)


class _Training:
    """A tail, its optimiser and the moving average of its weights (horizon: an epoch)."""

    def __init__(self, tail: nn.Sequential, examples: Examples, config: TrialConfig, recipe: Recipe):
        self.share = None if examples.share is None else torch.from_numpy(examples.share)
        self.source, self.train, self.block = examples.source, examples.train, examples.block
        self.lr, self.criterion = config.lr, recipe.criterion
        self.tail = tail.to(self.source.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.targets = torch.tensor(examples.targets, dtype=torch.float32)
        self.draw = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # dropout
        for module in tail.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.dropout if config.head in ("base", "affine") else 0.0
        self.parameters = [parameter for parameter in tail.parameters() if parameter.requires_grad]
        # One kernel for the update of all parameters instead of loops: 29 images a second on a CPU, 26 with loops.
        self.optimizer = recipe.optimizer_class(  # type: ignore[call-arg]
            self.parameters, lr=config.lr, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.steps_per_epoch = steps_per_epoch(len(self.train), config)
        decay = 1 - 1 / (1 + self.steps_per_epoch)
        self.average = AveragedModel(tail, multi_avg_fn=get_ema_multi_avg_fn(decay=decay))
        self.step, self.seen, self.seconds = 0, 0, 0.0
        self.out_of_time = False

    def epoch(
        self, rate: Callable[[int], float], deadline: float = float("inf"), last_step: float = float("inf")
    ) -> float:
        """One pass over the training samples, or what is left of it until ``last_step``, the rate of each step times
        ``config.lr``; the mean loss."""
        losses, began = [], time.monotonic()
        order = self.train[self._order().numpy()]
        first = self.step == 0
        self.tail.train()
        for rows in np.array_split(order, self.steps_per_epoch):
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * rate(self.step)
            inputs = self.source.drawn(rows, self.draw)
            loss = self.criterion(forward(self.tail, inputs), self.targets[rows].to(self.source.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, GRADIENT_NORM)
            self.optimizer.step()
            if self.step >= WARM_UP_STEPS or not first:
                self.average.update_parameters(self.tail)
            losses.append(loss.detach())
            self.step += 1
            self.seen += len(rows)
            if self.step >= last_step:
                break
            if time.monotonic() > deadline:
                self.out_of_time = True
                break
        self.seconds += time.monotonic() - began
        return float(torch.stack(losses).mean())

    def _order(self) -> torch.Tensor:
        if self.share is None:
            return torch.randperm(len(self.train), generator=self.draw)
        return torch.multinomial(self.share, len(self.train), replacement=True, generator=self.draw)

    def averaged(self) -> nn.Sequential:
        """The tail with averaged weights, its BatchNorm statistics estimated for them."""
        if self.average.n_averaged == 0:
            self.average.update_parameters(self.tail)
        judged = self.average.module
        assert isinstance(judged, nn.Sequential)
        refresh_statistics(judged, self.source, self.train)
        return judged

    def completed(self, tail: nn.Sequential) -> nn.Sequential:
        """``tail`` with a head of its own that fits what the layers before it have become; the tail itself where there
        are none. From samples spread over the drive."""
        if len(tail) == 1:
            return tail
        at = np.linspace(0, len(self.train) - 1, min(len(self.train), COMPLETING_SAMPLES)).astype(int)
        rows, share = self.train[at], None if self.share is None else self.share.numpy()[at]
        read, head = pooled(tail, self.source, rows), deepcopy(tail[-1]).cpu()
        assert isinstance(head, nn.Sequential)
        if not (read.isfinite().all() and head(read).isfinite().all()):
            return tail  # diverged: nothing to solve, and it is judged as what it is
        closed_form.complete(head, read, self.targets[rows].double().numpy(), self.block[rows], share)
        return nn.Sequential(*list(tail)[:-1], head.to(self.source.device))


def _warming_up(step: int) -> float:
    """The share of the learning rate that a step has."""
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def _judge(
    tail: nn.Sequential, examples: Examples, recipe: Recipe, number: int, train_loss: float | None, began: float
) -> Epoch:
    """What the epoch that ``began`` then came to, on the validation samples."""
    predicted, truth = predict(tail, examples.source, examples.validation), examples.targets[examples.validation]
    azimuth, elevation, angular = per_sample(pitch_yaw_to_deg(predicted), pitch_yaw_to_deg(truth)).mean(axis=0)
    loss = float(recipe.criterion(torch.from_numpy(predicted), torch.from_numpy(truth)))
    trained = examples.targets[examples.train]
    kept = shrinkage.kept(predicted, truth, trained.mean(axis=0), trained.std(axis=0))
    seconds = time.monotonic() - began
    return Epoch(number, train_loss, loss, float(azimuth), float(elevation), float(angular), seconds, kept)


def _best(epochs: list[Epoch]) -> Epoch | None:
    """The first of those with the smallest finite error; a diverged epoch has NaN."""
    finite = [epoch for epoch in epochs if np.isfinite(epoch.angular_error_deg)]
    return min(finite, key=lambda epoch: epoch.angular_error_deg, default=None)


def _foreseen(epochs: list[Epoch]) -> float:
    """The error in degrees that is to be expected after the next steps; infinite before the first epoch."""
    best = _best(epochs)
    if best is None:
        return math.inf
    before = epochs[best.number - 1].angular_error_deg if best.number else None
    return foreseen(best.angular_error_deg, before, best.number)


def _stands_still(epochs: list[Epoch], patience: int) -> bool:
    """Whether the best *trained* epoch lies ``patience`` epochs back; the start may be hard to reach at first."""
    best = _best([epoch for epoch in epochs if epoch.number])
    return best is not None and epochs[-1].number - best.number >= patience
