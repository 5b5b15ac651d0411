"""Writing a file whole or not at all: the one way in which this project puts a file under its name; and reading JSON.

A file is written under another name beside its own and then renamed, which POSIX does in one step: whoever reads it
sees the old file or the new one, never a half. What a kill leaves behind ends in :data:`UNFINISHED`.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recording.exceptions import InputError

UNFINISHED = ".part"
"""Ending of a file that is not whole yet."""


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write the file at the path that it is given, then put it under ``path``.

    The other name is this thread's own, so that several processes may write the same file: the last one stays. When
    ``fill`` raises, its file is removed, the old one stays, and the error goes on.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{UNFINISHED}")
    try:
        fill(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, whole or not at all."""
    write(path, lambda unfinished: unfinished.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8 with its line ends as they are, whole or not at all."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; :class:`InputError` when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); delete it or mend it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no JSON object; delete it or mend it")
    return content
