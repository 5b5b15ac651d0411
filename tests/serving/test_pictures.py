import struct
import time
import zlib

import numpy as np
import packages
import pytest

from recording import preprocess
from recording.exceptions import InputError
from serving import pictures


def _png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 64


# The pixels that the network sees are those of training: decode and resize of recording.preprocess.
def test_reads_as_training_does() -> None:
    jpeg = packages.picture(7, 3)
    assert np.array_equal(pictures.read(jpeg, "a"), preprocess.resize(preprocess.decode(jpeg)))


# The header's pixel count is refused before anything is decoded.
@pytest.mark.parametrize("size", [(20_000, 20_000), (65_535, 65_535), (2**31 - 1, 2**31 - 1)])
def test_large_header_is_refused_at_once(size: tuple[int, int]) -> None:
    began = time.process_time()
    with pytest.raises(InputError, match=r"image 3: .* over the limit of 1000000"):
        pictures.read(_png_header(*size), "image 3", max_pixels=1_000_000)
    assert time.process_time() - began < 0.1


# However a picture is damaged, the error is one that names it.
def test_damaged_pictures_are_input_errors() -> None:
    rng = np.random.default_rng(0)
    good = packages.picture(0, 0)
    for _ in range(300):
        damaged = bytearray(good[: rng.integers(1, len(good))])
        for at in rng.integers(0, len(damaged), size=3):
            damaged[at] = rng.integers(256)
        try:
            assert pictures.read(bytes(damaged), "this one").shape == (224, 224, 3)
        except InputError as error:
            assert "this one" in str(error)
