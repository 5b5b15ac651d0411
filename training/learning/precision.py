"""bfloat16 where the machine multiplies faster in it; ``GAZE_BFLOAT16=off`` in the environment measures without."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


@contextmanager
def reduced_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 autocast where the machine multiplies faster in it, else full precision."""
    if device.type == "cuda" or (device.type == "cpu" and _cpu_has_bfloat16()):
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        yield


def _cpu_has_bfloat16() -> bool:
    if os.environ.get("GAZE_BFLOAT16") == "off":
        return False
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
