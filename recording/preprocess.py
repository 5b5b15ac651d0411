"""From an encoded or decoded picture to what the network reads: the one preprocessing of the project.

Training, evaluation, the registered model and the server all go through :func:`resize`, so that a picture
gets the same angles everywhere. Its first step, encoded bytes to pixels, is :func:`recording.pictures.decode`.
A video's frame goes through the JPEG first that ``prepare`` keeps of it (:func:`recording.pictures.as_kept`): networks
learn from these, and may answer the frame itself some tenths of a degree differently.
"""

import cv2
import numpy as np

from recording.pictures import MAX_PIXELS, decode, encoded_size

INPUT_SIZE = 224
__all__ = ["INPUT_SIZE", "MAX_PIXELS", "decode", "encoded_size", "resize", "to_input"]


def resize(picture: np.ndarray, size: int = INPUT_SIZE) -> np.ndarray:
    """(h, w, 3) uint8 → (size, size, 3) uint8, stretched (the aspect is not kept: so the base was trained).

    Area averaging when shrinking (no aliasing), bilinear when enlarging.
    """
    shrinking = picture.shape[0] >= size and picture.shape[1] >= size
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def to_input(pictures: np.ndarray) -> np.ndarray:
    """(n, size, size, 3) uint8 RGB → (n, 3, size, size) float32 in [0, 1]; no mean or deviation is removed."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255.0)
