"""The exported graph answers what the network does, whichever network filled it before."""

import numpy as np
import onnxruntime
import torch

from registry.network import INPUT_NAME
from training.learning import model
from training.reporting import graph


def lived_in(seed: int) -> torch.nn.Module:
    """A network whose BatchNorm layers have seen something: folding them away is not folding nothing."""
    torch.manual_seed(seed)
    network = model.build().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                torch.nn.init.uniform_(values, 0.5, 1.5)
            for values in (layer.bias, layer.running_mean):
                torch.nn.init.normal_(values, 0.0, 0.2)
    return network


def test_each_network_has_its_own_weights_in_the_one_graph_and_answers_alike_for_any_batch():
    networks = [lived_in(seed) for seed in (0, 1)]
    states = [{key: value.clone() for key, value in network.state_dict().items()} for network in networks]
    graphs = [graph.of(network).SerializeToString() for network in networks]
    for network, state, content in zip(networks, states, graphs, strict=True):
        session = onnxruntime.InferenceSession(content)
        for number in (1, 3):
            pictures = torch.rand(number, 3, 224, 224, generator=torch.Generator().manual_seed(number))
            with torch.no_grad():
                expected = network(pictures).numpy()
            (answer,) = session.run(None, {INPUT_NAME: pictures.numpy()})
            assert np.ptp(expected) > 1e-2
            assert np.allclose(answer, expected, atol=1e-5)
        assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items()), "it was changed"
    assert "BatchNormalization" not in {node.op_type for node in graph.of(networks[0]).graph.node}


def test_what_lies_beside_the_module_is_what_the_pinned_exporter_gives():
    exported = graph.export().SerializeToString(deterministic=True)
    assert exported == graph.GRAPH.read_bytes(), "export it again: python -m training.reporting.graph"
    assert len(exported) < 100_000, "there are weights in it"
