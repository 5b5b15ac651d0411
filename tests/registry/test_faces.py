"""Which rectangle a version reads that has to find the face: the same in evaluate, in predict and in the app."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import streamlit as st

from recording import detection, preparation, prepared, preprocess, recordings
from recording.drive import Source
from recording.exceptions import InputError
from recording.face import Face
from recording.layouts import DASHGAZE, View
from registry import faces
from registry.crop import Crop
from registry.faces import Shown
from serving import predict
from serving.views import shared
from tests import faces as drawn
from tests import recordings as small
from training import evaluation

ROOMY = Crop.of(
    "driver", (), [Face(320, 360, View(20, 30, 100, 100)), Face(320, 360, View(90, 80, 120, 120))], (1.9, 1.8)
)
"""Of a version of two drives, of which the one that showed the faces closest had 1.8 face sizes."""
FIXED = Crop.of("driver", (), [Face(320, 360, View(20, 30, 100, 100))] * 2)
NOBODY = drawn.portrait(at=(-500, 0))


class Rows:
    """A stand-in for a version: it answers with what it reads, the brightness of two parts of it."""

    model, version = "stand-in", 3

    def __init__(self, crop: Crop) -> None:
        self.contract = SimpleNamespace(crop=crop, seal="")

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 224, 224, 3) → (n, 2)."""
        return np.stack([pictures[:, :112].mean((1, 2, 3)), pictures[:, :, 112:].mean((1, 2, 3))], axis=1)


def bare(folder: Path, pictures: list[np.ndarray], name: str = "frame_{:05d}_driver.jpg") -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        file = folder / name.format(number)
        file.write_bytes(drawn.jpeg(picture))
        (folder / f"{file.stem.removesuffix('_driver')}_gt.json").write_text('{"azimuth_deg": 2, "elevation_deg": -1}')
    return folder


