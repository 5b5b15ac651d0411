"""The gaze network and the checkpoints that fit it."""

import pickle

import pytest
import safetensors.torch
import torch

from recording.exceptions import CheckpointError
from training.learning import model


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return model.build().eval()


@pytest.mark.parametrize("freeze", model.FREEZE_CHOICES)
def test_cutting_does_not_change_the_answer(network, freeze):
    trunk, tail = model.cut(network, freeze)
    pictures = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(tail(trunk(pictures)), network(pictures))


def test_a_gpus_convolutions_are_kept_to_one_order_of_adding():
    """Whoever builds a network has asked for it: the same seed gives the same version there too."""
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark


def test_a_state_dict_of_torchvisions_resnet18_with_the_head_loads(tmp_path, network):
    """As users saved it: torchvision's network, fc replaced by hand."""
    theirs = model.torchvision.models.resnet18()
    theirs.fc = torch.nn.Sequential(
        torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Dropout(0.4), torch.nn.Linear(256, 2)
    )
    torch.save(theirs.state_dict(), tmp_path / "gaze_tracker_endterm.pth")
    loaded = model.load(tmp_path / "gaze_tracker_endterm.pth")
    pictures = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(loaded(pictures), theirs.eval()(pictures))


def test_half_precision_safetensors_load_in_full_precision(tmp_path, network):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    safetensors.torch.save_file(halves, tmp_path / "base.safetensors")
    assert model.load(tmp_path / "base.safetensors").conv1.weight.dtype == torch.float32


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def saved(path, content):
    torch.save(content, path)
    return path


def broken_files(tmp_path, network):
    state = network.state_dict()
    without = {key: value for key, value in state.items() if key != "fc.3.bias"}
    other = tmp_path / "text.pth"
    other.write_text("not a checkpoint")
    empty = tmp_path / "empty.pth"
    empty.touch()
    harmful = tmp_path / "harmful.pth"
    harmful.write_bytes(pickle.dumps({"conv1.weight": Harmful()}))
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(b"\x10\x00\x00\x00")
    return {
        "missing 'fc.3.bias'": saved(tmp_path / "missing.pth", without),
        "unexpected 'conv9.weight'": saved(tmp_path / "more.pth", {**state, "conv9.weight": torch.zeros(1)}),
        "fc.3.weight is (3, 256), not (2, 256)": saved(
            tmp_path / "shape.pth", {**state, "fc.3.weight": torch.zeros(3, 256)}
        ),
        "NaN or infinite": saved(tmp_path / "nan.pth", {**state, "conv1.weight": state["conv1.weight"] * float("nan")}),
        "holds torch.int8 in place of fractions": saved(
            tmp_path / "int8.pth", {**state, "layer1.0.conv1.weight": torch.ones(64, 64, 3, 3, dtype=torch.int8)}
        ),
        "not a state_dict": saved(tmp_path / "list.pth", [1, 2]),
        "text.pth: is text": other,
        "empty.pth: is empty": empty,
        "harmful.pth: is a pickle that torch.save did not write": harmful,
        "truncated.safetensors: is no whole": truncated,
        "no such file": tmp_path / "absent.pth",
    }


def test_every_other_file_is_refused_in_one_line(tmp_path, network):
    for says, path in broken_files(tmp_path, network).items():
        with pytest.raises(CheckpointError) as refused:
            model.load(path)
        assert says in str(refused.value), path
        assert "\n" not in str(refused.value)


def test_the_digest_follows_weights_and_statistics(network):
    before = model.digest(network)
    network.bn1.running_mean += 1
    assert model.digest(network) != before
    network.bn1.running_mean -= 1
    assert model.digest(network) == before
