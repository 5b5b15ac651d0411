"""Reduced precision: only where the machine is faster in it, and not where somebody measures without it."""

from pathlib import Path

import pytest
import torch

from training.learning.precision import reduced_precision


def _reduced() -> bool:
    with reduced_precision(torch.device("cpu")):
        return torch.is_autocast_enabled("cpu")


def test_bfloat16_can_be_measured_without(monkeypatch):
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or not any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16")):
        pytest.skip("this processor has no bfloat16")
    assert _reduced()
    monkeypatch.setenv("GAZE_BFLOAT16", "off")
    assert not _reduced()
