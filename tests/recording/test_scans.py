"""A JPEG that ends between two of its scans is not whole."""

import io
import re

import drives
import numpy as np
import pytest
from PIL import Image

from recording import pictures
from recording.exceptions import InputError
from recording.scans import Scans

# Three components, of which the last two have half the resolution.
FRAME = bytes([8, 0, 64, 0, 64, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1])


def progressive(colour: bool) -> bytes:
    file, face = io.BytesIO(), drives.face(np.array([3.0, -4.0]), (160, 200))
    Image.fromarray(face if colour else face[..., 1]).save(file, "JPEG", progressive=True, quality=95)
    return file.getvalue()


@pytest.mark.parametrize("colour", [True, False])
def test_a_progressive_jpeg_that_ends_before_any_of_its_scans_is_refused(colour: bool) -> None:
    """libjpeg shows what came, blurred, and says nothing: up to 3.9° off."""
    whole = progressive(colour)
    starts = [found.start() for found in re.finditer(b"\xff\xda", whole)]
    assert len(starts) > 5
    pictures.decode(whole, "whole")
    for start in starts[1:]:
        with pytest.raises(InputError, match=r"^part: damaged JPEG or PNG \(it ends before its last scan\)"):
            pictures.decode(whole[:start] + b"\xff\xd9", "part")
        assert not pictures.is_sound_jpeg(whole[:start] + b"\xff\xd9")


def test_a_colour_that_never_comes_is_missing_in_a_sequential_jpeg_too() -> None:
    said = Scans()
    said.frame(FRAME, progressive=False)
    for component in (1, 2, 3):
        assert not said.complete
        said.scan(bytes([1, component, 0, 0, 0, 0]))  # not from 0 to 63: of no meaning here
    assert said.complete


def test_every_coefficient_has_to_come_down_to_its_last_bit() -> None:
    said = Scans()
    said.frame(FRAME, progressive=True)
    said.scan(bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0x01]))
    for component in (1, 2, 3):
        said.scan(bytes([1, component, 0, 1, 63, 0x00]))
    assert not said.complete, "the last bit of the means"
    said.scan(bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0x10]))
    assert said.complete


@pytest.mark.parametrize("header", [b"", b"\x03", b"\x01\x09", b"\x01\x01\x00\x05"])
def test_headers_that_are_cut_or_name_nobody_do_no_harm(header: bytes) -> None:
    said = Scans()
    said.frame(FRAME, progressive=True)
    said.scan(header)
    assert not said.complete


def test_what_has_no_frame_is_left_to_the_decoder() -> None:
    assert Scans().complete
