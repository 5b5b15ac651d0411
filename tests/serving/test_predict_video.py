"""Videos: `serving predict`, its annotated copy and the app see the pictures that prepare sees, at their own times."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

from recording import decoding, files, frames, pictures, preparation, prepared
from recording.drive import Source
from recording.exceptions import InputError
from recording.face import Face
from recording.layouts import Layout, View
from registry.crop import Crop, Rectangle
from serving import predict, videos
from serving.crops import WHOLE
from serving.predict import Row
from serving.views import try_it
from tests import faces, packages, recordings


class Sides:
    """A stand-in for a version: it answers how bright a picture is above the middle and on its right."""

    model, version, contract = "stand-in", 1, SimpleNamespace(crop=WHOLE)

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 224, 224, 3) → (n, 2)."""
        return np.stack([pictures[:, :112].mean((1, 2, 3)), pictures[:, :, 112:, 0].mean((1, 2))], axis=1)


def answers(video: Path, annotated: Path | None = None, track: int | None = None) -> list[Row]:
    predictor: Any = Sides()
    with predict._session(predictor, "driver") as session:
        return list(session.video(video, frames.scan(video, track), annotated))


def uploaded(video: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[np.ndarray], list[str]]:
    """The pictures that the app answers of an uploaded video, and what it says beside them."""
    answered: list[np.ndarray] = []
    said: list[str] = []
    monkeypatch.setattr(try_it.shared, "answer", lambda *given: answered.append(given[1]) or (0.0, 0.0))
    for place in ("warning", "caption"):
        monkeypatch.setattr(try_it.st, place, said.append)
    upload: Any = SimpleNamespace(name=video.name, getbuffer=video.read_bytes)
    try_it._video(Sides(), upload, "driver")  # type: ignore[arg-type]
    return answered, said


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_recording_stored_lying_is_one_picture_everywhere(
    rotation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = recordings.video(tmp_path / "v.mp4", 6, rotation=rotation)
    truth = recordings.labels(tmp_path / "l.csv", range(6))
    folder = preparation.prepare(Source(video, truth, "driver"), 6, tmp_path / "out")
    upright = prepared.driver_pictures(prepared.load(folder))
    rows = answers(video, tmp_path / "copy.mp4")
    np.testing.assert_allclose(
        [(row.azimuth_deg, row.elevation_deg) for row in rows], Sides().predict(upright), atol=0.5
    )

    seen: list[np.ndarray] = []
    monkeypatch.setattr(try_it.shared, "answer", lambda found, view, *_: seen.append(view.copy()) or (0.0, 0.0))
    upload: Any = SimpleNamespace(name="v.mp4", getbuffer=video.read_bytes)
    try_it._video(Sides(), upload, "driver")  # type: ignore[arg-type]
    in_file = [picture[..., ::-1] for picture in recordings.read_forward(video)]
    assert len(seen) == 6
    np.testing.assert_array_equal(np.stack(seen), np.stack(in_file))

    copied = recordings.read_forward(tmp_path / "copy.mp4")
    assert copied[0].shape == in_file[0].shape
    apart = np.median(np.abs(copied[0].astype(int) - in_file[0][..., ::-1]))  # arrows cover less than half of it
    assert apart < 8, "the copy shows another picture than the recording"


def test_the_annotated_copy_keeps_the_times_of_the_pictures(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(40, 160, 40)).tolist()  # about ten a second
    video = recordings.video(tmp_path / "v.mp4", 40, times_ms=times)
    answers(video, tmp_path / "copy.mp4")
    copied = frames.scan(tmp_path / "copy.mp4")
    np.testing.assert_allclose(copied.seconds, (np.array(times) - times[0]) / 1000, atol=1e-4)


def test_a_copy_of_29_97_pictures_a_second_is_one(tmp_path: Path) -> None:
    with videos.copying(tmp_path / "copy: 1.mp4", 30000 / 1001) as copy:
        for number in range(10):
            copy.add(recordings.picture(number, (64, 48)), number * 1001 / 30000)
    with av.open(f"file:{tmp_path / 'copy: 1.mp4'}") as written:
        assert written.streams.video[0].average_rate == pytest.approx(30000 / 1001, abs=1e-3)


def test_a_copy_that_cannot_keep_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"copy\.avi: cannot be written with such an ending; .* ends in \.mp4"):
        answers(recordings.video(tmp_path / "v.mp4", 3), tmp_path / "copy.avi")


