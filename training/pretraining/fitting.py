"""One training of the network on the faces of some persons, which goes on where it was killed.

The recipe is that of the lab base (:mod:`training.sample.pretrain`): one cycle of the learning rate, pictures of half
the side but in the last epochs, its augmentation. After every epoch all that the next one depends on is written:
weights, optimizer, schedule, the state of the random numbers. Whoever is killed loses one epoch, and ends with the
same weights.
"""

import logging
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from recording import files, preprocess, processors
from recording.angles import pitch_yaw_to_deg
from recording.exceptions import GazeError, InputError
from registry.intervals import Floats
from training.learning.precision import reduced_precision
from training.measuring.errors import per_sample
from training.pretraining.faces import Faces
from training.sample import pretrain

log = logging.getLogger(__name__)

BATCH = 64
MOST_WORKERS = 8
RATE_FROM_SCRATCH, RATE_FROM_A_BASE = 1.5e-3, 3e-4
_EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """What a training does beside the persons that it learns from."""

    epochs: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed; mean errors on the held-out persons, degrees."""

    number: int
    train_loss: float
    azimuth_error_deg: float
    elevation_error_deg: float
    angular_error_deg: float
    seconds: float

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """By the metric names of the run."""
        return {f"{prefix}train/loss": self.train_loss} | {
            f"{prefix}held_out/{name}": getattr(self, name)
            for name in ("azimuth_error_deg", "elevation_error_deg", "angular_error_deg")
        }


class Pictures(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The pictures of several persons with their angles, read from disk a batch at a time."""

    def __init__(self, people: Sequence[Faces]) -> None:
        self._people = list(people)
        self._ends = np.cumsum([len(one) for one in people])
        self.gaze: Floats = np.concatenate([one.gaze for one in people])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 224, 224, 3) uint8 and (n, 2) float32 radians of these samples, in that order."""
        side = preprocess.INPUT_SIZE
        pictures = np.empty((len(rows), side, side, 3), np.uint8)
        person = np.searchsorted(self._ends, rows, side="right")
        for k in np.unique(person):
            at = person == k
            pictures[at] = self._people[k].pictures[rows[at] - (self._ends[k] - len(self._people[k]))]
        return torch.from_numpy(pictures), torch.from_numpy(self.gaze[rows]).float()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, target = self.batch(np.array([index]))
        return picture[0], target[0]

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """A whole batch in one call, as torch's loader asks for it."""
        return self.batch(np.array(rows))


