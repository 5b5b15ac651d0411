"""A picture of H.264 that leaps, and whose data does not end with it, has the whole film looked at again."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recording import decoding, endings, frames, jumps
from tests import recordings

H264 = {"x264-params": "keyint=12:scenecut=0:bframes=0"}
HIDDEN = 17
LOST = set(range(HIDDEN, 24))  # up to the next key frame
EVERYTHING = range(recordings.SCENE_FRAMES)


@pytest.fixture(scope="module")
def leaping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound film with a square that is bright in one picture."""
    path = tmp_path_factory.mktemp("leaping") / "v.mp4"
    return recordings.scene(path, "libx264", H264, patch=HIDDEN, speed=0.1, brighter=60)


def read(path: Path, wanted: Iterable[int] = EVERYTHING, threads: int = 1) -> set[int]:
    return set(decoding.read(path, frames.scan(path), wanted, lambda *_: None, threads))


def test_a_leap_alone_is_no_damage(leaping: Path) -> None:
    assert read(leaping) == set()
    assert [number for number, _ in decoding.in_order(leaping, frames.scan(leaping))] == [*EVERYTHING]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_leap_whose_data_does_not_end_with_it_is(leaping: Path, tmp_path: Path, threads: int) -> None:
    path = recordings.lengthened(leaping, tmp_path / "v.mp4", [HIDDEN])
    assert read(path, threads=threads) == LOST
    assert read(path, [2, HIDDEN - 1, 40], threads) == set(), "nothing that is wanted depends on it"


def test_in_order_nothing_of_it_is_given(leaping: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = recordings.lengthened(leaping, tmp_path / "v.mp4", [HIDDEN])
    given = [number for number, _ in decoding.in_order(path, frames.scan(path))]
    assert given == sorted(set(EVERYTHING) - LOST)
    assert "taken for sound" not in caplog.text
    assert [number for number, _ in decoding.in_order(path, frames.scan(path), HIDDEN)] == [*range(HIDDEN)]


def test_where_frames_are_counted_reading_ends_there(tmp_path: Path) -> None:
    film = recordings.scene(tmp_path / "v.flv", "libx264", H264, patch=HIDDEN, speed=0.1, brighter=60)
    assert read(film) == set()
    path = recordings.lengthened(film, tmp_path / "hidden.flv", [HIDDEN])
    assert not frames.scan(path).exact
    kept = set(EVERYTHING) - read(path)
    assert kept == {number for number, _ in decoding.in_order(path, frames.scan(path))}
    assert kept == set(range(HIDDEN - frames.HELD_BACK))


def test_a_camera_that_always_leaves_data_over_is_not_accused(leaping: Path, tmp_path: Path) -> None:
    assert read(recordings.lengthened(leaping, tmp_path / "v.mp4")) == set()


def test_data_left_over_more_often_is_no_damage_where_no_other_is_seen(leaping: Path, tmp_path: Path) -> None:
    often = recordings.lengthened(leaping, tmp_path / "often.mp4", [HIDDEN, 26, 29, 33, 40])
    assert read(often) == set()
    assert [number for number, _ in decoding.in_order(often, frames.scan(often))] == [*EVERYTHING]
    seen = recordings.damage(Path(shutil.copy(often, tmp_path / "seen.mp4")), [44], seed=0, kind="zeroed")
    lost = LOST | {*range(26, 36), *range(40, 48)}
    assert read(seen) == lost
    assert set(EVERYTHING) - {number for number, _ in decoding.in_order(seen, frames.scan(seen))} == lost


def test_damage_that_no_decoder_sees_is_found(tmp_path: Path) -> None:
    """Copies with one packet overwritten: what differs from the sound film by more than coding noise is left out."""
    sound = recordings.scene(tmp_path / "v.mp4", "libx264", {"x264-params": "keyint=12:scenecut=0"}, speed=0.1)
    whole = kept_of(sound)
    for seed, packet, kind in ((17, 47, "overwritten"), (59, 30, "overwritten"), (18, 42, "flipped")):
        path = recordings.damage(Path(shutil.copy(sound, tmp_path / "damaged.mp4")), [packet], seed, kind)
        kept = kept_of(path)
        assert len(kept) < len(whole)
        for number, picture in kept.items():
            apart = cv2.blur(cv2.absdiff(picture, whole[number]).mean(axis=2).astype(np.float32), (16, 16)).max()
            assert apart < 4, (seed, number)


def kept_of(path: Path) -> dict[int, np.ndarray]:
    kept: dict[int, np.ndarray] = {}
    lost = decoding.read(path, frames.scan(path), EVERYTHING, kept.__setitem__, 1)
    return {number: picture for number, picture in kept.items() if number not in lost}


def test_a_film_that_leaps_all_the_time_costs_few_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A light that is on in every second picture, elsewhere each time: a strobe, a wood that the sun shines through."""
    looked_at: list[int] = []
    fit = endings.H264Endings.fit
    monkeypatch.setattr(endings.H264Endings, "fit", lambda *given: looked_at.append(1) or fit(*given))
    random = np.random.default_rng(0)
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=H264)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for _ in range(300):
            shown = np.full((192, 320, 3), 60, np.uint8)
            left, top = random.integers(0, 280), random.integers(0, 150)
            shown[top : top + 40, left : left + 40] = random.integers(100, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "bgr24")))
        container.mux(stream.encode(None))
    index = frames.scan(tmp_path / "v.mp4")
    assert decoding.read(tmp_path / "v.mp4", index, range(300), lambda *_: None, 1) == {}
    assert 1 <= len(looked_at) <= 2 * (jumps._LOOKS + 1)  # key frames near them, too
    looked_at.clear()
    assert len(list(decoding.in_order(tmp_path / "v.mp4", index))) == 300
    assert 1 <= len(looked_at) <= 2 * (jumps._LOOKS + 1)  # key frames near them, too


def test_pictures_of_another_size_or_time_begin_anew() -> None:
    leaps = jumps.Leaps()
    grey = np.full((24, 40), 100, np.uint8)
    shown = ((0, grey), (1, grey), (2, grey), (90, grey + 100), (91, grey + 100), (92, grey[:12] + 20), (93, grey[:12]))
    found = [leaps.beyond(time, blocks) for time, blocks in shown]
    assert found == [None, 0, 0, None, 0, None, 20], "neither a gap nor another size is a leap"


def test_the_highest_of_each_part_of_a_film_is_looked_at_and_few_more() -> None:
    leaps = {5: 10.0, 7: 30.0, 490: 20.0, 510: 6.0, 1000: 90.0, 1001: 80.0, 1002: 70.0, 1003: 60.0, 1004: 50.0}
    assert jumps.chosen(leaps, 1500, set()) == {7, 510, 1000} | {1001, 1002, 1003, 1004}
    assert jumps.chosen(leaps, 30, set()) == {7, 510, 1000} | {1001, 1002}
    assert jumps.chosen(leaps, 30, {7, 1000}) == {490, 510, 1001} | {1000, 1002}, "a key frame may be the end of damage"
    assert jumps.chosen({}, 1500, set()) == set()
