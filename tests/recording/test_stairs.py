"""What a lost mean of a block leaves in a JPEG is damage; no edge of a scene is taken for it."""

import fractions
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


@pytest.mark.parametrize("by", [-20, -12, -7, 7, 12, 40])
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
    stepped = _brighter_from(_drive(0.1, seed=0)[0], 1, 5, 20)
    assert stairs.has_stair(stepped[:40], Blocks(16, 16)) and stairs.has_stair(stepped[:, :150], Blocks(16, 16))
    for small in (stepped[:33], stepped[:, :140], stepped[:3], stepped[:, :1]):
        assert not stairs.has_stair(small, Blocks(16, 16))
    assert not stairs.has_stair(stepped, None)
    assert stairs.has_stair(stepped, Blocks(16, 16, quanta=(12.0,)))
    assert not stairs.has_stair(stepped, Blocks(16, 16, quanta=(16.0,))), "a step of what the means are coded in"
    assert segments.blocks(b"\xff\xd8\xff\xda") is None
    grey, colour = (_encoded(np.zeros(shape, np.uint8), 50) for shape in ((40, 40), (40, 40, 3)))
    assert segments.blocks(grey) == Blocks(8, 8, 0, (2.0,))
    assert segments.blocks(colour) == Blocks(16, 16, 0, (2.0, 2.125, 2.125))
    filled = colour.replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1)
    assert segments.blocks(filled) == segments.blocks(colour)
    assert segments.blocks(colour[:170]) is None


@pytest.mark.parametrize("quality", [5, 20, 40, 60, 75, 85, 90, 95, 100])
def test_no_sound_picture_has_one(quality: int) -> None:
    anew = [cv2.IMWRITE_JPEG_RST_INTERVAL, 10]
    for picture in footage.hard_pictures():
        assert picture.shape[1] == 160
        for more in ([], anew):
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, *more]
            pictures.decode(cv2.imencode(".jpg", picture, options)[1].tobytes())


def test_two_fifths_of_what_libjpeg_lets_through_wrong_is_refused() -> None:
    wrong = refused = 0
    random = np.random.default_rng(0)
    for picture in _drive(0.5, seed=1):
        sound = _encoded(picture)
        meant = simplejpeg.decode_jpeg(sound, "RGB").astype(np.int16)
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
    assert refused > 0.4 * wrong


def test_a_slope_that_is_coded_coarsely_has_none() -> None:
    rows, columns = np.mgrid[:360, :480]
    random = np.random.default_rng(0)
    for quality in (10, 15, 20, 24):
        for _ in range(10):
            slope = (
                random.uniform(20, 140) + random.uniform(20, 120) * rows / 360 + random.uniform(-12, 12) * columns / 480
            )
            grey = np.clip(slope + random.normal(0, 3, slope.shape), 0, 255).astype(np.uint8)
            pictures.decode(_encoded(grey, quality))
            pictures.decode(_encoded(np.dstack([grey] * 3), quality))


def test_only_the_highest_of_many_places_are_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = list[int]()

    def is_plain(stair: np.ndarray, beside: np.ndarray) -> bool:
        looked_at.append(len(stair))
        return False

    monkeypatch.setattr(stairs, "_is_plain", is_plain)
    driver = _drive(0.1, seed=0)[0]
    for row in range(1, 30, 3):
        driver = _brighter_from(driver, row, 14, 20 if row % 2 else -20)
    assert not stairs.has_stair(driver, Blocks(16, 16))
    assert len(looked_at) == stairs._CANDIDATES, "else a picture could be made that keeps a server busy for seconds"


def test_steps_of_different_heights_are_a_scene() -> None:
    driver = _drive(0.1, seed=0)[0]
    uneven = driver.astype(np.int16)
    columns = driver.shape[1] // 16
    uneven[16 * 4 :] += np.repeat(np.where(np.arange(columns) % 2, 4, 26), 16)[None, :, None]
    uneven[16 * 4 : 16 * 5, : 16 * 14] = driver[16 * 4 : 16 * 5, : 16 * 14]
    assert not stairs.has_stair(np.clip(uneven, 0, 255).astype(np.uint8), Blocks(16, 16))


def test_a_flat_box_that_ends_on_the_blocks_is_none() -> None:
    random = np.random.default_rng(0)
    scene = np.clip(random.normal(120, 4, (240, 320)), 0, 255).astype(np.uint8)
    box, moved = scene.copy(), scene.copy()
    box[96:112, 160:] = 150
    moved[96:112, 160:] += 30
    every_row = Blocks(16, 16, 20)
    assert stairs.has_stair(moved, every_row) and not stairs.has_stair(box, every_row)


