"""The driver crops of all samples as one memory-mapped array, resized once."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recording.preprocess import INPUT_SIZE
from recording.recordings import Recordings
from registry.intervals import Floats, Integers
from registry.network import Network
from training.learning.cache import ActivationCache, Resident

BATCH = 64
AT_ONCE = 256
"""Pictures that are copied into memory at once to be answered: 37 MiB."""


def key(recordings: Recordings) -> dict[str, Any]:
    """What the array depends on."""
    whole = {"pictures": recordings.digest, "size": INPUT_SIZE}
    if recordings.faces == (None,) * len(recordings.drives):
        return whole
    return whole | {"faces": [face and asdict(face) for face in recordings.faces]}


def array(recordings: Recordings, cache: ActivationCache) -> np.ndarray:
    """(n, 224, 224, 3) uint8 RGB, read-only, in the order of ``recordings``."""
    n = len(recordings)

    def fill(out: np.ndarray) -> None:
        at, resident = 0, Resident(out)
        with tqdm(total=n, desc="Driver crops", unit="sample", leave=False) as progress:
            for batch in recordings.iterate_pictures(BATCH):
                out[at : at + len(batch)] = batch
                at += len(batch)
                resident.touched(batch.nbytes)
                progress.update(len(batch))

    return cache.array(key(recordings), (n, INPUT_SIZE, INPUT_SIZE, 3), "uint8", fill, "driver crops")


def as_input(crops: np.ndarray, device: torch.device) -> torch.Tensor:
    """(n, h, w, 3) uint8 RGB → (n, 3, h, w) floats in [0, 1] on ``device``: what the network takes."""
    return torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float().div_(255)


def predict(network: Network, crops: np.ndarray, chosen: Integers) -> Floats:
    """(len(chosen), 2) degrees: what a registered network answers to the ``chosen`` ones of mapped crops."""
    answers, resident = [np.empty((0, 2))], Resident(crops)
    for at in range(0, len(chosen), AT_ONCE):
        part = crops[chosen[at : at + AT_ONCE]]
        answers.append(network.predict(part))
        resident.touched(part.nbytes)
    return np.concatenate(answers)
