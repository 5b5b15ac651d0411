"""The frozen part of the network, run once per sample and view; its activations shared by all trials.

The old recipe sends every frame through the frozen network again in every epoch of every trial. Here the
network is cut at the freeze boundary, the trunk runs once, and its 16-bit activations lie in a memory-mapped
file keyed by everything they depend on. A sample costs 1 KiB behind the pooled backbone, 98 KiB after layer3,
196 KiB after layer2, 147 KiB as a bare 8-bit picture.

The cache folder is bounded (``limit_bytes``; the files used longest ago go first), two processes that want the
same key make it once (file lock), and a torn or foreign file is noticed by its checksum and made again.
"""

import fcntl
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from recording import files
from recording.exceptions import InputError
from training.learning import batchnorm, model
from training.learning.augmentation import Augmentation

log = logging.getLogger(__name__)

BN_CHOICES = ("source", "target")
VIEWS = 2  # of each training sample behind a frozen trunk: the picture itself and an augmented one
LIMIT_BYTES = 20 * 2**30
FILL_BATCH = 32
_FORMAT = 4  # part of every key: raise it when the computation below changes


class ActivationCache:
    """A folder of memory-mapped arrays, each under a key; :meth:`array` fills what is missing.

    ``limit_bytes`` bounds the folder: before a new array is written, those used longest ago are removed until it
    fits. Arrays that some process has open are never removed. An array larger than the limit is an
    :class:`InputError`.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES):
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[Path, IO] = {}  # open lock files: what this process uses is not evicted

    def array(
        self, key: dict, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None], title: str
    ) -> np.ndarray:
        """The read-only array under ``key``, from the file or filled by ``fill(array)`` and kept.

        Raises :class:`InputError` when the disk is full; nothing half-written stays behind.
        """
        return self.arrays([(key, shape, dtype)], lambda arrays: fill(arrays[0]), title)[0]

    def arrays(
        self,
        wanted: list[tuple[dict, tuple[int, ...], str]],
        fill: Callable[[list[np.ndarray | None]], None],
        title: str,
    ) -> list[np.ndarray]:
        """Several arrays, each ``(key, shape, dtype)``; ``fill`` makes all missing ones at once.

        ``fill`` gets a list like ``wanted`` with ``None`` for the arrays that are there already.
        """
        paths = [self.folder / f"{_name(*one)}.bin" for one in wanted]
        by_path = dict(zip(paths, wanted, strict=True))
        # Shared first: whoever has a sound file open must not make others wait. Exclusive, and looked at again,
        # only where it has to be made; in one order for everybody, or two processes could wait for each other.
        absent = {path for path in paths if not self._hold(path, fcntl.LOCK_SH, *by_path[path][1:])}
        missing = {path for path in sorted(absent) if not self._hold(path, fcntl.LOCK_EX, *by_path[path][1:])}
        if missing:
            self._make(paths, wanted, [path in missing for path in paths], fill, title)
        for path in paths:
            os.utime(path)
            fcntl.flock(self._held[path], fcntl.LOCK_SH)
        return [
            np.memmap(path, dtype=dtype, mode="r", shape=shape)
            for path, (_, shape, dtype) in zip(paths, wanted, strict=True)
        ]

    def _hold(self, path: Path, kind: int, shape: tuple[int, ...], dtype: str) -> bool:
        """Lock the file and look at it: True, and the lock kept, when it is sound.

        When it is not, a shared lock is given back and an exclusive one kept: the file is about to be made.
        """
        if path in self._held:
            return True  # looked at when it was opened, and nobody may touch it since
        lock = path.with_suffix(".lock").open("a")
        fcntl.flock(lock, kind)
        sound = _is_sound(path, shape, dtype)
        if sound or kind == fcntl.LOCK_EX:
            self._held[path] = lock
        else:
            lock.close()
        return sound

    def close(self) -> None:
        """Let go of the arrays handed out: they may be evicted from now on."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()

    def _make(self, paths: list[Path], wanted: list, missing: list[bool], fill: Callable, title: str) -> None:
        todo = [k for k, is_missing in enumerate(missing) if is_missing]
        sizes = {k: _size(wanted[k][1], wanted[k][2]) for k in todo}
        for k in todo:
            for stale in self.folder.glob(f"*{paths[k].stem}.*.part"):  # of a killed process: we hold the lock
                stale.unlink()
            for old in (paths[k], paths[k].with_suffix(".json")):
                old.unlink(missing_ok=True)
        total = sum(sizes.values())
        self._make_room(total, title)
        parts = {k: self.folder / f"{paths[k].stem}.{os.getpid()}.part" for k in todo}
        try:
            arrays: list[np.ndarray | None] = [None] * len(paths)
            for k in todo:
                arrays[k] = _claimed(parts[k], wanted[k][1], wanted[k][2])
            fill(arrays)
            for k in todo:
                arrays[k].flush()
                arrays[k] = None
                note = {"size": sizes[k], "crc32": _checksum(parts[k])}
                files.write_text(paths[k].with_suffix(".json"), json.dumps(note))
                parts[k].replace(paths[k])
        except OSError as error:
            raise InputError(
                f"cache {self.folder}: cannot write {total / 2**20:.0f} MiB for {title} ({error.strerror}); "
                "free some disk space or point work= to a larger disk"
            ) from error
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
            for k in todo:
                if not paths[k].exists():
                    self._held.pop(paths[k]).close()

    def _make_room(self, size: int, title: str) -> None:
        if size > self.limit_bytes:
            raise InputError(
                f"cache {self.folder}: {title} needs {size / 2**30:.1f} GiB, over the limit of "
                f"{self.limit_bytes / 2**30:.1f} GiB; use fewer samples or leave this freeze choice out"
            )
        files = sorted(self.folder.glob("*.bin"), key=lambda path: path.stat().st_mtime)
        used = sum(path.stat().st_size for path in files)
        for path in files:
            if used + size <= self.limit_bytes:
                return
            with (self.folder / f"{path.stem}.lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # in use
                    continue
                used -= path.stat().st_size
                log.info("cache %s: over its limit, removing %s (used longest ago)", self.folder, path.name)
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)


