"""Fingerprints: the moments of a recording are known again in any copy of it, and in no other drive."""

import tracemalloc
from pathlib import Path

import cv2
import footage
import numpy as np
import pandas as pd
import pytest
import recordings

from recording import fingerprint, preparation, prepared
from recording.drive import Source
from recording.exceptions import InputError
from recording.fingerprint import Fingerprint

FPS = 12


def taken(pictures: list[np.ndarray], every: int = 3) -> Fingerprint:
    numbers = np.arange(0, len(pictures), every)
    return Fingerprint(numbers, numbers / FPS, np.stack([fingerprint.tiny(pictures[n]) for n in numbers]))


@pytest.fixture(scope="module")
def drive() -> list[np.ndarray]:
    return footage.drive(70, seed=1)


@pytest.fixture(scope="module")
def original(drive: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> prepared.Samples:
    return ready(tmp_path_factory.mktemp("original"), footage.encode, drive)


def ready(folder: Path, encode, pictures: list[np.ndarray], name: str = "v.mp4", **options) -> prepared.Samples:
    """The pictures as a video, prepared: 50 samples of the driver view."""
    video = encode(folder / name, pictures, **options)
    labels = recordings.labels(folder / "l.csv", range(len(pictures)))
    return prepared.load(preparation.prepare(Source(video, labels, "driver"), 50, folder / "out", face_asked="none"))


def test_a_trimmed_copy_at_another_rate_size_and_quality_in_another_container_is_known(
    drive: list[np.ndarray], original: prepared.Samples, tmp_path: Path
) -> None:
    trimmed = drive[13 * FPS :]
    shown = [trimmed[round(k * FPS / 10)] for k in range(int(len(trimmed) * 10 / FPS))]
    copy = ready(tmp_path, footage.encode, shown, "copy.mkv", fps=10, size=(120, 136), crf=35)
    there = fingerprint.moments_in(fingerprint.of(original), fingerprint.of(copy), copy.seconds)
    known = np.abs(there - (copy.seconds + 13)) < 0.25
    assert known.mean() >= 0.99
    # … and the other way round: of the original, the frames that are in the copy, and no other.
    back = fingerprint.moments_in(fingerprint.of(copy), fingerprint.of(original), original.seconds)
    shared = original.seconds >= 13
    assert (np.abs(back - (original.seconds - 13)) < 0.25)[shared].mean() >= 0.99
    assert np.isnan(back[original.seconds < 12.5]).all()


def jpegs(pictures: list[np.ndarray]) -> np.ndarray:
    """(n, 144) tiny pictures of what a folder of JPEGs holds."""
    coded = [cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for one in pictures]
    return np.stack([fingerprint.tiny(np.asarray(cv2.imdecode(one, cv2.IMREAD_COLOR))) for one in coded])


def test_single_pictures_are_known_without_their_times_and_most_of_another_drive_are_not(
    drive: list[np.ndarray],
) -> None:
    known, order = taken(drive), np.random.default_rng(0).permutation(len(drive) // 3) * 3
    shown = jpegs([drive[number] for number in order])
    assert fingerprint.shows(known, shown).all()
    early = fingerprint.shows(known, shown, known.seconds < 20)
    assert early[order < 20 * FPS].all()
    assert early[order > 25 * FPS].mean() < 0.4  # a painted driver who looks ahead again is the same to a pixel
    assert fingerprint.shows(known, jpegs(footage.drive(60, seed=2)[::3])).mean() < 0.4
    assert not fingerprint.shows(Fingerprint(), known.pictures).any()


def test_a_picture_of_one_brightness_shows_no_recording() -> None:
    black = taken([np.zeros((90, 80, 3), np.uint8)] * 60)
    assert not fingerprint.shows(black, black.pictures).any()


def test_other_drives_of_the_same_person_in_the_same_car_are_not(drive: list[np.ndarray]) -> None:
    one = taken(drive)
    for seed in (2, 3):
        other = taken(footage.drive(60, seed))
        assert np.isnan(fingerprint.moments_in(one, other, other.seconds)).all()


def test_a_piece_within_another_recording_is_known_and_what_is_around_it_is_not(drive: list[np.ndarray]) -> None:
    spliced = footage.drive(40, seed=2) + drive[10 * FPS : 60 * FPS] + footage.drive(40, seed=3)
    times = np.arange(0, 130, 0.5)
    there, inside = fingerprint.moments_in(taken(drive), taken(spliced), times), (times >= 40) & (times < 90)
    np.testing.assert_allclose(there[inside], times[inside] - 30, atol=0.13)
    # At its ends more may count as known than is: by less than a stretch.
    assert np.isnan(there[(times < 8) | (times > 122)]).all()


def test_a_short_piece_is_known_from_16_seconds_on_whichever_is_the_longer(drive: list[np.ndarray]) -> None:
    whole, piece = taken(drive), taken(drive[20 * FPS : 40 * FPS], every=2)
    np.testing.assert_allclose(fingerprint.moments_in(whole, piece, piece.seconds), piece.seconds + 20, atol=0.13)
    back = fingerprint.moments_in(piece, whole, whole.seconds)
    np.testing.assert_array_equal(np.isfinite(back), (whole.seconds > 19.6) & (whole.seconds < 40.2))
    shorter = taken(drive[20 * FPS : 35 * FPS])
    assert np.isnan(fingerprint.moments_in(whole, shorter, shorter.seconds)).all()


def test_a_bare_folder_is_known_by_its_pictures(original: prepared.Samples, tmp_path: Path) -> None:
    for name in sorted(path.name for path in original.folder.glob("frame_*")):
        (tmp_path / name).write_bytes((original.folder / name).read_bytes())
    bare = prepared.load(tmp_path)
    assert not (tmp_path / fingerprint.FILE).exists()
    # Its rate is not known: at the usual 30 frames a second its 70 s would be 28. So say it.
    moments = fingerprint.of(bare)
    timed = Fingerprint(moments.frames, moments.frames / FPS, moments.pictures)
    there = fingerprint.moments_in(fingerprint.of(original), timed, timed.seconds)
    np.testing.assert_allclose(there, original.seconds, atol=0.3)


def test_of_a_folder_without_one_only_some_pictures_are_in_memory_at_a_time(
    drive: list[np.ndarray], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a_driver.jpg"), drive[0])
    table = pd.DataFrame({"frame": range(300), "driver": "a_driver.jpg"})
    samples = prepared.Samples(tmp_path, "a", table, 30.0, "d", "d", rendered=False, layout=None)
    tracemalloc.start()
    try:
        assert len(fingerprint.of(samples)) == 300
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert highest < 150 * 224 * 224 * 3


def test_pictures_numbered_by_nanoseconds_are_of_no_known_recording(drive: list[np.ndarray]) -> None:
    shown = taken(drive)
    numbers = 1_700_000_000_000_000_000 + shown.frames * 1_000_000_000 // FPS
    timed = Fingerprint(numbers, numbers / 30, shown.pictures)
    one_name = Fingerprint(shown.frames, np.append(shown.seconds[:-1], 1e12), shown.pictures)
    for odd in (timed, one_name):
        assert np.isnan(fingerprint.moments_in(odd, shown, shown.seconds)).all()
        assert np.isnan(fingerprint.moments_in(shown, odd, odd.seconds)).all()


def test_long_recordings_are_said_to_be_compared_and_those_of_the_same_content_are_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def read(seed: int) -> Fingerprint:
        pictures = np.random.default_rng(seed).normal(0, 32, (700, 144)).clip(-127, 127).astype(np.int8)
        return Fingerprint(30 * np.arange(700), np.arange(700.0), pictures)

    with caplog.at_level("INFO"):
        for _ in range(2):
            assert np.isnan(fingerprint.moments_in(read(1), read(2), np.arange(700.0))).all()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["looking for moments that two long recordings (12 min, 12 min) have in common"]


def test_light_that_fades_alike_in_two_drives_is_no_moment_in_common(drive: list[np.ndarray]) -> None:
    still = drive[0][::2, ::2].astype(np.float64)
    shade, random = np.linspace(0.4, 1.0, still.shape[1])[None, :, None], np.random.default_rng(0)

    def fading() -> Fingerprint:
        pictures = (still * shade ** (n / 500) + random.normal(0, 2, still.shape) for n in range(500))
        return taken([picture.clip(0, 255).astype(np.uint8) for picture in pictures])

    one, other = fading(), fading()
    assert np.isnan(fingerprint.moments_in(one, other, other.seconds)).all()


def test_where_nothing_moves_nothing_is_known(drive: list[np.ndarray]) -> None:
    still = taken([drive[0]] * 700)
    assert np.isnan(fingerprint.moments_in(still, still, still.seconds)).all()


def test_a_preparation_that_goes_on_keeps_its_fingerprint(drive: list[np.ndarray], tmp_path: Path) -> None:
    again = ready(tmp_path, footage.encode, drive)
    whole = (again.folder / fingerprint.FILE).read_bytes()
    about = (again.folder / prepared.DRIVE).read_text()
    (again.folder / prepared.DRIVE).write_text(about.replace('"complete"', '"preparing"'))
    (again.folder / "frame_00000_gt.json").unlink()
    (again.folder / fingerprint.FILE).unlink()
    preparation.prepare(Source(tmp_path / "v.mp4", tmp_path / "l.csv", "driver"), 50, again.folder, face_asked="none")
    assert (again.folder / fingerprint.FILE).read_bytes() == whole


def test_a_damaged_file_is_named(original: prepared.Samples, tmp_path: Path) -> None:
    content = (original.folder / fingerprint.FILE).read_bytes()
    (tmp_path / fingerprint.FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"fingerprint\.npz: is damaged"):
        fingerprint.read(tmp_path)


def test_frames_have_their_times_at_a_rate_that_varies() -> None:
    moments = Fingerprint(np.array([0, 10, 40]), np.array([0.0, 1.0, 2.0]), np.zeros((3, 144), np.int8))
    np.testing.assert_allclose(moments.when(np.array([5, 25, 70]), fps=15), [0.5, 1.5, 4.0])
    np.testing.assert_allclose(Fingerprint().when(np.array([5, 25]), fps=10), [0.5, 2.5])