def fit(
    network: nn.Module,
    people: Sequence[Faces],
    held_out: Sequence[Faces],
    recipe: Recipe,
    device: str,
    checkpoint: Path,
    heard: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train ``network`` (in place) and judge it on ``held_out`` after every epoch.

    Goes on from ``checkpoint`` where that file is, and then hears of its epochs again; writes it after every epoch.
    Raises :class:`InputError` when the checkpoint is damaged, :class:`GazeError` when the training diverges.
    """
    train, judged = Pictures(people), Pictures(held_out)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=pretrain.WEIGHT_DECAY)
    steps = -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(2, steps * recipe.epochs), pct_start=0.15, final_div_factor=50
    )
    random = np.random.default_rng([recipe.seed, 5])
    torch.manual_seed(recipe.seed)
    done = _Progress(network, optimizer, schedule, random)
    epochs = done.load(checkpoint) if checkpoint.is_file() else []
    for epoch in epochs:
        heard(epoch)
    for number in range(len(epochs), recipe.epochs):
        began = time.monotonic()
        size = preprocess.INPUT_SIZE if number >= recipe.epochs - pretrain.FINE_EPOCHS else pretrain.COARSE
        loss = _epoch(network, train, optimizer, schedule, random, size, device, f"epoch {number + 1}/{recipe.epochs}")
        if not np.isfinite(loss):
            raise GazeError(
                f"the training diverged in epoch {number + 1}: its loss is {loss}; start from another base or seed"
            )
        answers = pitch_yaw_to_deg(predict(network, judged, device, size))
        errors = per_sample(answers, pitch_yaw_to_deg(judged.gaze)).mean(axis=0)
        azimuth, elevation, angular = map(float, errors)
        epochs.append(Epoch(number, loss, azimuth, elevation, angular, time.monotonic() - began))
        done.save(checkpoint, epochs)
        heard(epochs[-1])
        log.info(
            "epoch %d/%d at %d px: loss %.3f, persons not trained on: azimuth %.1f°, elevation %.1f°, 3-D %.1f° "
            "(%.0f s)",
            number + 1, recipe.epochs, size, loss, *errors, epochs[-1].seconds,
        )  # fmt: skip
    return epochs


def _epoch(
    network: nn.Module,
    train: Pictures,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    random: np.random.Generator,
    size: int,
    device: str,
    name: str,
) -> float:
    """One pass over the training faces; the mean loss."""
    network.train()
    losses = []
    for pictures, targets in tqdm(
        _batches(train, random, device), total=-(-len(train) // BATCH), desc=name, leave=False
    ):
        inputs, targets = pretrain.augment(_inputs(pictures, device), targets.to(device), size, random)
        with reduced_precision(torch.device(device)):
            answers = network(inputs)
        losses.append(pretrain.learn(network, answers, targets, optimizer, schedule))
    return float(torch.stack(losses).mean())


def _batches(train: Pictures, random: np.random.Generator, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """All samples in a new order; on CUDA several processes read ahead."""
    order = random.permutation(len(train))
    parts = [order[start : start + BATCH].tolist() for start in range(0, len(order), BATCH)]
    if len(parts[-1]) == 1 and len(parts) > 1:
        parts[-2].extend(parts.pop())  # BatchNorm cannot tell the spread of one sample
    workers = _workers(device)
    return iter(
        DataLoader(
            train,
            batch_sampler=parts,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=device.startswith("cuda"),
            generator=torch.Generator().manual_seed(int(random.integers(2**62))),
        )
    )


def _workers(device: str) -> int:
    """How many processes read ahead: a GPU would wait for one, a CPU has better to do."""
    return min(MOST_WORKERS, processors.cores()) if device.startswith("cuda") else 0


def _as_it_is(batch: Any) -> Any:
    """What ``__getitems__`` made is a batch already."""
    return batch


def _inputs(pictures: torch.Tensor, device: str) -> torch.Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) in [0, 1] on the device."""
    return pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)


@torch.inference_mode()
def predict(network: nn.Module, faces: Pictures, device: str, size: int = preprocess.INPUT_SIZE) -> Floats:
    """(n, 2) ``(pitch, yaw)`` radians that the network answers to all faces, as pictures of ``size``."""
    network.eval()
    answers = []
    for start in range(0, len(faces), _EVALUATION_BATCH):
        pictures, _ = faces.batch(np.arange(start, min(start + _EVALUATION_BATCH, len(faces))))
        inputs = _inputs(pictures, device)
        if size < inputs.shape[-1]:
            inputs = functional.interpolate(inputs, (size, size), mode="area")
        answers.append(network(inputs.contiguous(memory_format=torch.channels_last)).double().cpu().numpy())
    return np.concatenate(answers)


class _Progress:
    """What the next epoch depends on, written and read again."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.OneCycleLR,
        random: np.random.Generator,
    ) -> None:
        self._parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
        self._random = random

    def save(self, path: Path, epochs: list[Epoch]) -> None:
        """Write it, whole or not at all."""
        state = {name: part.state_dict() for name, part in self._parts.items()} | {
            "random": self._random.bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "epochs": [asdict(epoch) for epoch in epochs],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, lambda unfinished: torch.save(state, unfinished))

    def load(self, path: Path) -> list[Epoch]:
        """Take it up; the epochs that are done."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            self._random.bit_generator.state = state["random"]
            torch.set_rng_state(state["torch"])
            if torch.cuda.is_available() and state["cuda"]:
                torch.cuda.set_rng_state_all(state["cuda"])
            epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        except (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            raise InputError(
                f"{path}: is damaged or from another version ({' '.join(str(error).split())[:80]}); delete it, and the "
                "training begins anew"
            ) from error
        log.info("going on after epoch %d, from %s", len(epochs), path)
        return epochs
