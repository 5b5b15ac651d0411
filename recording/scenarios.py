"""The scenarios of a drive: equal parts of its time, ten unless asked otherwise.

Registered versions carry the scenario of each held-out sample, so the formula is fixed: another one would move
samples at the edges, and the same sample would have two numbers.
"""

import numpy as np

COUNT = 10


def scenarios(frames: np.ndarray, drives: np.ndarray | None = None, count: int = COUNT) -> np.ndarray:
    """(n,) frame numbers → (n,) scenario, 1 to ``count``: the part of its own drive that each frame lies in.

    A drive lasts from its first to its last frame here, both included. ``drives``: (n,) which drive each frame
    belongs to; one drive when it is left out. Frame numbers of different drives have nothing to do with each
    other, so every drive is divided by itself.
    """
    frames = np.asarray(frames, dtype=np.int64)
    drives = np.zeros(len(frames), dtype=np.int64) if drives is None else np.asarray(drives)
    numbers = np.empty(len(frames), dtype=np.int64)
    for drive in np.unique(drives):
        mine = drives == drive
        since = frames[mine] - frames[mine].min()
        numbers[mine] = since * count // (since.max() + 1) + 1
    return numbers