def test_what_begins_anew_every_second_row_has_stairs_above_and_bars_below() -> None:
    driver = _drive(0.1, seed=0)[0].astype(np.int16)
    blocks = Blocks(16, 16, 2 * (driver.shape[1] // 16))
    stair, bar = driver.copy(), driver.copy()
    stair[16 * 6 : 16 * 7, 16 * 12 :] += 20  # rows 6 and 7 begin anew together
    stair[16 * 7 : 16 * 8] += 20
    bar[16 * 7 : 16 * 8, 16 * 12 :] += 20
    elsewhere = np.roll(bar, -16, axis=0)
    assert all(stairs.has_stair(np.clip(one, 0, 255).astype(np.uint8), blocks) for one in (stair, bar))
    assert not stairs.has_stair(np.clip(elsewhere, 0, 255).astype(np.uint8), blocks)


def test_a_step_in_a_colour_alone_is_seen_in_a_recording(tmp_path: Path) -> None:
    shown = _drive(1.7, seed=3)[:20]
    random = np.random.default_rng(0)
    for one in shown:  # colours of a dark cabin have no detail
        one[:] = np.clip(one + random.normal(0, 12, one.shape), 0, 255)
    tinted = cv2.cvtColor(shown[15], cv2.COLOR_BGR2YCrCb)
    tinted[..., 1] = _brighter_from(tinted[..., 1], 10, 12, 30)
    shown[15] = cv2.cvtColor(tinted, cv2.COLOR_YCrCb2BGR)
    assert pictures.decode(_encoded(shown[15], 95)).size, "single pictures are not asked about colours"
    _mjpeg(tmp_path / "drive.mov", shown, [_encoded(one, 95) for one in shown])
    assert _kept(tmp_path / "drive.mov") == set(range(20)) - {15}


def test_frames_are_given_once_where_a_step_and_then_damage_are_counted_past(tmp_path: Path) -> None:
    shown = _drive(4, seed=3)[:45]
    packets = [_encoded(one) for one in shown]
    packets[4] = _stepped(packets[4])
    packets[40] = packets[40][:9000]
    _mjpeg(tmp_path / "drive.avi", shown, packets)
    given = [number for number, _ in decoding.in_order(tmp_path / "drive.avi", frames.scan(tmp_path / "drive.avi"))]
    assert given == sorted(set(given)) and 4 not in given and 40 not in given
    assert set(range(20)) - {4} <= set(given)


@pytest.mark.parametrize("ending", [".mov", ".avi"])
def test_such_a_picture_of_a_recording_is_left_out(tmp_path: Path, ending: str) -> None:
    packets = _mjpeg(tmp_path / f"sound{ending}", shown := _drive(1.7, seed=3)[:20])
    _mjpeg(tmp_path / f"drive{ending}", shown, [*packets[:15], _stepped(packets[15]), *packets[16:]])
    assert _kept(tmp_path / f"sound{ending}") == set(range(20))
    assert _kept(tmp_path / f"drive{ending}") == set(range(20)) - {15}


@pytest.mark.parametrize("ending", [".mov", ".avi"])
def test_a_step_that_all_pictures_have_is_the_cameras(tmp_path: Path, ending: str) -> None:
    shown = _drive(1.7, seed=3)[:20]
    shown = [_brighter_from(one, 6, 12, 14) for one in shown]
    assert pictures.is_sound_jpeg(_encoded(shown[0])), "what is seen of it are the steps alone"
    with pytest.raises(InputError, match="from one block on"):
        pictures.decode(_encoded(shown[0]))
    packets = _mjpeg(tmp_path / f"camera{ending}", shown)
    assert _kept(tmp_path / f"camera{ending}") == set(range(20))
    _mjpeg(tmp_path / f"cut{ending}", shown, [*packets[:15], packets[15][:9000], *packets[16:]])
    assert 15 not in _kept(tmp_path / f"cut{ending}"), "what libjpeg-turbo says counts all the same"


def _mjpeg(path: Path, shown: list[np.ndarray], stored: list[bytes] | None = None) -> list[bytes]:
    """A recording of these pictures, or with these packets in their place; its packets."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        written = stored or [_encoded(picture) for picture in shown]
        for number, data in enumerate(written):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            packet.time_base = fractions.Fraction(1, 30)
            container.mux(packet)
    return written


def _kept(path: Path) -> set[int]:
    index, kept = frames.scan(path), dict[int, np.ndarray]()
    lost = decoding.read(path, index, range(index.frames), kept.__setitem__, 2)
    assert index.frames == 20 and set(lost) == set(range(20)) - set(kept)
    return set(kept)


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
