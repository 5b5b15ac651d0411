"""*Ground Truth Comparison*: one sample, what was measured and what each version says."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from recording import angles, arrows, preprocess
from recording.arrows import Arrow
from recording.prepared import Samples
from serving import crops, prepared
from serving.predictor import Predictor
from serving.views import shared

_OTHER = (86, 180, 233)


def show() -> None:
    """The page."""
    st.title("Ground Truth Comparison")
    found = shared.production()
    drive = shared.samples()
    if found is None or drive is None:
        return
    if drive.rendered:
        st.caption(f"Samples of the rendered sample drive ({drive.folder.name}), not of a real recording.")
    part = prepared.parts(drive, shared.holdout(found.model, found.version))
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        row = _choose(drive, part)
    with right:
        others = _choose_others(found)
    _compare(drive, row, part[row], found, others)


def _choose(drive: Samples, part: np.ndarray) -> int:
    how = st.segmented_control("Choose by", ["scenario", "sample"], default="scenario", required=True)
    if how == "sample":
        last = len(drive.table) - 1
        return int(st.slider("Sample", 0, last, 0)) if last else 0
    number = st.segmented_control(
        "Scenario: tenths of the drive, in the order of time",
        list(range(1, 11)),
        default=1,
        required=True,
    )
    return prepared.representative(drive, part, number)


def _choose_others(found: Predictor) -> list[tuple[str, Predictor]]:
    catalogue = shared.current_catalog()
    choices: dict[str, tuple[str, int]] = {}
    base = catalogue.base_version(found)
    if base is not None:
        choices["base model (before fine-tuning)"] = (catalogue.base_model, base)
    for version in catalogue.versions():
        if version.number != found.version:
            choices[f"version {version.number}"] = (found.model, version.number)
    chosen = st.multiselect(
        "Compare with", list(choices), default=list(choices)[:1] if base is not None else [], max_selections=3
    )
    loaded = [(label, shared.load(*choices[label])) for label in chosen]
    return [(label, other) for label, other in loaded if other is not None]


def _compare(drive: Samples, row: int, part: str, found: Predictor, others: list[tuple[str, Predictor]]) -> None:
    sample = drive.table.iloc[row]
    measured = (float(sample["azimuth_deg"]), float(sample["elevation_deg"]))
    path = drive.driver_file(row)
    picture = preprocess.decode(path.read_bytes(), path.name)
    sides = [(f"{shared.version_label(found.version)}", found, arrows.PREDICTED)]
    colours = [arrows.BASE, _OTHER, (213, 94, 0)]
    sides += [(label, other, colour) for (label, other), colour in zip(others, colours, strict=False)]
    answered = [(label, shared.answer_sample(side, drive, row), colour) for label, side, colour in sides]

    drawn = [Arrow(*gaze, colour, label.split(" (")[0]) for label, gaze, colour in reversed(answered)]
    drawn.append(Arrow(*measured, arrows.MEASURED, "measured"))
    road_file = drive.road_file(row)
    views = st.columns(2) if road_file else [st.container(width=700)]
    with views[0]:
        st.image(
            arrows.show(picture, drawn, eyes=crops.eyes(shared.promised(found, drive))),
            caption=_caption(sample, float(drive.seconds[row]), part),
            width="stretch",
        )
    if road_file:
        with views[1]:
            st.image(road_file.read_bytes(), caption="The road at the same moment", width="stretch")
    _figures(measured, answered)
    for label, other in others:
        if prepared.parts(drive, shared.holdout(other.model, other.version))[row] == "trained on":
            st.caption(f"{label} was trained on this frame or its neighbours: its error here says little.")
    st.caption(shared.relative(found))


def _caption(sample: pd.Series, seconds: float, part: str) -> str:
    when = f"{seconds:.1f} s"
    known = {
        "held out": "held out: the model has never seen this part of the drive",
        "trained on": "the model was trained or validated on this frame or its neighbours: its error here says little",
        "neither": "not known from this model's training or tests",
    }
    return f"Frame {sample['frame']} ({when}), scenario {sample['scenario']}; {known[part]}"


def _figures(measured: tuple[float, float], answered: list[Any]) -> None:
    label, gaze, _ = answered[0]
    error = shared.errors_table(np.array([gaze]), np.array([measured])).iloc[0]
    columns = st.columns(5)
    columns[0].metric("Measured azimuth", shared.deg(measured[0]))
    columns[1].metric("Measured elevation", shared.deg(measured[1]))
    columns[2].metric("Azimuth error", shared.deg(error["azimuth"]), help="predicted minus measured")
    columns[3].metric("Elevation error", shared.deg(error["elevation"]), help="predicted minus measured")
    columns[4].metric("3-D angle", shared.deg(error["angle"], signed=False), help="between the two directions")
    rows = []
    for label, gaze, _ in answered:
        error = angles.wrap_deg(np.array(gaze) - np.array(measured))
        between = angles.angular_errors(np.array([gaze]), np.array([measured]))[0]
        rows.append([label, gaze[0], gaze[1], error[0], error[1], between])
    table = pd.DataFrame(
        rows, columns=["model", "azimuth", "elevation", "azimuth error", "elevation error", "3-D angle"]
    )
    signed, plain = (st.column_config.NumberColumn(format=form) for form in ("%+.2f°", "%.2f°"))
    st.dataframe(
        table,
        hide_index=True,
        column_config={name: signed for name in table.columns[1:5]} | {"3-D angle": plain},
    )
    st.caption("Degrees. Azimuth is positive to the driver's right (left in the picture), elevation positive up.")
