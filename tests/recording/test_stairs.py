"""What a lost mean of a block leaves in a JPEG is damage; no edge of a scene is taken for it."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import simplejpeg

from recording import decoding, frames, pictures, segments, stairs
from recording.exceptions import InputError
from recording.segments import Blocks
from tests import footage


def _encoded(picture: np.ndarray, quality: int = 85) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _drive(seconds: float, seed: int) -> list[np.ndarray]:
    """Driver views of the usual size, with a camera's noise."""
    random = np.random.default_rng(seed)
    larger = (cv2.resize(one, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for one in footage.drive(seconds, seed))
    return [np.clip(one + random.normal(0, 3, one.shape), 0, 255).astype(np.uint8) for one in larger]


def _brighter_from(picture: np.ndarray, row: int, column: int, by: int, side: int = 16) -> np.ndarray:
    changed = picture.astype(np.int16)
    changed[side * row : side * (row + 1), side * column :] += by
    changed[side * (row + 1) :] += by
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("by", [-60, -12, -7, 7, 12, 60])
def test_a_step_from_one_block_on_is_seen(by: int) -> None:
    driver = _drive(0.1, seed=0)[0]
    rows, columns = driver.shape[0] // 16, driver.shape[1] // 16
    for row, column in ((2, 5), (rows // 2, columns // 2), (rows - 3, columns - 5)):
        assert stairs.has_stair(_brighter_from(driver, row, column, by), Blocks(16, 16))
    assert not stairs.has_stair(driver, Blocks(16, 16))


@pytest.mark.parametrize("by", [-30, 9, 30])
def test_where_every_row_begins_anew_it_is_a_bar(by: int) -> None:
    driver = _drive(0.1, seed=0)[0]
    rows, columns = driver.shape[0] // 16, driver.shape[1] // 16
    for row, column in ((2, 2), (rows // 2, columns // 2), (rows - 3, columns - 4)):
        bar = driver.astype(np.int16)
        bar[16 * row : 16 * (row + 1), 16 * column :] += by
        bar = np.clip(bar, 0, 255).astype(np.uint8)
        assert stairs.has_stair(bar, Blocks(16, 16, columns))
        assert not stairs.has_stair(bar, Blocks(16, 16))
        assert not stairs.has_stair(np.roll(bar, 5, axis=0), Blocks(16, 16, columns))
        through = np.roll(bar, -16 * column, axis=1)  # a bar that ends before the right edge
        assert not stairs.has_stair(through, Blocks(16, 16, columns))
    assert not stairs.has_stair(driver, Blocks(16, 16, columns))


def test_other_edges_are_none() -> None:
    driver = _drive(0.1, seed=0)[0]
    straight, brighter_corner, faint = driver.copy(), driver.copy(), _brighter_from(driver, 4, 5, 2)
    straight[96:] //= 2
    brighter_corner[96:, 80:] //= 2
    between = np.roll(_brighter_from(driver, 4, 5, 30), 5, axis=0)
    assert not any(stairs.has_stair(one, Blocks(16, 16)) for one in (straight, brighter_corner, faint, between))


def test_small_pictures_and_headers_that_say_nothing_have_none() -> None:
    assert not stairs.has_stair(np.zeros((17, 400), np.uint8), Blocks(16, 16))
    assert not stairs.has_stair(np.zeros((400, 90), np.uint8), Blocks(16, 16))
    assert not stairs.has_stair(np.zeros((400, 400), np.uint8), None)
    assert segments.blocks(b"\xff\xd8\xff\xda") is None
    assert segments.blocks(_encoded(np.zeros((40, 40), np.uint8))) == Blocks(8, 8)
    assert segments.blocks(_encoded(np.zeros((40, 40, 3), np.uint8))) == Blocks(16, 16)


@pytest.mark.parametrize("quality", [5, 20, 40, 60, 75, 85, 90, 95, 100])
def test_no_sound_picture_has_one(quality: int) -> None:
    anew = [cv2.IMWRITE_JPEG_RST_INTERVAL, 10]
    for picture in footage.hard_pictures():
        assert picture.shape[1] == 160
        for more in ([], anew):
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, *more]
            pictures.decode(cv2.imencode(".jpg", picture, options)[1].tobytes())


def test_half_of_what_libjpeg_lets_through_wrong_is_refused() -> None:
    wrong = refused = 0
    for picture in _drive(1, seed=1):
        sound = _encoded(picture)
        meant = simplejpeg.decode_jpeg(sound, "RGB").astype(np.int16)
        random = np.random.default_rng(len(sound))
        for _ in range(40):
            damaged, at = bytearray(sound), int(random.integers(700, len(sound) - 50))
            damaged[at] ^= 1 << int(random.integers(8))
            try:
                shown = simplejpeg.decode_jpeg(bytes(damaged), "RGB", strict=True)
            except ValueError:
                continue
            apart = np.abs(shown - meant).mean(axis=2).astype(np.float32)
            if cv2.blur(apart, (16, 16)).max() > 4:
                wrong += 1
                try:
                    pictures.decode(bytes(damaged))
                except InputError:
                    refused += 1
    assert wrong > 50
    assert refused > wrong / 2


def test_such_a_picture_of_a_recording_is_left_out(tmp_path: Path) -> None:
    shown = _drive(1.7, seed=3)[:20]
    path = tmp_path / "drive.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30, options={"qmin": "3", "qmax": "3"})
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        for picture in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        packets = [(packet.pos or 0, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    place, sound = packets[15]
    damaged = _stepped(sound)
    content = path.read_bytes()
    path.write_bytes(content[:place] + damaged + content[place + len(sound) :])
    index, kept = frames.scan(path), dict[int, np.ndarray]()
    lost = decoding.read(path, index, range(index.frames), kept.__setitem__, 2)
    assert set(lost) == {15}
    assert set(kept) == set(range(20)) - {15}


def _stepped(jpeg: bytes) -> bytes:
    """With one bit flipped so that nothing but the step shows it."""
    random = np.random.default_rng(0)
    for _ in range(5000):
        damaged, at = bytearray(jpeg), int(random.integers(700, len(jpeg) - 50))
        damaged[at] ^= 1 << int(random.integers(8))
        if pictures.is_sound_jpeg(bytes(damaged)):
            luma = simplejpeg.decode_jpeg(bytes(damaged), "GRAY")[..., 0]
            if stairs.has_stair(luma, segments.blocks(jpeg)):
                return bytes(damaged)
    raise AssertionError("no such bit")
