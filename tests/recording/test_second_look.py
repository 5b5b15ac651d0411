"""A recording in which damage was found is looked at again: what showed nothing is found, sound pictures stay."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from recording import decoding, frames, preparation, prepared, second_look
from recording.drive import Source
from tests import recordings

H264 = {"x264-params": "keyint=12:scenecut=0:bframes=0"}
HIDDEN, OPEN = 17, 30  # packets: one whose damage shows at a second look only, one whose damage shows
LOST = set(range(HIDDEN, 24))  # up to the next key frame


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.scene(tmp_path_factory.mktemp("sound") / "v.mp4", "libx264", H264)


@pytest.fixture(scope="module")
def hidden(sound: Path) -> Path:
    """A film of which a packet is damaged, and nothing says so."""
    return recordings.lengthened(sound, sound.with_name("hidden.mp4"), [HIDDEN])


@pytest.fixture(scope="module")
def damaged(hidden: Path) -> Path:
    """The same with damage that shows, too."""
    return recordings.damage(Path(shutil.copy(hidden, hidden.with_name("damaged.mp4"))), [OPEN], seed=0, kind="zeroed")


def read(path: Path, wanted: Iterable[int], threads: int = 1, before: Iterable[int] = ()) -> set[int]:
    return set(decoding.read(path, frames.scan(path), wanted, lambda *_: None, threads, before=before))


def test_h264_damage_that_does_not_show_is_found_once_damage_did(hidden: Path, damaged: Path) -> None:
    everything = range(recordings.SCENE_FRAMES)
    assert read(hidden, everything) == set(), "nothing says that there is damage"
    assert read(damaged, everything) == LOST | set(range(OPEN, 36))
    assert read(damaged, everything, threads=4) == LOST | set(range(OPEN, 36))


def test_only_what_depends_on_it_is_lost(damaged: Path) -> None:
    assert read(damaged, [2, HIDDEN - 1, HIDDEN + 1, 40]) == {HIDDEN + 1}
    # What an interrupted call handed over counts as well.
    assert read(damaged, [2, 40], before=[HIDDEN - 1, HIDDEN + 1]) == {HIDDEN + 1}


def test_reading_in_order_leaves_out_the_same(damaged: Path) -> None:
    index = frames.scan(damaged)
    assert index.damaged, "its damage shows in its bytes, before anything is decoded"
    given = [number for number, _ in decoding.in_order(damaged, index)]
    assert set(range(recordings.SCENE_FRAMES)) - set(given) == LOST | set(range(OPEN, 36))
    assert [number for number, _ in decoding.in_order(damaged, index, 20)] == list(range(HIDDEN))


def test_where_frames_are_counted_reading_ends_there(sound: Path, tmp_path: Path, caplog) -> None:
    counted = recordings.scene(tmp_path / "v.flv", "libx264", H264)
    path = recordings.lengthened(counted, tmp_path / "hidden.flv", [HIDDEN])
    everything = range(recordings.SCENE_FRAMES)
    assert not frames.scan(path).exact
    assert read(path, everything) == set(), "nothing says that there is damage"
    recordings.damage(path, [OPEN + 10], seed=0, kind="zeroed")
    kept = set(range(HIDDEN - frames.HELD_BACK))
    assert read(path, everything) == read(path, everything, threads=4) == set(everything) - kept
    assert {number for number, _ in decoding.in_order(path, frames.scan(path))} == kept
    assert read(path, [OPEN - 20, OPEN], before=[OPEN - 28, OPEN - 24]) == {OPEN - 20, OPEN, OPEN - 28, OPEN - 24}
    assert "second look" not in caplog.text


def test_frames_given_before_any_damage_showed_are_named(hidden: Path, tmp_path: Path, caplog) -> None:
    path = Path(shutil.copy(hidden, tmp_path / "v.mp4"))
    for seed in range(9):  # damage that the decoder tells, and not the bytes
        recordings.damage(Path(shutil.copy(hidden, path)), [OPEN], seed=seed, kind="overwritten")
        index = frames.scan(path)
        if not index.damaged and read(path, range(OPEN, 36)):
            break
    else:
        pytest.fail("no such damage was made")
    given = [number for number, _ in decoding.in_order(path, index)]
    assert set(given) >= LOST
    said = (
        f"damage that shows at a second look only; {len(LOST)} frames were taken for sound till then: {[*LOST][:5]} …"
    )
    assert [record.getMessage() for record in caplog.records if "second look" in record.getMessage()] == [
        f"video {path}: {said}"
    ]


def test_sound_pictures_of_a_damaged_recording_stay(sound: Path, tmp_path: Path) -> None:
    path = recordings.damage(Path(shutil.copy(sound, tmp_path / "v.mp4")), [OPEN], seed=0, kind="zeroed")
    assert read(path, range(recordings.SCENE_FRAMES)) == set(range(OPEN, 36))
    for options in ("cabac=0", "slices=3", "tff=1", "bframes=4:open-gop=1", "intra-refresh=1"):
        how = {"x264-params": f"keyint=12:scenecut=0:{options}"}
        other = recordings.scene(tmp_path / "other.mp4", "libx264", how)
        index = frames.scan(other)
        assert second_look.damaged(other, index, dict.fromkeys(range(index.frames), True)) == frozenset(), options


def test_a_camera_that_always_leaves_data_over_is_not_accused(sound: Path, tmp_path: Path) -> None:
    path = recordings.lengthened(sound, tmp_path / "v.mp4")
    recordings.damage(path, [OPEN], seed=0, kind="zeroed")
    assert read(path, range(recordings.SCENE_FRAMES)) == set(range(OPEN, 36))


def test_a_square_that_shows_in_one_picture_of_an_mjpeg_is_damage_once_other_damage_showed(tmp_path: Path) -> None:
    path = recordings.scene(tmp_path / "v.mov", "mjpeg", {}, patch=HIDDEN, speed=0.1)
    everything = range(recordings.SCENE_FRAMES)
    assert read(path, everything) == set()
    recordings.damage(path, [OPEN], seed=0, kind="zeroed")
    assert read(path, everything) == {HIDDEN, OPEN}
    assert read(path, [HIDDEN, 40]) == set(), "nothing that is wanted showed damage"
    assert read(path, [HIDDEN, OPEN]) == {HIDDEN, OPEN}
    moving = recordings.scene(tmp_path / "v.mov", "mjpeg", {})
    recordings.damage(moving, [OPEN], seed=0, kind="zeroed")
    assert read(moving, everything) == {OPEN}


def test_less_is_smeared_than_without(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: dict[int, np.ndarray] = {}
    decoding.read(sound, frames.scan(sound), range(recordings.SCENE_FRAMES), whole.__setitem__, 1)
    smeared, wanted = {True: 0, False: 0}, [*range(12), OPEN]
    for trial in range(44):
        path = Path(shutil.copy(sound, tmp_path / "v.mp4"))
        recordings.damage(path, [OPEN], seed=0, kind="zeroed")
        recordings.damage(path, [trial % 11 + 1], seed=trial, kind="flipped")
        for again in smeared:
            kept: dict[int, np.ndarray] = {}
            with monkeypatch.context() as patched:
                if not again:
                    patched.setattr(second_look, "damaged", lambda *_: frozenset())
                lost = decoding.read(path, frames.scan(path), wanted, kept.__setitem__, 1)
            off = [np.abs(kept[frame].astype(int) - whole[frame]).mean() for frame in kept.keys() - lost]
            smeared[again] += max(off, default=0.0) > 1
    assert smeared[False] >= 3
    assert smeared[True] <= smeared[False] // 3


def test_samples_written_before_it_was_found_are_removed(damaged: Path, sound: Path, tmp_path: Path) -> None:
    labels = recordings.labels(tmp_path / "l.csv", range(recordings.SCENE_FRAMES))
    out = preparation.prepare(Source(damaged, labels, "driver"), 48, tmp_path / "out")
    lost = LOST | set(range(OPEN, 36))
    kept = sorted(set(range(recordings.SCENE_FRAMES)) - lost)
    assert prepared.load(out).table["frame"].tolist() == kept
    assert len(list(out.glob("frame_*_driver.jpg"))) == len(list(out.glob("frame_*_gt.json"))) == len(kept)
    about = json.loads((out / "drive.json").read_text())["samples"]
    assert about["dropped"] == {decoding.DAMAGED: len(lost)}


def test_an_interruption_before_the_second_look_leaves_no_such_sample(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = recordings.labels(tmp_path / "l.csv", range(recordings.SCENE_FRAMES))
    source, out = Source(damaged, labels, "driver"), tmp_path / "out"

    # Of a long recording the trace and the fingerprint need few of the frames.
    monkeypatch.setattr(preparation.trace, "stretches", lambda *_: np.array([0], dtype=np.int64))
    monkeypatch.setattr(preparation.fingerprint.Recorder, "_one_per_spacing", lambda *_: [0])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(second_look, "damaged", interrupted)
        preparation.prepare(source, 48, out)
    assert list(out.glob(f"frame_*{HIDDEN}_driver.jpg")), "written before it was looked at again"
    preparation.prepare(source, 48, out)
    assert not LOST & set(prepared.load(out).table["frame"])
    assert not any(list(out.glob(f"frame_*{frame}_*")) for frame in LOST)
