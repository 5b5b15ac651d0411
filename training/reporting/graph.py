"""The network as an ONNX graph, any batch size.

All our networks have one graph, each convolution with the BatchNorm behind it folded in. Torch's exporter takes five
seconds for it, so what it gives lies beside this module without its weights, and every network's are put into a copy.
``python -m training.reporting.graph`` exports it again; a test says when that is due.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.fx.experimental.optimization import fuse

from registry.network import INPUT_NAME, OUTPUT_NAME
from training.learning import model

GRAPH = Path(__file__).with_name("graph.onnx")


def of(network: nn.Module) -> onnx.ModelProto:
    """The graph of a network built as :func:`training.learning.model.build` does, in eval mode on the CPU."""
    filled = onnx.load(GRAPH)
    weights = _folded(network).state_dict()
    for initializer in filled.graph.initializer:
        if initializer.name in weights:
            values = weights.pop(initializer.name).contiguous().numpy()
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    assert not weights, f"the graph has no place for {sorted(weights)[:3]}"
    return filled


def _folded(network: nn.Module) -> nn.Module:
    """A copy without BatchNorm layers: what each does in eval mode is in the convolution before it."""
    folded: nn.Module = fuse(network)
    return folded


def export() -> onnx.ModelProto:
    """The graph as torch exports it, without weights and without notes on where it was made."""
    folded = _folded(model.build().eval())
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.normal_()  # a bias of zeros would be left out of the graph
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        _quiet("torch.onnx", "onnxscript", "onnx_ir"),
    ):
        # The exporter reports its steps and its own deprecations; none of them is anybody's business.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            folded,
            (torch.zeros(2, 3, 224, 224),),  # a batch of one would be frozen in
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    exported = onnx.load_from_string(program.model_proto.SerializeToString())
    names = set(folded.state_dict())
    for initializer in exported.graph.initializer:
        if initializer.name in names:
            initializer.raw_data = b""
    parts = exported.graph
    for noted in (exported, parts, *parts.node, *parts.input, *parts.output, *parts.value_info, *parts.initializer):
        del noted.metadata_props[:]
    return exported


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


if __name__ == "__main__":
    GRAPH.write_bytes(export().SerializeToString(deterministic=True))
