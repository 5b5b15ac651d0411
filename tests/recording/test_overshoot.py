"""What no picture can mean is damage; what an encoder's rounding makes of a picture is none."""

import cv2
import numpy as np
import pytest
import simplejpeg

from recording import overshoot, pictures
from tests import footage


def _encoded(picture: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.mark.parametrize("quality", [5, 20, 40, 60, 75, 85, 90, 95, 100])
def test_no_sound_picture_overshoots(quality: int) -> None:
    assert all(overshoot.is_decodable(_encoded(picture, quality)) for picture in footage.hard_pictures())


def test_a_third_of_the_bursts_that_libjpeg_does_not_mind_are_seen() -> None:
    let_through = seen = 0
    for picture in footage.drive(10, seed=1):
        sound = _encoded(picture, 80)
        random = np.random.default_rng(len(sound))
        for _ in range(6):
            damaged, at = bytearray(sound), int(random.integers(700, len(sound) - 50))
            damaged[at : at + 24] = random.bytes(24)
            try:
                simplejpeg.decode_jpeg(bytes(damaged), "GRAY", strict=True)
            except ValueError:
                assert not overshoot.is_decodable(bytes(damaged))
                continue
            let_through += 1
            found = not overshoot.is_decodable(bytes(damaged))
            seen += found
            assert not (found and pictures.is_sound_jpeg(bytes(damaged))), "whoever decodes MJPEG is not told"
    assert let_through > 50
    assert seen > let_through / 3


def test_what_has_no_plain_table_is_left_to_libjpeg() -> None:
    picture = footage.drive(1, seed=2)[0]
    progressive = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert overshoot.is_decodable(progressive)
    assert not overshoot.is_decodable(progressive[: len(progressive) // 2])
    assert not overshoot.is_decodable(b"\xff\xd8\xff")
    assert not overshoot.is_decodable(_encoded(picture, 80)[:300])
