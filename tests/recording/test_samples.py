"""A prepared folder: exact pictures, whole files, the same bytes from the same inputs, whatever interrupts it."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from recording import frames, preprocess, samples
from recording.exceptions import DriveError, InputError
from tests import recordings

PREPARE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from recording import samples\n"
    "samples.prepare(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 'dashgaze', Path(sys.argv[4]))\n"
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("drive")
    fast = {"preset": "ultrafast"}
    video = recordings.video(folder / "v.mp4", 600, recordings.COMPOSITE, options=fast)
    more = ["1,abc,1,2,True,", "1,7,,2,True,", "broken", "1,900,1,2,True,", "1,3,1,2,True,"]
    return video, recordings.labels(folder / "l.csv", range(600), more)


@pytest.fixture(scope="module")
def prepared(drive: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.prepare(*drive, 40, "dashgaze", tmp_path_factory.mktemp("prepared") / "out")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def start(drive: tuple[Path, Path], count: int, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PREPARE, *map(str, drive), str(count), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_every_sample_shows_the_frame_that_its_row_names(prepared: Path) -> None:
    table = samples.load(prepared).table
    view = json.loads((prepared / "drive.json").read_text())["layout"]["views"]["driver"]
    assert len(table) == 40
    assert table["frame"].is_monotonic_increasing
    for row in table.itertuples():
        picture = cv2.imread(str(prepared / row.driver))
        assert picture.shape == (view["h"], view["w"], 3)
        assert recordings.number(picture, view["x"], view["y"]) == row.frame
        assert (row.azimuth_deg, row.elevation_deg) == recordings.angles(row.frame)


def test_a_sample_has_its_views_and_its_truth(prepared: Path) -> None:
    names = {f"frame_00000_{part}" for part in ("driver.jpg", "road.jpg", "camera.jpg", "gt.json")}
    assert names <= {path.name for path in prepared.iterdir()}
    assert len(list(prepared.iterdir())) == 4 * 40 + 2
    truth = json.loads((prepared / "frame_00599_gt.json").read_text())
    azimuth, elevation = recordings.angles(599)
    assert truth == {
        "frame": 599,
        "azimuth_deg": azimuth,
        "elevation_deg": elevation,
        "timestamp [ns]": 1000 + 33 * 599,
        "worn": "True",
        "blink id": None,
    }


def test_drive_json_says_what_the_folder_is_made_from(prepared: Path) -> None:
    about = json.loads((prepared / "drive.json").read_text())
    assert about["status"] == "complete"
    assert about["video"] | {"sha256": ""} == {
        "file": "v.mp4",
        "sha256": "",
        "width": 376,
        "height": 134,
        "frames": 600,
        "fps": 30.0,
    }
    assert about["labels"]["rows"] == 605
    assert about["labels"]["dropped"] == {
        "malformed line": 1,
        "frame not a number": 1,
        "frame past the end of the video": 1,
        "blank angle": 1,
        "duplicate frame": 1,
    }
    assert about["layout"]["name"] == "dashgaze"
    assert about["samples"] == {"asked": 40, "picked": 40, "kept": 40}


def test_what_was_dropped_is_logged(drive: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recording.samples"):
        samples.prepare(*drive, 3, "dashgaze", tmp_path / "out")
    assert "600 of 605 rows are usable; dropped 5: 1 malformed line, 1 frame not a number" in caplog.text
    assert f"preparing 3 samples of {drive[0]}" in caplog.text
    assert "3 samples ready" in caplog.text


def test_fewer_usable_rows_than_asked_for_gives_all_and_says_so(
    drive: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = recordings.labels(tmp_path / "few.csv", range(0, 600, 100))
    samples.prepare(drive[0], few, 50, "dashgaze", tmp_path / "out")
    assert samples.load(tmp_path / "out").table["frame"].tolist() == list(range(0, 600, 100))
    assert "only 6 usable rows: all of them are used instead of 50 samples" in caplog.text


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_inputs_give_the_same_bytes(
    threads: int, drive: tuple[Path, Path], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "cores", lambda: threads)
    samples.prepare(*drive, 40, "dashgaze", tmp_path / "again")
    assert content(tmp_path / "again") == content(prepared)


def test_a_complete_folder_is_left_alone(drive: tuple[Path, Path], prepared: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    samples.prepare(*drive, 40, "dashgaze", prepared)
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before


def test_a_killed_preparation_continues_without_writing_a_sample_twice(
    drive: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(drive, 400, out)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*_gt.json"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    whole = {path: path.stat().st_mtime_ns for path in out.glob("*_gt.json")}
    assert 20 <= len(whole) < 400, "the process was not killed in the middle"
    assert json.loads((out / "drive.json").read_text())["status"] == "preparing"
    with pytest.raises(InputError, match="was interrupted; run prepare again"):
        samples.load(out)
    (out / "frame_00599_driver.jpg.part").write_bytes(b"torn")

    samples.prepare(*drive, 400, "dashgaze", out)
    assert all(path.stat().st_mtime_ns == written for path, written in whole.items())
    samples.prepare(*drive, 400, "dashgaze", tmp_path / "clean")
    assert content(out) == content(tmp_path / "clean")
    assert len(samples.load(out).table) == 400


def test_two_processes_prepare_one_folder_without_harm(drive: tuple[Path, Path], tmp_path: Path) -> None:
    both = [start(drive, 150, tmp_path / "out") for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    samples.prepare(*drive, 150, "dashgaze", tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_folder_of_other_inputs_is_refused(drive: tuple[Path, Path], prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was prepared with other samples; give another out folder"):
        samples.prepare(*drive, 41, "dashgaze", prepared)
    other = recordings.labels(tmp_path / "l.csv", range(500))
    with pytest.raises(InputError, match="other labels and samples"):
        samples.prepare(drive[0], other, 50, "dashgaze", prepared)
    with pytest.raises(InputError, match="other layout"):
        samples.prepare(*drive, 40, "driver", prepared)


def test_a_folder_with_something_else_in_it_is_refused_and_untouched(drive: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match=r"holds thesis\.txt"):
        samples.prepare(*drive, 5, "dashgaze", tmp_path)
    assert content(tmp_path) == {"thesis.txt": b"do not touch"}


def test_bad_inputs_leave_no_folder_behind(drive: tuple[Path, Path], tmp_path: Path) -> None:
    video, labels = drive
    out = tmp_path / "out"
    for arguments, kind in [
        ((video, labels, 0, "dashgaze"), InputError),
        ((video, labels, "many", "dashgaze"), InputError),
        ((video, labels, 5, "nowhere.yaml"), InputError),
        ((tmp_path / "none.mp4", labels, 5, "dashgaze"), DriveError),
        ((video, tmp_path / "none.csv", 5, "dashgaze"), DriveError),
        ((labels, labels, 5, "dashgaze"), DriveError),
        ((video, video, 5, "dashgaze"), DriveError),
    ]:
        with pytest.raises(kind) as caught:
            samples.prepare(*arguments, out)
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_an_out_folder_that_cannot_be_made_is_one_line(drive: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: cannot be written \(Not a directory\)"):
        samples.prepare(*drive, 5, "dashgaze", tmp_path / "file" / "out")


def test_a_full_disk_is_one_line_and_the_folder_continues(
    drive: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        if len(written) > 60:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return write(path, data)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_until_full)
        with pytest.raises(
            InputError, match=r"disk full while writing .*out: about [\d,]+ bytes are needed for"
        ) as caught:
            samples.prepare(*drive, 40, "dashgaze", out)
    assert "\n" not in str(caught.value)
    assert not list(out.glob("*.part"))
    samples.prepare(*drive, 40, "dashgaze", out)
    assert len(samples.load(out).table) == 40


def test_a_disk_that_is_really_full(drive: tuple[Path, Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs rights that this user does not have; the test above stands in")
    try:
        with pytest.raises(InputError, match=r"disk full while writing .*are free; make room"):
            samples.prepare(*drive, 600, "dashgaze", disk / "out")
        assert not list((disk / "out").glob("*.part"))
        assert all(cv2.imread(str(path)) is not None for path in (disk / "out").glob("*.jpg"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_frames_that_cannot_be_decoded_are_counted(drive: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = bytearray(drive[0].read_bytes())
    middle = damaged.find(b"mdat") + (damaged.rfind(b"moov") - damaged.find(b"mdat")) // 2
    damaged[middle : middle + 3000] = bytes(3000)
    (tmp_path / "v.mp4").write_bytes(damaged)
    samples.prepare(tmp_path / "v.mp4", drive[1], 600, "dashgaze", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "drive.json").read_text())["samples"]
    lost = about["dropped"]["frame cannot be decoded"]
    assert 0 < lost < 200
    assert about["kept"] == len(samples.load(tmp_path / "out").table) == 600 - lost


def test_a_two_view_recording_has_no_camera(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 10, (320, 180))
    out = samples.prepare(video, recordings.labels(tmp_path / "l.csv", range(10)), 5, "dashgaze", tmp_path / "out")
    assert not list(out.glob("*_camera.jpg"))
    assert len(list(out.glob("*_road.jpg"))) == 5


def test_a_driver_only_recording_has_no_road(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 10, (160, 120))
    out = samples.prepare(video, recordings.labels(tmp_path / "l.csv", range(10)), 5, "driver", tmp_path / "out")
    table = samples.load(out).table
    assert table["road"].tolist() == [""] * 5
    assert cv2.imread(str(out / table["driver"][0])).shape == (120, 160, 3)


def test_what_load_returns(drive: tuple[Path, Path], prepared: Path) -> None:
    loaded = samples.load(prepared)
    about = json.loads((prepared / "drive.json").read_text())
    assert loaded.folder == prepared
    assert (loaded.fps, loaded.rendered, loaded.drive) == (30.0, False, about["recording_sha256"])
    assert {"frame", "driver", "road", "azimuth_deg", "elevation_deg", "timestamp [ns]"} <= set(loaded.table.columns)
    assert loaded.table["road"].str.endswith("_road.jpg").all()


def copy(folder: Path, to: Path, names: str = "*") -> Path:
    to.mkdir()
    for path in folder.glob(names):
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_the_digest_follows_pictures_and_angles_only(prepared: Path, tmp_path: Path) -> None:
    digest = samples.load(prepared).digest
    moved = copy(prepared, tmp_path / "moved")
    assert samples.load(moved).digest == digest
    table = (moved / "samples.csv").read_text()
    azimuth = str(recordings.angles(0)[1])
    assert azimuth in table
    (moved / "samples.csv").write_text(table.replace(azimuth, "2.75", 1))
    assert samples.load(moved).digest != digest
    (moved / "samples.csv").write_text(table)
    (moved / "frame_00000_driver.jpg").write_bytes((moved / "frame_00599_driver.jpg").read_bytes())
    assert samples.load(moved).digest != digest


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "frame_00000_driver.jpg").unlink(), r"frame_00000_driver\.jpg: cannot be read"),
        (
            lambda folder: (folder / "frame_00000_driver.jpg").write_bytes(
                (folder / "frame_00000_driver.jpg").read_bytes()[:900]
            ),
            r"frame_00000_driver\.jpg: is damaged",
        ),
        (lambda folder: (folder / "samples.csv").unlink(), "cannot be read"),
        (lambda folder: (folder / "samples.csv").write_text("a,b\n1,2\n"), "cannot be read"),
        (lambda folder: (folder / "drive.json").write_text("{"), r"drive\.json: cannot be read as JSON"),
        (lambda folder: (folder / "drive.json").write_text('{"format": 99}'), "format 99 is not 1"),
        (lambda folder: (folder / "drive.json").write_text('{"format": 1, "status": "complete"}'), "cannot be read"),
    ],
)
def test_a_harmed_prepared_folder_is_refused_in_one_line(harm, says: str, prepared: Path, tmp_path: Path) -> None:
    folder = copy(prepared, tmp_path / "harmed")
    harm(folder)
    with pytest.raises(InputError, match=says) as caught:
        samples.load(folder)
    assert "\n" not in str(caught.value)


def test_an_empty_or_absent_folder_says_what_was_looked_for_and_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no samples found in .*looked for samples\.csv.*\*_driver\.jpg.*prepare --vid"
    ):
        samples.load(tmp_path)
    with pytest.raises(InputError, match="no such folder; make it with"):
        samples.load(tmp_path / "absent")


def bare(folder: Path, stem: str, truth: object, seed: int = 0) -> None:
    picture = recordings.picture(seed, (96, 96))
    cv2.imwrite(str(folder / f"{stem}_driver.jpg"), picture)
    (folder / f"{stem}_gt.json").write_text(json.dumps(truth))


def test_a_bare_folder_as_users_have_it_is_read(tmp_path: Path) -> None:
    bare(tmp_path, "frame_00012", {"azimuth_deg": 1.5, "elevation_deg": -2, "worn": True}, 12)
    bare(tmp_path, "frame_00003", {"azimuth [deg]": 3, "elevation [deg]": 4}, 3)
    bare(tmp_path, "frame_00100", {"frame": 7, "azimuth": 5, "elevation": 6}, 100)
    (tmp_path / "frame_00003_road.jpg").write_bytes(b"")
    loaded = samples.load(tmp_path)
    assert loaded.table["frame"].tolist() == [3, 12, 100]
    assert loaded.table["azimuth_deg"].tolist() == [3.0, 1.5, 5.0]
    assert loaded.table["road"].tolist() == ["frame_00003_road.jpg", "", ""]
    assert (loaded.fps, loaded.rendered) == (30.0, False)
    assert loaded.drive == loaded.digest


def test_a_bare_copy_of_a_prepared_folder_holds_the_same_samples(prepared: Path, tmp_path: Path) -> None:
    whole, stripped = samples.load(prepared), samples.load(copy(prepared, tmp_path / "bare", "frame_*"))
    assert stripped.digest == whole.digest
    columns = ["frame", "driver", "road", "azimuth_deg", "elevation_deg"]
    assert stripped.table[columns].equals(whole.table[columns])


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        ({"pitch": 1, "yaw": 2}, "has none of azimuth_deg, azimuth [deg], azimuth; found pitch, yaw"),
        ({"azimuth_deg": "left", "elevation_deg": 2}, "azimuth_deg is 'left'"),
        ({"azimuth_deg": 1, "elevation_deg": None}, "elevation_deg is None"),
        ({"azimuth_deg": 1, "elevation_deg": 91}, "elevation_deg is 91"),
        ([1, 2], "is no JSON object"),
    ],
)
def test_a_bad_sample_of_a_bare_folder_is_left_out_and_counted(
    truth: object, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare(tmp_path, "bad", truth)
    with pytest.raises(InputError, match="none of 1 is usable") as caught:
        samples.load(tmp_path)
    assert says in str(caught.value)
    bare(tmp_path, "good_2", {"azimuth_deg": 1, "elevation_deg": 2})
    assert samples.load(tmp_path).table["driver"].tolist() == ["good_2_driver.jpg"]
    assert "1 of 2 samples left out" in caplog.text


def test_a_torn_picture_or_a_missing_truth_of_a_bare_folder_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(3):
        bare(tmp_path, f"f{n}", {"azimuth_deg": n, "elevation_deg": n}, n)
    (tmp_path / "f0_gt.json").unlink()
    torn = tmp_path / "f1_driver.jpg"
    torn.write_bytes(torn.read_bytes()[:-100])
    assert samples.load(tmp_path).table["frame"].tolist() == [2]
    assert "2 of 3 samples left out" in caplog.text


def test_pictures_are_the_pixels_that_serving_sees(prepared: Path) -> None:
    loaded = samples.load(prepared)
    pictures = samples.driver_pictures(loaded)
    assert (pictures.shape, pictures.dtype) == ((40, 224, 224, 3), np.uint8)
    for row, name in enumerate(loaded.table["driver"]):
        served = preprocess.resize(preprocess.decode((prepared / name).read_bytes()))
        np.testing.assert_array_equal(pictures[row], served)


def test_batches_of_pictures_follow_the_indices(prepared: Path) -> None:
    loaded = samples.load(prepared)
    every = samples.driver_pictures(loaded, size=32)
    wanted = np.array([5, 1, 39, 0, 7])
    batches = list(samples.iterate_pictures(loaded, wanted, batch=2, size=32))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(batches), every[wanted])
    assert list(samples.iterate_pictures(loaded, np.array([], int), batch=2)) == []
