"""What the pages have in common: the versions, loaded once, and answers, computed once."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from recording import angles, preprocess
from recording.exceptions import GazeError, InputError
from recording.face import Choice
from recording.prepared import DRIVE, TABLE, Samples
from recording.relative_to import HEAD
from registry import faces
from registry.addresses import DEFAULT_MODEL_NAME
from registry.crop import Crop
from registry.holdout import Holdout
from serving import cache, catalog, crops, pictures, prepared
from serving.catalog import Catalog
from serving.crops import Promise
from serving.predictor import Predictor

# Okabe and Ito: told apart with any colour vision, readable on light and on dark.
COLOURS = {"measured": "#009E73", "predicted": "#E69F00", "base": "#CC79A7", "other": "#56B4E9"}

UNITS = """
All angles are **degrees**, as the driver sees them: **azimuth** is positive to the driver's **right**,
**elevation** is positive **up**, and 0 / 0 is straight ahead in the frame of the measured angles: that of the car, or
of the driver's head where a version says so.

The camera faces the driver, so in the picture the driver's right is on the **left**: an arrow that points to
the left of the picture is a positive azimuth.

The error of an angle is predicted minus measured. The **3-D angle** is the angle between the predicted and the
measured direction in space; it is never smaller than zero.
"""


@dataclass(frozen=True)
class Options:
    """The command line of the app."""

    data: str
    model: str
    stage: str
    cache: Path


def options() -> Options:
    """What stands after ``--`` in ``streamlit run serving/app.py -- …``."""
    parser = argparse.ArgumentParser(prog="streamlit run serving/app.py --")
    parser.add_argument("--data", default="")
    parser.add_argument("--model", default=DEFAULT_MODEL_NAME)
    parser.add_argument("--stage", default="Production")
    parser.add_argument("--cache", default="")
    given = parser.parse_args(sys.argv[1:])
    return Options(given.data, given.model, given.stage, cache.folder(given.cache))


def current_catalog() -> Catalog:
    """The catalogue of the model that the app was started for."""
    given = options()
    return Catalog(given.model, given.cache, given.stage)


@st.cache_resource(max_entries=6, show_spinner="Loading and verifying the version …")
def predictor(model: str, version: int) -> Predictor:
    """The verified predictor of a version, kept for all visitors."""
    return current_catalog().load(model, version)


@st.cache_resource(max_entries=6, show_spinner=False)
def holdout(model: str, version: int) -> Holdout:
    """The held-out samples of a version."""
    return catalog.holdout_of(predictor(model, version))


def samples() -> Samples | None:
    """The prepared folder that the sidebar names; where it cannot be read, the page says so and ``None``."""
    typed = _unquoted(st.session_state.get("folder", ""))
    if not typed:
        st.info(
            "No prepared folder yet. Name one in the sidebar, or start the app with "
            "`python -m serving app --data FOLDER`. `python -m training prepare` makes one from a recording and its "
            "CSV; `mlflow run .` without a recording makes one from the rendered sample drive, under `data/`.",
            icon=":material/folder_open:",
        )
        return None
    try:
        folder = _at_home(typed)
        drive = _read(str(folder), _changed(folder))
    except GazeError as error:
        st.error(str(error), icon=":material/error:")
        return None
    for warning in drive.warnings:
        st.warning(warning)
    return drive


def _unquoted(typed: str) -> str:
    """A path as it was meant: file managers and shells copy it with quotes, and blanks come along."""
    path = typed.strip()
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1].strip() if quoted else path


def _at_home(path: str) -> Path:
    """The path with ``~`` expanded, as a shell would."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~somebody
        raise InputError(f"samples folder {path}: {error}; give the whole path") from None


def _changed(folder: Path) -> float:
    """When a folder was last changed: its table or what is said of it, or any file of a bare one; 0 where it cannot be
    read."""
    told = [folder / TABLE, folder / DRIVE]
    try:
        watched = told if all(path.is_file() for path in told) else [folder, *folder.iterdir()]
        return max(path.stat().st_mtime for path in watched)
    except (OSError, ValueError):
        return 0


@st.cache_data(max_entries=4, show_spinner="Reading the prepared folder …")
def _read(folder: str, changed: float) -> Samples:
    return prepared.read(Path(folder))


def production() -> Predictor | None:
    """The predictor in the stage that the app follows; where there is none, the page says how to promote one and
    ``None``."""
    number = st.session_state.get("production")
    if number is None:
        st.info(
            st.session_state.get("production_problem") or f"No version is in {options().stage}.",
            icon=":material/deployed_code:",
        )
        return None
    return load(options().model, number)


