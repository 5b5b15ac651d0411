"""The machine in words: what a figure was measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from recording import processors

PACKAGES = ("torch", "onnxruntime", "av", "opencv-python-headless")
FEATURES = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""What decides how fast the processor multiplies, best first."""


def machine() -> str:
    """Processor, cores and the versions that decide the speed."""
    name, fastest = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
        name = about.get("model name", name)
        fastest = next((f" ({feature})" for feature in FEATURES if feature in about.get("flags", "").split()), "")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cores = f"{processors.cores()} of {os.cpu_count()} cores"
    return f"{name}{fastest}, {cores}, Python {platform.python_version()}, {packages}"


def memory(kind: str) -> int:
    """Bytes that this process has in memory now, on Linux: ``RssAnon`` of its own, ``RssFile`` mapped from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))