@pytest.fixture
def footage(tmp_path: Path) -> Source:
    """A drive whose driver hardly moves: by itself the rectangle would be closer than that of any training drive."""
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 360, "yuv420p"
        for number in range(30):
            shown = drawn.portrait(at=(150 + number % 3, 180), width=100)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    return Source(tmp_path / "v.mp4", small.labels(tmp_path / "l.csv", range(30)), "driver")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """What the pages keep is forgotten."""
    st.cache_data.clear()
    yield
    st.cache_data.clear()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Callable[[Path, Crop], list[np.ndarray]]:
    """What a version answers to a folder in evaluate, in predict and in the app."""

    def ask(folder: Path, crop: Crop) -> list[np.ndarray]:
        version: Any = Rows(crop)
        read = evaluation.cut(recordings.load((folder,)), crop)
        evaluated = version.predict(np.concatenate(list(read.iterate_pictures(8))))
        monkeypatch.setattr(predict, "Loader", lambda *_: SimpleNamespace(find=lambda: 1, load=lambda _: version))
        capsys.readouterr()
        assert predict.main([str(folder), "--cache", str(tmp_path / "cache")]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        told = np.array([[row["azimuth_deg"], row["elevation_deg"]] for row in rows])
        drive = prepared.load(folder)
        shown = np.array([shared.answer_sample(version, drive, row) for row in range(len(drive.table))])
        return [evaluated, told, shown]

    return ask


def agree(answers: list[np.ndarray]) -> np.ndarray:
    first, *others = answers
    for other in others:
        np.testing.assert_allclose(other, first, atol=6e-5)  # predict prints four decimals
    return first


def test_all_show_the_face_no_closer_than_in_the_training(footage: Source, tmp_path: Path, asked) -> None:
    folder = preparation.prepare(footage, 12, tmp_path / "prepared")
    closer, roomy = (agree(asked(folder, ROOMY.model_copy(update={"room": room}))) for room in (0.0, 1.8))
    assert np.abs(closer - roomy).max() > 1
    (found,) = evaluation.cut(recordings.load((folder,)), ROOMY).faces
    own = prepared.load(folder).chosen
    assert found is not None and own is not None and own.face is not None
    assert found.view.w == pytest.approx(1.8 / own.room * own.face.view.w, abs=1)


def test_a_rectangle_given_by_hand_is_read_by_all(footage: Source, tmp_path: Path, asked) -> None:
    folder = preparation.prepare(footage, 12, tmp_path / "prepared")
    found = agree(asked(folder, ROOMY))
    preparation.prepare(footage, 12, folder, face_asked="60,90,180,170")
    by_hand = agree(asked(folder, ROOMY))
    (face,) = evaluation.cut(recordings.load((folder,)), ROOMY).faces
    assert str(face) == "60,90,180,170" and np.abs(by_hand - found).max() > 1
    picture = preprocess.decode((folder / "frame_00000_driver.jpg").read_bytes())
    cut = preprocess.resize(picture[90 : 90 + 170, 60 : 60 + 180])
    np.testing.assert_array_equal(by_hand[0], Rows(ROOMY).predict(cut[None])[0])
    assert np.abs(agree(asked(folder, FIXED)) - by_hand).max() > 1, "a version's own rectangle is not the folder's"


def test_in_a_drive_that_shows_no_face_one_that_is_given_is_read(tmp_path: Path, asked) -> None:
    source = Source(small.video(tmp_path / "v.mp4", 12), small.labels(tmp_path / "l.csv", range(12)), "driver")
    folder = preparation.prepare(source, 5, tmp_path / "prepared")
    for refused in (
        lambda: evaluation.cut(recordings.load((folder,)), ROOMY),
        lambda: predict.main([str(folder), "--cache", str(tmp_path / "cache")]),
        lambda: shared.promised(Rows(ROOMY), prepared.load(folder)),  # type: ignore[arg-type]
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(predict, "Loader", lambda *_: SimpleNamespace(find=lambda: 1, load=lambda _: Rows(ROOMY)))
            with pytest.raises(InputError, match=rf"^{folder}: the 5 pictures looked at do not agree on a face, and"):
                refused()
    preparation.prepare(source, 5, folder, face_asked="20,20,60,60")
    agree(asked(folder, ROOMY))


def test_the_pictures_of_a_bare_folder_are_searched_in_the_order_of_their_numbers(tmp_path: Path, asked) -> None:
    moving = [drawn.portrait(at=(110 + number, 180)) for number in range(75)]
    folder = bare(tmp_path / "mine", moving, name="frame_{}_driver.jpg")
    order = [
        prepared.load(folder).table["driver"].tolist().index(name)
        for name in sorted(path.name for path in folder.glob("*_driver.jpg"))
    ]
    evaluated, told, shown = asked(folder, ROOMY)
    agree([evaluated[order], told, shown[order]])


def test_each_folder_is_a_drive_of_its_own(tmp_path: Path, asked, capsys) -> None:
    left, right = (bare(tmp_path / name, [drawn.portrait(at=(x, 180))] * 4) for name, x in (("a", 110), ("b", 210)))
    alone = [agree(asked(folder, ROOMY)) for folder in (left, right)]
    capsys.readouterr()
    assert predict.main([str(left), str(right), "--cache", str(tmp_path / "cache")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    both = np.array([[row["azimuth_deg"], row["elevation_deg"]] for row in rows])
    np.testing.assert_allclose(both, np.concatenate(alone), atol=6e-5)


def test_a_folder_whose_preparation_ended_too_early_is_answered_as_pictures(footage: Source, tmp_path: Path) -> None:
    folder = preparation.prepare(footage, 6, tmp_path / "prepared", face_asked="60,90,180,170")
    about = json.loads((folder / "drive.json").read_text())
    (folder / "drive.json").write_text(json.dumps(about | {"status": "unfinished"}))
    with predict._session(Rows(ROOMY), "auto") as session:  # type: ignore[arg-type]
        assert len(list(session.images(sorted(folder.glob("*_driver.jpg")), [folder]))) == 6


def test_the_app_reads_another_rectangle_when_the_folder_says_another(footage: Source, tmp_path: Path) -> None:
    folder = preparation.prepare(footage, 6, tmp_path / "prepared", face_asked="60,90,180,170")
    before = shared._changed(folder)
    preparation.prepare(footage, 6, folder, face_asked="50,90,180,170")
    assert shared._changed(folder) > before
    assert str(shared.promised(Rows(ROOMY), prepared.load(folder)).rectangle) == "50,90,180,170"  # type: ignore[arg-type]


def test_pictures_of_one_drive_have_one_rectangle_as_in_training(caplog: pytest.LogCaptureFixture) -> None:
    def settle(promised: Crop, *pictures: np.ndarray) -> Crop:
        (crop,) = faces.settle(promised, [Shown("these", pictures, lambda picture: picture)], "give others")
        return crop

    found = Crop.of("dashgaze", DASHGAZE, [Face(320, 360, View(x, 30, 100, 100)) for x in (20, 90)])
    settled = settle(found, drawn.portrait(at=(140, 180)), NOBODY, drawn.portrait(), drawn.portrait(at=(180, 180)))
    assert settled.rectangle is not None and not settled.detected
    one = settled.rectangle.view
    assert one.x < 160 - 20 - 50 and one.x + one.w > 160 + 20 + 50
    with pytest.raises(InputError, match=r"^these: the 3 pictures looked at do not agree on a face, .*; give others$"):
        settle(found, *[NOBODY] * 3)
    assert settle(FIXED, NOBODY) is FIXED


def test_a_dark_drive_has_the_rectangle_of_the_others_in_evaluate_too(tmp_path: Path, caplog) -> None:
    shown = bare(tmp_path / "a", [drawn.portrait()] * 4)
    dark = bare(tmp_path / "dark", [drawn.portrait() if number in (3, 8) else NOBODY for number in range(12)])
    with caplog.at_level(logging.INFO):
        both = evaluation.cut(recordings.load((shown, dark)), ROOMY)
    assert both.faces[0] is not None and both.faces == (both.faces[0],) * 2
    assert f"{dark}: FACE RECTANGLE OF THE OTHER DRIVES" in caplog.text
    assert (
        detection.search(recordings.load((shown,)).drives[0].driver_files(), detection.read, ROOMY.room).face
        == (both.faces[0])
    )
