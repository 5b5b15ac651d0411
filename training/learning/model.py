"""The gaze network: torchvision's ResNet18 with a two-layer head, cut where it is frozen."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from recording.exceptions import CheckpointError
from training.learning import (
    checkpoint_file,
    torch_setup,  # noqa: F401  (before torchvision)
)

import torchvision  # isort: skip

# How much stays fixed: everything up to and including the named stage. Cheapest to train first.
FREEZE_CHOICES = ("backbone", "layer3", "layer2", "layer1", "none")

# The trunk of a freeze choice, as names of ResNet18 children in forward order.
_STEM = ("conv1", "bn1", "relu", "maxpool")
_STAGES = ("layer1", "layer2", "layer3", "layer4")


def build() -> nn.Module:
    """ResNet18 with ``fc = Linear(512, 256) → ReLU → Dropout(0.4) → Linear(256, 2)``, random weights.

    Input (n, 3, 224, 224) float RGB in [0, 1]; output (n, 2) ``(pitch, yaw)`` radians.
    """
    network: nn.Module = torchvision.models.resnet18(weights=None)
    network.fc = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.4), nn.Linear(256, 2))
    return network


def load(path: Path | str) -> nn.Module:
    """The network with the weights of a ``.pth`` or ``.safetensors`` file, in float32, eval mode.

    Usual wrappers are taken off (:mod:`training.learning.checkpoint_file`). Raises :class:`CheckpointError` with the
    first differing keys, or with what the file is, when it is anything else.
    """
    network = build()
    state = checkpoint_file.read(Path(path), set(network.state_dict()))
    network.load_state_dict(matching(state, network, str(path)))
    return network.eval()


def from_bytes(content: bytes, name: str) -> nn.Module:
    """As :func:`load`, from the bytes of such a file; ``name`` is for messages."""
    network = build()
    state = checkpoint_file.parse(content, name, set(network.state_dict()))
    network.load_state_dict(matching(state, network, name))
    return network.eval()


def matching(state: dict[str, torch.Tensor], network: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """``state`` in float32 when its keys and shapes are the network's and it holds fractions where that does.

    :class:`CheckpointError` otherwise.
    """
    wanted = network.state_dict()
    # Checkpoints written by very old torch have no batch counters; they carry no weights.
    state = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")} | state
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted]
    if missing or extra:
        raise CheckpointError(
            f"checkpoint {name}: not a gaze ResNet18 state_dict; missing {_first(missing)}, "
            f"unexpected {_first(extra)}; save model.state_dict() of resnet18 with "
            "fc = Linear(512,256), ReLU, Dropout, Linear(256,2)"
        )
    for key, tensor in wanted.items():
        if state[key].layout != torch.strided or state[key].is_meta or state[key].is_quantized:
            raise CheckpointError(
                f"checkpoint {name}: {key} is a sparse, quantized or empty (meta) tensor; save it as a plain one"
            )
        if tensor.is_floating_point() and not state[key].is_floating_point():
            raise CheckpointError(
                f"checkpoint {name}: {key} holds {state[key].dtype} in place of fractions, as quantized networks do; "
                "save the network as it was before it was quantized"
            )
        if state[key].shape != tensor.shape:
            raise CheckpointError(
                f"checkpoint {name}: {key} is {tuple(state[key].shape)}, not {tuple(tensor.shape)}; "
                "the head must be Linear(512,256), ReLU, Dropout, Linear(256,2)"
            )
    broken = [key for key in wanted if not torch.isfinite(state[key]).all()]
    if broken:
        raise CheckpointError(f"checkpoint {name}: {_first(broken)} has NaN or infinite values; train it again")
    return {key: state[key].to(tensor.dtype) for key, tensor in wanted.items()}


def _first(keys: list[str]) -> str:
    return ", ".join(map(repr, keys[:3])) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "") if keys else "none"


def digest(network: nn.Module) -> str:
    """sha256 over names and values of all weights and statistics: the key of whatever is computed from them."""
    seen = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            seen.update(key.encode())
            seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()


def trunk_names(freeze: str) -> tuple[str, ...]:
    """Children of the network that ``freeze`` keeps fixed, in forward order; ``()`` for ``none``."""
    if freeze == "none":
        return ()
    if freeze == "backbone":
        return (*_STEM, *_STAGES, "avgpool")
    return (*_STEM, *_STAGES[: _STAGES.index(freeze) + 1])


def between(network: nn.Module, done: tuple[str, ...], freeze: str) -> nn.Sequential:
    """The part of the trunk of ``freeze`` that follows the children ``done``; pooled and flat for ``backbone``."""
    children = dict(network.named_children())
    part = nn.Sequential(*(children[name] for name in trunk_names(freeze) if name not in done))
    if freeze == "backbone":
        part.append(nn.Flatten(1))
    return part


def cut(network: nn.Module, freeze: str) -> tuple[nn.Sequential, nn.Sequential]:
    """``(trunk, tail)`` that share the network's modules: ``tail(trunk(x)) == network(x)``.

    The trunk is what ``freeze`` keeps fixed; for ``backbone`` it ends pooled, (n, 512).
    """
    children = dict(network.named_children())
    names = trunk_names(freeze)
    trunk = between(network, (), freeze)
    if freeze == "backbone":
        return trunk, nn.Sequential(children["fc"])
    tail = nn.Sequential(*(children[name] for name in (*_STEM, *_STAGES, "avgpool") if name not in names))
    tail.append(nn.Flatten(1))
    tail.append(children["fc"])
    return trunk, tail
