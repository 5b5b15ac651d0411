"""A prepared folder: exact pictures, whole files, the same bytes from the same inputs, whatever interrupts it."""

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from recording import decoding, preparation, prepared, processors, trace
from recording.drive import Source
from recording.exceptions import DriveError, InputError
from tests import disks, recordings

PREPARE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from recording import drive, preparation\n"
    "source = drive.Source(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    "preparation.prepare(source, int(sys.argv[3]), Path(sys.argv[4]))\n"
)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def start(drive: tuple[Path, Path], count: int, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PREPARE, *map(str, drive), str(count), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_every_sample_shows_the_frame_that_its_row_names(ready: Path) -> None:
    table = prepared.load(ready).table
    view = json.loads((ready / "drive.json").read_text())["layout"]["views"]["driver"]
    assert len(table) == 40
    assert table["frame"].is_monotonic_increasing
    for row in table.itertuples():
        picture = cv2.imread(str(ready / row.driver))
        assert picture.shape == (view["h"], view["w"], 3)
        assert recordings.number(picture, view["x"], view["y"]) == row.frame
        assert (row.azimuth_deg, row.elevation_deg) == recordings.angles(row.frame)


def test_the_driver_view_keeps_its_colours_and_what_people_alone_see_does_not(ready: Path) -> None:
    for view, colours in (("driver", "444"), ("road", "420")):
        pictures = [path.read_bytes() for path in ready.glob(f"*_{view}.jpg")]
        assert {simplejpeg.decode_jpeg_header(picture)[3] for picture in pictures} == {colours}


def test_the_folder_says_where_the_face_is_and_may_be_told_again(
    ready: Path, drive: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Noise shows no face. Another rectangle changes no picture, and one that does not fit makes no folder."""
    said = json.loads((ready / "drive.json").read_text())["face"]
    assert (
        said == {"asked": "auto", "rectangle": None, "seen": said["seen"], "looked_at": 40, "room": 0.0}
        and said["seen"] < 4
    )
    folder = Path(shutil.copytree(ready, tmp_path / "copy"))
    before = content(folder)
    preparation.prepare(Source(*drive), 40, folder, face_asked="20,30,64,50")
    assert str(prepared.load(folder).chosen.face) == "20,30,64,50"
    changed = [name for name, now in content(folder).items() if now != before[name]]
    assert changed == ["drive.json"]
    preparation.prepare(Source(*drive), 40, folder)
    assert content(folder) == before
    assert f"NO FACE RECTANGLE: {said['seen']} of 40 pictures" in caplog.text
    for wrong, line in (("90,30,64,50", "outside the driver view of 119x132"), ("1,2,3", "choose auto, none, or")):
        with pytest.raises(InputError, match=line):
            preparation.prepare(Source(*drive), 40, tmp_path / "new", face_asked=wrong)
    assert not (tmp_path / "new").exists()


def test_a_sample_has_its_views_and_its_truth(ready: Path) -> None:
    names = {f"frame_00000_{part}" for part in ("driver.jpg", "road.jpg", "camera.jpg", "gt.json")}
    assert names <= {path.name for path in ready.iterdir()}
    assert len(list(ready.iterdir())) == 4 * 40 + 4
    truth = json.loads((ready / "frame_00599_gt.json").read_text())
    azimuth, elevation = recordings.angles(599)
    assert truth == {
        "frame": 599,
        "azimuth_deg": azimuth,
        "elevation_deg": elevation,
        "timestamp [ns]": 1000 + 33 * 599,
        "worn": "True",
        "blink id": None,
    }


def test_drive_json_says_what_the_folder_is_made_from(ready: Path) -> None:
    about = json.loads((ready / "drive.json").read_text())
    assert about["status"] == "complete"
    assert about["video"] | {"sha256": ""} == {
        "file": "v.mp4",
        "sha256": "",
        "width": 376,
        "height": 134,
        "track": 0,
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
    digest = hashlib.sha256((ready / "samples.csv").read_bytes()).hexdigest()
    assert about["samples"] == {"asked": 40, "picked": 40, "kept": 40, "table_sha256": digest}


def test_what_was_dropped_is_logged(drive: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recording.preparation"):
        preparation.prepare(Source(*drive), 3, tmp_path / "out")
    assert "600 of 605 rows are usable; dropped 5: 1 malformed line, 1 frame not a number" in caplog.text
    assert f"preparing 3 samples of {drive[0]}" in caplog.text
    assert "3 samples ready" in caplog.text


def test_a_lost_class_of_rows_stops_before_anything_is_written(drive: tuple[Path, Path], tmp_path: Path) -> None:
    table = recordings.labels(tmp_path / "l.csv", range(500), [f"1,{n},({n}),2,True," for n in range(500, 600)])
    with pytest.raises(DriveError, match=r"100 of 600 rows would be dropped .*'\(500\)' in line 502"):
        preparation.prepare(Source(drive[0], table), 20, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    preparation.prepare(Source(drive[0], table, on_bad_rows="drop"), 20, tmp_path / "out")
    assert prepared.load(tmp_path / "out").table["frame"].max() == 499


def test_fewer_usable_rows_than_asked_for_gives_all_and_says_so(
    drive: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = recordings.labels(tmp_path / "few.csv", range(0, 600, 100))
    preparation.prepare(Source(drive[0], few), 50, tmp_path / "out")
    assert prepared.load(tmp_path / "out").table["frame"].tolist() == list(range(0, 600, 100))
    assert "only 6 usable rows: all of them are used instead of 50 samples" in caplog.text


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_inputs_give_the_same_bytes(
    threads: int, drive: tuple[Path, Path], ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "cores", lambda: threads)
    preparation.prepare(Source(*drive), 40, tmp_path / "again")
    assert content(tmp_path / "again") == content(ready)


def _without_a_picture(folder: Path) -> None:
    sorted(folder.glob("*_driver.jpg"))[7].unlink()


def _with_zeros(folder: Path) -> None:
    table = (folder / "samples.csv").read_bytes()
    (folder / "samples.csv").write_bytes(table[:500] + bytes(512) + table[1012:])


def _cut_in_a_row(folder: Path) -> None:
    table = (folder / "samples.csv").read_bytes()
    (folder / "samples.csv").write_bytes(table[: table.rindex(b",", 0, -40)])


def _with_a_cut_picture(folder: Path) -> None:
    os.truncate(sorted(folder.glob("*_driver.jpg"))[7], 900)


def _cut_to(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


@pytest.mark.parametrize(
    "damage",
    [_without_a_picture, _with_zeros, _cut_in_a_row, _with_a_cut_picture, _cut_to("frame_00000_driver.jpg", 0)],
)
def test_what_is_gone_from_a_complete_folder_is_refused_and_made_again(
    damage: Callable[[Path], None], drive: tuple[Path, Path], ready: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    damage(out)
    with pytest.raises(InputError, match="prepare"):
        prepared.load(out)
    preparation.prepare(Source(*drive), 40, out)
    assert content(out) == content(ready)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _cut_to("frame_00599_road.jpg", 500),
        _cut_to("frame_00000_gt.json", 0),
        _cut_to("frame_00000_gt.json", 30),
        _without("trace.npz"),
        _cut_to("trace.npz", 4000),
        _without("fingerprint.npz"),
        _cut_to("fingerprint.npz", 0),
        _without("samples.csv"),
    ],
)
def test_every_file_that_is_gone_or_damaged_is_made_again(
    damage: Callable[[Path], None], drive: tuple[Path, Path], ready: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    preparation.prepare(Source(*drive), 40, out, face_asked="20,30,64,50")
    before = content(out)
    damage(out)
    preparation.prepare(Source(*drive), 40, out, face_asked=None)  # as it is
    after = content(out)
    assert [name for name in after if after[name] != before[name]] == [] and after.keys() == before.keys()


def test_a_face_that_was_asked_for_outlives_an_interruption(
    drive: tuple[Path, Path], ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    preparation.prepare(Source(*drive), 40, out, face_asked="20,30,64,50")
    before = content(out)
    (out / "trace.npz").unlink()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(decoding, "read", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        preparation.prepare(Source(*drive), 40, out, face_asked=None)
    preparation.prepare(Source(*drive), 40, out, face_asked=None)
    assert content(out) == before


def test_an_edited_table_stays_when_something_else_is_made_again(
    drive: tuple[Path, Path], ready: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    edited = "".join((out / "samples.csv").read_text().splitlines(keepends=True)[:20])
    (out / "samples.csv").write_text(edited)
    preparation.prepare(Source(*drive), 40, out)
    assert "samples.csv: is not as prepare wrote it: it holds 19 of 40 samples" in caplog.text
    (out / "trace.npz").unlink()
    preparation.prepare(Source(*drive), 40, out)
    assert (out / "trace.npz").read_bytes() == (ready / "trace.npz").read_bytes()
    assert (out / "samples.csv").read_text() == edited
    (out / "samples.csv").unlink()
    preparation.prepare(Source(*drive), 40, out)
    assert content(out) == content(ready)


@pytest.mark.parametrize("about", [{}, {"kept": "all"}])
def test_a_folder_that_does_not_say_what_it_keeps_is_one_line(
    about: dict[str, str], drive: tuple[Path, Path], ready: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    said = json.loads((out / "drive.json").read_text())
    said["samples"] = {"asked": 40} | about
    (out / "drive.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"drive\.json: was not written by prepare; give another out folder"):
        preparation.prepare(Source(*drive), 40, out)


def test_a_table_that_was_cut_where_a_line_ends_is_said(ready: Path, tmp_path: Path, caplog) -> None:
    """An edited table looks alike, and is read."""
    out = tmp_path / "out"
    shutil.copytree(ready, out)
    assert prepared.load(out).table.shape[0] == 40 and "prepare wrote it" not in caplog.text
    lines = (out / "samples.csv").read_text().splitlines(keepends=True)
    (out / "samples.csv").write_text("".join(lines[:21]))
    assert prepared.load(out).table.shape[0] == 20
    assert "it holds 20 of 40 samples" in caplog.text
    (out / "samples.csv").write_text("".join(lines[:20]).rstrip("\n"))
    prepared.load(out)
    assert "it holds 19 of 40 samples" in caplog.text
    (out / "samples.csv").write_text(lines[0])
    with pytest.raises(InputError, match=r"samples\.csv holds no samples; delete samples\.csv and run prepare again"):
        prepared.load(out)


def test_a_complete_folder_is_left_alone(drive: tuple[Path, Path], ready: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in ready.iterdir()}
    preparation.prepare(Source(*drive), 40, ready)
    assert {path.name: path.stat().st_mtime_ns for path in ready.iterdir()} == before


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
        prepared.load(out)
    (out / "frame_00599_driver.jpg.part").write_bytes(b"torn")

    preparation.prepare(Source(*drive), 400, out)
    assert all(path.stat().st_mtime_ns == written for path, written in whole.items())
    preparation.prepare(Source(*drive), 400, tmp_path / "clean")
    assert content(out) == content(tmp_path / "clean")
    assert len(prepared.load(out).table) == 400


def test_two_processes_prepare_one_folder_without_harm(drive: tuple[Path, Path], tmp_path: Path) -> None:
    both = [start(drive, 150, tmp_path / "out") for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    preparation.prepare(Source(*drive), 150, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_folder_of_other_inputs_is_refused(drive: tuple[Path, Path], ready: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was prepared with other samples; give another out folder"):
        preparation.prepare(Source(*drive), 41, ready)
    other = recordings.labels(tmp_path / "l.csv", range(500))
    with pytest.raises(InputError, match="other labels and samples"):
        preparation.prepare(Source(drive[0], other), 50, ready)
    with pytest.raises(InputError, match="other layout"):
        preparation.prepare(Source(*drive, "driver"), 40, ready)


def test_a_folder_with_something_else_in_it_is_refused_and_untouched(drive: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match=r"holds thesis\.txt"):
        preparation.prepare(Source(*drive), 5, tmp_path)
    assert content(tmp_path) == {"thesis.txt": b"do not touch"}


def test_bad_inputs_leave_no_folder_behind(drive: tuple[Path, Path], tmp_path: Path) -> None:
    video, labels = drive
    out = tmp_path / "out"
    for arguments, kind in [
        ((Source(video, labels), 0), InputError),
        ((Source(video, labels), "many"), InputError),
        ((Source(video, labels, "nowhere.yaml"), 5), InputError),
        ((Source(tmp_path / "none.mp4", labels), 5), DriveError),
        ((Source(video, tmp_path / "none.csv"), 5), DriveError),
        ((Source(labels, labels), 5), DriveError),
        ((Source(video, video), 5), DriveError),
    ]:
        with pytest.raises(kind) as caught:
            preparation.prepare(*arguments, out)
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_an_out_folder_that_cannot_be_made_is_one_line(drive: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: cannot be written \(Not a directory\)"):
        preparation.prepare(Source(*drive), 5, tmp_path / "file" / "out")


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
            preparation.prepare(Source(*drive), 40, out)
    assert "\n" not in str(caught.value)
    assert not list(out.glob("*.part"))
    preparation.prepare(Source(*drive), 40, out)
    assert len(prepared.load(out).table) == 40


def test_a_disk_that_is_really_full(drive: tuple[Path, Path], tmp_path: Path) -> None:
    with disks.small(tmp_path / "disk", "400k") as disk:
        with pytest.raises(InputError, match=r"disk full while writing .*are free; make room"):
            preparation.prepare(Source(*drive), 600, disk / "out")
        assert not list((disk / "out").glob("*.part"))
        assert all(cv2.imread(str(path)) is not None for path in (disk / "out").glob("*.jpg"))


def test_frames_that_cannot_be_decoded_are_counted(drive: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = bytearray(drive[0].read_bytes())
    middle = damaged.find(b"mdat") + (damaged.rfind(b"moov") - damaged.find(b"mdat")) // 2
    damaged[middle : middle + 3000] = bytes(3000)
    (tmp_path / "v.mp4").write_bytes(damaged)
    preparation.prepare(Source(tmp_path / "v.mp4", drive[1]), 600, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "drive.json").read_text())["samples"]
    lost = about["dropped"][decoding.DAMAGED]
    assert 0 < lost < 200
    assert about["kept"] == len(prepared.load(tmp_path / "out").table) == 600 - lost


def test_a_two_view_recording_has_no_camera(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 10, (320, 180))
    out = preparation.prepare(Source(video, recordings.labels(tmp_path / "l.csv", range(10))), 5, tmp_path / "out")
    assert not list(out.glob("*_camera.jpg"))
    assert len(list(out.glob("*_road.jpg"))) == 5


def test_a_driver_only_recording_has_no_road(tmp_path: Path) -> None:
    video = recordings.video(tmp_path / "v.mp4", 10, (160, 120))
    out = preparation.prepare(
        Source(video, recordings.labels(tmp_path / "l.csv", range(10)), "driver"), 5, tmp_path / "out"
    )
    table = prepared.load(out).table
    assert table["road"].tolist() == [""] * 5
    assert cv2.imread(str(out / table["driver"][0])).shape == (120, 160, 3)


def test_the_table_has_the_times_of_the_pictures(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(20, 200, 30)).tolist()
    video = recordings.video(tmp_path / "v.mp4", 30, recordings.COMPOSITE, times_ms=times)
    truth = recordings.labels(tmp_path / "l.csv", range(0, 30, 3), ["1,2,0,0,True,", "1,4,0,0,True,"])
    loaded = prepared.load(preparation.prepare(Source(video, truth), 30, tmp_path / "out"))
    wanted = np.array([times[frame] - times[0] for frame in loaded.table["frame"]]) / 1000
    np.testing.assert_allclose(loaded.table["time_s"], wanted, atol=1e-6)
    np.testing.assert_allclose(loaded.seconds, wanted, atol=1e-6)
    assert loaded.fps == pytest.approx(29 / ((times[-1] - times[0]) / 1000), abs=1e-6)


def test_times_of_a_constant_rate_and_of_older_folders_are_frames_over_the_rate(ready: Path, tmp_path: Path) -> None:
    new = prepared.load(ready)
    older = shutil.copytree(ready, tmp_path / "older")
    new.table.drop(columns="time_s").to_csv(older / "samples.csv", index=False)
    for loaded in (new, prepared.load(older)):
        np.testing.assert_array_equal(loaded.seconds, loaded.table["frame"] / 30)


def test_another_film_is_another_preparation(tmp_path: Path) -> None:
    parts = [recordings.video(tmp_path / f"{n}.mp4", 6, size) for n, size in enumerate([(192, 96), (160, 128)])]
    both = recordings.joined(tmp_path / "v.mp4", *parts)
    truth = recordings.labels(tmp_path / "l.csv", range(6))
    out = preparation.prepare(Source(both, truth, "driver", track=1), 3, tmp_path / "out")
    assert cv2.imread(str(out / "frame_00000_driver.jpg")).shape == (128, 160, 3)
    with pytest.raises(InputError, match="prepared with other track and layout"):
        preparation.prepare(Source(both, truth, "driver", track=0), 3, out)


def test_the_trace_has_every_measurement_and_every_frame_of_a_short_drive(ready: Path) -> None:
    kept = trace.read(ready)
    assert kept.shown.tolist() == list(range(600))
    assert kept.pictures.shape == (600, 96, 96)
    assert len(kept.rows.frame) == 602  # all rows that belong to a frame, the blank one and the second one included
    assert np.isnan(kept.rows.angles_deg[kept.rows.frame == 7]).any(axis=1).tolist() == [False, True]
    # The number of each frame is drawn as bars in the driver view: small pictures show it, too.
    brightness = kept.pictures[:, 24:30].astype(int)
    assert np.abs(np.diff(brightness, axis=0)).max(axis=(1, 2)).min() > 20


def test_rows_that_come_late_are_shifted_and_said(drive: tuple[Path, Path], ready: Path, tmp_path: Path) -> None:
    out = preparation.prepare(Source(*drive, label_offset_frames=7), 40, tmp_path / "out")
    for row in prepared.load(out).table.itertuples():
        assert (row.azimuth_deg, row.elevation_deg) == recordings.angles(row.frame + 7)
        assert recordings.number(cv2.imread(str(out / row.driver)), 3, 4) == row.frame  # frames stay the video's
    assert json.loads((out / "drive.json").read_text())["labels"]["offset_frames"] == 7
    with pytest.raises(InputError, match="other label_offset_frames"):
        preparation.prepare(Source(*drive), 40, out)


def test_what_the_angles_count_from_is_looked_for_and_may_be_told_again(
    drive: tuple[Path, Path], ready: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = json.loads((ready / "drive.json").read_text())["label_frame"]
    assert said["asked"] == "auto"
    folder = Path(shutil.copytree(ready, tmp_path / "copy"))
    preparation.prepare(Source(*drive, label_frame="head"), 40, folder)
    now = json.loads((folder / "drive.json").read_text())["label_frame"]
    assert (now["asked"], now["relative_to"]) == ("head", "head")
    assert "THE ANGLES ARE RELATIVE TO THE HEAD" in caplog.text
    preparation.prepare(Source(*drive), 40, folder)
    assert content(folder) == content(ready)
    with pytest.raises(InputError, match="label_frame='world' is unknown"):
        preparation.prepare(Source(*drive, label_frame="world"), 40, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_trace_is_one_line(ready: Path, tmp_path: Path) -> None:
    for cut in (0, 100, 4000):
        (tmp_path / "trace.npz").write_bytes((ready / "trace.npz").read_bytes()[:cut])
        with pytest.raises(InputError, match=r"trace\.npz: is damaged"):
            trace.read(tmp_path)
    whole = trace.read(ready)
    replace(whole, pictures=whole.pictures[:, ::2, ::2]).write(tmp_path)
    with pytest.raises(InputError, match=r"is damaged \(its pictures are .*48, 48\), not .*96, 96"):
        trace.read(tmp_path)
    assert trace.read(tmp_path / "nothing") is None


def test_a_video_with_the_longest_name_gets_a_folder_that_can_be_made(tmp_path: Path) -> None:
    for letter in "aü":
        video = tmp_path / f"{letter * (251 // len(letter.encode()))}.mp4"
        folders = [preparation.place(tmp_path, Source(video, tmp_path / labels), 500) for labels in ("a.csv", "b.csv")]
        assert folders[0] != folders[1]
        for folder in folders:
            folder.mkdir(parents=True)
            assert folder.name.startswith(letter * 100)
