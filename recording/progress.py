"""A progress bar that nobody needs to see: where its reader is gone, the work goes on and can still be ended.

Threads move the bar. When standard error is a pipe whose reader died, tqdm's own writing raises while it holds its
lock, which is then never let go: whatever came next waited for it for ever, the end of the command included.
"""

import sys
from typing import Any, TextIO

from tqdm import tqdm


class _Heard:
    """A stream as it is, but what cannot be written to it any more is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError:
            return  # there is nobody to be told

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            return


def bar(total: int, done: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar on standard error for ``total`` pieces of work, of which so many are ``done``; any thread may move it."""
    stream: Any = _Heard(sys.stderr)
    return tqdm(total=total, initial=done, desc=what, unit=unit, mininterval=0.5, file=stream)