def load(model: str, version: int) -> Predictor | None:
    """A predictor, or a message on the page and ``None``."""
    try:
        return predictor(model, version)
    except GazeError as error:
        st.error(f"Version {version} of {model} cannot be used: {error}", icon=":material/error:")
        return None


def promised(found: Predictor, drive: Samples) -> Crop:
    """What the version reads of the pictures of this folder; where it has to find the face, it is looked for once.

    Raises :class:`InputError` when no face is found there.
    """
    crop = found.contract.crop
    if not crop.detected:
        return crop
    chosen = _face(drive.digest, str(drive.chosen and drive.chosen.face), crop.room, crop, drive)
    advice = "choose another folder or version, or prepare the folder with face=x,y,w,h"
    return faces.settled(crop, faces.Shown.of(drive), chosen, advice)


@st.cache_data(max_entries=12, show_spinner="Looking for the face …")
def _face(digest: str, known: str, room: float, _promised: Crop, _drive: Samples) -> Choice:
    (chosen,) = faces.choose(_promised, [faces.Shown.of(_drive)])
    return chosen


def relative(found: Predictor) -> str:
    """What the answers of a version count from, as a sentence."""
    said = f"Version {found.version} answers relative to {found.contract.output.relative_to}"
    return f"{said}: how the eyes stand in it." if found.contract.output.label_frame == HEAD else f"{said}."


def answer(found: Predictor, picture: np.ndarray, crop: str, promise: Promise, came: crops.Came) -> tuple[float, float]:
    """Azimuth and elevation, degrees, of one (h, w, 3) RGB picture; ``crop`` says what it shows.

    ``promise``: what the version reads of it; ``came``: as :func:`serving.crops.network_view`.
    """
    return _answer(found, preprocess.resize(crops.network_view(picture, crop, promise, came=came)))


def answer_sample(found: Predictor, drive: Samples, row: int) -> tuple[float, float]:
    """Azimuth and elevation, degrees, of one sample of the folder."""
    return _answer(found, pictures.read_sample(drive.driver_file(row), promised(found, drive)))


def _answer(found: Predictor, read: np.ndarray) -> tuple[float, float]:
    azimuth, elevation = found.predict(read[np.newaxis])[0]
    return float(azimuth), float(elevation)


def answers(found: Predictor, drive: Samples) -> np.ndarray:
    """(n, 2) degrees for every sample of the folder, with a progress bar the first time."""
    read = promised(found, drive)
    return _answers(found.model, found.version, found.contract.seal, drive.digest, read.face_in_words, read, drive)


@st.cache_data(max_entries=12, show_spinner=False)
def _answers(
    model: str, version: int, seal: str, digest: str, rectangle: str, _read: Crop, _drive: Samples
) -> np.ndarray:
    found = predictor(model, version)
    files = _drive.driver_files()
    said = f"Version {version} of {model} looks at {len(files)} pictures …"
    bar = st.progress(0.0, said)
    given = []
    try:
        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(files), 16):
                looked = list(pool.map(lambda file: pictures.read_sample(file, _read), files[start : start + 16]))
                given.append(found.predict(np.stack(looked)))
                bar.progress((start + len(looked)) / len(files), said)
    finally:
        bar.empty()
    return np.concatenate(given)


def errors_table(predicted_deg: np.ndarray, measured_deg: np.ndarray) -> pd.DataFrame:
    """(n, 2) and (n, 2) → columns ``azimuth`` and ``elevation`` (signed errors) and ``angle`` (3-D), degrees."""
    signed = angles.wrap_deg(predicted_deg - measured_deg)
    return pd.DataFrame(
        {
            "azimuth": signed[:, 0],
            "elevation": signed[:, 1],
            "angle": angles.angular_errors(predicted_deg, measured_deg),
        }
    )


def version_label(number: int) -> str:
    """``version 3``, with the stage's name where it is the one in the stage that the app follows."""
    return f"version {number}" + (f" ({options().stage})" if number == st.session_state.get("production") else "")


def local_time(moment: datetime | str) -> str:
    """A moment as all pages show it: in the zone of the machine that the app runs on, which is named.

    Text is ISO 8601, in UTC where it names no zone; empty where it is empty.
    """
    if not moment:
        return ""
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def deg(value: float, *, signed: bool = True) -> str:
    """Degrees with one decimal."""
    return f"{value:+z.1f}°" if signed else f"{value:.1f}°"
