"""What it takes to go on with a fine-tuning after an epoch: in another process, or on another machine."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from recording import files

State = dict[str, Any]
"""Everything that the next epoch depends on, random numbers included, and what was found so far."""
Best = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
"""Weights of the best epoch's tail, and those of its completed head."""


class Training(Protocol):
    """A fine-tuning between two epochs."""

    tail: nn.Sequential
    optimizer: torch.optim.Optimizer
    average: AveragedModel
    draw: torch.Generator
    step: int
    seen: int
    seconds: float


def state(training: Training, epochs: list[dict[str, Any]], best: Best | None) -> State:
    """The state now; its tensors are those that training goes on to change."""
    return {
        "tail": training.tail.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "average": training.average.state_dict(),
        "draw": training.draw.get_state(),
        "random": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "counts": (training.step, training.seen, training.seconds),
        "epochs": epochs,
        "best": best,
    }


def restore(training: Training, begun: State) -> tuple[list[dict[str, Any]], Best | None]:
    """Put a new fine-tuning of the same configuration where :func:`state` was; its epochs and the best till then."""
    training.tail.load_state_dict(begun["tail"])
    training.optimizer.load_state_dict(begun["optimizer"])
    training.average.load_state_dict(begun["average"])
    training.draw.set_state(begun["draw"])
    torch.set_rng_state(begun["random"])
    if begun["cuda"] and len(begun["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(begun["cuda"])
    training.step, training.seen, training.seconds = begun["counts"]
    return begun["epochs"], begun["best"]


def save(path: Path, whole: State) -> None:
    """Write a state, whole or not at all."""
    files.write(path, lambda unfinished: torch.save(whole, unfinished))


def load(path: Path) -> State | None:
    """The state in a file; ``None`` where there is none."""
    if not path.exists():
        return None
    whole: State = torch.load(path, map_location="cpu", weights_only=True)
    return whole
