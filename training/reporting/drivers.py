"""Tables and figures by driver: how wrong models are on each of them, and on the next one."""

import html
import textwrap

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from training.measuring.drivers import OFFSET_FRAMES, ByDriver, DriverErrors
from training.measuring.errors import QUANTITIES
from training.reporting.figures import COLOURS

UNSEEN = "unseen_driver"
"""Begins the names of its metrics."""
WORST_COLOUR, OFFSET_COLOUR = "#c8553d", "#4f86c6"


def table(found: ByDriver) -> pd.DataFrame:
    """One row a driver, the worst first: mean errors in degrees, the personal offset and what is left with it."""
    return pd.DataFrame([_row(one) for one in sorted(found.drivers, key=lambda one: -float(one.model_deg[2]))])


def _row(one: DriverErrors) -> dict[str, object]:
    row: dict[str, object] = {"driver": one.name, "drives": ", ".join(one.drives), "samples": one.samples}
    row |= {f"{name}_error_deg": round(float(one.model_deg[k]), 2) for k, name in enumerate(QUANTITIES)}
    row |= {f"{who}_angular_error_deg": round(error, 2) for who, error in one.others_deg.items()}
    told = one.offset_deg is not None and one.plain_rest_deg is not None and one.offset_rest_deg is not None
    offset = one.offset_deg if one.offset_deg is not None else np.full(2, np.nan)
    rest = [part if part is not None else np.full(3, np.nan) for part in (one.plain_rest_deg, one.offset_rest_deg)]
    figures = {
        "offset_azimuth_deg": offset[0],
        "offset_elevation_deg": offset[1],
        "rest_angular_error_deg": rest[0][2],
        "rest_with_offset_angular_error_deg": rest[1][2],
    }
    return row | {name: round(float(value), 2) if told else None for name, value in figures.items()}


def printed(found: ByDriver) -> str:
    """Table and lines for a terminal."""
    shown = table(found)[["driver", "samples", *(f"{name}_error_deg" for name in QUANTITIES)]].copy()
    shown.columns = pd.Index(["driver", "samples", "azimuth", "elevation", "3-D angle"])
    shown[f"offset of {OFFSET_FRAMES}"] = [
        f"{one.plain_rest_deg[2]:.2f} → {one.offset_rest_deg[2]:.2f}"
        if one.plain_rest_deg is not None and one.offset_rest_deg is not None
        else "–"
        for one in sorted(found.drivers, key=lambda one: -float(one.model_deg[2]))
    ]
    text = shown.to_string(index=False, float_format=lambda value: f"{value:.2f}")
    return "\n".join(["by driver, the worst first (degrees):", text, *found.lines()])


def log(found: ByDriver | None, run_id: str) -> None:
    """Metrics and table on the run, where drivers were left out."""
    if found is None:
        return
    mlflow.log_metrics(found.metrics(UNSEEN), run_id=run_id)
    mlflow.log_table(table(found), "tables/unseen_drivers.json", run_id=run_id)


def figure(found: ByDriver) -> Figure:
    """3-D error by driver, the worst on the left, with what the personal offset leaves; the mean over drivers."""
    ordered = sorted(found.drivers, key=lambda one: -float(one.model_deg[2]))
    drawn, axis = plt.subplots(figsize=(max(6.0, 1.1 * len(ordered) + 3), 4.4), layout="constrained")
    place = np.arange(len(ordered))
    colours = [WORST_COLOUR] + [COLOURS["model"]] * (len(ordered) - 1)
    bars = axis.bar(place - 0.2, [one.model_deg[2] for one in ordered], 0.38, color=colours)
    bars.set_label("as it is (red: the worst driver)")
    with_offset = [np.nan if one.offset_rest_deg is None else one.offset_rest_deg[2] for one in ordered]
    axis.bar(place + 0.2, with_offset, 0.38, color=OFFSET_COLOUR, label=f"with an offset from {OFFSET_FRAMES} frames")
    constant = [one.others_deg.get("constant", np.nan) for one in ordered]
    axis.plot(place, constant, "_", ms=26, mew=2, color=COLOURS["constant"], label="constant")
    overall = found.errors["angular"]
    if overall.is_told:
        axis.axhspan(max(0.0, overall.low), overall.high, color="#bbbbbb", alpha=0.35, lw=0)
    axis.axhline(overall.mean, color="#666666", lw=1, label="mean over drivers" + ", 95 %" * overall.is_told)
    # A name is no formula, whatever is in it.
    axis.set_xticks(place, [f"{one.name}\nn={one.samples}" for one in ordered], parse_math=False)
    axis.set_ylabel("mean 3-D error (degrees)")
    axis.set_title(textwrap.fill(found.what, 100), fontsize=10, loc="left", parse_math=False)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return drawn


def section(found: ByDriver) -> str:
    """The text of the page."""
    lines = "".join(f"<p>{html.escape(line)}.</p>" for line in found.lines())
    return f"{lines}<div class='wide'>{table(found).to_html(index=False, border=0, na_rep='–')}</div>"