def test_damaged_frames_are_not_answered_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = recordings.video(tmp_path / "v.mp4", 120, options={"x264-params": "scenecut=0"})
    recordings.damage(video, [40, 41, 42], seed=0)  # of one alone every twentieth makes another valid picture
    rows = answers(video, tmp_path / "copy.mp4")
    given = {row.frame for row in rows}
    assert set(range(30)) <= given
    assert set(range(60, 120)) <= given
    assert len(given) < 120
    assert f"{120 - len(given)} of 120 frames left out ({decoding.DAMAGED})" in capsys.readouterr().err
    copied = frames.scan(tmp_path / "copy.mp4")
    assert copied.frames == len(given)
    assert copied.seconds[-1] == pytest.approx(119 / 30, abs=1e-3), "what is left out must not shift what follows"


def test_the_app_leaves_out_damaged_frames_and_says_so_and_which_film_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [recordings.video(tmp_path / f"{n}.mp4", 90, options={"x264-params": "scenecut=0"}) for n in range(2)]
    video = recordings.damage(recordings.joined(tmp_path / "v.mp4", *films), [40, 41, 42], seed=0)
    answered, said = uploaded(video, monkeypatch)
    assert 30 <= len(answered) < 90
    assert f"{90 - len(answered)} of 90 frames left out ({decoding.DAMAGED})." in said
    assert any(line.startswith("The file holds 2 films; number 0 is answered here") for line in said)


def test_the_app_says_what_reading_a_video_warns_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = tmp_path / "raw.mjpeg"
    video.write_bytes(b"".join(packages.picture(angle, 3) for angle in range(12)))
    answered, said = uploaded(video, monkeypatch)
    assert len(answered) == 12
    assert [line for line in said if "no times of their own" in line] == [
        "Its pictures have no times of their own, or their clock was set back; 25 per second are assumed."
    ]
    assert logging.getLogger("recording").handlers == []


def test_another_film_is_answered_when_it_is_chosen(tmp_path: Path) -> None:
    parts = [recordings.video(tmp_path / f"{n}.mp4", 4, size) for n, size in enumerate([(192, 96), (160, 128)])]
    both = recordings.joined(tmp_path / "v.mp4", *parts)
    alone = answers(parts[1])
    assert [row.azimuth_deg for row in answers(both, track=1)] == [row.azimuth_deg for row in alone]
    assert [row.azimuth_deg for row in answers(both)] != [row.azimuth_deg for row in alone]


def test_the_face_is_not_looked_for_in_frames_that_turn_out_to_be_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, index: Any, frames: Any, deliver: Any) -> dict[int, str]:
        for number in (0, 1, 2):
            deliver(number, np.full((4, 4, 3), number, np.uint8))
        return {1: decoding.DAMAGED}

    monkeypatch.setattr(videos.decoding, "read", read)
    monkeypatch.setattr(videos.crops, "driver_view", lambda picture, *_: picture)
    monkeypatch.setattr(
        videos, "settle", lambda promised, shown, *_: [[int(picture.max()) for picture in shown[0].pictures]]
    )
    promised: Any = SimpleNamespace(detected=True)
    assert videos.settled(Path("v.mp4"), SimpleNamespace(), range(3), "driver", promised) == [0, 2]  # type: ignore[arg-type]


def test_the_app_answers_no_more_than_the_first_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = recordings.video(tmp_path / "v.mp4", 40)
    answered: list[np.ndarray] = []
    monkeypatch.setattr(try_it, "_FRAMES", 15)
    monkeypatch.setattr(try_it.shared, "answer", lambda *given: answered.append(given[1]) or (0.0, 0.0))
    upload: Any = SimpleNamespace(name="v.mp4", getbuffer=video.read_bytes)
    try_it._video(Sides(), upload, "driver")  # type: ignore[arg-type]
    assert len(answered) == 15


