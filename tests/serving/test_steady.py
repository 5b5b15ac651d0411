"""Versions of several drives: the face is found per stream, or per picture."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recording import detection, frames
from recording.exceptions import InputError
from recording.face import Choice, Face
from recording.layouts import DASHGAZE, View
from registry import stages
from registry.addresses import Selector
from registry.crop import Crop
from registry.faces import Shown, settle
from serving import crops, predict, server, steady, videos
from serving.views import try_it
from tests import faces

FOUND = Crop.of("dashgaze", DASHGAZE, [Face(320, 360, View(20, 30, 100, 100)), Face(320, 360, View(90, 80, 120, 120))])
FIXED = Crop.of("dashgaze", DASHGAZE, [Face(320, 360, View(20, 30, 100, 100))] * 2)
NOBODY = faces.portrait(at=(-500, 0))


def moved(across: float) -> np.ndarray:
    return faces.portrait(at=(160 + across, 180))


def test_drives_with_different_rectangles_promise_to_find_the_face() -> None:
    assert FOUND.detected and FOUND.face_in_words == "detected"
    assert not FIXED.detected and FIXED.face_in_words == "20,30,100,100 of 320x360"
    assert Crop.of("dashgaze", DASHGAZE, [None, None]).face_in_words == "none"
    assert Crop.model_validate_json(FOUND.model_dump_json()) == FOUND


def test_in_a_single_picture_the_face_is_cut_out_and_no_face_is_one_line() -> None:
    cut = FOUND.cut(moved(40))
    assert 120 < cut.shape[0] == cut.shape[1] < 200
    assert np.abs(FOUND.cut(moved(-30)).astype(int).mean() - cut.mean()) < 10, "the face is in the same place of both"
    with pytest.raises(InputError, match=r"^image 2: no face found, where this version needs one"):
        FOUND.cut(NOBODY, "image 2")
    assert crops.network_view(NOBODY, "face", FOUND).shape == NOBODY.shape


def test_a_face_is_shown_no_closer_than_in_the_drives_of_the_training() -> None:
    """Single pictures were cut a fifth closer, whatever way they came."""
    drives = [Face(320, 360, View(20, 30, 100, 100)), Face(320, 360, View(90, 80, 120, 120))]
    roomy = Crop.of("dashgaze", DASHGAZE, drives, (0.0, 1.9, 1.7))
    assert roomy.room == 1.7, "of the drives that say it, the one that showed the least"
    assert Crop.of("dashgaze", DASHGAZE, drives[:1], (1.7,)).room == 0.0, "nothing has to be found"
    picture = moved(10)
    closer, cut = FOUND.cut(picture), roomy.cut(picture)
    assert len(cut) == pytest.approx(len(closer) * 1.7 / (1 + 2 * detection.MARGIN), abs=1)
    assert np.array_equal(steady.Steady(roomy).cut(picture, "frame 1"), cut)
    assert np.array_equal(crops.settled(picture, "driver", roomy).cut(picture), cut), "an uploaded picture of the app"


def test_over_a_stream_the_rectangle_stays_where_it_was_found() -> None:
    stream = steady.Steady(FOUND)
    with pytest.raises(InputError, match=r"^frame 1: no face found so far"):
        stream.cut(NOBODY, "frame 1")
    for _ in range(steady.LOOKED_AT):
        stream.cut(moved(0), "frame")
    there = stream.cut(moved(0), "frame")
    for picture in (moved(25), NOBODY):  # a head that turns away is in the rectangle still
        assert np.array_equal(stream.cut(picture, "frame"), stream._settled.cut(picture))
        assert stream.cut(picture, "frame").shape == there.shape
    assert steady.Steady(FIXED).cut(NOBODY, "frame").shape == (100, 100, 3)


# A fifth of the pictures looked at must agree: of 1 in 10 they do not any more.
def test_a_face_that_was_found_is_not_lost_again() -> None:
    stream = steady.Steady(FOUND)
    there = stream.cut(moved(0), "frame")
    for number in range(9):
        assert stream.cut(NOBODY, f"frame {number}").shape == there.shape


# After its deadline a frame is still looked at while the next one is.
def test_two_frames_at_once_are_looked_at_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, choose = steady.Steady(FOUND), detection.choose
    monkeypatch.setattr(detection, "detect", lambda _: np.array([[100.0, 100.0, 80.0, 80.0]]))

    def slow(looks: Sequence[detection.Boxes], *how: int) -> Choice:
        return choose([time.sleep(0.01) or boxes for boxes in looks], *how)  # type: ignore[func-returns-value]

    monkeypatch.setattr(detection, "choose", slow)
    with ThreadPoolExecutor(4) as pool:
        sizes = pool.map(lambda number: stream.cut(NOBODY, f"frame {number}").shape, range(8))
        assert len(set(sizes)) == 1


BESIDE = np.hstack([faces.portrait(at=(160, 180)), faces.portrait(at=(160, 180))])
"""Driver and passenger."""


def settled(promised: Crop, picture: np.ndarray, said: list[str]) -> list[Crop]:
    """Of five such pictures that are given together."""
    shown = Shown("the given pictures", [picture] * 5, lambda one: one)
    return settle(promised, [shown], "", lambda name, choice: crops.say_two_faces(choice, name, said.append))


def test_of_two_faces_it_is_said_once_which_was_taken() -> None:
    said: list[str] = []
    (given,) = settled(FOUND, BESIDE, said)
    alone = crops.settled(BESIDE, "driver", FOUND, "the picture", said.append)
    assert given.rectangle == alone.rectangle
    both, one = said
    start = f"TWO FACES IN VIEW, the larger was taken for the driver's: {given.rectangle} (x,y,w,h), on "
    assert both.startswith(f"the given pictures: {start}5 of 5 pictures; the other one, ")
    assert one.startswith(f"the picture: {start}1 of 1 pictures; the other one, ")
    assert "If that is the driver, give that face alone" in both and "\n" not in both
    settled(FOUND, moved(0), said)
    crops.settled(moved(0), "driver", FOUND, "the picture", said.append)
    settled(FIXED, BESIDE, said)
    assert len(said) == 2


def test_predict_says_it_on_the_standard_error_and_the_app_as_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [tmp_path / f"{k}.jpg" for k in range(3)]
    for picture in pictures:
        picture.write_bytes(faces.jpeg(BESIDE))
    film = tmp_path / "v.mp4"
    with videos.copying(film, 30.0) as copy:
        for k in range(4):
            copy.add(BESIDE, k / 30)
    found: Any = SimpleNamespace(
        model="m", version=1, contract=SimpleNamespace(crop=FOUND), predict=lambda given: np.zeros((len(given), 2))
    )
    with predict._session(found, "driver") as session:
        assert len([*session.images(pictures), *session.video(film, frames.scan(film))]) == 7
    lines = [line.partition(": TWO FACES IN VIEW")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["the given pictures", str(film)]

    warned: list[str] = []
    monkeypatch.setattr(try_it.st, "warning", warned.append)
    try_it._picture(found, pictures[0].read_bytes(), "driver")
    try_it._video(found, SimpleNamespace(name="v.mp4", getbuffer=film.read_bytes), "driver")  # type: ignore[arg-type]
    assert [line.partition("TWO FACES IN VIEW")[0] for line in warned] == ["the picture: ", ""]


def test_http_and_websocket_say_it_beside_the_angles(make_version, tmp_path: Path) -> None:
    make_version(crop=FOUND)
    stages.promote("gaze-tracker", 1, force=True, why="its held-out pictures are painted all over")
    with TestClient(server.assemble(server.Settings(selector=Selector(), poll=0.2, cache=str(tmp_path)))) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        one, two = faces.jpeg(moved(0)), faces.jpeg(BESIDE)
        sent = [("image", ("one.jpg", one)), ("image", ("two.jpg", two))]
        first, second = client.post("/v1/gaze", files=sent).json()["answers"]
        assert "warning" not in first
        assert second["warning"].startswith("image 2: TWO FACES IN VIEW, the larger was taken for the driver's: ")
        with client.websocket_connect("/v1/stream") as stream:
            stream.send_bytes(two)
            assert stream.receive_json()["warning"].startswith("the stream: TWO FACES IN VIEW, ")
        with client.websocket_connect("/v1/stream") as stream:
            stream.send_bytes(one)
            assert "warning" not in stream.receive_json()
