"""What no picture can mean is damage; what an encoder's rounding makes of a picture is none."""

import cv2
import numpy as np
import pytest
import simplejpeg

from recording import overshoot, pictures
from tests import footage


def _encoded(picture: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _hard_pictures() -> list[np.ndarray]:
    """Black and white in every pixel, text on both, checks, and a driver with six times the contrast."""
    random = np.random.default_rng(0)
    shape = (180, 160)
    grains = [random.integers(0, 2, (*shape, colours)) * 255 for colours in (1, 3)]
    checks = (np.indices(shape) // size % 2 for size in (1, 2, 3, 8))
    found = [np.broadcast_to(one, (*shape, 3)).astype(np.uint8) for one in grains]
    found += [np.repeat((rows ^ columns)[..., None] * 255, 3, axis=2).astype(np.uint8) for rows, columns in checks]
    for ground in (0, 255):
        page = np.full((*shape, 3), ground, np.uint8)
        for line in range(9):
            cv2.putText(page, "42 km/h GPS", (line, 20 * line + 14), line % 8, 0.6, (255 - ground,) * 3, 1 + line % 2)
        found.append(page)
    drivers = footage.drive(1, seed=0)
    return [*found, *drivers, *(np.clip(6.0 * one - 500, 0, 255).astype(np.uint8) for one in drivers)]


@pytest.mark.parametrize("quality", [5, 20, 40, 60, 75, 85, 90, 95, 100])
def test_no_sound_picture_overshoots(quality: int) -> None:
    assert all(overshoot.is_decodable(_encoded(picture, quality)) for picture in _hard_pictures())


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