def _name(key: dict, shape: tuple[int, ...], dtype: str) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, key, shape, dtype], sort_keys=True).encode()).hexdigest()[:32]


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _claimed(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A writable array on disk whose space is claimed now: a full disk is an error here, not a bus error later."""
    size = _size(shape, dtype)
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


def _is_sound(path: Path, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether the file is there and whole, by its size and checksum."""
    if not path.exists():
        return False
    try:
        said = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        log.warning("cache %s: no readable note beside it (an interrupted write?); making it again", path.name)
        return False
    size = _size(shape, dtype)
    if path.stat().st_size != size or said.get("size") != size or said.get("crc32") != _checksum(path):
        log.warning("cache %s: torn or foreign (size or checksum differs); making it again", path.name)
        return False
    return True


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            total = zlib.crc32(chunk, total)
    return total


@dataclass
class Features:
    """What a tail trains on: activations of samples and views, or 8-bit pictures when nothing is frozen.

    ``rows`` is (stored, …): 16-bit floats, channels last, or uint8 pictures. ``place[view, sample]`` is the row of
    a sample's view, −1 where there is none (augmented views exist for training samples only, and samples that
    are neither trained nor validated on have no row at all); ``mirrored[view, sample]`` says which are mirrored.
    Without a cache, ``trunk`` is set and the activations are computed anew at every use (the same numbers: that
    is what the cache is tested against).
    """

    rows: np.ndarray
    place: np.ndarray
    mirrored: np.ndarray
    device: torch.device
    augmentation: Augmentation | None
    trunk: nn.Module | None = None
    seed: int = 0
    _resident: torch.Tensor | None = field(default=None, repr=False)

    def plain(self, indices: np.ndarray) -> torch.Tensor:
        """The tail's input for these samples as they are, not augmented."""
        return self._inputs(np.zeros(len(indices), dtype=np.int64), indices)

    def drawn(self, indices: np.ndarray, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The tail's input for these training samples, each in a random view, and which ones are mirrored (bool)."""
        if self.trunk is None and self.rows.dtype == np.uint8:
            pictures = self.plain(indices)
            if self.augmentation is None:
                return pictures, torch.zeros(len(indices), dtype=torch.bool)
            changed, mirrored = self.augmentation.apply(pictures, generator)
            return changed, mirrored.cpu()
        views = torch.randint(len(self.place), (len(indices),), generator=generator).numpy()
        return self._inputs(views, indices), torch.from_numpy(self.mirrored[views, indices])

    def keep_on_device(self) -> None:
        """Copy all rows to an accelerator's memory once, when they are small beside it; no-op on the CPU."""
        if self.device.type == "cuda" and self.rows.nbytes < 0.4 * torch.cuda.mem_get_info(self.device)[0]:
            self._resident = torch.from_numpy(np.array(self.rows)).to(self.device)

    def _inputs(self, views: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        if self.trunk is not None:
            return self._computed(views, indices)
        places = self.place[views, indices]
        assert (places >= 0).all(), f"samples {indices[places < 0][:5]} have no activations"
        if self._resident is not None:
            rows = self._resident[torch.from_numpy(places).to(self.device)]
        else:
            rows = torch.from_numpy(self.rows[places]).to(self.device)
        if rows.dtype == torch.uint8:
            return rows.permute(0, 3, 1, 2).float().div_(255)
        return rows.float().permute(0, 3, 1, 2) if rows.dim() == 4 else rows.float()

    def _computed(self, views: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        parts = []
        for view, index in zip(views, indices, strict=True):
            batch = _augmented(self.rows, int(view), np.array([index]), self.augmentation, self.seed, self.device)
            parts.append(_stages([self.trunk], batch)[0].float())
        rows = torch.cat(parts).to(self.device)
        return rows.permute(0, 3, 1, 2) if rows.dim() == 4 else rows


@dataclass(frozen=True)
class Material:
    """The samples that trials train and validate on, and the views that are cached of them."""

    pictures: np.ndarray
    """(n, 224, 224, 3) uint8 RGB: all samples of the recordings."""
    key: dict
    """What the pictures are made of."""
    train: np.ndarray
    validation: np.ndarray
    augmentation: Augmentation | None = None
    views: int = VIEWS
    seed: int = 0

    def jobs(self) -> list[tuple[int, np.ndarray]]:
        """(view, samples) in the order in which rows are stored."""
        plain = np.sort(np.concatenate([self.train, self.validation]))
        views = self.views if self.augmentation else 1
        return [(0, plain), *((view, np.sort(self.train)) for view in range(1, views))]

    def place(self) -> np.ndarray:
        """(views, n) row of each sample's view, −1 where there is none."""
        jobs, at = self.jobs(), 0
        place = np.full((len(jobs), len(self.pictures)), -1, dtype=np.int64)
        for view, samples in jobs:
            place[view, samples] = np.arange(at, at + len(samples))
            at += len(samples)
        return place

    def mirrored(self) -> np.ndarray:
        """(views, n) bool."""
        return np.stack(
            [_view_mirrored(view, len(self.pictures), self.augmentation, self.seed) for view, _ in self.jobs()]
        )

    def full_key(self, trunk: nn.Module, freeze: str) -> dict:
        """Everything that the activations behind ``freeze`` depend on."""
        chosen = hashlib.sha256(b"".join(samples.tobytes() for _, samples in self.jobs())).hexdigest()
        return self.key | {
            "trunk": model.digest(trunk),
            "freeze": freeze,
            "samples": chosen,
            "views": len(self.jobs()),
            "seed": self.seed,
            "augmentation": self.augmentation and asdict(self.augmentation),
        }


def features(
    network: nn.Module, freeze: str, material: Material, cache: ActivationCache | None, device: torch.device
) -> Features:
    """The activations behind ``freeze``; from the cache, filled where they are missing.

    ``network`` has the BatchNorm statistics that it is to keep. With ``cache=None`` the trunk runs at every use.
    """
    if freeze == "none":
        n = len(material.pictures)
        place = np.arange(n)[None]
        return Features(material.pictures, place, np.zeros((1, n), bool), device, material.augmentation)
    place, mirrored = material.place(), material.mirrored()
    if cache is None:
        trunk = _ready(model.cut(network, freeze)[0], device)
        pictures = material.pictures
        return Features(pictures, place, mirrored, device, material.augmentation, trunk=trunk, seed=material.seed)
    rows = fill(network, (freeze,), material, cache, device)[freeze]
    return Features(rows, place, mirrored, device, material.augmentation, seed=material.seed)


def fill(
    network: nn.Module, freezes: tuple[str, ...], material: Material, cache: ActivationCache, device: torch.device
) -> dict[str, np.ndarray]:
    """The cached activations behind every one of ``freezes``; what is missing is made in *one* forward pass.

    One pass serves all boundaries: the activations behind layer3 are on the way to the pooled backbone's.
    """
    freezes = tuple(sorted(freezes, key=model.FREEZE_CHOICES.index, reverse=True))  # shallowest first
    stages, done = [], ()
    for freeze in freezes:
        stages.append(_ready(model.between(network, done, freeze), device))
        done = model.trunk_names(freeze)
    shapes = _activation_shapes(stages, device)
    jobs = material.jobs()
    stored = sum(len(samples) for _, samples in jobs)
    wanted = [
        (material.full_key(model.cut(network, freeze)[0], freeze), (stored, *shape), "float16")
        for freeze, shape in zip(freezes, shapes, strict=True)
    ]

    def make(arrays: list[np.ndarray | None]) -> None:
        last = max(k for k, array in enumerate(arrays) if array is not None)  # nothing deeper is wanted
        at = 0
        with tqdm(total=stored, desc=f"Frozen trunk ({', '.join(freezes)})", unit="view", leave=False) as progress:
            for view, samples in jobs:
                for chunk in np.array_split(samples, max(1, -(-len(samples) // FILL_BATCH))):
                    pictures, how = material.pictures, material.augmentation
                    batch = _augmented(pictures, view, chunk, how, material.seed, device)
                    for array, out in zip(arrays, _stages(stages[: last + 1], batch), strict=False):
                        if array is not None:
                            array[at : at + len(chunk)] = out.cpu().numpy()
                    at += len(chunk)
                    progress.update(len(chunk))

    return dict(zip(freezes, cache.arrays(wanted, make, "frozen activations"), strict=True))


def reestimated(network: nn.Module, pictures: np.ndarray, indices: np.ndarray, device: torch.device) -> nn.Module:
    """``network`` with all BatchNorm statistics re-estimated on these pictures (``bn=target``); changed in place.

    The order is shuffled (a fixed permutation): a batch of neighbouring frames has far less variance than the
    drive.
    """
    shuffled = np.random.default_rng(0).permutation(indices)
    network.to(device, memory_format=torch.channels_last)

    def batches() -> Iterator[torch.Tensor]:
        # Near-equal batches: a short last one would weigh as much as a full one.
        for rows in np.array_split(shuffled, max(1, len(shuffled) // batchnorm.BATCH)):
            yield _to_float(pictures[np.sort(rows)], device)

    with reduced_precision(device):
        batchnorm.reestimate(network, batches())
    return network


@contextmanager
def reduced_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 autocast where the machine multiplies faster in it, else full precision."""
    if device.type == "cuda" or (device.type == "cpu" and _cpu_has_bfloat16()):
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        yield


def _cpu_has_bfloat16() -> bool:
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def _to_float(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float().div_(255)


def _ready(stage: nn.Module, device: torch.device) -> nn.Module:
    return stage.to(device, memory_format=torch.channels_last).eval()


def _activation_shapes(stages: list[nn.Module], device: torch.device) -> list[tuple[int, ...]]:
    return [tuple(out.shape[1:]) for out in _stages(stages, torch.zeros(1, 3, 224, 224, device=device))]


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


def _generator(view: int, sample: int, seed: int) -> torch.Generator:
    """One generator per view and sample: a sample's view does not depend on the batch it is computed in."""
    return torch.Generator().manual_seed(seed * 1_000_003 + view * 100_000_007 + sample)


def _augmented(
    pictures: np.ndarray,
    view: int,
    samples: np.ndarray,
    augmentation: Augmentation | None,
    seed: int,
    device: torch.device,
) -> torch.Tensor:
    """(len(samples), 3, h, w) floats: view 0 is the picture itself."""
    batch = _to_float(pictures[samples], device)
    if view == 0 or augmentation is None:
        return batch
    changed = [
        augmentation.apply(batch[k : k + 1], _generator(view, int(sample), seed))[0] for k, sample in enumerate(samples)
    ]
    return torch.cat(changed)


def _view_mirrored(view: int, n: int, augmentation: Augmentation | None, seed: int) -> np.ndarray:
    if view == 0 or augmentation is None or augmentation.mirror == 0:
        return np.zeros(n, dtype=bool)
    # The coin is the sixth number that Augmentation.apply draws for a single picture.
    coins = [float(torch.rand(6, 1, generator=_generator(view, sample, seed))[5]) for sample in range(n)]
    return np.array(coins) < augmentation.mirror
