import struct
import time
import zlib

import cv2
import numpy as np
import packages
import pytest

from recording import preprocess
from recording.exceptions import InputError
from serving import crops, pictures


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
    began = time.perf_counter()
    with pytest.raises(InputError, match=r"image 3: .* over the limit of 1000000"):
        pictures.read(_png_header(*size), "image 3", max_pixels=1_000_000)
    assert time.perf_counter() - began < 0.1


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


# The driver view of a composite is the rectangle of the layout, at any scale.
@pytest.mark.parametrize("size", [(3008, 1080), (1504, 540), (1505, 540), (1920, 1080)])
def test_driver_view_of_a_composite(size: tuple[int, int]) -> None:
    width, height = size
    x, y, w, h = 6, 7, 950, 1068
    across = width / (1920 if size == (1920, 1080) else 3008)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    down = height / 1080
    cv2.rectangle(
        picture,
        (round(x * across), round(y * down)),
        (round((x + w) * across) - 1, round((y + h) * down) - 1),
        (9, 9, 9),
        -1,
    )
    view = crops.driver_view(picture, "composite")
    assert (view == 9).all()
    assert (picture == 9).sum() == view.size


# auto cuts only where no photograph has such proportions; composite refuses what is none.
def test_choice_of_crop() -> None:
    composite = np.zeros((540, 1504, 3), dtype=np.uint8)
    photograph = np.zeros((1080, 1920, 3), dtype=np.uint8)
    assert crops.driver_view(composite, "auto").shape == (534, 475, 3)
    assert crops.driver_view(photograph, "auto").shape == photograph.shape
    assert crops.driver_view(composite, "driver").shape == composite.shape
    with pytest.raises(InputError, match="640x480"):
        crops.driver_view(np.zeros((480, 640, 3), dtype=np.uint8), "composite")
