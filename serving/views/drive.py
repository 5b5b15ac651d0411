"""*Drive*: predicted against measured over the whole drive, error by angle, and the worst frames."""

from typing import TypeVar

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from recording import arrows, preprocess
from recording.arrows import Arrow
from recording.prepared import Samples
from serving import crops, prepared
from serving.views import shared

_WORST, _IN_A_ROW = 6, 3
_HEIGHT = 400
"""Pixels of a chart over time; Streamlit takes 130 of them for the legend and the axis."""
_CROSS = "M-1,-1L1,1M-1,1L1,-1"

Channel = TypeVar("Channel", alt.Color, alt.Shape)


def show() -> None:
    """The page."""
    st.title("Drive")
    found = shared.production()
    drive = shared.samples()
    if found is None or drive is None:
        return
    versions = [version.number for version in shared.current_catalog().versions()]
    left, right = st.columns(2, vertical_alignment="bottom")
    number = left.selectbox("Version", versions, versions.index(found.version), format_func=shared.version_label)
    chosen = shared.load(found.model, number)
    if chosen is None:
        return
    held_out = shared.holdout(chosen.model, number)
    part = prepared.parts(drive, held_out)
    keep = _choose_part(right, part, prepared.novelty(drive, held_out))
    if said := prepared.doubt(drive, chosen.contract, bool((part != "neither").any())):
        st.warning(said)
    given = shared.answers(chosen, drive)
    table = pd.concat(
        [drive.table, shared.errors_table(given, drive.measured_deg).add_suffix(" error"), _pairs(given)], axis=1
    )
    table["part"] = part
    table["time"] = drive.seconds
    _summary(table[keep])
    _over_time(table[keep])
    _by_angle(table[keep])
    _worst(drive, table[keep], crops.eyes(shared.promised(chosen, drive)))


def _choose_part(column: DeltaGenerator, part: np.ndarray, novelty: str) -> np.ndarray:
    counts = {name: int((part == name).sum()) for name in ("held out", "trained on", "neither")}
    choices = [name for name, count in counts.items() if count]
    if choices == ["neither"]:
        column.caption(novelty)
        return np.ones(len(part), dtype=bool)
    shown = column.segmented_control(
        "Frames",
        [*choices, "all"],
        default=choices[0],
        required=True,
        format_func=lambda name: f"{name} ({counts.get(name, len(part))})",
        help="held out: never seen in training. Errors on frames trained on, or within a second of such a frame, "
        "are too good to be believed.",
    )
    return np.ones(len(part), dtype=bool) if shown == "all" else part == shown


def _pairs(given: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"azimuth predicted": given[:, 0], "elevation predicted": given[:, 1]})


def _summary(table: pd.DataFrame) -> None:
    columns = st.columns(4)
    columns[0].metric("Frames", len(table))
    for column, name in zip(columns[1:3], ("azimuth", "elevation"), strict=True):
        error = table[f"{name} error"].abs()
        column.metric(f"Mean {name} error", shared.deg(error.mean(), signed=False))
        column.caption(f"median {error.median():.1f}°, 95 % below {error.quantile(0.95):.1f}°")
    angle = table["angle error"]
    columns[3].metric("Mean 3-D angle", shared.deg(angle.mean(), signed=False))
    columns[3].caption(f"median {angle.median():.1f}°, 95 % below {angle.quantile(0.95):.1f}°")


def _over_time(table: pd.DataFrame) -> None:
    st.subheader("Over time")
    for name in ("azimuth", "elevation"):
        long = pd.concat(
            [
                pd.DataFrame({"time": table["time"], "angle": table[column], "whose": what, "frame": table["frame"]})
                for what, column in (("measured", f"{name}_deg"), ("predicted", f"{name} predicted"))
            ]
        )
        # A line across a gap between held-out blocks would be made up: points, of two kinds, as they lie on each other.
        chart = (
            alt.Chart(long)
            .mark_point(size=30, strokeWidth=1.5, opacity=0.85)
            .encode(
                x=alt.X("time", title="time (s)"),
                y=alt.Y("angle", title=f"{name} (degrees)"),
                color=_told_apart(alt.Color, [shared.COLOURS["measured"], shared.COLOURS["predicted"]]),
                shape=_told_apart(alt.Shape, ["circle", _CROSS]),
                tooltip=["frame", alt.Tooltip("angle", format="+.1f"), "whose"],
            )
            .properties(height=_HEIGHT)
        )
        st.altair_chart(chart.interactive(bind_y=False), width="stretch")


def _by_angle(table: pd.DataFrame) -> None:
    st.subheader("Error by angle")
    st.caption(
        "Error (predicted minus measured) against the measured angle. A cloud that falls from left to right answers "
        "too close to the middle."
    )
    for column, name in zip(st.columns(2), ("azimuth", "elevation"), strict=True):
        points = pd.DataFrame(
            {"measured": table[f"{name}_deg"], "error": table[f"{name} error"], "frame": table["frame"]}
        )
        zero = alt.Chart(pd.DataFrame({"y": [0]})).mark_rule(color=shared.COLOURS["measured"]).encode(y="y")
        cloud = (
            alt.Chart(points)
            .mark_circle(size=26, opacity=0.6, color=shared.COLOURS["predicted"])
            .encode(
                x=alt.X("measured", title=f"measured {name} (degrees)", scale=alt.Scale(zero=False)),
                y=alt.Y("error", title=f"{name} error (degrees)"),
                tooltip=["frame", alt.Tooltip("error", format="+.1f")],
            )
        )
        column.altair_chart((zero + cloud).properties(height=260), width="stretch")


def _worst(drive: Samples, table: pd.DataFrame, eyes: arrows.Point) -> None:
    st.subheader("Worst frames")
    worst = table.sort_values("angle error", ascending=False).head(_WORST)
    for place, (row, sample) in enumerate(worst.iterrows()):
        if place % _IN_A_ROW == 0:  # a row of its own: on a narrow page its columns are stacked, in order
            columns = st.columns(_IN_A_ROW)
        path = drive.driver_file(int(row))
        drawn = arrows.show(
            preprocess.decode(path.read_bytes(), path.name),
            [
                Arrow(sample["azimuth predicted"], sample["elevation predicted"], arrows.PREDICTED, "predicted"),
                Arrow(sample["azimuth_deg"], sample["elevation_deg"], arrows.MEASURED, "measured"),
            ],
            eyes=eyes,
        )
        columns[place % _IN_A_ROW].image(
            drawn, caption=f"Frame {sample['frame']}: {sample['angle error']:.1f}° off in 3-D", width="stretch"
        )


def _told_apart(channel: type[Channel], values: list[str]) -> Channel:
    """Colour or shape by whose an angle is, measured first, in one legend for both."""
    scale = alt.Scale(domain=["measured", "predicted"], range=values)
    return channel("whose", scale=scale, legend=alt.Legend(orient="top", title=None))
