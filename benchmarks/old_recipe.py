"""What users do today, written plainly: the other side of the speed comparisons.

Read each JPEG in every epoch, the whole network forward in float32, the backbone frozen by ``requires_grad`` or
not, Adam at 1e-4 on the mean squared error, batches of 16, a random split, the best epoch kept.
"""

import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from recording.preprocess import decode, resize
from recording.recordings import Recordings

BATCH = 16
LEARNING_RATE = 1e-4


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One decoded, resized picture and its target at a time."""

    def __init__(self, data: Recordings, indices: np.ndarray):
        self.paths: list[Path] = [data.driver_path(int(index)) for index in indices]
        self.targets = torch.tensor(data.targets[indices], dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = resize(decode(self.paths[k].read_bytes(), str(self.paths[k])))
        return torch.from_numpy(picture).permute(2, 0, 1).float() / 255, self.targets[k]


def train(
    network: nn.Module,
    data: Recordings,
    train_indices: np.ndarray,
    val_indices: np.ndarray,
    epochs: int,
    frozen: bool,
    seconds: float = float("inf"),
) -> tuple[float, float]:
    """Fine-tune in place; (seconds, best validation mean absolute error in degrees over both angles).

    The network is left with the weights of its best epoch. No epoch begins that would end after ``seconds``.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not frozen or name.startswith("fc.")
    loader = DataLoader(Pictures(data, train_indices), BATCH, shuffle=True)
    validation = DataLoader(Pictures(data, val_indices), BATCH)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=LEARNING_RATE)
    began, best, best_state = time.perf_counter(), float("inf"), network.state_dict()
    for done in range(epochs):
        spent = time.perf_counter() - began
        if spent + spent / max(1, done) > seconds:
            break
        network.train()
        for pictures, targets in loader:
            loss = nn.functional.mse_loss(network(pictures), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            wrong = torch.cat([(network(pictures) - targets).abs() for pictures, targets in validation])
        error = float(torch.rad2deg(wrong.mean()))
        if error < best:
            best, best_state = error, copy.deepcopy(network.state_dict())
    spent = time.perf_counter() - began
    network.load_state_dict(best_state)
    return spent, best


@torch.no_grad()
def predict(network: nn.Module, data: Recordings, indices: np.ndarray) -> np.ndarray:
    """(n, 2) ``(pitch, yaw)`` radians for these samples."""
    network.eval()
    answers = torch.cat([network(pictures) for pictures, _ in DataLoader(Pictures(data, indices), BATCH)])
    return answers.double().numpy()
