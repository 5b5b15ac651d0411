"""What the pages have in common: the versions, loaded once, and answers, computed once."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from recording import angles, detection, preprocess
from recording.exceptions import GazeError, InputError
from recording.face import AUTO, Face
from recording.prepared import Samples
from recording.relative_to import HEAD
from registry.addresses import DEFAULT_MODEL_NAME
from registry.crop import Crop
from registry.holdout import Holdout
from serving import catalog, crops, pictures, prepared
from serving.catalog import Catalog
from serving.crops import Promise
from serving.loader import cache_folder
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
    return Options(given.data, given.model, given.stage, Path(given.cache) if given.cache else cache_folder())


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
    folder = st.session_state.get("folder", "")
    if not folder:
        st.info(
            "No prepared folder yet. Name one in the sidebar, or start the app with "
            "`python -m serving app --data FOLDER`. `python -m training prepare` makes one from a recording and its "
            "CSV; `mlflow run .` without a recording makes one from the rendered sample drive, under `data/`.",
            icon=":material/folder_open:",
        )
        return None
    try:
        return _read(
            folder, (Path(folder) / "samples.csv").stat().st_mtime if Path(folder, "samples.csv").is_file() else 0
        )
    except GazeError as error:
        st.error(str(error), icon=":material/error:")
        return None


@st.cache_data(max_entries=4, show_spinner="Reading the prepared folder …")
def _read(folder: str, changed: float) -> Samples:
    return prepared.read(Path(folder))


def production() -> Predictor | None:
    """The predictor in Production; where there is none, the page says how to promote one and ``None``."""
    number = st.session_state.get("production")
    if number is None:
        st.info(
            st.session_state.get("production_problem") or "No version is in Production.",
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
    if not found.contract.crop.detected:
        return found.contract.crop
    face = _face(drive.digest, drive)
    if face is None:
        raise InputError(
            f"{drive.folder}: its pictures do not agree on a face, and version {found.version} needs one (it was "
            "trained on drives with the face in different places); choose another folder or version"
        )
    return found.contract.crop.settled(face)


@st.cache_data(max_entries=4, show_spinner="Looking for the face …")
def _face(digest: str, _drive: Samples) -> Face | None:
    return detection.find(_drive.driver_files(), AUTO).face


def relative(found: Predictor) -> str:
    """What the answers of a version count from, as a sentence."""
    said = f"Version {found.version} answers relative to {found.contract.output.relative_to}"
    return f"{said}: how the eyes stand in it." if found.contract.output.label_frame == HEAD else f"{said}."


def answer(
    found: Predictor, picture: np.ndarray, crop: str = "driver", promise: Promise | None = None
) -> tuple[float, float]:
    """Azimuth and elevation, degrees, of one (h, w, 3) RGB picture; ``crop`` says what it shows.

    ``promise``: what the version reads of it, the contract's by default.
    """
    read = preprocess.resize(crops.network_view(picture, crop, promise or found.contract.crop))
    azimuth, elevation = found.predict(read[np.newaxis])[0]
    return float(azimuth), float(elevation)


def answers(found: Predictor, drive: Samples) -> np.ndarray:
    """(n, 2) degrees for every sample of the folder, with a progress bar the first time."""
    return _answers(found.model, found.version, found.contract.seal, drive.digest, drive)


@st.cache_data(max_entries=12, show_spinner=False)
def _answers(model: str, version: int, seal: str, digest: str, _drive: Samples) -> np.ndarray:
    found = predictor(model, version)
    read = promised(found, _drive)

    def picture(row: int) -> np.ndarray:
        path = _drive.driver_file(row)
        return pictures.read(path.read_bytes(), path.name, promised=read)

    bar = st.progress(0.0, f"Version {version} of {model} looks at {len(_drive.table)} pictures …")
    given = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(_drive.table), 16):
            rows = range(start, min(start + 16, len(_drive.table)))
            given.append(found.predict(np.stack(list(pool.map(picture, rows)))))
            bar.progress(rows.stop / len(_drive.table))
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
    """``version 3``, with a word where it is the one in Production."""
    return f"version {number}" + (" (Production)" if number == st.session_state.get("production") else "")


def deg(value: float, *, signed: bool = True) -> str:
    """Degrees with one decimal."""
    return f"{value:+z.1f}°" if signed else f"{value:.1f}°"
