"""Checkpoints as people have them: usual wrappers are taken off and said, anything else is named for what it is."""

import argparse
import io
import logging
import pickle
import zipfile
from collections import OrderedDict
from datetime import datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from recording.exceptions import CheckpointError
from training.learning import checkpoint_file, model

# Two layers in place of a ResNet: what is wrapped does not matter, only its names.
STATE = OrderedDict({"conv1.weight": torch.ones(2, 2), "fc.3.bias": torch.arange(2.0)})
WANTED = set(STATE)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


OTHER = {key: value + 5 for key, value in STATE.items()}


def owned(prefix: str) -> dict[str, torch.Tensor]:
    """As :func:`prefixed`, with other weights."""
    return {prefix + key: value for key, value in OTHER.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (STATE, ""),
        ({"model_state_dict": STATE, "optimizer_state_dict": OPTIMIZER, "epoch": 3}, "['model_state_dict']"),
        ({"state_dict": STATE, "arch": "resnet18", "best_acc1": np.float64(0.5)}, "['state_dict']"),
        ({"model": STATE, "args": argparse.Namespace(lr=0.1)}, "['model']"),
        ({"ema": STATE}, "['ema']"),
        ({"model": STATE, "ema": OTHER}, "['model'], ['ema'] would fit as well"),
        ({"ema": OTHER, "model": STATE}, "weights taken out of ['model']"),
        ({"swa_state_dict": OTHER, "state_dict": STATE}, "weights taken out of ['state_dict']"),
        ({"averaged_model": OTHER, "model": STATE}, "['averaged_model'], ['model'] would fit as well"),
        ({"averaged_model": STATE, "model": {"conv1.weight": OTHER["conv1.weight"]}}, "out of ['averaged_model']"),
        ({"checkpoint": {"net": {"module": prefixed("module.")}}}, "['checkpoint']['net']['module']"),
        (prefixed("module."), "without the prefix 'module.'"),
        (prefixed("_orig_mod."), "without the prefix '_orig_mod.'"),
        (prefixed("module._orig_mod."), "without the prefix 'module._orig_mod.'"),
        (prefixed("_orig_mod.module."), "without the prefix '_orig_mod.module.'"),
        ({"model_state_dict": prefixed("module._orig_mod.module.")}, "'module._orig_mod.module.'"),
        ({"conv1._orig_mod.weight": STATE["conv1.weight"], "fc.3.bias": STATE["fc.3.bias"]}, "'_orig_mod.'"),
        ({"conv1._fsdp_wrapped_module.weight": STATE["conv1.weight"], "fc.3.bias": STATE["fc.3.bias"]}, "'_fsdp_wr"),
        (prefixed("_fsdp_wrapped_module._checkpoint_wrapped_module."), "_module._checkpoint_wrapped_module.'"),
        (
            {"model": STATE, "args": {"out": PurePosixPath("/a"), "losses": np.zeros(3), "when": datetime(2026, 1, 1)}},
            "model",
        ),
        ({"model": STATE, "args": argparse.Namespace(out=Path("runs/1"))}, "['model']"),
        ({key: value.numpy() for key, value in STATE.items()}, ""),
        ({"student.backbone." + key: value for key, value in STATE.items()}, "'student.backbone.'"),
        ({"n_averaged": torch.tensor(7), **prefixed("module.")}, "'module.'"),
        ({"state_dict": {**prefixed("model."), "loss.weight": torch.ones(1)}}, "'model.'; left out 'loss.weight'"),
        ({**prefixed("model."), **owned("ema.")}, "'ema.conv1.weight', 'ema.fc.3.bias'; 'ema.' would fit as well; to"),
        ({**owned("ema."), **prefixed("model.")}, "'ema.conv1.weight', 'ema.fc.3.bias'; 'ema.' would fit as well; to"),
        ({**owned("EMA."), **prefixed("network.")}, "without the prefix 'network.'"),
        ({"state_dict": {**owned("net_ema."), **prefixed("net_student.")}}, "'net_ema.' would fit as well"),
        ({**prefixed("student."), **owned("teacher.")}, "'teacher.' would fit as well"),
        ({**owned("teacher."), **prefixed("student.")}, "'teacher.' would fit as well"),
        ({"model.conv1.weight": OTHER["conv1.weight"], **prefixed("ema.")}, "without the prefix 'ema.'"),
        (prefixed("ema."), "without the prefix 'ema.'"),
    ],
)
def test_wrappers_are_taken_off_and_said(content: object, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = checkpoint_file.parse(saved(content), "a.pth", WANTED)
    assert set(found) == WANTED
    assert all(torch.equal(found[key], STATE[key]) for key in WANTED)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_safetensors_are_unwrapped_whatever_the_file_is_called(caplog: pytest.LogCaptureFixture) -> None:
    content = safetensors.torch.save(prefixed("module."))
    with caplog.at_level(logging.INFO):
        found = checkpoint_file.parse(content, "weights.pth", WANTED)
    assert set(found) == WANTED
    assert "without the prefix 'module.'" in caplog.text
    assert set(checkpoint_file.parse(saved(STATE), "weights.safetensors", WANTED)) == WANTED


def test_paths_of_another_system_are_no_reason_to_refuse_weights() -> None:
    content = saved({"model": STATE, "out": PurePosixPath("runs/1")})
    for other in (b"pathlib\nWindowsPath\n", b"pathlib._local\nPosixPath\n"):
        elsewhere = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(elsewhere, "w") as target:
            for entry in source.namelist():
                target.writestr(entry, source.read(entry).replace(b"pathlib\nPurePosixPath\n", other))
        assert set(checkpoint_file.parse(elsewhere.getvalue(), "a.pth", WANTED)) == WANTED


def test_what_is_elsewhere_is_named_beside_what_is_missing() -> None:
    network = model.build()
    split = {
        ("head." + key[3:] if key.startswith("fc.") else "backbone." + key): value
        for key, value in network.state_dict().items()
    }
    state = checkpoint_file.parse(saved(split), "a.pth", set(network.state_dict()))
    with pytest.raises(CheckpointError, match=r"missing 'fc\.0\.weight', .* unexpected 'head\.0\.weight'"):
        model.matching(state, network, "a.pth")


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_a_tensor_that_holds_no_plain_numbers_is_refused(kind: str) -> None:
    network = model.build()
    state = network.state_dict()
    state["fc.3.weight"] = state["fc.3.weight"].to_sparse() if kind == "sparse" else state["fc.3.weight"].to("meta")
    with pytest.raises(CheckpointError, match=r"fc\.3\.weight is a sparse, quantized or empty \(meta\) tensor"):
        model.matching(state, network, "a.pth")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.fc(pictures)


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('executed')",))


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Network().eval(), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("results/best.pth", b"0")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 44786\n"
WHOLE = saved(STATE)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (LFS, r"Git LFS pointer .* `git lfs pull`"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "HTML page"),
        (b'{"message": "Not Found"}', 'text that begins with \'{"message"'),
        (WHOLE[: len(WHOLE) // 2], r"cut off or damaged \(\S+ bytes are here\); copy or download it again"),
        (saved(Network()), r"more than weights \(it names \S*Network.*nothing in a file is executed"),
        (saved({"model": Network()}), r"it names \S*Network"),
        (pickle.dumps({"conv1.weight": Harmful()}), "a pickle that torch.save did not write"),
        (saved({"conv1.weight": Harmful()}), r"it names \S*exec"),
        (torchscript(), r"TorchScript.*torch\.jit\.load\(path\)\.state_dict\(\)"),
        (archive(), r"ZIP archive with 'results/best\.pth'"),
        (b"\x1f\x8b\x08\x00" + WHOLE[:50], "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (saved([1, 2]), "holds a list, not a state_dict"),
        (saved({"epoch": 3, "loss": 0.2}), "holds no weights, but 'epoch', 'loss'"),
        (saved({"fc.3.bias": STATE["fc.3.bias"], "module.fc.3.bias": STATE["fc.3.bias"]}), "has fc.3.bias twice"),
        (safetensors.torch.save(dict(STATE))[:-5], r"no whole \.safetensors file"),
    ],
)
def test_what_is_no_checkpoint_is_named_for_what_it_is(content: bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as refused:
        checkpoint_file.parse(content, "a.pth", WANTED)
    text = str(refused.value)
    assert text.startswith("checkpoint a.pth: ")
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 400


# Cut anywhere, overwritten anywhere: always this one line, never what the unpickler stumbled over.
def test_a_damaged_file_is_always_one_line() -> None:
    rng = np.random.default_rng(0)
    legacy = io.BytesIO()
    torch.save(STATE, legacy, _use_new_zipfile_serialization=False)
    for whole in (WHOLE, legacy.getvalue(), safetensors.torch.save(dict(STATE))):
        for _ in range(60):
            place = int(rng.integers(len(whole) - 1))
            for damaged in (whole[:place], whole[:place] + rng.bytes(8) + whole[place + 8 :]):
                try:
                    found = checkpoint_file.parse(damaged, "a.pth", WANTED)
                except CheckpointError as error:
                    assert "\n" not in str(error)
                else:  # the damage hit padding, or values where the format does not check them
                    assert isinstance(found, dict)
                    assert whole is not WHOLE or all(torch.equal(found[key], STATE[key]) for key in WANTED)


# torch reads past the checksums of its archive: a network with one wild weight, or a layer of zeros, was trained on.
@pytest.mark.parametrize("kind", ["bit", "zeros"])
def test_a_part_that_is_not_what_was_written_is_named(kind: str) -> None:
    whole = saved({"model": {"conv1.weight": torch.full((40, 40), 0.5), "fc.3.bias": STATE["fc.3.bias"]}})
    place = whole.index(torch.full((9,), 0.5).numpy().tobytes()) + 1003
    length = 1 if kind == "bit" else 4000
    lost = bytes([whole[place] ^ 64]) if kind == "bit" else bytes(length)
    damaged = whole[:place] + lost + whole[place + length :]
    with pytest.raises(CheckpointError, match=r"is damaged \(its part 'archive/data/0' .*copy or download"):
        checkpoint_file.parse(damaged, "a.pth", WANTED)


def test_an_archive_that_was_written_without_checksums_is_read() -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        content = saved(STATE)
    finally:
        torch.serialization.set_crc32_options(before)
    assert set(checkpoint_file.parse(content, "a.pth", WANTED)) == WANTED


def test_a_folder_and_an_absent_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        checkpoint_file.read(tmp_path, WANTED)
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint_file.read(tmp_path / "absent.pth", WANTED)
