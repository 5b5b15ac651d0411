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
- Before each validation the tail's BatchNorm statistics are re-estimated for the averaged weights.
- Pictures have their full size from the first step on: smaller ones at first, three times as many steps in the same
  time, made gaze worse on a rendered drive (eyes are small; docs/benchmarks.md).
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from recording.angles import pitch_yaw_to_deg
from training.learning import batchnorm, closed_form, progress
from training.learning.batchnorm import BN_CHOICES
from training.learning.model import FREEZE_CHOICES
from training.learning.precision import reduced_precision
from training.learning.trunk import Features
from training.measuring.errors import per_sample

HEAD_CHOICES = ("base", *closed_form.METHODS)
EVALUATION_BATCH = 64
STATISTICS_SAMPLES = 128  # training samples, spread over the drive, for precise BatchNorm
FEWEST_STATISTICS = 64  # a fifth of the samples in between: with few, judging would cost a quarter of an epoch
WARM_UP_STEPS = 20
WEIGHT_DECAY = 1e-4
DROPOUT = 0.1
GRADIENT_NORM = 1.0  # a single odd batch of 16 cannot throw a trial off
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
    tail: dict[str, torch.Tensor]
    epochs: list[Epoch]
    ended: str  # "complete", "early stop", "pruned", "timeout"
    sample_seconds: float
    """What training took for a sample, on the average."""


class OutOfMemory(RuntimeError):
    """The device or the machine has no memory left for this batch size."""


def finetune(
    tail: nn.Sequential,
    source: Features,
    targets: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    config: TrialConfig,
    *,
    keep_going: Callable[[Epoch], bool] = lambda epoch: True,
    deadline: float = float("inf"),
    share: np.ndarray | None = None,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.mse_loss,
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
    dropout: float = DROPOUT,
    begun: progress.State | None = None,
    keep: Callable[[progress.State], None] = lambda state: None,
) -> Outcome:
    """Train ``tail`` (changed in place) on the ``train`` samples; judge it on the ``validation`` samples.

    After every epoch ``keep`` gets what it takes to go on from there, to be written at once; given as ``begun``, it
    comes to the same result as without the interruption, and ``keep_going`` hears the epochs till then again.

    ``targets`` is (n, 2) ``(pitch, yaw)`` radians for all samples. ``keep_going`` hears every epoch and may end the
    trial; ``deadline`` is on ``time.monotonic``'s clock and is looked at after every step. ``share`` (n_train,): how
    often each is drawn, once an epoch for ``None``. ``criterion``,
    ``optimizer_class`` and ``dropout`` are what ``benchmarks.recipe`` varies. Raises :class:`OutOfMemory` when the
    batch does not fit, :class:`FloatingPointError` when no epoch has a finite error.
    """
    training = _Training(tail, source, targets, train, config, criterion, optimizer_class, dropout, share)
    patience = max(PATIENCE, math.ceil(PATIENT_STEPS / training.steps_per_epoch))
    best, best_tail, ended = None, None, "complete"
    epochs: list[Epoch] = []
    if begun is not None:
        told, best_tail = progress.restore(training, begun)
        epochs = [Epoch(**one) for one in told]
        finite = [one for one in epochs if np.isfinite(one.angular_error_deg)]
        best = min(finite, key=lambda epoch: epoch.angular_error_deg, default=None)
        for epoch in epochs:
            keep_going(epoch)
    with _memory_named():
        for number in range(len(epochs), config.epochs + 1):
            began, losses = time.monotonic(), None
            if number > 1 and began + epochs[-1].seconds > deadline:
                ended = "timeout"
                break  # the epoch would not become whole: its time is the final training's
            if number:
                losses = training.epoch(lambda step: min(1.0, (step + 1) / WARM_UP_STEPS), deadline)
                if training.out_of_time and number > 1:
                    ended = "timeout"
                    break  # the epoch is not whole; what is known so far stands (of a first one: better than nothing)
            judged = training.averaged() if number else tail
            predicted = predict(judged, source, validation)
            truth = targets[validation]
            errors = per_sample(pitch_yaw_to_deg(predicted), pitch_yaw_to_deg(truth)).mean(axis=0)
            epoch = Epoch(
                number,
                losses,
                float(criterion(torch.from_numpy(predicted), torch.from_numpy(truth))),
                float(errors[0]),
                float(errors[1]),
                float(errors[2]),
                time.monotonic() - began,
            )
            epochs.append(epoch)
            # A diverged epoch has NaN errors: never better, and `not <` would keep it.
            if np.isfinite(epoch.angular_error_deg) and (
                best is None or epoch.angular_error_deg < best.angular_error_deg
            ):
                best, best_tail = epoch, deepcopy(judged.state_dict())
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
                keep(progress.state(training, [asdict(one) for one in epochs], best_tail))
    if best is None or best_tail is None:
        raise FloatingPointError(f"diverged: no epoch with a finite error at lr={config.lr:g}")
    state = {key: value.cpu() for key, value in best_tail.items()}
    return Outcome(best, state, epochs, ended, training.seconds / max(1, training.seen))


