"""The frozen part of the network, run once per sample and augmented copy; its activations shared by all trials.

The old recipe sends every frame through the frozen network again in every epoch of every trial. Here the
network is cut at the freeze boundary, the trunk runs once, and its 16-bit activations lie in a memory-mapped
file keyed by everything they depend on. A sample costs 1 KiB behind the pooled backbone, 98 KiB after layer3,
196 KiB after layer2, 147 KiB as a bare 8-bit picture.
"""

import hashlib
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from recording.recordings import Recordings
from training.learning import model, pictures
from training.learning.augmentation import Augmentation
from training.learning.cache import ActivationCache, Resident
from training.learning.fusion import fused
from training.learning.pictures import as_input
from training.learning.precision import reduced_precision

COPIES = 2  # of each training sample behind a frozen trunk: the picture itself and an augmented one
FILL_BATCH = 32


@dataclass(frozen=True)
class Dataset:
    """The samples that trials train and validate on, and the copies of them whose activations are cached.

    Copy 0 of a sample is the picture as it is; the others, which only training samples have, are augmented.
    """

    pictures: np.ndarray
    """(n, 224, 224, 3) uint8 RGB: all samples of the recordings."""
    key: dict[str, Any]
    """What the pictures are made of."""
    train: np.ndarray
    """Indices of the training samples."""
    validation: np.ndarray
    """Indices of the validation samples."""
    augmentation: Augmentation | None = None
    copies: int = COPIES
    seed: int = 0

    def passes(self) -> list[tuple[int, np.ndarray]]:
        """``(copy, indices)``: what goes through the trunk, in the order in which the rows are stored."""
        plain = np.sort(np.concatenate([self.train, self.validation]))
        copies = self.copies if self.augmentation else 1
        return [(0, plain), *((copy, np.sort(self.train)) for copy in range(1, copies))]

    def place(self) -> np.ndarray:
        """(copies, n) row of each sample's copy, −1 where there is none."""
        passes, at = self.passes(), 0
        place = np.full((len(passes), len(self.pictures)), -1, dtype=np.int64)
        for copy, indices in passes:
            place[copy, indices] = np.arange(at, at + len(indices))
            at += len(indices)
        return place

    def copy(self, number: int, indices: np.ndarray, device: torch.device) -> torch.Tensor:
        """(len(indices), 3, h, w) floats in [0, 1]: that copy of these samples."""
        batch = as_input(self.pictures[indices], device)
        if number == 0 or self.augmentation is None:
            return batch
        changed = [
            self.augmentation.apply(batch[k : k + 1], self._generator(number, int(sample)))
            for k, sample in enumerate(indices)
        ]
        return torch.cat(changed)

    def _generator(self, copy: int, sample: int) -> torch.Generator:
        """One generator per copy and sample: a copy does not depend on the batch it is computed in."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + copy * 100_000_007 + sample)

    @property
    def changes(self) -> dict[str, float] | None:
        """How far pictures are changed, for keys of what was made of them."""
        return asdict(self.augmentation) if self.augmentation else None

    def activation_key(self, trunk: nn.Module, freeze: str) -> dict[str, Any]:
        """Everything that the activations behind ``freeze`` depend on."""
        chosen = hashlib.sha256(b"".join(indices.tobytes() for _, indices in self.passes())).hexdigest()
        return self.key | {
            "trunk": model.digest(trunk),
            "freeze": freeze,
            "samples": chosen,
            "copies": len(self.passes()),
            "seed": self.seed,
            "augmentation": self.changes,
        }


def dataset(
    recordings: Recordings, cache: ActivationCache, train: np.ndarray, validation: np.ndarray, seed: int
) -> Dataset:
    """What trials on these recordings train and validate on, with the default augmentation."""
    crops = pictures.array(recordings, cache)
    return Dataset(crops, pictures.key(recordings), train, validation, augmentation=Augmentation(), seed=seed)


@dataclass
class Features:
    """What a tail trains on: activations of samples and copies, or 8-bit pictures when nothing is frozen.

    ``rows`` is (stored, …): 16-bit floats, channels last, or uint8 pictures. ``place[copy, sample]`` is the row of
    a sample's copy, −1 where there is none (samples that are neither trained nor validated on have no row at all).
    Pictures are augmented afresh whenever they are drawn, activations come from the copies that are stored.
    """

    rows: np.ndarray
    place: np.ndarray
    device: torch.device
    augmentation: Augmentation | None
    _on_device: torch.Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._resident = Resident(self.rows)

    def plain(self, indices: np.ndarray) -> torch.Tensor:
        """The tail's input for these samples as they are, not augmented."""
        return self._inputs(np.zeros(len(indices), dtype=np.int64), indices)

    def drawn(self, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """The tail's input for these training samples, each augmented at random."""
        if self.rows.dtype == np.uint8:
            batch = self.plain(indices)
            return batch if self.augmentation is None else self.augmentation.apply(batch, generator)
        copies = torch.randint(len(self.place), (len(indices),), generator=generator).numpy()
        return self._inputs(copies, indices)

    def keep_on_device(self) -> None:
        """Copy all rows to an accelerator's memory once, when they are small beside it; no-op on the CPU."""
        if self.device.type == "cuda" and self.rows.nbytes < 0.4 * torch.cuda.mem_get_info(self.device)[0]:
            self._on_device = torch.from_numpy(np.array(self.rows)).to(self.device)

    def _inputs(self, copies: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        places = self.place[copies, indices]
        assert (places >= 0).all(), f"samples {indices[places < 0][:5]} have no activations"
        if self._on_device is not None:
            rows = self._on_device[torch.from_numpy(places).to(self.device)]
        else:
            read = self.rows[places]
            self._resident.touched(read.nbytes)
            rows = torch.from_numpy(read).to(self.device)
        if rows.dtype == torch.uint8:
            return rows.permute(0, 3, 1, 2).float().div_(255)
        return rows.float().permute(0, 3, 1, 2) if rows.dim() == 4 else rows.float()


def features(
    network: nn.Module, freeze: str, samples: Dataset, cache: ActivationCache, device: torch.device
) -> Features:
    """The activations behind ``freeze``; from the cache, filled where they are missing.

    ``network`` has the BatchNorm statistics that it is to keep.
    """
    if freeze == "none":
        return Features(samples.pictures, np.arange(len(samples.pictures))[None], device, samples.augmentation)
    if freeze == "backbone":
        # Plain pictures only: what learns behind it is a line, or not much more, and each copy costs a whole pass.
        samples = replace(samples, augmentation=None)
    rows = fill(network, (freeze,), samples, cache, device)[freeze]
    return Features(rows, samples.place(), device, samples.augmentation)


def fill(
    network: nn.Module, freezes: tuple[str, ...], samples: Dataset, cache: ActivationCache, device: torch.device
) -> dict[str, np.ndarray]:
    """The cached activations behind every one of ``freezes``; what is missing is made in *one* forward pass.

    One pass serves all boundaries: the activations behind layer3 are on the way to the pooled backbone's.
    """
    freezes = tuple(sorted(freezes, key=model.FREEZE_CHOICES.index, reverse=True))  # shallowest first
    stages: list[nn.Module] = []
    done: tuple[str, ...] = ()
    for freeze in freezes:
        part = model.between(network, done, freeze)
        part.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
        stages.append(fused(part))
        done = model.trunk_names(freeze)
    shapes = [tuple(out.shape[1:]) for out in _stages(stages, torch.zeros(1, 3, 224, 224, device=device))]
    passes = samples.passes()
    stored = sum(len(indices) for _, indices in passes)
    wanted = [
        (samples.activation_key(model.cut(network, freeze)[0], freeze), (stored, *shape), "float16")
        for freeze, shape in zip(freezes, shapes, strict=True)
    ]

    def make(arrays: list[np.ndarray | None]) -> None:
        last = max(k for k, array in enumerate(arrays) if array is not None)  # nothing deeper is wanted
        at, resident = 0, Resident(samples.pictures, *arrays)
        with tqdm(total=stored, desc=f"Frozen trunk ({', '.join(freezes)})", unit="picture", leave=False) as progress:
            for copy, indices in passes:
                for chunk in np.array_split(indices, max(1, -(-len(indices) // FILL_BATCH))):
                    batch = samples.copy(copy, chunk, device)
                    for array, out in zip(arrays, _stages(stages[: last + 1], batch), strict=False):
                        if array is not None:
                            array[at : at + len(chunk)] = out.cpu().numpy()
                            resident.touched(array[:1].nbytes * len(chunk))
                    at += len(chunk)
                    resident.touched(samples.pictures[:1].nbytes * len(chunk))
                    progress.update(len(chunk))

    return dict(zip(freezes, cache.arrays(wanted, make, "frozen activations"), strict=True))


def seconds_a_picture(network: nn.Module, samples: Dataset, device: torch.device) -> float:
    """What a pass through the frozen backbone takes here for one of these samples: the faster of two batches."""
    trunk = model.cut(network, "backbone")[0]
    trunk.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    stages, batch, took = [fused(trunk)], samples.train[:FILL_BATCH], []
    for _ in range(2):  # the first one also warms up
        began = time.monotonic()
        _stages(stages, samples.copy(0, batch, device))[0].cpu()
        took.append(time.monotonic() - began)
    return min(took) / len(batch)


@torch.inference_mode()
def _stages(stages: list[nn.Module], batch: torch.Tensor) -> list[torch.Tensor]:
    """Output of every stage, one feeding the next: float16, (n, h, w, c) or (n, 512)."""
    outputs = []
    with reduced_precision(batch.device):
        batch = batch.contiguous(memory_format=torch.channels_last)
        for stage in stages:
            batch = stage(batch)
            out = batch.float().clamp(-65504, 65504).half()
            outputs.append(out.permute(0, 2, 3, 1) if out.dim() == 4 else out)
    return outputs
