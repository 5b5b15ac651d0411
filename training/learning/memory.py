"""Memory that does not do: one name for what torch, CUDA and Python say of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class OutOfMemory(RuntimeError):
    """The device or the machine has no memory left for this batch size."""


@contextmanager
def named() -> Iterator[None]:
    """Whatever is said within when memory is short, as :class:`OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_out_of_memory(error):
            raise OutOfMemory(str(error).split("\n")[0] or "the machine's memory is used up") from error
        raise


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )
