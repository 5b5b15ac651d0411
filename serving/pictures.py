"""Encoded pictures from strangers: what is refused before any work is done, and the way to the network's input."""

import cv2
import numpy as np

from recording import preprocess
from recording.exceptions import InputError
from serving.crops import driver_view

# A progressive JPEG may repeat its scans thousands of times at a few bytes each; cameras and editors write about ten.
MAX_SCANS = 100


def read(data: bytes, name: str, *, crop: str = "driver", max_pixels: int = preprocess.MAX_PIXELS) -> np.ndarray:
    """JPEG or PNG bytes → (224, 224, 3) uint8 RGB of the driver view, as training saw it.

    ``name`` stands for the picture in messages. Raises :class:`InputError` when the bytes are no picture or the
    header announces more than ``max_pixels``.
    """
    return preprocess.resize(driver_view(decode(data, name, max_pixels=max_pixels), crop))


def decode(data: bytes, name: str, *, max_pixels: int = preprocess.MAX_PIXELS) -> np.ndarray:
    """JPEG or PNG bytes → (h, w, 3) uint8 RGB, size and scans checked before decoding."""
    width, height = preprocess.encoded_size(data, name)
    if width * height > max_pixels:
        raise InputError(f"{name}: {width}x{height} pixels is over the limit of {max_pixels}; send a smaller picture")
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > MAX_SCANS:
        raise InputError(f"{name}: a JPEG of more than {MAX_SCANS} scans is not decoded; save the picture again")
    try:
        return preprocess.decode(data, name)
    except cv2.error:
        # OpenCV's own limits (a header that contradicts itself, an allocation that is too large).
        raise InputError(f"{name}: damaged JPEG or PNG; save the picture again") from None
