"""Python's search for garbage, spared what is imported.

What torch, MLflow and their like bring is a million objects that live as long as the process. While they come, they
are walked through again and again, and once more at the end: 1.7 of the 5.2 s that importing takes, and 1.6 of the 1.8
s in which a command ends.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FEW = 50


@contextmanager
def while_importing() -> Iterator[None]:
    """Nothing is searched meanwhile, and never again what there is at the end, where modules came."""
    known = len(sys.modules)
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - known > _FEW:
            gc.freeze()
        if enabled:
            gc.enable()


def end() -> None:
    """The process ends: nothing needs to be found any more."""
    gc.freeze()
