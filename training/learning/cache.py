"""A bounded folder of memory-mapped arrays, each under a key of everything that it depends on.

The folder is bounded (``limit_bytes``; the files used longest ago go first), two processes that want the same
key make it once (file lock), and a torn or foreign file is noticed by its checksum and made again.
"""

import fcntl
import hashlib
import json
import logging
import mmap
import os
import time
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from recording import files
from recording.exceptions import InputError

log = logging.getLogger(__name__)

LIMIT_BYTES = 20 * 2**30
RESIDENT_BYTES = 2**28
"""Of mapped arrays that a process keeps in its memory at once (:class:`Resident`)."""
POLL_S = 0.1
_FORMAT = 5  # part of every key: raise it when the computation of what is kept changes


Key = dict[str, Any]
"""Everything that an array depends on, as JSON."""
Wanted = tuple[Key, tuple[int, ...], str]
"""Key, shape and type of an array."""
Fill = Callable[[list[np.ndarray | None]], None]
"""Fills the arrays of a list; ``None`` stands where nothing is to be done."""


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
        self._held: dict[Path, IO[str]] = {}  # open lock files: what this process uses is not evicted
        weakref.finalize(self, _let_go, self._held)

    def array(
        self, key: Key, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None], title: str
    ) -> np.ndarray:
        """The read-only array under ``key``, from the file or filled by ``fill(array)`` and kept.

        Raises :class:`InputError` when the disk is full; nothing half-written stays behind.
        """

        def fill_it(arrays: list[np.ndarray | None]) -> None:
            if arrays[0] is not None:
                fill(arrays[0])

        return self.arrays([(key, shape, dtype)], fill_it, title)[0]

    def arrays(
        self,
        wanted: list[Wanted],
        fill: Fill,
        title: str,
    ) -> list[np.ndarray]:
        """Several arrays, each ``(key, shape, dtype)``; ``fill`` makes all missing ones at once.

        ``fill`` gets a list like ``wanted`` with ``None`` for the arrays that are there already.
        """
        paths = [self.folder / f"{_name(*one)}.bin" for one in wanted]
        by_path = dict(zip(paths, wanted, strict=True))
        # In one order for everybody, or two processes could wait for each other.
        missing = {path for path in sorted(paths) if not self._hold(path, *by_path[path][1:])}
        if missing:
            self._make(paths, wanted, [path in missing for path in paths], fill, title)
        for path in paths:
            os.utime(path)
            fcntl.flock(self._held[path], fcntl.LOCK_SH)
        return [
            np.memmap(path, dtype=dtype, mode="r", shape=shape)
            for path, (_, shape, dtype) in zip(paths, wanted, strict=True)
        ]

    def _hold(self, path: Path, shape: tuple[int, ...], dtype: str) -> bool:
        """Lock the file and look at it: True, with a shared lock, when it is sound.

        When it is not, the lock is exclusive: the file is about to be made. Shared first: whoever has a sound file open
        must not make others wait; nor must who has just made it, between our two looks, and keeps it open.
        """
        if path in self._held:
            return True  # looked at when it was opened, and nobody may touch it since
        lock = path.with_suffix(".lock").open("a")
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            sound = _is_sound(path, shape, dtype)
            if sound or _alone(lock):
                break
            time.sleep(POLL_S)
        sound = sound or _is_sound(path, shape, dtype)  # made meanwhile, by somebody who is gone
        self._held[path] = lock
        return sound

    def close(self) -> None:
        """Let go of the arrays handed out: they may be evicted from now on."""
        _let_go(self._held)

    def _make(self, paths: list[Path], wanted: list[Wanted], missing: list[bool], fill: Fill, title: str) -> None:
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
            arrays = {k: _claimed(parts[k], wanted[k][1], wanted[k][2]) for k in todo}
            fill([arrays.get(k) for k in range(len(paths))])
            for k in todo:
                arrays.pop(k).flush()
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


class Resident:
    """What a process keeps in memory of mapped arrays: at most about :data:`RESIDENT_BYTES`, however long they are.

    Pages that are let go stay in the system's own cache as far as it has room, and what was written to them stays
    written. Arrays that are not mapped are left alone.
    """

    def __init__(self, *arrays: np.ndarray | None):
        self._mappings = [mapping for mapping in (getattr(array, "_mmap", None) for array in arrays) if mapping]
        self._touched = 0

    def touched(self, size: int) -> None:
        """So many bytes more were read or written."""
        self._touched += size
        if self._touched >= RESIDENT_BYTES:
            self._touched = 0
            for mapping in self._mappings:
                mapping.madvise(mmap.MADV_DONTNEED)


def _alone(lock: IO[str]) -> bool:
    """Make a lock exclusive, unless somebody else has it too; then it is none any more."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False
    return True


def _let_go(held: dict[Path, IO[str]]) -> None:
    for lock in held.values():
        lock.close()
    held.clear()


def _name(key: Key, shape: tuple[int, ...], dtype: str) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, key, shape, dtype], sort_keys=True).encode()).hexdigest()[:32]


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _claimed(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
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
        said = files.parse_json(path.with_suffix(".json").read_text())
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
