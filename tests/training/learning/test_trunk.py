"""The frozen trunk's activations: the network's own, each made once, and training from them as from a plain forward."""

import sys

import numpy as np
import pytest
import torch

from benchmarks import machine
from training.learning import model, precision, trunk
from training.learning.augmentation import Augmentation
from training.learning.cache import ActivationCache
from training.learning.finetune import Examples, TrialConfig, finish
from training.learning.trunk import Dataset

CPU = torch.device("cpu")
N = 10
TRAIN, VALIDATION = np.arange(6), np.array([7, 8])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return model.build().eval()


def samples(**changes) -> Dataset:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 224, 224, 3), dtype=np.uint8)
    # Noise alone looks the same to the network everywhere: every picture gets a brightness of its own.
    pictures = (pictures * np.linspace(0.1, 1, N)[:, None, None, None]).astype(np.uint8)
    options = {"augmentation": Augmentation(), "copies": 2, "seed": 0} | changes
    return Dataset(pictures, {"test": 1}, TRAIN, VALIDATION, **options)


class PlainForward:
    """What :class:`trunk.Features` answers, computed anew at every use: one picture at a time, in float32."""

    device = CPU

    def __init__(self, frozen: torch.nn.Module, used: Dataset, shuffled: bool = False):
        self.frozen, self.used = frozen, used
        self.order = np.roll(np.arange(N), 1) if shuffled else np.arange(N)

    @torch.no_grad()
    def _forward(self, copies: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        pairs = zip(copies, self.order[indices], strict=True)
        return torch.cat([self.frozen(self.used.copy(int(copy), np.array([index]), CPU)) for copy, index in pairs])

    def plain(self, indices: np.ndarray) -> torch.Tensor:
        return self._forward(np.zeros(len(indices), int), indices)

    def drawn(self, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        return self._forward(
            torch.randint(len(self.used.passes()), (len(indices),), generator=generator).numpy(), indices
        )


@pytest.mark.parametrize("freeze", ["backbone", "layer3"])
def test_training_from_the_cache_moves_the_weights_as_training_from_a_plain_forward(
    network, tmp_path, monkeypatch, freeze
):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)  # its sums differ with a sample's batch
    targets = np.random.default_rng(1).normal(0, 0.2, (N, 2))
    frozen, begin = model.cut(network, freeze)
    start = {key: value.clone() for key, value in begin.state_dict().items() if value.dtype.is_floating_point}

    def movement(source) -> torch.Tensor:
        _, tail = model.cut(model.build(), freeze)
        tail.load_state_dict(begin.state_dict())
        config = TrialConfig(freeze, "source", 1e-3, 4, batch_size=3)
        # Not finetune, which would keep the start: nothing is learnt here.
        finish(tail, Examples(source, targets, TRAIN, np.arange(N)), config, steps=8)
        after = tail.state_dict()
        parameters = dict(tail.named_parameters())
        return torch.cat([(after[key] - start[key]).flatten() for key in parameters])

    used = samples(augmentation=None) if freeze == "backbone" else samples()  # plain pictures only behind all of it
    plain = movement(PlainForward(frozen, used))
    cached = movement(trunk.features(network, freeze, samples(), ActivationCache(tmp_path), CPU))
    foreign = movement(PlainForward(frozen, used, shuffled=True))
    assert (cached - plain).norm() < 0.2 * plain.norm()
    assert (foreign - plain).norm() > 0.5 * plain.norm()  # other samples' activations would be seen


def test_one_pass_fills_what_single_passes_would(network, tmp_path):
    together = trunk.fill(network, ("layer3", "backbone", "layer2"), samples(), ActivationCache(tmp_path / "a"), CPU)
    for freeze, rows in together.items():
        alone = trunk.fill(network, (freeze,), samples(), ActivationCache(tmp_path / "b"), CPU)[freeze]
        assert np.array_equal(rows, alone), freeze
    assert together["backbone"].shape == (6 + 2 + 6, 512)
    assert together["layer3"].shape == (14, 14, 14, 256)
    assert together["layer2"].dtype == np.float16


def test_activations_are_the_networks_own(network, tmp_path):
    used = samples(augmentation=None)
    source = trunk.features(network, "layer3", used, ActivationCache(tmp_path), CPU)
    _, tail = model.cut(network, "layer3")
    with torch.no_grad():
        plain = torch.from_numpy(used.pictures[:4]).permute(0, 3, 1, 2).float() / 255
        assert torch.allclose(tail(source.plain(np.arange(4))), network(plain), atol=0.02)


def test_samples_that_are_never_used_are_never_computed(network, tmp_path):
    source = trunk.features(network, "backbone", samples(), ActivationCache(tmp_path), CPU)
    with pytest.raises(AssertionError, match="no activations"):
        source.plain(np.array([9]))


@pytest.mark.skipif(sys.platform != "linux", reason="what a process keeps of files is asked of Linux")
def test_pictures_and_activations_go_through_without_staying_in_memory(network, tmp_path, monkeypatch):
    monkeypatch.setattr(trunk, "FILL_BATCH", 5)
    monkeypatch.setattr("training.learning.cache.RESIDENT_BYTES", 2**21)
    n = 120
    kept = ActivationCache(tmp_path)
    mapped = kept.array({"drawn": 1}, (n, 224, 224, 3), "uint8", lambda out: None, "pictures")
    used = Dataset(mapped, {"test": 1}, np.arange(n), np.array([], dtype=np.int64))
    peaks: list[int] = []

    def look(stages, batch):
        peaks.append(machine.memory("RssFile") - before)
        return [torch.ones(len(batch), 56, 56, 16, dtype=torch.float16)]

    monkeypatch.setattr(trunk, "_stages", look)
    before = machine.memory("RssFile")
    found = trunk.features(network, "layer1", used, kept, CPU)
    for at in range(0, n, 5):
        assert found.plain(np.arange(at, at + 5)).sum() > 0
        look([], [])
    assert 2**20 < max(peaks) < 2**23 < mapped.nbytes + found.rows.nbytes


def test_trials_draw_half_of_their_pictures_in_other_light(monkeypatch, tmp_path):
    grey = np.full((400, 8, 8, 3), 100, dtype=np.uint8)
    monkeypatch.setattr(trunk.pictures, "array", lambda recordings, cache: grey)
    monkeypatch.setattr(trunk.pictures, "key", lambda recordings: {"test": 1})
    used = trunk.dataset(None, None, np.arange(400), np.array([], dtype=np.int64), 0)
    source = trunk.features(model.build(), "none", used, None, CPU)
    stops = torch.log2(source.drawn(used.train, torch.Generator().manual_seed(0)).mean(dim=(1, 2, 3)) * 255 / 100)
    far = (stops.abs() > 0.35).float().mean()
    assert 0.25 < far < 0.45
