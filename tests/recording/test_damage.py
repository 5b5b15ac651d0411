"""Damaged packets: no frame that is kept differs from the undamaged recording's, and what is left out is counted."""

import os
import re
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recording import bitstream, decoding, endings, frames, second_look
from tests import recordings

FRAMES, GROUP = recordings.SCENE_FRAMES, 12
QUIET = "log-level=none:pools=2"
CODECS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"codec": "libx264", "options": {"crf": "23", "x264-params": "keyint=12:scenecut=0"}},
    "h264.mkv": {"codec": "libx264", "options": {"crf": "23", "profile": "baseline", "x264-params": "keyint=12"}},
    "hevc.mp4": {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": f"{QUIET}:keyint=12"}},
    "plain-hevc.mp4": {"codec": "libx265", "options": {"preset": "fast", "x265-params": f"{QUIET}:keyint=12:wpp=0"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"q:v": "5", "g": "12"}},
    "mjpeg.mov": {"codec": "mjpeg", "options": {}},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[int, np.ndarray]]]:
    """One recording per codec, of a scene that moves and has noise, and its pictures."""
    folder = tmp_path_factory.mktemp("sound")
    return {name: (path := recordings.scene(folder / name, **how), everything(path)[0]) for name, how in CODECS.items()}


def everything(path: Path, threads: int = 1) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    got: dict[int, np.ndarray] = {}
    index = frames.scan(path)
    lost = decoding.read(path, index, range(index.frames), got.__setitem__, threads)
    return {frame: picture for frame, picture in got.items() if frame not in lost}, lost


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """By how many grey levels two pictures differ where they differ most, over patches of 16 pixels."""
    return float(cv2.blur(cv2.absdiff(one, other).mean(axis=2).astype(np.float32), (16, 16)).max())


