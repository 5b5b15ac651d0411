"""*Try it*: a picture, a short video or the webcam, answered by the version in the stage that the app follows."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from recording import arrows, decoding, frames, pictures, preprocess, video
from recording.arrows import Arrow
from recording.exceptions import GazeError, InputError
from serving import crops, videos
from serving.predictor import Predictor
from serving.views import shared

# A visitor waits for the answer: about ten seconds of video.
_FRAMES = 300
_CROPS = {
    "auto": "find out",
    "driver": "the driver alone",
    "composite": "a composite frame",
    "face": "the face alone",
}


def show() -> None:
    """The page."""
    st.title("Try it")
    found = shared.production()
    if found is None:
        return
    st.caption(
        "What you show stays on this machine. The model was trained on one camera position: on another it is off by "
        "the difference, which is what fine-tuning is for."
    )
    crop = st.segmented_control(
        "The picture shows", list(_CROPS), default="auto", required=True, format_func=lambda choice: _CROPS[choice]
    )
    upload, webcam = st.tabs(["Upload", "Webcam"])
    with upload:
        given = st.file_uploader(
            "Picture or short video",
            type=[ending.removeprefix(".") for ending in (*pictures.SUFFIXES, *video.SUFFIXES)],
        )
    with webcam:
        if st.toggle("Switch the webcam on"):
            snapshot = st.camera_input("Snapshot")
            given = snapshot or given
    if given is None:
        st.info("Upload a picture of a driver, or take a snapshot.", icon=":material/upload:")
        return
    assert crop is not None  # the control has a default and is required
    try:
        if Path(given.name).suffix.lower() in video.SUFFIXES:
            _video(found, given, crop)
        else:
            _picture(found, given.getvalue(), crop)
    except GazeError as error:
        st.error(str(error), icon=":material/error:")


def _picture(found: Predictor, data: bytes, crop: str) -> None:
    picture = preprocess.decode(data, "the picture")
    promise = crops.settled(picture, crop, found.contract.crop, "the picture", st.warning)
    view = crops.driver_view(picture, crop, promise)
    azimuth, elevation = shared.answer(found, picture, crop, promise, crops.came_as(data))
    left, right = st.columns([2, 1])
    left.image(
        arrows.show(
            view,
            [Arrow(azimuth, elevation, arrows.PREDICTED, "predicted")],
            eyes=crops.eyes(promise, crop),
        ),
        caption=f"Answered by {shared.version_label(found.version)}",
        width="stretch",
    )
    right.metric("Azimuth", shared.deg(azimuth))
    right.caption(_in_words(azimuth, "right", "left", "the driver's"))
    right.metric("Elevation", shared.deg(elevation))
    right.caption(_in_words(elevation, "up", "down"))


def _video(found: Predictor, given: UploadedFile, crop: str) -> None:
    with _as_file(given) as path, _heard(path) as heard:
        index = frames.scan(path)
        first = min(index.frames, _FRAMES)
        with video.opened(path, index.track) as (container, _):
            films = len(video.films(container))
        said = "Looking at the frames …"
        bar = st.progress(0.0, said)

        def warn(line: str) -> None:
            st.warning(line.removeprefix(f"{path}: "))

        promise = videos.settled(path, index, range(first), crop, found.contract.crop, warn)
        rows: list[dict[str, float]] = []
        shown: np.ndarray | None = None
        for number, frame in decoding.in_order_rgb(path, index, _FRAMES):
            view = crops.driver_view(frame, crop, found.contract.crop)
            azimuth, elevation = shared.answer(found, frame, crop, promise, "video")
            rows.append({"time": float(index.seconds[number]), "azimuth": azimuth, "elevation": elevation})
            shown = (
                shown
                if shown is not None
                else arrows.show(
                    view,
                    [Arrow(azimuth, elevation, arrows.PREDICTED, "predicted")],
                    eyes=crops.eyes(promise, crop),
                )
            )
            bar.progress((number + 1) / first, said)
        bar.empty()
    for line in heard:
        st.warning(line)
    if films > 1:
        said = (
            "The file holds {} films; number {} is answered here. `python -m serving predict --track N` takes another."
        )
        st.caption(said.format(films, index.track))
    if index.frames > _FRAMES:
        st.caption(f"Only the first {_FRAMES} frames are answered here; `python -m serving predict` takes all.")
    if len(rows) < first:
        st.warning(f"{first - len(rows)} of {first} frames left out ({decoding.reasons(index)}).")
    if shown is None:
        return
    left, right = st.columns([1, 2])
    left.image(shown, caption="First frame", width="stretch")
    table = pd.DataFrame(rows)
    long = table.melt("time", var_name="angle", value_name="degrees")
    right.altair_chart(
        alt.Chart(long)
        .mark_line()
        .encode(
            x=alt.X("time", title="time (s)"),
            y=alt.Y("degrees", title="degrees"),
            color=alt.Color(
                "angle", scale=alt.Scale(range=["#E69F00", "#56B4E9"]), legend=alt.Legend(orient="top", title=None)
            ),
        ),
        width="stretch",
    )
    right.download_button("Angles as CSV", table.to_csv(index=False), "gaze.csv", "text/csv")


class _Ear(logging.Handler):
    """Keeps each line once that the reading of a video warns of, without the name of the file."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._begins, self._lines = f"video {path}: ", lines

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if not said.startswith(self._begins):
            return  # another visitor's video, which is read meanwhile
        line = said.removeprefix(self._begins)
        line = f"{line[:1].upper()}{line[1:]}."
        if line not in self._lines:
            self._lines.append(line)


@contextmanager
def _heard(path: Path) -> Iterator[list[str]]:
    """What the log warns of while a video is read: its visitor does not see the log."""
    lines: list[str] = []
    ear, reading = _Ear(path, lines), logging.getLogger("recording")
    reading.addHandler(ear)
    try:
        yield lines
    finally:
        reading.removeHandler(ear)


@contextmanager
def _as_file(given: UploadedFile) -> Iterator[Path]:
    """An upload as a file, which the decoder wants; its name is ours, but messages have the visitor's."""
    with tempfile.NamedTemporaryFile(suffix=Path(given.name).suffix.lower()) as file:
        file.write(given.getbuffer())
        file.flush()
        try:
            yield Path(file.name)
        except GazeError as error:
            raise InputError(str(error).replace(file.name, given.name)) from None


def _in_words(angle: float, positive: str, negative: str, whose: str = "") -> str:
    if abs(angle) < 0.05:
        return "straight ahead"
    return (
        f"{abs(angle):.1f}° to {whose} {positive if angle > 0 else negative}"
        if whose
        else (f"{abs(angle):.1f}° {positive if angle > 0 else negative}")
    )
