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

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from registry.exceptions import InputError
from training import model, statistics
from training.augmentation import Augmentation

log = logging.getLogger(__name__)

BN_CHOICES = ("source", "target")
VIEWS = 4  # of each sample behind a frozen trunk: the picture itself and three augmented ones
LIMIT_BYTES = 20 * 2**30
FILL_BATCH = 32
_FORMAT = 3  # part of every key: raise it when the computation below changes


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
        self._held: list = []  # open lock files: what this process uses is not evicted

    def array(
        self, key: dict, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None], title: str
    ) -> np.ndarray:
        """The read-only array under ``key``, from the file or filled by ``fill(array)`` and kept.

        Raises :class:`InputError` when the disk is full; nothing half-written stays behind.
        """
        name = hashlib.sha256(json.dumps([_FORMAT, key, shape, dtype], sort_keys=True).encode()).hexdigest()[:32]
        path = self.folder / f"{name}.bin"
        lock = (self.folder / f"{name}.lock").open("a")
        self._held.append(lock)
        # Exclusive while it may have to be made: a second process waits here and then finds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not self._is_sound(path, shape, dtype):
            self._make(path, shape, dtype, fill, title)
        os.utime(path)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)

    def close(self) -> None:
        """Let go of the arrays handed out: they may be evicted from now on."""
        for lock in self._held:
            lock.close()
        self._held.clear()

    def _is_sound(self, path: Path, shape: tuple[int, ...], dtype: str) -> bool:
        if not path.exists():
            return False
        note = path.with_suffix(".json")
        try:
            said = json.loads(note.read_text())
        except (OSError, ValueError):
            log.warning("cache %s: no readable note beside it (an interrupted write?); making it again", path.name)
            return False
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if path.stat().st_size != size or said.get("size") != size or said.get("crc32") != _checksum(path):
            log.warning("cache %s: torn or foreign (size or checksum differs); making it again", path.name)
            return False
        return True

    def _make(self, path: Path, shape: tuple[int, ...], dtype: str, fill: Callable, title: str) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        for stale in self.folder.glob(f"{path.stem}.*.part"):  # of a killed process: we hold the lock
            stale.unlink()
        for old in (path, path.with_suffix(".json")):
            old.unlink(missing_ok=True)
        self._make_room(size, title)
        part = self.folder / f"{path.stem}.{os.getpid()}.part"
        try:
            with part.open("wb") as file:
                # Claim the space now: a full disk is an error here, not a bus error in the middle of the work.
                os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
            array = np.memmap(part, dtype=dtype, mode="r+", shape=shape)
            fill(array)
            array.flush()
            del array
            _write_atomically(path.with_suffix(".json"), json.dumps({"size": size, "crc32": _checksum(part)}))
            part.replace(path)
        except OSError as error:
            raise InputError(
                f"cache {self.folder}: cannot write {size / 2**20:.0f} MiB for {title} ({error.strerror}); "
                "free some disk space or point work= to a larger disk"
            ) from error
        finally:
            part.unlink(missing_ok=True)

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


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            total = zlib.crc32(chunk, total)
    return total


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass
class Features:
    """What a tail trains on: activations of every sample and view, or 8-bit pictures when nothing is frozen.

    ``views`` is (views, n, …): 16-bit floats, channels last, or uint8 pictures with one view. ``mirrored`` is
    (views, n) bool. Without a cache, ``trunk`` is set and the activations are computed anew at every use (the
    same numbers: that is what the cache is tested against).
    """

    views: np.ndarray
    mirrored: np.ndarray
    device: torch.device
    augmentation: Augmentation | None
    trunk: nn.Module | None = None
    seed: int = 0
    _resident: torch.Tensor | None = field(default=None, repr=False)

    def plain(self, indices: np.ndarray) -> torch.Tensor:
        """The tail's input for these samples as they are, not augmented."""
        return self._prepared(self._rows(0, indices))

    def drawn(self, indices: np.ndarray, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The tail's input for these samples, each in a randomly drawn view, and which ones are mirrored (bool)."""
        if self.views.dtype == np.uint8 and self.trunk is None:
            pictures = self._prepared(self._rows(0, indices))
            if self.augmentation is None:
                return pictures, torch.zeros(len(indices), dtype=torch.bool)
            changed, mirrored = self.augmentation.apply(pictures, generator)
            return changed, mirrored.cpu()
        chosen = torch.randint(len(self.mirrored), (len(indices),), generator=generator).numpy()
        return self._prepared(self._rows(chosen, indices)), torch.from_numpy(self.mirrored[chosen, indices])

    def keep_on_device(self) -> None:
        """Copy all views to an accelerator's memory once, when they are small beside it; no-op on the CPU."""
        if self.device.type == "cuda" and self.views.nbytes < 0.4 * torch.cuda.mem_get_info(self.device)[0]:
            self._resident = torch.from_numpy(np.array(self.views)).to(self.device)

    def _rows(self, view: np.ndarray | int, indices: np.ndarray) -> torch.Tensor:
        if self.trunk is not None:
            return _uncached(self, view, indices)
        if self._resident is not None:
            view = torch.as_tensor(view, device=self.device)
            return self._resident[view, torch.as_tensor(indices, device=self.device)]
        return torch.from_numpy(self.views[view, indices]).to(self.device)

    def _prepared(self, rows: torch.Tensor) -> torch.Tensor:
        if rows.dtype == torch.uint8:
            return rows.permute(0, 3, 1, 2).float().div_(255)
        rows = rows.float()
        return rows.permute(0, 3, 1, 2) if rows.dim() == 4 else rows


def features(
    network: nn.Module,
    freeze: str,
    pictures: np.ndarray,
    *,
    key: dict,
    cache: ActivationCache | None,
    device: torch.device,
    augmentation: Augmentation | None,
    views: int = VIEWS,
    seed: int = 0,
) -> Features:
    """The activations behind ``freeze`` for all ``pictures`` (n, 224, 224, 3) uint8.

    ``network`` has the statistics it is to keep; ``key`` says what it and the pictures are made of (digests).
    With ``cache=None`` the trunk runs at every use instead.
    """
    if freeze == "none":
        return Features(pictures[None], np.zeros((1, len(pictures)), bool), device, augmentation, seed=seed)
    trunk, _ = model.cut(network, freeze)
    trunk = trunk.to(device, memory_format=torch.channels_last).eval()
    views = views if augmentation else 1
    mirrored = np.stack([_view_mirrored(view, len(pictures), augmentation, seed) for view in range(views)])
    if cache is None:
        return Features(pictures[None], mirrored, device, augmentation, trunk=trunk, seed=seed)
    key = key | {"freeze": freeze, "views": views, "seed": seed, "augmentation": augmentation and asdict(augmentation)}
    shape = (views, len(pictures), *_activation_shape(trunk, device))
    title = f"activations behind {freeze}"

    def fill(array: np.ndarray) -> None:
        steps = [(view, at) for view in range(views) for at in range(0, len(pictures), FILL_BATCH)]
        for view, at in tqdm(steps, desc=f"Trunk {freeze}", unit="batch", leave=False):
            rows = np.arange(at, min(at + FILL_BATCH, len(pictures)))
            array[view, rows] = _activations(trunk, pictures, view, rows, augmentation, seed, device)

    array = cache.array(key, shape, "float16", fill, title)
    return Features(array, mirrored, device, augmentation, seed=seed)


def reestimated(network: nn.Module, pictures: np.ndarray, indices: np.ndarray, device: torch.device) -> nn.Module:
    """``network`` with all BatchNorm statistics re-estimated on these pictures (``bn=target``); changed in place.

    The order is shuffled (a fixed permutation): a batch of neighbouring frames has far less variance than the
    drive.
    """
    shuffled = np.random.default_rng(0).permutation(indices)
    network.to(device, memory_format=torch.channels_last)

    def batches() -> Iterator[torch.Tensor]:
        # Near-equal batches: a short last one would weigh as much as a full one.
        for rows in np.array_split(shuffled, max(1, len(shuffled) // statistics.BATCH)):
            yield _to_float(pictures[np.sort(rows)], device)

    with reduced_precision(device):
        statistics.reestimate(network, batches())
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


@torch.inference_mode()
def _activation_shape(trunk: nn.Module, device: torch.device) -> tuple[int, ...]:
    one = trunk(torch.zeros(1, 3, 224, 224, device=device))
    return (one.shape[2], one.shape[3], one.shape[1]) if one.dim() == 4 else tuple(one.shape[1:])


def _generator(view: int, at: int, seed: int) -> torch.Generator:
    """One generator per view and sample: a sample's view does not depend on the batch it is computed in."""
    return torch.Generator().manual_seed(seed * 1_000_003 + view * 100_000_007 + at)


def _view(pictures: torch.Tensor, view: int, rows: np.ndarray, augmentation: Augmentation, seed: int):
    changed = [augmentation.apply(pictures[k : k + 1], _generator(view, int(at), seed))[0] for k, at in enumerate(rows)]
    return torch.cat(changed)


def _view_mirrored(view: int, n: int, augmentation: Augmentation | None, seed: int) -> np.ndarray:
    if view == 0 or augmentation is None or augmentation.mirror == 0:
        return np.zeros(n, dtype=bool)
    # The coin is the sixth number that Augmentation.apply draws for a single picture.
    coins = [float(torch.rand(6, 1, generator=_generator(view, at, seed))[5]) for at in range(n)]
    return np.array(coins) < augmentation.mirror


@torch.inference_mode()
def _activations(
    trunk: nn.Module,
    pictures: np.ndarray,
    view: int,
    rows: np.ndarray,
    augmentation: Augmentation | None,
    seed: int,
    device: torch.device,
) -> np.ndarray:
    """(len(rows), h, w, c) float16, or (len(rows), 512) behind the pooled backbone."""
    batch = _to_float(pictures[rows], device)
    if view > 0:
        batch = _view(batch, view, rows, augmentation, seed)
    with reduced_precision(device):
        out = trunk(batch.contiguous(memory_format=torch.channels_last))
    out = out.float().clamp_(-65504, 65504).half()  # float16 keeps 3 bits more than bfloat16; its range suffices
    if out.dim() == 4:
        out = out.permute(0, 2, 3, 1)
    return out.cpu().contiguous().numpy()


def _uncached(source: Features, view: np.ndarray | int, indices: np.ndarray) -> torch.Tensor:
    chosen = np.broadcast_to(view, len(indices))
    out = [
        _activations(
            source.trunk, source.views[0], int(v), np.array([at]), source.augmentation, source.seed, source.device
        )
        for v, at in zip(chosen, indices, strict=True)
    ]
    return torch.from_numpy(np.concatenate(out)).to(source.device)
