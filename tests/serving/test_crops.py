"""The driver view is cut where the contract says, and every way to an answer cuts the same."""

import json
from pathlib import Path

import av
import cv2
import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from recording import frames, layouts, preparation, preprocess, recordings
from recording import pictures as recorded
from recording.drive import Source
from recording.exceptions import InputError
from recording.face import Face
from recording.layouts import Layout, View
from registry import stages
from registry.addresses import Selector
from registry.crop import Crop
from serving import crops, pictures, predict, server
from serving.loader import Loader
from serving.predictor import Predictor
from tests import packages
from tests.recordings import read_forward

DASHGAZE = Crop.of("dashgaze", layouts.DASHGAZE)
OLD = Crop(layout="dashgaze")
"""As versions say it that were registered before contracts had rectangles."""


@pytest.mark.parametrize("promised", [DASHGAZE, OLD], ids=["rectangles", "name alone"])
@pytest.mark.parametrize("size", [(3008, 1080), (1504, 540), (1505, 540), (1920, 1080)])
def test_the_driver_view_of_a_composite_at_any_scale(size: tuple[int, int], promised: Crop) -> None:
    rows, columns = crops.driver_slices(*size, "composite", promised)
    view = layouts.views_for("dashgaze", *size)["driver"]
    assert (columns.start, rows.start, columns.stop, rows.stop) == (view.x, view.y, view.x + view.w, view.y + view.h)


def test_auto_cuts_only_what_no_camera_takes_and_composite_refuses_what_is_none() -> None:
    composite, photograph = np.zeros((540, 1504, 3), np.uint8), np.zeros((1080, 1920, 3), np.uint8)
    assert crops.driver_view(composite, "auto", DASHGAZE).shape == (534, 475, 3)
    assert crops.driver_view(photograph, "auto", DASHGAZE).shape == photograph.shape
    assert crops.driver_view(composite, "driver", DASHGAZE).shape == composite.shape
    wide = np.zeros((200, 900, 3), np.uint8)
    assert crops.driver_view(wide, "auto", DASHGAZE).shape == wide.shape
    with pytest.raises(InputError, match=r"640x480 .* this model \(3008x1080 or 1920x1080\); .* in the app\)$"):
        crops.driver_view(np.zeros((480, 640, 3), np.uint8), "composite", DASHGAZE)


def test_where_the_whole_picture_was_the_driver_every_choice_is_the_whole() -> None:
    picture = np.zeros((540, 1504, 3), np.uint8)
    for crop in crops.CHOICES:
        assert crops.driver_view(picture, crop, Crop.of("driver", ())).shape == picture.shape


def test_layouts_that_disagree_about_a_size_are_refused_and_rounding_is_not() -> None:
    one = Layout("a.yaml", 1280, 400, {"driver": View(0, 0, 640, 400)})
    half = Layout("a.yaml", 640, 200, {"driver": View(0, 0, 320, 200)})
    other = Layout("b.yaml", 1280, 400, {"driver": View(640, 0, 640, 400)})
    assert crops.driver_slices(1280, 400, "composite", Crop.of("a.yaml", [one, half])) == (slice(0, 400), slice(0, 640))
    with pytest.raises(InputError, match="fits several layouts that this model was trained on"):
        crops.driver_slices(1280, 400, "composite", Crop.of("a.yaml, b.yaml", [one, other]))


def test_an_old_version_of_a_layout_file_says_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match=r"does not say where the driver is in pictures of layout mine\.yaml"):
        crops.driver_slices(1280, 400, "composite", Crop(layout="mine.yaml"))
    assert crops.driver_slices(1280, 400, "driver", Crop(layout="mine.yaml")) == (slice(0, 400), slice(0, 1280))


FACE = View(30, 40, 110, 100)
"""In the driver view of 160 × 160 pixels of :func:`record`."""


