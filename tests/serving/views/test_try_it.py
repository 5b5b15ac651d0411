"""What *Try it* shows of an upload."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recording import arrows, detection, preprocess
from recording.exceptions import InputError
from registry.crop import Crop
from serving.views import try_it
from tests import faces, recordings


def test_the_arrow_of_a_picture_begins_in_the_face_that_was_found_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = faces.jpeg(faces.portrait(at=(90, 240)))
    view = preprocess.decode(data)
    face = detection.find_in(view, "the picture", room=1.6)
    read: list[np.ndarray] = []
    begins: list[arrows.Point] = []

    def predict(pictures: np.ndarray) -> np.ndarray:
        read.extend(pictures)
        return np.zeros((len(pictures), 2))

    def show(picture: np.ndarray, drawn: list[arrows.Arrow], *, eyes: arrows.Point) -> np.ndarray:
        begins.append(eyes)
        return picture

    monkeypatch.setattr(arrows, "show", show)
    promised = Crop(layout="driver", rectangles=(), face="detected", room=1.6)
    found = SimpleNamespace(version=1, contract=SimpleNamespace(crop=promised), predict=predict)
    for crop in ("auto", "driver", "face"):
        try_it._picture(found, data, crop)
    within = face.share(*arrows.EYES)
    assert begins == [within, within, arrows.EYES]
    np.testing.assert_array_equal(read[0], preprocess.resize(face.cut(view)))
    np.testing.assert_array_equal(read[2], preprocess.resize(view))


def test_the_bar_of_a_video_says_until_the_end_what_is_waited_for(tmp_path: Path, bar_texts: list[str | None]) -> None:
    video = recordings.video(tmp_path / "v.mp4", 3, size=(320, 192))
    contract = SimpleNamespace(crop=Crop(layout="driver", rectangles=()))
    found = SimpleNamespace(version=1, contract=contract, predict=lambda pictures: np.zeros((len(pictures), 2)))
    try_it._video(found, SimpleNamespace(name="v.mp4", getbuffer=video.read_bytes), "driver")
    assert bar_texts == ["Looking at the frames …"] * 4


def test_a_video_that_cannot_be_read_has_the_visitors_name() -> None:
    upload = SimpleNamespace(name="my drive.mp4", getbuffer=lambda: b"no film")
    with pytest.raises(InputError, match=r"^video my drive\.mp4: cannot be opened"):
        try_it._video(SimpleNamespace(), upload, "driver")
