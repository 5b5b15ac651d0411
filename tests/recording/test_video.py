"""A video as people have it is opened, and its pictures are the ones that a player shows."""

import logging
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

from recording import decoding, frames, video
from recording import drive as drives
from recording.exceptions import DriveError
from tests import recordings

SIZE = (192, 96)
UNIT = 1 << 16


def first(path: Path, track: int | None = None) -> np.ndarray:
    """Frame 0 as prepare reads it; it must be what predict and the app read too."""
    index = frames.scan(path, track)
    got: dict[int, np.ndarray] = {}
    assert decoding.read(path, index, [0], got.__setitem__, 1) == {}
    number, same = next(decoding.in_order(path, index))
    assert number == 0
    np.testing.assert_array_equal(got[0], same)
    assert got[0].shape == (index.height, index.width, 3)
    return got[0]


def is_like(shown: np.ndarray, wanted: np.ndarray) -> bool:
    return shown.shape == wanted.shape and float(np.abs(shown.astype(int) - wanted).mean()) < 8


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, -1, 1, 0), lambda stored: np.rot90(stored, 1)),
        ((-1, 0, 0, -1), lambda stored: np.rot90(stored, 2)),
        ((0, 1, -1, 0), lambda stored: np.rot90(stored, 3)),
        ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[::-1]),
        ((0, 1, 1, 0), lambda stored: stored.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1]),
    ],
    ids=["90", "180", "270", "mirrored", "upside down", "transposed", "other diagonal"],
)
def test_a_display_matrix_is_followed(matrix, upright, tmp_path: Path) -> None:
    a, b, c, d = (UNIT * value for value in matrix)
    plain = first(recordings.video(tmp_path / "plain.mp4", 2))
    lying = recordings.video(tmp_path / "v.mp4", 2, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    np.testing.assert_array_equal(first(lying), upright(plain))


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_is_the_one_that_opencv_shows(degrees: int, name: str, tmp_path: Path) -> None:
    lying = recordings.video(tmp_path / name, 2, rotation=degrees)
    np.testing.assert_array_equal(first(lying), recordings.read_forward(lying)[0])


def test_a_composite_stored_lying_is_cut_as_one_that_is_not(tmp_path: Path) -> None:
    width, height = recordings.COMPOSITE
    lying = recordings.video(tmp_path / "v.mp4", 3, (height, width), rotation=90)
    drive = drives.read(drives.Source(lying, recordings.labels(tmp_path / "l.csv", range(3))))
    assert sorted(drive.views) == ["camera", "driver", "road"]


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    width, height = recordings.COMPOSITE
    narrow = recordings.video(tmp_path / "v.mp4", 2, (width // 2, height), pixel=(2, 1))
    shown = first(narrow)
    assert shown.shape == (height, width, 3)
    low = recordings.video(tmp_path / "low.mp4", 2, (width, 68), pixel=(1, 2))
    assert first(low).shape == (136, width, 3)
    stored = recordings.picture(0, (width // 2, height))
    assert is_like(shown, cv2.resize(stored, (width, height)))


def test_pixels_that_no_picture_has_are_refused() -> None:
    # Encoders do not write them; headers that were overwritten say anything.
    stream: Any = SimpleNamespace(
        codec_context=SimpleNamespace(width=192, height=96), sample_aspect_ratio=Fraction(300, 1)
    )
    with pytest.raises(DriveError, match="192x96 pixels are to be shown as 57600x96"):
        video.shown(stream, None, Path("v.mp4"))


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_cover_picture_is_no_film(marked: bool, name: str, tmp_path: Path) -> None:
    cover = recordings.video(tmp_path / "cover.mov", 1, (64, 64), codec="mjpeg")
    film = recordings.video(tmp_path / "film.mp4", 10)
    both = recordings.joined(tmp_path / name, cover, film, cover=0 if marked else None)
    index = frames.scan(both)
    assert (index.frames, index.width, index.height) == (10, *SIZE)
    assert recordings.number(first(both)) == 0


def test_a_cover_alone_is_refused(tmp_path: Path) -> None:
    cover = recordings.video(tmp_path / "cover.mov", 1, (64, 64), codec="mjpeg")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as target, av.open(str(cover)) as source:
        sound = target.add_stream("aac", rate=8000)
        picture = target.add_stream_from_template(source.streams.video[0])
        picture.disposition = av.stream.Disposition.attached_pic
        beat = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        beat.rate = 8000
        target.mux(sound.encode(beat))
        target.mux(sound.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = picture
                target.mux(packet)
    with pytest.raises(DriveError, match="a cover picture and no film"):
        frames.scan(tmp_path / "sound.m4a")


def test_several_films_are_a_choice_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [recordings.video(tmp_path / f"{n}.mp4", 5, size) for n, size in enumerate([SIZE, (160, 128)])]
    both = recordings.joined(tmp_path / "v.mp4", *parts)
    with caplog.at_level(logging.WARNING):
        assert frames.scan(both).width == 192
    assert caplog.text.count("holds 2 films (0: h264 192x96, 1: h264 160x128); track 0 is read, choose with track") == 1
    caplog.clear()
    assert first(both, 1).shape == (128, 160, 3)
    assert caplog.text == ""
    with pytest.raises(DriveError, match=r"v\.mp4: has no track 2; choose one of 0: h264 192x96, 1: h264 160x128"):
        frames.scan(both, 2)


def test_the_film_that_the_file_marks_as_its_default_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [recordings.video(tmp_path / f"{n}.mp4", 5, size) for n, size in enumerate([SIZE, (160, 128)])]
    both = recordings.joined(tmp_path / "v.mkv", *parts, default=1)
    assert first(both).shape == (128, 160, 3)
    assert "track 1 is read" in caplog.text
    assert first(both, 0).shape == (96, 192, 3)


def test_a_film_of_single_pictures_beside_another_is_a_choice_and_no_cover(tmp_path: Path) -> None:
    # Matroska does not count its pictures; MJPEG may be a cover or a film.
    parts = [
        recordings.video(tmp_path / "0.avi", 5, (160, 128), codec="mjpeg"),
        recordings.video(tmp_path / "1.mp4", 5),
    ]
    both = recordings.joined(tmp_path / "v.mkv", *parts)
    assert first(both, 0).shape == (128, 160, 3)
    assert first(both, 1).shape == (96, 192, 3)


@pytest.mark.parametrize("name", ["12:30 drive.mp4", "a%20b.mp4", "file:v.mp4", "-i.mp4", "drive %03d #1?.mp4"])
def test_a_name_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings.video(tmp_path / "v.mp4", 3).rename(tmp_path / name)
    assert recordings.number(first(tmp_path / name)) == 0
    monkeypatch.chdir(tmp_path)
    assert frames.scan(Path(name)).frames == 3


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_hdr_is_refused_or_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq = recordings.video(tmp_path / f"pq {name}", 6, curve=16)
    with pytest.raises(DriveError, match=rf"an HDR film \(PQ\).* ffmpeg -i 'pq {name}' -vf zscale.*tonemap") as caught:
        frames.scan(pq)
    assert "\n" not in str(caught.value)
    assert caplog.text == ""
    first(recordings.video(tmp_path / f"hlg {name}", 6, curve=18))
    assert [message for message in caplog.messages if "an HDR film (HLG) is read as it is stored, darker" in message]
    caplog.clear()
    first(recordings.video(tmp_path / f"sdr {name}", 6, curve=1))
    assert caplog.text == ""
