"""BatchNorm statistics estimated once over given frames, in place of lagging running averages."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from training.learning.pictures import as_input
from training.learning.precision import reduced_precision

BN_CHOICES = ("source", "target")  # whose statistics: the base's as they are, or re-estimated on the drive
BATCH = 64  # large enough that a batch's variance is near the frames' variance
ENOUGH = 256  # of more frames, so many spread evenly: heads on statistics of 256 and of 609 were wrong alike, to 0.01°


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def statistics(network: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance (c,) of every BatchNorm layer's channels, in order."""
    return [
        (layer.running_mean.cpu().double().numpy(), layer.running_var.cpu().double().numpy())
        for layer in norms(network)
        if layer.running_mean is not None and layer.running_var is not None
    ]


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace every BatchNorm's mean and variance by the average over ``batches`` (in place); no labels needed.

    Over a trunk with the target's frames this is AdaBN (Li et al. 2016, "Revisiting batch normalization for
    practical domain adaptation"); over a tail in training it is precise BN (Wu & Johnson 2021, "Rethinking
    'Batch' in BatchNorm"). Everything else, dropout too, stays in eval mode; the network is left in eval mode.
    """
    layers = norms(network)
    network.eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
        layer.train()
    for batch in batches:
        network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def adapt(network: nn.Module, crops: np.ndarray, indices: np.ndarray, device: torch.device) -> nn.Module:
    """``network`` with all statistics re-estimated on ``crops[indices]`` (``bn=target``, AdaBN); changed in place.

    ``crops`` is (n, h, w, 3) uint8 RGB. Of more than :data:`ENOUGH` frames so many are looked at, spread evenly. The
    order is shuffled (a fixed permutation): a batch of neighbouring frames has far less variance than the drive.
    """
    spread = indices[np.linspace(0, len(indices) - 1, min(len(indices), ENOUGH)).astype(int)]
    shuffled = np.random.default_rng(0).permutation(spread)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    # Near-equal batches: a short last one would weigh as much as a full one.
    parts = np.array_split(shuffled, max(1, len(shuffled) // BATCH))
    with reduced_precision(device):
        reestimate(network, (as_input(crops[np.sort(part)], device) for part in parts))
    return network
