"""Networks whose BatchNorm is folded into their convolutions answer as before, and are copies."""

import pytest
import torch
from torch import nn

from training.learning import batchnorm, model
from training.learning.fusion import fused


def _with_statistics(seed: int) -> nn.Module:
    """A network whose BatchNorm does something: other than zeros and ones."""
    network, draw = model.build(), torch.Generator().manual_seed(seed)
    for layer in batchnorm.norms(network):
        for values, low in ((layer.running_mean, -0.5), (layer.running_var, 0.5), (layer.weight.data, 0.5)):
            assert values is not None
            values.copy_(low + torch.rand(values.shape, generator=draw))
    return network.eval()


@pytest.mark.parametrize("freeze", model.FREEZE_CHOICES)
def test_both_sides_of_every_cut_answer_the_same_without_a_batchnorm_left(freeze: str) -> None:
    trunk, tail = model.cut(_with_statistics(3), freeze)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        between = trunk(pictures)
        torch.testing.assert_close(fused(trunk)(pictures), between, rtol=1e-4, atol=1e-4 * float(between.abs().max()))
        read = tail[:-1](between)
        torch.testing.assert_close(fused(tail[:-1])(between), read, rtol=1e-4, atol=1e-4 * float(read.abs().max()))
    for part in (trunk, tail[:-1]):
        assert not batchnorm.norms(fused(part))


def test_the_network_given_is_left_as_it_is() -> None:
    network = _with_statistics(5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fused(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert len(batchnorm.norms(network)) == 20


def test_where_there_is_no_batchnorm_nothing_is_copied() -> None:
    head = nn.Sequential(nn.Linear(4, 2))
    assert fused(head) is head
