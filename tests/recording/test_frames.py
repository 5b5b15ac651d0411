"""Frame n is the n-th picture that OpenCV shows when it reads forward: same number, same pixels, on every file."""

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recording import decoding, frames
from recording.exceptions import DriveError
from recording.runs import runs
from tests import recordings

RNG = np.random.default_rng(1)
UNEVEN = np.cumsum(RNG.integers(10, 90, 120)).tolist()
OPEN_GOPS = "open-gop=1:bframes=3:b-adapt=0:keyint=30:scenecut=0"
RECORDINGS = {
    "b-frames.mp4": {},
    "one-key-frame.mp4": {"gop": 1000, "options": {"x264-params": "scenecut=0"}},
    "only-key-frames.mp4": {"gop": 1},
    "pyramid.mp4": {"options": {"x264-params": "bframes=8:b-pyramid=normal:b-adapt=0:ref=5"}},
    "open-gops.mp4": {"options": {"x264-params": OPEN_GOPS}},
    "open-gops.mkv": {"options": {"x264-params": OPEN_GOPS}},
    "open-gops.ts": {"options": {"x264-params": OPEN_GOPS}},
    "no-key-frames-but-refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=30"}},
    "uneven-key-frames.mp4": {"gop": 250, "keys": {7, 8, 31, 60, 95, 118}},
    "uneven-times.mp4": {"times_ms": UNEVEN},
    "uneven-times.mkv": {"times_ms": UNEVEN},
    "starts-late.mp4": {"times_ms": [2500 + 33 * n for n in range(120)]},
    "starts-late.mkv": {"times_ms": [2500 + 33 * n for n in range(120)]},
    "h264.avi": {},
    "mjpeg.avi": {"codec": "mjpeg"},
    "mjpeg.mov": {"codec": "mjpeg"},
    "mp4v.mp4": {"codec": "mpeg4"},
    "mp4v-b-frames.mp4": {"codec": "mpeg4", "b_frames": 2},
    "mp4v-b-frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:open-gop=1:keyint=30"}},
    "turned.mp4": {"rotation": 90},
}
DECODED_FROM_THE_START = {
    "open-gops.ts",
    "h264.avi",
    "mjpeg.avi",
    "mp4v-b-frames.mp4",
    "mp4v-b-frames.avi",
}
"""Where packets do not tell frames: everything else must take the fast way, or its tests test nothing."""


def collect(video: Path, wanted, threads: int = 2) -> tuple[dict[int, np.ndarray], list[int]]:
    got: dict[int, np.ndarray] = {}
    lost = decoding.read(video, frames.scan(video), wanted, got.__setitem__, threads)
    return got, sorted(lost)


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_are_those_that_opencv_reads_forward(name: str, tmp_path: Path) -> None:
    video = recordings.video(tmp_path / name, **RECORDINGS[name])
    shown = recordings.read_forward(video)
    index = frames.scan(video)
    assert index.exact == (name not in DECODED_FROM_THE_START)
    assert index.frames == len(shown) == 120
    assert (index.height, index.width) == shown[0].shape[:2]
    # All of them, a sparse pick (runs are skipped, pictures left out) and the very last alone.
    for wanted in (range(120), [2, 3, 29, 30, 31, 59, 74, 101, 119], [119]):
        got, lost = collect(video, wanted)
        assert lost == []
        assert sorted(got) == list(wanted)
        for frame, picture in got.items():
            np.testing.assert_array_equal(picture, shown[frame])
            if not index.shown.transposed:
                assert recordings.number(picture) == frame


def test_a_video_from_opencv_itself(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (192, 96))
    for n in range(60):
        writer.write(recordings.picture(n, (192, 96)))
    writer.release()
    got, lost = collect(tmp_path / "v.mp4", range(0, 60, 7))
    assert lost == []
    assert {frame: recordings.number(picture) for frame, picture in got.items()} == {n: n for n in range(0, 60, 7)}
    assert frames.scan(tmp_path / "v.mp4").fps == 25


def test_times_are_those_of_the_pictures(tmp_path: Path) -> None:
    for name in ("v.mp4", "v.mkv"):
        index = frames.scan(recordings.video(tmp_path / name, times_ms=UNEVEN))
        np.testing.assert_allclose(index.seconds, (np.array(UNEVEN) - UNEVEN[0]) / 1000, atol=1e-9)
        assert index.fps == pytest.approx(119 / index.seconds[-1], rel=0.15)


def test_a_browsers_recording_has_the_rate_of_its_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Browsers write WebM without a rate; FFmpeg then calls it 1000 per second.
    times = np.arange(60) * 100 + np.random.default_rng(0).integers(-9, 10, 60)
    times[0] = 0
    options = {"deadline": "realtime", "cpu-used": "8"}
    video = recordings.video(tmp_path / "v.webm", 60, codec="libvpx", options=options, times_ms=times.tolist())
    content = video.read_bytes()
    assert content.count(b"\x23\xe3\x83") == 1, "the default duration of the track"
    at = content.index(b"\x23\xe3\x83")
    length = 4 + (content[at + 3] & 0x7F)
    video.write_bytes(
        content[:at] + b"\xec" + bytes([0x80 | (length - 2)]) + bytes(length - 2) + content[at + length :]
    )
    index = frames.scan(video)
    assert 9.9 < index.fps < 10.1
    assert any("v.webm: damage in On2 VP8 may not be seen" in message for message in caplog.messages)
    np.testing.assert_allclose(index.seconds, times / 1000, atol=1e-9)


@pytest.mark.parametrize("how", [{"codec": "mjpeg"}, {"b_frames": 0, "gop": 10}, {}], ids=["MJPEG", "no B", "B"])
def test_a_clock_that_was_set_back_changes_no_frame(how, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A camera's clock is corrected while it records; Matroska keeps the times as they come.
    video = recordings.video(tmp_path / "v.mkv", 60, times_ms=[33 * n for n in range(60)], **how)
    content, at = bytearray(video.read_bytes()), 0
    while (at := content.find(b"\x1f\x43\xb6\x75", at) + 1) > 0:  # a cluster; its time follows
        place = content.index(b"\xe7", at) + 2
        width = content[place - 1] & 0x7F
        time = int.from_bytes(content[place : place + width])
        content[place : place + width] = (time - 600 if time >= 900 else time).to_bytes(width)
    video.write_bytes(content)
    got, lost = collect(video, range(60))
    assert (sorted(got), lost) == (list(range(60)), [])
    assert all(recordings.number(picture) == frame for frame, picture in got.items())
    assert [recordings.number(picture) for _, picture in decoding.in_order(video, frames.scan(video))] == list(
        range(60)
    )
    assert "their clock was set back; 30 per second are assumed" in caplog.text
    assert frames.scan(video).assumed


def test_a_recording_that_paused_keeps_the_pause(tmp_path: Path) -> None:
    times = [33 * n + (3_600_000 if n >= 30 else 0) for n in range(60)]
    index = frames.scan(recordings.video(tmp_path / "v.mkv", 60, times_ms=times))
    np.testing.assert_allclose(index.seconds, np.array(times) / 1000, atol=1e-9)
    assert index.fps == pytest.approx(1000 / 33), "the rate while it recorded, by which margins are counted in frames"


def test_times_below_zero_and_frames_that_a_recorder_dropped(tmp_path: Path) -> None:
    early = recordings.video(tmp_path / "early.mkv", 30, times_ms=[33 * n - 500 for n in range(30)])
    assert frames.scan(early).seconds[0] == 0
    assert sorted(collect(early, range(30))[0]) == list(range(30))
    # AVI writes an empty chunk for a picture that was dropped: the one before stays on the screen.
    shown = [n + 3 * (n >= 10) for n in range(40)]
    gaps = recordings.video(tmp_path / "gaps.avi", 40, codec="mjpeg", times=shown)
    index = frames.scan(gaps)
    assert len(recordings.read_forward(gaps)) == index.frames == 40
    got, lost = collect(gaps, range(40))
    assert lost == [] and all(recordings.number(picture) == frame for frame, picture in got.items())
    np.testing.assert_allclose(index.seconds, np.array(shown) / 30, atol=1e-9)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
def test_a_constant_rate_is_counted_and_not_summed_up(name: str, tmp_path: Path) -> None:
    # Matroska rounds times to milliseconds: what was rounded is known, and splits must not depend on it.
    index = frames.scan(recordings.video(tmp_path / name, 100))
    assert index.fps == 30
    np.testing.assert_array_equal(index.seconds, np.arange(100) / 30)


def test_a_count_in_the_header_that_is_not_true_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = recordings.video(tmp_path / "v.avi", 40, codec="mjpeg")
    assert frames.scan(video).frames == 40
    assert caplog.text == ""
    content = bytearray(video.read_bytes())
    at = content.index(b"strh") + 8 + 32  # dwLength of the stream's header
    content[at : at + 4] = (400).to_bytes(4, "little")
    video.write_bytes(content)
    assert frames.scan(video).frames == 40
    assert "its header says 400 frames, the file holds 40" in caplog.text


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_what_is_read(threads: int, tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", gop=20)
    one, _ = collect(video, range(0, 120, 3), 1)
    many, _ = collect(video, range(0, 120, 3), threads)
    assert one.keys() == many.keys()
    assert all(np.array_equal(one[frame], many[frame]) for frame in one)


def test_only_what_a_frame_depends_on_is_decoded(tmp_path: Path) -> None:
    # Frame 65 lies behind the key frame 60: nothing before it and nothing after it is needed.
    video = recordings.video(tmp_path / "v.mp4", gop=30, options={"x264-params": "bframes=0:scenecut=0"})
    (run,) = runs(frames.scan(video), [65])
    assert (run.start, run.stop) == (60, 66)


def test_a_picture_shown_before_its_key_frame_is_decoded_from_the_one_before(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", options={"x264-params": OPEN_GOPS})
    index = frames.scan(video)
    late = [key for key in index.keys.tolist() if index.numbers[key] > key]
    assert late, "the encoder made no open group of pictures"
    leading = int(index.numbers[late[0]]) - 1
    (run,) = runs(index, [leading])
    assert run.start < late[0] < run.stop


@pytest.mark.parametrize(("name", "how", "rate"), [
    ("v.h264", {}, 30), ("v.hevc", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}, 30),
    ("v.mjpeg", {"codec": "mjpeg"}, 25),
])  # fmt: skip
def test_that_a_stream_without_a_container_has_no_times_is_said(
    name: str, how: dict, rate: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = frames.scan(recordings.video(tmp_path / name, 40, **how))
    assert (index.frames, index.fps) == (40, rate), "H.264 and H.265 may name a rate in the pictures' own settings"
    assert f"have no times of their own, or their clock was set back; {rate} per second are assumed" in caplog.text
    assert index.assumed


def test_what_an_edit_trimmed_away_is_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Trimming without encoding again keeps the packets and hides them by an edit list.
    whole, trimmed = recordings.video(tmp_path / "v.mp4"), tmp_path / "trimmed.mp4"
    keep = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(whole)) as source, av.open(str(trimmed), "w", options=keep) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts -= round(20 / 30 / packet.time_base)
                packet.dts -= round(20 / 30 / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    shown = recordings.read_forward(trimmed)
    assert [recordings.number(picture) for picture in shown] == list(range(20, 120))
    assert frames.scan(trimmed).frames == 100
    assert "its header says 120 frames, an edit list shows 100; these are used" in caplog.text
    got, lost = collect(trimmed, range(100))
    assert lost == []
    assert all(np.array_equal(picture, shown[frame]) for frame, picture in got.items())


def test_pictures_that_change_size_are_refused(tmp_path: Path) -> None:
    # Two recordings one after the other in one stream, as a camera that was reconfigured writes it.
    parts = [recordings.video(tmp_path / f"{n}.h264", 10, size) for n, size in enumerate([(192, 96), (160, 128)])]
    joined = tmp_path / "v.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(DriveError, match="change size, from 192x96 to 160x128"):
        collect(joined, range(20))


def test_a_cut_file_gives_what_opencv_gives(tmp_path: Path) -> None:
    whole = recordings.video(tmp_path / "v.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    shown = recordings.read_forward(cut)
    index = frames.scan(cut)
    assert 60 < index.frames == len(shown) < 120
    got, _ = collect(cut, range(index.frames))
    assert len(got) >= len(shown) - 1
    assert all(np.array_equal(picture, shown[frame]) for frame, picture in got.items())


def test_damage_costs_the_frames_up_to_the_next_key_frame_and_shifts_none(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", options={"x264-params": "scenecut=0"})
    content = bytearray(video.read_bytes())
    middle = content.find(b"mdat") + (content.rfind(b"moov") - content.find(b"mdat")) // 2
    content[middle : middle + 1500] = bytes(1500)
    video.write_bytes(content)
    got, lost = collect(video, range(120))
    assert 0 < len(lost) <= 60
    assert sorted([*got, *lost]) == list(range(120))
    assert all(recordings.number(picture) == frame for frame, picture in got.items())
    assert 119 in got


def test_damage_ends_a_file_whose_frames_are_counted(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.avi", codec="mjpeg")
    content = bytearray(video.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5000] = bytes(5000)
    video.write_bytes(content)
    got, lost = collect(video, range(120))
    assert 40 < len(got) < 80
    assert sorted([*got, *lost])[: len(got)] == sorted(got)
    assert all(recordings.number(picture) == frame for frame, picture in got.items())


# Readers of these containers look for the next packet that seems whole: pictures are gone, and nobody says how many.
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("v.mkv", {"gop": 10}),
        ("v.mkv", {"codec": "mjpeg"}),
        ("v.webm", {"codec": "libvpx", "gop": 10}),
        ("v.flv", {"gop": 10}),
    ],
)
@pytest.mark.parametrize("times_ms", [None, UNEVEN])
def test_behind_pictures_that_a_damaged_stretch_swallowed_no_frame_is_numbered(
    name: str, how: dict, times_ms: list[int] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = recordings.video(tmp_path / name, times_ms=times_ms, **how)
    with av.open(str(video)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(video.read_bytes())
    # With 80 decoding can start again: nothing but the missing pictures tells that something was there.
    content[places[60] : places[80]] = bytes(places[80] - places[60])
    video.write_bytes(content)
    got, _ = collect(video, range(frames.scan(video).frames))
    assert set(range(40)) <= got.keys() <= set(range(61))
    assert all(recordings.number(picture) == frame for frame, picture in got.items())
    assert "pictures are missing there; what follows cannot be counted" in caplog.text
    counted = [frame for frame, _ in decoding.in_order_rgb(video, frames.scan(video))]
    assert counted == sorted(got)


def test_an_error_of_the_receiver_ends_the_reading(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4")

    def refuse(frame: int, picture: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        decoding.read(video, frames.scan(video), range(120), refuse, 2)


def test_a_file_that_changed_after_it_was_indexed_gives_no_wrong_frame(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", times_ms=[33 * n for n in range(120)])
    index = frames.scan(video)
    recordings.video(video, times_ms=[1000 + 41 * n for n in range(120)])
    got: dict[int, np.ndarray] = {}
    decoding.read(video, index, [50, 100], got.__setitem__, 2)
    assert all(recordings.number(picture) == frame for frame, picture in got.items())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b""), "cannot be opened"),
        (lambda path: path.write_bytes(b"not a video at all" * 100), "cannot be opened"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(make, says: str, tmp_path: Path) -> None:
    make(tmp_path / "v.mp4")
    with pytest.raises(DriveError, match=says) as caught:
        frames.scan(tmp_path / "v.mp4")
    assert str(tmp_path / "v.mp4") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DriveError, match="no video stream"):
        frames.scan(tmp_path / "a.mp4")


def test_a_mp4_without_its_end_is_refused(tmp_path: Path) -> None:
    # The table of contents of an mp4 is its last part: an interrupted copy has none.
    whole = recordings.video(tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DriveError, match="export complete"):
        frames.scan(tmp_path / "v.mp4")


def test_memory_stays_bounded_when_all_frames_are_read(tmp_path: Path) -> None:
    # 400 pictures of 752x270 are 243 MB decoded; a reader that held them all would show it.
    video = recordings.video(tmp_path / "v.mp4", frames=400, size=(752, 270), gop=1000, options={"preset": "ultrafast"})
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from recording import decoding, frames\n"
        "video = Path(sys.argv[1])\n"
        "index = frames.scan(video)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decoding.read(video, index, range(400), lambda n, picture: None, 2)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    grown = subprocess.run([sys.executable, "-c", code, str(video)], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 120


def test_times_of_a_file_that_has_them_are_not_assumed(tmp_path: Path) -> None:
    assert not frames.scan(recordings.video(tmp_path / "v.mp4", 40)).assumed
    assert not frames.scan(
        recordings.video(tmp_path / "w.mkv", 30, times_ms=[n * n + 33 * n for n in range(30)])
    ).assumed