# A flipped bit of a JPEG makes another valid JPEG, which no decoder can tell from the first.
CASES = [
    (name, kind)
    for name in CODECS
    for kind in ("overwritten", "zeroed", "flipped")
    if (name, kind) != ("mjpeg.mov", "flipped")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_no_kept_frame_is_smeared(name: str, kind: str, sound, tmp_path: Path) -> None:
    path, whole = sound[name]
    assert sorted(whole) == list(range(FRAMES)), "a sound recording loses nothing"
    random = np.random.default_rng(len(name) + len(kind))
    smeared = noticed = 0
    for trial in range(3):
        damaged = shutil.copy(path, tmp_path / name)
        recordings.damage(damaged, random.choice(FRAMES, 3, replace=False), seed=trial, kind=kind)
        got, lost = everything(damaged)
        assert sorted([*got, *lost]) == list(range(FRAMES))
        assert set(lost.values()) <= {decoding.DAMAGED}
        smeared += sum(apart(picture, whole[frame]) > 12 for frame, picture in got.items())
        noticed += bool(lost)
    assert smeared == 0
    assert noticed == 3


# Where units stand behind start codes, and where frames are counted, damage shows as it does elsewhere.
@pytest.mark.parametrize(("name", "kinds"), [
    ("v.ts", ("overwritten", "zeroed")), ("v.hevc", ("overwritten", "zeroed")),
    ("v.avi", ("zeroed",)), ("v.flv", ("zeroed",)), ("v.h264", ("zeroed",)),
])  # fmt: skip
def test_no_frame_that_is_counted_is_smeared(name: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    codec, how = "libx264", {"g": "12"}
    if name in ("v.ts", "v.hevc"):
        codec, how = "libx265", {"preset": "fast", "x265-params": f"{QUIET}:keyint=12"}
    path = recordings.scene(tmp_path / name, codec, how)
    whole, content = everything(path)[0], path.read_bytes()
    assert sorted(whole) == list(range(FRAMES))
    for seed, kind in enumerate(kinds * 3):
        path.write_bytes(content)
        recordings.damage(path, [20 + 4 * seed], seed=seed, kind=kind)
        index = frames.scan(path)
        assert not index.exact
        got, lost = everything(path)
        assert lost, (seed, kind)
        assert sorted([*got, *lost]) == list(range(FRAMES))
        assert [number for number, _ in decoding.in_order(path, index)] == sorted(got)
        assert all(apart(picture, whole[frame]) <= 12 for frame, picture in got.items())


@pytest.mark.parametrize(("name", "codec", "how"), [
    ("v.avi", "libx264", {"x264-params": "slices=3:keyint=12"}),
    ("v.ts", "libx264", {"x264-params": "nal-hrd=cbr:vbv-maxrate=3000:vbv-bufsize=3000:bitrate=3000:filler=1"}),
    ("v.flv", "libx264", {"x264-params": "bframes=5:open-gop=1:keyint=12"}),
    ("v.ts", "libx265", {"preset": "fast", "x265-params": f"{QUIET}:open-gop=1:bframes=4:wpp=0"}),
    ("v.ts", "libx265", {"preset": "fast", "x265-params": f"{QUIET}:keyint=6:repeat-headers=1:slices=3:aud=1"}),
])  # fmt: skip
def test_sound_films_whose_frames_are_counted_lose_nothing(name: str, codec: str, how: dict, tmp_path: Path) -> None:
    path = recordings.scene(tmp_path / name, codec, how)
    index = frames.scan(path)
    assert (index.exact, index.strict, index.damaged) == (False, True, frozenset())
    got, lost = everything(path)
    assert (len(got), lost) == (FRAMES, {})
    assert second_look.damaged(path, index, dict.fromkeys(range(FRAMES), True)) == frozenset()


@pytest.mark.parametrize(("name", "codec", "called"), [
    ("v.avi", "rawvideo", "raw video"), ("v.mkv", "ffv1", "FFmpeg video codec #1"), ("v.avi", "utvideo", "Ut Video"),
    ("v.avi", "magicyuv", "MagicYUV video"), ("v.avi", "snow", "Snow"), ("v.wmv", "wmv1", "Windows Media Video 7"),
    ("v.avi", "msmpeg4", "MPEG-4 part 2 Microsoft variant version 3"), ("v.webm", "libvpx-vp9", "Google VP9"),
    ("v.avi", "mpeg4", ""), ("v.avi", "mjpeg", ""), ("v.mpg", "mpeg2video", ""), ("v.flv", "flv", ""),
    ("v.mp4", "libsvtav1", ""), ("v.ts", "libx265", ""),
])  # fmt: skip
def test_where_damage_does_not_show_it_is_said_once(
    name: str, codec: str, called: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recordings.scene(tmp_path / name, codec, {"x265-params": QUIET} if codec == "libx265" else {})
    index = frames.scan(path)
    assert len(list(decoding.in_order(path, index))) == FRAMES
    said = f"video {path}: damage in {called} may not be seen; compare checksums if the file was copied"
    assert caplog.messages == ([said] if called else [])


def test_a_worker_that_has_encoded_av1_runs_as_the_others_do(tmp_path: Path) -> None:
    recordings.scene(tmp_path / "v.mp4", "libsvtav1", {"preset": "12"})
    recordings.in_ordinary_time()
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    assert {os.sched_getscheduler(task) for task in tasks} == {os.SCHED_OTHER}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_joined_transport_streams_are_read_to_the_end(codec: str, tmp_path: Path) -> None:
    # Cameras write a file a minute; where two meet, the container counts the last packet of the first as damaged.
    how = {"x265-params": QUIET} if codec == "libx265" else {}
    path = recordings.scene(tmp_path / "v.ts", codec, how)
    path.write_bytes(2 * path.read_bytes())
    with av.open(str(path)) as container:
        assert any(packet.is_corrupt for packet in container.demux(video=0))
    assert len(everything(path)[0]) == 2 * FRAMES


def test_bytes_that_most_pictures_of_a_camera_have_end_nothing(tmp_path: Path) -> None:
    path = recordings.scene(tmp_path / "v.avi", "libx264", {"g": "12"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "odd.avi"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                odd = av.Packet(bytes(packet) + b"\0\0\0camera")
                odd.pts, odd.dts, odd.time_base = packet.pts, packet.dts, packet.time_base
                odd.stream, odd.is_keyframe = stream, packet.is_keyframe
                target.mux(odd)
    got, lost = everything(tmp_path / "odd.avi")
    assert (len(got), lost) == (FRAMES, {})


@pytest.mark.parametrize("name", ["h264.mp4", "plain-hevc.mp4", "mpeg4.mp4"])
def test_what_is_left_out_ends_with_the_next_key_frame(name: str, sound, tmp_path: Path) -> None:
    path, _ = sound[name]
    damaged = recordings.damage(shutil.copy(path, tmp_path / name), [GROUP + 2], seed=0, kind="zeroed")
    got, lost = everything(damaged)
    assert lost
    assert set(lost) <= set(range(GROUP, 2 * GROUP))
    assert set(range(2 * GROUP, FRAMES)) <= set(got)


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "mjpeg.mov"])
def test_every_way_of_reading_leaves_out_the_same(name: str, sound, tmp_path: Path) -> None:
    damaged = recordings.damage(shutil.copy(sound[name][0], tmp_path / name), [5, 30], seed=1)
    got, lost = everything(damaged)
    assert lost
    for threads in (2, 6):
        other, also = everything(damaged, threads)
        assert also == lost
        assert all(np.array_equal(other[frame], got[frame]) for frame in got)
    in_order = dict(decoding.in_order(damaged, frames.scan(damaged)))
    assert sorted(in_order) == sorted(got)
    assert all(np.array_equal(in_order[frame], got[frame]) for frame in got)


@pytest.mark.parametrize("seed", [4, 10, 13])
def test_the_key_frame_behind_damage_is_what_it_is_without(seed: int, tmp_path: Path) -> None:
    """FFmpeg's decoder adds what it has of a damaged block to the next picture, a key frame or not."""
    options = {"profile": "baseline", "threads": "1", "x264-params": "keyint=6:scenecut=0"}
    sound = recordings.scene(tmp_path / "v.mp4", "libx264", options)
    damaged = recordings.damage(
        Path(shutil.copy(sound, tmp_path / "damaged.mp4")), [13], seed, ("overwritten", "flipped")[seed % 2]
    )
    whole: dict[int, np.ndarray] = {}
    kept: dict[int, np.ndarray] = {}
    for path, pictures in ((sound, whole), (damaged, kept)):
        decoding.read(path, frames.scan(path), range(recordings.SCENE_FRAMES), pictures.__setitem__, 1)
    assert sorted(set(whole) - set(kept)) == [13, 14, 15, 16, 17]
    assert all(np.array_equal(picture, whole[number]) for number, picture in kept.items())


def test_only_what_a_frame_depends_on_must_be_sound(sound, tmp_path: Path) -> None:
    path, whole = sound["h264.mp4"]
    damaged = recordings.damage(shutil.copy(path, tmp_path / "v.mp4"), [GROUP + 2], seed=0)
    got: dict[int, np.ndarray] = {}
    wanted = [3, GROUP, 2 * GROUP + 5, FRAMES - 1]
    assert decoding.read(damaged, frames.scan(damaged), wanted, got.__setitem__, 1) == {}
    assert all(np.array_equal(got[frame], whole[frame]) for frame in wanted)


def test_damage_in_the_first_packets_does_not_end_the_file(sound, tmp_path: Path) -> None:
    path, _ = sound["h264.mp4"]
    for packet in (0, 1):
        damaged = recordings.damage(shutil.copy(path, tmp_path / "v.mp4"), [packet], seed=0)
        got, lost = everything(damaged)
        assert lost
        assert set(range(GROUP, FRAMES)) <= set(got)


# Whatever an encoder can write must not be taken for damage: each of these once lost frames, or could.
@pytest.mark.parametrize(
    "options",
    ["wpp=0:open-gop=1:bframes=4", "wpp=0:qp=50:keyint=100:hash=1:aud=1"],
)
def test_sound_h265_loses_nothing(options: str, tmp_path: Path) -> None:
    how = {"preset": "fast", "x265-params": f"{QUIET}:{options}"}
    got, lost = everything(recordings.scene(tmp_path / "v.mp4", "libx265", how))
    assert (sorted(got), lost) == (list(range(FRAMES)), {})


def test_h265_of_a_still_scene_loses_nothing(tmp_path: Path) -> None:
    # All but nothing is written for pictures that repeat the one before.
    size = (320, 192)
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream: Any = container.add_stream("libx265", rate=30, options={"x265-params": f"{QUIET}:wpp=0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(recordings.picture(1, size), "bgr24")))
        container.mux(stream.encode())
    got, lost = everything(tmp_path / "v.mp4")
    assert (len(got), lost) == (30, {})


def test_a_camera_whose_every_picture_has_bytes_too_many_loses_none(sound, tmp_path: Path) -> None:
    # Webcams do; libjpeg-turbo warns of it. What FFmpeg sees is then all there is.
    with av.open(str(sound["mjpeg.mov"][0])) as source, av.open(str(tmp_path / "v.avi"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                odd = av.Packet(bytes(packet)[:-2] + b"\x12\x34" * 9 + b"\xff\xd9")
                odd.pts, odd.dts, odd.time_base, odd.stream = packet.pts, packet.dts, packet.time_base, stream
                target.mux(odd)
    assert not frames.scan(tmp_path / "v.avi").strict
    got, lost = everything(tmp_path / "v.avi")
    assert (len(got), lost) == (FRAMES, {})
    assert frames.scan(sound["mjpeg.mov"][0]).strict


@pytest.mark.parametrize(
    "how", ["intra-refresh=1:keyint=20:slices=2", "open-gop=1:bframes=5:keyint=20", "tff=1:keyint=20"]
)
@pytest.mark.parametrize("coded", ["cabac=1", "cabac=0"])
def test_sound_h264_loses_nothing_wherever_its_pictures_become_whole(how: str, coded: str, tmp_path: Path) -> None:
    path = recordings.scene(tmp_path / "v.mp4", "libx264", {"x264-params": f"{coded}:{how}"})
    keys = frames.scan(path).keys
    assert (len(keys) == 1) == ("intra-refresh" in how)
    got, lost = everything(path)
    assert (len(got), lost) == (FRAMES, {})


@pytest.mark.parametrize(("behind", "strict"), [(b"\0\0\3\0\0\3", True), (b"garbage" * 9, False)])
def test_h265_with_something_behind_every_picture_loses_none(
    behind: bytes, strict: bool, sound, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Words of zeros are allowed there, and fill up a constant bit rate. Anything else no decoder minds either.
    recordings.lengthened(sound["plain-hevc.mp4"][0], tmp_path / "v.mp4", behind=behind)
    assert frames.scan(tmp_path / "v.mp4").strict == strict
    got, lost = everything(tmp_path / "v.mp4")
    assert (len(got), lost) == (FRAMES, {})
    assert ("damage in HEVC" in caplog.text) != strict, "what cannot be looked at is said"


def test_h265_data_that_ends_a_few_bytes_before_it_should_is_damaged(sound) -> None:
    # After damage the decoder may be finished anywhere, sometimes just before the end.
    with av.open(str(sound["plain-hevc.mp4"][0])) as source:
        looked_at = endings.of(source.streams.video[0])
        assert looked_at
        for packet in islice(source.demux(video=0), 6):
            assert looked_at.fit(packet)
            *others, last = bitstream.units(memoryview(packet), 4)
            longer = b"".join(len(unit).to_bytes(4) + unit for unit in (*others, last + b"\x55\xaa\x5a\xa5\x55\xaa"))
            assert not looked_at.fit(av.Packet(longer))


def test_what_libjpeg_finds_damaged_in_an_mjpeg_is_left_out(sound, tmp_path: Path) -> None:
    path, whole = sound["mjpeg.mov"]
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][30]
    wrong = {True: 0, False: 0}
    for trial in range(40):
        content, random = bytearray(path.read_bytes()), np.random.default_rng(trial)
        at = place + int(random.integers(size // 5, size - 64))
        content[at : at + 64] = bytes(64) if trial % 2 else random.bytes(64)
        damaged = tmp_path / "v.mov"
        damaged.write_bytes(content)
        index = frames.scan(damaged)
        for strict in wrong:
            got: dict[int, np.ndarray] = {}
            decoding.read(damaged, replace(index, strict=strict), [30], got.__setitem__, 1)
            wrong[strict] += any(apart(picture, whole[30]) > 4 for picture in got.values())
    assert wrong[True] <= wrong[False] // 2


# Without arithmetic coding a flipped bit mostly shows in data that is left over behind the picture.
def test_h264_pictures_whose_data_does_not_end_with_them_are_left_out(sound, tmp_path: Path) -> None:
    path, whole = sound["h264.mkv"]
    assert frames.scan(path).strict
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    wrong = {True: 0, False: 0}
    for trial in range(40):
        random, content = np.random.default_rng(trial), bytearray(path.read_bytes())
        place, size = places[int(random.integers(20, FRAMES))]
        content[place + int(random.integers(40, size - 2))] ^= 1 << int(random.integers(8))
        damaged = tmp_path / "v.mkv"
        damaged.write_bytes(content)
        index = frames.scan(damaged)
        for strict in wrong:
            got: dict[int, np.ndarray] = {}
            decoding.read(damaged, replace(index, strict=strict), range(12, FRAMES), got.__setitem__, 1)
            wrong[strict] += any(apart(picture, whole[frame]) > 4 for frame, picture in got.items())
    assert wrong[True] < wrong[False]


@given(st.lists(st.sampled_from([b"\x00", b"\x00\x00\x03", b"\x03", b"\x0a", b"\x41"]), max_size=40).map(b"".join))
def test_padding_is_zeros_and_words_of_zeros_in_any_order(unit):
    assert endings._unpadded(unit) == re.sub(rb"(\x00\x00\x03|\x00)+\Z", b"", unit)


def test_lost_packets_of_a_transport_stream_leave_no_smear(tmp_path: Path) -> None:
    # The stream counts its packets of 188 bytes; the decoder makes a picture of what is left of one.
    path = recordings.scene(tmp_path / "v.ts", options={"x264-params": "keyint=12"})
    whole, _ = everything(path)
    content, noticed = path.read_bytes(), 0
    for seed in range(10):
        random, cut = np.random.default_rng(seed), bytearray(content)
        count = len(content) // 188
        at = 188 * int(random.integers(count // 10, count - 10))
        del cut[at : at + 188 * int(random.integers(1, 8))]
        (tmp_path / "lost.ts").write_bytes(cut)
        got, _ = everything(tmp_path / "lost.ts")
        noticed += len(got) < len(whole)
        assert all(apart(picture, whole[frame]) < 4 for frame, picture in got.items()), seed
    assert noticed >= 8