def record(folder: Path, gaze: np.ndarray, face: View | None) -> tuple[Path, Path, Path]:
    """A video in a layout of its own, whose driver view, or the face in it, the tiny network answers with ``gaze``;
    labels; layout."""
    size, view = (640, 200), View(300, 20, 160, 160)
    layout = folder / "mine.yaml"
    layout.write_text(
        json.dumps({"width": 1280, "height": 400, "views": {"driver": {"x": 600, "y": 40, "w": 320, "h": 320}}})
    )
    with av.open(str(folder / "drive.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, angles in enumerate(gaze):
            frame = np.full((size[1], size[0], 3), 40 + 9 * number % 200, np.uint8)
            painted = cv2.imdecode(np.frombuffer(packages.picture(*angles), np.uint8), cv2.IMREAD_COLOR)
            at = view if face is None else View(view.x + face.x, view.y + face.y, face.w, face.h)
            frame[at.y : at.y + at.h, at.x : at.x + at.w] = cv2.resize(painted, (at.w, at.h))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    rows = [f"{number},{azimuth},{elevation}" for number, (azimuth, elevation) in enumerate(gaze)]
    labels = folder / "sensors.csv"
    labels.write_text("\n".join(["dash_frames,azimuth [deg],elevation [deg]", *rows]))
    return folder / "drive.mp4", labels, layout


def ask_server(picture: np.ndarray, crop: str, cache: Path) -> list[float]:
    done, png = cv2.imencode(".png", picture)
    assert done
    with TestClient(server.assemble(server.Settings(selector=Selector(), poll=0.2, cache=str(cache)))) as client:
        for _ in range(200):
            if client.get("/readyz").status_code == 200:
                break
            __import__("time").sleep(0.05)
        answer: httpx.Response = client.post(
            "/v1/gaze", params={"crop": crop}, content=png.tobytes(), headers={"content-type": "image/png"}
        )
        promised = client.get("/v1/model").json()["crop"]
    assert promised["rectangles"] == [{"width": 640, "height": 200, "x": 300, "y": 20, "w": 160, "h": 160}]
    return [answer.json()["answers"][0][angle] for angle in ("azimuth_deg", "elevation_deg")]


@pytest.mark.parametrize("face", [None, FACE], ids=["whole", "face"])
def test_a_made_up_layout_answers_the_same_angles_everywhere(make_version, tmp_path: Path, face: View | None) -> None:
    gaze = np.random.default_rng(3).uniform([-20, -15], [20, 15], (12, 2)).round(2)
    video, labels, layout = record(tmp_path, gaze, face)
    asked = "none" if face is None else f"{face.x},{face.y},{face.w},{face.h}"
    folder = preparation.prepare(Source(video, labels, layout), 12, tmp_path / "prepared", face_asked=asked)
    data = recordings.load((folder,))
    layout.unlink()  # whoever serves the model has no layout file
    make_version(crop=Crop.of(*data.layouts("dashgaze"), data.faces))
    stages.promote("gaze-tracker", 1, force=True, why="its held-out pictures are painted all over")
    loader = Loader(Selector(), tmp_path / "cache")
    predictor: Predictor = loader.load(loader.find())

    trained = np.concatenate([predictor.predict(batch) for batch in data.iterate_pictures(5)])
    assert np.abs(trained - gaze).max() < 1.2, "the painted pictures do not say what they should"
    with predict._session(predictor, "composite") as session:
        followed = np.array([[row.azimuth_deg, row.elevation_deg] for row in session.video(video, frames.scan(video))])
    shown = predictor.predict(
        np.stack([pictures.read_sample(data.driver_path(row), predictor.contract.crop) for row in range(12)])
    )
    jpegs = pd.DataFrame({"image": [data.driver_path(row).read_bytes() for row in range(12)]})
    scored = mlflow.pyfunc.load_model("models:/gaze-tracker/Production").predict(jpegs).to_numpy()
    frame = read_forward(video)[5]
    driver = cv2.imread(str(data.driver_path(5)))
    alone = driver if face is None else driver[face.y : face.y + face.h, face.x : face.x + face.w]
    sent = [(frame, "composite"), (frame, "auto"), (driver, "driver"), (driver, "auto")]
    if face is not None:
        sent.append((alone, "face"))
    served = [ask_server(picture, crop, tmp_path / "cache") for picture, crop in sent]

    for answers in (followed, shown, scored):
        np.testing.assert_allclose(answers, trained, atol=1e-3)
    # What the client made of a prepared JPEG, the face alone, is another picture.
    np.testing.assert_allclose(served[:4], [trained[5]] * 4, atol=1e-3)
    np.testing.assert_allclose(served[4:], [trained[5]] * (len(sent) - 4), atol=0.1)


@pytest.mark.parametrize("crop", ["driver", "composite", "face"])
def test_a_frame_is_read_as_the_jpeg_that_is_kept_of_it(crop: str) -> None:
    """To the very pixel, from a video as from a PNG; but for a PNG of the face alone: nobody knows where it was."""
    inside = Face(160, 160, FACE)
    promised = Crop.of("mine.yaml", [Layout("mine.yaml", 640, 200, {"driver": View(300, 20, 160, 160)})], [inside])
    random = np.random.default_rng(8)
    frame = random.integers(0, 256, (200, 640, 3) if crop == "composite" else (160, 160, 3), dtype=np.uint8)
    view = crops.driver_view(frame, crop, promised)
    kept = preprocess.decode(recorded.encode(np.ascontiguousarray(view[..., ::-1])))
    wanted = kept if crop == "face" else inside.cut(kept)

    np.testing.assert_array_equal(crops.network_view(frame, crop, promised, came="video"), wanted)
    png = pictures.read(cv2.imencode(".png", frame[..., ::-1])[1].tobytes(), "a", crop=crop, promised=promised)
    np.testing.assert_array_equal(png, preprocess.resize(frame if crop == "face" else wanted))
    if crop == "driver":  # the prepared JPEG, saved once more without loss
        png = cv2.imencode(".png", kept[..., ::-1])[1].tobytes()
        np.testing.assert_array_equal(pictures.read(png, "a", promised=promised), preprocess.resize(wanted))
        np.testing.assert_array_equal(preprocess.read(png, "a", inside.cut), preprocess.resize(wanted))


def test_a_picture_of_other_proportions_than_the_driver_view_is_refused() -> None:
    promised = Crop.of("dashgaze", layouts.DASHGAZE, [Face(950, 1068, View(300, 250, 420, 420))])
    photograph = np.zeros((480, 640, 3), np.uint8)
    with pytest.raises(
        InputError, match=r"photo: 640x480 pixels have not the proportions .*, or say that it is .* the face alone"
    ):
        crops.network_view(photograph, "driver", promised, "photo")
    assert crops.network_view(photograph, "face", promised).shape == photograph.shape
    assert crops.network_view(photograph, "driver", DASHGAZE).shape == photograph.shape
    half = np.zeros((534, 475, 3), np.uint8)
    assert crops.network_view(half, "driver", promised).shape == (210, 210, 3)


def test_the_face_alone_is_refused_where_the_whole_driver_view_is_read() -> None:
    with pytest.raises(InputError, match="photo: said to be the face alone, but this version reads the whole driver"):
        crops.network_view(np.zeros((210, 210, 3), np.uint8), "face", DASHGAZE, "photo")


def test_rectangles_decide_and_not_what_the_layout_is_called() -> None:
    named = Crop.of("driver", [Layout("driver", 1504, 540, {"driver": View(30, 35, 400, 450)})])
    assert crops.driver_slices(1504, 540, "composite", named) == (slice(35, 485), slice(30, 430))
    whole = Crop(layout="full.json", rectangles=())
    assert crops.driver_slices(1504, 540, "composite", whole) == (slice(0, 540), slice(0, 1504))


def test_gaze_begins_in_the_face_rectangle_or_in_the_middle_of_a_view_that_has_none() -> None:
    view = Layout("driver", 400, 300, {"driver": View(0, 0, 400, 300)})
    cut = Crop.of("driver", [view], [Face(400, 300, View(240, 120, 100, 100))])
    assert crops.eyes(cut) == pytest.approx((0.725, (120 + 42) / 300))
    assert crops.eyes(cut, "face") == crops.eyes(Crop.of("driver", [view])) == (0.5, 0.42)
    somewhere = cut.model_copy(update={"face": "detected"})
    assert crops.eyes(somewhere) == (0.5, 0.42)
    assert crops.eyes(somewhere.settled(Face(400, 300, View(0, 0, 100, 100)))) == pytest.approx((0.125, 0.14))