def with_a_face(path: Path, first: int, count: int = 30) -> Path:
    """A video of a driver view in which a face is seen from frame ``first`` on."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 360, "yuv420p"
        for number in range(count):
            shown = faces.portrait(at=(160 if number >= first else -500, 180))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    return path


# Their first frame shows no face, and no picture comes with them.
@pytest.mark.parametrize("where", ["predict", "app"])
def test_a_version_that_finds_the_face_finds_it_on_the_whole_video(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = with_a_face(tmp_path / "v.mp4", first=6)
    version: Any = Sides()
    rectangles = [Face(320, 360, View(x, 30, 100, 100)) for x in (20, 90)]
    version.contract = SimpleNamespace(crop=Crop.of("driver", (), rectangles))
    if where == "app":
        answered: list[np.ndarray] = []
        answer = try_it.shared.answer
        monkeypatch.setattr(try_it.shared, "answer", lambda *given: answered.append(given[1]) or answer(*given))
        upload: Any = SimpleNamespace(name="v.mp4", getbuffer=video.read_bytes)
        try_it._video(version, upload, "driver")
        assert len(answered) == 30
        return
    monkeypatch.setattr(predict, "Loader", lambda *_: SimpleNamespace(find=lambda: 1, load=lambda _: version))
    assert predict.main([str(video), "--cache", str(tmp_path), "--crop", "driver"]) == 0
    assert capsys.readouterr().out.count('"frame"') == 30


# The second picture of the run is none: what an earlier run wrote is not lost, and what this one began is removed.
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_run_that_fails_leaves_the_earlier_answers(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version: Any = Sides()
    monkeypatch.setattr(predict, "Loader", lambda *_: SimpleNamespace(find=lambda: 1, load=lambda _: version))
    sound, torn, out = tmp_path / "a.mp4", tmp_path / "b.jpg", tmp_path / "out" / "answers"
    recordings.video(sound, 3)
    torn.write_bytes(b"no picture")
    out.parent.mkdir()
    options = ["--cache", str(tmp_path), "--crop", "driver", "--format", form, "--out", str(out)]
    assert predict.main([str(sound), *options]) == 0
    before = out.read_text()
    assert before.count("a.mp4") == 3
    with pytest.raises(InputError, match=r"b\.jpg"):
        predict.main([str(sound), str(torn), *options])
    assert out.read_text() == before
    assert list(out.parent.iterdir()) == [out]


def test_a_copy_that_cannot_be_finished_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, copy = recordings.video(tmp_path / "v.mp4", 3), tmp_path / "out" / "copy.mp4"
    copy.parent.mkdir()
    copy.write_bytes(b"earlier")

    def full(self: videos.Copy) -> None:
        self._container.mux(self._stream.encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(videos.Copy, "finish", full)
    with pytest.raises(files.DiskFull, match=r"disk full: cannot write .*/out/copy\.mp4"):
        answers(video, copy)
    assert copy.read_bytes() == b"earlier"
    assert list(copy.parent.iterdir()) == [copy]


def test_an_angle_that_rounds_to_nothing_has_no_minus() -> None:
    predictor: Any = Sides()
    assert '"azimuth_deg": 0.0, "elevation_deg": 0.0' in json.dumps(Row("a", 0, -1e-6, -1e-9).with_origin(predictor))


def test_a_copy_in_the_place_of_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "copy.mp4").mkdir()
    with (
        pytest.raises(InputError, match=r"copy\.mp4: is a folder"),
        videos.copying(tmp_path / "copy.mp4", 30.0),
    ):
        pytest.fail("the work has begun")


@pytest.mark.parametrize("name", ["no such folder/copy.mp4", f"{'n' * 300}.mp4"])
def test_where_no_copy_can_be_written_is_said_before_the_work(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"copy\.mp4|nnn\.mp4: cannot be written"),
        videos.copying(tmp_path / name, 30.0),
    ):
        pytest.fail("the work has begun")


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mov", "copy.M4V", "copy.mkv", f"{'ü' * 120}.mp4"])
def test_two_copies_to_one_path_do_not_mix(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with videos.copying(path, 30.0) as first, videos.copying(path, 30.0) as second:
        for number in range(9):
            first.add(recordings.picture(number, (64, 48)), number / 30)
            second.add(recordings.picture(number, (96, 64)), number / 30)
            assert not path.exists()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert {picture.shape for picture in recordings.read_forward(path)} == {(48, 64, 3)}  # the last one stays


def test_a_copy_in_the_place_of_a_link_is_written_where_that_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "copy.mp4").symlink_to("disk/real.mp4")
    answers(recordings.video(tmp_path / "v.mp4", 3), tmp_path / "copy.mp4")
    assert (tmp_path / "copy.mp4").is_symlink()
    assert frames.scan(tmp_path / "disk" / "real.mp4").frames == 3


def test_a_disk_that_fills_while_a_copy_is_written_is_named_by_the_path_that_was_given(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    video = recordings.video(tmp_path / "v.mp4", 30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(files.DiskFull, match=r"^disk full: cannot write /\S*/copy\.mp4; "):
            answers(video, tmp_path / "copy.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [one.name for one in tmp_path.iterdir()] == ["v.mp4"]


def run(*words: str, folder: Path) -> str:
    """What ``python -m serving predict`` says when it ends with status 2: one line."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", "predict", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("v.mp4 --annotated v.mp4", "error: --annotated v.mp4: is the input v.mp4, which is read; give another name"),
        ("v.mp4 --annotated link.mp4", "--annotated link.mp4: is the input v.mp4, "),
        ("v.mp4 --annotated hard.mp4", "--annotated hard.mp4: is the input v.mp4, "),
        ("link.mp4 --annotated ./v.mp4", "--annotated v.mp4: is the input link.mp4, "),
        ("pictures --out pictures/a.jpg", "--out pictures/a.jpg: is the input pictures/a.jpg, "),
        ("v.mp4 --annotated c.mp4 --labels l.csv --out l.csv", "--out l.csv: is the labels file l.csv, "),
        ("v.mp4 --annotated l.csv/../c.mp4 --out ./c.mp4", "--out c.mp4: is what --annotated writes; "),
    ],
)
def test_what_is_read_is_never_written_over(words: str, says: str, tmp_path: Path) -> None:
    recordings.video(tmp_path / "v.mp4", 3)
    (tmp_path / "link.mp4").symlink_to("v.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "v.mp4")
    recordings.labels(tmp_path / "l.csv", range(3))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"a picture")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    assert says in run(*words.split(), folder=tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_where_no_copy_can_be_written_is_said_before_a_model_is_looked_for(tmp_path: Path) -> None:
    recordings.video(tmp_path / "v.mp4", 3)
    (tmp_path / "folder.mp4").mkdir()
    for name, says in (
        ("copy.db", "cannot be written with such an ending; give a name that ends in .mp4, .mov, .m4v, .mkv"),
        ("folder.mp4", "is a folder; give the path of a file in it"),
    ):
        with pytest.raises(InputError) as refused:
            predict.main([str(tmp_path / "v.mp4"), "--annotated", str(tmp_path / name)])
        assert str(refused.value) == f"--annotated {tmp_path / name}: {says}"


def test_of_a_folder_everything_is_answered_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answered = ["a.jpg", "b.JFIF", "c.png", "d.MTS", "e.wmv", "f.3gp", "g.mp4"]
    for name in [*answered, "h.webp", "i.heic", "labels.csv", ".hidden"]:
        (tmp_path / name).touch()
    assert sorted(file.name for file in predict._files(tmp_path)) == answered
    assert capsys.readouterr().err == (
        f"{tmp_path}: 2 files passed over, named neither as a picture nor as a video (h.webp, i.heic)\n"
    )


@pytest.mark.parametrize(("name", "made", "how"), [
    ("v.h264", "v.h264", {}), ("v.MJPEG", "v.mjpeg", {"codec": "mjpeg"}), ("v.insv", "v.mp4", {}),
    ("film", "v.mp4", {}), ("film", "v.mjpeg", {"codec": "mjpeg"}), ("v.dat", "v.ts", {}),
])  # fmt: skip
def test_a_film_is_one_whatever_it_is_called(name: str, made: str, how: dict, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "given").mkdir()
    path = recordings.video(tmp_path / "made" / made, 30, **how).rename(tmp_path / "given" / name)
    assert predict._is_video(path)
    assert predict._files(tmp_path / "given") == [path]
    assert [row.frame for row in answers(path)] == list(range(30))


def test_a_picture_is_none_whatever_it_is_called(tmp_path: Path) -> None:
    shown = pictures.encode(recordings.picture(1, (192, 96)))
    film = recordings.video(tmp_path / "v.mp4", 3).read_bytes()
    for name, content in {
        "photo": shown, "motion": shown + film, "v.jpg": film, "notes.nfo": b"plain text, many lines\n" * 400,
        "empty": b"", "zeros.dat": bytes(100_000), "p.webp": cv2.imencode(".webp", recordings.picture(1, (192, 96)))[1],
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(bytes(content))
        assert not predict._is_video(tmp_path / name), name


def test_in_an_annotated_copy_gaze_begins_in_the_face_that_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, begun = recordings.video(tmp_path / "v.mp4", 3, size=(320, 192)), []
    annotate = predict.annotate
    monkeypatch.setattr(predict, "annotate", lambda *given: (begun.append(given[4]), annotate(*given))[1])
    promised = Crop.of("driver", [Layout("driver", 320, 192, {"driver": View(0, 0, 320, 192)})])
    for crop, eyes in (
        (promised.settled(None), (0.5, 0.42)),
        (promised.model_copy(update={"face": Rectangle(width=320, height=192, x=160, y=96, w=96, h=96)}), (0.65, 0.71)),
    ):
        begun.clear()
        predictor: Any = Sides()
        predictor.contract = SimpleNamespace(crop=crop)
        with predict._session(predictor, "driver") as session:
            list(session.video(video, frames.scan(video), tmp_path / "copy.mp4"))
        assert begun == [pytest.approx(eyes)] * 3
