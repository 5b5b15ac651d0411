"""A progress bar that nobody needs to see: where its reader is gone, the work goes on and can still be ended.

Threads move the bar. When standard error is a pipe whose reader died, tqdm's own writing raises while it holds its
lock, which is then never let go: whatever came next waited for it for ever, the end of the command included.
"""

import sys
from typing import Any

from tqdm import tqdm

from recording.output import Outliving


def bar(total: int, done: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar on standard error for ``total`` pieces of work, of which so many are ``done``; any thread may move it."""
    stream: Any = Outliving(sys.stderr)
    return tqdm(total=total, initial=done, desc=what, unit=unit, mininterval=0.5, file=stream)
