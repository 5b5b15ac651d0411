"""Writing a file whole or not at all: the one way in which this project puts a file under its name. Reading some kinds.

A file is written under another name beside its own and then renamed, which POSIX does in one step: whoever reads it
sees the old file or the new one, never a half. What a kill leaves behind ends in :data:`UNFINISHED`.
"""

import errno
import io
import itertools
import json
import os
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from recording.exceptions import GazeError, InputError

UNFINISHED = ".part"
"""Ending of a file that is not whole yet."""

Made = TypeVar("Made")
_numbers = itertools.count()
# Of a file's name that its temporary one repeats: with what is put around it, it must stay below 255 bytes.
_REPEATED_BYTES = 200
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of those who write without Python and raise an error of their own: safetensors, and torch's archives.
_FULL_SAYS = ("No space left on device", "PytorchStreamWriter failed writing", "unexpected pos ")

# What numpy and zipfile raise of bytes that are no archive of arrays.
_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


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


def given_path(text: str) -> Path:
    """The path that somebody typed: with the home folder for a leading ``~``.

    Shells replace it at the beginning of a word only, not in ``--out=~/a.csv`` or ``-P work=~/data``.
    """
    return Path(with_home(text))


def with_home(text: str) -> str:
    """As :func:`given_path`, for what may be something else than a path as well: nothing else of it is changed."""
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:  # of nobody's home: a name that begins so
        return text


def is_there(path: Path) -> bool:
    """Whether a path is there, as far as this user may look: Python 3.11's own raises where that is not far enough."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, as far as this user may look; as :func:`is_there`, of a name too long too."""
    try:
        return path.is_dir()
    except OSError:
        return False


def check_links(path: Path) -> None:
    """:class:`InputError` when a path, or a folder in which it is to be made, is a link that leads to nothing.

    Making a folder there would only be refused as one that exists.
    """
    there = next((one for one in (path, *path.parents) if os.path.lexists(one)), path)
    if there.is_symlink() and not is_there(there):
        raise InputError(
            f"{there} leads to {os.path.realpath(there)}, which is not there (a disk that is not mounted?); mount it, "
            "or make that folder, or remove the link"
        )


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write the file at the path that it is given, then put it under ``path``.

    The other name is this writer's own, so that several may write the same file at once: the last one stays. When
    ``fill`` raises, its file is removed, the old one stays, and the error goes on; of a full disk, as
    :class:`DiskFull`.
    """
    with replacing(Path(path)) as unfinished:
        fill(unfinished)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As :func:`write`, for a file that is filled while the block goes: the path to write at."""
    unfinished = path.with_name(_temporary(path.name))
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):  # what stopped the writing is to be known, not what came of it
            unfinished.unlink(missing_ok=True)
        if isinstance(error, Exception) and is_full(error):
            raise DiskFull(
                f"disk full: cannot write {path}; free some disk space, or choose a larger disk for it (a job's: work=)"
            ) from error
        raise


def _temporary(name: str) -> str:
    """Another name, of at most 255 bytes, that no other writer has: not of this file, nor of one that begins alike."""
    begins = name.encode("utf-8", "surrogateescape")[:_REPEATED_BYTES].decode("utf-8", "ignore")
    return f".{begins}.{os.getpid()}-{threading.get_native_id()}-{next(_numbers)}{UNFINISHED}"


def check_apart(written: Mapping[str, Path | None], read: Mapping[str, Iterable[Path]]) -> None:
    """:class:`InputError` where a file would be written over one that is read, or over another one that is written.

    ``written``: by the option that names it, ``None`` where that is not given; ``read``: by what they are. A link to a
    file, of either kind, is that file.
    """
    places = {option: (path, _place(path)) for option, path in written.items() if path}
    if not places:
        return
    options: dict[object, str] = {}
    for option, (path, place) in places.items():
        if place in options:
            raise InputError(f"{option} {path}: is what {options[place]} writes; give each a file of its own")
        options[place] = option
    for what, paths in read.items():
        for path in paths:
            if (place := _place(path)) in options:
                option = options[place]
                raise InputError(f"{option} {places[option][0]}: is {what} {path}, which is read; give another name")


def _place(path: Path) -> object:
    """What two paths to the same file have in common."""
    try:
        found = path.stat()
    except OSError:  # not there yet, or not to be looked at: whoever opens it says so
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def check_ending(given: str, path: Path, endings: Iterable[str]) -> None:
    """:class:`InputError`, before any work is done, where a file cannot be written under that name.

    ``given``: the option and what it was given; ``endings``: of the kinds that can be written, in lower case.
    """
    if path.suffix.lower() not in (known := tuple(endings)):
        raise InputError(f"{given}: cannot be written with such an ending; give a name that ends in {', '.join(known)}")
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name too long, no permission
        raise InputError(f"{given}: cannot be written ({error.strerror})") from None
    if is_folder:
        raise InputError(f"{given}: is a folder; give the path of a file in it")


def check_folder(given: str, path: Path) -> None:
    """:class:`InputError` where the folder in which a file is to be written later, with it, cannot be made.

    What is not there is made to see, and removed: a command that fails before it writes leaves no empty folder.
    """
    missing = [folder for folder in path.parents if not is_there(folder)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{given}: its folder cannot be written to ({error.strerror}); choose another one") from None
    finally:
        for folder in missing:
            with suppress(OSError):  # somebody else has put something there meanwhile
                folder.rmdir()


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
        content = parse_json(path.read_text(encoding="utf-8-sig"), _object)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); delete it or mend it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no JSON object; delete it or mend it")
    return content


def parse_json(text: str | bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What JSON says, each of its objects as ``hook`` makes it; :class:`ValueError` where it is none, however deep."""
    try:
        return json.loads(text, object_pairs_hook=hook)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


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
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is damaged ({reason}); prepare the folder again") from None
