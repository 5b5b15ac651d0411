"""The driver crops of all samples as one memory-mapped array, resized once."""

import numpy as np
from tqdm import tqdm

from recording.preprocess import INPUT_SIZE
from recording.recordings import Recordings
from training.learning.trunk import ActivationCache

BATCH = 64


def key(recordings: Recordings) -> dict:
    """What the array depends on."""
    return {"pictures": recordings.digest, "size": INPUT_SIZE}


def array(recordings: Recordings, cache: ActivationCache) -> np.ndarray:
    """(n, 224, 224, 3) uint8 RGB, read-only, in the order of ``recordings``."""
    n = len(recordings)

    def fill(out: np.ndarray) -> None:
        at = 0
        with tqdm(total=n, desc="Driver crops", unit="sample", leave=False) as progress:
            for batch in recordings.iterate_pictures(BATCH):
                out[at : at + len(batch)] = batch
                at += len(batch)
                progress.update(len(batch))

    return cache.array(key(recordings), (n, INPUT_SIZE, INPUT_SIZE, 3), "uint8", fill, "driver crops")
