"""What a tail answers: forward, and with what BatchNorm statistics."""

import numpy as np
import torch
from torch import nn

from training.learning import batchnorm
from training.learning.fusion import fused
from training.learning.precision import reduced_precision
from training.learning.trunk import Features

EVALUATION_BATCH = 64
STATISTICS_SAMPLES = 128  # training samples, spread over the drive, for precise BatchNorm
FEWEST_STATISTICS = 64  # a fifth of the samples in between: with few, judging would cost a quarter of an epoch


def forward(tail: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
    """(n, 2) ``(pitch, yaw)`` radians; convolutions in reduced precision, the head in float32.

    bfloat16 has 8 bits: a head computed in it answers in steps of about 0.05°.
    """
    answers: torch.Tensor = tail[-1](_before_head(tail[:-1], inputs))
    return answers


def _before_head(body: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    if any(True for _ in body.children()):
        with reduced_precision(inputs.device):
            inputs = body(inputs.contiguous(memory_format=torch.channels_last))
    return inputs.float()


@torch.no_grad()
def pooled(tail: nn.Sequential, source: Features, indices: np.ndarray) -> torch.Tensor:
    """(len(indices), 512) float32 on the CPU: what the tail's head reads of samples as they are, in eval mode."""
    body = fused(tail.eval()[:-1])
    return torch.cat([_before_head(body, source.plain(part)).cpu() for part in _batches(indices)])


@torch.no_grad()
def predict(tail: nn.Sequential, source: Features, indices: np.ndarray) -> np.ndarray:
    """(len(indices), 2) ``(pitch, yaw)`` radians for samples as they are, in eval mode."""
    body, head = fused(tail.eval()[:-1]), tail[-1]
    answers = [head(_before_head(body, source.plain(part))).cpu() for part in _batches(indices)]
    return torch.cat(answers).double().numpy()


def _batches(indices: np.ndarray) -> list[np.ndarray]:
    return [indices[at : at + EVALUATION_BATCH] for at in range(0, len(indices), EVALUATION_BATCH)]


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
