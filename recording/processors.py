"""What this process may compute on."""

import os


def cores() -> int:
    """How many cores this process may use (a container's share, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
