"""Writing a file whole or not at all: the one way in which this project puts a file under its name. Reading some kinds.

A file is written under another name beside its own and then renamed, which POSIX does in one step: whoever reads it
sees the old file or the new one, never a half. What a kill leaves behind ends in :data:`UNFINISHED`.
"""

import errno
import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from recording.exceptions import GazeError, InputError

UNFINISHED = ".part"
"""Ending of a file that is not whole yet."""

Made = TypeVar("Made")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of those who write without Python and raise an error of their own: safetensors, and torch's archives.
_FULL_SAYS = ("No space left on device", "PytorchStreamWriter failed writing", "unexpected pos ")


class DiskFull(GazeError):
    """A file did not fit on its disk; nothing of it is left."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or a quota, is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(says in str(error) for says in _FULL_SAYS)


def check_name(path: Path, what: str) -> None:
    """:class:`InputError` when a path is no UTF-8: it cannot be written into JSON, tables and databases.

    Linux lets file names be any bytes, and old disks and archives have them in Latin-1.
    """
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    if shown != str(path):
        raise InputError(f"{what} {shown}: its name is no UTF-8; rename it")


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write the file at the path that it is given, then put it under ``path``.

    The other name is this thread's own, so that several processes may write the same file: the last one stays. When
    ``fill`` raises, its file is removed, the old one stays, and the error goes on; of a full disk, as
    :class:`DiskFull`.
    """
    with replacing(Path(path)) as unfinished:
        fill(unfinished)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As :func:`write`, for a file that is filled while the block goes: the path to write at."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{UNFINISHED}")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, Exception) and is_full(error):
            raise DiskFull(
                f"disk full: cannot write {path}; free some disk space, or choose a larger disk for it (a job's: work=)"
            ) from error
        raise


@contextmanager
def writing_text(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8 that is written line by line and is there, whole, when the block ends well.

    What a link leads to is replaced, not the link; a pipe or a device is written to as it is. :class:`InputError` when
    nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            is_replaced = path.is_file() or not path.exists()
            place = stack.enter_context(replacing(path.resolve())) if is_replaced else path
            file = stack.enter_context(place.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, whole or not at all."""
    write(path, lambda unfinished: unfinished.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8 with its line ends as they are, whole or not at all."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; :class:`InputError` when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); delete it or mend it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no JSON object; delete it or mend it")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):  # the last one would win
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in made if names.count(name) > 1)!r} stands twice in one object")
    return made


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name (.npz, compressed), whole or not at all; the same ones give the same bytes."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy's own keywords
    write_bytes(path, content.getvalue())


def read_arrays(path: Path, make: Callable[[dict[str, np.ndarray]], Made]) -> Made | None:
    """What ``make`` makes of the arrays of a prepared folder's file, None where there is no file.

    :class:`InputError` when the file is damaged; ``make`` says so of arrays that do not fit by :class:`ValueError`.
    """
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return make(dict(stored))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is damaged ({reason}); delete the folder and prepare it again") from None
