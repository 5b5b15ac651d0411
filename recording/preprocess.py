"""From an encoded or decoded picture to what the network reads: the one preprocessing of the project.

Training, evaluation, the registered model and the server all go through :func:`resize`, so that a picture
gets the same angles everywhere. Its first step, encoded bytes to pixels, is :func:`recording.pictures.decode`.

Networks learn from the JPEGs that ``prepare`` keeps of a video's frames, and a network may answer a frame itself some
tenths of a degree differently. So what comes without loss, a video's frame or a PNG, goes through the same JPEG first,
in training as in serving (:func:`recording.pictures.as_kept`).
"""

import cv2
import numpy as np

from recording.face import Cutter
from recording.pictures import MAX_PIXELS, Picture, as_kept, decode, encoded_size, is_lossless

INPUT_SIZE = 224
__all__ = ["INPUT_SIZE", "MAX_PIXELS", "decode", "encoded_size", "read", "resize", "to_input"]


def read(data: bytes, name: str, cut: Cutter, size: int = INPUT_SIZE) -> Picture:
    """JPEG or PNG bytes of a driver view → (size, size, 3) uint8 RGB, what the network reads of it.

    ``cut`` gives the part that it reads, a view into the picture's memory. Raises
    :class:`~recording.exceptions.InputError` where :func:`decode` or ``cut`` do; ``name`` stands for the picture.
    """
    picture = decode(data, name)
    part = cut(picture, name)
    return resize(as_kept(part, picture, maybe_before=True) if is_lossless(data) else part, size)


def resize(picture: np.ndarray, size: int = INPUT_SIZE) -> np.ndarray:
    """(h, w, 3) uint8 → (size, size, 3) uint8, stretched (the aspect is not kept: so the base was trained).

    Area averaging when shrinking (no aliasing), bilinear when enlarging.
    """
    shrinking = picture.shape[0] >= size and picture.shape[1] >= size
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def to_input(pictures: np.ndarray) -> np.ndarray:
    """(n, size, size, 3) uint8 RGB → (n, 3, size, size) float32 in [0, 1]; no mean or deviation is removed."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255.0)
