"""BatchNorm statistics estimated once over given frames, in place of lagging running averages."""

from collections.abc import Iterable

import torch
from torch import nn

BATCH = 64  # large enough that a batch's variance is near the frames' variance


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


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
