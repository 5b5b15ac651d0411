"""What a command prints, to a reader that may go away before it ends: ``python -m training main | head``.

An hour of training is not lost for a closed pipe or terminal, or for a progress bar that nobody sees any more. Nor does
a command that has done its work end with a traceback because a terminal knows no ``≥``.
"""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class Outliving:
    """A text stream that goes on into nothing when its reader has gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream's own; never an :class:`OSError`."""
        try:
            return self._stream.write(text)
        except OSError:
            self._turn_away()
            return len(text)

    def flush(self) -> None:
        """As the stream's own; never an :class:`OSError`."""
        try:
            self._stream.flush()
        except OSError:
            self._turn_away()

    def _turn_away(self) -> None:
        """What the stream still keeps goes there too, when it is flushed again."""
        with suppress(OSError), Path(os.devnull).open("wb") as nowhere:  # a stream need not be a file
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Let this process go on when nobody reads what it prints any more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Outliving):
            setattr(sys, name, Outliving(stream))


def print_in_any_encoding() -> None:
    """Let this process print whatever it has: what the encoding of a stream does not know (``°`` in ASCII) comes out as
    ``\\xb0``, as Python's standard error has it, and nothing raises :class:`UnicodeEncodeError`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stand_in_for_closed() -> None:
    """Give this process streams where its starter has closed them (``2>&-``); what goes there is read by nobody.

    Without, Python has ``None`` in their place, and the next file that is opened gets the number of the closed one:
    what a library prints past Python would end in it.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if _is_free(number):
            os.dup2(nowhere, number)
        if nowhere == number:
            os.set_inheritable(number, True)  # a command that this one starts or becomes is to have it as well
        setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))


def _is_free(number: int) -> bool:
    """Whether no file of this process has that number."""
    try:
        os.fstat(number)
    except OSError:
        return True
    return False
