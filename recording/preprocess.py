"""From an encoded or decoded picture to what the network reads: the one preprocessing of the project.

Training, evaluation, the registered model and the server all go through :func:`resize`, so that a picture
gets the same angles everywhere.
"""

import struct

import cv2
import numpy as np

from recording.exceptions import InputError

INPUT_SIZE = 224
MAX_PIXELS = 50_000_000


def decode(data: bytes, name: str = "image") -> np.ndarray:
    """JPEG or PNG bytes → (h, w, 3) uint8 RGB; :class:`InputError` when the bytes are no picture.

    Pixels are counted from the header before anything is decoded.
    """
    width, height = encoded_size(data, name)
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} pixels is over the limit of {MAX_PIXELS}; send a smaller picture")
    # IGNORE_ORIENTATION: training reads pixels as stored, so must everything else.
    picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise InputError(f"{name}: damaged JPEG or PNG; save the picture again")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def encoded_size(data: bytes, name: str = "image") -> tuple[int, int]:
    """(width, height) from the header of JPEG or PNG bytes, without decoding; :class:`InputError` otherwise."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"\xff\xd8":
        at = 2
        while at + 9 <= len(data):
            if data[at] != 0xFF:
                break
            marker = data[at + 1]
            if marker == 0xFF:  # fill byte
                at += 1
            elif marker in (0x01, *range(0xD0, 0xD8)):  # markers without a body
                at += 2
            elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack(">HH", data[at + 5 : at + 9])
                return width, height
            else:
                at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    raise InputError(f"{name}: neither JPEG nor PNG; send one of these")


def resize(picture: np.ndarray, size: int = INPUT_SIZE) -> np.ndarray:
    """(h, w, 3) uint8 → (size, size, 3) uint8, stretched (the aspect is not kept: so the base was trained).

    Area averaging when shrinking (no aliasing), bilinear when enlarging.
    """
    shrinking = picture.shape[0] >= size and picture.shape[1] >= size
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def to_input(pictures: np.ndarray) -> np.ndarray:
    """(n, size, size, 3) uint8 RGB → (n, 3, size, size) float32 in [0, 1]; no mean or deviation is removed."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255.0)