def finish(
    tail: nn.Sequential,
    source: Features,
    targets: np.ndarray,
    train: np.ndarray,
    config: TrialConfig,
    steps: int,
    share: np.ndarray | None = None,
) -> None:
    """Train ``tail`` on for ``steps`` (in place) at a rate that falls from ``config.lr`` to zero; nothing judges it.

    For what was chosen already: ``train`` may hold the samples that validated. ``share`` as in :func:`finetune`. Raises
    :class:`OutOfMemory`.
    """
    training = _Training(tail, source, targets, train, config, share=share)
    with _memory_named():
        while training.step < steps:
            training.epoch(lambda step: min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / steps), last_step=steps)
        averaged = training.averaged().state_dict()
    tail.load_state_dict(averaged)


def steps_per_epoch(samples: int, config: TrialConfig) -> int:
    """Batches of a pass over so many samples: near-equal ones, none smaller than ``config.batch_size``."""
    return max(1, samples // config.batch_size)


class _Training:
    """A tail, its optimiser and the moving average of its weights (horizon: an epoch)."""

    def __init__(
        self,
        tail: nn.Sequential,
        source: Features,
        targets: np.ndarray,
        train: np.ndarray,
        config: TrialConfig,
        criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.mse_loss,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        dropout: float = DROPOUT,
        share: np.ndarray | None = None,
    ):
        self.share = None if share is None else torch.from_numpy(share)
        self.source, self.train, self.lr, self.criterion = source, train, config.lr, criterion
        self.tail = tail.to(source.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.targets = torch.tensor(targets, dtype=torch.float32)
        self.draw = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # dropout
        for module in tail.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout if config.head in ("base", "affine") else 0.0
        self.parameters = [parameter for parameter in tail.parameters() if parameter.requires_grad]
        # One kernel for the update of all parameters instead of loops: 29 images a second on a CPU, 26 with loops.
        self.optimizer = optimizer_class(self.parameters, lr=config.lr, weight_decay=WEIGHT_DECAY, fused=True)  # type: ignore[call-arg]
        self.steps_per_epoch = steps_per_epoch(len(train), config)
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


def _stands_still(epochs: list[Epoch], patience: int) -> bool:
    """Whether the best *trained* epoch lies ``patience`` epochs back; the start may be hard to reach at first."""
    trained = [epoch for epoch in epochs if epoch.number and np.isfinite(epoch.angular_error_deg)]
    best = min(trained, key=lambda epoch: epoch.angular_error_deg, default=None)
    return best is not None and epochs[-1].number - best.number >= patience


@contextmanager
def _memory_named() -> Iterator[None]:
    """Whatever torch says when memory is short, as :class:`OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_out_of_memory(error):
            raise OutOfMemory(str(error).split("\n")[0] or "the machine's memory is used up") from error
        raise


def forward(tail: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
    """(n, 2) ``(pitch, yaw)`` radians; convolutions in reduced precision, the head in float32.

    bfloat16 has 8 bits: a head computed in it answers in steps of about 0.05°.
    """
    body, head = tail[:-1], tail[-1]
    if isinstance(body, nn.Sequential) and len(body):
        with reduced_precision(inputs.device):
            inputs = body(inputs.contiguous(memory_format=torch.channels_last))
    answers: torch.Tensor = head(inputs.float())
    return answers


@torch.no_grad()
def predict(tail: nn.Sequential, source: Features, indices: np.ndarray) -> np.ndarray:
    """(len(indices), 2) ``(pitch, yaw)`` radians for samples as they are, in eval mode."""
    tail.eval()
    parts = [
        forward(tail, source.plain(indices[at : at + EVALUATION_BATCH])).cpu()
        for at in range(0, len(indices), EVALUATION_BATCH)
    ]
    return torch.cat(parts).double().numpy()


def refresh_statistics(tail: nn.Sequential, source: Features, train: np.ndarray) -> None:
    """Precise BatchNorm for the tail, over training samples spread evenly (deterministic)."""
    if not batchnorm.norms(tail):
        tail.eval()
        return
    count = min(len(train), STATISTICS_SAMPLES, max(FEWEST_STATISTICS, len(train) // 5))
    spread = np.linspace(0, len(train) - 1, count).astype(int)
    rows = np.random.default_rng(0).permutation(train[spread])
    parts = np.array_split(rows, max(1, len(rows) // batchnorm.BATCH))
    with reduced_precision(source.device):
        batchnorm.reestimate(
            tail[:-1], (source.plain(part).contiguous(memory_format=torch.channels_last) for part in parts)
        )
    tail.eval()


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )
