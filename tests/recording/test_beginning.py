"""Films that begin between two key frames: what cannot be decoded is left out, the rest has its number and time."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recording import beginning, decoding, drive, frames, labels, preparation
from recording.exceptions import DriveError
from tests import recordings
from tests.serving.test_predict_video import answers, uploaded

X264, X265 = "keyint=30:repeat-headers=1:bframes=2", "keyint=30:repeat-headers=1:log-level=none"
OPEN = ":open-gop=1:scenecut=0:bframes=3"
FAST = {"cpu-used": "8", "deadline": "realtime"}
FILMS = {
    "h264": ("libx264", {"x264-params": f"{X264}:scenecut=0"}, None),
    "h264-i": ("libx264", {"x264-params": "keyint=60:min-keyint=60:ref=4:bframes=2:repeat-headers=1"}, None),
    "h264-open": ("libx264", {"x264-params": X264 + OPEN}, None),
    "h264-refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=30:bframes=0:repeat-headers=1"}, None),
    "h265": ("libx265", {"x265-params": f"{X265}:open-gop=0"}, None),
    "h265-open": ("libx265", {"x265-params": X265 + OPEN}, None),
    "mpeg2": ("mpeg2video", {"b": "4M"}, 2),
    "mpeg4": ("mpeg4", {"b": "4M"}, None),
    "mpeg4-b": ("mpeg4", {"b": "4M"}, 2),
    "flv1": ("flv", {"b": "4M"}, None),
    "vp9": ("libvpx-vp9", FAST | {"lag-in-frames": "0"}, None),
    "av1": ("libsvtav1", {"preset": "12"}, None),
}
CUT = [
    *("h264.h264", "h264.mkv", "h264.flv", "h264-i.ts", "h264-open.ts", "h264-refresh.ts", "h265.h265", "h265.mp4"),
    *("h265-open.ts", "h265-open.mkv", "mpeg2.ts", "mpeg4.mkv", "mpeg4-b.ts", "flv1.flv", "vp9.webm", "av1.mkv"),
]
SMEARING = ("mpeg4", "flv1")
"""Whose decoders show what they make of pictures that refer to others they do not have."""
UNCOUNTED = ("vp9", "av1")
"""Of which OpenCV reads nothing."""


def whole_and_cut(folder: Path, name: str, first: int = 10) -> tuple[Path, Path]:
    codec, options, b_frames = FILMS[Path(name).stem]
    whole = recordings.video(folder / f"whole.{name}", codec=codec, options=options, b_frames=b_frames)
    return whole, recordings.cut(whole, folder / name, first)


def collect(video: Path, index: frames.Index) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    got: dict[int, np.ndarray] = {}
    lost = decoding.read(video, index, range(index.frames), got.__setitem__, 2)
    return got, lost


@pytest.mark.parametrize("name", CUT)
def test_what_is_kept_is_what_the_whole_film_shows_at_that_time(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, cut = whole_and_cut(tmp_path, name)
    shown = dict(decoding.in_order(whole, frames.scan(whole)))
    index = frames.scan(cut)
    got, lost = collect(cut, index)
    moments = {frame: recordings.number(got[frame]) for frame in sorted(got)}
    assert list(moments.values()) == list(range(min(moments.values()), 120)) and len(got) >= 60
    assert all(np.array_equal(picture, shown[moments[frame]]) for frame, picture in got.items())
    first = min(moments)
    since = [index.seconds[frame] - index.seconds[first] for frame in moments]
    np.testing.assert_allclose(since, [(moment - moments[first]) / 30 for moment in moments.values()], atol=2e-3)
    in_order = dict(decoding.in_order(cut, index))
    assert list(in_order) == sorted(got) and all(np.array_equal(in_order[frame], got[frame]) for frame in got)
    assert "begins between two key frames" in caplog.text
    smears = name.startswith(SMEARING)
    assert lost == dict.fromkeys(range(first), decoding.BEFORE) and (first > 0) == smears
    if not name.startswith(UNCOUNTED):
        forward = recordings.read_forward(cut)
        assert len(forward) == index.frames, "frames are numbered as OpenCV reads them"
        assert all(np.array_equal(picture, forward[frame]) for frame, picture in got.items())


@pytest.mark.parametrize("name", ["h264.ts", "h264.h264", "h265-open.ts", "h265.h265", "mpeg2.ts", "mpeg2.mpg"])
def test_streams_that_are_cut_at_any_byte(name: str, tmp_path: Path) -> None:
    whole, cut = whole_and_cut(tmp_path, name)
    shown, content = dict(decoding.in_order(whole, frames.scan(whole))), whole.read_bytes()
    for start in np.random.default_rng(0).integers(len(content) // 20, len(content) // 2, 4).tolist():
        cut.write_bytes(content[start:])
        index = frames.scan(cut)
        got = dict(decoding.in_order(cut, index))
        moments = [recordings.number(picture) for picture in got.values()]
        assert list(got) == list(range(index.frames)) and moments == list(range(moments[0], 120))
        assert all(np.array_equal(picture, shown[n]) for n, picture in zip(moments, got.values(), strict=True))


def test_the_position_of_a_packet_is_not_forgotten_with_another_of_the_same_number() -> None:
    """Small whole numbers are one object each in Python, and PyAV told them apart by that alone."""
    first, second = av.Packet(b"first"), av.Packet(b"second")
    beginning.mark(first, 9), beginning.mark(second, 9)
    del first
    assert second.opaque == 9


def test_a_key_frame_farther_away_than_ffmpeg_looks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = iter(random.integers(0, 255, (24, 480, 640, 3), dtype=np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "picture", lambda *_: next(pictures))
        options = {"preset": "ultrafast", "qp": "1", "x264-params": "keyint=18:scenecut=0:repeat-headers=1"}
        whole = recordings.video(tmp_path / "whole.ts", 24, (640, 480), options=options)
    cut = recordings.cut(whole, tmp_path / "cut.ts", 2)
    assert cut.stat().st_size > 10_000_000
    assert [number for number, _ in decoding.in_order(cut, frames.scan(cut))] == list(range(6))


def test_a_film_without_a_key_frame_is_refused(tmp_path: Path) -> None:
    whole = recordings.video(tmp_path / "v.avi", 40, codec="mpeg4", gop=600)
    cut = recordings.cut(whole, tmp_path / "cut.avi", 10)
    with pytest.raises(DriveError, match=r"begins between two key frames and holds none, .* an earlier moment"):
        frames.scan(cut)


def test_numbers_that_count_what_cannot_be_decoded_are_refused_and_can_be_set_right(tmp_path: Path) -> None:
    _, video = whole_and_cut(tmp_path, "h265.ts")
    recordings.labels(tmp_path / "l.csv", range(110))  # row 20 belongs to the first picture that can be decoded
    with pytest.raises(DriveError, match=r"goes up to 109 in a video of 90 .* label_offset_frames=20, or") as caught:
        drive.read(drive.Source(video, tmp_path / "l.csv", "driver"))
    assert "\n" not in str(caught.value)
    right = drive.read(drive.Source(video, tmp_path / "l.csv", "driver", label_offset_frames=20))
    assert right.labels.table["azimuth_deg"].iloc[0] == recordings.angles(20)[0]
    assert len(drive.read(drive.Source(video, tmp_path / "l.csv", "driver", on_bad_rows="drop")).labels.table) == 90
    for rows in (range(90), range(80), range(5, 140)):
        recordings.labels(tmp_path / "l.csv", rows)
        drive.read(drive.Source(video, tmp_path / "l.csv", "driver"))


@pytest.mark.parametrize(("name", "frame", "shows"), [("h265.ts", 0, 30), ("mpeg4.avi", 20, 30)])
def test_samples_are_the_pictures_of_their_rows(name: str, frame: int, shows: int, tmp_path: Path) -> None:
    _, video = whole_and_cut(tmp_path, name)
    recordings.labels(tmp_path / "l.csv", range(90 + frame))
    source = drive.Source(video, tmp_path / "l.csv", "driver")
    out = preparation.prepare(source, 200, tmp_path / "out", face_asked="none")
    samples = sorted(out.glob("*_driver.jpg"))
    read = [recordings.number(np.asarray(cv2.imread(str(path)))) for path in samples]
    assert read == list(range(shows, 120)) and samples[0].name == f"frame_{frame:05}_driver.jpg"


TIMES = "timestamp [ns]"


@pytest.mark.parametrize(("rows", "first"), [(90, 0), (110, 20), (109, 20), (111, 20), (91, 0)])
def test_a_table_of_frame_times_may_have_rows_for_them_or_not(rows: int, first: int, tmp_path: Path) -> None:
    times = [10**18 + 33_333_333 * n for n in range(rows)]
    (tmp_path / "frame_times.csv").write_text("\n".join([TIMES, *map(str, times)]))
    path = tmp_path / "gaze.csv"
    path.write_text("\n".join([f"{TIMES},azimuth [deg],elevation [deg]", *(f"{t},{n},1" for n, t in enumerate(times))]))
    read = labels.read(path, 90, unshown=20)
    assert read.table["azimuth_deg"].tolist()[:3] == [first, first + 1, first + 2]


@pytest.mark.parametrize(("rows", "unshown"), [(91, 2), (92, 1), (100, 20)])
def test_a_table_of_frame_times_that_does_not_tell_is_refused(rows: int, unshown: int, tmp_path: Path) -> None:
    times = [10**18 + 33_333_333 * n for n in range(rows)]
    (tmp_path / "frame_times.csv").write_text("\n".join([TIMES, *map(str, times)]))
    path = tmp_path / "gaze.csv"
    path.write_text("\n".join([f"{TIMES},azimuth [deg],elevation [deg]", *(f"{t},{n},1" for n, t in enumerate(times))]))
    with pytest.raises(DriveError, match=f"{rows} rows for .* 90 frames"):
        labels.read(path, 90, unshown=unshown)


def test_predict_and_the_app_answer_what_can_be_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, video = whole_and_cut(tmp_path, "h265.ts")
    assert [row.frame for row in answers(video)] == list(range(90))
    _, smeared = whole_and_cut(tmp_path, "mpeg4.avi")
    assert [row.frame for row in answers(smeared)] == list(range(20, 110))
    assert f"20 of 110 frames left out ({decoding.BEFORE}" in capsys.readouterr().err
    answered, said = uploaded(video, monkeypatch)
    assert recordings.number(answered[0]) == 30
    assert any(line.startswith("Begins between two key frames: 20 of its pictures") for line in said)


def test_a_whole_film_is_not_said_to_be_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("h264-open.ts", "h265-open.ts", "mpeg2.ts", "mpeg4-b.avi"):
        codec, options, b_frames = FILMS[Path(name).stem]
        index = frames.scan(recordings.video(tmp_path / name, codec=codec, options=options, b_frames=b_frames))
        assert (index.beginning.start, index.beginning.number, index.frames) == (0, 0, 120)
    assert "begins between" not in caplog.text
